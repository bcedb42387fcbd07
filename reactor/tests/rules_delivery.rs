//! Callbacks and delivery: what is queued, in which order, and what is told. Named after epoll facts.
#![cfg(not(egret_loom))]

mod rules_common;

use egret_reactor::{Counter, Eventpoll, Events};
use rules_common::*;
use std::sync::{Arc, Barrier};

fn counter(value: u64) -> Arc<Counter> {
    Arc::new(Counter::new(value))
}

/// An instance with `N` quiet counters, told as 1, 2, 3 and so on.
fn quiet<const N: usize>(mode: Events) -> (Eventpoll, [Arc<Counter>; N]) {
    let poll = Eventpoll::new().unwrap();
    let sources = std::array::from_fn(|_| counter(0));
    for (source, number) in sources.iter().zip(1..) {
        poll.add(source, 0, Events::IN | mode, number).unwrap();
    }
    (poll, sources)
}

#[test]
fn fact_47_a_key_that_names_nothing_of_interest_is_ignored() {
    let poll = Eventpoll::new().unwrap();
    let source = Puppet::new(Events::empty());
    poll.add(&source, 0, Events::IN | Events::ET, 1).unwrap();
    source.set(Events::IN);
    source.fire(Events::OUT | Events::PRI);
    assert_eq!((ready(&poll), data(&poll)), (0, vec![]));
    source.fire(Events::empty());
    assert_eq!(data(&poll), [1], "an empty key may mean anything");
    source.fire(Events::ERR);
    assert_eq!(data(&poll), [1], "ERR is always of interest");
}

#[test]
fn fact_48_a_disarmed_item_hears_nothing() {
    let poll = Eventpoll::new().unwrap();
    let source = Puppet::new(Events::IN);
    poll.add(&source, 0, Events::IN | Events::ONESHOT, 1).unwrap();
    assert_eq!(data(&poll), [1]);
    source.set(Events::IN | Events::ERR | Events::HUP);
    source.fire(Events::ERR | Events::HUP);
    source.fire(Events::empty());
    assert_eq!((ready(&poll), data(&poll)), (0, vec![]));
}

#[test]
fn fact_49_items_are_queued_once_at_the_tail() {
    let (poll, [a, b, c]) = quiet(Events::ET);
    for source in [&b, &a, &b, &c, &a] {
        source.write(1).unwrap();
    }
    assert_eq!(ready(&poll), 3);
    assert_eq!(data(&poll), [2, 1, 3]);
    assert_eq!(data(&poll), []);
}

#[test]
fn fact_50_what_comes_in_during_a_scan_goes_to_the_overflow_list() {
    let poll = Eventpoll::new().unwrap();
    let (scanned, late) = (Puppet::new(Events::IN), counter(0));
    poll.add(&scanned, 0, Events::IN | Events::ET, 1).unwrap();
    poll.add(&late, 0, Events::IN | Events::ET, 2).unwrap();
    let inside = poll.clone();
    scanned.once(move || {
        elsewhere(move || {
            late.write(1).unwrap();
            late.write(1).unwrap();
            assert_eq!((ready(&inside), overflow(&inside)), (0, 1));
            std::mem::forget(late);
        });
    });
    assert_eq!(data(&poll), [1]);
    assert_eq!((ready(&poll), overflow(&poll)), (1, 0));
    assert_eq!(data(&poll), [2]);
}

/// An item that fires while it is being delivered is delivered again.
#[test]
fn fact_50_an_edge_during_its_own_delivery_is_not_lost() {
    let poll = Eventpoll::new().unwrap();
    let source = Puppet::new(Events::IN);
    poll.add(&source, 0, Events::IN | Events::ET, 1).unwrap();
    let inside = Arc::downgrade(&source);
    source.once(move || elsewhere(move || inside.upgrade().unwrap().fire(Events::IN)));
    assert_eq!(data(&poll), [1]);
    assert_eq!(data(&poll), [1]);
    assert_eq!(data(&poll), []);
}

#[test]
fn fact_55_events_tell_the_present() {
    let (poll, [a, b]) = quiet(Events::empty());
    a.write(1).unwrap();
    b.write(1).unwrap();
    a.read().unwrap();
    assert_eq!(ready(&poll), 2);
    assert_eq!(data(&poll), [2], "a was dropped silently");
    assert_eq!(ready(&poll), 1);
}

#[test]
fn fact_63_one_of_two_threads_gets_a_one_shot() {
    bounded(|| {
        let (poll, [source]) = quiet::<1>(Events::ONESHOT);
        let other = Eventpoll::new().unwrap();
        other.add(&source, 0, Events::IN | Events::ONESHOT, 9).unwrap();
        for round in 0..200 {
            source.write(1).unwrap();
            let start = Arc::new(Barrier::new(2));
            let rival = std::thread::spawn({
                let (poll, start) = (poll.clone(), start.clone());
                move || {
                    start.wait();
                    data(&poll).len()
                }
            });
            start.wait();
            let mine = data(&poll).len();
            assert_eq!(mine + rival.join().unwrap(), 1, "round {round}");
            assert_eq!(data(&other).len(), 1, "the other instance reports once, too");
            assert_eq!(data(&other).len(), 0);
            source.read().unwrap();
            poll.modify(&source, 0, Events::IN | Events::ONESHOT, 1).unwrap();
            other.modify(&source, 0, Events::IN | Events::ONESHOT, 9).unwrap();
        }
    });
}

