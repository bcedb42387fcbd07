//! The handle of a task.

use std::{
    fmt,
    future::Future,
    num::NonZeroUsize,
    panic::{Location, RefUnwindSafe, UnwindSafe},
    pin::Pin,
    ptr::NonNull,
    task::{Context, Poll, Waker},
};

use async_task::FallibleTask;

use crate::{
    context, coop,
    task::{AbortHandle, Id, JoinError, Meta, harness::Outcome, quiet::quiet_waker, spawn::MetaPointer},
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
    meta: Tagged,
}

/// A [`MetaPointer`] whose lowest bit is set once the result was given: so a handle is two words, which a function returns in
/// registers. async-task's fallible handle owns the metadata but doesn't show it.
struct Tagged(NonNull<Meta>);

const GIVEN: usize = 1;
const _: () = assert!(align_of::<Meta>() > GIVEN);

impl Tagged {
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
unsafe impl Send for Tagged {}
// SAFETY: as above.
unsafe impl Sync for Tagged {}

// A task's panic doesn't pass through its handle, it comes out as a value.
impl<T> UnwindSafe for JoinHandle<T> {}
impl<T> RefUnwindSafe for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    pub(crate) fn new(task: async_task::Task<Outcome<T>, Meta>) -> Self {
        Self { meta: Tagged(MetaPointer::new(task.metadata()).into_raw()), task: Some(task.fallible()) }
    }

    /// A poll that costs no unit of the budget, with a waker that doesn't panic.
    #[inline(always)]
    pub(crate) fn poll_with(&mut self, waker: &Waker) -> Poll<Result<T, JoinError>> {
        let task = self.task.as_mut().expect("it goes only in drop");
        let outcome = std::task::ready!(Pin::new(task).poll(&mut Context::from_waker(waker)));
        self.meta.give();
        Poll::Ready(match outcome {
            Some(outcome) => outcome.into_inner(),
            // Its Runnable was dropped: the end of the runtime.
            None => Err(JoinError::cancelled(self.id())),
        })
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

    /// Aborts the task from elsewhere, whatever becomes of this handle.
    ///
    /// ```
    /// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// # runtime.block_on(async {
    /// let task = egret_executor::spawn(std::future::pending::<()>());
    /// let abort = task.abort_handle();
    /// std::thread::spawn(move || abort.abort());
    /// assert!(task.await.unwrap_err().is_cancelled());
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle::of_handle(self.meta(), self.is_finished())
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
        // async-task ends the process if the waker it is given panics. The runtime's own don't, others are wrapped.
        let quiet;
        let waker = if context::is_own_waker(cx.waker()) {
            cx.waker()
        } else {
            quiet = quiet_waker(cx.waker());
            &quiet
        };
        let result = std::task::ready!(self.poll_with(waker));
        unit.made_progress();
        Poll::Ready(result)
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
