//! Interests: who may be registered, what a registration says, how it ends. Named after epoll facts.
#![cfg(not(egret_loom))]

mod rules_common;

use egret_reactor::{Counter, Event, Eventpoll, Events};
use rules_common::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

fn counter(value: u64) -> Arc<Counter> {
    Arc::new(Counter::new(value))
}

#[test]
fn fact_25_all_combinations_are_accepted() {
    let poll = Eventpoll::new().unwrap();
    let source = Puppet::new(Events::IN);
    let bits = [
        Events::IN,
        Events::OUT,
        Events::PRI,
        Events::ERR,
        Events::HUP,
        Events::ET,
        Events::ONESHOT,
        Events::RDHUP,
    ];
    poll.add(&source, 0, Events::empty(), 0).unwrap();
    for combination in 0..256u32 {
        let mask = (0..8).filter(|bit| combination & 1 << bit != 0).fold(Events::empty(), |m, i| m | bits[i]);
        poll.modify(&source, 0, mask, u64::from(combination)).unwrap();
        let expected: &[u64] = if mask.contains(Events::IN) { &[u64::from(combination)] } else { &[] };
        assert_eq!(data(&poll), expected, "{mask:?}");
    }
    let unknown = Events::from_bits_retain(1 << 27);
    poll.modify(&source, 0, unknown | Events::IN, 1).unwrap();
    source.set(unknown | Events::IN);
    assert_eq!(look(&poll)[0].events, unknown | Events::IN, "unknown bits are kept");
}

#[test]
fn fact_27_errors_are_reported_unasked() {
    let poll = Eventpoll::new().unwrap();
    let source = Puppet::new(Events::IN | Events::ERR | Events::HUP);
    poll.add(&source, 0, Events::empty(), 1).unwrap();
    assert_eq!(look(&poll), [Event { events: Events::ERR | Events::HUP, data: 1 }]);
    poll.modify(&source, 0, Events::IN, 1).unwrap();
    assert_eq!(look(&poll)[0].events, Events::IN | Events::ERR | Events::HUP);
    let quiet = Puppet::new(Events::empty());
    poll.remove(&source, 0).unwrap();
    poll.add(&quiet, 0, Events::ET, 2).unwrap();
    quiet.set(Events::HUP | Events::RDHUP);
    quiet.fire(Events::HUP);
    assert_eq!(look(&poll), [Event { events: Events::HUP, data: 2 }], "RDHUP only if asked for");
}

#[test]
fn fact_28_data_is_returned_bit_for_bit() {
    let poll = Eventpoll::new().unwrap();
    let source = counter(1);
    poll.add(&source, u64::MAX, Events::IN, u64::MAX).unwrap();
    for number in [u64::MAX, 0, u64::MAX - 1, 1 << 63, 0x0123_4567_89ab_cdef] {
        poll.modify(&source, u64::MAX, Events::IN, number).unwrap();
        assert_eq!(data(&poll), [number]);
    }
}

#[test]
fn fact_72_an_event_during_add_is_neither_lost_nor_doubled() {
    let poll = Eventpoll::new().unwrap();
    // Fires after the hook is in, and polls ready: one event.
    let source = Puppet::new(Events::empty());
    let inside = Arc::downgrade(&source);
    source.once(move || {
        elsewhere(move || {
            let source = inside.upgrade().unwrap();
            source.set(Events::IN);
            source.fire(Events::IN);
        });
    });
    poll.add(&source, 0, Events::IN | Events::ET, 1).unwrap();
    assert_eq!(data(&poll), [1]);
    assert_eq!(data(&poll), []);
}

/// A thread that changes an interest while a scan runs has to wait for it; the scan's batch is not changed under it.
#[test]
fn fact_73_changes_wait_for_a_scan() {
    type Change = fn(&Eventpoll, &Arc<Counter>);
    let changes: [(Change, &[u64]); 3] = [
        (|poll, victim| poll.remove(victim, 0).unwrap(), &[1]),
        (|poll, victim| poll.modify(victim, 0, Events::IN, 3).unwrap(), &[1, 3]),
        (|poll, victim| poll.add(victim, 1, Events::IN, 3).unwrap(), &[1, 2, 3]),
    ];
    for (change, afterwards) in changes {
        bounded(move || {
            let poll = instance();
            let (slow, victim) = (Puppet::new(Events::IN), counter(1));
            poll.add(&slow, 0, Events::IN, 1).unwrap();
            poll.add(&victim, 0, Events::IN, 2).unwrap();
            let (started, start) = mpsc::channel();
            let (changed, done) = mpsc::channel();
            let changer = thread::spawn({
                let (poll, victim) = (poll.clone(), victim.clone());
                move || {
                    start.recv().unwrap();
                    change(&poll, &victim);
                    changed.send(()).unwrap();
                }
            });
            let done = Arc::new(Mutex::new(done));
            let inside = done.clone();
            slow.once(move || {
                started.send(()).unwrap();
                // Long enough for a change that doesn't wait.
                let early = inside.lock().unwrap().recv_timeout(Duration::from_millis(50));
                assert_eq!(early, Err(mpsc::RecvTimeoutError::Timeout));
            });
            assert_eq!(data(&poll), [1, 2], "the scan began before the change");
            done.lock().unwrap().recv_timeout(BOUND).unwrap();
            changer.join().unwrap();
            assert_eq!(data(&poll), afterwards);
        });
    }
}

