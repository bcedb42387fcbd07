//! How a worker's core changes hands: plain, model-checked. Who uses it is told in `runtime::current_thread` and `worker::loan`.
//!
//! [`CoreSlot`], of a current-thread runtime: the core lies here while nobody drives.
//!
//! ```text
//!   here ── take_or_wait ──► a thread has it ── put ──► here; all who wait are told
//!    │                          │ put, after the end
//!    └── end ──► over ◄─────────┘        whoever takes it out last retires it, and all who wait are told
//! ```
//!
//! A waiter is on the list, under the lock, before it goes to sleep; the core is put back under the lock before the list is read. So it finds the core or is told.
//!
//! [`Called`]: a driver is to come and poll its future, or to give the core back.
//!
//! ```text
//!   caller:  up? ── no: raise it ─► interrupt the driver's wait        driver:  down, and poll ─► .. ─► is it up? ── no ─► wait
//! ```
//!
//! The flag is up before the interruption, and the driver looks at it after it is counted as asleep: it sees the flag, or its wait sees the interruption. An
//! interruption that an earlier look has used up is one whose flag is up by then.
//!
//! [`Exchange`], of a lent core:
//!
//! ```text
//!   OFFERED ── take ──► TAKEN ── give_back ──► BACK        reclaim: OFFERED becomes CLOSED; TAKEN: call, then wait for BACK
//! ```
//!
//! | type | lock |
//! |---|---|
//! | `CoreSlot` | its mutex, a leaf; wakes happen after it |
//! | `Exchange` | its mutex, a leaf, with its condition |

use crate::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering, lock};

/// Where the core `C` lies; those who wait for it are `S`.
pub struct CoreSlot<C, S>(Mutex<Slot<C, S>>);

struct Slot<C, S> {
    core: Option<C>,
    waiting: Vec<Arc<S>>,
    /// There is, or will be, no core any more.
    over: bool,
}

/// What has to be done when the lock is free again.
#[must_use]
pub struct Afterwards<C, S> {
    /// To be retired.
    pub gone: Option<C>,
    /// To be woken.
    pub waiting: Vec<Arc<S>>,
}

impl<C, S> Default for CoreSlot<C, S> {
    fn default() -> Self {
        Self(Mutex::new(Slot { core: None, waiting: Vec::new(), over: false }))
    }
}

impl<C, S> CoreSlot<C, S> {
    /// Puts the core there for the first time.
    pub fn fill(&self, core: C) {
        lock(&self.0).core = Some(core);
    }

    /// The core, if nobody has it.
    #[cfg(not(egret_loom))]
    pub fn take(&self) -> Option<C> {
        lock(&self.0).core.take()
    }

    /// The core, if nobody has it. If somebody does, `who` is told when it is back.
    pub fn take_or_wait(&self, who: &Arc<S>) -> Option<C> {
        let mut slot = lock(&self.0);
        if let Some(core) = slot.core.take() {
            return Some(core);
        }
        if !slot.over && !slot.waiting.iter().any(|waiting| Arc::ptr_eq(waiting, who)) {
            slot.waiting.push(who.clone());
        }
        None
    }

    /// `who` doesn't wait any more.
    pub fn forget(&self, who: &Arc<S>) {
        lock(&self.0).waiting.retain(|waiting| !Arc::ptr_eq(waiting, who));
    }

    /// Puts the core back. If the runtime has ended, or does just now, it goes.
    pub fn put(&self, core: C) -> Afterwards<C, S> {
        let mut slot = lock(&self.0);
        let gone = if slot.over {
            Some(core)
        } else {
            slot.core = Some(core);
            None
        };
        Afterwards { gone, waiting: std::mem::take(&mut slot.waiting) }
    }

    /// The runtime has ended: the core goes, now or when it is put back.
    pub fn end(&self) -> Afterwards<C, S> {
        let mut slot = lock(&self.0);
        slot.over = true;
        Afterwards { gone: slot.core.take(), waiting: std::mem::take(&mut slot.waiting) }
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Called(AtomicBool);

impl Called {
    /// One that is up.
    pub fn raised() -> Self {
        Self(AtomicBool::new(true))
    }

    /// Raises it. True if the driver's wait has to be interrupted.
    #[must_use = "the driver may be about to wait"]
    pub fn call(&self) -> bool {
        // Release: the driver sees what was written before.
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Takes it down. Whether it was up.
    #[must_use]
    pub fn take(&self) -> bool {
        // A load first: it is mostly down, and looked at between two tasks.
        self.is_up() && self.0.swap(false, Ordering::Acquire)
    }

    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Offered,
    Taken,
    Back,
    Closed,
}

/// The state of a loan.
#[derive(Debug)]
pub struct Exchange {
    state: Mutex<State>,
    changed: Condvar,
    /// Up once, when it is wanted back.
    pub called: Called,
}

impl Default for Exchange {
    fn default() -> Self {
        Self { state: Mutex::new(State::Offered), changed: Condvar::new(), called: Called::default() }
    }
}

impl Exchange {
    /// Takes what was offered. False: it was taken back before.
    #[must_use = "if it is true it has to be given back"]
    pub fn take(&self) -> bool {
        let mut state = lock(&self.state);
        let offered = *state == State::Offered;
        if offered {
            *state = State::Taken;
        }
        offered
    }

    /// What was taken is free again.
    pub fn give_back(&self) {
        *lock(&self.state) = State::Back;
        self.changed.notify_all();
    }

    /// Gets back what was offered, and waits for that, if it was taken. `interrupt` makes whoever has it look at `called`.
    pub fn reclaim(&self, interrupt: impl FnOnce()) {
        {
            let mut state = lock(&self.state);
            if *state == State::Offered {
                *state = State::Closed;
            }
            if *state != State::Taken {
                return;
            }
        }
        if self.called.call() {
            interrupt();
        }
        let mut state = lock(&self.state);
        while *state == State::Taken {
            state = self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}
