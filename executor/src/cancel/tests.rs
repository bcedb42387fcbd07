//! The tree, and who is told.

use super::*;
use std::future::{Future, pending, ready};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>, count: &Arc<Count>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(count.clone())))
}

#[test]
fn a_cancel_goes_down_and_not_up() {
    let root = CancellationToken::new();
    let (left, right) = (root.child_token(), root.child_token());
    let below = left.child_token();
    left.cancel();
    assert_eq!(
        [&root, &left, &below, &right].map(CancellationToken::is_cancelled),
        [false, true, true, false]
    );
    assert!(below.child_token().is_cancelled(), "born so");
    assert_eq!(root.in_tree(), 2);
    root.cancel();
    assert!(right.is_cancelled());
    assert_eq!(root.in_tree(), 0);
    root.cancel();
}

#[test]
fn clones_are_one_token() {
    let token = CancellationToken::new();
    let clone = token.clone();
    let child = token.child_token();
    drop(token);
    clone.cancel();
    assert!(child.is_cancelled());
}

#[test]
fn children_of_a_dropped_token_belong_to_its_parent() {
    let root = CancellationToken::new();
    let middle = root.child_token();
    let children: Vec<_> = (0..5).map(|_| middle.child_token()).collect();
    let sibling = root.child_token();
    drop(middle);
    assert_eq!(root.in_tree(), 7);
    root.cancel();
    assert!(children.iter().chain([&sibling]).all(CancellationToken::is_cancelled));
    // And of a root they are roots, each for itself.
    let root = CancellationToken::new();
    let (one, other) = (root.child_token(), root.child_token());
    drop(root);
    one.cancel();
    assert_eq!((one.is_cancelled(), other.is_cancelled()), (true, false));
    other.cancel();
    assert!(other.is_cancelled());
}

#[test]
fn a_long_lived_parent_keeps_nothing_of_its_children() {
    let root = CancellationToken::new();
    let kept: Vec<_> = (0..3).map(|_| root.child_token()).collect();
    for _ in 0..100_000 {
        let child = root.child_token();
        drop(child.child_token());
    }
    assert_eq!(root.in_tree(), 4);
    drop(kept);
    assert_eq!(root.in_tree(), 1);
}

/// Deeper than any stack.
#[test]
fn depth_costs_no_stack() {
    let root = CancellationToken::new();
    let grow = || {
        let mut tokens = vec![root.child_token()];
        for at in 0..200_000 {
            tokens.push(tokens[at].child_token());
        }
        tokens
    };
    // From the top, from the bottom, and cancelled.
    drop(grow());
    let mut tokens = grow();
    while tokens.pop().is_some() {}
    let tokens = grow();
    root.cancel();
    assert!(tokens.iter().all(CancellationToken::is_cancelled));
}

#[test]
fn everybody_is_told_once() {
    let token = CancellationToken::new();
    let child = token.child_token();
    let counts: Vec<Arc<Count>> = (0..4).map(|_| Arc::default()).collect();
    let (mut first, mut second) = (pin!(token.cancelled()), pin!(child.cancelled()));
    let mut third = pin!(child.clone().cancelled_owned());
    assert!(poll(first.as_mut(), &counts[0]).is_pending());
    assert!(poll(second.as_mut(), &counts[1]).is_pending());
    assert!(poll(third.as_mut(), &counts[2]).is_pending());
    // The one that polled last is woken.
    assert!(poll(third.as_mut(), &counts[3]).is_pending());
    {
        let mut gone = pin!(token.cancelled());
        assert!(poll(gone.as_mut(), &counts[2]).is_pending());
    }
    assert_eq!(Arc::strong_count(&counts[2]), 1, "who left is forgotten");
    token.cancel();
    token.cancel();
    assert_eq!(counts.iter().map(|count| count.get()).collect::<Vec<_>>(), [1, 1, 0, 1]);
    assert!(poll(first, &counts[0]).is_ready() && poll(second, &counts[1]).is_ready());
    assert!(poll(third, &counts[2]).is_ready());
}

#[test]
fn places_of_those_who_left_are_used_again() {
    let token = CancellationToken::new();
    let count = Arc::<Count>::default();
    let stays = pin!(token.cancelled());
    assert!(poll(stays, &count).is_pending());
    let mut waiting = Vec::new();
    for round in 0..50 {
        let mut future = Box::pin(token.cancelled());
        assert!(poll(future.as_mut(), &count).is_pending());
        waiting.push(future);
        if round % 3 == 2 {
            drop(waiting.swap_remove(0));
        }
    }
    token.cancel();
    assert_eq!(count.get(), 1 + waiting.len());
}

#[test]
fn a_future_runs_until_then() {
    let token = CancellationToken::new();
    let count = Arc::<Count>::default();
    assert_eq!(poll(pin!(token.run_until_cancelled(ready(1))), &count), Poll::Ready(Some(1)));
    let mut running = pin!(token.run_until_cancelled(pending::<()>()));
    let mut owned = pin!(token.clone().run_until_cancelled_owned(pending::<()>()));
    assert!(poll(running.as_mut(), &count).is_pending() && poll(owned.as_mut(), &count).is_pending());
    token.cancel();
    assert_eq!(count.get(), 2);
    assert_eq!(poll(running, &count), Poll::Ready(None));
    assert_eq!(poll(owned, &count), Poll::Ready(None));
    assert_eq!(
        poll(pin!(token.run_until_cancelled(ready(1))), &count),
        Poll::Ready(None),
        "both: it is cancelled"
    );
}

#[test]
fn a_guard_cancels_unless_it_is_disarmed() {
    let token = CancellationToken::new();
    drop(token.clone().drop_guard().disarm());
    assert!(!token.is_cancelled());
    drop(token.clone().drop_guard());
    assert!(token.is_cancelled());
}

/// A waker that comes back to the token when it is woken or dropped: a deadlock if any of that ran under a lock. And one that panics.
#[test]
fn user_code_runs_under_no_lock_and_may_panic() {
    struct Reentrant(CancellationToken);
    impl Wake for Reentrant {
        fn wake(self: Arc<Self>) {
            self.0.cancel();
            panic!("a waker that panics");
        }
    }
    impl Drop for Reentrant {
        fn drop(&mut self) {
            drop(self.0.child_token());
            self.0.cancel();
        }
    }
    let token = CancellationToken::new();
    let other = CancellationToken::new();
    let count = Arc::<Count>::default();
    let mut waits = pin!(token.cancelled());
    for _ in 0..2 {
        let waker = Waker::from(Arc::new(Reentrant(other.child_token())));
        assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    let mut last = pin!(token.cancelled());
    assert!(poll(last.as_mut(), &count).is_pending());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    token.cancel();
    std::panic::set_hook(hook);
    assert_eq!(count.get(), 1, "the panic costs nobody else the wake-up");
}

#[test]
fn it_goes_to_any_thread_and_through_any_unwinding() {
    fn to_any_thread<T: Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    to_any_thread::<CancellationToken>();
    to_any_thread::<DropGuard>();
    to_any_thread::<WaitForCancellation<'static>>();
    to_any_thread::<WaitForCancellationOwned>();
    to_any_thread::<RunUntilCancelled<'static, std::future::Ready<()>>>();
}
