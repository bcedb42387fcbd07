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
        let request = format!("GET {path} HTTP/1.1\r\nhost: egret.test\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
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

/// Connections to `address`, one for each of `count` processes at least.
fn one_each(address: &str, count: usize) -> Vec<Client> {
    let (mut clients, mut known) = (Vec::new(), BTreeSet::new());
    while known.len() < count {
        let mut client = Client::connect(address);
        let (status, process) = client.ask("/");
        assert_eq!(status, 200);
        if known.insert(process) {
            clients.push(client);
        }
    }
    clients
}

#[test]
fn processes_share_a_port_and_give_notice_before_they_leave() {
    let _watchdog = Watchdog::start();
    let first = Program::start("shared_server", &["127.0.0.1:0"]);
    let address = first.greeting.clone();
    let second = Program::start("shared_server", &[&address]);
    let third = Program::start("shared_server", &[&address]);
    assert_eq!((&second.greeting, &third.greeting), (&address, &address));
    let mut clients = one_each(&address, 3);
    assert!(clients.iter_mut().all(|client| client.ask("/health") == (200, "well\n".to_owned())));
    assert_eq!(clients[0].ask("/elsewhere").0, 404);

    // One leaves: it says so to the checks, and serves on meanwhile.
    first.interrupt();
    let leaving = loop {
        if let Some(place) = clients.iter_mut().position(|client| client.ask("/health").0 == 503) {
            break place;
        }
    };
    let mut last = clients.swap_remove(leaving);
    assert_eq!(last.ask("/").0, 200);
    assert!(clients.iter_mut().all(|client| client.ask("/health").0 == 200));
    // Then it closes what is idle.
    assert_eq!(last.0.read(&mut [0]).unwrap(), 0);
    assert!(first.end().success());

    // The others have the port to themselves, and the connections that they had.
    assert!(clients.iter_mut().all(|client| client.ask("/").0 == 200));
    assert_eq!(one_each(&address, 2).len(), 2);

    // Twice: without the notice.
    second.interrupt();
    while !clients.iter_mut().any(|client| client.ask("/health").0 == 503) {}
    second.interrupt();
    assert!(second.end().success());
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
