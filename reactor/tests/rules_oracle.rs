//! Registration and delivery, asserted on the running kernel and on egret by the same scripts. Named after epoll facts.
#![cfg(not(egret_loom))]

mod oracle_common;
mod rules_common;

use egret_reactor::{Event, Events};
use oracle_common::{Egret, Engine, Kernel, on_both};
use std::time::Duration;

const IN: Events = Events::IN;
const OUT: Events = Events::OUT;
const ET: Events = Events::ET;
const ONESHOT: Events = Events::ONESHOT;
const EXCLUSIVE: Events = Events::EXCLUSIVE;

on_both! {
    fact_07_and_25_and_27_what_is_stored
    fact_13_and_17_what_an_instance_may_not_watch
    fact_15_modify_to_exclusive_comes_before_a_missing_interest
    fact_16_exclusive_goes_with_few_bits
    fact_16_wrong_bits_come_before_an_interest_that_exists
    fact_19_keys_are_unique_and_have_to_exist
    fact_21_an_exclusive_interest_is_not_modified
    fact_25_all_combinations_are_accepted
    fact_26_wakeup_is_accepted_and_never_reported
    fact_28_data_is_returned_bit_for_bit
    fact_29_two_tags_are_two_interests
    fact_30_instances_are_independent
    fact_49_items_are_queued_once_in_the_order_of_arrival
    fact_55_events_tell_the_present
    fact_56_all_conditions_are_one_event
    fact_57_a_modify_before_delivery_counts
    fact_58_a_level_item_comes_up_again_at_the_tail
    fact_59_and_60_only_a_new_arrival_is_a_new_edge
    fact_61_ready_at_add_is_one_edge
    fact_62_one_shot_fires_once_until_modified
    fact_63_one_shot_in_two_instances_fires_in_each
    fact_64_leftovers_then_what_was_delivered_then_what_came_later
    fact_67_round_robin
    fact_69_modify_asks_anew_and_takes_nothing_back
    fact_73_after_remove_nothing_is_reported
    fact_74_no_room_is_an_error
    fact_91_and_93_an_interest_ends_with_its_source
}

fn fact_13_and_17_what_an_instance_may_not_watch(engine: &impl Engine) {
    let (outer, inner) = (engine.instance(), engine.instance());
    assert_eq!(engine.nest(&outer, &outer, IN, 0), Err(libc::EINVAL), "itself: not ELOOP");
    assert_eq!(
        engine.add(&outer, &engine.target(&outer), 1, IN, 0),
        Err(libc::EINVAL),
        "nor by another name"
    );
    assert_eq!(engine.nest(&outer, &inner, IN | EXCLUSIVE, 0), Err(libc::EINVAL));
    assert_eq!(engine.modify(&outer, &engine.target(&outer), 0, IN, 0), Err(libc::EINVAL), "nor ENOENT");
    assert_eq!(engine.unnest(&outer, &outer), Err(libc::EINVAL));
    engine.nest(&inner, &outer, IN, 0).unwrap();
    assert_eq!(engine.nest(&outer, &inner, IN | EXCLUSIVE, 0), Err(libc::EINVAL), "before ELOOP");
    assert_eq!(engine.nest(&outer, &inner, IN, 0), Err(libc::ELOOP));
}

fn fact_15_modify_to_exclusive_comes_before_a_missing_interest(engine: &impl Engine) {
    let poll = engine.instance();
    let stranger = engine.counter(0);
    assert_eq!(engine.modify(&poll, &stranger, 0, IN | EXCLUSIVE, 0), Err(libc::EINVAL));
    assert_eq!(engine.modify(&poll, &stranger, 0, IN, 0), Err(libc::ENOENT));
    engine.add(&poll, &stranger, 0, IN, 1).unwrap();
    assert_eq!(engine.modify(&poll, &stranger, 0, IN | EXCLUSIVE, 0), Err(libc::EINVAL));
}

