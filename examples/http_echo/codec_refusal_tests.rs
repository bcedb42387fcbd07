//! What the codec refuses, and that neither answers nor refusals depend on where the network cut the stream.

use super::super::head::MAX_FIELDS;
use super::*;

/// Everything that is refused, with the status. Heads and bodies that two parsers could read differently come first.
fn refused() -> Vec<(String, &'static str)> {
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let chunks = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let mut cases = vec![
        // Framing said twice, or in a way that isn't plain.
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), "400"),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), "400"),
        (post("Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n", "hello"), "400"),
        (post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"), "400"),
        (post("Content-Length: 5, 6\r\n", "hello!"), "400"),
        (post("Content-Length: 5,\r\n", "hello"), "400"),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), "400"),
        (post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), "400"),
        (post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), "400"),
        (post("Transfer-Encoding: gzip, chunked, chunked\r\n", "0\r\n\r\n"), "400"),
        (post("Transfer-Encoding:\r\n", ""), "400"),
        (post("Transfer-Encoding: chunked,\r\n", "0\r\n\r\n"), "400"),
        (post("Transfer-Encoding: \u{b}chunked\r\n", "0\r\n\r\n"), "400"),
        (post("Transfer-Encoding: gzip\r\n", ""), "501"),
        (post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), "501"),
        (post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), "501"),
        (post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), "501"),
        (post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), "501"),
        (post("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"), "501"),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), "400"),
        // Line ends and blanks.
        ("GET / HTTP/1.1\nHost: a\n\n".into(), "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nx: y\n\r\n".into(), "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n".into(), "400"),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n".into(), "400"),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), "400"),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), "400"),
        ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), "400"),
        (get("x: a\rb\r\n"), "400"),
        (get("x: a\r\r\n"), "400"),
        (get("x\r: a\r\n"), "400"),
        (get("x : a\r\n"), "400"),
        (get("Content-Length : 5\r\n"), "400"),
        (get("Content-Length\t: 5\r\n"), "400"),
        (get(" x: a\r\n"), "400"),
        (get("x: a\r\n folded\r\n"), "400"),
        (get("Transfer-Encoding:\r\n chunked\r\n"), "400"),
        (get("x: \0\r\n"), "400"),
        (get("x\0: a\r\n"), "400"),
        (get("x: \x7f\r\n"), "400"),
        (get(": a\r\n"), "400"),
        (get("x\r\n"), "400"),
        // Request line.
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into(), "400"),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n".into(), "400"),
        ("GET /\r\n\r\n".into(), "400"),
        ("GET / http/1.1\r\nHost: a\r\n\r\n".into(), "400"),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n".into(), "400"),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n".into(), "400"),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n".into(), "400"),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n".into(), "400"),
        ("GET ://a HTTP/1.1\r\nHost: a\r\n\r\n".into(), "400"),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n".into(), "400"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), "505"),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n".into(), "505"),
        ("G ET \n HTTP/1.2\r\nHost: a\r\n\r\n".into(), "400"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".into(), "501"),
        // Host.
        ("GET / HTTP/1.1\r\n\r\n".into(), "400"),
        (get("Host: a\r\n"), "400"),
        (get("HOST: b\r\n"), "400"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(), "400"),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), "400"),
        ("GET / HTTP/1.0\r\nHost: u@a\r\n\r\n".into(), "400"),
        // Limits and expectations.
        (post(&format!("Content-Length: {}\r\n", MAX_BODY + 1), ""), "413"),
        (post("Content-Length: 99999999999999999999999999\r\n", ""), "413"),
        (post(&format!("Expect: 100-continue\r\nContent-Length: {}\r\n", MAX_BODY + 1), ""), "413"),
        (chunks(&format!("{:x}\r\n", MAX_BODY + 1)), "413"),
        (chunks("ffffffffffffffff\r\n"), "413"),
        (chunks(&format!("5\r\nhello\r\n{:x}\r\n", MAX_BODY - 4)), "413"),
        (post("Expect: 200-ok\r\nContent-Length: 5\r\n", "hello"), "417"),
        (post("Expect: 100-continue, x\r\nContent-Length: 5\r\n", "hello"), "417"),
        (get(&"x: y\r\n".repeat(MAX_FIELDS)), "431"),
    ];
    for length in ["+5", "-5", "0x5", "5a", "", " ", "5 5", "5;", "5.0", "\u{665}"] {
        cases.push((post(&format!("Content-Length: {length}\r\n"), "hello"), "400"));
    }
    for size in
        ["+5", "-5", "0x5", "", " 5", "5 ", "5 5", "g", ";x", "00000000000000005", "fffffffffffffffff"]
    {
        cases.push((chunks(&format!("{size}\r\nhello\r\n0\r\n\r\n")), "400"));
    }
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhello!\n0\r\n\r\n",
        "5\r\nhello\r!0\r\n\r\n",
        "5\r!hello\r\n0\r\n\r\n",
        "5\r\rhello\r\n0\r\n\r\n",
        "5;x\nhello\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "5;x\rhello\r\n0\r\n\r\n",
        "0\r\n\n",
        "0\r\nx: y\n\r\n",
        "0\r\nx : y\r\n\r\n",
        "0\r\n x: y\r\n\r\n",
        "0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    ] {
        cases.push((chunks(body), "400"));
    }
    cases
}

