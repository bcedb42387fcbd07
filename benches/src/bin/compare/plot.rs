//! Pictures of a run, as SVG files: which there are, and what is in each.
//!
//! | file | picture |
//! |---|---|
//! | `http_cpu`, `http_rps`, `http_p99` | each line of the HTTP contest, relative to tokio |
//! | `stall_*` | percentiles of the healthy clients' latency beside a bad handler |
//! | `memory` | bytes of an idle connection, a sleeping task, an armed timer |
//! | `tasks`, `timers` | how many times egret's time each one takes |
//! | `wake` | latency of a wake |
//!
//! `scale` has the axes, `canvas` paper, colours and frame, `bars` and `tail` the two kinds of drawing. The same file gives the
//! same pictures, byte for byte: what is drawn comes from the file alone.

mod bars;
mod canvas;
mod scale;
mod tail;

use crate::lines::{EGRET, Line, Results, contestants, ratio_text};
use crate::stall;
use crate::stats::median;
use bars::{Bar, Group, Panel};
use canvas::Frame;
use scale::label;
use std::fs;
use std::path::Path;
use tail::Tail;

/// What the HTTP contest's numbers are relative to.
const TOKIO: &str = "tokio";

/// A picture that could be drawn: the file's name without its ending, and its text.
type Picture = (String, String);

/// Draws all pictures for which there are lines into the directory `to`, which is made if it isn't there. Returns the paths.
///
/// # Errors
/// If there is nothing to draw, or a file can't be written.
pub(crate) fn draw(results: &Results, to: &str) -> Result<Vec<String>, String> {
    let pictures = pictures(results)?;
    if pictures.is_empty() {
        return Err("there is no line to draw".into());
    }
    fs::create_dir_all(to).map_err(|error| format!("can't make {to}: {error}"))?;
    let write = |(name, svg): Picture| {
        let path = Path::new(to).join(format!("{name}.svg")).display().to_string();
        fs::write(&path, svg).map_err(|error| format!("can't write {path}: {error}"))?;
        Ok(path)
    };
    pictures.into_iter().map(write).collect()
}

fn pictures(results: &Results) -> Result<Vec<Picture>, String> {
    let lines = |contest: &str, metric: &str| -> Vec<&Line> {
        results.lines.iter().filter(|line| line.contest == contest && line.metric == metric).collect()
    };
    let mut pictures = Vec::new();
    let mut add = |name: &str, picture: Option<Result<String, String>>| -> Result<(), String> {
        if let Some(svg) = picture {
            pictures.push((name.to_string(), svg.map_err(|what| format!("{name}: {what}"))?));
        }
        Ok(())
    };
    let cpu = ("HTTP: the server's CPU time for a request", "relative to tokio; less is better");
    let rps = (
        "HTTP: requests per second",
        "relative to tokio; more is better. The client runs on the same cores.",
    );
    // Tails are far apart: beside the worst of them the others couldn't be told from each other.
    let p99 = (
        "HTTP: latency that 99 % of the requests stay below",
        "relative to tokio, logarithmic; to the left of the dashed line: faster than tokio",
    );
    for (metric, words, log_from) in [("cpu", cpu, None), ("rps", rps, None), ("p99", p99, Some(1.0))] {
        let picture = relative_to_tokio(results, &lines("http", metric), words, log_from);
        add(&format!("http_{metric}"), picture)?;
    }
    for name in names(results.lines.iter().filter(|line| line.contest == "stall" && line.name != "none")) {
        add(&format!("stall_{name}"), stall_picture(results, name))?;
    }
    add("memory", memory_picture(results, &lines("memory", "bytes")))?;
    let title = "Tasks: time for the same work, in multiples of egret's";
    add("tasks", multiples_of_egret(results, &lines("tasks", "time"), title))?;
    let title = "Timers: time for the same work, in multiples of egret's";
    add("timers", multiples_of_egret(results, &lines("timers", "time"), title))?;
    add("wake", wake_picture(results))?;
    Ok(pictures)
}

/// The pieces of work that there are, in the order in which they first come.
fn names<'a>(lines: impl Iterator<Item = &'a Line>) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for line in lines {
        if !names.contains(&line.name.as_str()) {
            names.push(&line.name);
        }
    }
    names
}

/// One panel of bars, tokio's being 1. None without lines in which tokio is.
fn relative_to_tokio(
    results: &Results,
    lines: &[&Line],
    (title, subtitle): (&str, &str),
    log_from: Option<f64>,
) -> Option<Result<String, String>> {
    let groups: Vec<Group> = lines
        .iter()
        .filter_map(|line| {
            let base = line.of(TOKIO)?;
            let bar = |who: &str, rounds: &[f64]| relative(who, rounds, base, ratio_text);
            Some(Group { label: work_label(line), bars: bars_of(line, bar) })
        })
        .collect();
    let panel = Panel {
        heading: String::new(),
        axis: "tokio = 1".into(),
        log_from,
        mark: Some((1.0, TOKIO)),
        groups,
    };
    bars_picture(results, lines, title, subtitle, vec![panel])
}