fn fact_16_exclusive_goes_with_few_bits(engine: &impl Engine) {
    let poll = engine.instance();
    let allowed = IN | OUT | Events::ERR | Events::HUP | Events::WAKEUP | ET | EXCLUSIVE;
    for bit in (0..32).map(|bit| Events::from_bits_retain(1 << bit)) {
        let source = engine.counter(0);
        let expected = if allowed.contains(bit) { Ok(()) } else { Err(libc::EINVAL) };
        assert_eq!(engine.add(&poll, &source, 0, EXCLUSIVE | bit, 0), expected, "{bit:?}");
        let registered = if allowed.contains(bit) { Ok(()) } else { Err(libc::ENOENT) };
        assert_eq!(engine.remove(&poll, &source, 0), registered, "{bit:?}");
    }
}

fn fact_16_wrong_bits_come_before_an_interest_that_exists(engine: &impl Engine) {
    let poll = engine.instance();
    let source = engine.watched(&poll, 0, IN, 1);
    assert_eq!(engine.add(&poll, &source, 0, IN | EXCLUSIVE | ONESHOT, 2), Err(libc::EINVAL));
    assert_eq!(engine.add(&poll, &source, 0, IN | EXCLUSIVE, 2), Err(libc::EEXIST));
}

fn fact_19_keys_are_unique_and_have_to_exist(engine: &impl Engine) {
    let poll = engine.instance();
    let source = engine.counter(1);
    assert_eq!(engine.modify(&poll, &source, 0, IN, 0), Err(libc::ENOENT));
    assert_eq!(engine.remove(&poll, &source, 0), Err(libc::ENOENT));
    engine.add(&poll, &source, 0, IN, 1).unwrap();
    assert_eq!(engine.add(&poll, &source, 0, IN, 2), Err(libc::EEXIST));
    assert_eq!(engine.data(&poll), [1], "the first registration stands");
    assert_eq!(engine.remove(&poll, &source, 1), Err(libc::ENOENT), "another tag is another key");
    engine.remove(&poll, &source, 0).unwrap();
    assert_eq!(engine.remove(&poll, &source, 0), Err(libc::ENOENT));
    assert_eq!(engine.data(&poll), []);
}

fn fact_21_an_exclusive_interest_is_not_modified(engine: &impl Engine) {
    let poll = engine.instance();
    let source = engine.watched(&poll, 1, IN | EXCLUSIVE, 1);
    assert_eq!(engine.modify(&poll, &source, 0, OUT, 2), Err(libc::EINVAL));
    assert_eq!(engine.look(&poll), [Event { events: IN, data: 1 }], "unchanged");
    engine.remove(&poll, &source, 0).unwrap();
    engine.add(&poll, &source, 0, OUT, 2).unwrap();
    engine.modify(&poll, &source, 0, IN, 3).unwrap();
    assert_eq!(engine.data(&poll), [3], "the next registration is another one");
}

fn fact_25_all_combinations_are_accepted(engine: &impl Engine) {
    let bits = [IN, OUT, Events::PRI, Events::ERR, Events::HUP, ET, ONESHOT, Events::RDHUP];
    let poll = engine.instance();
    let source = engine.watched(&poll, 1, Events::empty(), 0);
    assert_eq!(engine.look(&poll), []);
    for number in 0..256u64 {
        let chosen = bits.iter().enumerate().filter(|(i, _)| number & 1 << i != 0).map(|(_, bit)| *bit);
        let mask: Events = chosen.collect();
        engine.modify(&poll, &source, 0, mask, number).unwrap();
        let events = mask & (IN | OUT);
        let expected: &[Event] = if events.is_empty() { &[] } else { &[Event { events, data: number }] };
        assert_eq!(engine.look(&poll), expected, "{mask:?}");
    }
    // A bit that nobody knows is no error; it names nothing that is ready.
    engine.modify(&poll, &source, 0, Events::from_bits_retain(1 << 26), 1).unwrap();
    assert_eq!(engine.look(&poll), []);
}

fn fact_26_wakeup_is_accepted_and_never_reported(engine: &impl Engine) {
    let poll = engine.instance();
    let source = engine.watched(&poll, 1, IN | Events::WAKEUP, 1);
    assert_eq!(engine.look(&poll), [Event { events: IN, data: 1 }]);
    engine.modify(&poll, &source, 0, IN | OUT | ET | Events::WAKEUP, 2).unwrap();
    assert_eq!(engine.look(&poll), [Event { events: IN | OUT, data: 2 }]);
    engine.modify(&poll, &source, 0, Events::WAKEUP, 3).unwrap();
    engine.write(&source);
    assert_eq!(engine.look(&poll), [], "it is no condition");
}

