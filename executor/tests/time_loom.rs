//! Models of a timer's transitions and of the worker's sleep, for loom: `RUSTFLAGS="--cfg egret_loom" cargo test --release --test time_loom`.
//!
//! The crate compiles only its plain parts under loom, so the model takes the files it checks in by their path.
#![cfg(egret_loom)]
#![allow(dead_code)]

#[path = "../src/sync.rs"]
mod sync;

#[path = "../src/io"]
mod io {
    pub(crate) mod wake_batch;
}

#[path = "../src/time"]
mod time {
    pub(crate) mod driver;
    pub(crate) mod wheel;
}

#[path = "../src/task"]
mod task {
    pub(crate) mod quiet;
}

#[path = "time_support/block_on.rs"]
mod block_on;

use block_on::{Sticky, block_on};
use loom::{sync::Arc, thread};
use std::{
    future::poll_fn,
    task::{Poll, Waker},
    time::{Duration, Instant},
};
use time::driver::{Armed, Next, Timers};

const SECOND: Duration = Duration::from_secs(1);

/// A future that moved to another task sets that task's waker while the timer fires: woken, or told that it fired.
#[test]
fn fire_against_a_change_of_the_waker() {
    loom::model(|| {
        let timers = Timers::new();
        let now = Instant::now();
        let (key, _) = timers.insert(now, now + SECOND, Waker::noop().clone()).unwrap();
        let worker = {
            let timers = timers.clone();
            thread::spawn(move || timers.fire(now + 2 * SECOND))
        };
        block_on(poll_fn(|cx| match timers.set_waker(key, cx.waker()) {
            Armed::Yes => Poll::Pending,
            Armed::Fired => Poll::Ready(()),
        }));
        worker.join().unwrap();
    });
}

/// A reset while the timer fires: it waits for the new deadline, or is told that it fired; never is it gone and believed armed.
#[test]
fn fire_against_reset() {
    loom::model(|| {
        let timers = Timers::new();
        let now = Instant::now();
        let (key, _) = timers.insert(now, now + SECOND, Waker::noop().clone()).unwrap();
        let worker = {
            let timers = timers.clone();
            thread::spawn(move || timers.fire(now + 2 * SECOND))
        };
        let armed = timers.reset(key, now + 9 * SECOND).is_some();
        worker.join().unwrap();
        assert_eq!(timers.next_deadline().is_some(), armed);
        assert_eq!(timers.set_waker(key, Waker::noop()), if armed { Armed::Yes } else { Armed::Fired });
    });
}

/// A worker that is about to sleep for ever, and somebody who arms a timer: the worker sees the deadline, or is interrupted and sees it then.
#[test]
fn no_deadline_is_lost_between_reading_it_and_waiting() {
    loom::model(|| {
        let timers = Timers::new();
        let lane = Arc::new(Sticky::default());
        let now = Instant::now();
        let user = {
            let (timers, lane) = (timers.clone(), lane.clone());
            thread::spawn(move || {
                let (_, next) = timers.insert(now, now + SECOND, Waker::noop().clone()).unwrap();
                if next == Next::Earlier {
                    lane.interrupt();
                }
            })
        };
        while timers.next_deadline().is_none() {
            lane.wait();
        }
        user.join().unwrap();
    });
}

/// The same with a second, later insertion, whose own "unchanged" must not hide that the first one was earlier.
#[test]
fn two_insertions_against_a_worker_that_goes_to_sleep() {
    // Three threads: bounded, as tokio's models are.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let timers = Timers::new();
        let lane = Arc::new(Sticky::default());
        let now = Instant::now();
        let users: Vec<_> = [1, 2]
            .map(|seconds| {
                let (timers, lane) = (timers.clone(), lane.clone());
                thread::spawn(move || {
                    let deadline = now + seconds * SECOND;
                    let (_, next) = timers.insert(now, deadline, Waker::noop().clone()).unwrap();
                    if next == Next::Earlier {
                        lane.interrupt();
                    }
                })
            })
            .into_iter()
            .collect();
        // Sleeps towards the first second at last, whichever came first.
        while timers.next_deadline().is_none_or(|next| next >= now + 2 * SECOND) {
            lane.wait();
        }
        for user in users {
            user.join().unwrap();
        }
    });
}
