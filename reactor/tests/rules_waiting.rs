//! Waiting, waking and notifying. Named after epoll facts where there is one.
#![cfg(not(egret_loom))]

mod rules_common;

use egret_reactor::{Counter, Event, Eventpoll, Events};
use rules_common::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

fn counter(value: u64) -> Arc<Counter> {
    Arc::new(Counter::new(value))
}

fn watching(source: &Arc<Counter>, mode: Events) -> Eventpoll {
    let poll = instance();
    poll.add(source, 0, Events::IN | mode, 1).unwrap();
    poll
}

#[test]
fn fact_76_a_waiter_that_finds_nothing_sleeps_on() {
    bounded(|| {
        let poll = instance();
        let source = Puppet::new(Events::empty());
        poll.add(&source, 0, Events::IN, 1).unwrap();
        let waiting = Waiting::start(&poll, 4);
        for _ in 0..10 {
            let polls = source.polls();
            source.fire(Events::IN);
            until("it looked", || source.polls() > polls && waiters(&poll) == 1);
        }
        assert!(waiting.is_asleep());
        source.set(Events::IN);
        source.fire(Events::IN);
        assert_eq!(waiting.data(), [1]);
    });
}

#[test]
fn fact_80_drained_in_time_the_second_sleeps_on() {
    bounded(|| {
        let (leader, poll) = (leader(), instance());
        let source = Puppet::new(Events::empty());
        poll.add(&source, 0, Events::IN, 1).unwrap();
        let (second, first) = (Waiting::start(&poll, 4), Waiting::start(&poll, 4));
        // Ready for the first look only.
        let inside = Arc::downgrade(&source);
        let looks = Arc::new(AtomicUsize::new(0));
        let count = looks.clone();
        source.meanwhile(move || {
            let ready = if count.fetch_add(1, Ordering::SeqCst) == 0 { Events::IN } else { Events::empty() };
            // The waiter that polls holds a reference.
            inside.upgrade().unwrap().set(ready);
        });
        source.fire(Events::IN);
        assert_eq!(first.data(), [1]);
        until("the second looked", || looks.load(Ordering::SeqCst) == 2 && waiters(&poll) == 1);
        second.dismiss();
        leader.dismiss();
    });
}

