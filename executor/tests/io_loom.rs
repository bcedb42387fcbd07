//! Models of what a waiter of a socket does against the engine, for loom: `RUSTFLAGS="--cfg egret_loom" cargo test --release --test io_loom`.
//!
//! The crate compiles only its plain parts under loom, so the model takes the file it checks in by its path.
#![cfg(egret_loom)]
#![allow(dead_code)]

#[path = "../src/sync.rs"]
mod sync;

#[path = "../src/prefetch.rs"]
mod prefetch;

#[path = "../src/io/mod.rs"]
mod io;

#[path = "../src/task"]
mod task {
    pub(crate) mod quiet;
}

#[path = "time_support/block_on.rs"]
mod block_on;

use block_on::block_on;
use egret_reactor::Events;
use io::{Direction, ScheduledIo};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
};
use std::{
    future::poll_fn,
    task::{Poll, Waker},
};

/// A socket as the engine sees it: the readiness is set, then the event is delivered. Relaxed: the lock alone has to order it.
#[derive(Default)]
struct Socket {
    readiness: AtomicUsize,
    scheduled: ScheduledIo,
}

impl Socket {
    fn deliver(&self, events: Events) {
        self.readiness.fetch_or(events.bits() as usize, Relaxed);
        self.scheduled.wake(events);
    }

    fn has(&self, events: Events) -> bool {
        self.readiness.load(Relaxed) & events.bits() as usize != 0
    }

    async fn wait_fixed(&self, direction: Direction, events: Events) {
        poll_fn(|cx| {
            if self.has(events) {
                return Poll::Ready(());
            }
            self.scheduled.set(direction, cx.waker());
            if self.has(events) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    async fn wait_listed(&self, events: Events) {
        let mut id = None;
        poll_fn(|cx| {
            if self.has(events) {
                return Poll::Ready(());
            }
            if !id.is_some_and(|id| self.scheduled.update(id, cx.waker())) {
                id = Some(self.scheduled.add(events, cx.waker()));
            }
            if self.has(events) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        if let Some(id) = id {
            self.scheduled.remove(id);
        }
    }
}

/// A named waiter leaves without the lock if the marks say that nobody is left, while a poll moves it from its place to the list, and an event
/// may take it out of either: wherever it was, it is gone then.
///
/// The gate orders nothing. Loom looks for another order only where it saw two threads at one object, one right after the other, and `set` looks
/// at a mark before it writes it: without that it never runs the poll between the arrival and the look at the marks.
#[test]
fn a_waiter_that_the_marks_deny_is_not_there() {
    for direction in [Direction::Read, Direction::Write] {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let scheduled = Arc::new(ScheduledIo::default());
            let event = {
                let scheduled = scheduled.clone();
                thread::spawn(move || scheduled.wake(Events::HUP))
            };
            let gate = Arc::new(AtomicBool::new(false));
            let poll = {
                let (scheduled, gate) = (scheduled.clone(), gate.clone());
                thread::spawn(move || {
                    gate.store(true, Relaxed);
                    scheduled.set(direction, Waker::noop());
                })
            };
            let other = scheduled.add(Events::IN, Waker::noop());
            let name = scheduled.add(direction.mask(), Waker::noop());
            scheduled.remove(other);
            gate.load(Relaxed);
            if scheduled.any_named() {
                scheduled.remove(name);
            }
            assert!(!scheduled.update(name, Waker::noop()), "it was left behind");
            event.join().unwrap();
            poll.join().unwrap();
            assert!(!scheduled.any_named());
        });
    }
}

#[test]
fn no_event_between_storing_the_waker_and_looking_again_is_lost() {
    loom::model(|| {
        let socket = Arc::new(Socket::default());
        let engine = {
            let socket = socket.clone();
            thread::spawn(move || socket.deliver(Events::IN))
        };
        block_on(socket.wait_fixed(Direction::Read, Events::IN));
        engine.join().unwrap();
    });
}

#[test]
fn one_event_for_both_directions_wakes_both() {
    // Three threads: bounded, or it takes minutes. Two preemptions are what tokio's models run with.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let socket = Arc::new(Socket::default());
        let writer = {
            let socket = socket.clone();
            thread::spawn(move || block_on(socket.wait_fixed(Direction::Write, Events::OUT)))
        };
        let engine = {
            let socket = socket.clone();
            thread::spawn(move || socket.deliver(Events::IN | Events::OUT))
        };
        block_on(socket.wait_fixed(Direction::Read, Events::IN));
        writer.join().unwrap();
        engine.join().unwrap();
    });
}

#[test]
fn an_event_for_somebody_else_does_not_cost_a_listed_waiter_its_own() {
    loom::model(|| {
        let socket = Arc::new(Socket::default());
        let engine = {
            let socket = socket.clone();
            thread::spawn(move || {
                socket.deliver(Events::OUT);
                socket.deliver(Events::IN);
            })
        };
        block_on(socket.wait_listed(Events::IN));
        engine.join().unwrap();
    });
}

#[test]
fn a_waiter_that_comes_during_shutdown_is_woken_or_told() {
    loom::model(|| {
        let shared = Arc::new((AtomicBool::new(false), ScheduledIo::default()));
        let closer = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.0.store(true, Relaxed);
                shared.1.wake_all();
            })
        };
        block_on(poll_fn(|cx| {
            shared.1.set(Direction::Read, cx.waker());
            if shared.0.load(Relaxed) { Poll::Ready(()) } else { Poll::Pending }
        }));
        closer.join().unwrap();
    });
}
