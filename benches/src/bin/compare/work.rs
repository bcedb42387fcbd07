//! Work inside of one process: a job, done by one contestant, in a process of its own.
//!
//! ```text
//!   compare tasks ──► rounds ──spawns──► compare work egret tasks/ping_pong --workers 2 --millis 300
//!                        ▲                      │ a runtime is started, warmed up, measured
//!                        └──── VALUE ping_pong time 123.4 ◄────┘
//! ```
//!
//! A process each, so that nobody's idle threads, heap and page tables are in another's picture. The contestants take turns within
//! a round, who begins changes from round to round. What a child prints are its values, one a line; what it can't do right (a
//! lost task, an early timer) ends it with an error, and one that hangs is ended by its alarm: both void the contest.

mod clock;
mod random;
mod runtime;

pub(crate) use clock::{Clock, wait_until_others_are_quiet};
pub(crate) use random::Random;
pub(crate) use runtime::{Egret, Runtime, Smol, Tokio};

use crate::args::Args;
use crate::lines::{Better, Line};
use crate::stats::{median, turns};
use crate::{sleepers, tasks, timers, wake};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Who can do work inside of a process.
pub(crate) const CONTESTANTS: [&str; 3] = ["egret", "tokio", "smol"];

/// After how many seconds a child counts as hanging. A guess: the longest turn takes about 15 on a slow machine.
const ALARM: u32 = 120;

/// Long iterations are still done this often, unless that takes this many times the time that was asked for. Guesses.
const LEAST_ITERATIONS: usize = 3;
const PATIENCE: u32 = 4;

/// The quantities, with their units. Less of each is better.
const METRICS: [(&str, &str); 6] =
    [("time", "ns"), ("p50", "us"), ("p99", "us"), ("late", "us"), ("bytes", "B"), ("heap", "B")];

/// What a child is told.
pub(crate) struct Settings {
    pub(crate) workers: usize,
    /// How long to measure, roughly.
    pub(crate) time: Duration,
    /// How many of whatever the job has many of; only jobs that say so look at it.
    pub(crate) count: usize,
}

/// What came out of a job: name of the line, metric, value.
pub(crate) type Value = (String, &'static str, f64);

/// The child: `compare work <contestant> <contest>/<job> --workers N --millis N --count N`.
pub(crate) fn run(mut args: Args) -> Result<(), String> {
    let who: String = args.positional("a contestant")?;
    let job: String = args.positional("a job")?;
    let settings = Settings {
        workers: args.number("--workers")?.unwrap_or(2),
        time: Duration::from_millis(args.number("--millis")?.unwrap_or(500) as u64),
        count: args.number("--count")?.unwrap_or(1_000),
    };
    args.finish()?;
    // SAFETY: alarm takes a number and has no other conditions; there is no handler, so that it ends the process.
    unsafe { libc::alarm(ALARM) };
    let values = match who.as_str() {
        "egret" => job_of::<Egret>(&job, &settings),
        "tokio" => job_of::<Tokio>(&job, &settings),
        "smol" => job_of::<Smol>(&job, &settings),
        other => Err(format!("`{other}` is none of {}", CONTESTANTS.join(", "))),
    }?;
    for (name, metric, value) in values {
        println!("VALUE {name} {metric} {value}");
    }
    Ok(())
}

fn job_of<R: Runtime>(job: &str, settings: &Settings) -> Result<Vec<Value>, String> {
    let runtime = R::start(settings.workers).map_err(|error| format!("can't start: {error}"))?;
    match job.split_once('/') {
        Some(("tasks", name)) => tasks::work(runtime, name, settings),
        Some(("timers", name)) => timers::work(runtime, name, settings),
        Some(("wake", name)) => wake::work(runtime, name, settings),
        Some(("memory", name)) => sleepers::work(runtime, name, settings),
        _ => Err(format!("there is no job `{job}`")),
    }
}

/// Does `iteration`, which consists of `operations`, until the time is up: nanoseconds an operation, the median of the iterations.
pub(crate) fn repeat(
    settings: &Settings,
    operations: usize,
    mut iteration: impl FnMut() -> Result<(), String>,
) -> Result<f64, String> {
    // A quarter of the time for caches, branch predictors and the allocator; at least one iteration.
    let start = Instant::now();
    while start.elapsed() < settings.time / 4 {
        iteration()?;
    }
    let mut times = Vec::new();
    let start = Instant::now();
    let wanted = |done: usize| {
        let (most, spent) = (settings.time * PATIENCE, start.elapsed());
        done == 0 || spent < settings.time || done < LEAST_ITERATIONS && spent < most
    };
    while wanted(times.len()) {
        let begun = Instant::now();
        iteration()?;
        times.push(begun.elapsed().as_nanos() as f64 / operations as f64);
    }
    Ok(median(times))
}

/// The value that the part `part` of `values`, 0 to 1, doesn't exceed.
///
/// # Panics
/// If there are no values.
pub(crate) fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// One job's turns: all rounds of all contestants.
pub(crate) struct Turns<'a> {
    pub(crate) contest: &'static str,
    pub(crate) job: &'a str,
    pub(crate) who: &'a [&'static str],
    pub(crate) rounds: usize,
    pub(crate) settings: Settings,
}

