//! What every contest yields: lines. How they are printed, written as JSON, and read back to be drawn.
//!
//! ```text
//!   contest ──► [Line] ──┬── print ──► the table, then `RATIO ...` for scripts
//!                        ├── json ───► FILE ──► read ──► plot
//!                        └── ratios, best_ratio ──► check
//! ```
//!
//! A ratio is always egret's value by the rival's, taken within a round, and then the median of the rounds: a machine's speed
//! drifts, and the turns of one round are neighbours in time. What can't be divided (a rival's zero) has no ratio.

use crate::machine::Machine;
use crate::stats::{median, median_ratio};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Whose ratios are taken.
pub(crate) const EGRET: &str = "egret";

/// Which way a quantity gets better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Less,
    More,
}

/// One line of a contest: one quantity of one piece of work, measured for each contestant, round by round.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    /// "http", "stall", "memory", "tasks", "timers", "wake".
    pub(crate) contest: &'static str,
    /// The piece of work, without spaces: "conns=64", "spawn_many_local".
    pub(crate) name: String,
    /// The quantity: "rps", "cpu", "p99", "time", "bytes".
    pub(crate) metric: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    /// A contestant's name and its values, one a round; round `n` of one is beside round `n` of the others. Who can't do the
    /// work isn't there. A name that begins with "egret" (egret with something switched off, say) is not a rival's.
    pub(crate) series: Vec<(String, Vec<f64>)>,
}

impl Line {
    /// The values of `who`; none if it wasn't there.
    pub(crate) fn of(&self, who: &str) -> Option<&[f64]> {
        let (_, rounds) = self.series.iter().find(|(name, rounds)| name == who && !rounds.is_empty())?;
        Some(rounds)
    }

    /// The median of the rounds of `who`.
    pub(crate) fn median_of(&self, who: &str) -> Option<f64> {
        self.of(who).map(|rounds| median(rounds.iter().copied()))
    }

    /// egret's ratio to `rival`.
    pub(crate) fn ratio(&self, rival: &str) -> Option<f64> {
        let (ours, theirs) = (self.of(EGRET)?, self.of(rival)?);
        let ratio = median_ratio(ours.iter().copied(), theirs.iter().copied());
        ratio.is_finite().then_some(ratio)
    }

    /// egret's ratio to whoever of the rivals was best, round by round.
    pub(crate) fn best_ratio(&self) -> Option<f64> {
        let ours = self.of(EGRET)?;
        let rivals: Vec<&[f64]> = self
            .series
            .iter()
            .filter(|(name, rounds)| !name.starts_with(EGRET) && !rounds.is_empty())
            .map(|(_, rounds)| rounds.as_slice())
            .collect();
        let best = |round: usize| {
            let values = rivals.iter().filter_map(|rounds| rounds.get(round).copied());
            match self.better {
                Better::Less => values.reduce(f64::min),
                Better::More => values.reduce(f64::max),
            }
        };
        let best: Vec<f64> = (0..ours.len()).map_while(best).collect();
        if best.is_empty() {
            return None;
        }
        let ratio = median_ratio(ours.iter().copied(), best);
        ratio.is_finite().then_some(ratio)
    }
}

/// egret's ratios to each of the others in the line, in their order.
pub(crate) fn ratios(line: &Line) -> Vec<(&str, f64)> {
    let others = line.series.iter().map(|(name, _)| name.as_str()).filter(|name| *name != EGRET);
    others.filter_map(|name| Some((name, line.ratio(name)?))).collect()
}

/// Prints the tables, and after them the lines for scripts.
pub(crate) fn print(lines: &[Line]) {
    print!("{}", text(lines));
}

fn text(lines: &[Line]) -> String {
    let mut text = String::new();
    let works = works(lines);
    for (at, work) in works.iter().enumerate() {
        if at > 0 {
            text.push('\n');
        }
        table(&mut text, work);
    }
    if works.iter().flatten().any(|line| !ratios(line).is_empty()) {
        text.push('\n');
    }
    for work in &works {
        ratio_lines(&mut text, work);
    }
    text
}

/// The lines of one piece of work each, in the order in which they first come.
fn works(lines: &[Line]) -> Vec<Vec<&Line>> {
    let mut works: Vec<Vec<&Line>> = Vec::new();
    for line in lines {
        let same = |work: &&mut Vec<&Line>| work[0].contest == line.contest && work[0].name == line.name;
        match works.iter_mut().find(same) {
            Some(work) => work.push(line),
            None => works.push(vec![line]),
        }
    }
    works
}

/// Everybody who has values in one of the lines, in the order in which they first come.
pub(crate) fn contestants<'a>(lines: impl IntoIterator<Item = &'a Line>) -> Vec<&'a str> {
    let mut found: Vec<&str> = Vec::new();
    for (name, rounds) in lines.into_iter().flat_map(|line| &line.series) {
        if !rounds.is_empty() && !found.contains(&name.as_str()) {
            found.push(name);
        }
    }
    found
}

