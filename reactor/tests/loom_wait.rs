//! Models of waiting and delivery: every interleaving within loom's preemption bound.
//!
//! `RUSTFLAGS="--cfg egret_loom" cargo test -p egret-reactor --release --test loom_wait`
//!
//! Each is named after the bug it would catch. A lost wake-up shows as a deadlock that loom reports.
#![cfg(egret_loom)]

mod loom_common;

use egret_reactor::{Counter, Event, Eventpoll, Events};
use loom_common::{ET, Lamp, NOW, SOON, bounded_model, model, take_one, wait, waiter, with};
use std::sync::Arc;

fn watching<const N: usize>(mode: Events) -> (Eventpoll, [Arc<Counter>; N]) {
    let poll = Eventpoll::new().unwrap();
    let counters = std::array::from_fn(|_| Arc::new(Counter::new(0)));
    for (counter, data) in counters.iter().zip(0..) {
        poll.add(counter, 0, Events::IN | mode, data).unwrap();
    }
    (poll, counters)
}

#[test]
fn an_event_between_the_look_and_the_sleep_is_not_lost() {
    model(|| {
        let (poll, [counter]) = watching(Events::ET);
        let writer = with(&counter, |counter| counter.write(1).unwrap());
        assert_eq!(wait(&poll, None), 1);
        writer.join().unwrap();
    });
}

#[test]
fn a_notification_between_the_look_and_the_sleep_is_not_lost() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let notifier = with(&poll, |poll| poll.notify_one());
        let woken = poll.wait_notified(&mut [Event::default(); 4], None).unwrap();
        assert!(woken.notified);
        notifier.join().unwrap();
    });
}

#[test]
fn a_notification_and_an_event_for_one_waiter_are_both_told_or_kept() {
    model(|| {
        let (poll, [counter]) = watching(Events::ET);
        let waiter = with(&poll, |poll| poll.wait_notified(&mut [Event::default(); 4], None).unwrap());
        let notifier = with(&poll, |poll| poll.notify_one());
        counter.write(1).unwrap();
        notifier.join().unwrap();
        let first = waiter.join().unwrap();
        let second = poll.wait_notified(&mut [Event::default(); 4], NOW).unwrap();
        assert!(first.notified ^ second.notified, "one notification, one wait that ends for it");
        assert_eq!(first.events + second.events, 1);
    });
}

#[test]
fn a_notification_that_meets_a_timeout_is_told_or_kept() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let notifier = with(&poll, |poll| poll.notify_one());
        let first = poll.wait_notified(&mut [Event::default(); 4], SOON).unwrap();
        notifier.join().unwrap();
        let second = poll.wait_notified(&mut [Event::default(); 4], NOW).unwrap();
        assert!(first.notified ^ second.notified, "one notification, one wait that ends for it");
    });
}

#[test]
fn a_waiter_that_times_out_while_it_is_woken_takes_the_event() {
    bounded_model(4, || {
        let (poll, [counter]) = watching(Events::ET);
        let patient = waiter(&poll, None);
        let hasty = waiter(&poll, SOON);
        counter.write(1).unwrap();
        if hasty.join().unwrap() == 1 {
            // The edge is used up; the other needs one of its own. If the hasty one had swallowed the wake-up without the
            // event, the patient one would sleep for ever.
            counter.write(1).unwrap();
        }
        assert_eq!(patient.join().unwrap(), 1);
    });
}

#[test]
fn a_look_without_blocking_does_not_take_a_sleepers_wake_up_along() {
    bounded_model(4, || {
        let (poll, [a, b]) = watching(Events::ET);
        let patient = with(&poll, |poll| take_one(&poll, None));
        let writer = with(&[a.clone(), b.clone()], |[a, b]| {
            a.write(1).unwrap();
            b.write(1).unwrap();
        });
        // Takes one of the two at most: the other is the sleeper's, whichever of the two it was woken for.
        let taken = take_one(&poll, NOW);
        writer.join().unwrap();
        assert_eq!(patient.join().unwrap(), 1);
        assert_eq!(taken + wait(&poll, NOW), 1);
    });
}

#[test]
fn an_edge_that_comes_during_a_scan_is_delivered_by_the_next() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let lamp = Lamp::new(0);
        poll.add(&lamp, 0, ET, 1).unwrap();
        lamp.flash();
        let switch = with(&lamp, |lamp| lamp.flash());
        // The first edge is there. The second comes before, during or after this scan.
        assert_eq!(wait(&poll, NOW), 1);
        let seen = lamp.seen();
        switch.join().unwrap();
        let again = wait(&poll, NOW);
        assert!(seen == 2 || again == 1, "the scan saw {seen} flashes, and there was no second event");
        assert!(again <= 1);
        assert_eq!(wait(&poll, NOW), 0, "an edge is told once");
    });
}

