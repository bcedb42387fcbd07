//! Running a future on a thread that isn't a worker.
//!
//! ```text
//!   poll ── Ready ─► the output
//!     ▲ └── Pending ─► woken?  ── yes ─────────────────┐
//!     │                 │ no: yield, a few times; park │
//!     └─────────────────┴── woken ─────────────────────┘
//! ```
//!
//! It gives the processor away a few times before it parks. On a processor of its own that takes a microsecond or two, and a
//! wake within that time needs no system call. On one that it shares with a worker, that worker goes on with its tasks, where
//! each that is awaited here would wake this thread, which would take the processor, find the next one missing, and park.
//!
//! The thread parks with std's own parker: it isn't a worker, the reactor and the queues are not its business.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use crate::{
    context::{self, Place},
    coop, handover,
    runtime::{
        Handle,
        current_thread::{Driven, drive},
    },
    sync::{Arc, AtomicBool, Ordering},
};

/// How often it yields before it parks. A guess, not adaptive.
const YIELDS: usize = 4;

/// Wakes the thread. `woken` is set by any wake and cleared by the thread before it polls.
pub(crate) struct Signal {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: the poll sees what was written before the wake.
        if !self.woken.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

#[track_caller]
pub(crate) fn block_on<F: Future>(handle: &Handle, future: F) -> F::Output {
    assert!(
        matches!(context::place(), Place::Outside | Place::Blocking),
        "Cannot start a runtime from within a runtime: this thread is already driving tasks, and block_on would block it"
    );
    let _place = context::set_place(Place::BlockOn);
    let _entered = context::enter(handle);
    let signal = Arc::new(Signal { thread: thread::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(signal.clone());
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        // With the current-thread flavour somebody has to be the worker.
        if let Some(slot) = &handle.shared.core_slot
            && let Some(core) = slot.take_or_wait(&signal)
        {
            match drive(handle, core, future.as_mut()) {
                Driven::Ready(output) => return output,
                Driven::Ended => {}
            }
        }
        let _waits = Waits { handle, signal: &signal };
        let polled = Polled::by(&waker);
        if let Poll::Ready(output) = coop::with_budget(|| future.as_mut().poll(&mut cx)) {
            return output;
        }
        drop(polled);
        let mut yields = 0;
        // A parked thread may wake for no reason, or for another's unpark.
        while !signal.woken.swap(false, Ordering::Acquire) {
            if yields < YIELDS {
                yields += 1;
                thread::yield_now();
            } else {
                thread::park();
            }
        }
    }
}

/// `block_on` of a future that is polled only as long as this thread drives a current-thread runtime. False, at once, if another does, or if it has ended before the
/// future was ready.
pub(super) fn try_block_on(handle: &Handle, future: impl Future<Output = ()>) -> bool {
    let Some(core) = handle.shared.core_slot.as_ref().and_then(handover::CoreSlot::take) else {
        return false;
    };
    let _place = context::set_place(Place::BlockOn);
    let _entered = context::enter(handle);
    matches!(drive(handle, core, pin!(future)), Driven::Ready(()))
}

/// Waits for the core, perhaps, until it is dropped.
struct Waits<'a> {
    handle: &'a Handle,
    signal: &'a Arc<Signal>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Some(slot) = &self.handle.shared.core_slot {
            slot.forget(self.signal);
        }
    }
}

/// Says that this thread polls for `block_on` until it is dropped.
pub(super) struct Polled;

impl Polled {
    pub(super) fn by(waker: &Waker) -> Self {
        context::set_polled(waker.data());
        Self
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        context::set_polled(std::ptr::null());
    }
}
