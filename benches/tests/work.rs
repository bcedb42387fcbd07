//! `compare work`, the process that does one job of an in-process contest: what it prints, and how it ends.

#[path = "../../tests/support/watchdog.rs"]
mod watchdog;

use std::process::{Command, Output};
use watchdog::Watchdog;

fn work(who: &str, job: &str, count: usize) -> Output {
    let _watchdog = Watchdog::start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
    command.args(["work", who, job, "--workers", "2", "--millis", "1", "--count", &count.to_string()]);
    command.output().expect("compare starts")
}

/// The values it printed: name, metric, value.
fn values(who: &str, job: &str, count: usize) -> Vec<(String, String, f64)> {
    let output = work(who, job, count);
    let text = String::from_utf8(output.stdout).expect("words and numbers");
    assert!(output.status.success(), "{who} {job}: {}", String::from_utf8_lossy(&output.stderr));
    let value = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!((words[0], words.len()), ("VALUE", 4), "{line}");
        (words[1].to_string(), words[2].to_string(), words[3].parse().expect("a number"))
    };
    text.lines().map(value).collect()
}

#[test]
fn sleepers_take_memory() {
    for who in ["egret", "tokio", "smol"] {
        for job in ["sleeping_task", "armed_timer"] {
            let values = values(who, &format!("memory/{job}"), 20_000);
            let names: Vec<_> = values.iter().map(|value| (value.0.as_str(), value.1.as_str())).collect();
            assert_eq!(names, [(job, "bytes"), (job, "heap")]);
            // A waker, a deadline and a place in a list take more than 32 bytes; a page each would be a bug.
            assert!(values.iter().all(|value| (32.0..4096.0).contains(&value.2)), "{who} {job}: {values:?}");
        }
    }
}

#[test]
fn a_busy_runtime_is_woken_too() {
    for who in ["egret", "tokio", "smol"] {
        let values = values(who, "wake/busy", 20);
        assert_eq!(values.len(), 2, "{who}");
        assert!(values[0].2 > 0.0 && values[0].2 <= values[1].2, "{who}: {values:?}");
    }
}

#[test]
fn what_is_wrong_is_an_error() {
    for (who, job) in [("mio", "wake/idle"), ("egret", "wake"), ("egret", "wake/up"), ("egret", "sleep/idle")]
    {
        let output = work(who, job, 1);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{who} {job}");
        assert!(!output.stderr.is_empty());
    }
}
