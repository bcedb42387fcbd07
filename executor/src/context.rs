//! The thread-locals: which runtime this thread stands in, which worker it is, what it is polling.
//!
//! | cell | holds | set by |
//! |---|---|---|
//! | `ENTERED` | the stack of runtimes entered on this thread, the last is the current one | `enter`, on workers, inside `block_on`, under `Handle::enter` |
//! | `THREAD.worker` | the worker's core, null elsewhere | a worker thread, from its first to its last look at its queues |
//! | `THREAD.place` | whether this thread may block | worker threads for life, `block_on` while it runs |
//! | `THREAD.polled` | the data pointer of the waker of the task (or `block_on`) that is being polled | the worker around a poll, `block_on` |
//! | `THREAD.budget` | what is left of the poll budget | see `coop` |
//!
//! The cells that each poll touches lie in one block: each look-up of a thread-local from another crate is a call, and with
//! one for a poll instead of four a yield took a quarter less.

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
    ptr,
};

use crate::{coop, runtime::Handle, shared::Shared, sync::Arc, worker::Core};

thread_local! {
    static ENTERED: RefCell<Entered> = const { RefCell::new(Entered { stack: Vec::new(), next: 0 }) };
    static THREAD: Thread = const {
        Thread {
            worker: Cell::new(ptr::null()),
            polled: Cell::new(ptr::null()),
            budget: Cell::new(coop::UNLIMITED),
            place: Cell::new(Place::Outside),
        }
    };
}

struct Thread {
    worker: Cell<*const Core>,
    polled: Cell<*const ()>,
    budget: Cell<u8>,
    place: Cell<Place>,
}

struct Entered {
    stack: Vec<(u64, Handle)>,
    next: u64,
}

/// What a thread is to the runtimes of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Any thread.
    Outside,
    /// It is inside `block_on`.
    BlockOn,
    /// It is a worker.
    Worker,
    /// It is a worker whose task blocks in place: another thread does its work.
    Blocking,
}

/// Whether this is a worker's thread, whatever its task does.
pub(crate) fn is_worker_thread() -> bool {
    matches!(place(), Place::Worker | Place::Blocking)
}

/// The runtime this thread stands in.
#[inline]
pub(crate) fn try_current() -> Option<Handle> {
    with_current(Handle::clone)
}

/// Calls `f` with the runtime this thread stands in. `f` must not call user code.
#[inline]
pub(crate) fn with_current<R>(f: impl FnOnce(&Handle) -> R) -> Option<R> {
    let called = ENTERED.try_with(|entered| match entered.borrow().stack.last() {
        Some((_, handle)) => Ok(f(handle)),
        None => Err(f),
    });
    // A thread that is being torn down stands in none. What `f` has captured may be a user's, and is dropped here, after the borrow.
    called.ok().and_then(Result::ok)
}

/// Makes a runtime the current one of this thread until the guard is dropped.
///
/// Guards may be dropped in any order: each takes its own entry off the stack.
pub(crate) fn enter(handle: &Handle) -> Entry {
    let handle = handle.clone();
    let id = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        let id = entered.next;
        entered.next += 1;
        entered.stack.push((id, handle));
        id
    });
    Entry { id: id.ok(), not_send: PhantomData }
}

/// One entry of the stack of runtimes.
#[derive(Debug)]
pub(crate) struct Entry {
    /// None on a thread that is being torn down.
    id: Option<u64>,
    not_send: PhantomData<*const ()>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        // The handle may be the runtime's last: drop it after the borrow.
        let _handle = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            let at = entered.stack.iter().rposition(|(other, _)| *other == id)?;
            Some(entered.stack.remove(at))
        });
    }
}

/// Which worker of that runtime this thread is.
#[inline]
pub(crate) fn worker_index(shared: &Shared) -> Option<usize> {
    with_worker(|core| core.filter(|core| ptr::eq(Arc::as_ptr(&core.shared), shared)).map(|core| core.index))
}

/// Calls `f` with this thread's core if it is a worker's.
#[inline]
pub(crate) fn with_worker<R>(f: impl FnOnce(Option<&Core>) -> R) -> R {
    let core = THREAD.with(|thread| thread.worker.get());
    // SAFETY: not null only between `set_worker` and `clear_worker`, for which set_worker's caller vouches that the core
    // stays where it is; a shared reference is all that anybody makes of it, and only on this thread.
    f(unsafe { core.as_ref() })
}

