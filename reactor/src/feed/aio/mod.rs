//! The `aio` feed: Linux AIO's `IOCB_CMD_POLL`, for where io_uring is refused. O(1) an event, Linux 4.19 and later.
//!
//! A request watches one file until one of its conditions holds, and completes: it is one-shot. Submitted for a level that is
//! up it completes at once. So a condition that was reported is not asked for again until it was seen not to hold; what that
//! promises is told in [`watch`](super::watch). [`table`] draws the life of an arm.
//!
//! Requests go in batched: with the call that blocks, or when a harvest finds nothing. Completions are read from the ring
//! that [`context`] shares with the kernel, without a system call. `io_pgetevents` is only for blocking, and it takes events
//! itself; user space must not move the ring's head at the same time:
//!
//! ```text
//!                       inside == 0                                inside > 0
//!   harvest    (under the lock) reads the ring         (under the lock) io_pgetevents, zero timeout: the
//!                                                      kernel lets one thread at a time take events
//!   block      (under the lock) inside += 1, ── io_pgetevents without the lock ──► (under the lock) inside -= 1,
//!              after a last look at the ring                                       puts down what it took
//! ```
//!
//! A thread that blocks can't submit: so nothing is left to submit while `inside > 0`, whoever has something to submit then
//! does it himself; and if arms have to be looked at that the blocked thread doesn't know of, it has to come back.
//!
//! A context has room for so many requests and no more. One that is full is replaced by a larger one: every arm is submitted
//! again there, which reports the levels that hold, so nothing is lost. A thread that blocks in the old one is woken, finds
//! that the context is another, and throws away what it took.
//!
//! What the kernel's `fs/aio.c` says about letting go of a file: a request's completion appears (`aio_complete`), and *then*
//! its reference to the file goes (`iocb_destroy`). A request that is cancelled completes on a worker thread of the kernel's,
//! which may be interrupted between the two; and if it drops the last reference, the file is closed a timer tick later
//! (`fput` of a kernel thread). So who needs the file to be let go at once cancels a second request after the first, the
//! fence: both go to the workers of the processor that the caller runs on, which take one after the other (unless the caller
//! was moved to another processor between the two). A request that a wake-up completes lets go within the wake-up, unless a worker thread has
//! to ask the file. So the fence is also for what ended before: an arm that has nothing in flight may follow one of the same file that had.
//!
//! A wake-up that names its conditions (data that came, room that is there) completes a request at once. One that names none (a
//! shutdown, a close) has a worker thread of the kernel's ask the file: that is told some microseconds later.
//!
//! Known limits: the kernel finds the request to cancel by walking all that are in flight, so giving up an arm costs more the
//! more there are (10 us at 1000, 140 us at 4000, the newest one, measured); one whose condition came needs no cancel. Kernels
//! before 5.16 that lack its fixes can lose a wake-up that meets another one (there, poll requests left their queue too early).

mod context;
mod state;
mod table;
#[cfg(test)]
mod tests;

use super::watch::LOOK_AGAIN;
use super::{Completion, Disarmed, Fallen, Feed, Token};
use crate::events::Events;
use crate::sync::{Arc, AtomicUsize, Mutex, MutexGuard, Ordering};
use context::{Context, IoEvent, Request};
use state::{State, is_full};
use std::fmt;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::time::{Duration, Instant};
use table::Arm;

/// Requests that the first context has room for; smaller ones are tried if fs.aio-max-nr (65536 for the whole system) leaves
/// no more. 36 KiB of ring. A guess: enough for most workers, and for a hundred lanes on a machine.
const CAPACITY: usize = 512;
/// The smallest context that is worth having.
const LEAST: usize = 32;
/// How much larger the next context is. A guess: the kernel takes 30 ms for the end of one, and all arms are submitted again.
const GROWTH: usize = 4;
/// Places that no arm may take: for fences.
const RESERVED: usize = 4;
/// Requests handed over with one system call, and events taken at once. A guess.
const BATCH: usize = 128;

/// What the probe's completion carries.
const PROBE: u64 = u64::MAX;
/// How long a new feed waits for it. Some 20 us pass until the kernel's worker thread had its turn, on a loaded machine some
/// turns of others. A guess.
const PROBE_PATIENCE: Duration = Duration::from_millis(50);

pub(crate) struct Aio {
    state: Mutex<State>,
    /// Contexts that the kernel still has for this feed: more than one after it was replaced.
    alive: Arc<AtomicUsize>,
}

impl fmt::Debug for Aio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Aio")
            .field("capacity", &state.context.capacity())
            .field("arms", &state.arms.len())
            .finish_non_exhaustive()
    }
}

impl Aio {
    pub(crate) fn new(wake: RawFd) -> io::Result<Self> {
        let mut capacity = CAPACITY;
        loop {
            match Self::with_capacity(wake, capacity, usize::MAX) {
                Err(error) if is_full(&error) && capacity > LEAST => capacity /= 4,
                result => return result,
            }
        }
    }

