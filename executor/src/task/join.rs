//! The handle of a task.

use std::{
    fmt,
    future::Future,
    num::NonZeroUsize,
    panic::{Location, RefUnwindSafe, UnwindSafe},
    pin::Pin,
    ptr::NonNull,
    task::{Context, Poll},
};

use async_task::FallibleTask;

use crate::{
    context, coop,
    task::{Id, JoinError, Meta, harness::Outcome, quiet::quiet_waker},
};

/// Waits for a task's output.
///
/// It is a future of `Result<T, JoinError>`. **Dropping it detaches the task**, which goes on running;
/// [`abort`](Self::abort) ends it.
///
/// # Cancel safety
///
/// Waiting on `&mut handle` is cancel safe: if another branch wins, the output is still there for the next wait.
///
/// # Panics
///
/// Polling it again after it has given its result panics.
///
/// ```
/// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// # runtime.block_on(async {
/// let handle = egret_executor::spawn(async { 6 * 7 });
/// assert_eq!(handle.await.unwrap(), 42);
///
/// let handle = egret_executor::spawn(std::future::pending::<()>());
/// handle.abort();
/// assert!(handle.await.unwrap_err().is_cancelled());
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct JoinHandle<T> {
    /// None only inside of `drop`.
    task: Option<FallibleTask<Outcome<T>, Meta>>,
    meta: MetaPointer,
}

/// Points to the metadata in a task's allocation, which async-task's fallible handle owns but doesn't show. Its lowest bit
/// is set once the result was given: so a handle is two words, which a function returns in registers.
struct MetaPointer(NonNull<Meta>);

const GIVEN: usize = 1;
const _: () = assert!(align_of::<Meta>() > GIVEN);

impl MetaPointer {
    fn untagged(&self) -> NonNull<Meta> {
        // The address of a Meta is more than its tag.
        self.0.map_addr(|address| NonZeroUsize::new(address.get() & !GIVEN).expect("no Meta at 0"))
    }

    fn is_given(&self) -> bool {
        self.0.addr().get() & GIVEN != 0
    }

    fn give(&mut self) {
        self.0 = self.0.map_addr(|address| address | GIVEN);
    }
}

const _: () = assert!(size_of::<JoinHandle<[u64; 9]>>() == 2 * size_of::<usize>());

// SAFETY: it stands for a `&Meta`, and Meta is Sync (asserted where tasks are made).
unsafe impl Send for MetaPointer {}
// SAFETY: as above.
unsafe impl Sync for MetaPointer {}

// A task's panic doesn't pass through its handle, it comes out as a value.
impl<T> UnwindSafe for JoinHandle<T> {}
impl<T> RefUnwindSafe for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    pub(crate) fn new(task: async_task::Task<Outcome<T>, Meta>) -> Self {
        Self { meta: MetaPointer(NonNull::from(task.metadata())), task: Some(task.fallible()) }
    }

    fn meta(&self) -> &Meta {
        // SAFETY: the allocation lives at least until `task` is detached, which happens in `drop`; nobody ever makes a
        // mutable reference to the metadata.
        unsafe { self.meta.untagged().as_ref() }
    }

    /// Asks the task to end: its future is dropped where it stands, on a worker, at its next wake, which this brings about.
    ///
    /// The handle then gives [`JoinError::is_cancelled`], after the future has been dropped. A task that has already ended
    /// keeps its output, and one whose poll is under way and gives an output keeps that. Aborting twice is aborting once.
    pub fn abort(&self) {
        self.meta().abort();
    }

    /// Whether the task has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        self.task.as_ref().is_none_or(FallibleTask::is_finished)
    }

    /// The task's id.
    pub fn id(&self) -> Id {
        self.meta().id
    }

    /// Where the task was spawned.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.meta().spawned_at
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.meta.is_given(), "JoinHandle polled after completion");
        let unit = std::task::ready!(coop::poll_proceed(cx));
        let this = &mut *self;
        let task = this.task.as_mut().expect("it goes only in drop");
        // async-task ends the process if the waker it is given panics. The runtime's own don't, others are wrapped.
        let polled = if context::is_own_waker(cx.waker()) {
            Pin::new(task).poll(cx)
        } else {
            Pin::new(task).poll(&mut Context::from_waker(&quiet_waker(cx.waker())))
        };
        let outcome = std::task::ready!(polled);
        unit.made_progress();
        this.meta.give();
        Poll::Ready(match outcome {
            Some(outcome) => outcome.into_inner(),
            // Its Runnable was dropped: the end of the runtime.
            None => Err(JoinError::cancelled(this.id())),
        })
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("JoinHandle");
        f.field("id", &self.id());
        if let Some(name) = self.meta().shared.names.get(self.id()) {
            f.field("name", &name);
        }
        f.field("spawned_at", &format_args!("{}", self.spawned_at()))
            .field("finished", &self.is_finished())
            .finish()
    }
}
