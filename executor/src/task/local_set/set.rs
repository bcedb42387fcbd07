//! [`LocalSet`], [`spawn_local`], and the futures that drive a set.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{self, Poll},
};

use pin_project_lite::pin_project;

use super::{
    context::{Context, Here, with_current},
    inbox::Driver,
};
use crate::{runtime::Runtime, task::JoinHandle};

/// A set of tasks that stay on their thread, for futures that aren't `Send`: they may hold an `Rc`, or a `RefCell`'s borrow, over an await.
///
/// The set's thread polls the tasks, whenever it polls the set: [`run_until`](Self::run_until), [`block_on`](Self::block_on), or the set itself,
/// which is a future that is ready once all tasks have ended. In between they rest. All of these belong into a
/// [`Runtime::block_on`]: a set isn't `Send`, so no spawned task can hold one over an await. In a server, start a thread for each set you
/// want, and bring work to it through a channel.
///
/// Sockets, sleeps and everything else of the runtime work in local tasks, and so does [`spawn`](crate::spawn), for tasks that
/// any worker may run. Handles and wakers of local tasks may be sent anywhere, the output permitting.
///
/// At most 61 tasks are polled in a row; then the rest of the thread's future has its turn.
///
/// **Dropping the set drops its tasks**, on its thread, and their handles give a cancelled [`JoinError`](crate::JoinError). If another thread
/// is waking one of them in that moment, the drop waits for it: the few instructions, and as long as the system keeps that thread from its processor.
///
/// A task belongs to the runtime that was current where it was spawned, else to the one in which the set was made or driven, if there is one.
/// Once that has ended, the task is dropped at its next turn, as others are.
///
/// ```
/// use egret_executor::task::{LocalSet, spawn_local, yield_now};
/// use std::{cell::Cell, rc::Rc};
///
/// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// let sum = Rc::new(Cell::new(0));
/// let set = LocalSet::new();
/// set.block_on(&runtime, async {
///     let tasks: Vec<_> = (1..=3)
///         .map(|n| {
///             let sum = sum.clone();
///             spawn_local(async move {
///                 yield_now().await;
///                 sum.set(sum.get() + n);
///             })
///         })
///         .collect();
///     for task in tasks {
///         task.await.unwrap();
///     }
/// });
/// assert_eq!(sum.get(), 6);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct LocalSet {
    context: Rc<Context>,
    /// As a future.
    driver: Driver,
}

impl LocalSet {
    /// An empty set. Its thread is this one.
    pub fn new() -> Self {
        let context = Context::new();
        Self { driver: context.new_driver(), context }
    }

    /// Makes this [`spawn_local`]'s set on this thread until the guard is dropped. Drives nothing.
    ///
    /// Guards may be dropped in any order; the youngest that is left counts.
    ///
    /// ```
    /// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// use egret_executor::task::{LocalSet, spawn_local};
    ///
    /// let _runtime = runtime.enter();
    /// let set = LocalSet::new();
    /// let guard = set.enter();
    /// let task = spawn_local(async { 5 });
    /// drop(guard);
    /// assert_eq!(set.block_on(&runtime, task).unwrap(), 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn enter(&self) -> LocalEnterGuard {
        LocalEnterGuard { _here: self.context.enter() }
    }

    /// Spawns a task on this set. It begins to run when the set is driven.
    ///
    /// It may be called outside of any runtime. If the set was never in one, neither made nor driven there, then the end of a runtime doesn't end the task,
    /// and the first such task of a process costs it a few descriptors.
    ///
    /// # Panics
    ///
    /// If these descriptors can't be had.
    ///
    /// ```
    /// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// use std::rc::Rc;
    ///
    /// let set = egret_executor::task::LocalSet::new();
    /// let task = set.spawn_local(async { Rc::new(7) });
    /// assert_eq!(*set.block_on(&runtime, task).unwrap(), 7);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn spawn_local<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.context.spawn(future)
    }

    /// Runs `future`, and the set's tasks with it, until it is complete. Tasks that are left rest until the set is driven again.
    ///
    /// # Panics
    ///
    /// As [`Runtime::block_on`].
    #[track_caller]
    pub fn block_on<F: Future>(&self, runtime: &Runtime, future: F) -> F::Output {
        runtime.block_on(self.run_until(future))
    }

    /// Runs `future`, and the set's tasks with it, until it is complete. Tasks that are left rest until the set is driven again.
    ///
    /// Several may be under way at once.
    ///
    /// # Cancel safety
    ///
    /// That of `future`. The tasks are the set's, and lose nothing.
    ///
    /// ```
    /// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// use egret_executor::task::{LocalSet, spawn_local};
    /// use std::rc::Rc;
    ///
    /// let output = runtime.block_on(async {
    ///     let set = LocalSet::new();
    ///     set.run_until(async { spawn_local(async { *Rc::new(3) }).await.unwrap() }).await
    /// });
    /// assert_eq!(output, 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn run_until<F: Future>(&self, future: F) -> F::Output {
        let turns = Turns { context: &self.context, driver: self.context.new_driver() };
        RunUntil { future, turns }.await
    }
}

impl Default for LocalSet {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LocalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSet").field("tasks", &self.context.len()).finish_non_exhaustive()
    }
}

/// Ready once all tasks have ended; at once if there are none.
impl Future for LocalSet {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let context = &self.context;
        let all_ended = || if context.len() == 0 { Poll::Ready(()) } else { Poll::Pending };
        let polled = context.drive(self.driver, cx, |_| Poll::Pending, all_ended);
        if polled.is_ready() {
            context.leave(self.driver);
        }
        polled
    }
}

impl Drop for LocalSet {
    fn drop(&mut self) {
        self.context.close();
    }
}

/// Spawns a task that stays on this thread, on the current [`LocalSet`]: in a local task, in what [`LocalSet::run_until`] runs, or under
/// [`LocalSet::enter`].
///
/// The handle is an ordinary one: dropping it detaches the task, and it may be awaited and aborted on any thread, the output permitting.
/// An aborted task's future is dropped on its own thread, when its set is driven.
///
/// # Panics
///
/// Without a current set.
///
/// ```
/// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// use egret_executor::task::{LocalSet, spawn_local};
/// use std::rc::Rc;
///
/// LocalSet::new().block_on(&runtime, async {
///     let shared = Rc::new("not Send");
///     let task = spawn_local({
///         let shared = shared.clone();
///         async move { shared.len() }
///     });
///     assert_eq!(task.await.unwrap(), shared.len());
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
#[track_caller]
pub fn spawn_local<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    match with_current(Rc::clone) {
        Some(context) => context.spawn(future),
        None => panic!("`spawn_local` called from outside of a `task::LocalSet`"),
    }
}

/// Keeps a set current on its thread. See [`LocalSet::enter`].
#[must_use = "the set is current only while the guard lives"]
pub struct LocalEnterGuard {
    _here: Here,
}

impl fmt::Debug for LocalEnterGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalEnterGuard").finish_non_exhaustive()
    }
}

/// A driver's right to its turns.
struct Turns<'a> {
    context: &'a Rc<Context>,
    driver: Driver,
}

impl Drop for Turns<'_> {
    fn drop(&mut self) {
        self.context.leave(self.driver);
    }
}

pin_project! {
    /// The future of [`LocalSet::run_until`].
    struct RunUntil<'a, F> {
        #[pin]
        future: F,
        turns: Turns<'a>,
    }
}

impl<F: Future> Future for RunUntil<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.turns.context.drive(this.turns.driver, cx, |cx| this.future.poll(cx), || Poll::Pending)
    }
}