/// One panel of bars on a logarithmic axis that begin at egret's 1. None without lines in which egret is.
fn multiples_of_egret(results: &Results, lines: &[&Line], title: &str) -> Option<Result<String, String>> {
    let groups: Vec<Group> = lines
        .iter()
        .filter_map(|line| {
            let base = line.of(EGRET)?;
            let bar = |who: &str, rounds: &[f64]| match who {
                // egret beside itself is 1, and says instead how long that is.
                EGRET => absolute(who, rounds, &|value| duration(value, line.unit)).map(|bar| Bar {
                    value: 1.0,
                    spread: (1.0, 1.0),
                    ..bar
                }),
                _ => relative(who, rounds, base, times),
            };
            Some(Group { label: work_label(line), bars: bars_of(line, bar) })
        })
        .collect();
    let panel = Panel {
        heading: String::new(),
        axis: "egret = 1, logarithmic".into(),
        log_from: Some(1.0),
        mark: Some((1.0, EGRET)),
        groups,
    };
    let subtitle =
        "to the right of the dashed line: slower than egret. At egret's bar: the time of one operation.";
    bars_picture(results, lines, title, subtitle, vec![panel])
}

/// A panel each, for a timer has a hundredth of a connection's bytes.
fn memory_picture(results: &Results, lines: &[&Line]) -> Option<Result<String, String>> {
    let panel = |line: &&Line| {
        let bar =
            |who: &str, rounds: &[f64]| absolute(who, rounds, &|value| format!("{} B", label(value.round())));
        let group = Group { label: String::new(), bars: bars_of(line, bar) };
        plain_panel(work_label(line), "bytes", vec![group])
    };
    let panels = lines.iter().map(panel).collect();
    let title = "Memory: what one more of them takes";
    bars_picture(
        results,
        lines,
        title,
        "the process's own memory, without the kernel's; less is better",
        panels,
    )
}

/// Medians and tails of a wake, a panel for each piece of work.
fn wake_picture(results: &Results) -> Option<Result<String, String>> {
    let lines: Vec<&Line> = results
        .lines
        .iter()
        .filter(|line| line.contest == "wake" && micros(line.unit).is_some() && !line.metric.contains("cpu"))
        .collect();
    let group = |line: &&&Line| {
        let scale = micros(line.unit)?;
        let bar = |who: &str, rounds: &[f64]| {
            let rounds: Vec<f64> = rounds.iter().map(|value| value * scale).collect();
            absolute(who, &rounds, &|value| format!("{} µs", label(value)))
        };
        Some(Group { label: line.metric.into(), bars: bars_of(line, bar) })
    };
    let panel = |name: &&str| {
        let of_name: Vec<&&Line> = lines.iter().filter(|line| line.name == *name).collect();
        let heading = of_name.first().map_or(String::new(), |line| work_label(line));
        plain_panel(heading, "microseconds", of_name.iter().filter_map(group).collect())
    };
    let panels = names(lines.iter().copied()).iter().map(panel).collect();
    let title = "Wake: from a foreign thread's wake to the task running";
    bars_picture(results, &lines, title, "less is better", panels)
}

fn plain_panel(heading: String, axis: &str, groups: Vec<Group>) -> Panel {
    Panel { heading, axis: axis.into(), log_from: None, mark: None, groups }
}

/// The picture of panels that have bars; none if there are none.
fn bars_picture(
    results: &Results,
    lines: &[&Line],
    title: &str,
    subtitle: &str,
    mut panels: Vec<Panel>,
) -> Option<Result<String, String>> {
    for panel in &mut panels {
        panel.groups.retain(|group| !group.bars.is_empty());
    }
    panels.retain(|panel| !panel.groups.is_empty());
    let drawn = |who: &str| {
        panels.iter().flat_map(|panel| &panel.groups).flat_map(|group| &group.bars).any(|bar| bar.who == who)
    };
    let legend = contestants(lines.iter().copied()).into_iter().filter(|who| drawn(who)).map(String::from);
    let rounds = "thin lines from the least to the most";
    let frame = frame(results, lines, (title, subtitle), legend.collect(), rounds);
    (!panels.is_empty()).then(|| bars::draw(&frame, &panels))
}

