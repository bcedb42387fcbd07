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
            assert!(poll.dump().interests.is_empty());
        }
        for sleeper in sleepers {
            sleeper.dismiss();
        }
    });
}
