//! What the tests of the sources in memory share: the kernel's epoll as an oracle, and bounded waiting.
#![allow(dead_code)] // Each test binary uses its part.

#[path = "../../../tests/support/watchdog.rs"]
mod watchdog;

use egret_reactor::{AsSource, Event, Eventpoll, Events};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};
#[allow(unused_imports)] // as above
pub use watchdog::{Watchdog, bounded};

/// How long anything may take that has to happen at all. A guess: far above what a loaded machine needs.
pub const BOUND: Duration = Duration::from_secs(30);

pub const NOW: Option<Duration> = Some(Duration::ZERO);

pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + BOUND;
    while !condition() {
        assert!(Instant::now() < end, "never came true: {what}");
        thread::yield_now();
    }
}

/// What a wait brings, with room for `room`.
pub fn wait(poll: &Eventpoll, room: usize, timeout: Option<Duration>) -> Vec<Event> {
    let mut events = vec![Event::default(); room];
    let n = poll.wait(&mut events, timeout).unwrap();
    events.truncate(n);
    events
}

/// One nonblocking pass.
pub fn look(poll: &Eventpoll) -> Vec<Event> {
    wait(poll, 64, NOW)
}

/// Only the conditions of one nonblocking pass.
pub fn conditions(poll: &Eventpoll) -> Vec<Events> {
    look(poll).iter().map(|event| event.events).collect()
}

/// An instance that watches one source as number 1.
pub fn watching(source: &impl AsSource, interest: Events) -> Eventpoll {
    let poll = Eventpoll::new().unwrap();
    poll.add(source, 0, interest, 1).unwrap();
    poll
}

/// How many threads are inside `wait` of that instance.
pub fn waiters(poll: &Eventpoll) -> usize {
    let text = format!("{poll:?}");
    let (_, rest) = text.split_once(" waiters: ").expect("the field is there");
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// The number that a system call returned, or its error.
pub fn checked(result: impl Into<i64>) -> io::Result<i64> {
    match result.into() {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// Takes charge of a descriptor that a system call just returned.
pub fn owned(result: i32) -> OwnedFd {
    checked(result).unwrap();
    // SAFETY: the caller passes a fresh descriptor, which nobody else owns.
    unsafe { OwnedFd::from_raw_fd(result) }
}

/// The kernel's epoll.
pub struct Oracle(OwnedFd);

impl Oracle {
    pub fn new() -> Self {
        // SAFETY: takes no pointers.
        Self(owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }))
    }

    fn ctl(&self, op: i32, fd: RawFd, interest: Events, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest.bits(), u64: data };
        // SAFETY: the event is valid for the call.
        checked(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), op, fd, &mut event) }).map(drop)
    }

    pub fn add(&self, fd: &impl AsRawFd, interest: Events, data: u64) -> io::Result<()> {
        self.ctl(libc::EPOLL_CTL_ADD, fd.as_raw_fd(), interest, data)
    }

    pub fn modify(&self, fd: &impl AsRawFd, interest: Events, data: u64) -> io::Result<()> {
        self.ctl(libc::EPOLL_CTL_MOD, fd.as_raw_fd(), interest, data)
    }

    pub fn wait(&self, room: usize, timeout: Option<Duration>) -> Vec<Event> {
        let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; room];
        let timeout = timeout.map_or(-1, |timeout| i32::try_from(timeout.as_millis()).unwrap());
        // SAFETY: the buffer has room for as many events as the call is told.
        let n = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), room as i32, timeout) };
        let n = usize::try_from(checked(n).unwrap()).unwrap();
        let told = |event: &libc::epoll_event| Event {
            events: Events::from_bits_retain(event.events),
            data: event.u64,
        };
        events[..n].iter().map(told).collect()
    }

    pub fn look(&self) -> Vec<Event> {
        self.wait(64, NOW)
    }
}

/// One system call.
pub fn write(fd: &impl AsRawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the buffer is valid for reading its length.
    let n = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    checked(n as i64).map(|n| n as usize)
}

/// One system call.
pub fn read(fd: &impl AsRawFd, bytes: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is valid for writing its length.
    let n = unsafe { libc::read(fd.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
    checked(n as i64).map(|n| n as usize)
}