#[test]
fn what_is_refused_closes_and_hides_nothing() {
    for (request, status) in refused() {
        let before = "GET /before HTTP/1.1\r\nHost: a\r\n\r\n";
        let after = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        let outcome = whole([before, &request, after].concat().as_bytes());
        assert_eq!(statuses(&outcome.output), ["200", status], "{request:?}");
        assert_eq!((outcome.served, outcome.close), (1, true), "{request:?}");
        assert!(
            outcome.output.ends_with("\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
            "{request:?}"
        );
        assert!(!outcome.output.contains("smuggled"), "{request:?}");
    }
}

#[test]
fn a_verdict_does_not_depend_on_the_cuts() {
    for (request, _) in refused() {
        let stream = [&request, "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        check_cuts(stream.as_bytes());
    }
}

/// Nobody writes into the answer by way of the type that is sent back: a byte that could end the line is refused, all others stay what they are.
#[test]
fn a_type_cannot_split_the_answer() {
    for byte in 0..=255 {
        let value = [b"a/b".as_slice(), &[byte], b"X-Injected: y"].concat();
        let head = [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Type: ".as_slice(), &value]
            .concat();
        for cut in [false, true] {
            let (mut codec, mut output) = (Codec::new(), Vec::new());
            let mut stream = [head.as_slice(), b"\r\n\r\nz"].concat();
            if cut {
                // The type is kept until the body is there.
                let step = codec.advance(&stream[..stream.len() - 1], &mut output);
                stream.drain(..step.consumed);
            }
            codec.advance(&stream, &mut output);
            let answer =
                [b"HTTP/1.1 200 OK\r\nContent-Type: ".as_slice(), &value, b"\r\nContent-Length: 1\r\n\r\nz"];
            if matches!(byte, b'\t' | b' '..=b'~' | 0x80..) {
                assert_eq!(output, answer.concat(), "{byte:#x}");
            } else {
                assert!(output.starts_with(b"HTTP/1.1 400 "), "{byte:#x}");
                assert!(!String::from_utf8_lossy(&output).contains("Injected"), "{byte:#x}");
            }
        }
    }
}

fn mixed_stream() -> String {
    [
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
        &post("Content-Type: x/y\r\nContent-Length: 4\r\n", "two\n"),
        "\r\nHEAD /3 HTTP/1.1\r\nHost: a\r\n\r\n",
        &post("Transfer-Encoding: chunked\r\n", "2;e\r\nfo\r\n2\r\nur\r\n0\r\nt: r\r\n\r\n"),
        &post("Content-Length: 0\r\n", ""),
        "GET /6 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        &post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        "GET /8 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /9 HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    .concat()
}

/// Every cut in two, and byte by byte, come to the same as the whole.
fn check_cuts(stream: &[u8]) {
    let expected = whole(stream);
    for at in 0..=stream.len() {
        let (first, second) = stream.split_at(at);
        let outcome = feed([first, second]);
        assert_eq!(outcome, expected, "cut at {at}: {:?}", String::from_utf8_lossy(stream));
    }
    assert_eq!(feed(stream.chunks(1)), expected, "byte by byte: {:?}", String::from_utf8_lossy(stream));
}

#[test]
fn pipelined_answers_come_in_order_and_end_with_close() {
    let outcome = whole(mixed_stream().as_bytes());
    assert_eq!((outcome.served, outcome.close), (8, true));
    assert_eq!(statuses(&outcome.output), ["200"; 8]);
    let places: Vec<_> = ["GET /1", "\r\n\r\ntwo\n", "\r\n\r\nfourHTTP/1.1", "GET /6", "GET /8"]
        .map(|mark| outcome.output.find(mark).expect(mark))
        .into();
    assert!(places.is_sorted(), "{places:?}");
    assert!(!outcome.output.contains("/9"));
}

#[test]
fn pipelined_answers_do_not_depend_on_the_cuts() {
    check_cuts(mixed_stream().as_bytes());
}

#[test]
fn an_incomplete_tail_waits() {
    let stream = mixed_stream();
    let tail = "GET /tail HTTP/1.1\r\nHo";
    let outcome = whole([&stream[..stream.find("GET /8").unwrap()], tail].concat().as_bytes());
    assert_eq!((outcome.served, outcome.close, outcome.phase), (7, false, Phase::Head));
}

/// A generator good enough for fuzzing (xorshift64), the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[test]
fn garbage_never_panics_and_cuts_never_matter() {
    let pieces: Vec<Vec<u8>> = refused().into_iter().map(|(request, _)| request.into_bytes()).collect();
    let valid = mixed_stream().into_bytes();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let rounds = if cfg!(miri) { 50 } else { 20_000 };
    let mut answered = 0;
    for round in 0..rounds {
        let mut stream = match random.below(4) {
            0 => (0..random.below(300)).map(|_| random.below(256) as u8).collect(),
            1 => pieces[random.below(pieces.len())].clone(),
            _ => valid.clone(),
        };
        for _ in 0..random.below(4) {
            let at = random.below(stream.len() + 1);
            let byte = *b"\r\n\0 :;,0F\xff".get(random.below(12)).unwrap_or(&(round as u8));
            match random.below(3) {
                0 => stream.insert(at, byte),
                1 if at < stream.len() => stream[at] = byte,
                _ => stream.truncate(at.max(stream.len() / 2)),
            }
        }
        let expected = whole(&stream);
        answered += expected.served;
        let mut cuts = Vec::new();
        let mut rest = stream.as_slice();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(1 + random.below(rest.len()).min(random.below(60)));
            cuts.push(piece);
            rest = behind;
        }
        assert_eq!(feed(cuts), expected, "{:?}", String::from_utf8_lossy(&stream));
    }
    assert!(answered as usize > rounds, "the streams were too broken to test anything: {answered}");
}
