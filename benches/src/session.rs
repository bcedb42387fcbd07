//! One HTTP connection's buffers and codec, for servers that bring their own way of reading and writing.
//!
//! The buffer policy is part of the contest's rules, so it is here and not with the contestants: one read buffer of fixed
//! size for the life of the connection, one read for as many requests as it brings, one write for all their answers.

use crate::codec::{Codec, MAX_HEAD};

/// Size of the read buffer: the codec leaves an incomplete head of up to [`MAX_HEAD`] bytes in it, and has
/// decided at that size at the latest.
pub const READ_BUFFER: usize = MAX_HEAD;

/// The buffers of one connection and its codec.
pub struct Session {
    codec: Codec,
    input: Box<[u8]>,
    filled: usize,
    output: Vec<u8>,
    close: bool,
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
        Session { codec: Codec::new(), input, filled: 0, output: Vec::new(), close: false }
    }

    /// Where the next read goes; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.input[self.filled..]
    }

    /// Takes in `count` bytes that were read into [`space`](Self::space), and returns what is to be written, all of it, before
    /// the next read; it may be empty.
    pub fn received(&mut self, count: usize) -> &[u8] {
        self.filled += count;
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_consumed_is_presented_again() {
        let mut session = Session::new();
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for piece in request.chunks(10) {
            assert!(session.output().is_empty());
            session.space()[..piece.len()].copy_from_slice(piece);
            session.received(piece.len());
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
}
