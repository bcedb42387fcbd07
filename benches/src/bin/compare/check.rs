//! The bars: what egret has to reach, held against the lines of a run.
//!
//! [`BARS`] is the one place where they are written. A bar is about one quantity of one or more pieces of work: egret's value
//! beside a rival's, beside the best rival's, or by itself.

use crate::lines::{EGRET, Line, number, ratio_text};

/// Which lines of a contest a bar is about.
enum Work {
    Is(&'static str),
    Has(&'static str),
    HasNot(&'static str),
    Every,
}

/// What egret's value is held against.
enum Against {
    /// The named contestant's value.
    Rival(&'static str),
    /// The best value among the rivals, round by round.
    Best,
    /// Nothing: the value is the number. Times are in microseconds; a `max` or `late` is that of the worst round.
    Nothing,
}

enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

struct Row(&'static str, Work, &'static str, Against, Bar);

use Against::{Best, Nothing, Rival};
use Bar::{AtLeast, AtMost};
use Work::{Every, Has, HasNot, Is};

/// Contest, work, metric, against whom, bar.
const BARS: &[Row] = &[
    Row("http", Is("conns=64"), "cpu", Rival("tokio"), AtMost(0.95)),
    Row("http", Is("conns=64"), "cpu", Rival("epoll"), AtMost(1.04)),
    Row("http", Is("conns=64"), "rps", Rival("tokio"), AtLeast(1.03)),
    Row("http", Is("conns=64"), "rps", Rival("epoll"), AtLeast(0.98)),
    Row("http", Is("conns=64"), "p99", Rival("tokio"), AtMost(0.8)),
    Row("http", Is("conns=64"), "syscalls", Nothing, AtMost(2.1)),
    Row("http", Is("conns=512"), "cpu", Rival("tokio"), AtMost(0.95)),
    Row("http", Is("conns=512"), "cpu", Rival("epoll"), AtMost(1.04)),
    Row("http", Is("conns=512"), "rps", Rival("tokio"), AtLeast(1.03)),
    Row("http", Is("conns=512"), "rps", Rival("epoll"), AtLeast(0.98)),
    Row("http", Is("conns=512"), "p99", Rival("tokio"), AtMost(0.8)),
    Row("http", Is("pipelined=16"), "cpu", Rival("tokio"), AtMost(0.95)),
    Row("http", Is("close=1"), "rps", Rival("tokio"), AtLeast(1.0)),
    // Its own CPU time beside them by that without them.
    Row("http", Is("idle=8000"), "idle_cost", Nothing, AtMost(1.03)),
    Row("stall", HasNot("none"), "p99.9", Nothing, AtMost(5_000.0)),
    Row("stall", HasNot("none"), "max", Nothing, AtMost(20_000.0)),
    Row("memory", Is("idle_connection"), "bytes", Rival("tokio"), AtMost(0.8)),
    Row("memory", Is("sleeping_task"), "bytes", Best, AtMost(0.8)),
    Row("tasks", Has("spawn"), "time", Best, AtMost(1.0 / 1.5)),
    Row("tasks", HasNot("spawn"), "time", Best, AtMost(1.0 / 1.2)),
    Row("timers", Every, "time", Rival("tokio"), AtMost(0.5)),
    // One that is early ends the contest with an error.
    Row("timers", Every, "late", Nothing, AtMost(1_000.0)),
];

impl Work {
    fn covers(&self, name: &str) -> bool {
        match self {
            Is(word) => name == *word,
            Has(word) => name.contains(word),
            HasNot(word) => !name.contains(word),
            Every => true,
        }
    }

    fn text(&self) -> String {
        match self {
            Is(word) => word.to_string(),
            Has(word) => format!("*{word}*"),
            HasNot(word) => format!("no_{word}"),
            Every => "*".into(),
        }
    }
}

/// How a run stands against the bars.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Verdict {
    /// One line a bar and piece of work, and one for each bar that nothing was measured for.
    pub(crate) text: Vec<String>,
    pub(crate) passed: usize,
    pub(crate) short: usize,
    pub(crate) missing: usize,
}

/// Holds `lines` against the bars of `contests`.
pub(crate) fn check(lines: &[Line], contests: &[&str]) -> Verdict {
    let mut verdict = Verdict::default();
    for Row(contest, work, metric, against, bar) in BARS.iter().filter(|row| contests.contains(&row.0)) {
        let versus = match against {
            Rival(rival) => format!("egret/{rival}"),
            Best => "egret/best".into(),
            Nothing => "egret".into(),
        };
        let of_metric = |line: &&Line| line.contest == *contest && line.metric == *metric;
        let mut found = false;
        for line in lines.iter().filter(of_metric).filter(|line| work.covers(&line.name)) {
            let value = match against {
                Rival(rival) => line.ratio(rival),
                Best => line.best_ratio(),
                Nothing => by_itself(line),
            };
            let Some(value) = value else { continue };
            found = true;
            let (met, bound, limit) = match *bar {
                AtMost(limit) => (value <= limit, "at most", limit),
                AtLeast(limit) => (value >= limit, "at least", limit),
            };
            let (word, count) = match met {
                true => ("PASS", &mut verdict.passed),
                false => ("FALLS SHORT", &mut verdict.short),
            };
            *count += 1;
            let (value, limit) = match against {
                Nothing => (number(value), number(limit)),
                _ => (ratio_text(value), ratio_text(limit)),
            };
            verdict.text.push(format!(
                "{word:12} {contest} {} {metric} {versus} {value} ({bound} {limit})",
                line.name
            ));
        }
        if !found {
            verdict.missing += 1;
            verdict.text.push(format!("{:12} {contest} {} {metric} {versus}", "NOT MEASURED", work.text()));
        }
    }
    verdict
}

/// egret's value, in microseconds if it is a time.
fn by_itself(line: &Line) -> Option<f64> {
    let worst = || Some(line.of(EGRET)?.iter().copied().fold(0.0, f64::max));
    let value = if matches!(line.metric, "max" | "late") { worst() } else { line.median_of(EGRET) };
    value.map(|value| value * micros(line.unit))
}

/// Microseconds in a unit of time; 1 for what isn't a time.
fn micros(unit: &str) -> f64 {
    match unit {
        "ns" => 1e-3,
        "ms" => 1e3,
        "s" => 1e6,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::Better;

    fn line(
        contest: &'static str,
        name: &str,
        metric: &'static str,
        unit: &'static str,
        series: &[(&str, f64)],
    ) -> Line {
        let better = if metric == "rps" { Better::More } else { Better::Less };
        let series = series.iter().map(|&(name, value)| (name.to_string(), vec![value])).collect();
        Line { contest, name: name.into(), metric, unit, better, series }
    }

    fn has(verdict: &Verdict, begin: &str) -> bool {
        verdict.text.iter().any(|text| text.starts_with(begin))
    }

    #[test]
    fn beside_rivals_and_alone() {
        let lines = [
            line("http", "conns=64", "rps", "1/s", &[("egret", 100.0), ("tokio", 99.0), ("epoll", 101.0)]),
            line("http", "idle=8000", "idle_cost", "1", &[("egret", 1.02), ("tokio", 1.1)]),
            line("http", "conns=64", "syscalls", "1", &[("egret", 2.2)]),
        ];
        let verdict = check(&lines, &["http"]);
        assert!(
            has(&verdict, "FALLS SHORT  http conns=64 rps egret/tokio 1.01 (at least 1.03)"),
            "{verdict:#?}"
        );
        assert!(
            has(&verdict, "PASS         http conns=64 rps egret/epoll 0.99 (at least 0.98)"),
            "{verdict:#?}"
        );
        assert!(
            has(&verdict, "PASS         http idle=8000 idle_cost egret 1.020 (at most 1.030)"),
            "{verdict:#?}"
        );
        assert!(
            has(&verdict, "FALLS SHORT  http conns=64 syscalls egret 2.200 (at most 2.100)"),
            "{verdict:#?}"
        );
        assert!(has(&verdict, "NOT MEASURED http close=1 rps egret/tokio"), "{verdict:#?}");
        assert_eq!((verdict.passed, verdict.short), (2, 2));
        // Nothing is said about contests that weren't asked for.
        assert!(!verdict.text.iter().any(|text| text.contains("stall")), "{verdict:#?}");
    }

    #[test]
    fn spawning_has_the_higher_bar_and_the_best_rival_counts() {
        let rivals = [("egret", 0.8), ("tokio", 2.0), ("smol", 1.0)];
        let lines = [
            line("tasks", "spawn_many_local", "time", "us", &rivals),
            line("tasks", "ping_pong", "time", "us", &rivals),
        ];
        let verdict = check(&lines, &["tasks"]);
        assert!(has(&verdict, "FALLS SHORT  tasks spawn_many_local time egret/best 0.80 (at most 0.67)"));
        assert!(has(&verdict, "PASS         tasks ping_pong time egret/best 0.80 (at most 0.83)"));
        assert_eq!(verdict.missing, 0);
    }

    #[test]
    fn times_by_themselves_are_held_in_microseconds() {
        let mut lines = [
            line("stall", "sleep", "p99.9", "ms", &[("egret", 4.9)]),
            line("stall", "sleep", "max", "us", &[("egret", 19_999.0)]),
        ];
        // One bad round is enough for the worst, and not for the median.
        lines[0].series[0].1.extend([4.9, 5.1]);
        lines[1].series[0].1.extend([19_999.0, 20_001.0]);
        let verdict = check(&lines, &["stall"]);
        assert_eq!((verdict.passed, verdict.short, verdict.missing), (1, 1, 0), "{verdict:#?}");
    }

    #[test]
    fn each_bar_is_about_a_contest_that_exists() {
        for Row(contest, ..) in BARS {
            assert!(crate::all::find(contest).is_some(), "{contest}");
        }
    }
}
