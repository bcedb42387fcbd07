//! Making a task, and the way of its wakes into a run queue.

use std::{future::Future, panic::Location, ptr::NonNull};

use async_task::{Runnable, Schedule, ScheduleInfo, WithInfo};

use crate::{
    context,
    queue::Pointer,
    shared::{Injected, Shared},
    sync::Arc,
    task::{
        AbortHandle, Id, JoinHandle,
        harness::Harness,
        state::State,
        trace::{SpanId, Trace},
    },
};

/// What a task knows about itself; lies in its one allocation.
pub(crate) struct Meta {
    /// Keeps the runtime's shared part as long as anything of the task exists. The circle (queue, task, runtime) is
    /// broken at the end of the runtime, which empties the queues.
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: Id,
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) state: State,
    span: SpanId,
}

/// Points to a task's `Meta`. To be looked at only as long as something of the task (a handle, a waker) is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MetaPointer(NonNull<Meta>);

// SAFETY: it stands for a `&Meta`, and Meta is Sync (asserted below).
unsafe impl Send for MetaPointer {}
// SAFETY: as above.
unsafe impl Sync for MetaPointer {}

impl MetaPointer {
    pub(crate) fn new(meta: &Meta) -> Self {
        Self(NonNull::from(meta))
    }

    /// # Safety
    ///
    /// The task's memory outlives `'a`: a handle or a waker of it is kept as long. Nobody ever makes a mutable reference to a Meta
    /// but its own drop.
    pub(crate) unsafe fn get<'a>(self) -> &'a Meta {
        // SAFETY: as the caller says.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn into_raw(self) -> NonNull<Meta> {
        self.0
    }
}

impl Drop for Meta {
    fn drop(&mut self) {
        if self.state.is_linked() {
            self.shared.links.forget(self.id.get());
        }
    }
}

/// The right to poll a task.
pub(crate) type Task = Runnable<Meta>;

// SAFETY: Runnable::into_raw and from_raw are made for this; a Runnable may be moved to another thread (`make` below takes
// only futures that may; whoever calls `make_local` vouches for the others).
unsafe impl Pointer for Task {
    fn into_ptr(self) -> NonNull<()> {
        self.into_raw()
    }

    unsafe fn from_ptr(pointer: NonNull<()>) -> Self {
        // SAFETY: the caller hands in, once, what into_raw has given.
        unsafe { Runnable::from_raw(pointer) }
    }
}

/// What `spawn_unchecked` can't see: the metadata is reached from every thread.
const _: fn() = || {
    fn shared_by_threads<T: Send + Sync>() {}
    shared_by_threads::<Meta>();
};

/// Makes a task of `future` and queues it; if the runtime is ending, drops it instead.
#[inline]
#[track_caller]
pub(crate) fn spawn<F>(shared: &Arc<Shared>, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn_with_id(shared, future, Id::next())
}

/// [`spawn`] of a task whose id is known before it.
#[inline]
#[track_caller]
pub(crate) fn spawn_with_id<F>(shared: &Arc<Shared>, future: F, id: Id) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (handle, begun) = begin(shared, future, Location::caller(), id);
    begun.finish();
    handle
}

/// [`spawn`] on the runtime this thread stands in; none if it stands in none.
#[inline]
pub(crate) fn spawn_here<F>(
    future: F,
    spawned_at: &'static Location<'static>,
) -> Option<JoinHandle<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let begun = context::with_current(|current| {
        let shared = &current.shared;
        // Who is told of a spawn may do anything: not while the thread's current runtime is borrowed.
        if shared.observer.is_some() || cfg!(feature = "tracing") {
            return Err((shared.clone(), future));
        }
        Ok(begin(shared, future, spawned_at, Id::next()))
    })?;
    let (handle, begun) = match begun {
        Ok(begun) => begun,
        Err((shared, future)) => begin(&shared, future, spawned_at, Id::next()),
    };
    begun.finish();
    Some(handle)
}

/// What is left to do after [`begin`].
#[must_use]
enum Begun {
    Queued,
    /// The runtime is ending: the task, with its future, is to be dropped.
    Refused(Task),
    /// It has stopped meanwhile: what is in its injector is to be dropped.
    Late(Arc<Shared>),
}

impl Begun {
    /// Runs user code: the drop of futures.
    #[inline]
    fn finish(self) {
        match self {
            Begun::Queued => {}
            Begun::Refused(task) => drop(task),
            Begun::Late(shared) => shared.drop_late(),
        }
    }
}

/// The part of a spawn that runs no user code, so that the thread's current runtime can stay borrowed meanwhile: a
/// reference of its own would cost two locked instructions on a line that all threads share.
#[inline]
fn begin<F>(
    shared: &Arc<Shared>,
    future: F,
    spawned_at: &'static Location<'static>,
    id: Id,
) -> (JoinHandle<F::Output>, Begun)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (task, handle) = make(shared, future, spawned_at, id, State::default(), "task", WithInfo(schedule));
    (handle, begin_with(shared, task))
}

/// A new task's way into a queue.
#[inline]
fn begin_with(shared: &Arc<Shared>, task: Task) -> Begun {
    // Not `task.schedule()`: here the runtime is at hand and needn't be reached through the task.
    if let Some(observer) = &shared.observer {
        observer.spawned(task.metadata());
    }
    if shared.is_running() {
        queue(shared, task)
    } else {
        shared.count_spawned(None);
        Begun::Refused(task)
    }
}

