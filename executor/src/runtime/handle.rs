//! [`Handle`]: a runtime as everybody but its owner has it; entering it; spawning into it.

use std::{fmt, future::Future, marker::PhantomData, panic::Location};

use crate::{
    blocking,
    cancel::CancellationToken,
    context,
    runtime::{Dump, Metrics, block_on},
    shared::Shared,
    sync::Arc,
    task::{self, JoinHandle},
};

/// A reference to a runtime, cheap to clone. It doesn't keep the runtime running: that's what [`Runtime`](crate::Runtime) is for.
#[derive(Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Handle {
    /// The runtime this code runs in.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    #[track_caller]
    pub fn current() -> Self {
        match context::try_current() {
            Some(handle) => handle,
            None => no_runtime(),
        }
    }

    /// The runtime this code runs in: a task, a `block_on`, or under an [`enter`](Self::enter) guard.
    ///
    /// # Errors
    ///
    /// Outside of a runtime.
    pub fn try_current() -> Result<Self, TryCurrentError> {
        context::try_current().ok_or(TryCurrentError(()))
    }

    /// Whether the runtime has worker threads.
    pub fn runtime_flavor(&self) -> RuntimeFlavor {
        match self.shared.core_slot {
            Some(_) => RuntimeFlavor::CurrentThread,
            None => RuntimeFlavor::MultiThread,
        }
    }

    /// Makes this the current runtime of this thread until the guard is dropped.
    ///
    /// Guards may be dropped in any order; the current runtime is that of the youngest that is left.
    ///
    /// ```
    /// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// let guard = runtime.handle().enter();
    /// let task = egret_executor::spawn(async { 5 });
    /// drop(guard);
    /// assert_eq!(runtime.block_on(task).unwrap(), 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn enter(&self) -> EnterGuard<'_> {
        EnterGuard { _entry: context::enter(self), handle: PhantomData }
    }

    /// Spawns a task on this runtime. See [`spawn`]; once the runtime has ended the task is dropped at once.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        task::spawn(&self.shared, future)
    }

    /// Runs `f` on a thread where it may block. See [`spawn_blocking`](crate::task::spawn_blocking).
    #[track_caller]
    pub fn spawn_blocking<F, R>(&self, f: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        blocking::spawn_on(self, f)
    }

    /// Runs `future` on this thread until it is complete. See [`Runtime::block_on`](crate::Runtime::block_on).
    ///
    /// Once the runtime has ended, sockets in it give errors and sleeps are over at once.
    ///
    /// # Panics
    ///
    /// If `future` does, and if this thread is a worker or already inside a `block_on`.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        block_on::block_on(self, future)
    }

    /// The token that [`Runtime::shutdown`](crate::Runtime::shutdown) cancels before it waits: for tasks that want to end in their own time. A drop of the runtime doesn't
    /// cancel it.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.shared.shutdown_token.clone()
    }

    /// What there is: every task, where it was spawned, what it waits for. See [`Dump`].
    ///
    /// It takes no notice of anything before it is called, so it costs nothing until then; then it looks at every task, socket and timer, about 35 us
    /// for each hundred tasks, and keeps each of their locks for a moment.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// let task = egret_executor::task::Builder::new()
    ///     .name("sleeper")
    ///     .spawn_on(egret_executor::time::sleep(Duration::from_secs(9)), runtime.handle())?;
    /// while runtime.metrics().waiting_tasks == 0 {
    ///     std::thread::yield_now();
    /// }
    /// // 1 tasks, and 0 that have not waited yet
    /// // task 1024 "sleeper", spawned at src/main.rs:5:6: waits for a timer in 8.99s
    /// println!("{}", runtime.handle().dump());
    /// # assert!(runtime.handle().dump().to_string().contains("waits for a timer in 8."));
    /// # drop(task);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn dump(&self) -> Dump {
        Dump::of(&self.shared)
    }

    /// A snapshot of the runtime's counters.
    pub fn metrics(&self) -> Metrics {
        Metrics::of(&self.shared)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("workers", &self.shared.seats.len()).finish_non_exhaustive()
    }
}

/// There is no runtime here. See [`Handle::try_current`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TryCurrentError(());

impl fmt::Display for TryCurrentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NO_RUNTIME)
    }
}

impl std::error::Error for TryCurrentError {}

/// What a runtime is. See [`Handle::runtime_flavor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuntimeFlavor {
    /// Tasks run in `block_on`, on its thread.
    CurrentThread,
    /// Tasks run on worker threads.
    MultiThread,
}

/// Keeps a runtime current on this thread. See [`Handle::enter`].
#[derive(Debug)]
#[must_use = "the runtime is current only while the guard lives"]
pub struct EnterGuard<'a> {
    _entry: context::Entry,
    handle: PhantomData<&'a Handle>,
}

/// Spawns a task on the current runtime.
///
/// It begins to run at once, on some worker, whether its handle is awaited or not.
///
/// # Panics
///
/// Outside of a runtime; [`Handle::spawn`] works everywhere.
///
/// ```
/// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// runtime.block_on(async {
///     let task = egret_executor::spawn(async { "done" });
///     assert_eq!(task.await.unwrap(), "done");
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match task::spawn_here(future, Location::caller()) {
        Some(handle) => handle,
        None => no_runtime(),
    }
}

const NO_RUNTIME: &str = "no egret runtime here: this must be called from a task, from inside `block_on`, or under `Handle::enter`";

#[cold]
#[track_caller]
fn no_runtime() -> ! {
    std::panic::panic_any(NO_RUNTIME)
}
