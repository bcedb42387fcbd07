//! Blocking calls on threads of their own: [`spawn_blocking`].
//!
//! A call is a task like any other, but for its run queue, which is the pool's: its only poll is the call. So its handle, its panics and its
//! abortion are a task's, and no worker is needed to hand its output over.
//!
//! ```text
//!   spawn_blocking ─► queued in the pool ──┬─ a thread polls it ──┬─ aborted before: f is dropped, `cancelled`
//!                                          │                      └─ f is called: the output, or its panic
//!                                          ├─ the runtime ends: it is dropped, and f with it: `cancelled`
//!                                          └─ no thread can be had: polled where it was spawned, it drops f and panics, and says why
//! ```

mod pool;

use crate::{
    context,
    runtime::Handle,
    task::{self, JoinHandle, Task},
};
pub(crate) use pool::{KEEP_ALIVE, MAX_THREADS, Pool, Settings};
use std::{
    cell::RefCell,
    future::Future,
    io,
    panic::Location,
    pin::Pin,
    task::{Context, Poll},
};

/// What the pool queues. None of it unwinds.
pub(crate) trait Job: Send + 'static {
    /// On a thread of the pool.
    fn run(self);
    /// It will not run: its runtime has ended.
    fn cancel(self);
    /// It will not run: there is no thread for it.
    fn refuse(self, error: &io::Error);
}

thread_local! {
    /// Why the calls that this thread polls just now can't be made.
    static REFUSED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `f` on a thread where it may block: for calls that wait (files, other libraries' clients), and computations longer than some 100 us.
///
/// The threads belong to the current runtime, as many as are needed at the same time and no more than
/// [`max_blocking_threads`](crate::Builder::max_blocking_threads); more calls than that wait for one, in order. A thread that has had nothing to do for
/// [`thread_keep_alive`](crate::Builder::thread_keep_alive) ends.
///
/// **Aborting** keeps `f` from beginning: it is dropped when its turn comes, and the handle says [`is_cancelled`](crate::JoinError::is_cancelled). If it has
/// begun, aborting does nothing. At the end of the runtime what has not begun is dropped, and what runs is not waited for. (tokio waits.)
/// Dropping the handle detaches the call.
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
    let shared = &handle.shared;
    let (task, joined) = task::blocking(shared, Call(Some(f)), Location::caller());
    shared.blocking.push(task);
    joined
}

impl Job for Task {
    fn run(self) {
        let _entered = context::enter(&Handle { shared: self.metadata().shared.clone() });
        // Doesn't unwind: the harness catches what the call throws.
        Task::run(self);
    }

    fn cancel(self) {
        self.metadata().shared.note(self.metadata());
        drop(self);
    }

    fn refuse(self, error: &io::Error) {
        let why = format!("no thread for a blocking call can be had: {error}");
        REFUSED.with(|refused| *refused.borrow_mut() = Some(why));
        Task::run(self);
        REFUSED.with(|refused| *refused.borrow_mut() = None);
    }
}

/// The future of a blocking call: ready at its first poll.
struct Call<F>(Option<F>);

// Nothing in it is pinned: `f` is called by value.
impl<F> Unpin for Call<F> {}

impl<F: FnOnce() -> R, R> Future for Call<F> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<R> {
        let f = self.0.take().expect("it is ready at its first poll");
        if let Some(why) = REFUSED.with(|refused| refused.borrow_mut().take()) {
            panic!("{why}");
        }
        Poll::Ready(f())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_no_thread_can_be_had_for_says_why_and_drops_its_captures() {
        let runtime = crate::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let captured = std::sync::Arc::new(());
        let inside = captured.clone();
        let (task, joined) =
            task::blocking(&runtime.handle().shared, Call(Some(move || drop(inside))), Location::caller());
        task.refuse(&io::Error::from_raw_os_error(libc::EAGAIN));
        assert_eq!(std::sync::Arc::strong_count(&captured), 1);
        let payload = runtime.block_on(joined).unwrap_err().into_panic();
        let why = payload.downcast_ref::<String>().unwrap();
        assert!(why.starts_with("no thread for a blocking call can be had:"), "{why}");
        // What is polled here next is called again.
        let (task, joined) = task::blocking(&runtime.handle().shared, Call(Some(|| 7)), Location::caller());
        Job::run(task);
        assert_eq!(runtime.block_on(joined).unwrap(), 7);
    }
}
