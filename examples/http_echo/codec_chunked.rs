//! The chunked transfer coding, RFC 9112 section 7.1, as a byte-driven machine: it keeps nothing of the input but
//! the chunk data and a few numbers, so it can stop anywhere and go on with the next byte.
//!
//! ```text
//!   Size ─digits─► Size ─CR─► SizeLf ─LF─► Data ─► DataCr ─► DataLf ─► Size
//!     │                ▲         └─ size 0 ─► Trailers ─ empty line ─► done
//!     └─ ; or blank ─► Extension
//! ```

use super::head::{MAX_FIELDS, has_bare_lf, section};
use super::{MAX_BODY, MAX_HEAD, Refusal};

/// The most bytes of chunk extensions in one body, all chunks together. They are ignored, so without a limit a peer could
/// have any number read for nothing; as much as a head may have (RFC 9112 section 7.1.1 asks for such a limit).
const MAX_EXTENSIONS: usize = MAX_HEAD;

/// Hexadecimal digits in a chunk size, leading zeros included: what fills 64 bits.
const MAX_DIGITS: u8 = 16;

/// The decoder of one body.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    /// The size of the chunk whose size line is being read.
    size: u64,
    digits: u8,
    extensions: usize,
}

#[derive(Debug)]
enum State {
    Size,
    /// After the size; `named` once the semicolon came, before which only blanks may stand.
    Extension {
        named: bool,
    },
    SizeLf,
    Data {
        left: usize,
    },
    DataCr,
    DataLf,
    /// `seen` bytes of the trailer section were looked at and left in the caller's buffer.
    Trailers {
        seen: usize,
    },
}

impl Chunked {
    pub(super) fn new() -> Self {
        Chunked { state: State::Size, size: 0, digits: 0, extensions: 0 }
    }

    /// Appends the data in `input` to `body`. Returns the bytes used up, and whether the body and its trailers
    /// are complete. After an error the decoder is of no further use.
    pub(super) fn decode(&mut self, input: &[u8], body: &mut Vec<u8>) -> Result<(usize, bool), Refusal> {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            if let State::Data { left } = &mut self.state {
                let take = rest.len().min(*left);
                body.extend_from_slice(&rest[..take]);
                *left -= take;
                used += take;
                if *left > 0 {
                    return Ok((used, false));
                }
                self.state = State::DataCr;
            } else if let State::Trailers { seen } = &mut self.state {
                return match section(rest, seen, parse_trailers)? {
                    Some(len) => Ok((used + len, true)),
                    None => Ok((used, false)),
                };
            } else {
                let Some(&byte) = rest.first() else {
                    return Ok((used, false));
                };
                self.state = self.step(byte, body.len())?;
                used += 1;
            }
        }
    }

    /// One byte outside of the data. What isn't listed is malformed; a bare LF above all, in which parsers differ.
    fn step(&mut self, byte: u8, received: usize) -> Result<State, Refusal> {
        match (&self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.digits < MAX_DIGITS => {
                let digit = (byte as char).to_digit(16).ok_or(Refusal::BadRequest)?;
                self.size = self.size << 4 | u64::from(digit);
                self.digits += 1;
                Ok(State::Size)
            }
            (State::Size, b'\r') if self.digits > 0 => Ok(State::SizeLf),
            (State::Size, b';' | b' ' | b'\t') if self.digits > 0 => self.extension(byte == b';'),
            (State::Extension { named: true }, b'\r') => Ok(State::SizeLf),
            (State::Extension { named: true }, b'\t' | b' '..=0x7e | 0x80..) => self.extension(true),
            (State::Extension { named: false }, b';' | b' ' | b'\t') => self.extension(byte == b';'),
            (State::SizeLf, b'\n') => {
                let size = std::mem::take(&mut self.size);
                self.digits = 0;
                match usize::try_from(size) {
                    Ok(0) => Ok(State::Trailers { seen: 0 }),
                    Ok(left) if left <= MAX_BODY - received => Ok(State::Data { left }),
                    _ => Err(Refusal::ContentTooLarge),
                }
            }
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size),
            _ => Err(Refusal::BadRequest),
        }
    }

    fn extension(&mut self, named: bool) -> Result<State, Refusal> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS {
            return Err(Refusal::BadRequest);
        }
        Ok(State::Extension { named })
    }
}

/// Trailers have to be well-formed, and are then dropped (RFC 9112 section 7.1.2 allows it, and merging them into the
/// head is how they become dangerous). Returns the length of the section, the empty line included.
fn parse_trailers(input: &[u8]) -> Result<Option<usize>, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    match httparse::parse_headers(input, &mut fields) {
        Ok(httparse::Status::Complete((len, _))) if has_bare_lf(&input[..len]) => Err(Refusal::BadRequest),
        Ok(httparse::Status::Complete((len, _))) => Ok(Some(len)),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(Refusal::HeadTooLarge),
        Err(_) => Err(Refusal::BadRequest),
    }
}
