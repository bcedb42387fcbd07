//! One nonblocking socket in the runtime: the loop that every read and every write of this crate goes through.
//!
//! ```text
//!              cached readiness has the direction?
//!       ┌── no: park the task until an event says so ◄──────────┐
//!       ▼                                                       │ clear(seen): void if a newer event came in
//!   the system call ──── would block ───────────────────────────┤
//!       ├── part of what was wanted: clear(seen), done. The kernel's queue was emptied (or filled), so the next
//!       │   call would only say "would block": that system call is saved.
//!       ├── interrupted: once more
//!       └── everything, end of stream, error: done; the readiness stays
//! ```
//!
//! Nothing here knows which protocol the socket speaks.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::task::{Context, Poll, ready};

use egret_executor::io::{Direction, Ready, Registration};
use egret_reactor::{Events, Readiness};
use socket2::SockRef;

use crate::Interest;
use crate::transfer::{All, Call, Receive, Transfer, Transmit};

/// A socket that is registered with a runtime, for life.
#[derive(Debug)]
pub(crate) struct Socket {
    registration: Registration,
}

// What a socket remembers is in atomics and under the engine's locks, under which no user code runs: a panic leaves none of it half done.
impl UnwindSafe for Socket {}
impl RefUnwindSafe for Socket {}

