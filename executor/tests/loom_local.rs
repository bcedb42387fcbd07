//! Models of a local set's inbox for loom: `RUSTFLAGS="--cfg egret_loom" cargo test --release --test loom_local`.
//!
//! The bugs they would catch: a task that comes from elsewhere while the set goes to sleep, and is slept over; one that a driver was woken for, and
//! that nobody polls because that driver went; a set that waits, on its end, for a task that has come.
#![cfg(egret_loom)]

#[path = "time_support/block_on.rs"]
mod block_on;

use std::{collections::VecDeque, future::poll_fn, sync::Arc, task::Poll};

use block_on::block_on;
use egret_executor::model::{Inbox, Settle};
use loom::thread;

/// What `Context::drive` does with an inbox: takes what came, and sleeps if it hasn't all that it waits for.
async fn drive(inbox: &Inbox<usize>, driver: u64, mut wanted: usize) {
    poll_fn(|cx| {
        let mut queue = VecDeque::new();
        inbox.open(&mut queue);
        wanted -= queue.len();
        if wanted == 0 {
            return Poll::Ready(());
        }
        if inbox.settle(driver, cx.waker().clone()) == Settle::Stirred {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
}

/// A wake from elsewhere meets the set on its way to sleep.
#[test]
fn no_foreign_wake_is_slept_over() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::default());
        let waker = {
            let inbox = inbox.clone();
            thread::spawn(move || inbox.push(1))
        };
        block_on(drive(&inbox, 0, 1));
        waker.join().unwrap();
    });
}

/// The second finds the set awake, and wakes nobody.
#[test]
fn two_foreign_wakes_both_arrive() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let inbox = Arc::new(Inbox::default());
        let wakers: Vec<_> = (0..2)
            .map(|task| {
                let inbox = inbox.clone();
                thread::spawn(move || inbox.push(task))
            })
            .collect();
        block_on(drive(&inbox, 0, 2));
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
    });
}

/// One driver's future is ready just when something came, which it doesn't poll any more: another one, which sleeps, does.
#[test]
fn what_a_driver_leaves_is_another_ones() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::default());
        let waker = {
            let inbox = inbox.clone();
            thread::spawn(move || inbox.push(1))
        };
        // The set's own, which all drivers poll from.
        let mut queue = VecDeque::new();
        let mut first_is_there = true;
        block_on(poll_fn(|cx| {
            inbox.open(&mut queue);
            if !queue.is_empty() {
                return Poll::Ready(());
            }
            if inbox.settle(1, cx.waker().clone()) == Settle::Stirred {
                cx.waker().wake_by_ref();
            }
            if std::mem::take(&mut first_is_there) {
                inbox.open(&mut queue);
                inbox.leave(0);
            }
            Poll::Pending
        }));
        waker.join().unwrap();
    });
}

/// One driver settles, or finds that something came, with a waker that leads nowhere any more; another one, which sleeps, hears of it.
#[test]
fn a_driver_that_never_comes_back_keeps_nothing() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::default());
        let waker = {
            let inbox = inbox.clone();
            thread::spawn(move || inbox.push(1))
        };
        let mut queue = VecDeque::new();
        let mut other_is_there = true;
        block_on(poll_fn(|cx| {
            inbox.open(&mut queue);
            if !queue.is_empty() {
                return Poll::Ready(());
            }
            if inbox.settle(1, cx.waker().clone()) == Settle::Stirred {
                cx.waker().wake_by_ref();
            }
            if std::mem::take(&mut other_is_there) {
                inbox.open(&mut queue);
                let _stirred = inbox.settle(0, std::task::Waker::noop().clone());
            }
            Poll::Pending
        }));
        waker.join().unwrap();
    });
}

/// The end of a set: it waits for the task that another thread is just waking, and the wake for nobody.
#[test]
fn a_set_that_ends_gets_what_is_on_its_way() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::default());
        let waker = {
            let inbox = inbox.clone();
            thread::spawn(move || inbox.push(1))
        };
        let mut queue = VecDeque::new();
        inbox.wait(&mut queue);
        assert_eq!(queue, [1]);
        inbox.close();
        waker.join().unwrap();
    });
}
