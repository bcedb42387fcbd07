//! [`Registration`]: one socket's life in a runtime.
//!
//! ```text
//!   new ──► Untried: readiness says IN|OUT, nothing is registered. A socket that never blocks stays here.
//!             │ somebody has to wait: arm, once (`Eventpoll::add`: IN|OUT|RDHUP, ET, for life)
//!             ▼
//!           Armed ──► drop, close_now, into_fd: out of the engine, then closed or handed back, then the slot is released
//!
//!   poll_ready(direction):
//!       readiness has it ──────────────────────────────────► Ready: try the I/O ──► would block or short: clear(seen) ─┐
//!            │ no                                                 ▲                                                     │
//!            ▼                                                    │ yes                                                 ▼
//!       store the waker ─► shut down? error ─► look again ────────┘                                            poll_ready again
//!                                                │ no
//!                                                ▼
//!                                              arm if it isn't ─► Pending
//! ```
//!
//! Why nothing is lost:
//! - Armed: the engine sets the readiness before it delivers the event that wakes; storing the waker and looking again close the gap between
//!   (see `scheduled`).
//! - Not armed: the arm's first answer reports the level at that time, whatever was cleared or missed before.
//! - `clear` names the readiness that the I/O was tried on; the socket ignores it when a newer event came in.
//!
//! Arming happens under a mutex: who finds the socket unarmed either arms it or waits for the one who does. When arming fails the caller
//! gets the error and the next call tries again; the other direction's task may be waiting for this very arm, so
//! everybody is woken to find out for themselves.

use super::{Direction, mask, ready::Ready, scheduled::ScheduledIo, uninterrupted};
use crate::{
    context, coop,
    runtime::Handle,
    shared::Shared,
    sync::{Arc, AtomicBool, Mutex, Ordering, lock},
};
use egret_reactor::{CachedFd, CachedReadiness, Events, Readiness};
use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    task::{Context, Poll, ready},
};

/// A nonblocking descriptor in a runtime: its cached readiness, and the tasks that wait for it.
///
/// What `egret-net` builds its sockets on; use it directly for descriptors of other kinds. All methods take `&self` and may be called by
/// several tasks at once; but [`poll_ready`](Self::poll_ready) and [`poll_io`](Self::poll_io) remember one task a direction, the
/// last. For more use [`ready`](Self::ready) and [`async_io`](Self::async_io).
///
/// Dropping it closes the descriptor, together with what else its lane has to submit. It may be dropped on any thread, inside a runtime or not,
/// before or after the runtime it belongs to.
///
/// # Examples
///
/// ```no_run
/// use egret_executor::{Runtime, io::{Direction, Registration}};
/// use std::{io::Read, net::TcpStream, os::fd::OwnedFd};
///
/// Runtime::new()?.block_on(async {
///     let stream = TcpStream::connect("127.0.0.1:80")?;
///     stream.set_nonblocking(true)?;
///     let reader = stream.try_clone()?;
///     let registration = Registration::new(OwnedFd::from(stream))?;
///     let mut buffer = [0; 1024];
///     let read = registration.async_io(Direction::Read, || (&reader).read(&mut buffer)).await?;
///     println!("{read} bytes");
///     Ok::<_, std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Registration {
    fd: Arc<CachedFd>,
    /// The descriptor's readiness and its number: here, so that a call doesn't go through the descriptor's own memory, which
    /// with many sockets is a cache miss.
    remembered: CachedReadiness,
    shared: Arc<Shared>,
    /// The slot of its wakers, and the `data` of its events.
    key: u64,
    /// Written under `arming`. Once true it stays true.
    armed: AtomicBool,
    arming: Mutex<()>,
    /// `leave` was called: nothing is left to do for `Drop`.
    left: bool,
}

