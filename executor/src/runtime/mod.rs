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
//! | `report` | what became of the tasks at the end |

mod backtrace;
mod block_on;
mod builder;
mod current_thread;
mod dump;
mod hooks;
mod metrics;
mod observer;
mod report;
mod stuck;

use std::{
    fmt,
    future::Future,
    io,
    marker::PhantomData,
    panic::Location,
    thread,
    time::{Duration, Instant},
};

pub use builder::Builder;
pub(crate) use current_thread::{CoreSlot, afterwards};
pub use dump::{Dump, TaskDump, TaskState, WaitsFor};
pub use egret_reactor::{FeedChoice, FeedKind};
pub(crate) use metrics::{Counter, Counters, RemoteCounters, Running};
pub use metrics::{Metrics, RuntimeMetrics, WorkerMetrics};
pub(crate) use observer::Observer;
pub use observer::{PollTimes, TaskMeta, UnhandledPanic};
pub use report::{Report, TaskReport};
pub(crate) use stuck::Lookout;
pub use stuck::StuckPoll;

use crate::{
    blocking,
    cancel::CancellationToken,
    context::{self, Place},
    shared::Shared,
    sync::Arc,
    task::{self, Id, JoinHandle, quiet::quietly},
    time,
};
use stuck::Polls;

/// How often [`Runtime::shutdown`] looks whether it is through. A guess: far below what anybody notices at the end of a program.
const LOOK: Duration = Duration::from_millis(1);

