//! HTTP/1.1 and 1.0, server side, without any I/O: bytes in, bytes out.
//!
//! What lives here: the state of one connection ([`Codec`]) and the answers it writes. How a head is read and
//! what its fields mean is in `codec_head.rs`, the chunked transfer coding in `codec_chunked.rs`. What doesn't:
//! sockets, buffers, clocks. The caller reads, hands over what it has, writes what came out, and asks
//! [`Codec::phase`] which of its timeouts runs.
//!
//! ```text
//!                       ┌────────────── answer ◄──────────────┐
//!                       ▼                                     │
//!   (new) ──────────► Head ── no body, or all of it here ─────┤
//!                       │──── Content-Length: n ──► Length ───┤
//!                       └──── chunked ──► Chunked ─ trailers ─┘
//!   any state ── refusal, or an answer that closes ──► Closed      nothing after it is interpreted
//! ```
//!
//! The service is an echo: a request with a body gets that body and its Content-Type back, one without gets its
//! own request line and header lines as text/plain, and HEAD gets what GET would, less the content.
//!
//! No answer carries a Date: RFC 9110 section 6.6.1 lets a server without a reliable clock leave it out, and a
//! codec that does no I/O has no clock.
//!
//! Decisions where the RFCs leave a choice, always towards what no two parsers can read differently:
//! - every refusal closes the connection, and its answer has no content;
//! - a line ends with CRLF only, a bare LF is refused (RFC 9112 section 2.2 would allow it);
//! - one empty line before a request is skipped (RFC 9112 section 2.2), a second one is refused;
//! - Content-Length repeated with the same value counts once (RFC 9110 section 8.6), with another is refused;
//! - Content-Length beside Transfer-Encoding is refused (RFC 9112 section 6.3 would let one win);
//! - a verdict on a malformed head falls when its line is complete, so it doesn't depend on where the network
//!   cut the stream.

#[path = "codec_chunked.rs"]
mod chunked;
#[path = "codec_head.rs"]
mod head;

use chunked::Chunked;
use head::{Framing, Head, Persist};

/// The longest head, in bytes from the request line to the empty line; the same for a trailer section.
/// 16 KiB is the contract of the example (nginx allows 32 KiB, Apache and Node 16 KiB).
///
/// The caller's buffer has to hold this many bytes: up to here an incomplete head stays in it unconsumed.
pub const MAX_HEAD: usize = 16 * 1024;

/// The longest body, in bytes: the contract of the example, and nginx's default.
pub const MAX_BODY: usize = 1024 * 1024;

/// The most a connection keeps allocated for bodies between requests. A guess: as much as one read buffer.
const KEEP_BODY: usize = 16 * 1024;

/// The same for the Content-Type of a body that didn't come with its head. A guess: longer than any that is in use.
const KEEP_TYPE: usize = 256;

/// The state of one connection. See the module's text.
#[derive(Debug, Default)]
pub struct Codec {
    state: State,
    /// The part of a body that came in so far, when it didn't come with its head.
    body: Vec<u8>,
    /// What the answer to the request in progress needs to know, once its head is consumed.
    content_type: Vec<u8>,
    persist: Persist,
    head_only: bool,
}

#[derive(Debug)]
enum State {
    /// Between requests or in a head, of which `seen` bytes were looked at and left in the caller's buffer.
    /// `blank`: an empty line was skipped.
    Head { seen: usize, blank: bool },
    /// `left` bytes of a body with a Content-Length are still to come.
    Length { left: usize },
    /// In a chunked body or its trailers.
    Chunked(Chunked),
    /// The last answer is written.
    Closed,
}

impl Default for State {
    fn default() -> Self {
        State::Head { seen: 0, blank: false }
    }
}

/// What one [`Codec::advance`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are used up; the rest has to be presented again, with more behind it.
    pub consumed: usize,
    /// Requests answered, refusals not counted.
    pub served: u32,
    /// Write the output, then close; nothing more is read from this connection.
    pub close: bool,
}

/// What a connection is in the middle of: what a timeout has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing of a request has been received.
    Idle,
    /// A head has begun.
    Head,
    /// The head is complete, the body (or its trailers) isn't.
    Body,
}

/// Why a request is refused. All of them close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    BadRequest,
    RequestTimeout,
    ContentTooLarge,
    ExpectationFailed,
    HeadTooLarge,
    NotImplemented,
    VersionNotSupported,
}

impl Refusal {
    fn response(self) -> &'static [u8] {
        macro_rules! answer {
            ($status:literal) => {
                concat!("HTTP/1.1 ", $status, "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes()
            };
        }
        match self {
            Refusal::BadRequest => answer!("400 Bad Request"),
            Refusal::RequestTimeout => answer!("408 Request Timeout"),
            Refusal::ContentTooLarge => answer!("413 Content Too Large"),
            Refusal::ExpectationFailed => answer!("417 Expectation Failed"),
            Refusal::HeadTooLarge => answer!("431 Request Header Fields Too Large"),
            Refusal::NotImplemented => answer!("501 Not Implemented"),
            Refusal::VersionNotSupported => answer!("505 HTTP Version Not Supported"),
        }
    }
}

/// How far one state got; the number is the bytes it used up.
enum Progress {
    /// It needs more input.
    Wait(usize),
    /// The state changed; go on with the rest of the input.
    Next(usize),
    /// A request is answered.
    Answered(usize),
}

