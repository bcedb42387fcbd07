//! What a user holds: [`Builder`], [`Runtime`], [`Handle`].
//!
//! | room | what lives there |
//! |---|---|
//! | `builder` | settings; starting the workers, and undoing that if one can't be started |
//! | `block_on` | running a future on a thread that isn't a worker |
//! | `current_thread` | the flavour without worker threads: whoever is in `block_on` is the worker |
//! | `hooks` | what a user wants to be called for |
//! | `metrics`, `observer` | counters; what a user wants to be told of tasks and polls |
//! | `dump` | what there is, and what it waits for |
//! | `stuck`, `backtrace` | polls that don't come to an end, and what their threads do |
//! | `shutdown`, `report` | the end in its different ways, and what became of the tasks |
//! | `handle` | [`Handle`], entering a runtime, [`spawn`] |

mod backtrace;
mod block_on;
mod builder;
mod current_thread;
mod dump;
mod handle;
mod hooks;
mod metrics;
mod observer;
mod report;
mod shutdown;
mod stuck;

use std::{fmt, future::Future, io, thread};

pub use builder::Builder;
pub(crate) use current_thread::{CoreSlot, afterwards};
pub use dump::{Dump, TaskDump, TaskState, WaitsFor};
pub use egret_reactor::{FeedChoice, FeedKind};
pub use handle::{EnterGuard, Handle, RuntimeFlavor, TryCurrentError, spawn};
pub(crate) use metrics::{Counter, Counters, RemoteCounters, Running};
pub use metrics::{Metrics, RuntimeMetrics, WorkerMetrics};
pub(crate) use observer::Observer;
pub use observer::{PollTimes, TaskMeta, UnhandledPanic};
pub use report::{Report, TaskReport};
pub(crate) use stuck::Lookout;
pub use stuck::StuckPoll;

use crate::{
    blocking, context,
    task::{self, JoinHandle, quiet::quietly},
};

/// A runtime: worker threads that poll tasks and wait, together, in one reactor.
///
/// **Dropping it ends it**, from any thread, also from a task, its own included: tasks that run finish the poll they
/// are in, all others are dropped where they stand, and their handles give a cancelled [`JoinError`](crate::JoinError).
/// The drop waits for the worker threads, unless it happens on a worker thread (of this or any other runtime), where waiting
/// could be for ever: then the last worker to leave does the rest in the background. A task that blocks its
/// worker for good keeps the drop waiting for good.
///
/// In a child that was forked while it ran it can't be used: its threads are the parent's. There its drop does nothing, and nothing is freed.
///
/// ```
/// let runtime = egret_executor::Runtime::new()?;
/// assert_eq!(runtime.block_on(async { 1 + 1 }), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Runtime {
    handle: Handle,
    threads: Vec<thread::JoinHandle<()>>,
    /// The process that has the threads.
    process: u32,
}

// Of its threads' panics only the payload is looked at, once.
impl std::panic::UnwindSafe for Runtime {}
impl std::panic::RefUnwindSafe for Runtime {}

impl Runtime {
    /// A multi-thread runtime with a worker per processor and the best feed there is.
    ///
    /// # Errors
    ///
    /// If no feed can be had or a thread can't be started.
    pub fn new() -> io::Result<Self> {
        Builder::new_multi_thread().build()
    }

    /// Runs `future` on this thread until it is complete, while the workers run what it spawns.
    ///
    /// # Panics
    ///
    /// If `future` does, and if this thread is a worker or already inside a `block_on`.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.handle.block_on(future)
    }

    /// Spawns a task on this runtime. See [`spawn`].
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        task::spawn(&self.handle.shared, future)
    }

    /// Runs `f` on a thread where it may block. See [`spawn_blocking`](crate::task::spawn_blocking).
    #[track_caller]
    pub fn spawn_blocking<F, R>(&self, f: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        blocking::spawn_on(&self.handle, f)
    }

    /// A handle to it, for other threads.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Makes it this thread's current runtime until the guard is dropped. See [`Handle::enter`].
    pub fn enter(&self) -> EnterGuard<'_> {
        self.handle.enter()
    }

    /// What tells this runtime's workers which socket moved.
    pub fn feed(&self) -> FeedKind {
        self.handle.shared.lanes_of_runtime.feed()
    }

    /// Why a better feed was passed over; none if it wasn't.
    pub fn feed_fallback(&self) -> Option<&str> {
        self.handle.shared.lanes_of_runtime.fallback()
    }

    /// How many workers it has.
    pub fn workers(&self) -> usize {
        self.handle.shared.seats.len()
    }

    /// A snapshot of its counters.
    pub fn metrics(&self) -> Metrics {
        self.handle.metrics()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // A lock may be held by a thread that isn't there, and who isn't there can't be joined.
            std::mem::take(&mut self.threads).into_iter().for_each(std::mem::forget);
            return;
        }
        self.handle.shared.shutdown();
        if context::is_worker_thread() {
            return;
        }
        for thread in self.threads.drain(..) {
            // A worker whose loop has unwound has said so on stderr.
            if let Err(payload) = thread.join() {
                quietly(|| drop(payload));
            }
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("workers", &self.workers())
            .field("feed", &self.feed())
            .finish_non_exhaustive()
    }
}
