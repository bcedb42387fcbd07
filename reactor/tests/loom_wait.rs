//! Models of the engine's protocols: every interleaving within loom's preemption bound.
//!
//! `RUSTFLAGS="--cfg egret_loom" cargo test -p egret-reactor --release --test loom_wait`
//!
//! Each is named after the bug it would catch. A lost wake-up shows as a deadlock that loom reports. In a model a timed wait
//! may time out at any moment.
#![cfg(egret_loom)]

use egret_reactor::{Counter, Event, Eventpoll, Events, PollTable, Source, WaitQueue};
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use std::sync::Arc;
use std::time::Duration;

const SOON: Option<Duration> = Some(Duration::from_secs(1));
const NOW: Option<Duration> = Some(Duration::ZERO);

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

fn wait(poll: &Eventpoll, timeout: Option<Duration>) -> usize {
    poll.wait(&mut [Event::default(); 4], timeout).unwrap()
}

#[test]
fn an_event_between_the_look_and_the_sleep_is_not_lost() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let counter = Arc::new(Counter::new(0));
        poll.add(&counter, 0, Events::IN | Events::ET, 1).unwrap();
        let writer = {
            let counter = counter.clone();
            thread::spawn(move || counter.write(1).unwrap())
        };
        assert_eq!(wait(&poll, None), 1);
        writer.join().unwrap();
    });
}

/// A source whose poll gives the scheduler a chance to run callbacks while a scan is under way.
struct Slow {
    edges: AtomicUsize,
    queue: WaitQueue,
}

impl Slow {
    fn fire(&self) {
        self.edges.fetch_add(1, Ordering::SeqCst);
        self.queue.wake(Events::IN);
    }
}

impl Source for Slow {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        table.register(&self.queue);
        if self.edges.load(Ordering::SeqCst) > 0 { Events::IN } else { Events::empty() }
    }
}

#[test]
fn an_edge_that_comes_during_a_scan_is_delivered_by_the_next() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let slow = Arc::new(Slow { edges: AtomicUsize::new(0), queue: WaitQueue::new() });
        poll.add(&slow, 0, Events::IN | Events::ET, 1).unwrap();
        slow.fire();
        let writer = {
            let slow = slow.clone();
            thread::spawn(move || slow.fire())
        };
        // The first edge is there. The second comes before, during or after this scan.
        assert_eq!(wait(&poll, NOW), 1);
        let seen = slow.edges.load(Ordering::SeqCst);
        writer.join().unwrap();
        let again = wait(&poll, NOW);
        // Coalesced with the first, or an event of its own: but if the scan could not have seen it, it must come again.
        assert!(seen == 2 || again == 1, "saw {seen} edges and no second event");
        assert!(again <= 1);
        assert_eq!(wait(&poll, NOW), 0, "an edge is told once");
    });
}

#[test]
fn overflow_during_a_scan_keeps_every_item_once() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let a = Arc::new(Counter::new(1));
        let b = Arc::new(Counter::new(0));
        poll.add(&a, 0, Events::IN, 1).unwrap();
        poll.add(&b, 0, Events::IN, 2).unwrap();
        let writer = {
            let (a, b) = (a.clone(), b.clone());
            thread::spawn(move || {
                a.write(1).unwrap();
                b.write(1).unwrap();
            })
        };
        let first = wait(&poll, NOW);
        assert!(first == 1 || first == 2);
        writer.join().unwrap();
        assert_eq!(wait(&poll, NOW), 2, "both are ready, each is told once");
        a.read().unwrap();
        b.read().unwrap();
        assert_eq!(wait(&poll, NOW), 0);
    });
}

#[test]
fn a_notification_between_the_look_and_the_sleep_is_not_lost() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let notifier = {
            let poll = poll.clone();
            thread::spawn(move || poll.notify_one())
        };
        let woken = poll.wait_notified(&mut [Event::default(); 4], None).unwrap();
        assert!(woken.notified);
        notifier.join().unwrap();
    });
}

#[test]
fn a_notification_that_meets_a_timeout_is_told_or_kept() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let notifier = {
            let poll = poll.clone();
            thread::spawn(move || poll.notify_one())
        };
        let first = poll.wait_notified(&mut [Event::default(); 4], SOON).unwrap();
        notifier.join().unwrap();
        let second = poll.wait_notified(&mut [Event::default(); 4], NOW).unwrap();
        assert!(first.notified ^ second.notified, "one notification, one wait that ends for it");
    });
}

