//! [`CachedFd`]: a descriptor whose readiness is remembered, for a runtime's sockets (contract C11).
//!
//! The kernel is asked once, when the descriptor is armed, and tells of every arrival after that; what it told is kept in
//! one word, and the user takes it back when a call would block or transferred less than it could. Delivery reads the
//! word: no system call.
//!
//! The readiness word:
//!
//! | bits    | what                                                              | set by            | cleared by                     |
//! |---------|-------------------------------------------------------------------|-------------------|--------------------------------|
//! | 0 to 14 | conditions (IN, OUT, ERR, HUP, RDHUP)                             | `fire`, from the feed | [`clear`](CachedFd::clear), if the tick is the one the caller saw; HUP and RDHUP never |
//! | 15      | the feed has to be told when a condition falls                    | before the arm is made, and when it was lost | never |
//! | 16 to 31| tick: counts completions, wraps                                   | `fire`            |                                |
//!
//! The tick is what keeps a late "would block" from erasing a newer event: the event has moved it on.
//!
//! The arm:
//!
//! ```text
//!   Unarmed ── add (first poll with a hook) ──► Armed ── close, close_now, into_fd ──► Closed
//!      │                          lost (an error) │  ▲ clear: the lane arms it again
//!      │                                          └──┘
//!      └────────────── close, close_now, into_fd ─────────────────────────────────────────┘
//! ```

use crate::events::Events;
use crate::feed::{Fallen, Token};
use crate::lane::{Armed, LaneInner};
use crate::parker::Wakes;
use crate::source::{PollTable, Probe, Source};
use crate::sync::{Arc, AtomicU32, Mutex, Ordering};
use crate::wait_queue::{Hooked, Queue};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// What a runtime wants to hear of a socket, for its whole life.
///
/// Not PRI: when one wake-up made a completion, io_uring reports that wake-up's key under the mask instead of asking the file
/// again (`io_poll_wake`, `io_poll_check_events`), and TCP wakes with IN and PRI together for any data
/// (`sock_def_readable`). A cached PRI would be up for ever; who needs urgent data watches it with an exact `Fd`, which asks.
const INTEREST: Events = Events::IN.union(Events::OUT).union(Events::RDHUP);

/// What stays once it is up.
const FINAL: Events = Events::HUP.union(Events::RDHUP);

const CONDITIONS: u32 = 0x7fff;
/// Always with some feeds; then it is set before the arm is made, under its lock, and clearing before that is no loss, for an arm starts by
/// reporting the level. Else when the arm was lost.
const TOLD: u32 = 1 << 15;
const TICK: u32 = 1 << 16;

/// A descriptor with cached readiness.
///
/// It has to be nonblocking. Before it is registered it counts as readable and writable: I/O is tried before it is waited
/// for. [`Eventpoll::add`](crate::Eventpoll::add) arms it, in the lane of the thread that calls it; register it with
/// `IN | OUT | RDHUP | ET`, once. Urgent data ([`Events::PRI`]) is not among what it remembers.
///
/// With the `uring` feed, a thread outside the pool that closes an armed descriptor submits to a ring itself; a blocking
/// call with a timeout (`SO_RCVTIMEO`) that it makes afterwards may then end early with `EINTR`, as after a signal.
///
/// The descriptor is closed by [`close`](CachedFd::close), by [`close_now`](CachedFd::close_now), or when the last
/// reference is dropped.
///
/// ```
/// use egret_reactor::{CachedFd, Event, Eventpoll, Events};
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
///
/// let (mut near, far) = UnixStream::pair()?;
/// far.set_nonblocking(true)?;
/// let mut reader = far.try_clone()?;
/// let far = CachedFd::new(far.into());
/// let poll = Eventpoll::new()?;
///
/// let seen = far.readiness();
/// let error = reader.read(&mut [0; 16]).unwrap_err();   // tried first: nothing there,
/// assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
/// far.clear(seen, Events::IN);                          // so it isn't readable,
/// poll.add(&far, 0, Events::IN | Events::OUT | Events::RDHUP | Events::ET, 5)?;
/// near.write_all(b"hello")?;                            // until something comes.
/// let mut events = [Event::default(); 4];
/// loop {
///     poll.wait(&mut events, None)?;
///     if far.readiness().events.contains(Events::IN) { break }
/// }
/// assert_eq!(reader.read(&mut [0; 16])?, 5);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct CachedFd {
    heard: Arc<Heard>,
    arm: Mutex<Arm>,
}

