//! Models of ADD, MOD and DEL beside events, waits and each other.
//!
//! `RUSTFLAGS="--cfg egret_loom" cargo test -p egret-reactor --release --test loom_control`
//!
//! Each is named after the bug it would catch. A lost wake-up shows as a deadlock that loom reports.
#![cfg(egret_loom)]

mod loom_common;

use egret_reactor::{Counter, Event, Eventpoll, Events};
use loom_common::{ET, Lamp, NOW, SOON, bounded_model, forgotten, model, wait, waiter, with};
use std::sync::Arc;

#[test]
fn an_event_during_an_add_is_told_once() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let lamp = Lamp::new(0);
        let switch = with(&lamp, |lamp| lamp.flash());
        poll.add(&lamp, 0, ET, 1).unwrap();
        switch.join().unwrap();
        assert_eq!(wait(&poll, NOW), 1);
        assert_eq!(wait(&poll, NOW), 0);
    });
}

#[test]
fn an_add_of_what_is_ready_wakes_a_waiter() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let counter = Arc::new(Counter::new(1));
        let waiter = waiter(&poll, None);
        poll.add(&counter, 0, Events::IN, 1).unwrap();
        assert_eq!(waiter.join().unwrap(), 1);
    });
}

#[test]
fn two_adds_of_one_source_are_one_interest() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let counter = Arc::new(Counter::new(1));
        let other = with(&(poll.clone(), counter.clone()), |(poll, counter)| {
            poll.add(&counter, 0, Events::IN, 1).is_ok()
        });
        let this = poll.add(&counter, 0, Events::IN, 2).is_ok();
        assert!(this ^ other.join().unwrap(), "EEXIST for one of them");
        assert_eq!(wait(&poll, NOW), 1);
        poll.remove(&counter, 0).unwrap();
        assert!(forgotten(&counter));
    });
}

/// Fact 70. The source's state is relaxed: only MOD's own barrier makes sure that the callback sees the new mask or the poll
/// the new state.
#[test]
fn an_event_between_a_modifys_mask_and_its_poll_is_not_lost() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let lamp = Lamp::new(0);
        poll.add(&lamp, 0, Events::empty(), 1).unwrap();
        let switch = with(&lamp, |lamp| lamp.flash());
        poll.modify(&lamp, 0, ET, 2).unwrap();
        assert_eq!(wait(&poll, None), 1);
        switch.join().unwrap();
    });
}

#[test]
fn a_modify_of_what_is_ready_wakes_a_waiter() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let counter = Arc::new(Counter::new(1));
        poll.add(&counter, 0, Events::empty(), 1).unwrap();
        let waiter = waiter(&poll, None);
        poll.modify(&counter, 0, ET, 2).unwrap();
        assert_eq!(waiter.join().unwrap(), 1);
    });
}

#[test]
fn a_wait_beside_a_modify_tells_the_old_interest_or_the_new_one() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let counter = Arc::new(Counter::new(1));
        poll.add(&counter, 0, Events::IN, 1).unwrap();
        let waiter = with(&poll, |poll| {
            let mut events = [Event::default(); 4];
            let n = poll.wait(&mut events, NOW).unwrap();
            events[..n].to_vec()
        });
        poll.modify(&counter, 0, Events::OUT, 2).unwrap();
        let told = waiter.join().unwrap();
        let old = [Event { events: Events::IN, data: 1 }];
        let new = [Event { events: Events::OUT, data: 2 }];
        assert!(told == old || told == new, "{told:?}");
        let mut events = [Event::default(); 4];
        assert_eq!(poll.wait(&mut events, NOW).unwrap(), 1);
        assert_eq!(events[..1], new);
    });
}

/// The usual loop of a one-shot interest: told, read, armed again; a write may fall anywhere into it.
#[test]
fn a_write_while_a_one_shot_is_armed_again_is_not_lost() {
    bounded_model(4, || {
        let poll = Eventpoll::new().unwrap();
        let counter = Arc::new(Counter::new(0));
        poll.add(&counter, 0, Events::IN | Events::ONESHOT, 1).unwrap();
        let writer = with(&counter, |counter| {
            counter.write(1).unwrap();
            counter.write(1).unwrap();
        });
        let mut read = 0;
        while read < 2 {
            assert_eq!(wait(&poll, None), 1);
            read += counter.read().unwrap();
            poll.modify(&counter, 0, Events::IN | Events::ONESHOT, 1).unwrap();
        }
        writer.join().unwrap();
    });
}

/// A disarmed interest that is armed again while another thread scans the list it still lies in.
#[test]
fn a_one_shot_armed_again_beside_a_scan_is_told_again() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let counter = Arc::new(Counter::new(1));
        poll.add(&counter, 0, Events::IN | Events::ONESHOT, 1).unwrap();
        assert_eq!(wait(&poll, NOW), 1);
        let other = waiter(&poll, SOON);
        poll.modify(&counter, 0, Events::IN | Events::ONESHOT, 1).unwrap();
        let told = wait(&poll, NOW) + other.join().unwrap();
        assert_eq!(told, 1);
    });
}

#[test]
fn removing_while_an_event_arrives_leaves_nothing() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let counter = Arc::new(Counter::new(0));
        poll.add(&counter, 0, Events::IN, 1).unwrap();
        let writer = with(&counter, |counter| counter.write(1).unwrap());
        poll.remove(&counter, 0).unwrap();
        assert_eq!(wait(&poll, NOW), 0);
        writer.join().unwrap();
        assert_eq!(wait(&poll, NOW), 0);
        assert!(forgotten(&counter));
    });
}

#[test]
fn after_a_remove_no_later_wait_tells_of_it() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let counter = Arc::new(Counter::new(1));
        poll.add(&counter, 0, Events::IN, 1).unwrap();
        let other = waiter(&poll, SOON);
        poll.remove(&counter, 0).unwrap();
        assert_eq!(wait(&poll, NOW), 0);
        assert!(other.join().unwrap() <= 1);
        assert_eq!(wait(&poll, NOW), 0);
        assert!(forgotten(&counter));
    });
}

#[test]
fn removing_one_of_two_hooks_during_a_walk_keeps_the_other() {
    model(|| {
        for gone in 0..2 {
            let poll = Eventpoll::new().unwrap();
            let counter = Arc::new(Counter::new(0));
            for tag in 0..2 {
                poll.add(&counter, tag, ET, tag).unwrap();
            }
            let writer = with(&counter, |counter| counter.write(1).unwrap());
            poll.remove(&counter, gone).unwrap();
            writer.join().unwrap();
            let mut events = [Event::default(); 4];
            assert_eq!(poll.wait(&mut events, NOW).unwrap(), 1);
            assert_eq!(events[0].data, 1 - gone);
        }
    });
}

#[test]
fn removed_and_added_again_beside_an_event_is_told_once_a_scan() {
    model(|| {
        let poll = Eventpoll::new().unwrap();
        let counter = Arc::new(Counter::new(0));
        poll.add(&counter, 0, Events::IN, 1).unwrap();
        let writer = with(&counter, |counter| counter.write(1).unwrap());
        poll.remove(&counter, 0).unwrap();
        poll.add(&counter, 0, Events::IN, 2).unwrap();
        writer.join().unwrap();
        let mut events = [Event::default(); 4];
        assert_eq!(poll.wait(&mut events, NOW).unwrap(), 1, "the new one, and not the tombstone of the old");
        assert_eq!(events[0].data, 2);
    });
}
