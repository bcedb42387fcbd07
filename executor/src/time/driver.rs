//! The timers of one worker: a wheel of wakers behind a mutex, and the next deadline in an atomic that the worker reads for nothing.
//!
//! ```text
//!                    insert                       fire: the waker leaves the wheel
//!   Idle (no key) ───────────► Armed (key live) ───────────────────────────────────► Fired (key stale), woken after the unlock
//!    ▲                          │  ▲  │
//!    │                          │  └──┘ set_waker, reset: change the entry in place
//!    │   cancel, or reset       │ cancel: the waker leaves the wheel, dropped after the unlock
//!    └── after it fired ────────┴──────────► Cancelled (key stale)
//! ```
//!
//! `insert`, `set_waker`, `reset` and `cancel` are called by the future that owns the timer, on any thread; `fire` by the worker (any thread
//! may). Each transition happens under the mutex, and whoever comes second finds the key stale:
//! - `fire` against `cancel`: either the waker is in the batch, and a wake comes for nothing, or it is dropped unwoken.
//! - `fire` against `reset`: the future sees "fired", becomes Idle, and arms anew at the poll that the wake brings.
//! - `fire` against `set_waker`: either the new waker is the one that is woken, or the future sees "fired" and is ready. Never
//!   is a wake sent to the old waker alone while the future believes to be armed.
//!
//! **No lost deadline.** `next` is never later than the earliest deadline in the wheel, and changes only under the mutex. A worker reads it,
//! then waits no longer than that. Who makes it earlier stores it *and then* interrupts the worker, whose interrupt is sticky: it
//! ends the wait the worker is in, or else its next one. So the worker either read the new `next`, or a wait after its reading ends
//! at once and it reads again. (An interrupt that an earlier wait consumed was sent before that wait returned, so the reading after it sees the store.) The
//! worker itself needs no interrupt: it isn't waiting.
//!
//! | field   | written                                                  | read                         |
//! |---------|----------------------------------------------------------|------------------------------|
//! | `state` | under its mutex; no waker is woken, cloned or dropped there | same                         |
//! | `next`  | under the mutex of `state`                               | anywhere, without it         |
//! | `lane`  | once, by the first insertion                             | anywhere                     |

use super::wheel::{Key, NEVER, Progress, Wheel};
use crate::{
    io::wake_batch::{BATCH, WakeBatch, wake},
    sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, lock},
};
#[cfg(not(egret_loom))]
use egret_reactor::Lane;
use std::{
    sync::OnceLock,
    task::Waker,
    time::{Duration, Instant},
};

/// log2 of a tick in nanoseconds: 131 us, a power of two so that no division is needed. Below the 1 ms of the peers, and about what a
/// wake costs jitter anyway on a loaded machine; finer would only mean more wakes.
const TICK_SHIFT: u32 = 17;

/// What stands for the worker's lane where loom checks the transitions: the engine has no place in that model.
#[cfg(egret_loom)]
#[derive(Clone)]
pub(crate) struct Lane;

#[cfg(egret_loom)]
impl Lane {
    fn interrupt(&self) {}
}

/// The timers of one worker. A handle: clones are the same timers.
#[derive(Clone)]
pub(crate) struct Timers {
    shared: Arc<Shared>,
}

struct Shared {
    /// Tick 0.
    start: Instant,
    /// The tick to which the worker may sleep, `NEVER` if there is none.
    next: AtomicU64,
    /// The worker's lane, to interrupt it. A std type also under loom: it isn't part of the protocol.
    lane: OnceLock<Lane>,
    state: Mutex<State>,
}

struct State {
    wheel: Wheel<Waker>,
    shut_down: bool,
}

/// Whether the worker sleeps towards a deadline that is too late now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an earlier deadline has to interrupt the worker"]
pub(crate) enum Next {
    Unchanged,
    Earlier,
}

/// The timers were shut down: nobody will fire another one.
#[derive(Debug)]
pub(crate) struct ShutDown;

/// What a call with a key found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Armed {
    Yes,
    /// It fired (or the timers were shut down, which fires all).
    Fired,
}

impl Timers {
    pub(crate) fn new() -> Self {
        let state = State { wheel: Wheel::new(), shut_down: false };
        let shared = Shared {
            start: Instant::now(),
            next: AtomicU64::new(NEVER),
            lane: OnceLock::new(),
            state: Mutex::new(state),
        };
        Self { shared: Arc::new(shared) }
    }

