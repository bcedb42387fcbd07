//! Models of instances that watch instances.
//!
//! `RUSTFLAGS="--cfg egret_loom" cargo test -p egret-reactor --release --test loom_nested`
//!
//! Each is named after the bug it would catch. A lost wake-up shows as a deadlock that loom reports.
#![cfg(egret_loom)]

mod loom_common;

use egret_reactor::{Counter, Eventpoll, Events};
use loom_common::{ET, Lamp, NOW, SOON, bounded_model, forgotten, model, wait, waiter, with};
use std::sync::Arc;

fn instances<const N: usize>() -> [Eventpoll; N] {
    std::array::from_fn(|_| Eventpoll::new().unwrap())
}

fn is_eloop(result: &std::io::Result<()>) -> bool {
    result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ELOOP))
}

#[test]
fn two_reverse_adds_do_not_close_a_circle() {
    model(|| {
        let [a, b] = instances();
        let other = with(&[a.clone(), b.clone()], |[a, b]| b.add(&a, 0, Events::IN, 1));
        let this = a.add(&b, 0, Events::IN, 2);
        let other = other.join().unwrap();
        assert!(
            (this.is_ok() && is_eloop(&other)) || (other.is_ok() && is_eloop(&this)),
            "{this:?} {other:?}"
        );
    });
}

#[test]
fn three_adds_around_do_not_close_a_circle() {
    bounded_model(4, || {
        let [a, b, c] = instances();
        let others = [[b.clone(), c.clone()], [c.clone(), a.clone()]]
            .map(|pair| with(&pair, |[outer, inner]| outer.add(&inner, 0, Events::IN, 1)));
        let mut results = vec![a.add(&b, 0, Events::IN, 2)];
        results.extend(others.map(|other| other.join().unwrap()));
        assert_eq!(results.iter().filter(|result| is_eloop(result)).count(), 1, "{results:?}");
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 2, "{results:?}");
    });
}

#[test]
fn a_remove_beside_the_reverse_add_leaves_one_edge() {
    model(|| {
        let [a, b] = instances();
        a.add(&b, 0, Events::IN, 1).unwrap();
        let other = with(&[a.clone(), b.clone()], |[a, b]| b.add(&a, 0, Events::IN, 2));
        a.remove(&b, 0).unwrap();
        let other = other.join().unwrap();
        if other.is_err() {
            assert!(is_eloop(&other));
            b.add(&a, 0, Events::IN, 3).expect("the edge went with its interest");
        }
        assert!(is_eloop(&a.add(&b, 0, Events::IN, 4)));
    });
}

#[test]
fn two_adds_of_one_instance_are_one_edge() {
    model(|| {
        let [a, b] = instances();
        let other = with(&[a.clone(), b.clone()], |[a, b]| a.add(&b, 0, Events::IN, 1).is_ok());
        let this = a.add(&b, 0, Events::IN, 2).is_ok();
        assert!(this ^ other.join().unwrap(), "EEXIST for one of them");
        a.remove(&b, 0).unwrap();
        b.add(&a, 0, Events::IN, 3).expect("the one that failed left no edge");
    });
}

#[test]
fn an_event_while_its_instance_is_added_is_not_lost() {
    model(|| {
        let [outer, inner] = instances();
        let counter = Arc::new(Counter::new(0));
        inner.add(&counter, 0, Events::IN, 1).unwrap();
        let writer = with(&counter, |counter| counter.write(1).unwrap());
        outer.add(&inner, 0, ET, 2).unwrap();
        assert_eq!(wait(&outer, None), 1);
        writer.join().unwrap();
    });
}

/// The same, with the waiter there first: the callback wakes it or the ADD does.
#[test]
fn a_waiter_hears_of_an_instance_that_is_added_while_an_event_arrives() {
    bounded_model(4, || {
        let [outer, inner] = instances();
        let counter = Arc::new(Counter::new(0));
        inner.add(&counter, 0, Events::IN, 1).unwrap();
        let writer = with(&counter, |counter| counter.write(1).unwrap());
        let waiter = waiter(&outer, None);
        outer.add(&inner, 0, ET, 2).unwrap();
        assert_eq!(waiter.join().unwrap(), 1);
        writer.join().unwrap();
    });
}

