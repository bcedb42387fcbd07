//! What one may wait for ([`Interest`]) and what one is told ([`Ready`]): the readiness of a socket in plain words, without the
//! engine's event bits in the interface.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use egret_reactor::Events;

/// Bits that say "a read would not block", the end of the stream and errors included.
const READ_CLOSED: Events = Events::RDHUP.union(Events::HUP);

/// The directions to wait for in [`TcpStream::ready`](crate::TcpStream::ready).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interest(u8);

impl Interest {
    /// Something can be read: data, the end of the stream, an error.
    pub const READABLE: Self = Self(1);
    /// Something can be written, or a write would say at once why not.
    pub const WRITABLE: Self = Self(2);

    /// Whether reading is among it.
    pub const fn is_readable(self) -> bool {
        self.0 & Self::READABLE.0 != 0
    }

    /// Whether writing is among it.
    pub const fn is_writable(self) -> bool {
        self.0 & Self::WRITABLE.0 != 0
    }

    pub(crate) fn events(self) -> Events {
        let read = if self.is_readable() { Events::IN } else { Events::empty() };
        let write = if self.is_writable() { Events::OUT } else { Events::empty() };
        read | write
    }

    /// Both together; `|` in a constant.
    #[must_use]
    pub const fn add(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.add(other)
    }
}

impl BitOrAssign for Interest {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.add(other);
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.is_readable(), self.is_writable()) {
            (true, true) => "READABLE | WRITABLE",
            (true, false) => "READABLE",
            _ => "WRITABLE",
        })
    }
}

/// What a socket is ready for, as far as is known.
///
/// It is a hint, as with every readiness interface: the following `try_read` or `try_write` may still answer `WouldBlock`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ready(Events);

impl Ready {
    /// Nothing.
    pub const EMPTY: Self = Self(Events::empty());
    /// There is something to read.
    pub const READABLE: Self = Self(Events::IN);
    /// There is room to write.
    pub const WRITABLE: Self = Self(Events::OUT);
    /// The peer will send nothing more.
    pub const READ_CLOSED: Self = Self(Events::RDHUP);
    /// Nothing written can arrive any more, nor will anything come.
    pub const WRITE_CLOSED: Self = Self(Events::HUP);
    /// There is an error.
    pub const ERROR: Self = Self(Events::ERR);

    pub(crate) fn new(events: Events) -> Self {
        Self(events)
    }

    pub(crate) fn events(self) -> Events {
        self.0
    }

    /// A read would not block.
    pub fn is_readable(self) -> bool {
        self.0.intersects(Events::IN | Events::ERR) || self.is_read_closed()
    }

    /// A write would not block.
    pub fn is_writable(self) -> bool {
        self.0.intersects(Events::OUT | Events::ERR) || self.is_write_closed()
    }

    /// The peer will send nothing more. What it has sent may still be waiting to be read.
    pub fn is_read_closed(self) -> bool {
        self.0.intersects(READ_CLOSED)
    }

    /// Nothing written can arrive any more.
    pub fn is_write_closed(self) -> bool {
        self.0.contains(Events::HUP)
    }

    /// An error waits to be collected with [`take_error`](crate::TcpStream::take_error) or by the next read or write.
    pub fn is_error(self) -> bool {
        self.0.contains(Events::ERR)
    }

    /// Nothing is known to be ready.
    pub fn is_empty(self) -> bool {
        !self.is_readable() && !self.is_writable()
    }
}

impl BitOr for Ready {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready")
            .field("readable", &self.is_readable())
            .field("writable", &self.is_writable())
            .field("read_closed", &self.is_read_closed())
            .field("write_closed", &self.is_write_closed())
            .field("error", &self.is_error())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_makes_ready_without_data() {
        let half_closed = Ready::new(Events::RDHUP);
        assert!(half_closed.is_readable() && half_closed.is_read_closed());
        assert!(!half_closed.is_writable() && !half_closed.is_write_closed());
        let gone = Ready::new(Events::HUP);
        assert!(gone.is_readable() && gone.is_writable() && gone.is_write_closed());
        let broken = Ready::new(Events::ERR);
        assert!(
            broken.is_readable() && broken.is_writable() && broken.is_error() && !broken.is_read_closed()
        );
        assert!(Ready::new(Events::empty()).is_empty());
    }

    #[test]
    fn interests_add_up() {
        let both = Interest::READABLE | Interest::WRITABLE;
        assert!(both.is_readable() && both.is_writable());
        assert!(!Interest::READABLE.is_writable());
        assert_eq!(format!("{both:?}"), "READABLE | WRITABLE");
    }
}