#[test]
fn overflow_during_a_scan_keeps_every_item_once() {
    model(|| {
        let (poll, [a, b]) = watching(Events::empty());
        a.write(1).unwrap();
        let writer = with(&[a.clone(), b.clone()], |[a, b]| {
            a.write(1).unwrap();
            b.write(1).unwrap();
        });
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
fn two_edges_for_two_waiters_with_room_for_one() {
    bounded_model(4, || {
        let (poll, [a, b]) = watching(Events::ET);
        let waiters = [(); 2].map(|()| with(&poll, |poll| take_one(&poll, None)));
        a.write(1).unwrap();
        b.write(1).unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), 1);
        }
    });
}

#[test]
fn two_edges_by_one_operation_for_two_waiters_with_room_for_one() {
    bounded_model(4, || {
        let (poll, [counter]) = watching(Events::ET);
        poll.add(&counter, 1, ET, 1).unwrap();
        let waiters = [(); 2].map(|()| with(&poll, |poll| take_one(&poll, None)));
        counter.write(1).unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), 1);
        }
    });
}

/// Nobody reads, so whoever has it leaves it on the list: only the cascade reaches the second sleeper.
#[test]
fn the_cascade_reaches_the_second_waiter() {
    bounded_model(4, || {
        let (poll, [counter]) = watching(Events::empty());
        let waiters = [(); 2].map(|()| waiter(&poll, None));
        counter.write(1).unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), 1);
        }
    });
}

#[test]
fn a_level_is_not_overlooked_while_another_thread_scans() {
    model(|| {
        let (poll, [counter]) = watching(Events::empty());
        counter.write(1).unwrap();
        let other = waiter(&poll, NOW);
        assert_eq!(wait(&poll, NOW), 1);
        assert_eq!(other.join().unwrap(), 1);
    });
}

#[test]
fn a_level_is_not_overlooked_when_a_deadline_passes_while_another_thread_scans() {
    model(|| {
        let (poll, [counter]) = watching(Events::empty());
        counter.write(1).unwrap();
        let other = waiter(&poll, SOON);
        assert_eq!(wait(&poll, SOON), 1);
        assert_eq!(other.join().unwrap(), 1);
    });
}

#[test]
fn one_shot_goes_to_exactly_one_of_two() {
    bounded_model(4, || {
        let (poll, [counter]) = watching(Events::ONESHOT);
        let waiters = [(); 2].map(|()| waiter(&poll, SOON));
        // Twice: the second may fall into the scan that delivers the first.
        counter.write(1).unwrap();
        counter.write(1).unwrap();
        let mut told: usize = waiters.into_iter().map(|waiter| waiter.join().unwrap()).sum();
        told += wait(&poll, NOW);
        assert_eq!(told, 1);
        counter.write(1).unwrap();
        assert_eq!(wait(&poll, NOW), 0, "it is disarmed");
        poll.modify(&counter, 0, Events::IN | Events::ONESHOT, 0).unwrap();
        assert_eq!(wait(&poll, NOW), 1);
    });
}

/// Every edge is somebody's: whoever is told reads, until all that was written is read.
#[test]
fn two_readers_of_one_edge_triggered_source_leave_nothing_behind() {
    bounded_model(4, || {
        let (poll, [counter]) = watching(Events::ET);
        let reader = |poll: Eventpoll, counter: Arc<Counter>| {
            if wait(&poll, SOON) == 1 { counter.read().unwrap_or(0) } else { 0 }
        };
        let readers = [(); 2]
            .map(|()| with(&(poll.clone(), counter.clone()), move |(poll, counter)| reader(poll, counter)));
        counter.write(1).unwrap();
        counter.write(1).unwrap();
        let mut read: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        if read < 2 {
            assert_eq!(wait(&poll, NOW), 1, "{read} of 2 were read, and nothing tells of the rest");
            read += counter.read().unwrap();
        }
        assert_eq!(read, 2);
    });
}

#[test]
fn an_exclusive_walk_wakes_a_waiter_that_is_there() {
    model(|| {
        let counter = Arc::new(Counter::new(0));
        let polls = [(); 2].map(|()| Eventpoll::new().unwrap());
        for poll in &polls {
            poll.add(&counter, 0, Events::IN | Events::EXCLUSIVE, 1).unwrap();
        }
        let waiter = waiter(&polls[1], None);
        // Nobody waits on the first: it accumulates the event and lets the walk go on.
        counter.write(1).unwrap();
        assert_eq!(waiter.join().unwrap(), 1);
    });
}

#[test]
fn an_exclusive_event_is_not_consumed_by_a_waiter_that_times_out() {
    model(|| {
        let counter = Arc::new(Counter::new(0));
        let polls = [(); 2].map(|()| Eventpoll::new().unwrap());
        for poll in &polls {
            poll.add(&counter, 0, ET | Events::EXCLUSIVE, 1).unwrap();
        }
        let hasty = waiter(&polls[0], SOON);
        let patient = waiter(&polls[1], None);
        counter.write(1).unwrap();
        // The walk ended at the first if somebody slept there. Then that one has the event, whatever its clock says.
        if hasty.join().unwrap() == 1 {
            counter.write(1).unwrap();
        }
        assert_eq!(patient.join().unwrap(), 1);
    });
}
