//! A runtime that can't be started leaves nothing behind. Each test runs itself again in a process with less of something.

mod support;

use std::process::Command;

use egret_executor::Builder;
use support::{Watchdog, eventually};

const LIMITED: &str = "EGRET_TEST_LIMITED";

/// Whether this is the process with the limit; else runs `test` in one, with shell command `limit` before it.
fn limited(test: &str, limit: &str) -> bool {
    if std::env::var_os(LIMITED).is_some() {
        return true;
    }
    let _watchdog = Watchdog::start();
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("{limit} && exec \"$0\" \"$@\""))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(LIMITED, "1")
        // So that a thread that can't be had leaves enough memory for everything else.
        .env("RUST_MIN_STACK", (64 << 20).to_string())
        .output()
        .expect("a shell");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

fn entries(directory: &str) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

fn fails_and_leaves_nothing(workers: usize) {
    drop(Builder::new_multi_thread().worker_threads(1).build().expect("a small one works"));
    eventually("its thread ends", || entries("/proc/self/task") <= 2);
    let before = (entries("/proc/self/task"), entries("/proc/self/fd"));
    for _ in 0..3 {
        let error = Builder::new_multi_thread().worker_threads(workers).build().unwrap_err();
        assert!(error.raw_os_error().is_some(), "{error:?}");
        // A joined thread's entry may outlive the join by a moment.
        eventually("all threads end", || entries("/proc/self/task") == before.0);
        assert_eq!(entries("/proc/self/fd"), before.1);
    }
    drop(Builder::new_multi_thread().worker_threads(1).build().expect("a small one still works"));
}

#[test]
fn without_descriptors() {
    if limited("without_descriptors", "ulimit -n 60") {
        fails_and_leaves_nothing(64);
    }
}

#[test]
fn without_memory_for_threads() {
    if limited("without_memory_for_threads", "ulimit -v 1500000") {
        fails_and_leaves_nothing(64);
    }
}
