//! The HTTP echo server where a seccomp filter refuses io_uring: it takes aio, and without that poll, and serves all the same.

#[allow(dead_code)] // `main` is called by nobody here
#[path = "../examples/http_echo/main.rs"]
mod example;

#[allow(dead_code)] // the server's other tests use the rest
mod support;

#[allow(dead_code)] // `main` is called by nobody here
#[path = "../examples/without_uring.rs"]
mod without_uring;

use std::process::ExitCode;

use egret::reactor::{FeedChoice, Lanes};
use support::{Client, Program, Watchdog};

/// Many kept-alive connections, several requests each; every answer is looked at.
fn serves(program: &Program) {
    const THREADS: usize = 8;
    const CONNECTIONS: usize = 40;
    const ROUNDS: usize = 10;
    let address = program.address;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::connect(address)).collect();
                for round in 0..ROUNDS {
                    // All ask before any answer is taken.
                    for (n, client) in clients.iter_mut().enumerate() {
                        client.send(
                            format!("GET /{thread}/{n}/{round} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(),
                        );
                    }
                    for (n, client) in clients.iter_mut().enumerate() {
                        let answer = client.answer();
                        assert_eq!(answer.status, 200);
                        let asked = format!("GET /{thread}/{n}/{round} HTTP/1.1\r\nHost: a\r\n");
                        assert_eq!(answer.body, asked.as_bytes());
                    }
                }
            });
        }
    });
}

fn served_over(mut program: Program, feed: &str) {
    assert!(program.greeting.contains(&format!("feed {feed}")), "{}", program.greeting);
    serves(&program);
    program.interrupt();
    let rest = program.wait();
    assert!(rest.contains("served 3200 requests, 0 connections cut off"), "{rest}");
}

#[test]
fn without_io_uring_it_serves_over_aio() {
    let feed = match Lanes::new(FeedChoice::Aio) {
        Ok(_) => "aio",
        Err(error) => {
            eprintln!("no aio here either: {error}");
            "poll"
        }
    };
    served_over(Program::start_through("refuses", &[]), feed);
}

#[test]
fn without_io_uring_and_aio_it_serves_over_poll() {
    served_over(Program::start_through("refuses_both", &[]), "poll");
}

/// Becomes the program, under the filter.
fn under_the_filter(options: &[&str]) -> ! {
    let program = std::env::current_exe().unwrap();
    let arguments = options.iter().map(Into::into).chain([program.into_os_string()]);
    let error = without_uring::run(arguments.chain(support::PROGRAM.map(Into::into)));
    panic!("{error}");
}

#[test]
#[ignore = "starts the program where io_uring is refused, for the tests"]
fn refuses() {
    if std::env::var_os(support::ARGUMENTS).is_some() {
        under_the_filter(&[]);
    }
}

#[test]
#[ignore = "starts the program where io_uring and aio are refused, for the tests"]
fn refuses_both() {
    if std::env::var_os(support::ARGUMENTS).is_some() {
        under_the_filter(&["--also-aio"]);
    }
}

#[test]
#[ignore = "the program itself, for the tests that start it"]
fn program() {
    let Ok(arguments) = std::env::var(support::ARGUMENTS) else { return };
    let _watchdog = Watchdog::start();
    let code = example::run(arguments.split(' ').map(str::to_owned));
    assert_eq!(code, ExitCode::SUCCESS);
}

#[test]
fn without_a_command_it_says_what_it_wants() {
    for arguments in [vec![], vec!["--also-aio".into()]] {
        let error = without_uring::run(arguments.into_iter());
        assert!(error.to_string().contains("usage"), "{error}");
    }
}