fn fact_28_data_is_returned_bit_for_bit(engine: &impl Engine) {
    let poll = engine.instance();
    let source = engine.watched(&poll, 1, IN, u64::MAX);
    assert_eq!(engine.data(&poll), [u64::MAX]);
    for number in [0, u64::MAX - 1, 1 << 63, 0x0123_4567_89ab_cdef] {
        engine.modify(&poll, &source, 0, IN, number).unwrap();
        assert_eq!(engine.data(&poll), [number]);
    }
}

fn fact_29_two_tags_are_two_interests(engine: &impl Engine) {
    let poll = engine.instance();
    let source = engine.counter(0);
    engine.add(&poll, &source, 1, IN | ET, 1).unwrap();
    engine.add(&poll, &source, 2, IN | OUT | ET, 2).unwrap();
    assert_eq!(engine.look(&poll), [Event { events: OUT, data: 2 }]);
    engine.write(&source);
    let mut events = engine.look(&poll);
    events.sort_by_key(|event| event.data);
    assert_eq!(events, [Event { events: IN, data: 1 }, Event { events: IN | OUT, data: 2 }]);
    engine.remove(&poll, &source, 1).unwrap();
    engine.write(&source);
    assert_eq!(engine.data(&poll), if engine.is_exact() { vec![2] } else { engine.data(&poll) });
    assert_eq!(engine.remove(&poll, &source, 1), Err(libc::ENOENT));
}

fn fact_30_instances_are_independent(engine: &impl Engine) {
    let (a, b) = (engine.instance(), engine.instance());
    let source = engine.watched(&a, 0, IN | ET, 1);
    engine.add(&b, &source, 0, IN | ONESHOT, 2).unwrap();
    engine.write(&source);
    assert_eq!((engine.data(&a), engine.data(&b)), (vec![1], vec![2]));
    assert_eq!((engine.data(&a), engine.data(&b)), (vec![], vec![]));
    engine.remove(&a, &source, 0).unwrap();
    engine.modify(&b, &source, 0, IN, 3).unwrap();
    assert_eq!((engine.data(&a), engine.data(&b)), (vec![], vec![3]));
}

fn fact_49_items_are_queued_once_in_the_order_of_arrival(engine: &impl Engine) {
    let poll = engine.instance();
    let sources = [1, 2, 3].map(|data| engine.watched(&poll, 0, IN | ET, data));
    for i in [1, 0, 1, 2, 0] {
        engine.write(&sources[i]);
    }
    let mut seen = engine.data(&poll);
    if !engine.is_exact() {
        // A feed that looks at levels knows no order of arrival.
        seen.sort();
        assert_eq!(seen, [1, 2, 3]);
        return;
    }
    assert_eq!(seen, [2, 1, 3]);
    assert_eq!(engine.data(&poll), []);
}

fn fact_55_events_tell_the_present(engine: &impl Engine) {
    let poll = engine.instance();
    let sources = [engine.watched(&poll, 1, IN | ET, 1), engine.watched(&poll, 1, IN | ET, 2)];
    engine.read(&sources[0]);
    assert_eq!(engine.data(&poll), [2], "what was ready when it was queued is not told");
    engine.write(&sources[0]);
    assert_eq!(engine.data(&poll), [1]);
}

fn fact_56_all_conditions_are_one_event(engine: &impl Engine) {
    let poll = engine.instance();
    let source = engine.watched(&poll, 0, IN | OUT | ET, 1);
    assert_eq!(engine.look(&poll), [Event { events: OUT, data: 1 }]);
    engine.write(&source);
    engine.write(&source);
    assert_eq!(
        engine.look(&poll),
        [Event { events: IN | OUT, data: 1 }],
        "one event, with what held before too"
    );
}

fn fact_57_a_modify_before_delivery_counts(engine: &impl Engine) {
    let poll = engine.instance();
    let source = engine.watched(&poll, 1, IN, 1);
    engine.modify(&poll, &source, 0, OUT, 2).unwrap();
    assert_eq!(engine.look(&poll), [Event { events: OUT, data: 2 }]);
}

fn fact_58_a_level_item_comes_up_again_at_the_tail(engine: &impl Engine) {
    let poll = engine.instance();
    let _sources = [engine.watched(&poll, 1, IN, 1), engine.watched(&poll, 1, IN, 2)];
    let seen: Vec<_> = (0..4).map(|_| engine.one(&poll).unwrap()).collect();
    assert_eq!(seen, [1, 2, 1, 2]);
}

