//! One HTTP connection's buffers and codec, for servers that bring their own way of reading and writing.
//!
//! The buffer policy is part of a contest's rules, so it is here and not with the contestants. There are two, and a contest
//! has one for all:
//! - [`Session`]: one read buffer of fixed size for the life of the connection, one read for as many requests as it brings,
//!   one write for all their answers.
//! - [`Pooled`]: the same, taken from a pool of the thread's when something has come in, and given back when the connection
//!   is at rest. Idle connections hold none.

use crate::codec::{Codec, MAX_HEAD, Phase};
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Size of the read buffer: the codec leaves an incomplete head of up to [`MAX_HEAD`] bytes in it, and has
/// decided at that size at the latest.
pub const READ_BUFFER: usize = MAX_HEAD;

/// How many sessions a thread's pool keeps. A guess: more than are in the middle of a request at once, as a rule, and
/// 256 KiB of read buffers.
const POOL: usize = 16;

/// The buffers of one connection and its codec.
pub struct Session {
    codec: Codec,
    input: Box<[u8]>,
    filled: usize,
    output: Vec<u8>,
    close: bool,
    handler: Option<fn(&[u8])>,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A fresh connection's.
    pub fn new() -> Self {
        let input = vec![0; READ_BUFFER].into_boxed_slice();
        Session { codec: Codec::new(), input, filled: 0, output: Vec::new(), close: false, handler: None }
    }

    /// A fresh connection's, with a handler that sees everything that has been received and isn't answered yet, just before
    /// it is. It runs where an application's handler would: in the task, on the worker.
    pub fn with_handler(handler: fn(&[u8])) -> Self {
        Session { handler: Some(handler), ..Session::new() }
    }

    /// Where the next read goes; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.input[self.filled..]
    }

    /// Takes in `count` bytes that were read into [`space`](Self::space), and returns what is to be written, all of it, before
    /// the next read; it may be empty.
    pub fn received(&mut self, count: usize) -> &[u8] {
        self.filled += count;
        if let Some(handler) = self.handler {
            handler(&self.input[..self.filled]);
        }
        self.output.clear();
        let step = self.codec.advance(&self.input[..self.filled], &mut self.output);
        self.input.copy_within(step.consumed..self.filled, 0);
        self.filled -= step.consumed;
        self.close = step.close;
        &self.output
    }

    /// The output of the last [`received`](Self::received), for those who can't keep it borrowed.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// True if the connection ends once the output is written.
    pub fn closes(&self) -> bool {
        self.close
    }

    /// True if there is nothing to remember until the next request begins.
    pub fn at_rest(&self) -> bool {
        self.filled == 0 && !self.close && self.codec.phase() == Phase::Idle
    }

    /// Lends the read buffer, for runtimes that own it during a read; [`space`](Self::space) begins at the number that comes
    /// with it. It has to come back by [`return_input`](Self::return_input) before anything else is done here.
    pub fn lend_input(&mut self) -> (Box<[u8]>, usize) {
        (std::mem::take(&mut self.input), self.filled)
    }

    /// Takes the read buffer back.
    pub fn return_input(&mut self, input: Box<[u8]>) {
        self.input = input;
    }

    /// Lends [`output`](Self::output), for runtimes that own it during a write.
    pub fn lend_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Takes the output's buffer back.
    pub fn return_output(&mut self, output: Vec<u8>) {
        self.output = output;
    }

    /// As [`new`](Self::new), with the buffers kept.
    fn reset(&mut self) {
        self.codec = Codec::new();
        self.filled = 0;
        self.output.clear();
        self.output.shrink_to(READ_BUFFER);
        self.close = false;
        self.handler = None;
    }
}

thread_local! {
    // Boxed, so that what a connection holds, and what moves in and out, is one pointer.
    #[expect(clippy::vec_box)]
    static IDLE: RefCell<Vec<Box<Session>>> = const { RefCell::new(Vec::new()) };
}

/// A session out of the pool of the thread that asked; it goes to the pool of the thread that drops it. One pointer wide.
pub struct Pooled(Option<Box<Session>>);