impl Turns<'_> {
    /// Has them take turns, and sorts what they report into lines.
    pub(crate) fn take(&self) -> Result<Vec<Line>, String> {
        let mut lines: Vec<Line> = Vec::new();
        for round in 0..self.rounds {
            for turn in turns(round, self.who.len()) {
                let who = self.who[turn];
                let values = self.child(who).map_err(|what| {
                    format!("{who}, {}/{}, round {}: {what}", self.contest, self.job, round + 1)
                })?;
                for (name, metric, value) in values {
                    self.sort_in(&mut lines, who, name, metric, value)?;
                }
            }
        }
        Ok(lines)
    }

    fn child(&self, who: &str) -> Result<Vec<(String, String, f64)>, String> {
        let exe = std::env::current_exe().map_err(|error| format!("can't find myself: {error}"))?;
        let settings = &self.settings;
        let output = Command::new(exe)
            .args(["work", who, &format!("{}/{}", self.contest, self.job)])
            .args(["--workers", &settings.workers.to_string()])
            .args(["--millis", &settings.time.as_millis().to_string()])
            .args(["--count", &settings.count.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("can't start it: {error}"))?;
        if !output.status.success() {
            let hung = output.status.signal() == Some(libc::SIGALRM);
            return Err(format!("it ended with {}{}", output.status, if hung { ": it hung" } else { "" }));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().map(|line| parse(line).ok_or_else(|| format!("it said `{line}`"))).collect()
    }

    fn sort_in(
        &self,
        lines: &mut Vec<Line>,
        who: &str,
        name: String,
        metric: String,
        value: f64,
    ) -> Result<(), String> {
        let known = METRICS.into_iter().find(|(known, _)| *known == metric);
        let (metric, unit) = known.ok_or_else(|| format!("`{metric}` is no metric"))?;
        let at = lines.iter().position(|line| line.name == name && line.metric == metric);
        let at = at.unwrap_or_else(|| {
            let series = self.who.iter().map(|who| (who.to_string(), Vec::new())).collect();
            lines.push(Line { contest: self.contest, name, metric, unit, better: Better::Less, series });
            lines.len() - 1
        });
        let series = lines[at].series.iter_mut().find(|(name, _)| name == who);
        series.expect("every contestant has a series").1.push(value);
        Ok(())
    }
}

fn parse(line: &str) -> Option<(String, String, f64)> {
    let mut words = line.strip_prefix("VALUE ")?.split(' ');
    let value: (String, String, f64) =
        (words.next()?.into(), words.next()?.into(), words.next()?.parse().ok()?);
    (words.next().is_none() && value.2.is_finite()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_turns() -> Turns<'static> {
        let settings = Settings { workers: 2, time: Duration::from_millis(1), count: 1 };
        Turns { contest: "tasks", job: "x", who: &["egret", "tokio"], rounds: 2, settings }
    }

    #[test]
    fn values_are_read_and_nothing_else() {
        assert_eq!(parse("VALUE a time 1.5"), Some(("a".into(), "time".into(), 1.5)));
        for line in ["", "VALUE a time", "VALUE a time x", "VALUE a time 1 2", "VALUE a time NaN", "a time 1"]
        {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn values_go_to_their_lines_and_series() {
        let mut lines = Vec::new();
        for (who, metric, value) in [("tokio", "p50", 1.0), ("egret", "p50", 2.0), ("tokio", "p50", 3.0)] {
            some_turns().sort_in(&mut lines, who, "idle".into(), metric.into(), value).unwrap();
        }
        some_turns().sort_in(&mut lines, "egret", "idle".into(), "p99".into(), 4.0).unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].of("egret"), lines[0].of("tokio")), (Some(&[2.0][..]), Some(&[1.0, 3.0][..])));
        assert_eq!((lines[1].metric, lines[1].unit, lines[1].of("tokio")), ("p99", "us", None));
        assert!(some_turns().sort_in(&mut lines, "egret", "idle".into(), "colour".into(), 4.0).is_err());
    }

    #[test]
    fn percentiles_are_values_that_were_there() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let parts = [0.0, 0.5, 0.99, 0.999, 1.0].map(|part| percentile(&values, part));
        assert_eq!(parts, [1.0, 100.0, 198.0, 200.0, 200.0]);
        assert_eq!(percentile(&[7.0], 0.5), 7.0);
    }

    #[test]
    fn an_error_ends_the_iterations() {
        let mut left = 5;
        let settings = Settings { time: Duration::MAX / PATIENCE, ..some_turns().settings };
        let result = repeat(&settings, 1, || {
            left -= 1;
            if left == 0 { Err("lost".into()) } else { Ok(()) }
        });
        assert_eq!((result, left), (Err("lost".into()), 0));
    }
}
