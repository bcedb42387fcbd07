//! [`Parker`]: where one thread sleeps inside `wait`, and [`Wakes`], the list of those to be woken.
//!
//! ```text
//!                 park (follower)                  park (leader, or owner of a lane)
//!   ON_CONDVAR ◄────────────────── AWAKE ──────────────────► IN_LANE
//!       │  ▲                       ▲   │                      │
//!       │  └── own wake-up: swap(AWAKE)│                      │
//!       │                          │   │ unpark               │
//!       └───────── unpark ───────► TOKEN ◄────── unpark ──────┘
//!                notify the condvar    kick the lane (eventfd)
//! ```
//!
//! | transition                    | who             | how                                                  |
//! |-------------------------------|-----------------|------------------------------------------------------|
//! | AWAKE → ON_CONDVAR / IN_LANE  | the thread      | compare-exchange; on TOKEN it takes it and stays up  |
//! | any → TOKEN                   | any waker       | swap; what stood there says what has to be rung      |
//! | any → AWAKE                   | the thread      | swap after it came back, for whatever reason         |
//!
//! A token is never lost (it is left standing for the next park) and tokens do not add up. Who was woken *for what* is
//! not told here but in the instance's list of waiters, under the list lock.

use crate::eventpoll::item::Item;
use crate::eventpoll::ready::{Batch, Ready};
use crate::events::Events;
#[cfg(not(egret_loom))]
use crate::lane::LaneInner;
use crate::sync::{Arc, AtomicU8, Condvar, Mutex, Ordering};
use std::time::Instant;

const AWAKE: u8 = 0;
const ON_CONDVAR: u8 = 1;
#[cfg(not(egret_loom))]
const IN_LANE: u8 = 2;
const TOKEN: u8 = 3;

/// One thread's place to sleep.
#[derive(Debug)]
pub(crate) struct Parker {
    state: AtomicU8,
    lock: Mutex<()>,
    condvar: Condvar,
    /// The lane that this thread owns, or shares with the other threads outside a pool.
    #[cfg(not(egret_loom))]
    lane: Arc<LaneInner>,
}

impl Parker {
    #[cfg(not(egret_loom))]
    pub(crate) fn new(lane: Arc<LaneInner>) -> Self {
        Self { state: AtomicU8::new(AWAKE), lock: Mutex::new(()), condvar: Condvar::new(), lane }
    }

    #[cfg(egret_loom)]
    pub(crate) fn new() -> Self {
        Self { state: AtomicU8::new(AWAKE), lock: Mutex::new(()), condvar: Condvar::new() }
    }

    #[cfg(not(egret_loom))]
    pub(crate) fn lane(&self) -> &Arc<LaneInner> {
        &self.lane
    }

    /// AWAKE → `place`, unless a token stands there, which is consumed.
    #[must_use]
    fn lie_down(&self, place: u8) -> bool {
        match self.state.compare_exchange(AWAKE, place, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(_) => {
                self.state.swap(AWAKE, Ordering::SeqCst);
                false
            }
        }
    }

    /// Sleeps until unparked or until the deadline.
    pub(crate) fn park(&self, deadline: Option<Instant>) {
        let mut guard = self.lock.lock();
        if !self.lie_down(ON_CONDVAR) {
            return;
        }
        while self.state.load(Ordering::SeqCst) == ON_CONDVAR {
            match deadline {
                None => guard = self.condvar.wait(guard),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let (back, timed_out) = self.condvar.wait_timeout(guard, left);
                    guard = back;
                    if timed_out {
                        break;
                    }
                }
            }
        }
        self.state.swap(AWAKE, Ordering::SeqCst);
    }

    /// Sleeps in the lane's feed until unparked, until the feed has something or until the deadline.
    #[cfg(not(egret_loom))]
    pub(crate) fn park_in_lane(&self, deadline: Option<Instant>) -> std::io::Result<()> {
        if !self.lie_down(IN_LANE) {
            return Ok(());
        }
        let result = self.lane.block(deadline);
        self.state.swap(AWAKE, Ordering::SeqCst);
        result
    }

    /// Ends the current park, or the next one if the thread is up.
    pub(crate) fn unpark(&self) {
        match self.state.swap(TOKEN, Ordering::SeqCst) {
            ON_CONDVAR => {
                // The sleeper holds the lock from its check of the state until it is inside the condition variable:
                // passing through the lock here means that the notification can't fall in between.
                drop(self.lock.lock());
                self.condvar.notify_one();
            }
            #[cfg(not(egret_loom))]
            IN_LANE => self.lane.kick(),
            _ => {}
        }
    }
}

/// How many wake-ups are put off before the next is carried out under the caller's lock. A guess: more instances
/// than this watching one source is rare, and waking early costs time, not correctness.
const PUT_OFF: usize = 4;

/// Threads that a walk over a wait queue decided to wake: rung when the walk is over and its locks are released.
pub(crate) struct Wakes<'a> {
    /// The instance whose `wait` is harvesting a feed right now: it will deliver what is published, so its callbacks
    /// wake nobody; what it leaves behind it hands on with the cascade.
    pumping: Option<&'a Ready>,
    parkers: [Option<Arc<Parker>>; PUT_OFF],
    len: usize,
    /// What that instance will publish in one go, with the keys.
    batch: Batch,
}

impl<'a> Wakes<'a> {
    pub(crate) fn new(pumping: Option<&'a Ready>) -> Self {
        Self::with_batch(pumping, Vec::new())
    }

    /// With a batch that is used again and again. Empty.
    pub(crate) fn with_batch(pumping: Option<&'a Ready>, batch: Batch) -> Self {
        debug_assert!(batch.is_empty());
        Self { pumping, parkers: [const { None }; PUT_OFF], len: 0, batch }
    }

    /// Leaves an item of the pumping instance for [`publish`](Self::publish).
    pub(crate) fn put_off(&mut self, item: &Arc<Item>, key: Events) {
        self.batch.push((Some(item.clone()), key));
    }

    /// Publishes what was put off, and gives the emptied batch back.
    pub(crate) fn publish(&mut self) -> Batch {
        let mut batch = std::mem::take(&mut self.batch);
        if let Some(ready) = self.pumping
            && !batch.is_empty()
        {
            ready.publish(&mut batch, self);
        }
        batch
    }

    /// Whether the current thread is inside `wait` of that instance, awake.
    pub(crate) fn is_pumping(&self, ready: &Ready) -> bool {
        self.pumping.is_some_and(|pumping| std::ptr::eq(pumping, ready))
    }

    pub(crate) fn push(&mut self, parker: Arc<Parker>) {
        if self.len == PUT_OFF {
            parker.unpark();
            return;
        }
        self.parkers[self.len] = Some(parker);
        self.len += 1;
    }

    /// Rings them.
    pub(crate) fn flush(&mut self) {
        for slot in &mut self.parkers[..self.len] {
            if let Some(parker) = slot.take() {
                parker.unpark();
            }
        }
        self.len = 0;
    }
}

impl Drop for Wakes<'_> {
    fn drop(&mut self) {
        debug_assert!(self.batch.is_empty(), "a batch was put off and never published");
        self.flush();
    }
}