/// [`spawn`] of a task that others than its handle may abort.
pub(crate) fn spawn_abortable<F>(
    shared: &Arc<Shared>,
    future: F,
    spawned_at: &'static Location<'static>,
    id: Id,
) -> (JoinHandle<F::Output>, AbortHandle)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (task, handle) = make(shared, future, spawned_at, id, State::watched(), "task", WithInfo(schedule));
    let abort = AbortHandle::of_task(task.metadata(), task.waker());
    begin_with(shared, task).finish();
    (handle, abort)
}

/// A task that is run by the pool of blocking calls: its future is ready at its first poll, so it is never scheduled again.
pub(crate) fn blocking<F>(
    shared: &Arc<Shared>,
    future: F,
    spawned_at: &'static Location<'static>,
) -> (Task, JoinHandle<F::Output>)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let made = make(shared, future, spawned_at, Id::next(), State::watched(), "blocking", |task: Task| {
        let shared = task.metadata().shared.clone();
        shared.blocking.push(task);
    });
    shared.count_spawned(None);
    if let Some(observer) = &shared.observer {
        observer.spawned(made.0.metadata());
    }
    made
}

/// A task of a local set, unscheduled. Its Runnables come to `schedule`, on whatever thread it is woken.
///
/// # Safety
///
/// The future isn't `Send`: every Runnable of the task, the one that is returned included, is run and dropped on this thread only.
#[inline]
pub(crate) unsafe fn make_local<F>(
    shared: &Arc<Shared>,
    future: F,
    spawned_at: &'static Location<'static>,
    id: Id,
    schedule: impl Schedule<Meta> + Send + Sync + 'static,
) -> (Task, JoinHandle<F::Output>)
where
    F: Future + 'static,
    F::Output: 'static,
{
    // SAFETY: the caller keeps the Runnables on this thread. The output is taken or dropped by its handle, which is Send only if
    // the output is, or by the Runnable.
    let made = unsafe { make_anywhere(shared, future, spawned_at, id, State::default(), "local", schedule) };
    shared.count_spawned(None);
    if let Some(observer) = &shared.observer {
        observer.spawned(made.0.metadata());
    }
    made
}

/// The task, unscheduled.
#[inline]
fn make<F>(
    shared: &Arc<Shared>,
    future: F,
    spawned_at: &'static Location<'static>,
    id: Id,
    state: State,
    kind: &'static str,
    schedule: impl Schedule<Meta> + Send + Sync + 'static,
) -> (Task, JoinHandle<F::Output>)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    // SAFETY: F and its output are Send.
    unsafe { make_anywhere(shared, future, spawned_at, id, state, kind, schedule) }
}

/// # Safety
///
/// The future is Send, or all of the task's Runnables are run and dropped on this thread.
#[inline]
unsafe fn make_anywhere<F>(
    shared: &Arc<Shared>,
    future: F,
    spawned_at: &'static Location<'static>,
    id: Id,
    state: State,
    kind: &'static str,
    schedule: impl Schedule<Meta> + Send + Sync + 'static,
) -> (Task, JoinHandle<F::Output>)
where
    F: Future + 'static,
    F::Output: 'static,
{
    let trace = Trace::new(shared, kind, id, spawned_at, size_of::<F>());
    let meta = Meta { shared: shared.clone(), id, spawned_at, state, span: trace.id() };
    // SAFETY: the four demands of spawn_unchecked. The future may be moved to another thread, or isn't: so says the caller; the
    // reference to Meta beside it may, because Meta is Sync (asserted above). What it borrows outlives its Runnable: F is 'static, and the
    // metadata lies in the allocation that the Runnable keeps; async-task drops the future before the metadata, and the
    // output, which outlives the future, doesn't borrow from it (T is 'static). The schedule function is Send, Sync and 'static.
    let (task, handle) = unsafe {
        async_task::Builder::new()
            .metadata(meta)
            .spawn_unchecked(move |meta| Harness::new(meta, future, trace), schedule)
    };
    (task, JoinHandle::new(handle))
}

fn queue(shared: &Arc<Shared>, task: Task) -> Begun {
    context::with_worker(|core| match core {
        Some(core) if Arc::ptr_eq(&core.shared, shared) => {
            shared.count_spawned(Some(core));
            core.schedule_new(task);
            Begun::Queued
        }
        _ => {
            shared.count_spawned(None);
            match shared.inject(task) {
                Injected::Queued => Begun::Queued,
                Injected::Late => Begun::Late(shared.clone()),
            }
        }
    })
}

/// Puts a task that was woken (or spawned) into a run queue.
///
/// Whoever takes it out may finish and free it before this returns, and with it, perhaps, the last reference to the runtime.
/// So nothing is touched through the task after the push: a worker has the runtime through its own core, everybody else
/// takes a reference for the duration of the call.
fn schedule(task: Task, info: ScheduleInfo) {
    task.metadata().span.wakes();
    context::with_worker(|core| {
        let shared = &task.metadata().shared;
        match core {
            Some(core) if Arc::ptr_eq(&core.shared, shared) => core.schedule(task, info),
            _ => {
                let shared = shared.clone();
                shared.schedule(task);
            }
        }
    });
}