/// Medians: a row for each quantity, a column for each contestant.
fn table(text: &mut String, work: &[&Line]) {
    let contestants = contestants(work.iter().copied());
    let rounds = work.iter().flat_map(|line| &line.series).map(|(_, rounds)| rounds.len()).max().unwrap_or(0);
    let head = format!("{} {}", work[0].contest, work[0].name);
    _ = writeln!(text, "{head}, medians of {rounds} {}", if rounds == 1 { "round" } else { "rounds" });
    _ = write!(text, "{:20}", "");
    for name in &contestants {
        _ = write!(text, " {name:>12}");
    }
    text.push('\n');
    for line in work {
        _ = write!(text, "  {:18}", format!("{} [{}]", line.metric, line.unit));
        for name in &contestants {
            let value = line.median_of(name).map_or("-".into(), number);
            _ = write!(text, " {value:>12}");
        }
        text.push('\n');
    }
}

fn ratio_lines(text: &mut String, work: &[&Line]) {
    for name in contestants(work.iter().copied()).into_iter().filter(|name| *name != EGRET) {
        let metrics: Vec<String> = work
            .iter()
            .filter_map(|line| Some(format!(" {}={}", line.metric, ratio_text(line.ratio(name)?))))
            .collect();
        if !metrics.is_empty() {
            _ = writeln!(text, "RATIO {} {} egret/{name}{}", work[0].contest, work[0].name, metrics.concat());
        }
    }
}

/// Four digits that count, and all of those before the point.
pub(crate) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 1000.0 || size == 0.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        size if size >= 1.0 => 3,
        _ => 4,
    };
    format!("{value:.decimals$}")
}

/// Two decimals; four where two would be nearly nothing.
pub(crate) fn ratio_text(ratio: f64) -> String {
    if ratio < 0.1 { format!("{ratio:.4}") } else { format!("{ratio:.2}") }
}

/// The lines with every round, the medians and the ratios; `command` is what was typed to get them.
pub(crate) fn json(command: &str, machine: &Machine, lines: &[Line]) -> Value {
    let series = |(name, rounds): &(String, Vec<f64>)| {
        let median = (!rounds.is_empty()).then(|| median(rounds.iter().copied()));
        json!({ "name": name, "median": median, "rounds": rounds })
    };
    let line = |line: &Line| {
        let ratio = |(rival, ratio): (&str, f64)| json!({ "rival": rival, "median": ratio });
        json!({
            "contest": line.contest,
            "name": line.name,
            "metric": line.metric,
            "unit": line.unit,
            "better": match line.better { Better::Less => "less", Better::More => "more" },
            "series": line.series.iter().map(series).collect::<Vec<_>>(),
            "ratios": ratios(line).into_iter().map(ratio).collect::<Vec<_>>(),
        })
    };
    json!({
        "command": command,
        "date": machine.date,
        "kernel": machine.kernel,
        "cpu": machine.cpu,
        "cores": machine.cores,
        "lines": lines.iter().map(line).collect::<Vec<_>>(),
    })
}

/// A JSON file, read back.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) command: String,
    pub(crate) machine: Machine,
    pub(crate) lines: Vec<Line>,
}

/// Reads what [`json()`] has written. Medians and ratios are taken anew from the rounds.
///
/// # Errors
/// Says what is missing, or isn't what it should be.
pub(crate) fn read(text: &str) -> Result<Results, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("it isn't JSON: {error}"))?;
    let cores = value["cores"].as_u64().ok_or("`cores` isn't a number")?;
    let lines = value["lines"].as_array().ok_or("`lines` isn't a list")?;
    Ok(Results {
        command: word(&value, "command")?.into(),
        machine: Machine {
            kernel: word(&value, "kernel")?.into(),
            cpu: word(&value, "cpu")?.into(),
            cores: usize::try_from(cores).map_err(|error| format!("`cores`: {error}"))?,
            date: word(&value, "date")?.into(),
        },
        lines: lines.iter().map(read_line).collect::<Result<_, _>>()?,
    })
}

fn read_line(value: &Value) -> Result<Line, String> {
    let series = value["series"].as_array().ok_or("`series` isn't a list")?;
    Ok(Line {
        contest: leak(word(value, "contest")?),
        name: word(value, "name")?.into(),
        metric: leak(word(value, "metric")?),
        unit: leak(word(value, "unit")?),
        better: match word(value, "better")? {
            "less" => Better::Less,
            "more" => Better::More,
            other => return Err(format!("`better` is `{other}`, neither `less` nor `more`")),
        },
        series: series.iter().map(read_series).collect::<Result<_, _>>()?,
    })
}

fn read_series(value: &Value) -> Result<(String, Vec<f64>), String> {
    let name = word(value, "name")?;
    let rounds = value["rounds"].as_array().ok_or("`rounds` isn't a list")?;
    let rounds: Option<Vec<f64>> = rounds.iter().map(Value::as_f64).collect();
    Ok((name.into(), rounds.ok_or_else(|| format!("a round of `{name}` isn't a number"))?))
}

fn word<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    value[key].as_str().ok_or_else(|| format!("`{key}` isn't a string"))
}