impl Pooled {
    /// A session as good as new.
    pub fn take() -> Self {
        let idle = IDLE.with_borrow_mut(Vec::pop);
        Pooled(Some(idle.unwrap_or_default()))
    }
}

impl From<Session> for Pooled {
    fn from(session: Session) -> Self {
        Pooled(Some(Box::new(session)))
    }
}

impl Deref for Pooled {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.0.as_deref().expect("it is taken on drop only")
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut Session {
        self.0.as_deref_mut().expect("it is taken on drop only")
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(mut session) = self.0.take() else {
            return;
        };
        // A buffer that was lent and never came back: the read was cancelled.
        if session.input.is_empty() {
            return;
        }
        session.reset();
        // Fails when the thread is ending: then the session ends too.
        let _ = IDLE.try_with(|idle| {
            let mut idle = idle.borrow_mut();
            if idle.len() < POOL {
                idle.push(session);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    fn receive<'a>(session: &'a mut Session, bytes: &[u8]) -> &'a [u8] {
        session.space()[..bytes.len()].copy_from_slice(bytes);
        session.received(bytes.len())
    }

    #[test]
    fn what_is_not_consumed_is_presented_again() {
        let mut session = Session::new();
        for piece in REQUEST.chunks(10) {
            assert!(session.output().is_empty());
            receive(&mut session, piece);
        }
        assert!(session.output().starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert!(!session.closes());
        assert_eq!(session.space().len(), READ_BUFFER);
    }

    #[test]
    fn a_full_buffer_never_leaves_a_reader_without_space() {
        let mut session = Session::new();
        let space = session.space();
        space.fill(b'x');
        let count = space.len();
        assert!(session.received(count).starts_with(b"HTTP/1.1 431"));
        assert!(session.closes());
        assert!(!session.space().is_empty());
    }

    #[test]
    fn rest_is_between_requests() {
        let mut session = Session::new();
        assert!(session.at_rest());
        receive(&mut session, &REQUEST[..10]);
        assert!(!session.at_rest());
        receive(&mut session, &REQUEST[10..]);
        assert!(session.at_rest());
        receive(&mut session, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1");
        assert!(!session.at_rest(), "a body is missing, though the buffer is empty");
        receive(&mut session, b"2GET");
        assert!(!session.at_rest());
    }

    #[test]
    fn a_pooled_session_remembers_nothing() {
        let mut first = Pooled::take();
        receive(&mut first, b"\r\n");
        receive(&mut first, b"GET / HTT");
        let at: *const Session = &*first;
        drop(first);
        let mut second = Pooled::take();
        assert!(std::ptr::eq(at, &*second), "it is the same session");
        assert!(second.at_rest());
        // A second empty line would be refused.
        receive(&mut second, b"\r\n");
        assert!(receive(&mut second, REQUEST).starts_with(b"HTTP/1.1 200 OK\r\n"));
    }

    #[test]
    fn lent_buffers_come_back() {
        let mut session = Session::new();
        receive(&mut session, &REQUEST[..10]);
        let (mut input, filled) = session.lend_input();
        input[filled..][..REQUEST.len() - 10].copy_from_slice(&REQUEST[10..]);
        session.return_input(input);
        assert!(session.received(REQUEST.len() - 10).starts_with(b"HTTP/1.1 200"));
        let output = session.lend_output();
        assert!(session.output().is_empty() && output.starts_with(b"HTTP/1.1 200"));
        session.return_output(output);

        let mut pooled = Pooled::take();
        let _lost = pooled.lend_input();
        drop(pooled);
        assert_eq!(Pooled::take().space().len(), READ_BUFFER);
    }

    #[test]
    fn a_handler_sees_the_request_before_the_answer() {
        thread_local!(static SEEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        let mut session = Session::with_handler(|input| SEEN.with_borrow_mut(|seen| *seen = input.to_vec()));
        receive(&mut session, REQUEST);
        assert_eq!(SEEN.take(), REQUEST);
    }
}
