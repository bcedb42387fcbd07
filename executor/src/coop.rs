//! The poll budget: how many operations one poll of a task may complete before it has to let others run.
//!
//! ```text
//!   worker, block_on: reset() ── 128 ──► the task polls its leaves: each poll_proceed takes one
//!                                                   │
//!              Ready(RestoreOnPending) ◄────────────┴──────────► 0 left: the waker is woken, Pending
//!     made_progress(): the unit is spent                              (the task goes to the back of the queue)
//!     dropped without: the leaf was pending, the unit comes back
//! ```
//!
//! A busy socket always has one more answer ready; without this a task that serves it would never come back to its worker.
//! Every leaf future of this runtime asks here first. Outside of a task and of `block_on` there is no limit.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::context;

/// tokio's value, plucked from thin air there and good in practice.
pub(crate) const BUDGET: u8 = 128;

/// Not a number of units: there is no limit.
pub(crate) const UNLIMITED: u8 = u8::MAX;

/// Runs one poll of `block_on` with a fresh budget, then puts back what was there.
pub(crate) fn with_budget<R>(poll: impl FnOnce() -> R) -> R {
    with_units(BUDGET, poll)
}

fn with_units<R>(units: u8, poll: impl FnOnce() -> R) -> R {
    struct Restore(u8);
    impl Drop for Restore {
        fn drop(&mut self) {
            context::with_budget(|left| left.set(self.0));
        }
    }
    let _restore = Restore(context::with_budget(|left| left.replace(units)));
    poll()
}

/// Takes one unit. Pending when none is left: the task is woken and must return.
///
/// The answer gives the unit back when it is dropped, unless `made_progress` was called.
#[inline]
pub(crate) fn poll_proceed(cx: &mut Context<'_>) -> Poll<RestoreOnPending> {
    let left = context::with_budget(|budget| {
        let left = budget.get();
        if left != UNLIMITED {
            budget.set(left.saturating_sub(1));
        }
        left
    });
    if left == 0 {
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    Poll::Ready(RestoreOnPending { before: Cell::new(left) })
}

/// Puts the unit back, unless progress was made.
#[must_use]
pub(crate) struct RestoreOnPending {
    before: Cell<u8>,
}

impl RestoreOnPending {
    /// The operation is complete: its unit is spent.
    #[inline]
    pub(crate) fn made_progress(&self) {
        self.before.set(UNLIMITED);
    }
}

impl Drop for RestoreOnPending {
    #[inline]
    fn drop(&mut self) {
        if self.before.get() != UNLIMITED {
            context::with_budget(|left| left.set(self.before.get()));
        }
    }
}

/// Spends one unit of the task's budget; gives the task's turn up if none is left.
///
/// For long loops without anything to wait for: other tasks get their turn every 128 calls. Outside of a task and of `block_on` it does nothing.
///
/// # Cancel safety
///
/// There is nothing to lose.
///
/// ```
/// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// # runtime.block_on(async {
/// let mut sum = 0u64;
/// for number in 0..10_000 {
///     sum += number;
///     egret_executor::task::consume_budget().await;
/// }
/// assert_eq!(sum, 49_995_000);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn consume_budget() {
    std::future::poll_fn(|cx| {
        std::task::ready!(poll_proceed(cx)).made_progress();
        Poll::Ready(())
    })
    .await;
}

/// Whether the task has budget left: if not, its next operation gives its turn up, ready or not.
///
/// For futures of one's own that do a lot in one poll. Outside of a task and of `block_on` it is always so.
///
/// ```
/// assert!(egret_executor::task::coop::has_budget_remaining());
/// ```
pub fn has_budget_remaining() -> bool {
    context::with_budget(Cell::get) > 0
}

/// Polls `future` without a budget: what it waits for never makes it give way.
///
/// It may keep its worker for as long as there is something for it to do. Good for what brings a yielding of its own.
pub fn unconstrained<F: Future>(future: F) -> Unconstrained<F> {
    Unconstrained { future }
}

pin_project! {
    /// The future of [`unconstrained`].
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    #[derive(Debug)]
    pub struct Unconstrained<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Unconstrained<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        with_units(UNLIMITED, || self.project().future.poll(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn spend(cx: &mut Context<'_>) -> bool {
        match poll_proceed(cx) {
            Poll::Ready(unit) => {
                unit.made_progress();
                true
            }
            Poll::Pending => false,
        }
    }

    #[test]
    fn a_poll_has_128_units_and_outside_there_is_no_limit() {
        let cx = &mut Context::from_waker(Waker::noop());
        let spent = with_budget(|| (0..1000).take_while(|_| spend(cx)).count());
        assert_eq!(spent, 128);
        assert!((0..1000).all(|_| spend(cx)));
    }

    #[test]
    fn a_pending_leaf_costs_nothing() {
        let cx = &mut Context::from_waker(Waker::noop());
        with_budget(|| {
            for _ in 0..1000 {
                assert!(poll_proceed(cx).is_ready());
            }
            assert_eq!(context::with_budget(Cell::get), BUDGET);
        });
    }

    #[test]
    fn a_poll_that_panics_leaves_no_budget_behind() {
        let poll = || with_budget(|| panic!("on purpose"));
        assert!(std::panic::catch_unwind(poll).is_err());
        assert_eq!(context::with_budget(Cell::get), UNLIMITED);
    }
}
