//! The HTTP echo server over real sockets: what its codec's own tests cannot see. Buffers, timeouts, ends of all kinds. Peers with
//! bad intentions are in `attacks`.

#[allow(dead_code)] // `main` is called by nobody here
#[path = "../examples/http_echo/main.rs"]
mod example;

mod attacks;
mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use example::server::Config;
use support::{Client, PATIENCE, Running, Watchdog, eventually, quick};

#[test]
fn requests_with_and_without_a_body_are_echoed() {
    let server = Running::start(Config::default());
    let mut client = Client::connect(server.address);
    let answer = client.ask(b"GET /path?q HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n\r\n");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain")));
    assert_eq!(answer.body, b"GET /path?q HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n");
    let answer =
        client.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(
        (answer.status, answer.header("content-type"), &answer.body[..]),
        (200, Some("a/b"), &b"hello"[..])
    );
    let answer = client.ask(b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!(answer.status, 200);
    client.expect_end();
}

/// Three requests of all kinds, their answers, and nothing after them.
const PIPELINE: &[u8] = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
    POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nfirst body.\
    POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nseco\r\nA;x=y\r\nnd, longer\r\n0\r\nT: r\r\n\r\n\
    GET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn check_pipeline(mut client: Client) {
    assert_eq!(client.answer().body, b"GET /1 HTTP/1.1\r\nHost: a\r\n");
    assert_eq!(client.answer().body, b"first body.");
    assert_eq!(client.answer().body, b"second, longer");
    assert_eq!(client.answer().body, b"GET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n");
    client.expect_end();
}

#[test]
fn pipelined_requests_byte_by_byte() {
    let server = Running::start(Config::default());
    let mut client = Client::connect(server.address);
    for byte in PIPELINE {
        client.send(&[*byte]);
        // Long enough, mostly, for the byte to travel alone.
        std::thread::sleep(Duration::from_micros(200));
    }
    check_pipeline(client);
}

#[test]
fn pipelined_requests_split_at_every_place() {
    let server = Running::start(Config::default());
    for place in 0..PIPELINE.len() {
        let mut client = Client::connect(server.address);
        client.send(&PIPELINE[..place]);
        std::thread::sleep(Duration::from_millis(1));
        client.send(&PIPELINE[place..]);
        check_pipeline(client);
    }
}

#[test]
fn pipelined_answers_share_a_write_and_keep_their_order() {
    let server = Running::start(Config::default());
    let mut client = Client::connect(server.address);
    let count = 2000;
    let requests: Vec<u8> =
        (0..count).flat_map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()).collect();
    let mut sending = client.stream();
    let sender = std::thread::spawn(move || sending.write_all(&requests).unwrap());
    for n in 0..count {
        assert_eq!(client.answer().body, format!("GET /{n} HTTP/1.1\r\nHost: a\r\n").into_bytes());
    }
    sender.join().unwrap();
}

#[test]
fn the_limits_are_answered_although_the_peer_goes_on_sending() {
    let server = Running::start(Config::default());
    // 2 MiB of a body that was refused by its length: the answer arrives, and no reset destroys it.
    let mut client = Client::connect(server.address);
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2097152\r\n\r\n");
    client.send(&vec![b'x'; 2 * 1024 * 1024]);
    assert_eq!(client.answer().status, 413);
    client.expect_end();

    let mut client = Client::connect(server.address);
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut sending = client.stream();
    let sender = std::thread::spawn(move || {
        let chunk = [b"10000\r\n", &vec![b'y'; 0x10000][..], b"\r\n"].concat();
        // Until the server has had enough; then it closes, and writing may fail.
        (0..24).all(|_| sending.write_all(&chunk).is_ok())
    });
    assert_eq!(client.answer().status, 413);
    sender.join().unwrap();

    let mut client = Client::connect(server.address);
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nLong: ");
    client.send(&vec![b'z'; 17 * 1024]);
    assert_eq!(client.answer().status, 431);
    client.expect_end();
}

#[test]
fn the_largest_bodies_come_back_whole() {
    let server = Running::start(Config::default());
    let body: Vec<u8> = (0..1024 * 1024).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut client = Client::connect(server.address);
    for chunked in [false, true, false] {
        let mut request = b"POST / HTTP/1.1\r\nHost: a\r\n".to_vec();
        if chunked {
            request.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for part in body.chunks(7777) {
                request.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                request.extend_from_slice(part);
                request.extend_from_slice(b"\r\n");
            }
            request.extend_from_slice(b"0\r\n\r\n");
        } else {
            request.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            request.extend_from_slice(&body);
        }
        let mut sending = client.stream();
        let sender = std::thread::spawn(move || sending.write_all(&request).unwrap());
        let answer = client.answer();
        assert_eq!(answer.status, 200);
        assert!(answer.body == body);
        sender.join().unwrap();
    }
}

