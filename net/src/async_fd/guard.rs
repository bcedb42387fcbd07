//! The guards: what a wait has seen, and the way to take it back.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;

use egret_executor::io::Direction;
use egret_reactor::{Events, Readiness};

use super::{AsyncFd, TryIoError};
use crate::socket::Socket;
use crate::{Interest, Ready};

/// The events that end a wait for `interest`.
pub(super) fn ends(interest: Interest) -> Events {
    let final_events = Events::ERR | Events::HUP;
    let read = if interest.is_readable() { Events::IN | Events::RDHUP } else { Events::empty() };
    let write = if interest.is_writable() { Events::OUT } else { Events::empty() };
    read | write | final_events
}

/// The directions in `interest`.
pub(super) fn directions(interest: Interest) -> impl Iterator<Item = Direction> {
    let all = [(interest.is_readable(), Direction::Read), (interest.is_writable(), Direction::Write)];
    all.into_iter().filter_map(|(wanted, direction)| wanted.then_some(direction))
}

/// What a wait has seen.
#[derive(Clone, Copy)]
struct Seen {
    readiness: Readiness,
    interest: Interest,
    /// Of what was waited for. Nothing once all of it was taken back.
    left: Events,
}

impl Seen {
    fn new(readiness: Readiness, interest: Interest) -> Self {
        Self { readiness, interest, left: readiness.events & ends(interest) }
    }

    /// Takes back what of `events` is left. The end of a direction stays known to the runtime, whatever is taken back here.
    fn clear(&mut self, socket: &Socket, events: Events) {
        let gone = self.left & events;
        for direction in directions(self.interest) {
            let own = match direction {
                Direction::Read => Events::IN,
                Direction::Write => Events::OUT,
            };
            // An error goes with its direction, and alone only if there is nothing of the direction that shall stay.
            let whole = gone.contains(own) || !self.left.contains(own);
            if whole && gone.intersects(own | Events::ERR) {
                socket.clear(self.readiness, direction);
            }
        }
        self.left -= gone;
    }

    /// Takes back what the outcome of a call refutes. True: it would have blocked.
    fn refuted_by<T: AsRawFd, R>(&mut self, by: &AsyncFd<T>, result: &io::Result<R>) -> io::Result<bool> {
        let blocked = matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        if blocked {
            by.heed(self.readiness, self.interest, result)?;
            self.left = Events::empty();
        }
        Ok(blocked)
    }
}

/// A descriptor is ready, as far as is known, until [`clear_ready`](Self::clear_ready) or [`try_io`](Self::try_io) finds that it isn't.
///
/// If an event came in after the wait, taking back what was seen before does nothing: no event is lost.
#[must_use = "the readiness stays until it is taken back: use `try_io` or `clear_ready`"]
pub struct AsyncFdReadyGuard<'a, T: AsRawFd> {
    async_fd: &'a AsyncFd<T>,
    seen: Seen,
}

/// An [`AsyncFdReadyGuard`] that lends what was taken in mutably.
#[must_use = "the readiness stays until it is taken back: use `try_io` or `clear_ready`"]
pub struct AsyncFdReadyMutGuard<'a, T: AsRawFd> {
    async_fd: &'a mut AsyncFd<T>,
    seen: Seen,
}

/// What the two have in common.
macro_rules! guard_methods {
    ($guard:ident) => {
        impl<T: AsRawFd> $guard<'_, T> {
            /// Says that the descriptor is not ready any more: the next wait is over when the next event comes. Only for who has seen a call that would have
            /// blocked: if there is something left to read that event may never come.
            pub fn clear_ready(&mut self) {
                self.seen.clear(self.async_fd.socket(), Events::all());
            }

            /// [`clear_ready`](Self::clear_ready) for a part of it.
            pub fn clear_ready_matching(&mut self, ready: Ready) {
                self.seen.clear(self.async_fd.socket(), ready.events());
            }

            /// Leaves the readiness as it is, as dropping the guard does.
            pub fn retain_ready(&mut self) {}

            /// What was seen, less what was taken back.
            pub fn ready(&self) -> Ready {
                Ready::new(self.seen.left)
            }
        }

        impl<T: AsRawFd + fmt::Debug> fmt::Debug for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($guard))
                    .field("async_fd", &self.async_fd)
                    .field("ready", &self.ready())
                    .finish()
            }
        }
    };
}

guard_methods!(AsyncFdReadyGuard);
guard_methods!(AsyncFdReadyMutGuard);

impl<'a, T: AsRawFd> AsyncFdReadyGuard<'a, T> {
    pub(super) fn new(async_fd: &'a AsyncFd<T>, seen: Readiness, interest: Interest) -> Self {
        Self { async_fd, seen: Seen::new(seen, interest) }
    }

    /// Runs `call`. If it says `WouldBlock`, what was seen is taken back; of two directions what the kernel denies.
    ///
    /// # Errors
    ///
    /// [`TryIoError`]: it would have blocked. `call` must not say so unless the descriptor did.
    pub fn try_io<R>(
        &mut self,
        call: impl FnOnce(&'a AsyncFd<T>) -> io::Result<R>,
    ) -> Result<io::Result<R>, TryIoError> {
        let result = call(self.async_fd);
        match self.seen.refuted_by(self.async_fd, &result) {
            Ok(true) => Err(TryIoError(())),
            Ok(false) => Ok(result),
            Err(error) => Ok(Err(error)),
        }
    }

    /// The descriptor in its runtime.
    pub fn get_ref(&self) -> &'a AsyncFd<T> {
        self.async_fd
    }

    /// What was taken in.
    pub fn get_inner(&self) -> &'a T {
        self.async_fd.get_ref()
    }
}

impl<'a, T: AsRawFd> AsyncFdReadyMutGuard<'a, T> {
    pub(super) fn new(async_fd: &'a mut AsyncFd<T>, seen: Readiness, interest: Interest) -> Self {
        Self { async_fd, seen: Seen::new(seen, interest) }
    }

    /// Runs `call`. If it says `WouldBlock`, what was seen is taken back; of two directions what the kernel denies.
    ///
    /// # Errors
    ///
    /// [`TryIoError`]: it would have blocked. `call` must not say so unless the descriptor did.
    pub fn try_io<R>(
        &mut self,
        call: impl FnOnce(&mut AsyncFd<T>) -> io::Result<R>,
    ) -> Result<io::Result<R>, TryIoError> {
        let result = call(self.async_fd);
        match self.seen.refuted_by(self.async_fd, &result) {
            Ok(true) => Err(TryIoError(())),
            Ok(false) => Ok(result),
            Err(error) => Ok(Err(error)),
        }
    }

    /// The descriptor in its runtime.
    pub fn get_ref(&self) -> &AsyncFd<T> {
        self.async_fd
    }

    /// The descriptor in its runtime.
    pub fn get_mut(&mut self) -> &mut AsyncFd<T> {
        self.async_fd
    }

    /// What was taken in.
    pub fn get_inner(&self) -> &T {
        self.async_fd.get_ref()
    }

    /// What was taken in.
    pub fn get_inner_mut(&mut self) -> &mut T {
        self.async_fd.get_mut()
    }
}
