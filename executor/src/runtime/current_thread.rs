//! The current-thread flavour: whoever is in `block_on` is the worker.
//!
//! ```text
//!                     block_on: takes the core                             the future is ready, or panics: gives it back
//!   the core lies here ─────────────────────► a thread drives: polls its future when ───────────────────────────────► it lies here
//!        ▲  │                                  that was woken, and tasks, and parks in the reactor                          │
//!        │  │ the runtime ends: dropped here     │ the runtime ends: dropped by the driver, which                           │
//!        │  ▼                                    ▼ goes on with its future alone                                            │
//!        │ gone ◄──────────────────────────────┘                                                                           │
//!        └────────── somebody else is in block_on, too: it was told, and takes the core ◄────────────────────────────────────┘
//! ```
//!
//! **Who drives.** One thread at a time. Another that is in `block_on` meanwhile polls its own future and parks, as it would with
//! worker threads, until it is woken or the core comes back: who gives the core back wakes everybody who waits for it. A waiter looks for the
//! core after it is on the list, and the core is put back before the list is read, both under one lock.
//!
//! **Waking the driver.** Its future's waker sets a flag, and interrupts the lane if it was down. The driver looks at the flag before each task and, last of all,
//! between the books and the wait. So either it sees the flag, or its wait sees the interruption.
//!
//! | field | lock |
//! |---|---|
//! | `core`, `waiting`, `over` | the slot's mutex, a leaf: wakes happen after it |

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Wake, Waker},
};

use crate::{
    coop,
    runtime::{
        Handle,
        block_on::{Polled, Signal},
    },
    shared::Shared,
    sync::{Arc, AtomicBool, Mutex, Ordering, lock},
    worker::{self, Core},
};

/// Where the core lies when nobody drives.
#[derive(Default)]
pub(crate) struct CoreSlot(Mutex<Slot>);

#[derive(Default)]
struct Slot {
    core: Option<Core>,
    waiting: Vec<Arc<Signal>>,
    /// There is, or will be, no core any more.
    over: bool,
}

impl CoreSlot {
    /// Puts the core there for the first time.
    pub(crate) fn fill(&self, core: Core) {
        lock(&self.0).core = Some(core);
    }

    /// The core, if nobody has it. If somebody does, `signal` is woken when it is back.
    pub(super) fn take_or_wait(&self, signal: &Arc<Signal>) -> Option<Core> {
        let mut slot = lock(&self.0);
        if let Some(core) = slot.core.take() {
            return Some(core);
        }
        if !slot.over && !slot.waiting.iter().any(|waiting| Arc::ptr_eq(waiting, signal)) {
            slot.waiting.push(signal.clone());
        }
        None
    }

    /// Nobody by that name waits any more.
    pub(super) fn forget(&self, signal: &Arc<Signal>) {
        lock(&self.0).waiting.retain(|waiting| !Arc::ptr_eq(waiting, signal));
    }

    /// Puts the core back. If the runtime has ended meanwhile it goes, and cleans up.
    fn put(&self, core: Core) {
        let shared = core.shared.clone();
        let (gone, waiting) = {
            let mut slot = lock(&self.0);
            slot.over |= !shared.is_running();
            let gone = if slot.over {
                Some(core)
            } else {
                slot.core = Some(core);
                None
            };
            (gone, std::mem::take(&mut slot.waiting))
        };
        waiting.iter().for_each(Wake::wake_by_ref);
        gone.into_iter().for_each(worker::retire);
    }

    /// The runtime has ended: if nobody drives, the core goes here. (If somebody does, it sees the end itself.)
    pub(crate) fn end(&self) {
        let (core, waiting) = {
            let mut slot = lock(&self.0);
            slot.over = true;
            (slot.core.take(), std::mem::take(&mut slot.waiting))
        };
        waiting.iter().for_each(Wake::wake_by_ref);
        core.into_iter().for_each(worker::retire);
    }
}

/// Wakes the driver.
struct Call {
    shared: Arc<Shared>,
    called: AtomicBool,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: the poll sees what was written before the wake.
        if !self.called.swap(true, Ordering::AcqRel) {
            self.shared.lanes[0].interrupt();
        }
    }
}

/// What a thread does that has the core.
pub(crate) enum Driven<T> {
    /// The future is ready.
    Ready(T),
    /// The runtime has ended before.
    Ended,
}

/// Drives the runtime until `future` is ready, and gives the core back.
pub(crate) fn drive<F: Future>(
    handle: &Handle,
    core: Core,
    future: std::pin::Pin<&mut F>,
) -> Driven<F::Output> {
    struct GiveBack<'a> {
        slot: &'a CoreSlot,
        core: Option<Core>,
    }
    impl Drop for GiveBack<'_> {
        fn drop(&mut self) {
            if let Some(core) = self.core.take() {
                self.slot.put(core);
            }
        }
    }
    let shared = handle.shared.clone();
    let Some(slot) = &shared.core_slot else { unreachable!("only a runtime with a slot has given the core") };
    let give_back = GiveBack { slot, core: Some(core) };
    let Some(core) = &give_back.core else { unreachable!("it was put there a line above") };
    let call = Arc::new(Call { shared: shared.clone(), called: AtomicBool::new(true) });
    let waker = Waker::from(call.clone());
    let mut future = pin!(future);
    let mut output = None;
    worker::drive(core, &call.called, || {
        let _polled = Polled::by(&waker);
        let polled = coop::with_budget(|| future.as_mut().poll(&mut Context::from_waker(&waker)));
        if let Poll::Ready(ready) = polled {
            output = Some(ready);
        }
        output.is_some()
    });
    match output {
        Some(output) => Driven::Ready(output),
        None => Driven::Ended,
    }
}
