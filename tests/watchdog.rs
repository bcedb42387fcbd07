//! The watchdog of the tests: what hangs fails, with the evidence; what doesn't is left alone.

#[path = "support/watchdog.rs"]
mod watchdog;

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;
use std::time::Duration;
use watchdog::{Watchdog, bounded};

#[test]
fn a_test_that_hangs_ends_with_its_name_and_its_threads() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hangs", "--ignored", "--test-threads=2"])
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("hangs (tests/watchdog.rs:"), "{text}");
    for thread in ["hangs in", "watchdog in", "helper in"] {
        assert!(text.contains(thread), "{text}");
    }
}

#[test]
#[ignore = "hangs, for the test above"]
fn hangs() {
    let _patient = Watchdog::start();
    drop(Watchdog::new(Duration::from_millis(1)));
    let _watchdog = Watchdog::new(Duration::from_millis(100));
    let helper = thread::Builder::new().name("helper".into()).spawn(thread::park).unwrap();
    helper.join().unwrap();
}

#[test]
fn a_body_gives_its_result_or_its_panic() {
    assert_eq!(bounded(|| 7), 7);
    let panic = thread::spawn(|| bounded(|| std::panic::resume_unwind(Box::new("on purpose")))).join();
    assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
}
