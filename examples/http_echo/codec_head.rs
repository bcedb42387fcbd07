//! Reading a head: the request line and the fields that decide framing and persistence. `httparse` does the
//! tokenising; what its tokens mean, and what it lets through that this server doesn't, is decided here.

use super::{MAX_BODY, MAX_HEAD, Refusal};
use std::mem::MaybeUninit;

/// The most field lines in a head or a trailer section: hyper's and Apache's limit.
pub(super) const MAX_FIELDS: usize = 100;

/// How the request's body is delimited, RFC 9112 section 6.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(usize),
    Chunked,
}

/// What becomes of the connection after the answer, RFC 9112 section 9.3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Persist {
    /// HTTP/1.1 stays open without a word.
    #[default]
    Default,
    /// HTTP/1.0 stays open when asked to, and is told so.
    KeepAlive,
    Close,
}

/// A complete head that has been found acceptable.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// Bytes from the request line to the empty line, both included.
    pub(super) len: usize,
    pub(super) framing: Framing,
    pub(super) persist: Persist,
    pub(super) head_only: bool,
    pub(super) expects_continue: bool,
    /// Empty if there was none.
    pub(super) content_type: &'a [u8],
}

/// Applies `parse` to a section of lines that ends with an empty one (a head, or trailers) if there is reason to.
///
/// `seen` bytes were looked at before. Until another line is complete there is nothing new to parse, which
/// keeps a peer that sends byte by byte from costing the square of its head: at most [`MAX_FIELDS`] passes.
///
/// `Ok(None)` asks for more input. A section of [`MAX_HEAD`] bytes without an end is refused.
pub(super) fn section<'a, T>(
    input: &'a [u8],
    seen: &mut usize,
    parse: impl Fn(&'a [u8]) -> Result<Option<T>, Refusal>,
) -> Result<Option<T>, Refusal> {
    let window = &input[..input.len().min(MAX_HEAD)];
    let fresh = window.get(*seen..).unwrap_or(window);
    if *seen == 0 || fresh.contains(&b'\n') {
        match parse(window) {
            Ok(Some(parsed)) => {
                *seen = 0;
                return Ok(Some(parsed));
            }
            Ok(None) => {}
            // Only whole lines are judged, so that the verdict is the same however the stream was cut.
            Err(_) => {
                if let Some(end) = window.iter().rposition(|&byte| byte == b'\n') {
                    parse(&window[..=end])?;
                }
            }
        }
    }
    *seen = window.len();
    if window.len() == MAX_HEAD { Err(Refusal::HeadTooLarge) } else { Ok(None) }
}

/// True if a line of `section` ends with LF alone. Written to be vectorised: no early exit.
pub(super) fn has_bare_lf(section: &[u8]) -> bool {
    let pairs = section.iter().zip(section.iter().skip(1));
    let bare = pairs.fold(false, |bare, (&before, &byte)| bare | ((byte == b'\n') & (before != b'\r')));
    bare || section.first() == Some(&b'\n')
}

impl<'a> Head<'a> {
    /// Parses the head at the start of `input`; `None` if it isn't complete.
    pub(super) fn parse(input: &'a [u8]) -> Result<Option<Self>, Refusal> {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        let len = match request.parse_with_uninit_headers(input, &mut fields) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(None),
            // RFC 6585 section 5 has 431 for too many fields as for too long ones.
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
            Err(httparse::Error::Version) if names_other_version(input) => {
                return Err(Refusal::VersionNotSupported);
            }
            Err(_) => return Err(Refusal::BadRequest),
        };
        let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
        else {
            return Err(Refusal::BadRequest);
        };
        // httparse takes LF alone for the end of a line.
        if has_bare_lf(&input[..len]) {
            return Err(Refusal::BadRequest);
        }
        check_target(method, target)?;
        let fields = Fields::read(request.headers)?;
        fields.into_head(len, method == "HEAD", minor == 1).map(Some)
    }
}

/// What the fields said, before they are weighed against each other.
#[derive(Default)]
struct Fields<'a> {
    host: bool,
    length: Option<u64>,
    coding: Option<Coding>,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    expects_other: bool,
    content_type: &'a [u8],
}

/// The list of transfer codings so far, over all Transfer-Encoding lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// `chunked` and nothing else.
    Chunked,
    /// One that isn't known here; `chunked` may have followed it.
    Unknown { chunked: bool },
}