    /// When `fire` has to be called next at the latest; it may find nothing to do. One atomic read.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        // Acquire: see "No lost deadline"; what the interrupt doesn't order anyway is ordered by this.
        let tick = self.shared.next.load(Ordering::Acquire);
        // Later than u64::MAX nanoseconds, 584 years, is never.
        let nanos = if tick > u64::MAX >> TICK_SHIFT {
            return None;
        } else {
            tick << TICK_SHIFT
        };
        self.shared.start.checked_add(Duration::from_nanos(nanos))
    }

    /// Wakes every timer due at `now`, earlier ticks first. Wakes with no lock held.
    pub(crate) fn fire(&self, now: Instant) {
        let now = self.elapsed_ticks(now);
        if now < self.shared.next.load(Ordering::Acquire) {
            return;
        }
        loop {
            let mut batch = WakeBatch::new();
            let mut state = self.lock();
            let progress = state.wheel.advance(now, BATCH, &mut |waker| batch.push(waker));
            if progress == Progress::Done {
                self.shared.next.store(state.wheel.next_due().unwrap_or(NEVER), Ordering::Release);
            }
            drop(state);
            batch.wake();
            if progress == Progress::Done {
                return;
            }
        }
    }

    /// Arms a timer. On `Next::Earlier` call [`interrupt`](Self::interrupt), unless this thread is the worker.
    pub(crate) fn insert(
        &self,
        now: Instant,
        deadline: Instant,
        waker: Waker,
    ) -> Result<(Key, Next), ShutDown> {
        let now = self.elapsed_ticks(now);
        let due = self.due_tick(deadline);
        let mut state = self.lock();
        if state.shut_down {
            drop(state);
            // `waker` is dropped here, after the lock.
            return Err(ShutDown);
        }
        let key = state.wheel.insert(now, due, waker);
        Ok((key, self.advertise(&state, due)))
    }

    /// Makes `waker` the one that is woken.
    pub(crate) fn set_waker(&self, key: Key, waker: &Waker) -> Armed {
        match self.lock().wheel.get_mut(key) {
            None => return Armed::Fired,
            Some(current) if current.will_wake(waker) => return Armed::Yes,
            Some(_) => {}
        }
        // Cloning a waker is user code: it may not run under the lock.
        let mut waker = waker.clone();
        match self.lock().wheel.get_mut(key) {
            None => return Armed::Fired,
            Some(current) => std::mem::swap(current, &mut waker),
        }
        // The old one is dropped here, after the lock.
        Armed::Yes
    }

    /// Moves a timer; `None` if it fired. On `Next::Earlier` as for [`insert`](Self::insert).
    pub(crate) fn reset(&self, key: Key, deadline: Instant) -> Option<Next> {
        let due = self.due_tick(deadline);
        let mut state = self.lock();
        if !state.wheel.reset(key, due) {
            return None;
        }
        Some(self.advertise(&state, due))
    }

    /// Disarms a timer; nothing happens if it fired. `next` stays as it is: at worst the worker wakes once for nothing.
    pub(crate) fn cancel(&self, key: Key) {
        let waker = self.lock().wheel.remove(key);
        drop(waker);
    }

    /// Wakes all timers, due or not, and refuses new ones.
    pub(crate) fn shutdown(&self) {
        let mut state = self.lock();
        state.shut_down = true;
        // A new wheel knows no keys: whoever holds one sees "fired".
        let wheel = std::mem::replace(&mut state.wheel, Wheel::new());
        self.shared.next.store(NEVER, Ordering::Release);
        drop(state);
        for waker in wheel.into_values() {
            wake(waker);
        }
    }

    /// Tells which lane the worker waits in, for [`interrupt`](Self::interrupt).
    pub(crate) fn set_lane(&self, lane: &Lane) {
        if self.shared.lane.get().is_none() {
            // Everybody sets the same lane; who comes second changes nothing.
            let _ = self.shared.lane.set(lane.clone());
        }
    }

    /// Makes the worker look at `next_deadline` again.
    pub(crate) fn interrupt(&self) {
        if let Some(lane) = self.shared.lane.get() {
            lane.interrupt();
        }
    }

    /// Whether both handles name the same timers.
    pub(crate) fn is(&self, other: &Timers) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// Makes `next` no later than `due`. The guard says that this happens under the lock.
    fn advertise(&self, _state: &MutexGuard<'_, State>, due: u64) -> Next {
        if due >= self.shared.next.load(Ordering::Relaxed) {
            return Next::Unchanged;
        }
        self.shared.next.store(due, Ordering::Release);
        Next::Earlier
    }

    /// The first tick that isn't before `deadline`: rounded up, never early.
    fn due_tick(&self, deadline: Instant) -> u64 {
        let nanos = deadline.saturating_duration_since(self.shared.start).as_nanos();
        u64::try_from((nanos + (1 << TICK_SHIFT) - 1) >> TICK_SHIFT).unwrap_or(NEVER)
    }

    /// The last tick that isn't after `now`.
    fn elapsed_ticks(&self, now: Instant) -> u64 {
        let nanos = now.saturating_duration_since(self.shared.start).as_nanos();
        u64::try_from(nanos >> TICK_SHIFT).unwrap_or(NEVER)
    }
}

#[cfg(all(test, not(egret_loom)))]
#[path = "driver_tests.rs"]
mod tests;