impl Codec {
    /// The state of a fresh connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what the connection has received and appends the answers to `output`, in order: as many requests as
    /// are complete (pipelining, RFC 9112 section 9.3.2), so that one write carries them all.
    ///
    /// `input` starts with the bytes that the last call left unconsumed. Body bytes are consumed as they come;
    /// an incomplete head stays with the caller, and is parsed again only when another of its lines is complete.
    pub fn advance(&mut self, input: &[u8], output: &mut Vec<u8>) -> Step {
        let mut step = Step::default();
        loop {
            let rest = &input[step.consumed..];
            let progress = match &mut self.state {
                State::Head { .. } => self.advance_head(rest, output),
                State::Length { left } => {
                    let take = rest.len().min(*left);
                    *left -= take;
                    let complete = *left == 0;
                    self.body.extend_from_slice(&rest[..take]);
                    if complete { Ok(self.answer_body(take, output)) } else { Ok(Progress::Wait(take)) }
                }
                State::Chunked(chunked) => match chunked.decode(rest, &mut self.body) {
                    Ok((used, true)) => Ok(self.answer_body(used, output)),
                    Ok((used, false)) => Ok(Progress::Wait(used)),
                    Err(refusal) => Err(refusal),
                },
                State::Closed => {
                    step.consumed = input.len();
                    step.close = true;
                    return step;
                }
            };
            match progress {
                Ok(Progress::Wait(used)) => {
                    step.consumed += used;
                    return step;
                }
                Ok(Progress::Next(used)) => step.consumed += used,
                Ok(Progress::Answered(used)) => {
                    step.consumed += used;
                    step.served += 1;
                    self.state =
                        if self.persist == Persist::Close { State::Closed } else { State::default() };
                }
                Err(refusal) => {
                    output.extend_from_slice(refusal.response());
                    self.body = Vec::new();
                    self.state = State::Closed;
                }
            }
        }
    }

    /// What the connection is in the middle of, as of the last [`advance`](Self::advance).
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Head { seen: 0, .. } | State::Closed => Phase::Idle,
            State::Head { .. } => Phase::Head,
            State::Length { .. } | State::Chunked(_) => Phase::Body,
        }
    }

    /// Appends the answer for a peer that took too long (RFC 9110 section 15.5.9): 408, and close after it.
    pub fn timeout_response(output: &mut Vec<u8>) {
        output.extend_from_slice(Refusal::RequestTimeout.response());
    }

    fn advance_head(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<Progress, Refusal> {
        let State::Head { seen, blank } = &mut self.state else {
            unreachable!("called in state Head only");
        };
        match input {
            [] => {
                *seen = 0;
                return Ok(Progress::Wait(0));
            }
            [b'\r'] => {
                *seen = 1;
                return Ok(Progress::Wait(0));
            }
            [b'\r', b'\n', ..] if !*blank => {
                self.state = State::Head { seen: 0, blank: true };
                return Ok(Progress::Next(2));
            }
            [b'\r' | b'\n', ..] => return Err(Refusal::BadRequest),
            _ => {}
        }
        let Some(head) = head::section(input, seen, Head::parse)? else {
            return Ok(Progress::Wait(0));
        };

        self.persist = head.persist;
        self.head_only = head.head_only;
        let rest = &input[head.len..];
        match head.framing {
            Framing::None => {
                // The head's own lines, without the empty one that ends it.
                let echo = &input[..head.len - 2];
                respond(output, b"text/plain", echo, self.persist, self.head_only);
                return Ok(Progress::Answered(head.len));
            }
            Framing::Length(length) if length <= rest.len() => {
                respond(output, head.content_type, &rest[..length], self.persist, self.head_only);
                return Ok(Progress::Answered(head.len + length));
            }
            Framing::Length(left) => self.state = State::Length { left },
            Framing::Chunked => self.state = State::Chunked(Chunked::new()),
        }
        // RFC 9110 section 10.1.1: no 100 once the body has begun to arrive.
        if head.expects_continue && rest.is_empty() {
            output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        // Empty since the last answer.
        self.content_type.extend_from_slice(head.content_type);
        Ok(Progress::Next(head.len))
    }

    /// Answers with the body that was gathered, the last `used` bytes of input having completed it.
    fn answer_body(&mut self, used: usize, output: &mut Vec<u8>) -> Progress {
        respond(output, &self.content_type, &self.body, self.persist, self.head_only);
        self.body.clear();
        self.body.shrink_to(KEEP_BODY);
        self.content_type.clear();
        self.content_type.shrink_to(KEEP_TYPE);
        Progress::Answered(used)
    }
}

/// Writes a 200, without a Content-Type if that is empty. A field value that came from a request is safe to send back: the parser lets no CR, LF or NUL through.
fn respond(output: &mut Vec<u8>, content_type: &[u8], content: &[u8], persist: Persist, head_only: bool) {
    output.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    if !content_type.is_empty() {
        output.extend_from_slice(b"Content-Type: ");
        output.extend_from_slice(content_type);
        output.extend_from_slice(b"\r\n");
    }
    output.extend_from_slice(b"Content-Length: ");
    push_decimal(output, content.len());
    output.extend_from_slice(match persist {
        Persist::Default => b"\r\n\r\n",
        // RFC 9112 section 9.3: an HTTP/1.0 peer has to be told that it got what it asked for.
        Persist::KeepAlive => b"\r\nConnection: keep-alive\r\n\r\n",
        Persist::Close => b"\r\nConnection: close\r\n\r\n",
    });
    // RFC 9110 section 9.3.2: the Content-Length that GET would have, and no content.
    if !head_only {
        output.extend_from_slice(content);
    }
}

/// `write!` would do, at ten times the cost.
fn push_decimal(output: &mut Vec<u8>, mut number: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    output.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