fn fact_59_and_60_only_a_new_arrival_is_a_new_edge(engine: &impl Engine) {
    let poll = engine.instance();
    let source = engine.watched(&poll, 0, IN | ET, 1);
    engine.write(&source);
    assert_eq!(engine.data(&poll), [1]);
    assert_eq!(engine.data(&poll), [], "not drained, but nothing new");
    if engine.is_exact() {
        for _ in 0..3 {
            engine.write(&source);
            assert_eq!(engine.data(&poll), [1], "every write, readable or not before");
            assert_eq!(engine.data(&poll), []);
        }
    }
    engine.modify(&poll, &source, 0, IN | ET, 2).unwrap();
    assert_eq!(engine.data(&poll), [2], "or a modify while it is ready");
    assert_eq!(engine.data(&poll), []);
}

fn fact_61_ready_at_add_is_one_edge(engine: &impl Engine) {
    let poll = engine.instance();
    let _source = engine.watched(&poll, 1, IN | ET, 1);
    assert_eq!(engine.data(&poll), [1]);
    assert_eq!(engine.data(&poll), []);
}

fn fact_62_one_shot_fires_once_until_modified(engine: &impl Engine) {
    for mode in [ONESHOT, ONESHOT | ET] {
        let poll = engine.instance();
        let source = engine.watched(&poll, 0, IN | mode, 1);
        engine.write(&source);
        assert_eq!(engine.data(&poll), [1]);
        engine.write(&source);
        assert_eq!(engine.data(&poll), []);
        assert_eq!(engine.add(&poll, &source, 0, IN, 2), Err(libc::EEXIST), "still registered");
        engine.modify(&poll, &source, 0, IN | mode, 2).unwrap();
        assert_eq!(engine.data(&poll), [2], "what is pending is reported at once");
        assert_eq!(engine.data(&poll), []);
        engine.read(&source);
        engine.modify(&poll, &source, 0, IN | mode, 3).unwrap();
        assert_eq!(engine.data(&poll), []);
        engine.write(&source);
        assert_eq!(engine.data(&poll), [3]);
    }
}

fn fact_63_one_shot_in_two_instances_fires_in_each(engine: &impl Engine) {
    let (a, b) = (engine.instance(), engine.instance());
    let source = engine.watched(&a, 0, IN | ONESHOT, 1);
    engine.add(&b, &source, 0, IN | ONESHOT, 2).unwrap();
    engine.write(&source);
    assert_eq!((engine.data(&a), engine.data(&b)), (vec![1], vec![2]));
    engine.write(&source);
    assert_eq!((engine.data(&a), engine.data(&b)), (vec![], vec![]));
}

fn fact_64_leftovers_then_what_was_delivered_then_what_came_later(engine: &impl Engine) {
    let poll = engine.instance();
    let _ready: Vec<_> = (1..=3).map(|data| engine.watched(&poll, 1, IN, data)).collect();
    let late = engine.watched(&poll, 0, IN, 4);
    assert_eq!(engine.one(&poll), Some(1));
    engine.write(&late);
    assert_eq!(engine.data(&poll), [2, 3, 1, 4]);
    assert_eq!(engine.one(&poll), Some(2));
    assert_eq!(engine.data(&poll), [3, 1, 4, 2]);
}

fn fact_67_round_robin(engine: &impl Engine) {
    let poll = engine.instance();
    let _sources: Vec<_> = (0..13).map(|data| engine.watched(&poll, 1, IN, data)).collect();
    let mut counts = [0; 13];
    let mut total = 0;
    while total < 52 {
        let room = 3.min(52 - total);
        let events = engine.wait(&poll, room, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.len(), room, "as many as there is room for");
        for event in &events {
            assert_eq!(event.data, (total % 13) as u64, "in turn");
            counts[event.data as usize] += 1;
            total += 1;
        }
    }
    assert_eq!(counts, [4; 13]);
}