/// How long it waits for workers to come out of their polls. A guess: what takes longer blocks its worker.
const LEAVE: Duration = Duration::from_millis(100);

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

    /// Ends it as its drop does, but waits for the end no longer than `timeout`.
    ///
    /// A task that blocks its worker for longer than that is left behind with its thread. If it ever comes back, its worker leaves,
    /// and the last worker to leave drops the tasks that are left: until then their handles give no answer. Threads on their
    /// last steps, with nothing of any task, may outlive the call.
    ///
    /// On a worker thread (of this or any other runtime), and in a forked child, it doesn't wait, as the drop doesn't.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// let (release, released) = std::sync::mpsc::channel::<()>();
    /// drop(runtime.spawn(async move { released.recv() }));
    /// runtime.shutdown_timeout(Duration::from_millis(10));
    /// drop(release);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown_timeout(mut self, timeout: Duration) {
        if self.process != std::process::id() {
            return;
        }
        let shared = &self.handle.shared;
        shared.shutdown();
        if may_wait(shared) && !timeout.is_zero() {
            shared.wait_for_end(timeout);
        }
        // The drop that follows finds nothing to join.
        self.threads.clear();
    }

    /// Ends it gracefully, and tells what became of its tasks.
    ///
    /// 1. The [token](Handle::shutdown_token) that tasks may listen to is cancelled.
    /// 2. For `grace` at most, tasks are left to end by themselves; when there are none left it goes on at once. They may spawn others.
    /// 3. The rest is ended as by the drop: what waits or is queued is dropped where it stands.
    /// 4. Workers that don't come out of their poll within another 100 ms are left behind, with their threads. So are blocking calls that still run.
    ///
    /// On a worker thread (of this or any other runtime), and in a forked child, it doesn't wait, and the report is of what it has seen. A
    /// [current-thread](Builder::new_current_thread) runtime runs its tasks here meanwhile; inside of a `block_on`, where it can't, it doesn't wait either.
    ///
    /// ```
    /// use std::time::Duration;
    /// use egret_executor::time::sleep;
    ///
    /// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// let token = runtime.handle().shutdown_token();
    /// let server = runtime.spawn(async move {
    ///     // accept connections until...
    ///     token.cancelled().await;
    ///     "the last words"
    /// });
    /// let forever = runtime.spawn(sleep(Duration::MAX));
    /// let report = runtime.shutdown(Duration::from_millis(20));
    /// println!("{report}");
    /// assert_eq!((report.finished, report.cancelled.len()), (1, 1));
    /// assert_eq!(report.cancelled[0].id, forever.id());
    /// assert!(server.is_finished());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(mut self, grace: Duration) -> Report {
        if self.process != std::process::id() {
            return Report::default();
        }
        let shared = self.handle.shared.clone();
        let began = Instant::now();
        let may_wait = may_wait(&shared);
        let ended = |(alive, spawned): (usize, u64)| spawned.saturating_sub(alive as u64);
        let ended_before = ended(shared.tasks());
        shared.shutdown_token.cancel();
        let mut polls = Polls::of(&shared.seats);
        let rest = |polls: &mut Polls, until: Instant| {
            let now = Instant::now();
            polls.look(&shared.seats, now);
            thread::sleep(LOOK.min(until.saturating_duration_since(now)));
            now < until
        };
        let until = began.checked_add(grace);
        // Nobody is told when the last task ends: that would cost each of them something.
        let there_is_time = || until.is_none_or(|until| Instant::now() < until);
        match shared.core_slot {
            None => {
                while may_wait && shared.tasks().0 > 0 && there_is_time() {
                    rest(&mut polls, until.unwrap_or_else(|| Instant::now() + LOOK));
                }
            }
            // Somebody has to run them. If another thread does, it may be stuck.
            Some(_) if context::place() == Place::Outside => {
                while shared.tasks().0 > 0 && there_is_time() {
                    let drove = block_on::try_block_on(&self.handle, async {
                        while shared.tasks().0 > 0 && there_is_time() {
                            time::sleep(LOOK).await;
                        }
                    });
                    if !drove {
                        rest(&mut polls, until.unwrap_or_else(|| Instant::now() + LOOK));
                    }
                }
            }
            Some(_) => {}
        }
        let finished = ended(shared.tasks()).saturating_sub(ended_before);
        let left = Dump::of(&shared);
        shared.note_cancelled();
        shared.shutdown();
        let leave_by = Instant::now() + LEAVE;
        let mut has_ended = may_wait && shared.wait_for_end(Duration::ZERO);
        while may_wait && !has_ended && rest(&mut polls, leave_by) {
            has_ended = shared.wait_for_end(Duration::ZERO);
        }
        let mut cancelled = shared.take_cancelled();
        let mut stuck = Vec::new();
        if !has_ended {
            let now = Instant::now();
            if may_wait {
                polls.look(&shared.seats, now);
                stuck = polls.stuck(&shared, now, Duration::ZERO);
            }
            for poll in &mut stuck {
                poll.backtrace = backtrace::of_thread(shared.seats[poll.worker].signs.thread());
            }
            let known: std::collections::HashSet<Id> =
                cancelled.iter().map(|task| task.id).chain(stuck.iter().map(|poll| poll.id)).collect();
            let others = left.tasks.into_iter().filter(|task| !known.contains(&task.id));
            cancelled.extend(others.map(TaskReport::from));
            // The drop that follows finds nothing to join.
            self.threads.clear();
        }
        let left = shared.tasks().0;
        Report {
            finished,
            cancelled,
            stuck,
            // One that has just ended still counts as running.
            blocking_calls: shared.blocking.running().min(left),
            left,
            has_ended,
            took: began.elapsed(),
        }
    }

    /// Ends it without waiting: [`shutdown_timeout`](Self::shutdown_timeout) with no time at all.
    pub fn shutdown_background(self) {
        self.shutdown_timeout(Duration::ZERO);
    }
}

/// Whether this thread may wait for the end of that runtime: not a worker's, for two could wait for each other, nor the one that its tasks run on.
fn may_wait(shared: &Shared) -> bool {
    !context::is_worker_thread() && context::worker_index(shared).is_none()
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

/// A reference to a runtime, cheap to clone. It doesn't keep the runtime running: that's what [`Runtime`] is for.
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

    /// Runs `future` on this thread until it is complete. See [`Runtime::block_on`].
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

    /// The token that [`Runtime::shutdown`] cancels before it waits: for tasks that want to end in their own time. A drop of the runtime doesn't
    /// cancel it.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.shared.shutdown_token.clone()
    }

    /// What there is: every task, where it was spawned, what it waits for. See [`Dump`].
    ///
    /// It takes no notice of anything before it is called, so it costs nothing until then; then it looks at every task, socket and timer, some
    /// microseconds for each hundred, and keeps each of their locks for a moment.
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
