//! The example `shared_server`: three processes at one port, which leave one after the other.

#[allow(dead_code)] // `main` is called by nobody here
#[path = "../examples/shared_server/main.rs"]
mod example;
#[path = "support/program.rs"]
mod program;
#[path = "support/watchdog.rs"]
mod watchdog;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use program::Program;
use watchdog::Watchdog;

struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: &str) -> Self {
        Self(BufReader::new(TcpStream::connect(address).unwrap()))
    }

    fn ask(&mut self, path: &str) -> (u16, String) {
        self.send(path);
        self.answer()
    }

    fn send(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: egret.test\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
    }

    fn answer(&mut self) -> (u16, String) {
        let (mut status, mut length, mut line) = (0, 0, String::new());
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "no answer");
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().unwrap();
            } else if let Some(rest) = line.strip_prefix("content-length: ") {
                length = rest.parse().unwrap();
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (status, String::from_utf8(body).unwrap())
    }
}

/// Connections to `address`, one for each of `count` processes, with what each calls itself.
fn one_each(address: &str, count: usize) -> Vec<(Client, String)> {
    let (mut clients, mut known) = (Vec::new(), BTreeSet::new());
    while known.len() < count {
        let mut client = Client::connect(address);
        let (status, process) = client.ask("/");
        assert_eq!(status, 200);
        if known.insert(process.clone()) {
            clients.push((client, process));
        }
    }
    clients
}

#[test]
fn processes_share_a_port_and_leave_one_after_the_other() {
    let _watchdog = Watchdog::start();
    let first = Program::start("shared_server", &["127.0.0.1:0"]);
    let address = first.greeting.clone();
    let mut processes = vec![first];
    for _ in 0..2 {
        let other = Program::start("shared_server", &[&address]);
        assert_eq!(other.greeting, address);
        processes.push(other);
    }
    let mut clients = one_each(&address, 3);
    for (client, _) in &mut clients {
        assert_eq!(client.ask("/health"), (200, "well\n".to_owned()));
        assert_eq!(client.ask("/elsewhere").0, 404);
    }

    while let Some(mut leaving) = processes.pop() {
        leaving.interrupt();
        let line = leaving.line();
        assert!(line.contains(" 0 cancelled, 0 stuck"), "{line}");
        let number = leaving.id();
        assert!(leaving.end().success());
        let place =
            clients.iter().position(|(_, process)| *process == format!("process {number}\n")).unwrap();
        let (mut idle, _) = clients.swap_remove(place);
        assert_eq!(idle.0.read(&mut [0]).unwrap(), 0, "it was closed in good order");
        // The others have the port to themselves, and the connections that they had.
        for (client, process) in &mut clients {
            assert_eq!(client.ask("/"), (200, process.clone()));
        }
        assert_eq!(one_each(&address, processes.len()).len(), processes.len());
    }
    assert!(TcpStream::connect(&address).is_err(), "nobody is left");
}

#[test]
fn what_was_dealt_to_it_before_the_signal_is_answered() {
    let _watchdog = Watchdog::start();
    let mut program = Program::start("shared_server", &["127.0.0.1:0"]);
    // All of them are there before the signal: a connect returns when the kernel has queued it.
    let mut clients: Vec<_> = (0..100).map(|_| Client::connect(&program.greeting)).collect();
    for client in &mut clients {
        client.send("/");
    }
    program.interrupt();
    for client in &mut clients {
        assert_eq!(client.answer().0, 200);
    }
    let line = program.line();
    assert!(line.contains(" 0 cancelled, 0 stuck"), "{line}");
    assert!(program.end().success());
}

#[test]
fn what_it_can_not_do_it_says() {
    let _watchdog = Watchdog::start();
    // Somebody who does not share.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = Program::fail(&[&address]);
    assert!(said.contains(&format!("shared_server: {address}: ")), "{said}");
    assert!(Program::fail(&["nowhere"]).contains("shared_server: nowhere: "));
}

#[test]
#[ignore = "the program itself, for the test that starts it"]
fn program() {
    let Some(arguments) = program::arguments() else { return };
    let _watchdog = Watchdog::start();
    let code = example::run(arguments.into_iter().next());
    assert_eq!(code, std::process::ExitCode::SUCCESS);
}
