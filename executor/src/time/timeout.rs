//! [`timeout`]: a future with a deadline.

use super::{
    error::Elapsed,
    sleep::{Sleep, deadline_after, sleep_until},
};
use crate::coop;
use pin_project_lite::pin_project;
use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// Gives `future` that long to be ready; otherwise drops nothing but its own wait and answers [`Elapsed`].
///
/// The future is polled first: a future that is ready wins over a deadline that has passed. One that keeps yielding because its task's
/// budget is used up doesn't hold off the deadline.
///
/// # Panics
///
/// As [`sleep`](super::sleep()): when it has to wait outside a runtime.
///
/// # Cancel safety
///
/// That of `future`, which is dropped with the [`Timeout`]; after an [`Elapsed`] use [`Timeout::into_inner`] to go on with it, if it is `Unpin`.
///
/// # Examples
///
/// ```
/// use egret_executor::{Runtime, time::timeout};
/// use std::{future::pending, time::Duration};
///
/// Runtime::new()?.block_on(async {
///     assert_eq!(timeout(Duration::from_secs(5), async { 7 }).await, Ok(7));
///     assert!(timeout(Duration::from_millis(1), pending::<()>()).await.is_err());
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Timeout<F::IntoFuture> {
    timeout_at(deadline_after(duration), future)
}

/// Gives `future` until `deadline`. As [`timeout`] otherwise.
pub fn timeout_at<F: IntoFuture>(deadline: Instant, future: F) -> Timeout<F::IntoFuture> {
    Timeout { future: future.into_future(), delay: Delay::Until(deadline) }
}

pin_project! {
    /// The future of [`timeout`] and [`timeout_at`].
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    #[derive(Debug)]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        delay: Delay,
    }
}

/// The deadline. A future that is ready at its first poll never makes a sleep of it.
#[derive(Debug)]
enum Delay {
    Until(Instant),
    Sleep(Sleep),
}

impl Delay {
    fn sleep(&mut self) -> &mut Sleep {
        if let Delay::Until(deadline) = *self {
            *self = Delay::Sleep(sleep_until(deadline));
        }
        match self {
            Delay::Sleep(sleep) => sleep,
            Delay::Until(_) => unreachable!("it has just become a sleep"),
        }
    }
}

impl<F> Timeout<F> {
    /// The future inside.
    pub fn get_ref(&self) -> &F {
        &self.future
    }

    /// The future inside.
    pub fn get_mut(&mut self) -> &mut F {
        &mut self.future
    }

    /// The future inside; the deadline is forgotten.
    pub fn into_inner(self) -> F {
        self.future
    }
}

/// Whether the task may still go on. Takes one unit and gives it back; nobody is woken.
fn has_budget() -> bool {
    coop::poll_proceed(&mut Context::from_waker(Waker::noop())).is_ready()
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let had_budget = has_budget();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        // If it was the future that used up the budget, the deadline must not be asked to wait for the next poll: that one would
        // go the same way. If the budget was gone before, the task is asked to yield, and the deadline yields like everything else.
        let sleep = this.delay.sleep();
        let poll =
            if had_budget && !has_budget() { sleep.poll_elapsed(cx) } else { Pin::new(sleep).poll(cx) };
        poll.map(|()| Err(Elapsed::new()))
    }
}
