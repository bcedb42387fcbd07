//! The timers of one worker: a wheel of wakers behind a mutex, and the next deadline in an atomic that the worker reads for nothing.
//!
//! ```text
//!                    insert                       fire: the waker leaves the wheel
//!   Idle (no index) ──────────► Armed, waiting ───────────────────────────────────► Armed, fired; woken after the unlock
//!    ▲  ▲                       │  ▲  │                                              │  │
//!    │  │                       │  └──┘ poll (sets the waker), reset, put_off        │  │ poll: due at or before what the wheel has fired
//!    │  └── cancel ─────────────┘  the waker is dropped after the unlock             │  └──► Elapsed
//!    └───────────────────────────────────────────────────────────────────────────────┘
//!         poll: it was put off while it fired, or after; cancel
//! ```
//!
//! Everything but `fire` is called by the future that owns the timer, on any thread; `fire` by the worker, or by any thread that takes its
//! place. Each transition but `put_off` happens under the mutex:
//! - `fire` against `cancel`: either the waker is in the batch, and a wake comes for nothing, or it is dropped unwoken.
//! - `fire` against `reset`: the future sees "fired", becomes Idle, and arms anew at the poll that the wake brings.
//! - `fire` against `poll`: either the new waker is the one that is woken, or the future sees "fired" and is ready. Never
//!   is a wake sent to the old waker alone while the future believes to be armed.
//! - `fire` against `put_off`, which takes no lock: `fire` may still see the earlier deadline. Then a wake comes for nothing, and the poll that it
//!   brings finds the timer fired but its deadline later than that, and the future arms anew. The deadline that counts is the future's own.
//!
//! **No lost deadline.** `next` is never later than the earliest deadline in the wheel, and changes only under the mutex. A worker reads it,
//! then waits no longer than that. Who makes it earlier stores it *and then* interrupts the worker, whose interrupt is sticky: it
//! ends the wait the worker is in, or else its next one. So the worker either read the new `next`, or a wait after its reading ends
//! at once and it reads again. (An interrupt that an earlier wait consumed was sent before that wait returned, so the reading after it sees the store.) The
//! worker itself needs no interrupt: it isn't waiting. To put off makes no deadline earlier.
//!
//! **A ring of references.** The wheel's blocks lead back to the timers, so that whoever holds a timer's block can cancel it. `shutdown` breaks the ring.
//!
//! | field   | written                                                  | read                         |
//! |---------|----------------------------------------------------------|------------------------------|
//! | `state` | under its mutex; no waker is woken, cloned or dropped there | same                         |
//! | `next`  | under the mutex of `state`                               | anywhere, without it         |
//! | `lane`  | once, by the first insertion                             | anywhere                     |
//! | the blocks' due ticks | by the timers' owners; to an earlier tick under the mutex | under the mutex |

use super::{
    clock::Moment,
    wheel::{self, Index, NEVER, Progress, Wheel},
};
use crate::{
    io::wake_batch::{BATCH, WakeBatch, wake},
    sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, lock},
};
#[cfg(not(egret_loom))]
use egret_reactor::Lane;
use std::{sync::OnceLock, task::Waker, time::Instant};

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
    /// The tick to which the worker may sleep, `NEVER` if there is none.
    next: AtomicU64,
    /// The worker's lane, to interrupt it. A std type also under loom: it isn't part of the protocol.
    lane: OnceLock<Lane>,
    state: Mutex<State>,
}

struct State {
    wheel: Wheel<Waker, Timers>,
    shut_down: bool,
}

/// What the owner of a timer holds beside its index: the way to its due tick and to its timers.
pub(crate) type Block = wheel::Block<Timers>;

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

