//! Tests of the codec: what it answers. What it refuses, and that nothing depends on where the stream was cut, is in
//! `codec_refusal_tests.rs`; the limits are in `codec_limit_tests.rs`.

use super::*;

#[path = "codec_limit_tests.rs"]
mod limits;
#[path = "codec_refusal_tests.rs"]
mod refusals;

/// What a connection came to after a stream of input.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    output: String,
    served: u32,
    close: bool,
    phase: Phase,
}

/// A caller's loop: keeps what wasn't consumed, presents it again with the next piece behind it.
fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let (mut codec, mut buffer, mut output) = (Codec::new(), Vec::new(), Vec::new());
    let (mut served, mut close) = (0, false);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        let step = codec.advance(&buffer, &mut output);
        assert!(step.consumed <= buffer.len());
        buffer.drain(..step.consumed);
        assert!(buffer.len() < MAX_HEAD, "a caller's buffer of MAX_HEAD bytes would be stuck");
        served += step.served;
        close = step.close;
    }
    let output = String::from_utf8_lossy(&output).into_owned();
    Outcome { output, served, close, phase: codec.phase() }
}

fn whole(input: &[u8]) -> Outcome {
    feed([input])
}

/// The statuses of all answers in `output`, in order. An echoed request line has no blank after its version.
fn statuses(output: &str) -> Vec<&str> {
    output.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]).collect()
}

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
}

#[test]
fn a_request_without_a_body_gets_its_head_back() {
    let request = "GET /a?b HTTP/1.1\r\nHost: a:80\r\nAccept: */*\r\n\r\n";
    let outcome = whole(request.as_bytes());
    let echo = request.strip_suffix("\r\n").unwrap();
    let length = echo.len();
    let expected =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{echo}");
    assert_eq!(outcome, Outcome { output: expected, served: 1, close: false, phase: Phase::Idle });
}

#[test]
fn a_request_with_a_body_gets_it_back_with_its_type() {
    let with_type = post("Content-Type: a/b; c=d\r\nContent-Length: 5\r\n", "hello");
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: a/b; c=d\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(whole(with_type.as_bytes()).output, answer);
    let without = post("content-LENGTH:\t 5 \t\r\n", "hello");
    assert_eq!(whole(without.as_bytes()).output, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let empty = post("Content-Length: 0\r\n", "");
    assert_eq!(whole(empty.as_bytes()).output, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let twice_the_same = post("Content-Length: 5\r\nContent-Length: 5, 05\r\n", "hello");
    assert_eq!(whole(twice_the_same.as_bytes()).output, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
}

#[test]
fn a_type_does_not_leak_into_the_next_request() {
    let first = post("Content-Type: a/b\r\nTransfer-Encoding: chunked\r\n", "1\r\nx\r\n0\r\n\r\n");
    let second = post("Transfer-Encoding: chunked\r\n", "1\r\ny\r\n0\r\n\r\n");
    let outcome = whole([first, second].concat().as_bytes());
    assert_eq!(outcome.output.matches("Content-Type").count(), 1);
    assert!(outcome.output.ends_with("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ny"));
}

#[test]
fn chunks_are_joined_and_extensions_and_trailers_dropped() {
    let body = "5;a=b;c=\"d e\"\r\nhello\r\n0006 \t; x\r\n world\r\nA\r\n0123456789\r\n000\r\nTrailer: x\r\nContent-Length: 3\r\n\r\n";
    let outcome = whole(post("Transfer-Encoding: Chunked\r\n", body).as_bytes());
    assert_eq!(outcome.output, "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\nhello world0123456789");
    assert_eq!((outcome.served, outcome.close, outcome.phase), (1, false, Phase::Idle));
}

#[test]
fn head_gets_the_length_and_no_content() {
    let outcome = whole(
        b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    );
    let first = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 26\r\n\r\n";
    assert_eq!(outcome.output, [first, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"].concat());
    assert_eq!(outcome.served, 2);
}

#[test]
fn persistence_follows_the_version_and_the_options() {
    let cases = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false, ""),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", true, "close"),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x , CLOSE,\r\n\r\n", true, "close"),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", true, "close"),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", false, ""),
        ("GET / HTTP/1.0\r\n\r\n", true, "close"),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", false, "keep-alive"),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", true, "close"),
    ];
    for (request, close, announced) in cases {
        let outcome = whole([request, request].concat().as_bytes());
        assert_eq!((outcome.close, outcome.served), (close, if close { 1 } else { 2 }), "{request}");
        let answer_head = outcome.output.split("\r\n\r\n").next().unwrap();
        let field = answer_head.split("\r\n").find_map(|line| line.strip_prefix("Connection: "));
        assert_eq!(field.unwrap_or(""), announced, "{request}");
    }
}