/// The part that the lane calls: what was heard, and who wants to know.
///
/// There is one for every socket: with the reference counts it takes no more than a cache line.
struct Heard {
    readiness: AtomicU32,
    raw: RawFd,
    queue: Queue,
}

const _: () = assert!(cfg!(egret_loom) || size_of::<Heard>() <= 40, "it has grown");

struct Arm {
    /// None once it is closed or was handed back.
    fd: Option<OwnedFd>,
    place: Option<(Arc<LaneInner>, Token)>,
}

/// What is remembered of a [`CachedFd`], apart from the descriptor: a reference of its own, for who looks at it at every call and would not go
/// through the descriptor's memory for that. Cheap to clone. It outlives the descriptor, and says then what was last heard.
///
/// ```
/// use egret_reactor::{CachedFd, Events};
///
/// let (near, _far) = std::os::unix::net::UnixStream::pair()?;
/// let near = CachedFd::new(near.into());
/// let readiness = near.remembered();
/// let seen = readiness.get();
/// assert!(seen.events.contains(Events::IN));
/// if readiness.clear(seen, Events::IN) {
///     near.rearm(Events::IN);
/// }
/// assert_eq!(near.readiness(), readiness.get());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct CachedReadiness(Arc<Heard>);

impl CachedReadiness {
    /// As [`CachedFd::readiness`].
    #[inline]
    pub fn get(&self) -> Readiness {
        self.0.readiness()
    }

    /// As [`CachedFd::clear`], but for the last step: if this is true the feed has to be told, with [`CachedFd::rearm`].
    #[inline]
    #[must_use = "some feeds have to be told"]
    pub fn clear(&self, seen: Readiness, conditions: Events) -> bool {
        self.0.clear(seen, conditions)
    }
}

impl AsRawFd for CachedReadiness {
    /// The number of the descriptor whose readiness it is. After a close it means nothing.
    #[inline]
    fn as_raw_fd(&self) -> RawFd {
        self.0.raw
    }
}

impl fmt::Debug for CachedReadiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CachedReadiness").field(&self.get()).finish()
    }
}

/// A look at the cached readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// The conditions that are believed to hold.
    pub events: Events,
    tick: u16,
}

impl Readiness {
    #[inline]
    fn from_word(word: u32) -> Self {
        Self { events: Events::from_bits_retain(word & CONDITIONS), tick: (word >> 16) as u16 }
    }
}

impl fmt::Debug for CachedFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedFd")
            .field("fd", &self.heard.raw)
            .field("readiness", &self.readiness())
            .finish_non_exhaustive()
    }
}

impl CachedFd {
    /// Takes over a nonblocking descriptor.
    pub fn new(fd: OwnedFd) -> Arc<Self> {
        let readiness = AtomicU32::new((Events::IN | Events::OUT).bits());
        Arc::new(Self {
            heard: Arc::new(Heard { readiness, raw: fd.as_raw_fd(), queue: Queue::default() }),
            arm: Mutex::new(Arm { fd: Some(fd), place: None }),
        })
    }

    /// The cached readiness. Costs one atomic load.
    #[inline]
    pub fn readiness(&self) -> Readiness {
        self.heard.readiness()
    }

    /// The readiness, to be kept elsewhere.
    pub fn remembered(&self) -> CachedReadiness {
        CachedReadiness(self.heard.clone())
    }

    /// Takes `conditions` back: a call that was made after `seen` was read would have blocked, or transferred less than
    /// it could. Does nothing if a newer event came in meanwhile. [`Events::HUP`] and [`Events::RDHUP`] stay: they are final.
    pub fn clear(&self, seen: Readiness, conditions: Events) {
        if self.heard.clear(seen, conditions) {
            self.rearm(conditions);
        }
    }

    /// Tells the feed that these conditions were seen not to hold. Needed only after a [`CachedReadiness::clear`] that asks for it.
    pub fn rearm(&self, conditions: Events) {
        let place = self.arm.lock().place.clone();
        if let Some((lane, token)) = place {
            lane.rearm(token, conditions - FINAL);
        }
    }