impl Socket {
    /// Registers `fd`, which is nonblocking already, with the current runtime.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Registration::new(fd).map(|registration| Self { registration })
    }

    /// A view through which socket2's calls and options work.
    pub(crate) fn options(&self) -> SockRef<'_> {
        SockRef::from(&self.registration)
    }

    /// Closes before it returns: the port is free.
    pub(crate) fn close_now(self) {
        self.registration.close_now();
    }

    /// Takes the descriptor out of the runtime.
    pub(crate) fn into_fd(self) -> io::Result<OwnedFd> {
        self.registration.into_fd()
    }

    /// Waits in the direction's own place, of which there is one: the last task to ask is the one that is woken.
    pub(crate) fn poll_ready(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
    ) -> Poll<io::Result<Readiness>> {
        self.registration.poll_ready(cx, direction)
    }

    /// Waits as one of any number of tasks.
    pub(crate) fn seen(&self, interest: Interest) -> Ready<'_> {
        self.registration.ready(interest.events())
    }

    /// What it is ready for, as far as is known.
    pub(crate) fn readiness(&self) -> Readiness {
        self.registration.readiness()
    }

    /// Takes back `seen` after a call that would have blocked.
    pub(crate) fn clear(&self, seen: Readiness, direction: Direction) {
        self.registration.clear(seen, direction);
    }

    /// Makes a call as soon as it doesn't block, waiting as one of any number of tasks.
    pub(crate) fn transfer<C: Call>(&self, call: C) -> Transfer<'_, C> {
        Transfer::new(&self.registration, call)
    }

    /// [`transfer`](Self::transfer) for callers that have a context; one task per direction.
    pub(crate) fn poll_transfer<C: Call>(
        &self,
        cx: &mut Context<'_>,
        mut call: C,
    ) -> Poll<io::Result<usize>> {
        transfer(&self.registration, &mut call, || self.registration.poll_ready(cx, C::DIRECTION))
    }

    /// The same without waiting: `WouldBlock` if nothing can be moved now.
    pub(crate) fn try_transfer<C: Call>(&self, mut call: C) -> io::Result<usize> {
        let wanted = call.wanted();
        if wanted == 0 {
            return Ok(0);
        }
        let seen = self.registration.readiness();
        let outcome = self.registration.try_io(C::DIRECTION, || call.call(&self.options()));
        if matches!(outcome, Ok(moved) if was_short(moved, wanted)) {
            self.registration.clear(seen, C::DIRECTION);
        }
        outcome
    }

    /// Runs `call` if `interest` is known to be ready; its `WouldBlock` clears that.
    ///
    /// Of two directions nobody knows which one blocked, and a readiness that is taken back although it holds never comes again. So the kernel is
    /// asked, and only what it denies is taken back. The call may be made once for each.
    pub(crate) fn try_io<R>(
        &self,
        interest: Interest,
        mut call: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        let both = interest.is_readable() && interest.is_writable();
        let directions =
            [(interest.is_readable(), Direction::Read), (interest.is_writable(), Direction::Write)];
        for (_, direction) in directions.into_iter().filter(|(wanted, _)| *wanted) {
            let outcome = self.registration.try_io(direction, || match call() {
                Err(error)
                    if both && error.kind() == io::ErrorKind::WouldBlock && self.holds(direction)? =>
                {
                    Ok(None)
                }
                outcome => outcome.map(Some),
            });
            match outcome {
                Ok(Some(result)) => return Ok(result),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Asks the kernel whether the socket is ready in a direction.
    pub(crate) fn holds(&self, direction: Direction) -> io::Result<bool> {
        let wanted = match direction {
            Direction::Read => libc::POLLIN | libc::POLLRDHUP,
            Direction::Write => libc::POLLOUT,
        };
        let mut asked = libc::pollfd { fd: self.as_raw_fd(), events: wanted, revents: 0 };
        // SAFETY: poll(2) reads and writes one `pollfd`, which lives through the call; with no timeout it does not wait.
        match unsafe { libc::poll(&raw mut asked, 1, 0) } {
            -1 => Err(io::Error::last_os_error()),
            ready => Ok(ready > 0),
        }
    }

    /// Fills `buffer`.
    pub(crate) fn read_exact<'a, 'b>(&'a self, buffer: &'b mut [u8]) -> All<'a, Receive<'b>> {
        All(self.transfer(Receive(buffer)))
    }

    /// Sends all of `data`.
    pub(crate) fn write_all<'a, 'b>(&'a self, data: &'b [u8]) -> All<'a, Transmit<'b>> {
        All(self.transfer(Transmit(data)))
    }

    /// Waits until a connect that is under way has ended, well or badly.
    pub(crate) fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // Nothing else knows this socket yet, so the direction's own place is free.
            let seen = ready!(self.poll_ready(cx, Direction::Write))?;
            if let Some(error) = self.options().take_error()? {
                return Poll::Ready(Err(error));
            }
            match self.options().peer_addr() {
                // The cached readiness starts out optimistic: "writable" proves nothing here.
                Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {
                    if seen.events.intersects(Events::ERR | Events::HUP) {
                        return Poll::Ready(Err(error));
                    }
                    self.clear(seen, Direction::Write);
                }
                outcome => return Poll::Ready(outcome.map(drop)),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.registration.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.registration.as_raw_fd()
    }
}

/// The loop: waits with `ready`, makes the call, draws the consequences.
#[inline]
pub(crate) fn transfer<C: Call>(
    registration: &Registration,
    call: &mut C,
    mut ready: impl FnMut() -> Poll<io::Result<Readiness>>,
) -> Poll<io::Result<usize>> {
    let wanted = call.wanted();
    if wanted == 0 {
        return Poll::Ready(Ok(0));
    }
    loop {
        let seen = ready!(ready())?;
        match call.call(&SockRef::from(registration)) {
            Ok(moved) => {
                if was_short(moved, wanted) {
                    registration.clear(seen, C::DIRECTION);
                }
                return Poll::Ready(Ok(moved));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => registration.clear(seen, C::DIRECTION),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// Whether a transfer says that the kernel's queue is now empty, or full. 0 is the end of the stream.
///
/// There is one exception, which nothing tells of: with urgent data about, a read also ends at the mark, with more behind it. (The
/// engine does not remember `PRI`: io_uring reports it with plain data as well.) Feeds that tell the level see what is behind the mark,
/// because clearing makes them look again; io_uring tells of it with the next arrival.
fn was_short(moved: usize, wanted: usize) -> bool {
    moved > 0 && moved < wanted
}