#[test]
fn targets_in_every_form_that_is_served() {
    for line in
        ["GET http://a/b HTTP/1.1", "OPTIONS * HTTP/1.1", "BREW /pot HTTP/1.1", "GET /\u{e9} HTTP/1.1"]
    {
        let outcome = whole(format!("{line}\r\nHost:\r\n\r\n").as_bytes());
        assert_eq!((outcome.served, outcome.close), (1, false), "{line}");
    }
}

#[test]
fn continue_is_sent_before_the_body_is_waited_for() {
    let head = post("Expect: 100-Continue\r\nContent-Length: 5\r\n", "");
    let (mut codec, mut output) = (Codec::new(), Vec::new());
    let step = codec.advance(head.as_bytes(), &mut output);
    assert_eq!(output, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!((step.consumed, step.served, codec.phase()), (head.len(), 0, Phase::Body));
    output.clear();
    assert_eq!(codec.advance(b"hello", &mut output).served, 1);
    assert_eq!(output, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");

    let chunked = post("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", "");
    assert_eq!(statuses(&whole(chunked.as_bytes()).output), ["100"]);
}

#[test]
fn continue_is_not_sent_where_it_has_no_place() {
    let begun = post("Expect: 100-continue\r\nContent-Length: 5\r\n", "h");
    let nothing_to_wait_for = post("Expect: 100-continue\r\nContent-Length: 0\r\n", "");
    let old = "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n".to_string();
    let old_and_strange = "POST / HTTP/1.0\r\nExpect: x\r\nContent-Length: 5\r\n\r\n".to_string();
    for (request, answers) in [(begun, 0), (nothing_to_wait_for, 1), (old, 0), (old_and_strange, 0)] {
        let outcome = whole(request.as_bytes());
        assert!(!outcome.output.contains("HTTP/1.1 100"), "{request}");
        assert_eq!((statuses(&outcome.output).len(), outcome.close), (answers, false), "{request}");
    }
}

#[test]
fn the_phase_tells_what_is_waited_for() {
    let mut codec = Codec::new();
    let mut output = Vec::new();
    assert_eq!(codec.phase(), Phase::Idle);
    codec.advance(b"G", &mut output);
    assert_eq!(codec.phase(), Phase::Head);
    codec.advance(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &mut output);
    assert_eq!(codec.phase(), Phase::Idle);
    codec.advance(post("Transfer-Encoding: chunked\r\n", "0\r\nx").as_bytes(), &mut output);
    assert_eq!(codec.phase(), Phase::Body);
    codec.advance(b"x: y\r\n\r\n", &mut output);
    assert_eq!(codec.phase(), Phase::Idle);

    output.clear();
    Codec::timeout_response(&mut output);
    assert_eq!(output, b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

#[test]
fn nothing_is_answered_after_close() {
    let mut codec = Codec::new();
    let mut output = Vec::new();
    codec.advance(b"\n", &mut output);
    output.clear();
    let step = codec.advance(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &mut output);
    assert_eq!(step, Step { consumed: 27, served: 0, close: true });
    assert!(output.is_empty());
}
