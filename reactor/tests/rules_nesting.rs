//! Instances that watch instances. Named after epoll facts.
#![cfg(not(egret_loom))]

mod rules_common;

use egret_reactor::{Counter, Event, Eventpoll, Events};
use rules_common::*;
use std::sync::{Arc, Barrier};

const OUTER: u64 = 100;

fn counter(value: u64) -> Arc<Counter> {
    Arc::new(Counter::new(value))
}

/// An outer instance that watches an inner one.
fn pair(mode: Events) -> (Eventpoll, Eventpoll) {
    let (outer, inner) = (instance(), instance());
    outer.add(&inner, 0, Events::IN | mode, OUTER).unwrap();
    (outer, inner)
}

#[test]
fn fact_34_of_two_adds_that_race_one_succeeds() {
    bounded(|| {
        for _ in 0..200 {
            let (a, b) = (instance(), instance());
            let start = Arc::new(Barrier::new(2));
            let other = std::thread::spawn({
                let (a, b, start) = (a.clone(), b.clone(), start.clone());
                move || {
                    start.wait();
                    b.add(&a, 0, Events::IN, 0)
                }
            });
            start.wait();
            let mine = a.add(&b, 0, Events::IN, 0);
            let other = other.join().unwrap();
            assert!(mine.is_ok() != other.is_ok(), "{mine:?} {other:?}");
            assert_eq!(errno(mine.and(other)), libc::ELOOP);
        }
    });
}

#[test]
fn fact_38_an_instance_is_readable_if_an_item_polls_ready() {
    let (outer, inner) = (instance(), instance());
    outer.add(&inner, 0, Events::IN | Events::RDNORM | Events::OUT, OUTER).unwrap();
    let source = Puppet::new(Events::empty());
    inner.add(&source, 0, Events::IN, 1).unwrap();
    assert_eq!(look(&outer), []);
    source.fire(Events::IN);
    assert_eq!(look(&outer), [], "queued in the inner one, but it polls not ready");
    source.set(Events::OUT);
    source.fire(Events::empty());
    assert_eq!(look(&outer), [], "not under its mask");
    source.set(Events::IN);
    source.fire(Events::IN);
    assert_eq!(look(&outer), [Event { events: Events::IN | Events::RDNORM, data: OUTER }]);
}

#[test]
fn fact_39_a_look_from_outside_consumes_nothing_and_keeps_the_order() {
    let (outer, inner) = pair(Events::empty());
    let stale = counter(1);
    let (edge, once, level) = (counter(0), counter(0), counter(0));
    inner.add(&stale, 0, Events::IN, 1).unwrap();
    inner.add(&edge, 0, Events::IN | Events::ET, 2).unwrap();
    inner.add(&once, 0, Events::IN | Events::ONESHOT, 3).unwrap();
    inner.add(&level, 0, Events::IN, 4).unwrap();
    for source in [&edge, &once, &level] {
        source.write(1).unwrap();
    }
    stale.read().unwrap();
    assert_eq!(ready(&inner), 4);
    for _ in 0..3 {
        assert_eq!(data(&outer), [OUTER]);
        assert_eq!(ready(&inner), 3, "the stale one was dropped, the look stopped at the first ready one");
    }
    assert_eq!(data(&inner), [2, 3, 4]);
}

#[test]
fn fact_41_an_instance_never_fires_out() {
    let (outer, inner) = (instance(), instance());
    outer.add(&inner, 0, Events::OUT, OUTER).unwrap();
    let source = counter(0);
    inner.add(&source, 0, Events::IN | Events::OUT | Events::ET, 1).unwrap();
    source.write(1).unwrap();
    assert_eq!(ready(&outer), 0);
    assert_eq!(data(&outer), []);
}

