//! The example `graceful_shutdown`, sent away while its clients do this and that.

#[allow(dead_code)] // `main` is called by nobody here
#[path = "../examples/graceful_shutdown/main.rs"]
mod example;
#[path = "support/program.rs"]
mod program;
#[path = "support/watchdog.rs"]
mod watchdog;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use program::Program;
use watchdog::Watchdog;

struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(program: &Program) -> Self {
        Self(BufReader::new(TcpStream::connect(&program.greeting).unwrap()))
    }

    #[track_caller]
    fn ask(&mut self, text: &str, expected: &str) {
        self.0.get_mut().write_all(format!("{text}\n").as_bytes()).unwrap();
        self.hears(expected);
    }

    #[track_caller]
    fn hears(&mut self, expected: &str) {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), expected);
    }

    #[track_caller]
    fn hears_the_end(&mut self) {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

#[test]
fn what_is_being_worked_on_is_finished_and_nobody_comes_in() {
    let _watchdog = Watchdog::start();
    let mut program = Program::start("graceful_shutdown", &["127.0.0.1:0", "60000"]);
    let mut idle = Client::connect(&program);
    idle.ask("hello", "say: work MILLISECONDS");
    idle.ask("work 1", "working");
    idle.hears("done");
    let mut busy = Client::connect(&program);
    busy.ask("work 1000", "working");

    program.interrupt();
    assert_eq!(program.line(), "graceful_shutdown: ending");
    idle.hears("bye");
    idle.hears_the_end();
    // The listener ends by itself as the clients do: wait for it, as long as somebody is still working.
    while TcpStream::connect(&program.greeting).is_ok() {}
    busy.hears("done");
    busy.hears("bye");
    busy.hears_the_end();
    let report = program.line();
    assert!(report.starts_with("graceful_shutdown: 3 tasks finished, 0 cancelled, 0 stuck"), "{report}");
    assert!(program.end().success());
}

#[test]
fn what_takes_too_long_is_dropped_and_named() {
    let _watchdog = Watchdog::start();
    let mut program = Program::start("graceful_shutdown", &["127.0.0.1:0", "50"]);
    let mut busy = Client::connect(&program);
    busy.ask("work 3600000", "working");
    program.interrupt();
    assert_eq!(program.line(), "graceful_shutdown: ending");
    busy.hears_the_end();
    let report = program.line();
    assert!(report.starts_with("graceful_shutdown: 1 tasks finished, 1 cancelled, 0 stuck"), "{report}");
    let name = format!("\"client {}\"", busy.0.get_ref().local_addr().unwrap());
    let named = program.line();
    assert!(named.starts_with("cancelled: task ") && named.contains(&name), "{named}");
    assert!(named.contains("graceful_shutdown/main.rs:"), "{named}");
    assert_eq!(program.end().code(), Some(1));
}

#[test]
fn what_it_can_not_do_it_says() {
    let _watchdog = Watchdog::start();
    let program = Program::start("graceful_shutdown", &["127.0.0.1:0"]);
    let said = Program::fail(&[&program.greeting]);
    assert!(said.contains(&format!("graceful_shutdown: {}: ", program.greeting)), "{said}");
    assert!(Program::fail(&["127.0.0.1:0", "soon"]).contains("Usage: graceful_shutdown"));
}

#[test]
#[ignore = "the program itself, for the test that starts it"]
fn program() {
    let Some(arguments) = program::arguments() else { return };
    let _watchdog = Watchdog::start();
    let code = example::run(&arguments);
    if code != std::process::ExitCode::SUCCESS {
        std::process::exit(1);
    }
}
