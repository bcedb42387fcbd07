//! Feeds: what tells a lane which descriptors moved.
//!
//! A [`Feed`] watches descriptors under tokens and reports [`Completion`]s. It knows no sources and no instances; the lane
//! ([`crate::lane`]) translates. Each implementation is a room of its own:
//!
//! | feed    | how                                             | edges                 |
//! |---------|-------------------------------------------------|-----------------------|
//! | [`uring`] | io_uring multishot poll                       | every arrival         |
//! | [`aio`]   | Linux AIO's `IOCB_CMD_POLL`, one-shot         | not-ready to ready    |
//! | [`poll`]  | `poll(2)` over everything that is armed, O(n) | not-ready to ready    |
//!
//! What "not-ready to ready" promises is told in [`watch`].

pub(crate) mod aio;
pub(crate) mod poll;
pub(crate) mod uring;
mod watch;

use crate::events::Events;
use std::fmt;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::str::FromStr;
use std::time::Duration;

/// What travels through the kernel and back: slot and generation of an arm (contract C6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token(pub(crate) u64);

impl Token {
    /// The lane's own wake-up descriptor.
    pub(crate) const WAKE: Token = Token(u64::MAX);
    /// Answers that nobody waits for.
    pub(crate) const NONE: Token = Token(u64::MAX - 1);
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) token: Token,
    /// The conditions that held when the kernel answered, or why the arm ended.
    pub(crate) level: Result<Events, i32>,
    /// No further answer comes for this token.
    pub(crate) last: bool,
}

/// Whether an arm that was given up still has an answer under way.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disarmed {
    /// Its token is free, and the kernel doesn't hold the descriptor.
    Done,
    /// Its token is free. A thread that was blocked at that moment (this is its round) may still hold the descriptor.
    Now {
        /// For [`Feed::unpinned`].
        round: u64,
    },
    /// A completion marked `last` will come.
    LastFollows,
}

/// How a descriptor's arm has to behave in feeds that can't watch a level that is already up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallen {
    /// The source says itself when it went quiet, with [`Feed::rearm`].
    Told,
    /// Nobody says: the feed has to look again from time to time.
    Watched,
}

/// A source of readiness for descriptors. All methods may be called from any thread.
pub(crate) trait Feed: Send + Sync + fmt::Debug {
    /// Watches `fd` for `interest` until disarmed. What holds already is reported. May be put off until the next
    /// [`submit`](Feed::submit) or [`block`](Feed::block).
    fn arm(&self, token: Token, fd: RawFd, interest: Events, fallen: Fallen) -> io::Result<()>;

    /// These conditions were seen not to hold: report them when they do. True if a thread that blocks now has to come back
    /// for it.
    fn rearm(&self, token: Token, conditions: Events) -> bool;

    /// Ends an arm, and closes `close` (its descriptor) after it: both may be put off as above.
    fn disarm(&self, token: Token, close: Option<OwnedFd>) -> io::Result<Disarmed>;

    /// Starts the end of an arm at once. After the last completion has been harvested, [`unpinned`](Feed::unpinned) makes sure
    /// that the kernel holds the descriptor no longer on this arm's behalf.
    fn disarm_now(&self, token: Token) -> io::Result<Disarmed>;

    /// See [`disarm_now`](Feed::disarm_now), which gave `how`. False if it has to be asked again.
    fn unpinned(&self, token: Token, how: Disarmed) -> bool;

    /// Makes what has happened up to now ready for the harvest, also where that is another thread's work: as far as can be done
    /// within a moment.
    fn settle(&self) {}

    /// As [`settle`](Feed::settle), as far as it can be done in passing: what another thread has to do for it, it is made to do,
    /// and waited for as long as that takes if it runs. False if that wasn't long enough.
    fn prod(&self) -> bool {
        true
    }

    /// Whether something was put off.
    fn has_pending(&self) -> bool;

    /// Hands over what was put off.
    fn submit(&self) -> io::Result<()>;

    /// Takes the answers that are there, without blocking. True if a thread that blocks now has to come back.
    fn harvest(&self, completions: &mut Vec<Completion>) -> io::Result<bool>;

    /// Hands over what was put off, and blocks until there is an answer, at most for `timeout`.
    fn block(&self, timeout: Option<Duration>) -> io::Result<()>;

    /// Whether [`rearm`](Feed::rearm) does anything.
    fn wants_to_be_told(&self) -> bool;

    /// Whether giving up the processor once before blocking pays.
    fn rests(&self) -> bool;

    /// Whether every arrival is an answer of its own, in the order they came. Then it pays to take in what is there before an
    /// interest changes.
    fn counts_arrivals(&self) -> bool {
        false
    }
}