#[test]
fn expect_continue_gets_its_hundred_before_the_body() {
    let server = Running::start(Config::default());
    let mut client = Client::connect(server.address);
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.answer().status, 100);
    client.send(b"ok");
    assert_eq!(client.answer().body, b"ok");
}

#[test]
fn a_head_that_takes_too_long_is_answered_408_however_it_trickles() {
    let server = Running::start(Config { head_timeout: Duration::from_millis(300), ..quick() });
    for first in [&b""[..], b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut client = Client::connect(server.address);
        if !first.is_empty() {
            assert_eq!(client.ask(first).status, 200);
        }
        let start = Instant::now();
        client.send(b"GET / HTTP/1.1\r\nX: ");
        let mut sending = client.stream();
        let trickle = std::thread::spawn(move || {
            while sending.write_all(b"x").is_ok() && start.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        assert_eq!(client.answer().status, 408);
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(300), "{waited:?}");
        client.expect_end();
        client.stream().shutdown(Shutdown::Both).ok();
        trickle.join().unwrap();
    }
}

#[test]
fn a_stalled_body_is_answered_408() {
    let server = Running::start(Config { idle_timeout: Duration::from_millis(200), ..quick() });
    let mut client = Client::connect(server.address);
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(client.answer().status, 408);
    client.expect_end();
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    // Longer than a loaded machine keeps this thread from asking.
    let idle = Duration::from_millis(800);
    let server = Running::start(Config { idle_timeout: idle, ..quick() });
    let mut fresh = Client::connect(server.address);
    let mut busy = Client::connect(server.address);
    let start = Instant::now();
    let mut last = start;
    while start.elapsed() < idle * 2 {
        last = Instant::now();
        assert_eq!(busy.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
        std::thread::sleep(idle / 20);
    }
    busy.expect_end();
    assert!(last.elapsed() >= idle, "{:?}", last.elapsed());
    fresh.expect_end();
    eventually("both are gone", || server.connections() == 0);
}

#[test]
fn a_peer_that_takes_no_answer_is_given_up() {
    let server = Running::start(Config { idle_timeout: Duration::from_millis(200), ..quick() });
    let client = Client::connect(server.address);
    let body = vec![b'x'; 1024 * 1024];
    let mut sending = client.stream();
    sending.set_write_timeout(Some(PATIENCE)).unwrap();
    // Requests without end, and not one answer read: both sides fill up, then the server closes.
    let request =
        [format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), &body]
            .concat();
    let error = (0..200).find_map(|_| sending.write_all(&request).err());
    assert!(error.is_some(), "200 MiB went down somewhere");
    eventually("the connection is gone", || server.connections() == 0);
}

#[test]
fn a_reset_in_mid_body_takes_its_own_connection_only() {
    let server = Running::start(Config::default());
    let mut neighbour = Client::connect(server.address);
    for _ in 0..20 {
        let mut client = Client::connect(server.address);
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n");
        assert_eq!(client.answer().status, 100, "it waits for the body");
        client.send(b"half");
        client.reset();
    }
    assert_eq!(neighbour.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    eventually("the reset ones are gone", || server.connections() == 1);
}

#[test]
fn a_panicking_handler_takes_its_own_connection_only() {
    fn handler(data: &[u8]) {
        if data.windows(6).any(|window| window == b"/panic") {
            // Without the hook's message, which would be noise in the test's output.
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }
    let server = Running::start(Config { inspect: Some(handler), ..Config::default() });
    let mut neighbour = Client::connect(server.address);
    assert_eq!(neighbour.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    for _ in 0..20 {
        let mut client = Client::connect(server.address);
        assert_eq!(client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
        client.send(b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n");
        client.expect_end();
        assert_eq!(neighbour.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    }
    eventually("the panicked ones are gone", || server.connections() == 1);
}

#[test]
fn a_hundred_connections_at_once() {
    let server = Running::start(Config::default());
    let clients: Vec<_> = (0..100)
        .map(|n| {
            let address = server.address;
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                for round in 0..30 {
                    let body = format!("{n}-{round}-").repeat(1 + (n * round) % 300);
                    let request = format!(
                        "POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    assert_eq!(client.ask(request.as_bytes()).body, body.as_bytes());
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(server.stop(), (0, 3000));
}

#[test]
fn stopping_closes_the_port_and_the_idle_and_finishes_what_is_in_flight() {
    static READ: AtomicUsize = AtomicUsize::new(0);
    fn count(data: &[u8]) {
        READ.fetch_add(data.len(), Ordering::SeqCst);
    }
    let config = Config { inspect: Some(count), grace: PATIENCE, ..Config::default() };
    let server = Running::start(config);
    let address = server.address;
    let mut idle = Client::connect(address);
    assert_eq!(idle.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    let before = READ.load(Ordering::SeqCst);
    let mut in_head = Client::connect(address);
    in_head.send(b"GET / HTTP/1.1\r\n");
    eventually("the head has begun", || READ.load(Ordering::SeqCst) == before + 16);
    let mut in_body = Client::connect(address);
    in_body.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n");
    assert_eq!(in_body.answer().status, 100);
    in_body.send(b"first");

    let stopping = std::thread::spawn(move || server.stop());
    idle.expect_end();
    eventually("the port is closed", || TcpStream::connect(address).is_err());
    in_head.send(b"Host: a\r\n\r\n");
    assert_eq!(in_head.answer().status, 200);
    in_head.expect_end();
    in_body.send(b"last");
    assert_eq!(in_body.answer().body, b"firstlast");
    in_body.expect_end();
    drop((idle, in_head, in_body));
    let gone = Instant::now();
    assert_eq!(stopping.join().unwrap(), (0, 3));
    assert!(gone.elapsed() < PATIENCE / 2, "it waited for its grace to run out");
}

#[test]
fn stopping_does_not_wait_longer_than_its_grace() {
    let server = Running::start(Config { grace: Duration::from_millis(200), ..Config::default() });
    let mut client = Client::connect(server.address);
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n");
    assert_eq!(client.answer().status, 100);
    let start = Instant::now();
    assert_eq!(server.stop(), (1, 0));
    assert!(start.elapsed() >= Duration::from_millis(200));
    client.expect_closed();
}

#[test]
fn a_runtime_dropped_with_connections_in_flight_closes_them_all() {
    let server = Running::start(Config::default());
    let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(server.address)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        match n % 3 {
            0 => assert_eq!(client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200),
            1 => client.send(b"GET / HTTP/1.1\r\nHo"),
            _ => client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"),
        }
    }
    eventually("all are in", || server.connections() == clients.len());
    let address = server.address;
    server.drop_runtime();
    for client in &mut clients {
        client.expect_closed();
    }
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn interrupted_the_program_finishes_what_is_in_flight_and_says_how_much_it_served() {
    let mut program = support::Program::start(&["--grace-ms", "20000"]);
    assert!(program.greeting.contains("2 workers, feed "), "{}", program.greeting);
    let address = program.address;
    let mut client = Client::connect(address);
    assert_eq!(client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.answer().status, 100);
    program.interrupt();
    eventually("it accepts no more", || TcpStream::connect(address).is_err());
    client.send(b"done");
    assert_eq!(client.answer().body, b"done");
    client.expect_end();
    drop(client);
    let rest = program.wait();
    assert!(rest.contains("served 2 requests, 0 connections cut off"), "{rest}");
}

#[test]
fn interrupted_the_program_cuts_off_what_takes_too_long() {
    let mut program = support::Program::start(&["--grace-ms", "100"]);
    let mut client = Client::connect(program.address);
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.answer().status, 100);
    program.interrupt();
    let rest = program.wait();
    assert!(rest.contains("served 0 requests, 1 connections cut off"), "{rest}");
    client.expect_closed();
}

#[test]
fn interrupted_twice_the_program_ends_at_once() {
    let mut program = support::Program::start(&["--grace-ms", "100000"]);
    let address = program.address;
    let mut client = Client::connect(address);
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.answer().status, 100);
    program.interrupt();
    eventually("it accepts no more", || TcpStream::connect(address).is_err());
    program.interrupt();
    let (status, rest) = program.end();
    assert_eq!(status.code(), Some(130), "{rest}");
    client.expect_closed();
}

#[test]
fn an_occupied_port_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let code = example::run(["--addr".into(), address.clone()].into_iter());
    assert_eq!(code, std::process::ExitCode::FAILURE);
    let said = support::Program::fail(&["--addr", &address]);
    assert!(said.contains(&format!("http_echo: cannot listen on {address}: ")), "{said}");
}

#[test]
#[ignore = "the program itself, for the tests that interrupt it"]
fn program() {
    let Ok(arguments) = std::env::var(support::ARGUMENTS) else { return };
    let _watchdog = Watchdog::start();
    let code = example::run(arguments.split(' ').map(str::to_owned));
    assert_eq!(code, std::process::ExitCode::SUCCESS);
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let code = |text: &str| example::run(text.split(' ').map(str::to_owned));
    for text in ["--workers many", "--workers -1", "--workers", "--nonsense", "--feed epoll", "nonsense"] {
        assert_eq!(code(text), std::process::ExitCode::from(2), "{text}");
    }
    for text in ["--workers 0", "--workers 99999", "--addr nowhere"] {
        assert_eq!(code(text), std::process::ExitCode::FAILURE, "{text}");
    }
    assert_eq!(code("--help"), std::process::ExitCode::SUCCESS);
}

/// A read that ends where the peer's own end is: used by no test above for anything but its error.
#[test]
fn a_connection_that_says_nothing_and_leaves_is_no_trouble() {
    let server = Running::start(Config::default());
    for _ in 0..10 {
        drop(TcpStream::connect(server.address).unwrap());
    }
    let mut half = TcpStream::connect(server.address).unwrap();
    half.set_read_timeout(Some(PATIENCE)).unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    half.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    eventually("all are gone", || server.connections() == 0);
}
