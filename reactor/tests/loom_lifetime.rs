//! Models of ends: of a source, of its queue, of an instance, beside everything else that may be under way.
//!
//! `RUSTFLAGS="--cfg egret_loom" cargo test -p egret-reactor --release --test loom_lifetime`
//!
//! Each is named after the bug it would catch. A lost wake-up shows as a deadlock that loom reports.
#![cfg(egret_loom)]

mod loom_common;

use egret_reactor::{Counter, Eventpoll, Events};
use loom_common::{ET, Lamp, Mortal, NOW, SOON, bounded_model, forgotten, let_go, model, wait, waiter, with};
use std::sync::Arc;

/// How many interests lie in the ready list, tombstones counted.
fn listed(poll: &Eventpoll) -> String {
    let text = format!("{poll:?}");
    let (_, rest) = text.split_once("ready: ").expect("the field is there");
    rest.split(',').next().unwrap().to_string()
}

#[test]
fn a_source_that_goes_away_during_a_scan_vanishes() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let lamp = Lamp::new(1);
        poll.add(&lamp, 0, Events::IN, 1).unwrap();
        let closer = loom::thread::spawn(move || lamp.let_go());
        assert!(wait(&poll, NOW) <= 1);
        closer.join().unwrap();
        assert_eq!(wait(&poll, NOW), 0);
        assert_eq!(listed(&poll), "0");
    });
}

#[test]
fn a_source_that_goes_away_while_it_is_removed_and_scanned_vanishes_once() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let lamp = Lamp::new(1);
        poll.add(&lamp, 0, Events::IN, 1).unwrap();
        let scanner = waiter(&poll, NOW);
        let closer = with(&lamp, Lamp::let_go);
        poll.remove(&lamp, 0).unwrap();
        // The last reference may be this one, the closer's, or the one that the scan holds while it asks.
        lamp.let_go();
        assert!(scanner.join().unwrap() <= 1);
        closer.join().unwrap();
        assert_eq!(wait(&poll, NOW), 0);
        assert_eq!(listed(&poll), "0");
    });
}

/// POLLFREE, DEL and a scan at once: the interest ends, whoever is first, and the source can be added again.
#[test]
fn a_queue_that_goes_away_while_its_interest_is_removed_and_scanned_ends_it_once() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let source = Mortal::new();
        poll.add(&source, 0, Events::IN, 1).unwrap();
        let scanner = waiter(&poll, NOW);
        let closer = with(&source, |source| source.tear_down());
        let removed = poll.remove(&source, 0);
        assert!(removed.is_ok() || removed.unwrap_err().raw_os_error() == Some(libc::ENOENT));
        assert!(scanner.join().unwrap() <= 1);
        closer.join().unwrap();
        assert_eq!(wait(&poll, NOW), 0);
        poll.add(&source, 0, Events::IN, 2).unwrap();
        assert_eq!(wait(&poll, NOW), 1);
        poll.remove(&source, 0).unwrap();
        assert_eq!(wait(&poll, NOW), 0);
        assert!(forgotten(&source));
    });
}

#[test]
fn a_queue_that_goes_away_beside_a_modify_takes_its_interest_along() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let source = Mortal::new();
        poll.add(&source, 0, Events::IN, 1).unwrap();
        let closer = with(&source, |source| source.tear_down());
        let modified = poll.modify(&source, 0, ET, 2);
        assert!(modified.is_ok() || modified.unwrap_err().raw_os_error() == Some(libc::ENOENT));
        closer.join().unwrap();
        assert_eq!(wait(&poll, NOW), 0);
        // If the end came while MOD held the control lock, the next who takes it clears up.
        assert_eq!(poll.remove(&source, 0).unwrap_err().raw_os_error(), Some(libc::ENOENT));
        assert!(forgotten(&source));
    });
}

#[test]
fn a_queue_that_goes_away_beside_a_remove_and_an_add_ends_the_old_interest_only() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let source = Mortal::new();
        poll.add(&source, 0, Events::IN, 1).unwrap();
        let closer = with(&source, |source| source.tear_down());
        let removed = poll.remove(&source, 0);
        poll.add(&source, 0, Events::IN, 2).unwrap();
        closer.join().unwrap();
        let left = wait(&poll, NOW);
        // Hooked after the end of the queue it stays; hooked before, it went with it.
        assert_eq!(poll.remove(&source, 0).is_ok(), left == 1);
        assert!(
            removed.is_ok() || left == 1,
            "the queue was gone before the first remove, so the second add met none"
        );
        assert_eq!(wait(&poll, NOW), 0);
        assert!(forgotten(&source));
    });
}

