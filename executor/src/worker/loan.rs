//! [`block_in_place`]: a task that is going to block lends its worker's core to another thread.
//!
//! ```text
//!   the task's thread                                    a thread of the blocking pool
//!   ─────────────────                                    ─────────────────────────────
//!   polls the task ─► block_in_place: OFFERED ─────────► TAKEN: is the worker: queue, lane, timers
//!                     f, then the rest of the poll,       │
//!                     without a core: wakes go to         │
//!                     the injector                        │
//!   the poll is over: OFFERED? CLOSED: nobody came        │
//!                     TAKEN? calls, interrupts the lane,  ▼
//!                     and waits ◄──────────────────────── BACK, after the poll it is in
//!   is the worker again
//! ```
//!
//! The thread that was lent from goes on with its task whatever the other one does; only when its poll is over, and nobody depends on this thread any more, it waits for the
//! core. So tasks that block in place and wait for each other don't lock each other out. The other thread may lend the core in its turn.
//!
//! **The core** is one thread's at a time. It stays where it is, in the frames below the poll; the other thread reaches it by a pointer between TAKEN and BACK.
//! The first thread doesn't touch it between OFFERED and BACK or CLOSED: its thread-local is null meanwhile, and the worker's loop is below the poll. Each
//! change of hands is under the loan's lock.
//!
//! States, lock and call are in `handover`.

use std::{cell::RefCell, ptr::NonNull};

use super::{Core, drive};
use crate::{
    blocking,
    context::{self, Place},
    handover::Exchange,
    runtime::Handle,
    sync::Arc,
};

struct Loan {
    core: NonNull<Core>,
    exchange: Exchange,
}

// SAFETY: the core may be another thread's (all of it may be sent: asserted below), one at a time: see the module's text.
unsafe impl Send for Loan {}
// SAFETY: as above; the pointer is followed only by the thread that has changed the state to Taken.
unsafe impl Sync for Loan {}

const _: fn() = || {
    fn may_be_sent<T: Send>() {}
    may_be_sent::<Core>();
};

thread_local! {
    /// What this thread has lent, of the task that it polls.
    static LENT: RefCell<Option<Arc<Loan>>> = const { RefCell::new(None) };
}

/// Runs `f`, which may block, here, and lets another thread do this worker's work meanwhile.
///
/// For code that blocks and can't be moved to another thread, as [`spawn_blocking`](crate::task::spawn_blocking) would: it may borrow, and it may call
/// [`Handle::block_on`]. Other futures that the same task polls (in a `join!`, say) wait for it, since they are
/// in the same poll. The thread that takes over is one of the [pool](crate::Builder::max_blocking_threads); if none can be had the work waits, until the
/// [watch](crate::Builder::stall_watch) finds it. Lending takes some 10 us.
///
/// Outside of tasks on worker threads (also in a hook, or in the `wake` of a waker of one's own) `f` is just called.
///
/// # Panics
///
/// If `f` does, and on a [current-thread](crate::Builder::new_current_thread) runtime, where nobody could take over.
///
/// ```
/// use egret_executor::{Handle, spawn, task::block_in_place};
///
/// // Only one worker, which the first task keeps: yet the second one runs.
/// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// let task = runtime.spawn(async {
///     block_in_place(|| Handle::current().block_on(spawn(async { 7 }))).unwrap()
/// });
/// assert_eq!(runtime.block_on(task).unwrap(), 7);
/// # Ok::<(), std::io::Error>(())
/// ```
#[track_caller]
pub fn block_in_place<F, R>(f: F) -> R
where
    F: FnOnce() -> R,
{
    let place = match context::place() {
        Place::Outside => return f(),
        Place::Blocking => Place::Blocking,
        Place::BlockOn => {
            let drives = context::with_worker(|core| core.is_some());
            assert!(!drives, "block_in_place: a current-thread runtime has nobody to take over");
            Place::Outside
        }
        Place::Worker => {
            lend();
            Place::Blocking
        }
    };
    let _place = context::set_place(place);
    context::in_place(f)
}

/// Offers this thread's core, if it still has it.
fn lend() {
    // Hooks and foreign wakers run on a worker, too, in the middle of what it does with the core.
    if !context::is_polling() {
        return;
    }
    let Some(pointer) = context::take_worker() else { return };
    // SAFETY: it was this thread's worker until the line above, and stays where it is until the poll that this runs in is over: the worker's
    // loop looks whether it was lent right after it.
    let core = unsafe { pointer.as_ref() };
    let shared = core.shared.clone();
    shared.lanes[core.index].suspend();
    let loan = Arc::new(Loan { core: pointer, exchange: Exchange::default() });
    LENT.with(|lent| *lent.borrow_mut() = Some(loan.clone()));
    // Detached: the loan's state is all that counts.
    drop(blocking::spawn_on(&Handle { shared }, move || loan.serve()));
}

/// The poll is over in which the core was lent: gets it back.
#[cold]
pub(super) fn reclaim(core: &Core) {
    let Some(loan) = LENT.with(RefCell::take) else { unreachable!("what was taken was lent") };
    let lane = &core.shared.lanes[core.index];
    loan.exchange.reclaim(|| lane.interrupt());
    lane.resume();
    core.shared.seats[core.index].signs.set_thread();
    // SAFETY: it is the core that `run` or `drive` has set on this thread, with the same promise.
    unsafe { context::set_worker(core) };
}

impl Loan {
    /// On a thread of the pool: is the worker, until the core is wanted back or the runtime ends.
    fn serve(&self) {
        struct GiveBack<'a>(&'a Loan);
        impl Drop for GiveBack<'_> {
            fn drop(&mut self) {
                self.0.exchange.give_back();
            }
        }
        if !self.exchange.take() {
            return;
        }
        let _give_back = GiveBack(self);
        let _place = context::set_place(Place::Worker);
        // SAFETY: Taken: the core is this thread's, and stays where it is until `_give_back` is dropped.
        let core = unsafe { self.core.as_ref() };
        drive(core, &self.exchange.called, || true);
    }
}
