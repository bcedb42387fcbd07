//! A runtime as the jobs see it, and the three that do them: each call is what its users would write, with nothing in between
//! that costs more than a function call that is inlined.
//!
//! | | egret | tokio | smol |
//! |---|---|---|---|
//! | workers | of the runtime | of the multi-thread runtime, I/O and time enabled | threads in `smol::block_on(executor.run(..))` |
//! | `spawn` | `egret::spawn` | `tokio::spawn` | one `static` executor's, as `smol::spawn` has |
//! | `block_on` | the runtime's | the runtime's | `smol::block_on` |
//! | a task's end | `JoinHandle` | `JoinHandle` | `Task` |
//! | sleeping | `Sleep`, `reset` | `Sleep`, `reset` | `Timer`, `set_at` |
//! | a timeout | `time::timeout` | `time::timeout` | `or` of the future and a `Timer`, smol's idiom |
//!
//! smol's `future::block_on`, which leaves I/O and timers to a thread of their own and is what async-executor's benches use, was no faster at
//! any of the tasks' jobs.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) trait Runtime: Sized + Send + Sync + 'static {
    /// The end of a task that didn't panic. Dropping it may cancel the task; see `spawn_and_forget`.
    type Task<T: Send + 'static>: Future<Output = T> + Send + Unpin;
    type Sleep: Future + Send + 'static;

    fn start(workers: usize) -> io::Result<Self>;
    /// Runs `future` on this thread, which is none of the workers.
    fn block_on<F: Future>(&self, future: F) -> F::Output;
    /// Spawns from a thread that runs nothing of the runtime's.
    fn spawn_from_outside<F>(&self, future: F) -> Self::Task<F::Output>
    where
        F: Future<Output: Send> + Send + 'static;
    /// Spawns from a task or from inside of `block_on`.
    fn spawn<F>(future: F) -> Self::Task<F::Output>
    where
        F: Future<Output: Send> + Send + 'static;
    /// Lets a task run to its end by itself.
    fn forget<T: Send + 'static>(task: Self::Task<T>);
    fn yield_now() -> impl Future<Output = ()> + Send;

    fn sleep_until(deadline: Instant) -> Self::Sleep;
    fn reset(sleep: Pin<&mut Self::Sleep>, deadline: Instant);
    /// `None` if the time was up.
    fn timeout<F: Future<Output: Send> + Send>(
        duration: Duration,
        future: F,
    ) -> impl Future<Output = Option<F::Output>> + Send;
}

pub(crate) struct Egret(egret::Runtime);
pub(crate) struct Tokio(tokio::runtime::Runtime);
pub(crate) struct Smol;

/// A task whose panic is the panic of who waits for it.
pub(crate) struct Joined<H>(H);

impl<T, E: std::fmt::Debug, H: Future<Output = Result<T, E>> + Unpin> Future for Joined<H> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx).map(|result| result.expect("no task panics"))
    }
}

impl Runtime for Egret {
    type Task<T: Send + 'static> = Joined<egret::JoinHandle<T>>;
    type Sleep = egret::time::Sleep;

    fn start(workers: usize) -> io::Result<Self> {
        egret::Builder::new_multi_thread().worker_threads(workers).build().map(Egret)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn spawn_from_outside<F>(&self, future: F) -> Self::Task<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Joined(self.0.spawn(future))
    }

    fn spawn<F>(future: F) -> Self::Task<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Joined(egret::spawn(future))
    }

    fn forget<T: Send + 'static>(task: Self::Task<T>) {
        drop(task);
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        egret::task::yield_now()
    }

    fn sleep_until(deadline: Instant) -> Self::Sleep {
        egret::time::sleep_until(deadline)
    }

    fn reset(sleep: Pin<&mut Self::Sleep>, deadline: Instant) {
        sleep.get_mut().reset(deadline);
    }

    async fn timeout<F: Future<Output: Send> + Send>(duration: Duration, future: F) -> Option<F::Output> {
        egret::time::timeout(duration, future).await.ok()
    }
}

impl Runtime for Tokio {
    type Task<T: Send + 'static> = Joined<tokio::task::JoinHandle<T>>;
    type Sleep = tokio::time::Sleep;

    fn start(workers: usize) -> io::Result<Self> {
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build().map(Tokio)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn spawn_from_outside<F>(&self, future: F) -> Self::Task<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Joined(self.0.spawn(future))
    }

    fn spawn<F>(future: F) -> Self::Task<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Joined(tokio::spawn(future))
    }

    fn forget<T: Send + 'static>(task: Self::Task<T>) {
        drop(task);
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        tokio::task::yield_now()
    }

    fn sleep_until(deadline: Instant) -> Self::Sleep {
        tokio::time::sleep_until(deadline.into())
    }

    fn reset(sleep: Pin<&mut Self::Sleep>, deadline: Instant) {
        sleep.reset(deadline.into());
    }

    async fn timeout<F: Future<Output: Send> + Send>(duration: Duration, future: F) -> Option<F::Output> {
        tokio::time::timeout(duration, future).await.ok()
    }
}

/// The executor of [`Smol`].
static EXECUTOR: smol::Executor<'static> = smol::Executor::new();

impl Runtime for Smol {
    type Task<T: Send + 'static> = smol::Task<T>;
    type Sleep = smol::Timer;

    fn start(workers: usize) -> io::Result<Self> {
        for index in 0..workers {
            let run = || smol::block_on(EXECUTOR.run(smol::future::pending::<()>()));
            thread::Builder::new().name(format!("smol-{index}")).spawn(run)?;
        }
        Ok(Smol)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        smol::block_on(future)
    }

    fn spawn_from_outside<F>(&self, future: F) -> Self::Task<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        EXECUTOR.spawn(future)
    }

    fn spawn<F>(future: F) -> Self::Task<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        EXECUTOR.spawn(future)
    }

    fn forget<T: Send + 'static>(task: Self::Task<T>) {
        task.detach();
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        smol::future::yield_now()
    }

    fn sleep_until(deadline: Instant) -> Self::Sleep {
        smol::Timer::at(deadline)
    }

    fn reset(sleep: Pin<&mut Self::Sleep>, deadline: Instant) {
        sleep.get_mut().set_at(deadline);
    }

    async fn timeout<F: Future<Output: Send> + Send>(duration: Duration, future: F) -> Option<F::Output> {
        let in_time = async { Some(future.await) };
        let too_late = async {
            smol::Timer::after(duration).await;
            None
        };
        smol::future::or(in_time, too_late).await
    }
}