/// Which feed is wanted.
///
/// Parses from and prints as `auto`, `uring`, `aio`, `poll`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeedChoice {
    /// What `EGRET_FEED` says; if it says nothing, the first that can be had of uring, aio and poll.
    #[default]
    Auto,
    /// io_uring (Linux 6.0 and later, where it is allowed).
    Uring,
    /// Linux AIO's poll (Linux 4.19 and later): O(1) an event like io_uring, with a submission for each, and allowed in many
    /// containers where io_uring is not. Its contexts count against `fs.aio-max-nr`. A close or shutdown by the peer is told some
    /// microseconds late, which a wait without blocking may notice.
    Aio,
    /// `poll(2)`: works everywhere, costs O(n) a turn.
    Poll,
}

/// Which feed is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeedKind {
    /// io_uring multishot poll.
    Uring,
    /// Linux AIO's one-shot poll, submitted in batches.
    Aio,
    /// `poll(2)`.
    Poll,
}

impl fmt::Display for FeedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FeedKind::Uring => "uring",
            FeedKind::Aio => "aio",
            FeedKind::Poll => "poll",
        })
    }
}

impl fmt::Display for FeedChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FeedChoice::Auto => "auto",
            FeedChoice::Uring => "uring",
            FeedChoice::Aio => "aio",
            FeedChoice::Poll => "poll",
        })
    }
}

impl FromStr for FeedChoice {
    type Err = io::Error;

    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for any other word.
    fn from_str(word: &str) -> io::Result<Self> {
        match word {
            "auto" => Ok(FeedChoice::Auto),
            "uring" => Ok(FeedChoice::Uring),
            "aio" => Ok(FeedChoice::Aio),
            "poll" => Ok(FeedChoice::Poll),
            other => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("unknown feed {other:?}: it is one of auto, uring, aio, poll"),
            )),
        }
    }
}

impl FeedChoice {
    /// What `EGRET_FEED` asks for.
    pub(crate) fn from_environment() -> io::Result<Self> {
        match std::env::var("EGRET_FEED") {
            Ok(word) => word
                .parse()
                .map_err(|error: io::Error| io::Error::new(error.kind(), format!("EGRET_FEED: {error}"))),
            Err(std::env::VarError::NotPresent) => Ok(FeedChoice::Auto),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("EGRET_FEED: {error}"))),
        }
    }
}

/// Makes one feed by name.
pub(crate) fn make(kind: FeedKind, wake: RawFd) -> io::Result<Box<dyn Feed>> {
    match kind {
        FeedKind::Uring => Ok(Box::new(uring::Uring::new(wake)?)),
        FeedKind::Poll => Ok(Box::new(poll::Poll::new(wake))),
        FeedKind::Aio => Ok(Box::new(aio::Aio::new(wake)?)),
    }
}

/// Why the first feed of its kind can't be had. (A later one that can't be made is out of something, and its errno says what.)
pub(crate) fn explain(kind: FeedKind, error: io::Error) -> io::Error {
    let (what, hint) = match kind {
        FeedKind::Uring => ("io_uring", no_ring(&error)),
        FeedKind::Aio => ("aio", no_context(&error)),
        FeedKind::Poll => return error,
    };
    io::Error::new(error.kind(), format!("{what}: {hint}: {error}"))
}

fn no_ring(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => "the kernel has none, or a seccomp filter hides it",
        Some(libc::EPERM) => "not allowed here (kernel.io_uring_disabled or a seccomp filter)",
        Some(libc::ENOMEM) => "not enough memory (see ulimit -l)",
        Some(libc::EMFILE | libc::ENFILE) => "no descriptor left for the ring",
        Some(libc::EINVAL) => "the kernel is older than 6.0",
        _ => "it can't be set up",
    }
}

fn no_context(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => "the kernel has none, or a seccomp filter hides it",
        Some(libc::EPERM) => "not allowed here (a seccomp filter)",
        Some(libc::EAGAIN) => "the system's contexts are used up (fs.aio-max-nr)",
        Some(libc::ENOMEM) => "not enough memory",
        Some(libc::EINVAL) => "the kernel is older than 4.19",
        _ => "it can't be set up",
    }
}

/// Takes a wake-up.
fn drain(wake: RawFd) {
    let mut count = [0u8; 8];
    // SAFETY: the buffer has the eight bytes that eventfd writes. An empty counter is an error that says so, and fine.
    unsafe { libc::read(wake, count.as_mut_ptr().cast(), count.len()) };
}

/// What `poll(2)` said of a descriptor.
pub(crate) fn level_of(poll: &libc::pollfd) -> Events {
    if poll.revents & libc::POLLNVAL != 0 {
        return Events::ERR | Events::HUP;
    }
    Events::from_bits_retain(u32::from(poll.revents as u16))
}