#[test]
fn a_queue_that_goes_away_is_forgotten_though_nobody_looks() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let source = Mortal::new();
        poll.add(&source, 0, Events::IN, 1).unwrap();
        let closer = with(&source, |source| source.tear_down());
        poll.notify_one();
        closer.join().unwrap();
        assert!(forgotten(&source));
    });
}

#[test]
fn an_instance_that_goes_away_with_its_source_leaves_no_circle() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let source = Mortal::new();
        for tag in 0..2 {
            poll.add(&source, tag, Events::IN, tag).unwrap();
        }
        let closer = with(&source, |source| source.tear_down());
        let_go(poll);
        closer.join().unwrap();
        assert!(forgotten(&source), "an item and its lists hold each other");
    });
}

#[test]
fn an_instance_that_goes_away_while_an_event_arrives_leaves_no_circle() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let counter = Arc::new(Counter::new(0));
        poll.add(&counter, 0, Events::IN, 1).unwrap();
        let writer = with(&counter, |counter| counter.write(1).unwrap());
        let_go(poll);
        writer.join().unwrap();
        assert!(forgotten(&counter), "an item and its lists hold each other");
    });
}

#[test]
fn a_waiter_keeps_its_instance_when_the_last_other_handle_goes() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let counter = Arc::new(Counter::new(0));
        poll.add(&counter, 0, ET, 1).unwrap();
        let waiter = waiter(&poll, None);
        let writer = with(&counter, |counter| counter.write(1).unwrap());
        let_go(poll);
        assert_eq!(waiter.join().unwrap(), 1, "it still hears");
        writer.join().unwrap();
        assert!(forgotten(&counter), "and with it the instance is gone");
    });
}

#[test]
fn an_instance_dropped_while_its_callback_runs_leaves_its_watcher() {
    bounded_model(4, || {
        let [outer, inner] = [(); 2].map(|()| Eventpoll::new().unwrap());
        let counter = Arc::new(Counter::new(0));
        inner.add(&counter, 0, Events::IN, 1).unwrap();
        outer.add(&inner, 0, Events::IN, 2).unwrap();
        let writer = with(&counter, |counter| counter.write(1).unwrap());
        let watcher = waiter(&outer, SOON);
        let_go(inner);
        assert!(watcher.join().unwrap() <= 1);
        writer.join().unwrap();
        assert_eq!(wait(&outer, NOW), 0);
        assert_eq!(listed(&outer), "0");
        assert!(forgotten(&counter));
    });
}

#[test]
fn a_watcher_dropped_while_the_inner_callback_runs_leaves_the_inner_one() {
    model(|| {
        let [outer, inner] = [(); 2].map(|()| Eventpoll::new().unwrap());
        let counter = Arc::new(Counter::new(0));
        inner.add(&counter, 0, ET, 1).unwrap();
        outer.add(&inner, 0, Events::IN, 2).unwrap();
        let writer = with(&counter, |counter| counter.write(1).unwrap());
        let below = waiter(&inner, None);
        let_go(outer);
        assert_eq!(below.join().unwrap(), 1);
        writer.join().unwrap();
    });
}

/// Both ends of a chain go at once, and the leaf speaks up meanwhile.
#[test]
fn a_tower_that_falls_at_both_ends_leaves_nothing() {
    model(|| {
        let [outer, inner] = [(); 2].map(|()| Eventpoll::new().unwrap());
        let source = Mortal::new();
        inner.add(&source, 0, Events::IN, 1).unwrap();
        outer.add(&inner, 0, Events::IN, 2).unwrap();
        let closer = with(&source, |source| source.tear_down());
        let dropper = loom::thread::spawn(move || let_go(outer));
        let_go(inner);
        closer.join().unwrap();
        dropper.join().unwrap();
        assert!(forgotten(&source));
    });
}
