//! Models of a token's tree and of its waiters: `RUSTFLAGS="--cfg egret_loom" cargo test --release --test loom_cancel`.
#![cfg(egret_loom)]

#[path = "time_support/block_on.rs"]
mod block_on;

use block_on::block_on;
use egret_executor::model::CancellationToken;
use loom::thread;
use std::future::Future;

/// The mark, then the wake: whoever waits hears of it.
#[test]
fn no_cancel_is_slept_over() {
    loom::model(|| {
        let token = CancellationToken::new();
        let canceller = {
            let token = token.clone();
            thread::spawn(move || token.cancel())
        };
        block_on(token.cancelled());
        assert!(token.is_cancelled());
        canceller.join().unwrap();
    });
}

/// A child that is made while its parent is cancelled hears of it one way or the other.
#[test]
fn no_child_escapes_a_cancel() {
    loom::model(|| {
        let token = CancellationToken::new();
        let canceller = {
            let token = token.clone();
            thread::spawn(move || token.cancel())
        };
        let child = token.child_token();
        block_on(child.cancelled());
        canceller.join().unwrap();
        assert!(child.is_cancelled() && token.is_cancelled());
    });
}

/// A token in the middle goes away while the root is cancelled: what is below it is cancelled all the same.
#[test]
fn a_drop_in_the_middle_cuts_nobody_off() {
    loom::model(|| {
        let root = CancellationToken::new();
        let middle = root.child_token();
        let leaf = middle.child_token();
        let dropper = thread::spawn(move || drop(middle));
        root.cancel();
        assert!(leaf.is_cancelled());
        dropper.join().unwrap();
        assert!(root.child_token().is_cancelled());
    });
}

/// One leaves while the token is cancelled: neither is disturbed, and another one hears of it.
#[test]
fn leaving_and_cancelling_do_not_disturb_each_other() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let token = CancellationToken::new();
        let canceller = {
            let token = token.clone();
            thread::spawn(move || token.cancel())
        };
        let leaver = {
            let token = token.clone();
            thread::spawn(move || {
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                let _ready = std::pin::pin!(token.cancelled()).as_mut().poll(&mut context);
            })
        };
        block_on(token.cancelled());
        canceller.join().unwrap();
        leaver.join().unwrap();
    });
}

/// A cancel from above meets a token whose last handle is being dropped: its place is given up once, and goes to one successor.
#[test]
fn a_place_is_given_up_once() {
    loom::model(|| {
        let root = CancellationToken::new();
        let middle = root.child_token();
        let leaf = middle.child_token();
        let dropper = thread::spawn(move || drop(leaf));
        middle.cancel();
        dropper.join().unwrap();
        let (one, other) = (root.child_token(), root.child_token());
        one.cancel();
        assert!(one.is_cancelled() && !other.is_cancelled() && !root.is_cancelled());
        root.cancel();
        assert!(other.is_cancelled());
    });
}
