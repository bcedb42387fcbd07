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
//! worker threads, until it is woken or the core comes back: who gives the core back wakes everybody who waits for it.
//!
//! **Waking the driver.** Its future's waker raises a flag, and interrupts the lane if it was down. The driver looks at the flag before each task and, last of all,
//! between the books and the wait.
//!
//! Both are in `handover`, with their states and locks.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Wake, Waker},
};

use crate::{
    coop,
    handover::{self, Afterwards, Called},
    runtime::{
        Handle,
        block_on::{Polled, Signal},
    },
    shared::Shared,
    sync::Arc,
    worker::{self, Core},
};

/// Where the core lies when nobody drives.
pub(crate) type CoreSlot = handover::CoreSlot<Core, Signal>;

/// Does what is left to do after the slot's lock.
pub(crate) fn afterwards(Afterwards { gone, waiting }: Afterwards<Core, Signal>) {
    waiting.iter().for_each(Wake::wake_by_ref);
    gone.into_iter().for_each(worker::retire);
}

/// Wakes the driver.
struct Call {
    shared: Arc<Shared>,
    called: Called,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.called.call() {
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
                afterwards(self.slot.put(core));
            }
        }
    }
    let shared = handle.shared.clone();
    let Some(slot) = &shared.core_slot else { unreachable!("only a runtime with a slot has given the core") };
    let give_back = GiveBack { slot, core: Some(core) };
    let Some(core) = &give_back.core else { unreachable!("it was put there a line above") };
    let call = Arc::new(Call { shared: shared.clone(), called: Called::raised() });
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
