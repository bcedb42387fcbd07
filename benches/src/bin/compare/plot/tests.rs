//! The pictures of a made-up run: numbers that nobody measured, and that appear nowhere else.

use super::*;
use crate::lines::{Better, json, read};
use crate::machine::Machine;

const CONTESTANTS: [&str; 5] = ["egret", "tokio", "smol", "monoio", "epoll"];

fn machine() -> Machine {
    let cpu = "A <fast> & \"loud\" CPU".into();
    Machine { kernel: "6.1.0".into(), cpu, cores: 2, date: "2026-01-02 03:04 UTC".into() }
}

/// A line with a value for each of `who`: the first `value`, each next half as much again.
fn line(
    contest: &'static str,
    name: &str,
    metric: &'static str,
    unit: &'static str,
    value: f64,
    who: &[&str],
) -> Line {
    let rounds = |at: usize| {
        let value = value * 1.5f64.powi(at as i32);
        vec![value, value * 1.1, value * 0.9]
    };
    let series = who.iter().enumerate().map(|(at, who)| (who.to_string(), rounds(at))).collect();
    Line { contest, name: name.into(), metric, unit, better: Better::Less, series }
}

fn results() -> Results {
    let mut lines = Vec::new();
    for name in ["conns=16", "conns=64", "conns=512", "conns=4096", "pipelined=16", "close=1", "idle=8000"] {
        for (metric, unit, value) in [("rps", "1/s", 100_000.0), ("cpu", "us", 9.0), ("p99", "us", 800.0)] {
            lines.push(line("http", name, metric, unit, value, &CONTESTANTS));
        }
    }
    for (at, metric) in ["p50", "p90", "p99", "p99.9", "max"].into_iter().enumerate() {
        for name in ["sleep", "spin"] {
            lines.push(line("stall", name, metric, "us", 90.0 * 4f64.powi(at as i32), &CONTESTANTS[..4]));
        }
    }
    for (name, value) in [("idle_connection", 700.0), ("sleeping_task", 220.0), ("armed_timer", 70.0)] {
        lines.push(line("memory", name, "bytes", "B", value, &CONTESTANTS[..3]));
    }
    for (name, value) in [("spawn_many_local", 60.0), ("ping_pong", 700.0), ("ae_web_server", 40_000.0)] {
        lines.push(line("tasks", name, "time", "ns", value, &CONTESTANTS[..3]));
    }
    lines.push(line("timers", "set", "time", "ns", 50.0, &CONTESTANTS[..3]));
    for name in ["idle", "busy"] {
        lines.push(line("wake", name, "p50", "us", 12.0, &CONTESTANTS[..3]));
        lines.push(line("wake", name, "p99", "us", 90.0, &CONTESTANTS[..3]));
    }
    Results { command: "compare all --json FILE".into(), machine: machine(), lines }
}

/// The text between the tags of an SVG; panics if the tags don't match.
fn text_of(svg: &str) -> String {
    let (mut open, mut text, mut rest) = (Vec::new(), String::new(), svg);
    while let Some(begin) = rest.find('<') {
        text.push_str(&rest[..begin]);
        let end = begin + rest[begin..].find('>').expect("a tag ends");
        let tag = &rest[begin + 1..end];
        let name = tag.trim_matches('/').split_whitespace().next().expect("a tag has a name");
        assert!(!tag[1..].contains('<'), "{tag}");
        assert!(tag.matches('"').count() % 2 == 0, "{tag}");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?}");
    let entities = ["&amp;", "&lt;", "&gt;", "&quot;", "&apos;"];
    let rest = entities.iter().fold(text.clone(), |text, entity| text.replace(entity, ""));
    assert!(!rest.contains('&'), "{rest}");
    text
}

#[test]
fn every_picture_says_what_it_shows() {
    let pictures = pictures(&results()).unwrap();
    let names: Vec<&str> = pictures.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "http_cpu",
        "http_rps",
        "http_p99",
        "stall_sleep",
        "stall_spin",
        "memory",
        "tasks",
        "timers",
        "wake",
    ];
    assert_eq!(names, expected);
    for (name, svg) in &pictures {
        assert!(svg.starts_with("<svg ") && svg.contains("xmlns="), "{name}");
        let text = text_of(svg);
        let there = match name.as_str() {
            name if name.starts_with("http") => 5,
            name if name.starts_with("stall") => 4,
            _ => 3,
        };
        for who in &CONTESTANTS[..there] {
            assert!(text.lines().any(|line| line == *who), "{name} lacks {who}");
        }
        for said in ["2026-01-02 03:04 UTC", "Linux 6.1.0", "2 cores", "A &lt;fast&gt;", "compare all --json"]
        {
            assert!(text.contains(said), "{name} lacks {said}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}");
    }
}

#[test]
fn the_same_file_gives_the_same_pictures() {
    let results = results();
    let file = json(&results.command, &machine(), &results.lines).to_string();
    assert_eq!(pictures(&read(&file).unwrap()).unwrap(), pictures(&results).unwrap());
}

#[test]
fn ratios_and_values_are_written_at_the_bars() {
    let pictures = pictures(&results()).unwrap();
    let text = |name: &str| text_of(&pictures.iter().find(|(picture, _)| picture == name).unwrap().1);
    // egret's 9 by tokio's 13.5, tokio's by itself, smol's 20.25 by it.
    for bar in ["0.67", "1.00", "1.50"] {
        assert!(text("http_cpu").lines().any(|line| line == bar), "{bar}");
    }
    for bar in ["700 B", "1,050 B", "70 B"] {
        assert!(text("memory").lines().any(|line| line == bar), "{bar}");
    }
    for bar in ["60 ns", "40 µs", "1.50 ×", "2.25 ×"] {
        assert!(text("tasks").lines().any(|line| line == bar), "{bar}");
    }
    // The worst of the rounds: 23.04 ms and a tenth.
    assert!(text("stall_sleep").contains("egret 25.3 ms"));
    assert!(text("stall_sleep").contains("300 ms"));
}

#[test]
fn who_is_missing_is_left_out_and_an_empty_run_is_an_error() {
    let mut results = results();
    results.lines.retain(|line| line.contest == "http");
    for line in &mut results.lines {
        line.series.retain(|(who, _)| who != "smol");
        line.series.push(("tardigrade".into(), Vec::new()));
    }
    let drawn = pictures(&results).unwrap();
    assert_eq!(drawn.len(), 3);
    assert!(!drawn[0].1.contains("smol") && !drawn[0].1.contains("tardigrade"));

    // Nothing to be relative to.
    for line in &mut results.lines {
        line.series.retain(|(who, _)| who != TOKIO);
    }
    assert!(pictures(&results).unwrap().is_empty());
    assert!(draw(&results, "/nonexistent").unwrap_err().contains("no line"));
}

/// Leaves the pictures where they can be looked at.
#[test]
fn pictures_are_written_as_files() {
    let dir = std::env::temp_dir().join(format!("egret-plot-{}", std::process::id()));
    let paths = draw(&results(), dir.to_str().unwrap()).unwrap();
    assert_eq!(paths.len(), 9);
    for path in &paths {
        text_of(&fs::read_to_string(path).unwrap());
    }
    if std::env::var_os("EGRET_KEEP_PICTURES").is_none() {
        fs::remove_dir_all(dir).unwrap();
    }
}
