//! Letting others run.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Lets the other tasks of this worker run before the caller goes on.
///
/// The task goes to the back of its worker's queue; the reactor is looked at on the way if its turn has come. In
/// `block_on` it is a fresh poll and a fresh budget.
///
/// # Cancel safety
///
/// Nothing is lost by dropping it.
///
/// ```
/// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// # runtime.block_on(async {
/// for _ in 0..3 {
///     // a slice of some long computation
///     egret_executor::task::yield_now().await;
/// }
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        // Woken while it runs: the scheduler puts such a task at the back.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