fn fact_69_modify_asks_anew_and_takes_nothing_back(engine: &impl Engine) {
    let poll = engine.instance();
    let source = engine.watched(&poll, 1, IN | ET, 1);
    // Queued; under a mask that isn't ready it is found out at delivery.
    engine.modify(&poll, &source, 0, Events::PRI | ET, 2).unwrap();
    assert_eq!(engine.data(&poll), []);
    engine.modify(&poll, &source, 0, OUT | ET, 3).unwrap();
    assert_eq!(engine.look(&poll), [Event { events: OUT, data: 3 }], "ready under the new mask: queued");
    assert_eq!(engine.data(&poll), []);
    // A link that was left behind keeps its place.
    let second = engine.watched(&poll, 1, IN | ET, 4);
    engine.modify(&poll, &source, 0, OUT | ET, 5).unwrap();
    engine.modify(&poll, &second, 0, Events::PRI | ET, 6).unwrap();
    engine.modify(&poll, &second, 0, IN | ET, 7).unwrap();
    assert_eq!(engine.data(&poll), [7, 5]);
}

fn fact_73_after_remove_nothing_is_reported(engine: &impl Engine) {
    let poll = engine.instance();
    let sources = [1, 2, 3].map(|data| engine.watched(&poll, 1, IN, data));
    engine.remove(&poll, &sources[1], 0).unwrap();
    engine.write(&sources[1]);
    assert_eq!(engine.data(&poll), [1, 3], "queued, and removed");
    engine.remove(&poll, &sources[0], 0).unwrap();
    engine.add(&poll, &sources[0], 0, IN, 4).unwrap();
    assert_eq!(engine.data(&poll), [3, 4], "added anew: at the tail, once");
}

fn fact_74_no_room_is_an_error(engine: &impl Engine) {
    let poll = engine.instance();
    let _source = engine.watched(&poll, 1, IN, 1);
    assert_eq!(engine.wait(&poll, 0, Some(Duration::ZERO)), Err(libc::EINVAL));
    assert_eq!(engine.wait(&poll, 0, None), Err(libc::EINVAL), "before it would block");
}

fn fact_91_and_93_an_interest_ends_with_its_source(engine: &impl Engine) {
    let poll = engine.instance();
    let (a, b) = (engine.watched(&poll, 0, IN | ET, 1), engine.watched(&poll, 0, IN | ET, 2));
    let other = a.clone();
    drop(a);
    engine.write(&other);
    assert_eq!(engine.data(&poll), [1], "a reference is left");
    engine.write(&other);
    engine.write(&b);
    drop(other);
    assert_eq!(engine.data(&poll), [2], "queued, and gone with its source");
    // What comes next, perhaps under the same number or at the same address, is new.
    let next = engine.counter(1);
    assert_eq!(engine.modify(&poll, &next, 0, IN, 3), Err(libc::ENOENT));
    engine.add(&poll, &next, 0, IN, 3).unwrap();
    assert_eq!(engine.data(&poll), [3]);
}

/// The kernel shows its interests in `/proc/self/fdinfo`, egret in `dump()`.
fn fact_07_and_25_and_27_what_is_stored(engine: &impl Engine) {
    let always = Events::ERR | Events::HUP;
    let poll = engine.instance();
    assert_eq!(engine.stored(&poll), []);
    let source = engine.watched(&poll, 0, Events::empty(), 7);
    assert_eq!(engine.stored(&poll), [(always, 7)], "errors are always of interest");
    let unknown = Events::from_bits_retain(1 << 26);
    engine.modify(&poll, &source, 0, IN | ET | unknown, u64::MAX).unwrap();
    assert_eq!(engine.stored(&poll), [(IN | ET | unknown | always, u64::MAX)], "unknown bits are kept");
    engine.modify(&poll, &source, 0, OUT | ONESHOT | ET, 8).unwrap();
    assert_eq!(engine.stored(&poll), [(OUT | ONESHOT | ET | always, 8)]);
    assert_eq!(engine.data(&poll), [8]);
    assert_eq!(engine.stored(&poll), [(ONESHOT | ET, 8)], "fired: its modes are left");
    engine.remove(&poll, &source, 0).unwrap();
    assert_eq!(engine.stored(&poll), []);
    engine.add(&poll, &source, 0, IN | EXCLUSIVE, 9).unwrap();
    assert_eq!(engine.stored(&poll), [(IN | EXCLUSIVE | always, 9)]);
    drop(source);
    assert_eq!(engine.stored(&poll), []);
}
