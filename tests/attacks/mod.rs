//! Peers with bad intentions, over real sockets: requests that two parsers could read differently, answers that someone else would like to
//! write, connections held for nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::example::server::Config;
use crate::support::{Client, PATIENCE, Program, Running, eventually, quick};

#[test]
fn a_request_that_could_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_answered() {
    let server = Running::start(Config::default());
    let cases: [(&str, u16); 16] = [
        ("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n", 400),
        ("Content-Length: 6\r\nContent-Length: 7\r\n\r\n", 400),
        ("Content-Length: 6, 7\r\n\r\n", 400),
        ("Content-Length: +6\r\n\r\n", 400),
        ("Content-Length: -1\r\n\r\n", 400),
        ("Content-Length: 0x6\r\n\r\n", 400),
        ("Content-Length: 6 6\r\n\r\n", 400),
        ("Content-Length: 18446744073709551617\r\n\r\n", 400),
        ("Content-Length : 6\r\n\r\n", 400),
        ("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        ("X: y\r\n Content-Length: 6\r\n\r\n", 400),
        ("Transfer-Encoding: gzip\r\n\r\n", 501),
        ("Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", 400),
    ];
    for (text, status) in cases {
        for whole in [true, false] {
            let request =
                format!("POST / HTTP/1.1\r\nHost: a\r\n{text}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
            let mut client = Client::connect(server.address);
            if whole {
                client.send(request.as_bytes());
            } else {
                for part in request.as_bytes().chunks(9) {
                    // The server may have answered and be reading the rest away.
                    client.send(part);
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
            let answer = client.answer();
            let got = answer.status;
            // A length too large for anything is refused as malformed or as too large: closed either way.
            assert!(got == status || got == 413 && text.contains("8446744073709551617"), "{text:?}: {got}");
            client.expect_end();
        }
    }
}

/// Whole messages, each between two good requests: the first is answered, the last is not.
#[test]
fn after_a_refusal_nothing_that_was_pipelined_is_answered() {
    let server = Running::start(Config::default());
    let cases: [(&[u8], &str); 20] = [
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", "501"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\xff\r\n\r\n0\r\n\r\n", "501"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "400"),
        (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 6\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 6\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent Length: 6\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nContent-Length:\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        (b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\x0b\r\nHost: a\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1_0\r\n", "400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a\nxx\r\n0\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n", "413"),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "501"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
    ];
    for (case, status) in cases {
        let stream =
            [b"GET /before HTTP/1.1\r\nHost: a\r\n\r\n", case, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"];
        let stream = stream.concat();
        for piece in [stream.len(), 16] {
            let mut client = TcpStream::connect(server.address).unwrap();
            client.set_nodelay(true).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.chunks(piece).for_each(|piece| client.write_all(piece).unwrap());
            let mut text = Vec::new();
            client.read_to_end(&mut text).expect("an orderly end");
            let text = String::from_utf8_lossy(&text);
            let statuses: Vec<&str> = text
                .split("HTTP/1.1 ")
                .skip(1)
                .map(|answer| &answer[..3])
                .filter(|answer| *answer != "\r\nH")
                .collect();
            assert_eq!(statuses, ["200", status], "{:?}: {text}", String::from_utf8_lossy(case));
            assert!(!text.contains("smuggled"), "{:?}: {text}", String::from_utf8_lossy(case));
        }
    }
}

/// The connection of a peer that was refused and does not go ends all the same: after a time if it is silent, after some bytes if it isn't.
#[test]
fn a_lingering_close_is_bounded_in_time_and_in_bytes() {
    let server = Running::start(quick());
    let mut silent = Client::connect(server.address);
    assert_eq!(silent.ask(b"nonsense\r\n\r\n").status, 400);
    silent.expect_end();
    eventually("the silent one is gone", || server.connections() == 0);

    let config = Config { linger_time: PATIENCE * 10, linger_bytes: 100_000, ..Config::default() };
    let server = Running::start(config);
    let mut loud = Client::connect(server.address);
    assert_eq!(loud.ask(b"nonsense\r\n\r\n").status, 400);
    let mut sending = loud.stream();
    let start = Instant::now();
    while sending.write_all(&[b'x'; 10_000]).is_ok() {
        assert!(start.elapsed() < PATIENCE, "it reads for ever");
    }
    eventually("the loud one is gone", || server.connections() == 0);
}

/// A body may take its time as long as it moves; one that comes to a halt in the trailers is as stalled as any.
#[test]
fn a_body_that_trickles_lives_and_trailers_that_stall_do_not() {
    let server = Running::start(Config { idle_timeout: Duration::from_millis(800), ..quick() });
    let mut client = Client::connect(server.address);
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n");
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(60));
        client.send(b"x");
    }
    client.send(b"\r\n0\r\n\r\n");
    assert_eq!(client.answer().body, [b'x'; 20]);
    let start = Instant::now();
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: ");
    assert_eq!(client.answer().status, 408);
    assert!(start.elapsed() >= Duration::from_millis(800));
    client.expect_end();
}

/// What a connection needed for a large request it gives back when it rests: 36 KiB of buffers are left, half a megabyte was in use.
#[test]
fn a_connection_at_rest_holds_little_memory() {
    const CONNECTIONS: usize = 300;
    let program = Program::start(&["--idle-timeout-ms", "600000"]);
    let body = vec![b'x'; 200_000];
    let request =
        [format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), &body]
            .concat();
    let mut resting = Vec::new();
    let mut base = 0;
    for round in 0..CONNECTIONS + 20 {
        if round == 20 {
            // The allocator and the runtime have what they need.
            base = program.memory_kib();
        }
        let mut client = Client::connect(program.address);
        assert_eq!(client.ask(&request).body.len(), body.len());
        resting.push(client);
    }
    // Slack for the allocator: a freed piece is not always given back.
    let limit = base + CONNECTIONS * 64;
    eventually("the memory is given back", || program.memory_kib() < limit);
}