/// What a poll of an armed timer found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Polled {
    /// It waits, and will wake the waker.
    Waits,
    /// Its deadline has passed (or the timers were shut down, which ends all).
    Elapsed,
    /// It fired before its deadline was put off: arm it anew.
    TooEarly,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self::starting(Moment::now())
    }

    /// Timers that go by the time from `now` on.
    pub(crate) fn starting(now: Moment) -> Self {
        let wheel = Wheel::new(now.tick_not_after());
        let shared = Shared {
            next: AtomicU64::new(NEVER),
            lane: OnceLock::new(),
            state: Mutex::new(State { wheel, shut_down: false }),
        };
        Self { shared: Arc::new(shared) }
    }

    /// When `fire` has to be called next at the latest; it may find nothing to do. One atomic read.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        // Acquire: see "No lost deadline"; what the interrupt doesn't order anyway is ordered by this.
        let tick = self.shared.next.load(Ordering::Acquire);
        Moment::of_tick(tick).map(Moment::instant)
    }

    /// Wakes every timer due at `now`, earlier ticks first. Wakes with no lock held. Any thread may call it.
    pub(crate) fn fire(&self, now: Instant) {
        let now = Moment::seen(now).tick_not_after();
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

    /// Arms a timer. `now` may be a while ago. On `Next::Earlier` call [`interrupt`](Self::interrupt), unless this thread is the worker.
    pub(crate) fn insert(
        &self,
        now: Moment,
        deadline: Moment,
        waker: Waker,
    ) -> Result<(Arc<Block>, Index, Next), ShutDown> {
        let now = now.tick_not_after();
        let due = deadline.tick_not_before();
        let mut state = self.lock();
        if state.shut_down {
            drop(state);
            // `waker` is dropped here, after the lock.
            return Err(ShutDown);
        }
        let index = state.wheel.insert(now, due, waker, || self.clone());
        let block = state.wheel.block(&index).clone();
        Ok((block, index, self.advertise(&state, due)))
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().wheel.len()
    }

    /// The wakers' pointers of all that wait, and when they are due.
    pub(crate) fn waiters(&self) -> Vec<(*const (), Instant)> {
        let state = self.lock();
        let due = |tick| Moment::of_tick(tick).map(Moment::instant);
        state.wheel.waiting().filter_map(|(waker, tick)| Some((waker.data(), due(tick)?))).collect()
    }

    /// Wakes all timers, due or not, and refuses new ones.
    pub(crate) fn shutdown(&self) {
        let mut state = self.lock();
        state.shut_down = true;
        // From now on no index means anything: whoever holds one sees "elapsed".
        let wheel = std::mem::replace(&mut state.wheel, Wheel::new(0));
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
}

/// What the owner of an armed timer does with it, to a later deadline beside [`put_off`](Block::put_off).
impl Block {
    /// Whether its time has come. If not, `waker` is the one that will be woken. Unless it waits its place is taken back, and `index`
    /// means nothing any more.
    pub(crate) fn poll(&self, index: &Index, deadline: Moment, waker: &Waker) -> Polled {
        let mut state = self.owner.lock();
        match state.waker(index) {
            None => return state.take_back(index, deadline),
            Some(current) if current.will_wake(waker) => return Polled::Waits,
            Some(_) => {}
        }
        drop(state);
        // Cloning a waker is user code: it may not run under the lock.
        let mut waker = waker.clone();
        let mut state = self.owner.lock();
        let polled = match state.waker(index) {
            None => state.take_back(index, deadline),
            Some(current) => {
                std::mem::swap(current, &mut waker);
                Polled::Waits
            }
        };
        drop(state);
        // The old one, or the one that came too late, is dropped here, after the lock.
        polled
    }

    /// Moves a timer, to whatever deadline; `None` if it fired: then its place is taken back. On `Next::Earlier` as for
    /// [`insert`](Timers::insert).
    pub(crate) fn reset(&self, index: &Index, deadline: Moment) -> Option<Next> {
        let due = deadline.tick_not_before();
        let mut state = self.owner.lock();
        if state.waker(index).is_none() {
            let _ = state.take_back(index, deadline);
            return None;
        }
        let waits = state.wheel.reset(index, due);
        debug_assert!(waits, "it has a waker");
        Some(self.owner.advertise(&state, due))
    }

    /// Disarms a timer and takes its place back. `next` stays as it is: at worst the worker wakes once for nothing.
    pub(crate) fn cancel(&self, index: &Index) {
        let mut state = self.owner.lock();
        let waker = if state.shut_down { None } else { state.wheel.release(index) };
        drop(state);
        drop(waker);
    }
}

impl State {
    /// None if it fired, by itself or by the shutdown.
    fn waker(&mut self, index: &Index) -> Option<&mut Waker> {
        if self.shut_down { None } else { self.wheel.get_mut(index) }
    }

    /// Of a timer that fired.
    fn take_back(&mut self, index: &Index, deadline: Moment) -> Polled {
        if self.shut_down {
            return Polled::Elapsed;
        }
        let waker = self.wheel.release(index);
        debug_assert!(waker.is_none(), "it fired");
        // What the wheel has fired is past, and no look at the clock is needed.
        if deadline.tick_not_before() <= self.wheel.elapsed() { Polled::Elapsed } else { Polled::TooEarly }
    }
}

#[cfg(all(test, not(egret_loom)))]
#[path = "driver_tests.rs"]
mod tests;
