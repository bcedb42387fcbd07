//! Timeouts. Named after epoll facts.
#![cfg(not(egret_loom))]

mod oracle_common;
mod rules_common;

use egret_reactor::{Counter, Event, Events};
use oracle_common::{Egret, Engine, Kernel, on_both};
use rules_common::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

on_both! {
    fact_84_a_timeout_is_never_early
    fact_84_zero_is_one_pass
    fact_84_zero_sees_what_another_thread_did
    fact_86_timeouts_are_finer_than_a_millisecond
    fact_86_a_nanosecond_is_neither_zero_nor_for_ever
}

fn fact_84_a_timeout_is_never_early(engine: &impl Engine) {
    let poll = engine.instance();
    let _source = engine.watched(&poll, 0, Events::IN, 1);
    for micros in [0, 1, 300, 2_000, 20_000] {
        let (start, timeout) = (Instant::now(), Duration::from_micros(micros));
        assert_eq!(engine.wait(&poll, 4, Some(timeout)), Ok(vec![]));
        assert!(start.elapsed() >= timeout, "{micros}");
    }
}

fn fact_84_zero_is_one_pass(engine: &impl Engine) {
    let poll = engine.instance();
    assert_eq!(engine.look(&poll), []);
    let source = engine.watched(&poll, 1, Events::IN, 1);
    assert_eq!(engine.data(&poll), [1]);
    engine.read(&source);
    assert_eq!(engine.look(&poll), []);
}

/// What happened before the look is seen by it, whoever did it, and however the two threads agreed on the order.
fn fact_84_zero_sees_what_another_thread_did<E: Engine + Sync>(engine: &E)
where
    E::Source: Sync,
{
    for _ in 0..200 {
        let poll = engine.instance();
        let source = engine.watched(&poll, 0, Events::IN, 1);
        assert_eq!(engine.data(&poll), []);
        let written = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                engine.write(&source);
                written.store(true, Ordering::SeqCst);
            });
            // No system call on this side.
            while !written.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
            assert_eq!(engine.data(&poll), [1]);
        });
    }
}

fn fact_86_timeouts_are_finer_than_a_millisecond(engine: &impl Engine) {
    let poll = engine.instance();
    let timeout = Duration::from_micros(50);
    // Late it may be, on a busy machine, but not every time.
    until("a short wait is short", || {
        let start = Instant::now();
        assert_eq!(engine.wait(&poll, 1, Some(timeout)), Ok(vec![]));
        let took = start.elapsed();
        assert!(took >= timeout);
        took < Duration::from_millis(1)
    });
}

fn fact_86_a_nanosecond_is_neither_zero_nor_for_ever(engine: &impl Engine) {
    let poll = engine.instance();
    for _ in 0..100 {
        assert_eq!(engine.wait(&poll, 1, Some(Duration::from_nanos(1))), Ok(vec![]));
    }
    let _source = engine.watched(&poll, 1, Events::IN, 1);
    assert_eq!(engine.wait(&poll, 1, Some(Duration::from_nanos(1))).unwrap().len(), 1);
}

#[test]
fn fact_84_the_longest_timeouts_are_no_shorter_than_the_rest() {
    bounded(|| {
        let (poll, source) = (instance(), Arc::new(Counter::new(0)));
        poll.add(&source, 0, Events::IN | Events::ET, 1).unwrap();
        for timeout in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(1 << 40)] {
            let inside = poll.clone();
            let waiting =
                thread::spawn(move || inside.wait(&mut [Event::default(); 1], Some(timeout)).unwrap());
            until("it waits", || waiters(&poll) == 1);
            source.write(1).unwrap();
            assert_eq!(waiting.join().unwrap(), 1);
        }
    });
}

/// A source that fires again whenever it is polled, and is never ready: one pass all the same.
#[test]
fn fact_84_a_timeout_ends_a_wait_that_finds_work_but_no_event() {
    bounded(|| {
        let poll = instance();
        let source = Puppet::new(Events::empty());
        poll.add(&source, 0, Events::IN, 1).unwrap();
        let inside = Arc::downgrade(&source);
        source.meanwhile(move || {
            let inside = inside.clone();
            elsewhere(move || inside.upgrade().unwrap().fire(Events::IN));
        });
        source.fire(Events::IN);
        for timeout in [NOW, Some(Duration::from_millis(1))] {
            assert_eq!(poll.wait(&mut [Event::default(); 1], timeout).unwrap(), 0);
        }
    });
}

/// What epoll sets with an ioctl: look around for a while before sleeping.
#[test]
fn fact_06_busy_polling_changes_when_a_thread_sleeps_and_nothing_else() {
    bounded(|| {
        let (poll, source) = (instance(), Arc::new(Counter::new(0)));
        poll.add(&source, 0, Events::IN | Events::ET, 1).unwrap();
        assert_eq!(poll.busy_poll(), Duration::ZERO);
        for busy in [Duration::from_micros(200), BOUND * 2] {
            poll.set_busy_poll(busy);
            assert_eq!(poll.busy_poll(), busy);
            for timeout in [Duration::ZERO, Duration::from_micros(1), Duration::from_millis(5)] {
                let start = Instant::now();
                assert_eq!(poll.wait(&mut [Event::default(); 1], Some(timeout)).unwrap(), 0);
                assert!(start.elapsed() >= timeout);
            }
            let inside = poll.clone();
            let waiting = thread::spawn(move || inside.wait(&mut [Event::default(); 1], None).unwrap());
            if busy < BOUND {
                until("it sleeps", || waiters(&poll) == 1);
            }
            source.write(1).unwrap();
            assert_eq!(waiting.join().unwrap(), 1);
        }
    });
}
