//! Interests: who may be registered, what a registration says, how it ends. Named after epoll facts.
#![cfg(not(egret_loom))]

mod rules_common;

use egret_reactor::{Counter, Event, Eventpoll, Events};
use rules_common::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn counter(value: u64) -> Arc<Counter> {
    Arc::new(Counter::new(value))
}

#[test]
fn fact_13_an_instance_cannot_watch_itself() {
    let poll = Eventpoll::new().unwrap();
    assert_eq!(errno(poll.add(&poll, 0, Events::IN, 0)), libc::EINVAL);
    assert_eq!(errno(poll.add(&poll.clone(), 1, Events::IN, 0)), libc::EINVAL, "nor through another handle");
}

#[test]
fn fact_15_modify_to_exclusive_is_refused_before_anything_else() {
    let poll = Eventpoll::new().unwrap();
    let stranger = counter(0);
    assert_eq!(errno(poll.modify(&stranger, 0, Events::IN | Events::EXCLUSIVE, 0)), libc::EINVAL);
}

#[test]
fn fact_16_exclusive_goes_with_few_bits() {
    let poll = Eventpoll::new().unwrap();
    let allowed = Events::IN
        | Events::OUT
        | Events::ERR
        | Events::HUP
        | Events::WAKEUP
        | Events::ET
        | Events::EXCLUSIVE;
    for bit in 0..32 {
        let bit = Events::from_bits_retain(1 << bit);
        let source = counter(0);
        let result = poll.add(&source, 0, Events::EXCLUSIVE | bit, 0);
        if allowed.contains(bit) {
            result.unwrap();
        } else {
            assert_eq!(errno(result), libc::EINVAL, "{bit:?}");
            assert_eq!(errno(poll.remove(&source, 0)), libc::ENOENT, "nothing was registered");
        }
    }
}

#[test]
fn fact_17_exclusive_does_not_go_with_instances() {
    let (outer, inner) = (Eventpoll::new().unwrap(), Eventpoll::new().unwrap());
    assert_eq!(errno(outer.add(&inner, 0, Events::IN | Events::EXCLUSIVE, 0)), libc::EINVAL);
    inner.add(&outer, 0, Events::IN, 0).unwrap();
    assert_eq!(errno(outer.add(&inner, 0, Events::IN | Events::EXCLUSIVE, 0)), libc::EINVAL, "before ELOOP");
}

#[test]
fn fact_19_keys_are_unique_and_have_to_exist() {
    let poll = Eventpoll::new().unwrap();
    let source = counter(1);
    assert_eq!(errno(poll.modify(&source, 0, Events::IN, 0)), libc::ENOENT);
    assert_eq!(errno(poll.remove(&source, 0)), libc::ENOENT);
    poll.add(&source, 0, Events::IN, 1).unwrap();
    assert_eq!(errno(poll.add(&source, 0, Events::IN, 2)), libc::EEXIST);
    assert_eq!(data(&poll), [1], "the first registration stands");
    assert_eq!(errno(poll.remove(&source, 1)), libc::ENOENT, "another tag is another key");
    poll.remove(&source, 0).unwrap();
    assert_eq!(errno(poll.remove(&source, 0)), libc::ENOENT);
}

#[test]
fn fact_18_a_second_edge_that_is_allowed_says_exists() {
    let (outer, inner) = (Eventpoll::new().unwrap(), Eventpoll::new().unwrap());
    outer.add(&inner, 0, Events::IN, 0).unwrap();
    assert_eq!(errno(outer.add(&inner, 0, Events::IN, 0)), libc::EEXIST);
    assert_eq!(errno(inner.add(&outer, 0, Events::IN, 0)), libc::ELOOP);
    // The refused edges were not counted.
    outer.remove(&inner, 0).unwrap();
    inner.add(&outer, 0, Events::IN, 0).unwrap();
}

#[test]
fn fact_21_an_exclusive_interest_is_not_modified() {
    let poll = Eventpoll::new().unwrap();
    let source = counter(1);
    poll.add(&source, 0, Events::IN | Events::EXCLUSIVE, 1).unwrap();
    assert_eq!(errno(poll.modify(&source, 0, Events::OUT, 2)), libc::EINVAL);
    assert_eq!(look(&poll), [Event { events: Events::IN, data: 1 }], "unchanged");
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
fn fact_29_two_tags_are_two_interests() {
    let poll = Eventpoll::new().unwrap();
    let source = counter(1);
    poll.add(&source, 1, Events::IN, 1).unwrap();
    poll.add(&source, 2, Events::OUT, 2).unwrap();
    let mut events = look(&poll);
    events.sort_by_key(|event| event.data);
    assert_eq!(events, [Event { events: Events::IN, data: 1 }, Event { events: Events::OUT, data: 2 }]);
    poll.remove(&source, 1).unwrap();
    assert_eq!(data(&poll), [2]);
}

#[test]
fn fact_30_instances_are_independent() {
    let (a, b) = (Eventpoll::new().unwrap(), Eventpoll::new().unwrap());
    let source = counter(0);
    a.add(&source, 0, Events::IN | Events::ET, 1).unwrap();
    b.add(&source, 0, Events::IN | Events::ET, 2).unwrap();
    source.write(1).unwrap();
    assert_eq!(data(&a), [1]);
    assert_eq!(data(&b), [2]);
    assert_eq!((data(&a), data(&b)), (vec![], vec![]));
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

#[test]
fn fact_73_after_remove_nothing_is_reported() {
    let poll = Eventpoll::new().unwrap();
    let (a, b) = (counter(1), counter(1));
    poll.add(&a, 0, Events::IN, 1).unwrap();
    poll.add(&b, 0, Events::IN, 2).unwrap();
    poll.remove(&a, 0).unwrap();
    a.write(1).unwrap();
    assert_eq!(data(&poll), [2]);
    poll.remove(&b, 0).unwrap();
    assert_eq!(data(&poll), []);
}

#[test]
fn fact_73_remove_waits_for_a_scan() {
    bounded(|| {
        let poll = Eventpoll::new().unwrap();
        let (slow, victim) = (Puppet::new(Events::IN), counter(1));
        poll.add(&slow, 0, Events::IN, 1).unwrap();
        poll.add(&victim, 0, Events::IN, 2).unwrap();
        let (started, start) = std::sync::mpsc::channel();
        let remover = std::thread::spawn({
            let poll = poll.clone();
            move || {
                start.recv().unwrap();
                poll.remove(&victim, 0).unwrap();
                std::time::Instant::now()
            }
        });
        let (report, polled) = std::sync::mpsc::channel();
        slow.once(move || {
            started.send(()).unwrap();
            for _ in 0..100 {
                std::thread::yield_now();
            }
            report.send(std::time::Instant::now()).unwrap();
        });
        assert_eq!(data(&poll), [1, 2], "the scan began before the removal");
        assert!(remover.join().unwrap() >= polled.recv().unwrap());
        assert_eq!(data(&poll), [1]);
    });
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
    use std::sync::Mutex;
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