#[test]
fn fact_91_an_interest_lives_as_long_as_its_source() {
    let poll = Eventpoll::new().unwrap();
    let source = counter(0);
    let other = source.clone();
    poll.add(&source, 0, Events::IN, 1).unwrap();
    drop(source);
    other.write(1).unwrap();
    assert_eq!(data(&poll), [1], "a reference is left");
    drop(other);
    assert_eq!(data(&poll), [], "it vanishes without an event");
}

#[test]
fn fact_92_a_new_source_at_an_old_address_is_new() {
    let poll = Eventpoll::new().unwrap();
    for round in 0..1000 {
        let source = counter(1);
        poll.add(&source, 7, Events::IN, round).unwrap();
        assert_eq!(data(&poll), [round]);
        // Dropped, never removed.
    }
    let source = counter(0);
    assert_eq!(errno(poll.remove(&source, 7)), libc::ENOENT);
}

#[test]
fn fact_93_a_queued_event_disappears_with_its_source() {
    let poll = Eventpoll::new().unwrap();
    let (a, b) = (counter(0), counter(0));
    poll.add(&a, 0, Events::IN | Events::ET, 1).unwrap();
    poll.add(&b, 0, Events::IN | Events::ET, 2).unwrap();
    a.write(1).unwrap();
    b.write(1).unwrap();
    drop(a);
    assert_eq!(data(&poll), [2]);
}

#[test]
fn tombstones_of_removed_interests_do_not_pile_up() {
    let poll = Eventpoll::new().unwrap();
    let source = counter(1);
    for _ in 0..1000 {
        poll.add(&source, 0, Events::IN, 0).unwrap();
        poll.remove(&source, 0).unwrap();
        assert!(ready(&poll) <= 2, "{poll:?}");
    }
}

#[test]
fn tombstones_of_dropped_sources_do_not_pile_up() {
    let poll = Eventpoll::new().unwrap();
    let bystander = counter(1);
    poll.add(&bystander, 0, Events::IN, 1).unwrap();
    for _ in 0..1000 {
        poll.add(&counter(1), 0, Events::IN, 0).unwrap();
        assert!(ready(&poll) <= 4, "{poll:?}");
    }
    assert_eq!(data(&poll), [1]);
}

#[test]
fn a_panic_in_add_registers_nothing() {
    let poll = Eventpoll::new().unwrap();
    let source = Puppet::new(Events::IN);
    source.once(|| panic!("in poll, on purpose"));
    assert!(catch_unwind(AssertUnwindSafe(|| poll.add(&source, 0, Events::IN, 1))).is_err());
    assert_eq!(format!("{:?}", source.queue), "WaitQueue { hooks: 0 }");
    assert_eq!(errno(poll.remove(&source, 0)), libc::ENOENT);
    poll.add(&source, 0, Events::IN, 2).unwrap();
    assert_eq!(data(&poll), [2]);
}

#[test]
fn a_panic_in_modify_leaves_the_new_mask() {
    let poll = Eventpoll::new().unwrap();
    let source = Puppet::new(Events::empty());
    poll.add(&source, 0, Events::IN, 1).unwrap();
    source.once(|| panic!("in poll, on purpose"));
    assert!(catch_unwind(AssertUnwindSafe(|| poll.modify(&source, 0, Events::OUT, 2))).is_err());
    source.set(Events::OUT);
    source.fire(Events::OUT);
    assert_eq!(look(&poll), [Event { events: Events::OUT, data: 2 }]);
}

#[test]
fn dropping_the_instance_unhooks_everything() {
    let poll = Eventpoll::new().unwrap();
    let source = Puppet::new(Events::IN);
    poll.add(&source, 0, Events::IN, 1).unwrap();
    poll.add(&source, 1, Events::IN, 1).unwrap();
    drop(poll);
    assert_eq!(format!("{:?}", source.queue), "WaitQueue { hooks: 0 }");
    let dropped = source.tombstone();
    drop(source);
    assert!(dropped.load(Ordering::SeqCst));
}

/// A source with two queues of which one goes: the interest is dead, and its hook leaves the other.
#[test]
fn a_dead_interest_leaves_no_hook_in_another_queue() {
    use egret_reactor::{PollTable, Source, WaitQueue};
    struct Two {
        short: Mutex<Option<WaitQueue>>,
        long: WaitQueue,
    }
    impl Source for Two {
        fn poll(&self, table: &mut PollTable<'_>) -> Events {
            if let Some(short) = &*self.short.lock().unwrap() {
                table.register(short);
            }
            table.register(&self.long);
            Events::empty()
        }
    }
    let poll = Eventpoll::new().unwrap();
    let source = Arc::new(Two { short: Mutex::new(None), long: WaitQueue::new() });
    for _ in 0..10 {
        *source.short.lock().unwrap() = Some(WaitQueue::new());
        poll.add(&source, 0, Events::IN, 0).unwrap();
        let gone = source.short.lock().unwrap().take();
        drop(gone);
    }
    assert_eq!(data(&poll), []);
    assert_eq!(format!("{:?}", source.long), "WaitQueue { hooks: 0 }");
}
