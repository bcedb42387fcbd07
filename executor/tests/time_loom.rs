//! Models of a timer's transitions and of the worker's sleep, for loom: `RUSTFLAGS="--cfg egret_loom" cargo test --release --test time_loom`.
//!
//! The crate compiles only its plain parts under loom, so the model takes the files it checks in by their path.
#![cfg(egret_loom)]
#![allow(dead_code)]

#[path = "../src/sync.rs"]
mod sync;

#[path = "../src/prefetch.rs"]
mod prefetch;

#[path = "../src/io"]
mod io {
    pub(crate) mod wake_batch;
}

#[path = "../src/time"]
mod time {
    pub(crate) mod clock;
    pub(crate) mod driver;
    pub(crate) mod slots;
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
    sync::LazyLock,
    task::{Poll, Waker},
    time::{Duration, Instant},
};
use time::{
    clock::Moment,
    driver::{Block, Next, Polled, Timers},
    wheel::Index,
};

const SECOND: Duration = Duration::from_secs(1);

/// The same in all executions of a model: how often a timer is filed anew depends on it, and loom wants to see the same again.
static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Arms a timer that is due a second after `now`.
fn arm(timers: &Timers, now: Instant) -> (Arc<Block>, Index) {
    let (block, index, _) = timers.insert(now.into(), (now + SECOND).into(), Waker::noop().clone()).unwrap();
    (block, index)
}

/// A timer that is armed, and a thread that finds it due.
struct Firing {
    now: Instant,
    timers: Timers,
    block: Arc<Block>,
    index: Index,
    worker: thread::JoinHandle<()>,
}

impl Firing {
    fn new() -> Self {
        let now = *NOW;
        let timers = Timers::starting(now.into());
        let (block, index) = arm(&timers, now);
        let worker = {
            let timers = timers.clone();
            thread::spawn(move || timers.fire(now + 2 * SECOND))
        };
        Self { now, timers, block, index, worker }
    }
}

/// A future that moved to another task sets that task's waker while the timer fires: woken, or told that it fired.
#[test]
fn fire_against_a_change_of_the_waker() {
    loom::model(|| {
        let Firing { now, timers, block, index, worker } = Firing::new();
        block_on(poll_fn(|cx| match block.poll(&index, (now + SECOND).into(), cx.waker()) {
            Polled::Waits => Poll::Pending,
            Polled::Elapsed => Poll::Ready(()),
            Polled::TooEarly => panic!("nobody has put it off"),
        }));
        worker.join().unwrap();
        timers.shutdown();
    });
}

/// A reset while the timer fires: it waits for the new deadline, or is told that it fired; never is it gone and believed armed.
#[test]
fn fire_against_reset() {
    loom::model(|| {
        let Firing { now, timers, block, index, worker } = Firing::new();
        let later = (now + 9 * SECOND).into();
        let armed = block.reset(&index, later).is_some();
        worker.join().unwrap();
        assert_eq!(timers.next_deadline().is_some(), armed);
        if armed {
            assert_eq!(block.poll(&index, later, Waker::noop()), Polled::Waits);
        }
        timers.shutdown();
    });
}

/// A timer is put off, with no lock, while it fires: it waits for the new deadline, and the worker knows when, or it has fired and says at the poll
/// that this was too early. Never is it ready, and never does it wait for a fire that doesn't come.
#[test]
fn fire_against_put_off() {
    loom::model(|| {
        let Firing { now, timers, block, index, worker } = Firing::new();
        let later = Moment::from(now + 9 * SECOND);
        block.put_off(&index, later.tick_not_before());
        let polled = block.poll(&index, later, Waker::noop());
        worker.join().unwrap();
        match polled {
            // The fire that came then has read the new deadline, or else the future will be polled again by its wake.
            Polled::Waits => match block.poll(&index, later, Waker::noop()) {
                Polled::Waits => {
                    assert!(timers.next_deadline().is_some_and(|next| next <= now + 10 * SECOND))
                }
                Polled::TooEarly => {}
                Polled::Elapsed => panic!("early"),
            },
            Polled::TooEarly => {}
            Polled::Elapsed => panic!("early"),
        }
        timers.shutdown();
    });
}

/// A timer is cancelled, and its place used again, while the old one fires: the new one waits.
#[test]
fn fire_against_cancel_and_a_successor() {
    loom::model(|| {
        let Firing { now, timers, block, index, worker } = Firing::new();
        block.cancel(&index);
        let later = (now + 9 * SECOND).into();
        let (block, index, _) = timers.insert(now.into(), later, Waker::noop().clone()).unwrap();
        worker.join().unwrap();
        assert_eq!(block.poll(&index, later, Waker::noop()), Polled::Waits);
        assert!(timers.next_deadline().is_some_and(|next| next <= now + 10 * SECOND));
        timers.shutdown();
    });
}

/// A worker that is about to sleep for ever, and somebody who arms a timer: the worker sees the deadline, or is interrupted and sees it then.
#[test]
fn no_deadline_is_lost_between_reading_it_and_waiting() {
    loom::model(|| {
        let now = *NOW;
        let timers = Timers::starting(now.into());
        let lane = Arc::new(Sticky::default());
        let user = {
            let (timers, lane) = (timers.clone(), lane.clone());
            thread::spawn(move || {
                let (.., next) =
                    timers.insert(now.into(), (now + SECOND).into(), Waker::noop().clone()).unwrap();
                if next == Next::Earlier {
                    lane.interrupt();
                }
            })
        };
        while timers.next_deadline().is_none() {
            lane.wait();
        }
        user.join().unwrap();
        timers.shutdown();
    });
}

/// The same with a second, later insertion, whose own "unchanged" must not hide that the first one was earlier.
#[test]
fn two_insertions_against_a_worker_that_goes_to_sleep() {
    // Three threads: bounded, as tokio's models are.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let now = *NOW;
        let timers = Timers::starting(now.into());
        let lane = Arc::new(Sticky::default());
        let users: Vec<_> = [1, 2]
            .map(|seconds| {
                let (timers, lane) = (timers.clone(), lane.clone());
                thread::spawn(move || {
                    let deadline = (now + seconds * SECOND).into();
                    let (.., next) = timers.insert(now.into(), deadline, Waker::noop().clone()).unwrap();
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
        timers.shutdown();
    });
}