/// The percentiles of one kind of bad handler, in milliseconds.
fn stall_picture(results: &Results, name: &str) -> Option<Result<String, String>> {
    const PERCENTILES: [&str; 5] = ["p50", "p90", "p99", "p99.9", "max"];
    let lines: Vec<&Line> = PERCENTILES
        .iter()
        .filter_map(|metric| {
            let is = |line: &&Line| line.contest == "stall" && line.name == name && line.metric == *metric;
            results.lines.iter().find(is)
        })
        .collect();
    let legend = contestants(lines.iter().copied());
    if legend.is_empty() {
        return None;
    }
    let tail = |who: &&str| {
        let value = |line: &&Line| {
            let rounds = line.of(who)?.iter().copied();
            // The worst of all rounds is the worst.
            let value = if line.metric == "max" { rounds.fold(0.0, f64::max) } else { median(rounds) };
            Some(value * micros(line.unit)? / 1e3)
        };
        Tail { who: who.to_string(), values: lines.iter().map(value).collect() }
    };
    let mut tails: Vec<Tail> = legend.iter().map(tail).collect();
    // The last one lies on top.
    tails.sort_by_key(|tail| tail.who == EGRET);
    let labels: Vec<&str> = lines.iter().map(|line| line.metric).collect();
    let millis = stall::BLOCK.as_secs_f64() * 1e3;
    let title = format!("One bad handler {} for {millis} ms, again and again", work_label(lines[0]));
    let subtitle =
        "latency of 16 healthy clients of the same server, in milliseconds, logarithmic; less is better";
    let names = legend.iter().map(|who| who.to_string()).collect();
    let frame = frame(results, &lines, (&title, subtitle), names, "max is that of all rounds");
    let mark = (millis, format!("{millis} ms, one block"));
    Some(tail::draw(&frame, &labels, "ms", Some(mark), &tails))
}

/// `rounds` says what is drawn of more than one round.
fn frame(
    results: &Results,
    lines: &[&Line],
    (title, subtitle): (&str, &str),
    legend: Vec<String>,
    rounds: &str,
) -> Frame {
    let machine = &results.machine;
    let count = lines.iter().flat_map(|line| &line.series).map(|(_, rounds)| rounds.len()).max();
    let rounds = match count {
        Some(count @ 2..) => format!("medians of {count} rounds; {rounds}"),
        _ => "one round".to_string(),
    };
    Frame {
        title: title.into(),
        subtitle: subtitle.into(),
        legend,
        footer: vec![
            format!("{}, Linux {}, {} cores, {}", machine.date, machine.kernel, machine.cores, machine.cpu),
            format!("{}; {rounds}", results.command),
        ],
    }
}

fn bars_of(line: &Line, bar: impl Fn(&str, &[f64]) -> Option<Bar>) -> Vec<Bar> {
    line.series.iter().filter_map(|(who, rounds)| bar(who, rounds)).collect()
}

/// The median of the rounds. No bar for who has no rounds, or numbers that can't be drawn.
fn absolute(who: &str, rounds: &[f64], text: &dyn Fn(f64) -> String) -> Option<Bar> {
    let least = rounds.iter().copied().reduce(f64::min)?;
    let most = rounds.iter().copied().reduce(f64::max)?;
    let value = median(rounds.iter().copied());
    let finite = value.is_finite() && least.is_finite() && most.is_finite();
    finite.then(|| Bar { who: who.into(), value, spread: (least, most), text: text(value) })
}

/// The ratios to `base` within the rounds.
fn relative(who: &str, rounds: &[f64], base: &[f64], text: impl Fn(f64) -> String) -> Option<Bar> {
    let ratios: Vec<f64> = rounds.iter().zip(base).map(|(value, base)| value / base).collect();
    absolute(who, &ratios, &text)
}

/// How many microseconds one unit is; none for what isn't a time.
fn micros(unit: &str) -> Option<f64> {
    match unit {
        "ns" => Some(1e-3),
        "us" => Some(1.0),
        "ms" => Some(1e3),
        "s" => Some(1e6),
        _ => None,
    }
}

/// A time in the unit that suits it.
fn duration(value: f64, unit: &str) -> String {
    let Some(factor) = micros(unit) else {
        return format!("{} {unit}", label(value));
    };
    match value * factor {
        us if us >= 1e6 => format!("{} s", label(us / 1e6)),
        us if us >= 1e3 => format!("{} ms", label(us / 1e3)),
        us if us >= 1.0 => format!("{} µs", label(us)),
        us => format!("{} ns", label(us * 1e3)),
    }
}

/// A multiple, with three digits that count.
fn times(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{} ×", label(value)),
        value if value >= 10.0 => format!("{value:.1} ×"),
        _ => format!("{value:.2} ×"),
    }
}

/// What a piece of work is called in a picture.
fn work_label(line: &Line) -> String {
    let name = line.name.as_str();
    let grouped = |number: &str| number.parse().map_or(number.to_string(), label);
    match (line.contest, name.split_once('=').unwrap_or((name, ""))) {
        ("http", ("conns", number)) => format!("{} connections", grouped(number)),
        ("http", ("pipelined", number)) => format!("pipelined {number} deep"),
        ("http", ("close", "1")) => "1 request a connection".into(),
        ("http", ("idle", number)) => format!("64 busy, {} idle", grouped(number)),
        ("stall", ("sleep", "")) => "sleeps".into(),
        ("stall", ("spin", "")) => "computes".into(),
        ("tasks", (name, "")) => match name.strip_prefix("ae_") {
            Some(name) => format!("{} (async-executor's)", name.replace('_', " ")),
            None => name.replace('_', " "),
        },
        _ => name.replace('_', " "),
    }
}

#[cfg(test)]
mod tests;