/// Leftovers, then overflow oldest first, then the level-triggered ones that were delivered.
#[test]
fn fact_64_order_after_a_scan() {
    let poll = Eventpoll::new().unwrap();
    let first = Puppet::new(Events::IN);
    let sources: [_; 4] = std::array::from_fn(|_| counter(0));
    poll.add(&first, 0, Events::IN, 1).unwrap();
    for (source, number) in sources.iter().zip(2..) {
        poll.add(source, 0, Events::IN, number).unwrap();
    }
    let [b, c, x, y] = &sources;
    b.write(1).unwrap();
    c.write(1).unwrap();
    let (x, y) = (x.clone(), y.clone());
    first.once(move || {
        elsewhere(move || {
            y.write(1).unwrap();
            x.write(1).unwrap();
        });
    });
    assert_eq!(one(&poll), Some(1));
    assert_eq!(data(&poll), [2, 3, 5, 4, 1]);
}

#[test]
fn fact_65_an_overflow_item_that_is_linked_stays_where_it_is() {
    let poll = Eventpoll::new().unwrap();
    let first = Puppet::new(Events::IN);
    let (b, c) = (counter(1), counter(1));
    poll.add(&first, 0, Events::IN, 1).unwrap();
    poll.add(&b, 0, Events::IN, 2).unwrap();
    poll.add(&c, 0, Events::IN, 3).unwrap();
    let (inside, late) = (Arc::downgrade(&first), c.clone());
    first.once(move || {
        elsewhere(move || {
            late.write(1).unwrap();
            inside.upgrade().unwrap().fire(Events::IN);
        });
    });
    // The scan delivers the first (which will be requeued) and leaves b and c; the first and c overflow meanwhile.
    assert_eq!(one(&poll), Some(1));
    assert_eq!(ready(&poll), 3);
    assert_eq!(data(&poll), [2, 3, 1], "each in its place, nothing twice");
}

#[test]
fn fact_68_a_panic_puts_the_batch_back() {
    let poll = Eventpoll::new().unwrap();
    let bad = Puppet::new(Events::IN);
    let (b, c) = (counter(1), counter(1));
    poll.add(&bad, 0, Events::IN | Events::ET, 1).unwrap();
    poll.add(&b, 0, Events::IN | Events::ET, 2).unwrap();
    poll.add(&c, 0, Events::IN | Events::ONESHOT, 3).unwrap();
    bad.once(|| panic!("in poll, on purpose"));
    assert_eq!(thrown(&poll).downcast_ref::<&str>(), Some(&"in poll, on purpose"));
    assert_eq!(data(&poll), [1, 2, 3], "the one that threw is at the head, nothing is used up");
    assert_eq!(data(&poll), []);
}

/// What was delivered before the panic reaches the caller, and so does the panic: in two waits.
#[test]
fn fact_68_events_before_a_panic_are_not_lost() {
    let poll = Eventpoll::new().unwrap();
    let bad = Puppet::new(Events::IN);
    let (edge, once) = (counter(1), counter(1));
    poll.add(&edge, 0, Events::IN | Events::ET, 1).unwrap();
    poll.add(&once, 0, Events::IN | Events::ONESHOT, 2).unwrap();
    poll.add(&bad, 0, Events::IN | Events::ET, 3).unwrap();
    bad.once(|| panic!("in poll, on purpose"));
    assert_eq!(data(&poll), [1, 2]);
    assert_eq!(thrown(&poll).downcast_ref::<&str>(), Some(&"in poll, on purpose"));
    assert_eq!(data(&poll), [3]);
    assert_eq!(data(&poll), []);
}

#[test]
fn fact_69_modify_asks_anew() {
    let (poll, [source]) = quiet(Events::ET);
    source.write(1).unwrap();
    poll.modify(&source, 0, Events::PRI | Events::ET, 1).unwrap();
    assert_eq!(ready(&poll), 1, "a stale link is left alone");
    assert_eq!((data(&poll), ready(&poll)), (vec![], 0), "and dropped when it is met");
    poll.modify(&source, 0, Events::OUT | Events::ET, 2).unwrap();
    assert_eq!(data(&poll), [2], "ready under the new mask: queued");
}

/// A callback that runs while MOD polls (and sees nothing yet) goes by the new mask.
#[test]
fn fact_70_the_new_mask_is_visible_before_modify_polls() {
    let poll = Eventpoll::new().unwrap();
    let source = Puppet::new(Events::empty());
    poll.add(&source, 0, Events::OUT | Events::ET, 1).unwrap();
    let inside = Arc::downgrade(&source);
    source.once(move || elsewhere(move || inside.upgrade().unwrap().fire(Events::IN)));
    poll.modify(&source, 0, Events::IN | Events::ET, 2).unwrap();
    assert_eq!(ready(&poll), 1);
    source.set(Events::IN);
    assert_eq!(data(&poll), [2]);
    assert_eq!(format!("{:?}", source.queue), "WaitQueue { hooks: 1 }", "the hook stayed where it was");
}