/// A word that lives as long as the process: a file has a few hundred short ones, and the process draws it and ends.
fn leak(word: &str) -> &'static str {
    word.to_string().leak()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(metric: &'static str, better: Better, series: &[(&str, &[f64])]) -> Line {
        Line {
            contest: "http",
            name: "conns=64".into(),
            metric,
            unit: "us",
            better,
            series: series.iter().map(|(name, rounds)| (name.to_string(), rounds.to_vec())).collect(),
        }
    }

    fn machine() -> Machine {
        Machine { kernel: "6.1".into(), cpu: "a cpu".into(), cores: 2, date: "2026-01-01 00:00 UTC".into() }
    }

    #[test]
    fn the_lines_for_scripts_have_the_documented_form() {
        let rps: &[(&str, &[f64])] = &[("egret", &[107.0, 200.0, 50.0]), ("tokio", &[100.0, 100.0, 100.0])];
        let cpu: &[(&str, &[f64])] = &[("egret", &[9.5, 8.0, 9.0]), ("tokio", &[10.0, 10.0, 9.0])];
        let lines = [line("rps", Better::More, rps), line("cpu", Better::Less, cpu)];
        let text = text(&lines);
        assert!(text.ends_with("\n\nRATIO http conns=64 egret/tokio rps=1.07 cpu=0.95\n"), "{text}");
        assert!(text.starts_with("http conns=64, medians of 3 rounds\n"), "{text}");
    }

    #[test]
    fn who_was_not_there_has_a_dash_and_no_ratio() {
        let lines = [
            line("rps", Better::More, &[("egret", &[2.0]), ("tokio", &[1.0]), ("smol", &[0.0])]),
            line("cpu", Better::Less, &[("egret", &[2.0]), ("smol", &[1.0])]),
        ];
        let text = text(&lines);
        let row = text.lines().find(|row| row.trim_start().starts_with("cpu")).unwrap();
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["cpu", "[us]", "2.000", "-", "1.000"]);
        assert!(text.contains("egret/tokio rps=2.00\n"), "{text}");
        // Nothing can be divided by smol's zero.
        assert!(text.contains("egret/smol cpu=2.00\n"), "{text}");
        assert!(json("", &machine(), &lines)["lines"][0]["ratios"].as_array().unwrap().len() == 1);
    }

    #[test]
    fn without_egret_there_is_no_ratio() {
        let lines = [line("cpu", Better::Less, &[("tokio", &[1.0]), ("smol", &[2.0])])];
        assert!(!text(&lines).contains("RATIO"));
        assert_eq!(lines[0].best_ratio(), None);
    }

    #[test]
    fn the_best_rival_is_the_best_of_each_round() {
        let series: &[(&str, &[f64])] = &[
            ("egret", &[2.0, 2.0, 2.0]),
            ("tokio", &[4.0, 8.0, 1.0]),
            ("smol", &[8.0, 4.0, 4.0]),
            // Not a rival, however good.
            ("egret-off", &[0.1, 0.1, 0.1]),
        ];
        assert_eq!(line("time", Better::Less, series).best_ratio(), Some(0.5));
        assert_eq!(line("rps", Better::More, series).best_ratio(), Some(0.25));
        assert_eq!(line("time", Better::Less, &[("egret", &[1.0])]).best_ratio(), None);
    }

    #[test]
    fn small_ratios_keep_their_digits() {
        assert_eq!([0.123, 0.0042, 12.0].map(ratio_text), ["0.12", "0.0042", "12.00"]);
        assert_eq!(
            [123_456.7, 123.45, 1.0, 0.12, 0.0].map(number),
            ["123457", "123.5", "1.000", "0.1200", "0"]
        );
    }

    #[test]
    fn what_is_written_is_read() {
        let lines = vec![
            line("cpu", Better::Less, &[("egret", &[9.5, 0.1]), ("tokio", &[10.0, 1.0 / 3.0])]),
            line("rps", Better::More, &[("egret", &[1.0]), ("smol", &[])]),
        ];
        let text = json("compare http", &machine(), &lines).to_string();
        let results = read(&text).unwrap();
        assert_eq!(results.lines, lines);
        assert_eq!((results.command.as_str(), results.machine.cores), ("compare http", 2));
        assert_eq!(
            (results.machine.kernel.as_str(), results.machine.date.as_str()),
            ("6.1", "2026-01-01 00:00 UTC")
        );
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said() {
        let good = json("c", &machine(), &[line("cpu", Better::Less, &[("egret", &[9.5])])]).to_string();
        assert!(read(&good).is_ok());
        let cases = [
            ("\"less\"", "\"worse\"", "better"),
            ("9.5", "null", "egret"),
            ("\"cores\":2", "\"cores\":-1", "cores"),
            ("\"lines\"", "\"strokes\"", "lines"),
            ("\"metric\"", "\"metre\"", "metric"),
            ("{", "[", "JSON"),
        ];
        for (from, to, said) in cases {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert!(read(&bad).unwrap_err().contains(said), "{bad}");
        }
    }
}