#[test]
fn a_waiter_that_times_out_while_it_is_woken_takes_the_event() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let counter = Arc::new(Counter::new(0));
        poll.add(&counter, 0, Events::IN | Events::ET, 1).unwrap();
        let patient = {
            let poll = poll.clone();
            thread::spawn(move || wait(&poll, None))
        };
        let hasty = {
            let poll = poll.clone();
            thread::spawn(move || wait(&poll, SOON))
        };
        counter.write(1).unwrap();
        let hasty = hasty.join().unwrap();
        if hasty == 1 {
            // The edge is used up; the other needs one of its own. If the hasty one had swallowed the wake-up without the
            // event, the patient one would sleep for ever.
            counter.write(1).unwrap();
        }
        assert_eq!(patient.join().unwrap(), 1);
    });
}

#[test]
fn the_cascade_reaches_the_second_waiter() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let a = Arc::new(Counter::new(0));
        let b = Arc::new(Counter::new(0));
        poll.add(&a, 0, Events::IN | Events::ET, 1).unwrap();
        poll.add(&b, 0, Events::IN | Events::ET, 2).unwrap();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let poll = poll.clone();
                thread::spawn(move || poll.wait(&mut [Event::default(); 1], None).unwrap())
            })
            .collect();
        a.write(1).unwrap();
        b.write(1).unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), 1);
        }
    });
}

#[test]
fn modify_against_an_event_misses_neither() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let counter = Arc::new(Counter::new(0));
        poll.add(&counter, 0, Events::empty(), 1).unwrap();
        let writer = {
            let counter = counter.clone();
            thread::spawn(move || counter.write(1).unwrap())
        };
        poll.modify(&counter, 0, Events::IN | Events::ET, 2).unwrap();
        assert_eq!(wait(&poll, None), 1);
        writer.join().unwrap();
    });
}

#[test]
fn a_level_is_not_overlooked_while_another_thread_scans() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let counter = Arc::new(Counter::new(1));
        poll.add(&counter, 0, Events::IN, 1).unwrap();
        let other = {
            let poll = poll.clone();
            thread::spawn(move || wait(&poll, NOW))
        };
        assert_eq!(wait(&poll, NOW), 1);
        assert_eq!(other.join().unwrap(), 1);
    });
}

#[test]
fn removing_while_an_event_arrives_leaves_nothing() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let counter = Arc::new(Counter::new(0));
        poll.add(&counter, 0, Events::IN, 1).unwrap();
        let writer = {
            let counter = counter.clone();
            thread::spawn(move || counter.write(1).unwrap())
        };
        poll.remove(&counter, 0).unwrap();
        assert_eq!(wait(&poll, NOW), 0);
        writer.join().unwrap();
        assert_eq!(wait(&poll, NOW), 0);
    });
}

#[test]
fn a_source_that_goes_away_during_a_scan_vanishes() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let counter = Arc::new(Counter::new(1));
        poll.add(&counter, 0, Events::IN, 1).unwrap();
        let closer = thread::spawn(move || drop(counter));
        let seen = wait(&poll, NOW);
        assert!(seen <= 1);
        closer.join().unwrap();
        assert_eq!(wait(&poll, NOW), 0);
    });
}

#[test]
fn an_exclusive_walk_wakes_a_waiter_that_is_there() {
    model(|| {
        let counter = Arc::new(Counter::new(0));
        let polls: Vec<_> = (0..2).map(|_| Eventpoll::new().unwrap()).collect();
        for poll in &polls {
            poll.add(&counter, 0, Events::IN | Events::EXCLUSIVE, 1).unwrap();
        }
        let done = Arc::new(AtomicBool::new(false));
        let waiter = {
            let (poll, done) = (polls[1].clone(), done.clone());
            thread::spawn(move || {
                let n = wait(&poll, None);
                done.store(true, Ordering::SeqCst);
                n
            })
        };
        // Nobody waits on the first: it accumulates the event and lets the walk go on.
        counter.write(1).unwrap();
        assert_eq!(waiter.join().unwrap(), 1);
        assert!(done.load(Ordering::SeqCst));
    });
}
