//! The limits: what is exactly at one passes, one more doesn't.

use super::super::head::{MAX_FIELDS, section};
use super::*;
use std::cell::Cell;

/// A head whose only purpose is to be `length` bytes long, in fields of at most a few KiB.
fn head_of(length: usize) -> Vec<u8> {
    let mut head = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    while head.len() + 2 < length {
        let line = (length - 2 - head.len()).min(2000);
        // The rest must be long enough for another line.
        let line = if length - 2 - head.len() - line < 10 && line == 2000 { line - 20 } else { line };
        head.extend_from_slice(b"x: ");
        head.resize(head.len() + line - 5, b'y');
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    assert_eq!(head.len(), length);
    head
}

#[test]
fn a_head_at_the_limit_passes_and_one_byte_more_does_not() {
    for length in [MAX_HEAD - 1, MAX_HEAD] {
        assert_eq!(statuses(&whole(&head_of(length)).output), ["200"]);
        assert_eq!(statuses(&feed(head_of(length).chunks(1)).output), ["200"]);
    }
    let over = whole(&head_of(MAX_HEAD + 1));
    assert_eq!((statuses(&over.output).as_slice(), over.served, over.close), (["431"].as_slice(), 0, true));
    assert_eq!(feed(head_of(MAX_HEAD + 1).chunks(1)), over);
    // One endless line, and a limit that isn't counted over several requests.
    assert_eq!(statuses(&whole(&vec![b'x'; MAX_HEAD]).output), ["431"]);
    assert_eq!(statuses(&feed(vec![b'x'; MAX_HEAD].chunks(1)).output), ["431"]);
    assert_eq!(whole(&vec![b'x'; MAX_HEAD - 1]).output, "");
    assert_eq!(statuses(&whole(&head_of(MAX_HEAD).repeat(3)).output), ["200"; 3]);
}

#[test]
fn as_many_fields_as_the_limit_pass() {
    let fields = "x: y\r\n".repeat(MAX_FIELDS - 1);
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    assert_eq!(statuses(&whole(request.as_bytes()).output), ["200"]);
}

#[test]
fn a_body_at_the_limit_passes_whole_and_in_pieces() {
    let body = "b".repeat(MAX_BODY);
    let plain = post(&format!("Content-Length: {MAX_BODY}\r\n"), &body);
    let half = MAX_BODY / 2;
    let (first, second) = body.split_at(half);
    let chunks = format!("{half:x}\r\n{first}\r\n{half:X}\r\n{second}\r\n0\r\n\r\n");
    for stream in [plain, post("Transfer-Encoding: chunked\r\n", &chunks)] {
        for piece in [stream.len(), 5000] {
            let outcome = feed(stream.as_bytes().chunks(piece));
            assert_eq!((outcome.served, outcome.close, outcome.phase), (1, false, Phase::Idle));
            assert!(outcome.output.ends_with(&body));
        }
    }
    let over = format!("{half:x}\r\n{first}\r\n{:X}\r\n", half + 1);
    assert_eq!(statuses(&whole(post("Transfer-Encoding: chunked\r\n", &over).as_bytes()).output), ["413"]);
}

#[test]
fn a_large_body_and_a_long_type_leave_no_large_buffer_behind() {
    let fields = format!("Content-Length: {MAX_BODY}\r\nContent-Type: {}\r\n", "t".repeat(9000));
    let stream = post(&fields, &"b".repeat(MAX_BODY));
    let mut codec = Codec::new();
    let (first, second) = stream.as_bytes().split_at(10_000);
    let step = codec.advance(first, &mut Vec::new());
    let step = codec.advance(&[&first[step.consumed..], second].concat(), &mut Vec::new());
    assert_eq!(step.served, 1);
    assert!(codec.body.capacity() <= KEEP_BODY);
    assert!(codec.content_type.capacity() <= KEEP_TYPE);
}

#[test]
fn chunk_extensions_and_trailers_have_limits() {
    let stream = |extension: usize, trailers: usize| {
        let first = "e".repeat(extension / 2 - 1);
        let second = "e".repeat(extension - extension / 2 - 1);
        let trailer = "t".repeat(trailers - "t: \r\n\r\n".len());
        let body = format!("1;{first}\r\nx\r\n1;{second}\r\ny\r\n0\r\nt: {trailer}\r\n\r\n");
        post("Transfer-Encoding: chunked\r\n", &body)
    };
    for (extension, trailers, status) in
        [(MAX_HEAD, MAX_HEAD, "200"), (MAX_HEAD + 1, 100, "400"), (100, MAX_HEAD + 1, "431")]
    {
        let stream = stream(extension, trailers);
        let outcome = whole(stream.as_bytes());
        assert_eq!(statuses(&outcome.output), [status]);
        assert_eq!(feed(stream.as_bytes().chunks(1)), outcome);
    }
    for (fields, status) in [(MAX_FIELDS, "200"), (MAX_FIELDS + 1, "431")] {
        let body = format!("0\r\n{}\r\n", "t: r\r\n".repeat(fields));
        let outcome = whole(post("Transfer-Encoding: chunked\r\n", &body).as_bytes());
        assert_eq!(statuses(&outcome.output), [status]);
    }
}

#[test]
fn a_head_byte_by_byte_is_parsed_once_a_line() {
    let head = head_of(8000);
    let lines = head.iter().filter(|&&byte| byte == b'\n').count();
    let parses = Cell::new(0);
    let mut seen = 0;
    let mut complete = None;
    for end in 1..=head.len() {
        assert!(complete.is_none());
        complete = section(&head[..end], &mut seen, |input| {
            parses.set(parses.get() + 1);
            Ok(input.ends_with(b"\r\n\r\n").then_some(()))
        })
        .unwrap();
    }
    assert!(complete.is_some());
    // One more for the very first byte.
    assert_eq!(parses.get(), lines + 1);
}