impl<'a> Fields<'a> {
    #[inline]
    fn read(headers: &[httparse::Header<'a>]) -> Result<Self, Refusal> {
        let mut fields = Fields::default();
        for header in headers {
            // The length decides nearly always; the names that matter have six different ones.
            let name = header.name.as_bytes();
            match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => {
                    // RFC 9112 section 3.2: more than one, or an invalid one, is answered with 400.
                    if fields.host || !is_host(header.value) {
                        return Err(Refusal::BadRequest);
                    }
                    fields.host = true;
                }
                6 if name.eq_ignore_ascii_case(b"expect") => fields.expect(header.value),
                10 if name.eq_ignore_ascii_case(b"connection") => fields.connection(header.value),
                12 if name.eq_ignore_ascii_case(b"content-type") => fields.content_type = header.value,
                14 if name.eq_ignore_ascii_case(b"content-length") => fields.content_length(header.value)?,
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    fields.transfer_encoding(header.value)?
                }
                _ => {}
            }
        }
        Ok(fields)
    }

    fn expect(&mut self, value: &[u8]) {
        for expectation in list(value) {
            if expectation.eq_ignore_ascii_case(b"100-continue") {
                self.expects_continue = true;
            } else {
                self.expects_other = true;
            }
        }
    }

    fn connection(&mut self, value: &[u8]) {
        for option in list(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// RFC 9110 section 8.6: digits, and nothing else (no sign, no prefix). A list or a second line is accepted only
    /// if it says the same again.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for element in list(value) {
            if element.is_empty() || !element.iter().all(u8::is_ascii_digit) {
                return Err(Refusal::BadRequest);
            }
            // Saturation is enough: whatever doesn't fit is over the limit.
            let length = element.iter().fold(0u64, |length, digit| {
                length.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
            });
            if self.length.is_some_and(|before| before != length) {
                return Err(Refusal::BadRequest);
            }
            self.length = Some(length);
        }
        Ok(())
    }

    /// RFC 9112 section 6.1: chunked comes once and last; a coding that isn't known is 501, which is for the end to say,
    /// because a fault in the list weighs more.
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for element in list(value) {
            if element.is_empty() {
                return Err(Refusal::BadRequest);
            }
            let chunked = element.eq_ignore_ascii_case(b"chunked");
            self.coding = Some(match self.coding {
                Some(Coding::Chunked | Coding::Unknown { chunked: true }) => {
                    return Err(Refusal::BadRequest);
                }
                None if chunked => Coding::Chunked,
                None | Some(Coding::Unknown { chunked: false }) => Coding::Unknown { chunked },
            });
        }
        Ok(())
    }

    /// Weighs the fields: faults of the message first, then what this server can't do, then what it doesn't want.
    fn into_head(self, len: usize, head_only: bool, http11: bool) -> Result<Head<'a>, Refusal> {
        // RFC 9112 section 3.2.
        if http11 && !self.host {
            return Err(Refusal::BadRequest);
        }
        // RFC 9112 section 6.1: with Transfer-Encoding, HTTP/1.0 means faulty framing; so does a Content-Length beside it.
        if self.coding.is_some() && (!http11 || self.length.is_some()) {
            return Err(Refusal::BadRequest);
        }
        let framing = match (self.coding, self.length) {
            (Some(Coding::Unknown { .. }), _) => return Err(Refusal::NotImplemented),
            (Some(Coding::Chunked), _) => Framing::Chunked,
            (None, None) => Framing::None,
            (None, Some(length)) => match usize::try_from(length) {
                Ok(length) if length <= MAX_BODY => Framing::Length(length),
                _ => return Err(Refusal::ContentTooLarge),
            },
        };
        // RFC 9110 section 10.1.1. HTTP/1.0 has no expectations: a proxy may have forwarded what it didn't understand.
        if http11 && self.expects_other {
            return Err(Refusal::ExpectationFailed);
        }
        let persist = match (self.close, http11, self.keep_alive) {
            (true, ..) | (false, false, false) => Persist::Close,
            (false, true, _) => Persist::Default,
            (false, false, true) => Persist::KeepAlive,
        };
        let expects_continue = http11 && self.expects_continue;
        Ok(Head { len, framing, persist, head_only, expects_continue, content_type: self.content_type })
    }
}

/// The elements of a comma-separated list, without the optional whitespace around them (RFC 9110 section 5.6.1).
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(|element| {
        let blank = |byte: &u8| !matches!(byte, b' ' | b'\t');
        let start = element.iter().position(blank).unwrap_or(element.len());
        let end = element.iter().rposition(blank).map_or(start, |last| last + 1);
        &element[start..end]
    })
}

/// RFC 9112 section 3.2: the four forms of a request target, as far as an echo has to tell them apart. Octets beyond
/// ASCII pass if they are UTF-8: they can't change where anything ends.
#[inline]
fn check_target(method: &str, target: &str) -> Result<(), Refusal> {
    // A 200 to CONNECT would turn the connection into a tunnel (RFC 9110 section 9.3.6).
    if method == "CONNECT" {
        return Err(Refusal::NotImplemented);
    }
    let absolute =
        || target.split_once("://").is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty());
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") || absolute() {
        Ok(())
    } else {
        Err(Refusal::BadRequest)
    }
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// True if every octet may stand in `uri-host [ ":" port ]` (RFC 3986 section 3.2); the field may be empty.
fn is_host(value: &[u8]) -> bool {
    static HOST: [bool; 256] = {
        let others = b"-._~%!$&'()*+,;=:[]";
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            table[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut at = 0;
        while at < others.len() {
            table[others[at] as usize] = true;
            at += 1;
        }
        table
    };
    value.iter().all(|&byte| HOST[usize::from(byte)])
}

/// True if the request line ends in a well-formed version that isn't spoken here (RFC 9110 section 15.6.6).
fn names_other_version(input: &[u8]) -> bool {
    let line = input.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    matches!(line, [.., b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}