impl Registration {
    /// Takes a descriptor, which must be nonblocking, into the current runtime. Makes no system call.
    ///
    /// # Errors
    ///
    /// Outside a runtime, and after its shutdown: of kind [`Other`](io::ErrorKind::Other). With 2^32 registrations: `OutOfMemory`.
    /// The descriptor is closed then.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let Some(handle) = context::try_current() else {
            return Err(io::Error::other(
                "no egret runtime on this thread: sockets are made in a task, inside `block_on`, or while a `Handle::enter` guard lives",
            ));
        };
        Self::new_in(fd, &handle)
    }

    /// Takes a descriptor, which must be nonblocking, into a runtime.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn new_in(fd: OwnedFd, handle: &Handle) -> io::Result<Self> {
        let shared = handle.shared.clone();
        let key = shared.io.register()?;
        let fd = CachedFd::new(fd);
        Ok(Self {
            remembered: fd.remembered(),
            fd,
            shared,
            key,
            armed: AtomicBool::new(false),
            arming: Mutex::new(()),
            left: false,
        })
    }

    /// Waits until the I/O of a direction is worth trying, and answers what the socket is ready for: pass it to [`clear`](Self::clear) when the I/O
    /// would block. Ready at once until a first try said otherwise.
    ///
    /// Wakes the task that polled last in this direction. Consumes the task's budget.
    ///
    /// # Errors
    ///
    /// The engine can't take the socket (`ENOMEM`, no room in the ring): the next call tries again. The runtime was shut down.
    pub fn poll_ready(&self, cx: &mut Context<'_>, direction: Direction) -> Poll<io::Result<Readiness>> {
        let coop = ready!(coop::poll_proceed(cx));
        let poll = self.poll_wait(direction.mask(), || self.set_waker(direction, cx));
        if poll.is_ready() {
            coop.made_progress();
        }
        poll
    }

    /// Waits for any of the events in `interest` (`IN`, `OUT`), or for the end of the connection. Any number of tasks may wait.
    ///
    /// # Errors
    ///
    /// As [`poll_ready`](Self::poll_ready).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes its task off the list; no readiness is lost, since nothing is consumed.
    pub fn ready(&self, interest: Events) -> Ready<'_> {
        Ready::new(self, mask(interest))
    }

    /// Tries the I/O if the socket may be ready for it; clears the readiness when it would block. Repeats it when it was interrupted.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock), or what `f` says, or, on the first "would block", what [`poll_ready`](Self::poll_ready) says.
    pub fn try_io<R>(&self, direction: Direction, mut f: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        let seen = self.remembered.get();
        if seen.events.intersects(direction.mask()) {
            match uninterrupted(&mut f) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.clear(seen, direction),
                result => return result,
            }
        }
        // Somebody who only ever tries, and never waits, has to hear of new readiness as well.
        self.arm()?;
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Does the I/O as soon as it doesn't block. [`poll_ready`](Self::poll_ready) and `f` in turns, the readiness cleared when it would block.
    ///
    /// # Errors
    ///
    /// Those of [`poll_ready`](Self::poll_ready), and what `f` says.
    pub fn poll_io<R>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        mut f: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        loop {
            let seen = ready!(self.poll_ready(cx, direction))?;
            match uninterrupted(&mut f) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.clear(seen, direction),
                result => return Poll::Ready(result),
            }
        }
    }

    /// Does the I/O as soon as it doesn't block. Any number of tasks may wait, in the same direction, too.
    ///
    /// # Errors
    ///
    /// As [`poll_io`](Self::poll_io).
    ///
    /// # Cancel safety
    ///
    /// `f` has run to its end or not at all when the future is dropped: what it did is what it returned, and that is returned at once.
    pub async fn async_io<R>(
        &self,
        direction: Direction,
        mut f: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            let seen = self.ready(direction.mask()).await?;
            match uninterrupted(&mut f) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.clear(seen, direction),
                result => return result,
            }
        }
    }

    /// Says that the socket isn't ready in this direction any more: after a "would block", or after less was transferred than asked for.
    /// `seen` is what [`poll_ready`](Self::poll_ready) answered before the I/O; if an event came in since, nothing happens.
    pub fn clear(&self, seen: Readiness, direction: Direction) {
        if self.remembered.clear(seen, direction.refuted()) {
            self.fd.rearm(direction.refuted());
        }
    }

    /// What the socket is ready for, as far as is known. Until the I/O was tried once that is everything.
    #[inline]
    pub fn readiness(&self) -> Readiness {
        self.remembered.get()
    }

    /// Closes the descriptor before it returns: a port it was bound to is free then. Dropping would leave that to the lane's next submission.
    pub fn close_now(mut self) {
        self.leave();
        self.fd.close_now();
    }

    /// Takes the descriptor out of the runtime.
    ///
    /// # Errors
    ///
    /// The engine can't let go of it. The descriptor is closed then.
    pub fn into_fd(mut self) -> io::Result<OwnedFd> {
        self.leave();
        let fd = self.fd.into_fd();
        if fd.is_err() {
            self.fd.close();
        }
        fd
    }

    /// The wait, whatever kind of waiter: `store` keeps its waker where the driver finds it.
    #[inline]
    pub(super) fn poll_wait(
        &self,
        mask: Events,
        store: impl FnOnce() -> io::Result<()>,
    ) -> Poll<io::Result<Readiness>> {
        let seen = self.remembered.get();
        if seen.events.intersects(mask) {
            return Poll::Ready(Ok(seen));
        }
        store()?;
        self.poll_stored(mask)
    }

    /// The rest of the wait, with the waker in its place.
    fn poll_stored(&self, mask: Events) -> Poll<io::Result<Readiness>> {
        // After the waker was stored: see the driver's `shut_down`.
        self.shared.io.check()?;
        let seen = self.remembered.get();
        if seen.events.intersects(mask) {
            return Poll::Ready(Ok(seen));
        }
        self.arm()?;
        Poll::Pending
    }

    fn set_waker(&self, direction: Direction, cx: &Context<'_>) -> io::Result<()> {
        self.scheduled()?.set(direction, cx.waker());
        Ok(())
    }

    #[inline]
    pub(super) fn scheduled(&self) -> io::Result<&ScheduledIo> {
        // The slot is released by `leave` alone, and that is the end of the registration.
        self.shared.io.scheduled(self.key).ok_or_else(|| io::Error::from_raw_os_error(EBADF))
    }

    /// Registers the socket in the engine, once.
    #[inline]
    fn arm(&self) -> io::Result<()> {
        if self.armed.load(Ordering::Acquire) { Ok(()) } else { self.arm_now() }
    }

    #[cold]
    fn arm_now(&self) -> io::Result<()> {
        let result = {
            let _arming = lock(&self.arming);
            if self.armed.load(Ordering::Relaxed) {
                return Ok(());
            }
            // Runs no user code: the engine polls the source and arms it in this thread's lane.
            let result = self.shared.eventpoll.add(&self.fd, TAG, INTEREST, self.key);
            self.armed.store(result.is_ok(), Ordering::Release);
            result
        };
        if result.is_err()
            && let Some(scheduled) = self.shared.io.scheduled(self.key)
        {
            scheduled.wake_all();
        }
        result
    }

    /// Out of the engine, and the slot released: no event finds this registration any more.
    fn leave(&mut self) {
        self.left = true;
        if self.armed.load(Ordering::Acquire) {
            // The engine may have dropped the interest already (a lane that ended, a shutdown). Then it is as it should be; and
            // whatever it says, the descriptor is closed or disarmed next, which ends the interest as well.
            let _ = self.shared.eventpoll.remove(&self.fd, TAG);
        }
        self.shared.io.deregister(self.key);
    }
}

/// One interest a socket: the tag that tells several apart isn't needed.
const TAG: u64 = 0;

/// `EBADF`; the same on every Linux.
const EBADF: i32 = 9;

/// What a socket is registered for, once and for life.
const INTEREST: Events = Events::IN.union(Events::OUT).union(Events::RDHUP).union(Events::ET);

impl Drop for Registration {
    fn drop(&mut self) {
        if !self.left {
            self.leave();
            self.fd.close();
        }
    }
}

impl AsFd for Registration {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is closed by `drop`, `close_now` and `into_fd` only, which own the registration: it is
        // open as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) }
    }
}

impl AsRawFd for Registration {
    fn as_raw_fd(&self) -> RawFd {
        self.remembered.as_raw_fd()
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("fd", &self.as_raw_fd())
            .field("readiness", &self.remembered.get().events)
            .field("armed", &self.armed.load(Ordering::Relaxed))
            .finish()
    }
}