/// Fact 44. Nobody reads, so both have to hear, in whatever order they look.
#[test]
fn a_level_reaches_a_waiter_at_each_storey() {
    bounded_model(4, || {
        let [outer, inner] = instances();
        let counter = Arc::new(Counter::new(0));
        inner.add(&counter, 0, Events::IN, 1).unwrap();
        outer.add(&inner, 0, Events::IN, 2).unwrap();
        let above = waiter(&outer, None);
        let below = waiter(&inner, None);
        counter.write(1).unwrap();
        assert_eq!(above.join().unwrap(), 1);
        assert_eq!(below.join().unwrap(), 1);
    });
}

/// Fact 83. The outer look takes the inner list out of sight for a moment; who lies down in that moment is woken after it.
#[test]
fn an_edge_that_an_outer_look_hides_still_reaches_an_inner_waiter() {
    model(|| {
        let [outer, inner] = instances();
        let counter = Arc::new(Counter::new(0));
        inner.add(&counter, 0, ET, 1).unwrap();
        outer.add(&inner, 0, Events::IN, 2).unwrap();
        counter.write(1).unwrap();
        let below = waiter(&inner, None);
        assert!(wait(&outer, NOW) <= 1);
        assert_eq!(below.join().unwrap(), 1);
    });
}

#[test]
fn an_inner_edge_during_an_outer_scan_is_delivered_by_the_next() {
    model(|| {
        let [outer, inner] = instances();
        let lamp = Lamp::new(0);
        inner.add(&lamp, 0, Events::IN, 1).unwrap();
        outer.add(&inner, 0, ET, 2).unwrap();
        lamp.flash();
        let switch = with(&lamp, |lamp| lamp.flash());
        assert_eq!(wait(&outer, NOW), 1);
        let seen = lamp.seen();
        switch.join().unwrap();
        let again = wait(&outer, NOW);
        assert!(seen == 2 || again == 1, "the scan saw {seen} flashes, and there was no second event");
        assert_eq!(wait(&outer, NOW), 0);
        assert_eq!(wait(&inner, NOW), 1, "looking from outside uses nothing up");
    });
}

/// The inner event can be taken at one place only, though both storeys were told.
#[test]
fn an_inner_edge_is_taken_once() {
    bounded_model(4, || {
        let [outer, inner] = instances();
        let counter = Arc::new(Counter::new(0));
        inner.add(&counter, 0, ET, 1).unwrap();
        outer.add(&inner, 0, ET, 2).unwrap();
        let below = waiter(&inner, SOON);
        let above = with(&[outer.clone(), inner.clone()], |[outer, inner]| {
            if wait(&outer, SOON) == 1 { wait(&inner, NOW) } else { 0 }
        });
        counter.write(1).unwrap();
        let taken = below.join().unwrap() + above.join().unwrap();
        assert_eq!(taken + wait(&inner, NOW), 1);
    });
}

/// The outer scan's poll and the inner instance's own scan work on one list.
#[test]
fn two_looks_at_one_inner_list_lose_no_level() {
    bounded_model(4, || {
        let [outer, inner] = instances();
        let counters = [1, 1].map(|value| Arc::new(Counter::new(value)));
        for (counter, data) in counters.iter().zip(0..) {
            inner.add(counter, 0, Events::IN, data).unwrap();
        }
        outer.add(&inner, 0, Events::IN, 9).unwrap();
        let below = waiter(&inner, NOW);
        let reader = with(&counters[0], |counter| counter.read().unwrap());
        assert_eq!(wait(&outer, NOW), 1, "the second counter is ready throughout");
        assert!((1..=2).contains(&below.join().unwrap()));
        reader.join().unwrap();
        assert_eq!(wait(&inner, NOW), 1);
        assert_eq!(wait(&outer, NOW), 1);
    });
}

#[test]
fn removing_an_instance_while_its_callback_runs_leaves_nothing() {
    model(|| {
        let [outer, inner] = instances();
        let counter = Arc::new(Counter::new(0));
        inner.add(&counter, 0, Events::IN, 1).unwrap();
        outer.add(&inner, 0, Events::IN, 2).unwrap();
        let writer = with(&counter, |counter| counter.write(1).unwrap());
        outer.remove(&inner, 0).unwrap();
        assert_eq!(wait(&outer, NOW), 0);
        writer.join().unwrap();
        assert_eq!(wait(&outer, NOW), 0);
        assert_eq!(wait(&inner, NOW), 1);
        drop(inner);
        assert!(forgotten(&counter));
    });
}