#[test]
fn fact_46_closing_the_inner_takes_it_out_of_the_outer() {
    let (outer, inner) = pair(Events::empty());
    let source = Puppet::new(Events::IN);
    inner.add(&source, 0, Events::IN, 1).unwrap();
    assert_eq!(data(&outer), [OUTER]);
    drop(inner);
    assert_eq!(data(&outer), []);
    assert_eq!(format!("{:?}", source.queue), "WaitQueue { hooks: 0 }");
    source.fire(Events::IN);
    assert_eq!(data(&outer), []);
    // The graph has forgotten the edge: as long a chain as ever fits below.
    let chain: Vec<Eventpoll> = (0..4).map(|_| instance()).collect();
    outer.add(&chain[0], 0, Events::IN, 0).unwrap();
    for link in chain.windows(2) {
        link[0].add(&link[1], 0, Events::IN, 0).unwrap();
    }
}

/// The outer's waiter is asleep when the inner goes: nothing is left to report, it sleeps on.
#[test]
fn fact_46_a_waiter_over_a_closed_inner_sleeps_on() {
    bounded(|| {
        let (outer, inner) = pair(Events::empty());
        let other = counter(0);
        outer.add(&other, 0, Events::IN, 7).unwrap();
        let waiting = Waiting::start(&outer, 4);
        drop(inner);
        until("it is back among the waiters", || waiters(&outer) == 1);
        assert!(waiting.is_asleep());
        other.write(1).unwrap();
        assert_eq!(waiting.data(), [7]);
    });
}

/// Facts 51 and 45: it is the callback that tells the outer, in the middle of a scan, and not the end of the scan.
#[test]
fn fact_51_a_callback_during_a_scan_is_an_edge_for_the_outer_at_once() {
    let (outer, inner) = pair(Events::ET);
    let (scanned, late) = (Puppet::new(Events::IN), counter(0));
    inner.add(&scanned, 0, Events::IN | Events::ET, 1).unwrap();
    inner.add(&late, 0, Events::IN | Events::ET, 2).unwrap();
    assert_eq!(data(&outer), [OUTER]);
    let above = outer.clone();
    scanned.once(move || {
        elsewhere(move || {
            assert_eq!(ready(&above), 0);
            late.write(1).unwrap();
            assert_eq!(ready(&above), 1);
            late.write(1).unwrap();
            assert_eq!(ready(&above), 1, "queued once");
            std::mem::forget(late);
        });
    });
    assert_eq!(data(&inner), [1]);
    assert_eq!(data(&outer), [OUTER]);
    assert_eq!(data(&outer), [], "one edge for what came");
    assert_eq!(data(&inner), [2]);
}

/// The same for an item that is queued already.
#[test]
fn fact_51_a_callback_of_a_queued_item_is_an_edge_for_the_outer() {
    let (outer, inner) = pair(Events::ET);
    let source = Puppet::new(Events::IN);
    inner.add(&source, 0, Events::IN | Events::ET, 1).unwrap();
    assert_eq!((data(&outer), ready(&outer)), (vec![OUTER], 0));
    for _ in 0..3 {
        source.fire(Events::IN);
        assert_eq!((ready(&inner), ready(&outer)), (1, 1));
        assert_eq!(data(&outer), [OUTER]);
    }
    source.fire(Events::OUT);
    assert_eq!(ready(&outer), 0, "one that is not accepted is none");
}

#[test]
fn a_waiter_on_the_outer_hears_a_source_of_the_inner() {
    bounded(|| {
        let (outer, inner) = pair(Events::empty());
        let source = counter(0);
        inner.add(&source, 0, Events::IN, 1).unwrap();
        let waiting = Waiting::start(&outer, 4);
        source.write(1).unwrap();
        assert_eq!(waiting.data(), [OUTER]);
    });
}

#[test]
fn a_panic_in_an_inner_source_reaches_the_outer_caller() {
    let (outer, inner) = pair(Events::empty());
    let source = Puppet::new(Events::IN);
    inner.add(&source, 0, Events::IN, 1).unwrap();
    source.once(|| panic!("in poll, on purpose"));
    assert_eq!(thrown(&outer).downcast_ref::<&str>(), Some(&"in poll, on purpose"));
    assert_eq!(data(&outer), [OUTER], "nothing was lost");
    assert_eq!(data(&inner), [1]);
}