    /// Closes the descriptor: cancelled and closed with the next submission of its lane, at the latest when the lane's owner
    /// has run a few dozen tasks or parks. At once if it was never armed. Does nothing the second time.
    pub fn close(&self) {
        let (fd, place) = self.take();
        match place {
            Some((lane, token)) => lane.disarm(token, fd),
            None => drop(fd),
        }
    }

    /// Closes the descriptor at once: when this returns, a port it was bound to is free. It costs two or three system calls,
    /// and if another thread's lane holds the arm, waiting until that thread has passed through the kernel (a timer tick at
    /// most, if it gets a processor; given up after half a second, and then the port is free a little later).
    pub fn close_now(&self) {
        drop(self.release());
    }

    /// Ends the arm like [`close_now`](CachedFd::close_now) and hands the descriptor back, still open.
    ///
    /// # Errors
    /// `EBADF` if it is closed.
    pub fn into_fd(&self) -> io::Result<OwnedFd> {
        self.release().ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }

    fn release(&self) -> Option<OwnedFd> {
        let (fd, place) = self.take();
        if let Some((lane, token)) = place {
            lane.disarm_now(token);
        }
        fd
    }

    fn take(&self) -> (Option<OwnedFd>, Option<(Arc<LaneInner>, Token)>) {
        let mut arm = self.arm.lock();
        (arm.fd.take(), arm.place.take())
    }
}

impl AsRawFd for CachedFd {
    /// The descriptor's number. After a close it means nothing.
    fn as_raw_fd(&self) -> RawFd {
        self.heard.raw
    }
}

impl Source for CachedFd {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        table.register_shared(|| self.heard.clone());
        if let Some(lanes) = table.lanes() {
            let mut arm = self.arm.lock();
            if arm.place.is_none() {
                let armed = match &arm.fd {
                    Some(fd) => lanes.here().and_then(|lane| {
                        let heard = self.heard.clone();
                        // Before the first answer can come: who clears then waits for the lock and finds the arm.
                        if lane.wants_to_be_told() {
                            self.heard.lost();
                        }
                        let token = lane.arm(fd.as_raw_fd(), INTEREST, Fallen::Told, heard)?;
                        Ok((lane, token))
                    }),
                    None => Err(io::Error::from_raw_os_error(libc::EBADF)),
                };
                match armed {
                    Ok(place) => arm.place = Some(place),
                    Err(error) => table.refuse(error),
                }
            }
        }
        self.readiness().events
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.arm.lock().fd {
            Some(fd) => write!(f, "socket {}", fd.as_raw_fd()),
            None => f.write_str("closed socket"),
        }
    }

    fn probe(&self) -> Option<Arc<dyn Probe>> {
        Some(self.heard.clone())
    }
}

impl Heard {
    #[inline]
    fn readiness(&self) -> Readiness {
        Readiness::from_word(self.readiness.load(Ordering::Acquire))
    }

    /// True if something was taken back and the lane has to be told.
    #[inline]
    fn clear(&self, seen: Readiness, conditions: Events) -> bool {
        let conditions = conditions - FINAL;
        let cleared = self.readiness.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            ((word >> 16) as u16 == seen.tick).then_some(word & !(conditions.bits() & CONDITIONS))
        });
        cleared.is_ok_and(|before| before & TOLD != 0)
    }
}

impl Hooked for Heard {
    fn queue(&self) -> &Queue {
        &self.queue
    }
}

impl Probe for Heard {
    fn now(&self) -> Events {
        self.readiness().events
    }
}

impl Armed for Heard {
    fn fire(&self, level: Events, wakes: &mut Wakes<'_>) {
        let level = level.bits() & CONDITIONS;
        let updated = self.readiness.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            Some((word | level).wrapping_add(TICK))
        });
        debug_assert!(updated.is_ok());
        self.queue.wake_with(Events::from_bits_retain(level), wakes);
    }

    fn misses(&self, level: Events) -> bool {
        !(level - self.now()).is_empty()
    }

    fn lost(&self) {
        self.readiness.fetch_or(TOLD, Ordering::AcqRel);
    }
}

impl Drop for CachedFd {
    fn drop(&mut self) {
        self.close();
        // The lane lets go of `heard` with the arm's last completion; who watches hears of the end now.
        self.heard.queue.retire();
    }
}
