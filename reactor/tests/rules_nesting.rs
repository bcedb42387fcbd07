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
fn fact_31_a_chain_has_at_most_five_instances() {
    let chain: Vec<Eventpoll> = (0..5).map(|_| instance()).collect();
    for link in chain.windows(2) {
        link[0].add(&link[1], 0, Events::IN, OUTER).unwrap();
    }
    let source = counter(0);
    chain[4].add(&source, 0, Events::IN, 1).unwrap();
    let sixth = instance();
    assert_eq!(errno(chain[4].add(&sixth, 0, Events::IN, 0)), libc::ELOOP);
    assert_eq!(errno(sixth.add(&chain[0], 0, Events::IN, 0)), libc::ELOOP);
    sixth.add(&chain[1], 0, Events::IN, 0).unwrap();
    // And the whole chain works.
    assert_eq!(data(&chain[0]), []);
    source.write(1).unwrap();
    assert_eq!(data(&chain[0]), [OUTER]);
    source.read().unwrap();
    assert_eq!(data(&chain[0]), []);
}

#[test]
fn fact_33_circles_are_refused() {
    let (a, b, c) = (instance(), instance(), instance());
    a.add(&b, 0, Events::IN, 0).unwrap();
    b.add(&c, 0, Events::IN, 0).unwrap();
    assert_eq!(errno(b.add(&a, 0, Events::IN, 0)), libc::ELOOP);
    assert_eq!(errno(c.add(&a, 0, Events::IN, 0)), libc::ELOOP);
    b.remove(&c, 0).unwrap();
    c.add(&a, 0, Events::IN, 0).unwrap();
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
fn fact_35_parallel_edges_are_counted() {
    let (outer, inner) = (instance(), instance());
    outer.add(&inner, 0, Events::IN, 0).unwrap();
    outer.add(&inner, 1, Events::IN, 1).unwrap();
    outer.remove(&inner, 0).unwrap();
    assert_eq!(errno(inner.add(&outer, 0, Events::IN, 0)), libc::ELOOP);
    outer.remove(&inner, 1).unwrap();
    inner.add(&outer, 0, Events::IN, 0).unwrap();
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
fn fact_40_over_a_level_item_the_outer_stays_readable_until_it_is_drained() {
    let (outer, inner) = pair(Events::empty());
    let source = counter(1);
    inner.add(&source, 0, Events::IN, 1).unwrap();
    for _ in 0..3 {
        assert_eq!(data(&outer), [OUTER]);
        assert_eq!(data(&inner), [1]);
    }
    source.read().unwrap();
    assert_eq!(data(&outer), []);
}

#[test]
fn fact_40_over_an_edge_item_the_outer_is_readable_until_it_is_collected() {
    let (outer, inner) = pair(Events::empty());
    let source = counter(0);
    inner.add(&source, 0, Events::IN | Events::ET, 1).unwrap();
    source.write(1).unwrap();
    assert_eq!(data(&outer), [OUTER]);
    assert_eq!(data(&inner), [1]);
    assert_eq!(data(&outer), [], "collected, though not drained");
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
fn fact_42_an_outer_edge_for_each_inner_callback() {
    let (outer, inner) = pair(Events::ET);
    let source = counter(0);
    inner.add(&source, 0, Events::IN | Events::ET, 1).unwrap();
    for _ in 0..3 {
        source.write(1).unwrap();
        assert_eq!(data(&outer), [OUTER], "also while the inner item is still queued");
        assert_eq!(data(&outer), []);
    }
    assert_eq!(data(&inner), [1]);
}

#[test]
fn fact_43_an_outer_level_stays_while_the_inner_edge_is_not_collected() {
    let (outer, inner) = pair(Events::empty());
    let source = counter(0);
    inner.add(&source, 0, Events::IN | Events::ET, 1).unwrap();
    source.write(1).unwrap();
    assert_eq!(data(&outer), [OUTER]);
    assert_eq!(data(&outer), [OUTER]);
}

#[test]
fn fact_45_a_scan_of_the_inner_is_no_edge_for_the_outer() {
    let (outer, inner) = pair(Events::ET);
    let (a, b) = (counter(0), counter(0));
    inner.add(&a, 0, Events::IN, 1).unwrap();
    inner.add(&b, 0, Events::IN, 2).unwrap();
    a.write(1).unwrap();
    b.write(1).unwrap();
    assert_eq!(data(&outer), [OUTER]);
    assert_eq!(one(&inner), Some(1));
    assert_eq!(data(&outer), [], "something is left, but nothing came in");
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

#[test]
fn fact_46_closing_the_outer_unhooks_it() {
    let (outer, inner) = pair(Events::empty());
    let source = counter(0);
    inner.add(&source, 0, Events::IN, 1).unwrap();
    drop(outer);
    source.write(1).unwrap();
    assert_eq!(data(&inner), [1]);
    let next = instance();
    inner.add(&next, 0, Events::IN, 0).unwrap();
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

#[test]
fn fact_52_modify_of_a_linked_item_wakes_nobody() {
    let (outer, inner) = pair(Events::ET);
    let source = counter(0);
    inner.add(&source, 0, Events::IN | Events::ET, 1).unwrap();
    source.write(1).unwrap();
    assert_eq!(data(&outer), [OUTER]);
    inner.modify(&source, 0, Events::IN | Events::ET, 2).unwrap();
    assert_eq!(data(&outer), [], "it was linked");
    assert_eq!(data(&inner), [2]);
    inner.modify(&source, 0, Events::IN | Events::ET, 3).unwrap();
    assert_eq!(data(&outer), [OUTER], "it was not");
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

/// Fact 44: a waiter on the inner and one on the outer, level-triggered and not drained: both get it.
#[test]
fn fact_44_level_reaches_both_storeys() {
    bounded(|| {
        let (outer, inner) = pair(Events::empty());
        let source = counter(0);
        inner.add(&source, 0, Events::IN, 1).unwrap();
        let (above, below) = (Waiting::start(&outer, 4), Waiting::start(&inner, 4));
        source.write(1).unwrap();
        assert_eq!(above.data(), [OUTER]);
        assert_eq!(below.data(), [1]);
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
