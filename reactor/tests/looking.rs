//! Looking at an instance from outside, and looking around before parking.
#![cfg(not(egret_loom))]

use egret_reactor::{Counter, Event, Eventpoll, Events, Fd, PollTable, Source, WaitQueue};
use std::fmt;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

mod rules_common;
use rules_common::{NOW, bounded, instance, one, until};

#[test]
fn a_dump_tells_each_interest_with_its_state_and_counts() {
    let poll = instance();
    let counter = Arc::new(Counter::new(0));
    poll.add(&counter, 3, Events::IN | Events::ONESHOT, 0xabc).unwrap();
    let state = |poll: &Eventpoll| poll.dump().interests[0].state;
    assert_eq!(state(&poll), "idle");
    counter.write(1).unwrap();
    counter.write(1).unwrap();
    assert_eq!(state(&poll), "ready");
    assert_eq!(one(&poll), Some(0xabc));
    let dump = poll.dump();
    let interest = &dump.interests[0];
    assert_eq!((interest.tag, interest.data, interest.state), (3, 0xabc, "disarmed"));
    assert_eq!((interest.fired, interest.delivered), (2, 1));
    assert_eq!(interest.events, Events::ONESHOT, "as in fdinfo, only the modes are left");
    assert!(interest.source.ends_with("Counter"), "{interest}");
    let text = dump.to_string();
    assert!(
        text.contains("tag: 3 events: 40000000 data: abc state: disarmed fired: 2 delivered: 1"),
        "{text}"
    );
    poll.remove(&counter, 3).unwrap();
    assert!(poll.dump().interests.is_empty());
}

#[test]
fn a_dump_says_what_the_sources_are() {
    struct Named(WaitQueue);
    impl Source for Named {
        fn poll(&self, table: &mut PollTable<'_>) -> Events {
            table.register(&self.0);
            Events::empty()
        }
        fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a lamp")
        }
    }
    let (poll, inner) = (instance(), instance());
    let lamp = Arc::new(Named(WaitQueue::new()));
    let (near, _far) = UnixStream::pair().unwrap();
    let number = near.as_raw_fd();
    let near = Arc::new(Fd::new(near).unwrap());
    poll.add(&lamp, 0, Events::IN, 1).unwrap();
    poll.add(&near, 0, Events::IN, 2).unwrap();
    poll.add(&inner, 0, Events::IN, 3).unwrap();
    let dump = poll.dump();
    let said = |data| dump.interests.iter().find(|interest| interest.data == data).unwrap().source.clone();
    assert_eq!(said(1), "a lamp");
    assert_eq!(said(2), format!("fd {number}"));
    assert_eq!(said(3), format!("Eventpoll {}", inner.dump().id));
    assert!(inner.dump().watched && !dump.watched);
}

#[test]
fn a_busy_waiter_is_not_parked_and_still_hears_everything() {
    bounded(|| {
        let poll = instance();
        poll.set_busy_poll(Duration::MAX);
        let counter = Arc::new(Counter::new(0));
        let (near, far) = UnixStream::pair().unwrap();
        let far = Arc::new(Fd::new(far).unwrap());
        poll.add(&counter, 0, Events::IN | Events::ET, 1).unwrap();
        poll.add(&far, 0, Events::IN | Events::ET, 2).unwrap();
        let waiter = {
            let poll = poll.clone();
            thread::spawn(move || {
                let mut events = [Event::default(); 1];
                let mut heard = Vec::new();
                for _ in 0..2 {
                    assert_eq!(poll.wait(&mut events, None).unwrap(), 1);
                    heard.push(events[0].data);
                }
                let woken = poll.wait_notified(&mut events, None).unwrap();
                assert!(woken.notified);
                heard
            })
        };
        counter.write(1).unwrap();
        until("the first is taken", || poll.dump().interests.iter().any(|interest| interest.delivered == 1));
        assert_eq!(poll.dump().waiters, 0, "it looks around and is not parked");
        std::io::Write::write_all(&mut &near, b"x").unwrap();
        until("the second is taken", || poll.dump().interests.iter().all(|interest| interest.delivered == 1));
        poll.notify_one();
        assert_eq!(waiter.join().unwrap(), [1, 2]);
    });
}

#[test]
fn a_busy_waiter_keeps_its_deadline_and_then_parks() {
    bounded(|| {
        let poll = instance();
        poll.set_busy_poll(Duration::MAX);
        let mut events = [Event::default(); 1];
        let begun = Instant::now();
        assert_eq!(poll.wait(&mut events, Some(Duration::from_millis(20))).unwrap(), 0);
        assert!(begun.elapsed() >= Duration::from_millis(20));
        assert_eq!(poll.wait(&mut events, NOW).unwrap(), 0, "zero looks once");

        poll.set_busy_poll(Duration::from_millis(1));
        assert_eq!(poll.busy_poll(), Duration::from_millis(1));
        let waiter = {
            let poll = poll.clone();
            thread::spawn(move || poll.wait_notified(&mut [Event::default(); 1], None).unwrap())
        };
        until("it has looked around and parks", || poll.dump().waiters == 1);
        poll.notify_one();
        assert!(waiter.join().unwrap().notified);
    });
}
