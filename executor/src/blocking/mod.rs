//! Blocking calls on threads of their own: [`spawn_blocking`].
//!
//! ```text
//!   spawn_blocking ─► Call { Queued(f) } ──┬─ a thread takes f ─► Running ──┬─ returns, panics ─► Done ─► the task takes it
//!                        ▲                 │                                └─ the task was dropped meanwhile: Over, the output is dropped
//!      a task waits for it, which is what  ├─ the task is dropped (abort, end of the runtime), the pool ends: f is dropped, Over
//!      the JoinHandle is of                └─ no thread can be had ─► Refused ─► the task panics, and says why
//! ```
//!
//! The state is under a mutex, a leaf; f, its output and wakers are called and dropped outside of it.

mod pool;

use crate::{
    context,
    runtime::Handle,
    sync::{Arc, Mutex, lock},
    task::{
        self, JoinHandle,
        quiet::{caught, quietly},
    },
};
pub(crate) use pool::{KEEP_ALIVE, MAX_THREADS, Pool, Settings};
use std::{
    any::Any,
    future::Future,
    io,
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll, Waker},
};

/// What a pool's thread runs. None of it unwinds.
pub(crate) trait Job: Send + Sync {
    fn run(&self);
    /// It will not run: its runtime has ended.
    fn cancel(&self);
    /// It will not run: there is no thread for it.
    fn refuse(&self, error: &io::Error);
}

/// Runs `f` on a thread where it may block: for calls that wait (files, other libraries' clients), and computations longer than some 100 us.
///
/// The threads belong to the current runtime, as many as are needed at the same time and no more than
/// [`max_blocking_threads`](crate::Builder::max_blocking_threads); more calls than that wait for one, in order. A thread that has had nothing to do for
/// [`thread_keep_alive`](crate::Builder::thread_keep_alive) ends.
///
/// **Aborting**, or the end of the runtime: if `f` has not begun it is dropped, and the handle says [`is_cancelled`](crate::JoinError::is_cancelled). If it
/// has, it runs to its end, and its output is dropped; the end of the runtime doesn't wait for it. (tokio's does.) Dropping the handle detaches it.
///
/// A panic of `f` is the handle's [`JoinError`](crate::JoinError). So is a thread that can't be had (a limit of the system) when there is no other: its
/// payload says so.
///
/// # Panics
///
/// Outside of a runtime; [`Handle::spawn_blocking`] works everywhere.
///
/// # Examples
///
/// ```
/// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// # runtime.block_on(async {
/// let lines = egret_executor::task::spawn_blocking(|| {
///     std::fs::read_to_string("/proc/self/status").map(|text| text.lines().count())
/// });
/// assert!(lines.await.unwrap()? > 10);
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[track_caller]
pub fn spawn_blocking<F, R>(f: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    spawn_on(&Handle::current(), f)
}

#[track_caller]
pub(crate) fn spawn_on<F, R>(handle: &Handle, f: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    let call = Arc::new(Call {
        handle: handle.clone(),
        state: Mutex::new(State { stage: Stage::Queued(f), waker: None }),
    });
    let joined = task::spawn(&handle.shared, Waits(call.clone()));
    handle.shared.blocking.push(call);
    joined
}

struct Call<F, R> {
    handle: Handle,
    state: Mutex<State<F, R>>,
}

struct State<F, R> {
    stage: Stage<F, R>,
    /// Of the task that waits.
    waker: Option<Waker>,
}

enum Stage<F, R> {
    Queued(F),
    Running,
    Done(Result<R, Box<dyn Any + Send>>),
    Refused(String),
    /// Nobody wants it any more.
    Over,
}

impl<F, R> Call<F, R> {
    /// The next stage, unless it is over; what was before, or what it should have been, is dropped by the caller, where nothing is locked.
    fn advance(&self, next: Stage<F, R>) -> (Stage<F, R>, Option<Waker>) {
        let mut state = lock(&self.state);
        if matches!(state.stage, Stage::Over) {
            return (next, None);
        }
        let before = std::mem::replace(&mut state.stage, next);
        (before, state.waker.take())
    }

    /// Advances, and wakes the task.
    fn tell(&self, next: Stage<F, R>) {
        let (stage, waker) = self.advance(next);
        quietly(|| drop(stage));
        if let Some(waker) = waker {
            quietly(|| waker.wake());
        }
    }

    /// Drops what is there; if it runs, its output will be.
    fn abandon(&self) {
        let (stage, waker) = self.advance(Stage::Over);
        quietly(|| drop(stage));
        quietly(|| drop(waker));
    }
}

impl<F, R> Job for Call<F, R>
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    fn run(&self) {
        let f = {
            let mut state = lock(&self.state);
            match std::mem::replace(&mut state.stage, Stage::Running) {
                Stage::Queued(f) => f,
                other => {
                    state.stage = other;
                    return;
                }
            }
        };
        let outcome = {
            let _entered = context::enter(&self.handle);
            caught(f)
        };
        self.tell(Stage::Done(outcome));
    }

    fn cancel(&self) {
        // The task goes with its runtime, and with it its handle's hope.
        self.abandon();
    }

    fn refuse(&self, error: &io::Error) {
        self.tell(Stage::Refused(format!("no thread for a blocking call can be had: {error}")));
    }
}

/// What the task does.
struct Waits<F, R>(Arc<Call<F, R>>);

impl<F, R> Future for Waits<F, R> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        // Cloning and dropping wakers is user code as a rule: not under the lock.
        let waker = cx.waker().clone();
        let (stage, old) = {
            let mut state = lock(&self.0.state);
            match std::mem::replace(&mut state.stage, Stage::Over) {
                stage @ (Stage::Done(_) | Stage::Refused(_)) => (stage, Some(waker)),
                waiting => {
                    state.stage = waiting;
                    (Stage::Running, state.waker.replace(waker))
                }
            }
        };
        drop(old);
        match stage {
            Stage::Done(Ok(output)) => Poll::Ready(output),
            // Told by the panic hook already, where it happened.
            Stage::Done(Err(payload)) => resume_unwind(payload),
            Stage::Refused(why) => panic!("{why}"),
            Stage::Queued(_) | Stage::Running | Stage::Over => Poll::Pending,
        }
    }
}

impl<F, R> Drop for Waits<F, R> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
