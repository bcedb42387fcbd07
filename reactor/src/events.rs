//! [`Events`] and [`Event`]: what can be asked for and what is told, in epoll's own bits.
//!
//! The bit values are those of `<sys/epoll.h>` (and, for the low sixteen, of `<poll.h>`), so a mask
//! travels through `poll(2)` and io_uring without translation.

bitflags::bitflags! {
    /// A set of readiness conditions and registration modes, with epoll's bit values.
    ///
    /// Unknown bits are kept, as the kernel keeps them.
    ///
    /// ```
    /// use egret_reactor::Events;
    ///
    /// let mask = Events::IN | Events::ET;
    /// assert_eq!(mask.bits(), 0x8000_0001);
    /// ```
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Events: u32 {
        /// There is something to read, a connection to accept, or the end of the stream.
        const IN = 0x001;
        /// There is urgent (out-of-band) data.
        const PRI = 0x002;
        /// Writing will not block.
        const OUT = 0x004;
        /// An error is pending. Always reported, whether asked for or not.
        const ERR = 0x008;
        /// Both directions are shut down. Always reported, whether asked for or not.
        const HUP = 0x010;
        /// Normal data can be read (the kernel sets it with [`Events::IN`]).
        const RDNORM = 0x040;
        /// Priority band data can be read.
        const RDBAND = 0x080;
        /// Normal data can be written (the kernel sets it with [`Events::OUT`]).
        const WRNORM = 0x100;
        /// Priority data can be written.
        const WRBAND = 0x200;
        /// Unused by Linux; kept because epoll has it.
        const MSG = 0x400;
        /// The peer has shut down its writing half. Reported only if asked for.
        const RDHUP = 0x2000;
        /// Mode: of all the instances that watch a source exclusively, wake one.
        const EXCLUSIVE = 1 << 28;
        /// Mode: keep the system awake. Accepted and ignored: that is epoll without `CAP_BLOCK_SUSPEND`.
        const WAKEUP = 1 << 29;
        /// Mode: fall silent after one delivery, until modified.
        const ONESHOT = 1 << 30;
        /// Mode: edge-triggered.
        const ET = 1 << 31;

        const _ = !0;
    }
}

impl Events {
    /// The bits that say how an interest behaves instead of what it waits for (the kernel's
    /// `EP_PRIVATE_BITS`). A one-shot interest that fired keeps only these.
    pub(crate) const PRIVATE: Events =
        Events::EXCLUSIVE.union(Events::WAKEUP).union(Events::ONESHOT).union(Events::ET);

    /// What may accompany [`Events::EXCLUSIVE`] (the kernel's `EPOLLEXCLUSIVE_OK_BITS`).
    pub(crate) const EXCLUSIVE_OK: Events = Events::IN
        .union(Events::OUT)
        .union(Events::ERR)
        .union(Events::HUP)
        .union(Events::WAKEUP)
        .union(Events::ET)
        .union(Events::EXCLUSIVE);

    /// Conditions that are reported whether asked for or not.
    pub(crate) const ALWAYS: Events = Events::ERR.union(Events::HUP);

    /// Only the conditions, without the modes.
    pub(crate) fn conditions(self) -> Events {
        self.difference(Events::PRIVATE)
    }
}

/// One delivered event: what is true now of a source, and the number the interest was registered with.
///
/// ```
/// use egret_reactor::{Counter, Event, Eventpoll, Events};
/// use std::{sync::Arc, time::Duration};
///
/// let poll = Eventpoll::new()?;
/// let counter = Arc::new(Counter::new(1));
/// poll.add(&counter, 0, Events::IN, 42)?;
/// let mut events = [Event::default(); 8];
/// assert_eq!(poll.wait(&mut events, Some(Duration::ZERO))?, 1);
/// assert_eq!(events[0], Event { events: Events::IN, data: 42 });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The conditions that hold, cut to the interest's mask.
    pub events: Events,
    /// The interest's number, bit for bit as it was given.
    pub data: u64,
}
