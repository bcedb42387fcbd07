//! The example `many_timers`, with fewer of them.

#[allow(dead_code)] // `main` is called by nobody here
#[path = "../examples/many_timers/main.rs"]
mod example;
#[path = "support/program.rs"]
mod program;
#[path = "support/watchdog.rs"]
mod watchdog;

use std::time::{Duration, Instant};

use program::Program;
use watchdog::Watchdog;

#[test]
fn all_fire_and_none_is_early() {
    let _watchdog = Watchdog::start();
    let began = Instant::now();
    let found = example::measure(20_000, Duration::from_millis(300)).unwrap();
    let took = began.elapsed();
    assert_eq!((found.early, found.late.len()), (0, 20_000));
    assert!(found.late.is_sorted() && found.arming < took);
    // The last is due close to the end of the window: there are 20,000 of them.
    assert!(took > Duration::from_millis(250), "{took:?}");
    assert!(found.late(0.5) <= found.late(0.99) && found.late(0.99) <= found.late(1.0));
    assert_eq!(found.late(1.0), *found.late.last().unwrap());
    assert!(found.late(1.0) < took);
}

#[test]
fn the_program_tells_what_it_has_found() {
    let _watchdog = Watchdog::start();
    let mut program = Program::start("many_timers", &["1000", "50"]);
    assert!(program.greeting.starts_with("1000 armed in "), "{}", program.greeting);
    let line = program.line();
    assert!(line.starts_with("many_timers: fired over 50 ms, 0 of them early; late by "), "{line}");
    assert!(program.end().success());

    for arguments in [&["none"][..], &["0"], &["10", "soon"]] {
        assert!(Program::fail(arguments).contains("Usage: many_timers"));
    }
}

#[test]
#[ignore = "the program itself, for the test that starts it"]
fn program() {
    let Some(arguments) = program::arguments() else { return };
    let _watchdog = Watchdog::start();
    assert_eq!(example::run(&arguments), std::process::ExitCode::SUCCESS);
}