/// Makes this thread the worker that owns `core`.
///
/// # Safety
///
/// `core` neither moves nor dies before `clear_worker` was called on this thread.
pub(crate) unsafe fn set_worker(core: *const Core) {
    THREAD.with(|thread| thread.worker.set(core));
}

/// This thread is a worker's and serves no queue, until somebody calls [`set_worker`] again. The core that it has served.
pub(crate) fn take_worker() -> Option<ptr::NonNull<Core>> {
    ptr::NonNull::new(THREAD.with(|thread| thread.worker.replace(ptr::null())).cast_mut())
}

/// This thread serves no queue any more.
pub(crate) fn clear_worker() {
    THREAD.with(|thread| thread.worker.set(ptr::null()));
}

/// What this thread is.
pub(crate) fn place() -> Place {
    THREAD.with(|thread| thread.place.get())
}

/// Says what this thread is until the guard is dropped.
pub(crate) fn set_place(place: Place) -> PlaceGuard {
    PlaceGuard { before: THREAD.with(|thread| thread.place.replace(place)), not_send: PhantomData }
}

/// Puts the former place back.
pub(crate) struct PlaceGuard {
    before: Place,
    not_send: PhantomData<*const ()>,
}

impl Drop for PlaceGuard {
    fn drop(&mut self) {
        THREAD.with(|thread| thread.place.set(self.before));
    }
}

/// Says whose poll this thread is in; null for none.
pub(crate) fn set_polled(waker_data: *const ()) {
    THREAD.with(|thread| thread.polled.set(waker_data));
}

/// Whether this thread is in a poll: of a task, or of `block_on`'s future.
pub(crate) fn is_polling() -> bool {
    THREAD.with(|thread| !thread.polled.get().is_null())
}

/// Whether `waker` is the runtime's own for what this thread polls right now.
#[inline]
pub(crate) fn is_own_waker(waker: &std::task::Waker) -> bool {
    let polled = THREAD.with(|thread| thread.polled.get());
    // Null says that nothing is polled; a foreign waker may carry null, too.
    !polled.is_null() && waker.data() == polled
}

/// Runs a worker's poll of the task with that waker, on a fresh budget. `poll` doesn't unwind. Whether the worker's core was lent meanwhile.
#[inline]
pub(crate) fn poll_task(waker_data: *const (), poll: impl FnOnce()) -> bool {
    THREAD.with(|thread| {
        thread.polled.set(waker_data);
        thread.budget.set(coop::BUDGET);
        poll();
        // What runs on this thread until the next poll (wakers, drops at the end of the runtime) has no limit.
        thread.budget.set(coop::UNLIMITED);
        thread.polled.set(ptr::null());
        thread.worker.get().is_null()
    })
}

/// Runs `f`, which may block and may enter a runtime, inside of a poll: without a budget, and as if nothing were polled.
pub(crate) fn in_place<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(*const (), u8);
    impl Drop for Restore {
        fn drop(&mut self) {
            THREAD.with(|thread| {
                thread.polled.set(self.0);
                thread.budget.set(self.1);
            });
        }
    }
    let _restore = THREAD
        .with(|thread| Restore(thread.polled.replace(ptr::null()), thread.budget.replace(coop::UNLIMITED)));
    f()
}

/// Runs the poll of a local set's task with that waker, inside of the poll of whatever drives the set, on a budget of its own.
#[inline]
pub(crate) fn poll_local(waker_data: *const (), poll: impl FnOnce()) {
    struct Outer(*const ());
    impl Drop for Outer {
        fn drop(&mut self) {
            set_polled(self.0);
        }
    }
    let _outer = Outer(THREAD.with(|thread| thread.polled.replace(waker_data)));
    coop::with_budget(poll);
}

/// Gives this thread's poll budget to `f`.
#[inline]
pub(crate) fn with_budget<R>(f: impl FnOnce(&Cell<u8>) -> R) -> R {
    THREAD.with(|thread| f(&thread.budget))
}