    /// Starts with room for `capacity` requests and never takes more than `limit`.
    pub(crate) fn with_capacity(wake: RawFd, capacity: usize, limit: usize) -> io::Result<Self> {
        let alive = Arc::new(AtomicUsize::new(0));
        let context = Context::new(capacity, &alive)?;
        // Every system call, before anybody relies on it: the kernel may lack the command, a filter may refuse a call.
        let mut probe = Request::new();
        probe.aim(PROBE, wake, Events::empty());
        context.submit(&[probe.name()])?;
        context.cancel(&probe)?;
        hear(&context)?;
        let state = State::new(context, limit, wake, alive.clone());
        Ok(Self { state: Mutex::new(state), alive })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Waits for the probe's completion, or it would wake the first thread that blocks. That one would come back for nothing, as
/// it may: so one that is late is no error.
fn hear(context: &Context) -> io::Result<()> {
    let deadline = Instant::now() + PROBE_PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match context.wait(&mut [IoEvent::default()], Some(left)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted && !left.is_zero() => {}
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => return Ok(()),
        }
    }
}

impl Feed for Aio {
    fn arm(&self, token: Token, fd: RawFd, interest: Events, fallen: Fallen) -> io::Result<()> {
        let mut state = self.lock();
        if state.arms.len() + RESERVED >= state.context.capacity() {
            state.grow()?;
        }
        state.insert(Arm::new(token, fd, interest, fallen));
        state.settle();
        Ok(())
    }

    fn rearm(&self, token: Token, conditions: Events) -> bool {
        let mut state = self.lock();
        let Some(arm) = state.arms.get(token) else { return false };
        if arm.watch.rearm(conditions) {
            state.note(token);
            state.settle();
        }
        state.calls_back()
    }

    fn disarm(&self, token: Token, close: Option<OwnedFd>) -> io::Result<Disarmed> {
        let follows = self.lock().cancel(token, libc::ECANCELED);
        drop(close);
        Ok(if follows { Disarmed::LastFollows } else { Disarmed::Done })
    }

    fn disarm_now(&self, token: Token) -> io::Result<Disarmed> {
        let mut state = self.lock();
        let follows = state.cancel(token, libc::ECANCELED);
        if state.unfenced {
            state.fence();
        }
        if !follows {
            if state.fences == 0 {
                return Ok(Disarmed::Done);
            }
            // It has nothing in flight; what held its file before may have, or has just come down.
            state.found.push(Completion { token, level: Err(libc::ECANCELED), last: true });
        }
        Ok(Disarmed::LastFollows)
    }

    fn unpinned(&self, _token: Token, how: Disarmed) -> bool {
        how == Disarmed::Done || (self.lock().fences == 0 && self.alive.load(Ordering::SeqCst) == 1)
    }

    fn has_pending(&self) -> bool {
        !self.lock().due.is_empty()
    }

    fn submit(&self) -> io::Result<()> {
        self.lock().submit();
        Ok(())
    }

    fn harvest(&self, completions: &mut Vec<Completion>) -> io::Result<bool> {
        let mut state = self.lock();
        state.look();
        let mut result = state.collect();
        if result.is_ok() && state.found.is_empty() && !state.due.is_empty() {
            // Whoever finds nothing is about to rest: the moment to hand over what has gathered.
            state.submit();
            result = state.collect();
        }
        state.settle();
        completions.append(&mut state.found);
        let calls_back = state.calls_back();
        result.map(|()| calls_back)
    }

    fn block(&self, timeout: Option<Duration>) -> io::Result<()> {
        let mut state = self.lock();
        loop {
            state.submit();
            state.collect()?;
            if !state.found.is_empty() {
                return Ok(());
            }
            if state.due.is_empty() {
                break;
            }
        }
        state.forget_looks();
        let timeout = if state.looks.is_empty() {
            state.patient = true;
            timeout
        } else {
            Some(timeout.map_or(LOOK_AGAIN, |t| t.min(LOOK_AGAIN)))
        };
        let context = state.context.clone();
        let mut events = std::mem::take(&mut state.spare);
        events.resize(BATCH, IoEvent::default());
        state.inside += 1;
        drop(state);
        let result = context.wait(&mut events, timeout);
        let mut state = self.lock();
        state.inside -= 1;
        state.patient &= state.inside > 0;
        if let (Ok(taken), true) = (&result, Arc::ptr_eq(&context, &state.context)) {
            for event in &events[..*taken] {
                state.take_in(*event);
            }
        }
        state.spare = events;
        drop(state);
        result.map(drop)
    }

    fn wants_to_be_told(&self) -> bool {
        true
    }

    fn rests(&self) -> bool {
        true
    }
}
