//! The walk over a source's hooks: plain and exclusive. Named after epoll facts.
#![cfg(not(egret_loom))]

mod rules_common;

use egret_reactor::{Counter, Eventpoll, Events};
use rules_common::*;
use std::sync::Arc;

const EXCLUSIVE: Events = Events::IN.union(Events::ET).union(Events::EXCLUSIVE);
const PLAIN: Events = Events::IN.union(Events::ET);

fn instances<const N: usize>() -> [Eventpoll; N] {
    std::array::from_fn(|_| instance())
}

/// The items of one instance are queued in the order of the walk.
#[test]
fn fact_98_plain_hooks_newest_first_then_exclusive_hooks_oldest_first() {
    let [poll] = instances();
    let source = Arc::new(Counter::new(0));
    for (tag, mode) in [(1, EXCLUSIVE), (2, PLAIN), (3, EXCLUSIVE), (4, PLAIN), (5, PLAIN)] {
        poll.add(&source, tag, mode, tag).unwrap();
    }
    source.write(1).unwrap();
    assert_eq!(data(&poll), [5, 4, 2, 1, 3], "nobody waits, so nobody consumes");
}

#[test]
fn fact_71_modify_keeps_the_place_in_the_walk() {
    let [poll] = instances();
    let source = Arc::new(Counter::new(0));
    for tag in 1..=3 {
        poll.add(&source, tag, PLAIN, tag).unwrap();
    }
    poll.modify(&source, 2, PLAIN | Events::PRI, 2).unwrap();
    source.write(1).unwrap();
    assert_eq!(data(&poll), [3, 2, 1]);
}

/// Which of three instances hear of `key`, when the first two have a waiter. All want IN and OUT.
fn heard(key: Events, mode: Events) -> [bool; 3] {
    bounded(move || {
        let [a, b, c] = instances();
        let source = Puppet::new(Events::empty());
        for poll in [&a, &b, &c] {
            poll.add(&source, 0, mode | Events::OUT, 1).unwrap();
        }
        let (first, second) = (Waiting::start(&a, 4), Waiting::start(&b, 4));
        source.set(Events::IN | Events::OUT | Events::ERR);
        source.fire(key);
        // The walk is over; the first has certainly heard, the third shows it in its list.
        assert_eq!(first.data(), [1]);
        let third = ready(&c) == 1;
        // The second was woken in the walk or never.
        b.notify_one();
        let (events, woken) = second.returned();
        let second = !events.is_empty();
        assert!(second || woken.notified);
        [true, second, third]
    })
}

#[test]
fn fact_99_an_unambiguous_key_is_consumed() {
    for key in [Events::IN, Events::OUT, Events::ERR, Events::HUP, Events::empty(), Events::IN | Events::ERR]
    {
        assert_eq!(heard(key, EXCLUSIVE), [true, false, false], "{key:?}");
    }
}

#[test]
fn fact_99_both_directions_at_once_are_never_consumed() {
    assert_eq!(heard(Events::IN | Events::OUT, EXCLUSIVE), [true, true, true]);
}

#[test]
fn fact_98_plain_hooks_are_all_called() {
    assert_eq!(heard(Events::IN, PLAIN), [true, true, true]);
}

#[test]
fn fact_100_an_instance_without_waiter_accumulates_while_the_walk_goes_on() {
    bounded(|| {
        let [idle, waiting, behind] = instances();
        let source = Arc::new(Counter::new(0));
        for poll in [&idle, &waiting, &behind] {
            poll.add(&source, 0, EXCLUSIVE, 1).unwrap();
        }
        let waiter = Waiting::start(&waiting, 4);
        source.write(1).unwrap();
        assert_eq!(waiter.data(), [1]);
        assert_eq!(data(&idle), [1]);
        assert_eq!(data(&behind), [], "it was consumed before");
    });
}

#[test]
fn fact_100_a_poller_is_no_waiter() {
    bounded(|| {
        let [outer, watched, behind] = instances();
        let source = Arc::new(Counter::new(0));
        watched.add(&source, 0, EXCLUSIVE, 1).unwrap();
        behind.add(&source, 0, EXCLUSIVE, 2).unwrap();
        outer.add(&watched, 0, Events::IN | Events::ET, 3).unwrap();
        let waiter = Waiting::start(&outer, 4);
        source.write(1).unwrap();
        assert_eq!(waiter.data(), [3]);
        assert_eq!(data(&watched), [1]);
        assert_eq!(data(&behind), [2], "a waiter one storey up consumes nothing");
    });
}

#[test]
fn fact_101_hooks_are_never_rotated() {
    bounded(|| {
        let [first, second] = instances();
        let source = Arc::new(Counter::new(0));
        first.add(&source, 0, EXCLUSIVE, 1).unwrap();
        second.add(&source, 0, EXCLUSIVE, 2).unwrap();
        let loser = Waiting::start(&second, 4);
        for _ in 0..5 {
            let winner = Waiting::start(&first, 4);
            source.write(1).unwrap();
            assert_eq!(winner.data(), [1]);
        }
        assert_eq!(ready(&second), 0);
        loser.dismiss();
    });
}

#[test]
fn fact_102_each_write_wakes_one_of_eight() {
    bounded(|| {
        let polls: [_; 8] = instances();
        let source = Arc::new(Counter::new(0));
        for (poll, number) in polls.iter().zip(0..) {
            poll.add(&source, 0, EXCLUSIVE, number).unwrap();
        }
        let mut sleepers: Vec<_> = polls.iter().map(|poll| Waiting::start(poll, 4)).collect();
        for number in 0..8 {
            source.write(1).unwrap();
            assert_eq!(sleepers.remove(0).data(), [number]);
            assert!(sleepers.iter().all(Waiting::is_asleep));
            // Those without a waiter accumulate what passes by; those that sleep have nothing.
            assert!(polls[number as usize + 1..].iter().all(|poll| ready(poll) == 0));
        }
    });
}

#[test]
fn fact_102_without_exclusive_all_wake() {
    bounded(|| {
        let polls: [_; 8] = instances();
        let source = Arc::new(Counter::new(0));
        for (poll, number) in polls.iter().zip(0..) {
            poll.add(&source, 0, PLAIN, number).unwrap();
        }
        let sleepers: Vec<_> = polls.iter().map(|poll| Waiting::start(poll, 4)).collect();
        source.write(1).unwrap();
        for (sleeper, number) in sleepers.iter().zip(0..) {
            assert_eq!(sleeper.data(), [number]);
        }
    });
}

#[test]
fn fact_103_the_end_of_a_source_ignores_exclusivity() {
    bounded(|| {
        let polls: [_; 3] = instances();
        let source = Arc::new(Counter::new(0));
        for poll in &polls {
            poll.add(&source, 0, EXCLUSIVE, 1).unwrap();
        }
        let sleeper = Waiting::start(&polls[0], 4);
        source.write(1).unwrap();
        assert_eq!(sleeper.data(), [1]);
        let sleepers: Vec<_> = polls.iter().map(|poll| Waiting::start(poll, 4)).collect();
        drop(source);
        for poll in &polls {
            assert_eq!(ready(poll), 0);
        }
        for sleeper in sleepers {
            sleeper.dismiss();
        }
    });
}
