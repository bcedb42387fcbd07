//! I/O: how a socket's readiness becomes a task's wake.
//!
//! ```text
//!   Eventpoll::wait ─► Driver::dispatch: event.data is a key of the slab ─► ScheduledIo: takes the wakers that match ─► tasks
//!                                                                                            ▲ stores them
//!   net ─► Registration: the socket's cached readiness, tried first; armed in the engine when somebody has to wait ─┘
//! ```
//!
//! - `slab`: keys with generations, slots looked up without a lock.
//! - `scheduled`: who waits for one socket.
//! - `driver`: all of a runtime's registrations.
//! - `registration`: one socket's life in a runtime; `ready`: its waits that may be shared. The public part.
//! - `source`: what is no socket, and awaited like one.
//! - `wake_batch`: wakers carried out of a lock. The timers use it, too.

#[cfg(not(egret_loom))]
mod ready;
#[cfg(not(egret_loom))]
mod registration;
mod scheduled;
#[cfg(not(egret_loom))]
mod slab;
#[cfg(not(egret_loom))]
mod source;
pub(crate) mod wake_batch;

use egret_reactor::Events;
#[cfg(not(egret_loom))]
pub use ready::Ready;
#[cfg(not(egret_loom))]
pub use registration::Registration;
#[cfg(egret_loom)]
pub(crate) use scheduled::ScheduledIo;
#[cfg(not(egret_loom))]
pub use source::{AsyncSource, SourceReady};

/// Which way data moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the socket: reading, receiving, accepting.
    Read,
    /// Into the socket: writing, sending, connecting.
    Write,
}

impl Direction {
    /// The events that end a wait in this direction.
    ///
    /// A peer that has shut down its sending side (`RDHUP`) leaves nothing to wait for to a reader. It is no concern of a writer's: a
    /// half-closed connection taken for a hung up one would be writable for ever.
    pub(crate) fn mask(self) -> Events {
        match self {
            Direction::Read => mask(Events::IN),
            Direction::Write => mask(Events::OUT),
        }
    }

    /// The events that a "would block" in this direction refutes.
    ///
    /// An error too: it was taken by a call before (a datagram socket's "refused" is told once), and remembered it would make a
    /// silent socket ready for ever. The errors that end a connection come with `HUP`, which stays.
    fn refuted(self) -> Events {
        match self {
            Direction::Read => Events::IN | Events::ERR,
            Direction::Write => Events::OUT | Events::ERR,
        }
    }
}

/// The events that end a wait for `interest`: itself, and what ends everything.
fn mask(interest: Events) -> Events {
    let ends = Events::ERR | Events::HUP;
    if interest.contains(Events::IN) { interest | ends | Events::RDHUP } else { interest | ends }
}

/// Runs `f` until it isn't interrupted by a signal.
#[cfg(not(egret_loom))]
fn uninterrupted<R>(mut f: impl FnMut() -> std::io::Result<R>) -> std::io::Result<R> {
    loop {
        match f() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(not(egret_loom))]
mod driver;
#[cfg(not(egret_loom))]
pub(crate) use driver::Driver;