/// The one with the short timeout came last and is woken first: if that meets its timeout, it has to take the event.
#[test]
fn fact_82_a_wake_up_that_meets_a_timeout_is_not_lost() {
    bounded(|| {
        let source = counter(0);
        let poll = watching(&source, Events::ET);
        let stop = Arc::new(AtomicBool::new(false));
        let taken = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = [None, Some(Duration::from_micros(60)), Some(Duration::from_micros(90))]
            .into_iter()
            .map(|timeout| {
                let (poll, stop, taken) = (poll.clone(), stop.clone(), taken.clone());
                thread::spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        let n = poll.wait(&mut [Event::default(); 4], timeout).unwrap();
                        taken.fetch_add(n, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for round in 1..=500 {
            source.write(1).unwrap();
            until("the event was taken", || taken.load(Ordering::SeqCst) == round);
        }
        stop.store(true, Ordering::SeqCst);
        until("all have left", || {
            poll.notify_one();
            threads.iter().all(|thread| thread.is_finished())
        });
    });
}

#[test]
fn fact_85_no_false_nothing_while_another_thread_scans() {
    bounded(|| {
        let source = counter(1);
        let poll = watching(&source, Events::empty());
        let stop = Arc::new(AtomicBool::new(false));
        let rival = thread::spawn({
            let (poll, stop) = (poll.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(data(&poll), [1]);
                }
            }
        });
        for _ in 0..20_000 {
            assert_eq!(data(&poll), [1]);
        }
        stop.store(true, Ordering::SeqCst);
        rival.join().unwrap();
    });
}

/// A waiter that looked and found nothing holds no reference to what it looked at.
#[test]
fn a_sleeping_waiter_keeps_no_source_alive() {
    bounded(|| {
        let poll = instance();
        let source = Puppet::new(Events::empty());
        poll.add(&source, 0, Events::IN, 1).unwrap();
        let waiting = Waiting::start(&poll, 4);
        let polls = source.polls();
        source.fire(Events::IN);
        until("it looked and sleeps again", || source.polls() > polls && waiters(&poll) == 1);
        let gone = source.tombstone();
        drop(source);
        until("the source was dropped", || gone.load(Ordering::SeqCst));
        waiting.dismiss();
    });
}

#[test]
fn a_panic_wakes_the_next_waiter_for_what_is_left() {
    bounded(|| {
        let (leader, poll) = (leader(), instance());
        let (bad, good) = (Puppet::new(Events::empty()), counter(0));
        poll.add(&bad, 0, Events::IN | Events::ET, 1).unwrap();
        poll.add(&good, 0, Events::IN | Events::ET, 2).unwrap();
        let survivor = Waiting::start(&poll, 4);
        let (report, caught) = mpsc::channel();
        let victim = thread::spawn({
            let poll = poll.clone();
            move || {
                let wait = AssertUnwindSafe(|| poll.wait(&mut [Event::default(); 4], None));
                report.send(catch_unwind(wait).is_err()).unwrap();
            }
        });
        until("both wait", || waiters(&poll) == 2);
        bad.once(|| panic!("in poll, on purpose"));
        bad.set(Events::IN);
        bad.fire(Events::IN);
        assert!(caught.recv().unwrap());
        victim.join().unwrap();
        assert_eq!(survivor.data(), [1], "put back, and handed on");
        good.write(1).unwrap();
        assert_eq!(data(&poll), [2]);
        leader.dismiss();
    });
}

#[test]
fn a_notification_ends_a_wait() {
    bounded(|| {
        let poll = watching(&counter(0), Events::empty());
        let waiting = Waiting::start(&poll, 4);
        waiting.dismiss();
    });
}

#[test]
fn notifications_that_meet_nobody_do_not_add_up() {
    let _watchdog = Watchdog::start();
    let poll = watching(&counter(0), Events::empty());
    for _ in 0..3 {
        poll.notify_one();
    }
    let mut events = [Event::default(); 1];
    let first = poll.wait_notified(&mut events, None).unwrap();
    assert_eq!((first.events, first.notified), (0, true));
    assert!(!poll.wait_notified(&mut events, NOW).unwrap().notified);
}

#[test]
fn a_notification_comes_with_what_is_ready() {
    let source = counter(1);
    let poll = watching(&source, Events::ET);
    poll.notify_one();
    let woken = poll.wait_notified(&mut [Event::default(); 4], NOW).unwrap();
    assert_eq!((woken.events, woken.notified), (1, true));
}

#[test]
fn notifications_go_to_the_last_comer_and_to_as_many_as_wait() {
    bounded(|| {
        let poll = watching(&counter(0), Events::empty());
        let mut sleepers: Vec<_> = (0..3).map(|_| Waiting::start(&poll, 4)).collect();
        poll.notify_one();
        assert!(sleepers.pop().unwrap().returned().1.notified);
        assert!(sleepers.iter().all(Waiting::is_asleep));
        poll.notify_one();
        poll.notify_one();
        assert!(sleepers.into_iter().all(|waiting| waiting.returned().1.notified));
    });
}

#[test]
fn a_notification_that_meets_a_timeout_is_not_lost() {
    bounded(|| {
        let poll = watching(&counter(0), Events::empty());
        let taken = Arc::new(AtomicUsize::new(0));
        let waiter = thread::spawn({
            let (poll, taken) = (poll.clone(), taken.clone());
            move || {
                let mut micros = 0;
                while taken.load(Ordering::SeqCst) < 1000 {
                    micros = (micros + 7) % 150;
                    let timeout = Some(Duration::from_micros(micros));
                    let woken = poll.wait_notified(&mut [Event::default(); 1], timeout).unwrap();
                    taken.fetch_add(usize::from(woken.notified), Ordering::SeqCst);
                }
            }
        });
        for round in 0..1000 {
            poll.notify_one();
            until("it was taken", || taken.load(Ordering::SeqCst) == round + 1);
        }
        waiter.join().unwrap();
        assert_eq!(waiters(&poll), 0);
    });
}

#[test]
fn a_notification_is_not_lost_to_a_panic() {
    let poll = instance();
    let bad = Puppet::new(Events::IN);
    poll.add(&bad, 0, Events::IN | Events::ET, 1).unwrap();
    bad.once(|| panic!("in poll, on purpose"));
    poll.notify_one();
    thrown(&poll);
    let woken = poll.wait_notified(&mut [Event::default(); 1], NOW).unwrap();
    assert_eq!((woken.events, woken.notified), (1, true));
}
