//! Which threads an event wakes, asserted on the running kernel and on egret by the same scripts. Named after epoll facts.
#![cfg(not(egret_loom))]

mod oracle_common;
mod rules_common;

use egret_reactor::Events;
use oracle_common::{Egret, Engine, Kernel, Sleeper, on_both};

const IN: Events = Events::IN;
const OUT: Events = Events::OUT;
const ET: Events = Events::ET;
const ONESHOT: Events = Events::ONESHOT;
const EXCLUSIVE: Events = Events::EXCLUSIVE;
const OUTER: u64 = 100;

on_both! {
    fact_44_a_level_reaches_both_storeys
    fact_44_an_edge_reaches_the_lower_storey_once
    fact_46_a_sleeper_over_a_closed_inner_sleeps_on
    fact_53_plain_hooks_do_not_end_the_walk
    fact_63_two_threads_on_a_one_shot
    fact_71_and_98_the_order_of_the_walk
    fact_77_and_78_each_callback_wakes_the_next_and_the_last_comer_first
    fact_79_and_80_level_triggered_and_not_drained_wakes_both
    fact_80_an_edge_wakes_one
    fact_81_two_edges_for_two_sleepers
    fact_81_two_edges_by_one_operation
    fact_89_add_and_modify_wake_a_sleeper
    fact_99_a_direction_is_consumed
    fact_100_an_idle_instance_accumulates_while_the_walk_goes_on
    fact_100_a_poller_is_no_waiter
    fact_100_idle_instances_all_queue
    fact_101_hooks_are_never_rotated
    fact_102_each_write_wakes_one_of_eight
    fact_102_without_exclusive_all_wake
}

fn instances<E: Engine, const N: usize>(engine: &E) -> [E::Poll; N] {
    std::array::from_fn(|_| engine.instance())
}

fn fact_44_a_level_reaches_both_storeys(engine: &impl Engine) {
    let [outer, inner] = instances(engine);
    engine.nest(&outer, &inner, IN, OUTER).unwrap();
    let source = engine.watched(&inner, 0, IN, 1);
    let (above, below) = (engine.sleeper(&outer, 4), engine.sleeper(&inner, 4));
    engine.write(&source);
    assert_eq!((above.data(), below.data()), (vec![OUTER], vec![1]));
}

/// The upper one may have it too, or may come too late. Both outcomes are forced in `rules_signals.rs`.
fn fact_44_an_edge_reaches_the_lower_storey_once(engine: &impl Engine) {
    let [outer, inner] = instances(engine);
    engine.nest(&outer, &inner, IN, OUTER).unwrap();
    let source = engine.watched(&inner, 0, IN | ET, 1);
    let (above, below) = (engine.sleeper(&outer, 4), engine.sleeper(&inner, 4));
    engine.write(&source);
    assert_eq!(below.data(), [1]);
    assert_eq!(engine.data(&inner), []);
    // Only a new arrival makes sure that the upper one comes back.
    engine.write(&source);
    assert_eq!(above.data(), [OUTER]);
}

fn fact_46_a_sleeper_over_a_closed_inner_sleeps_on(engine: &impl Engine) {
    let [outer, inner] = instances(engine);
    engine.nest(&outer, &inner, IN, OUTER).unwrap();
    let sleeper = engine.sleeper(&outer, 4);
    drop(inner);
    let source = engine.watched(&outer, 0, IN, 7);
    engine.write(&source);
    assert_eq!(sleeper.data(), [7]);
}

fn fact_53_plain_hooks_do_not_end_the_walk(engine: &impl Engine) {
    let [plain, exclusive, behind] = instances(engine);
    let source = engine.watched(&plain, 0, IN | ET, 1);
    engine.add(&exclusive, &source, 0, IN | ET | EXCLUSIVE, 2).unwrap();
    engine.add(&behind, &source, 0, IN | ET | EXCLUSIVE, 3).unwrap();
    let (first, second) = (engine.sleeper(&plain, 4), engine.sleeper(&exclusive, 4));
    engine.write(&source);
    assert_eq!(
        (first.data(), second.data()),
        (vec![1], vec![2]),
        "a plain one that woke a thread did not count"
    );
    assert_eq!(engine.data(&behind), [], "an exclusive one did");
}

fn fact_63_two_threads_on_a_one_shot(engine: &impl Engine) {
    let [poll] = instances(engine);
    let source = engine.watched(&poll, 0, IN | ONESHOT, 1);
    let (other, last) = (engine.sleeper(&poll, 4), engine.sleeper(&poll, 4));
    engine.write(&source);
    assert_eq!(last.data(), [1]);
    engine.write(&source);
    other.dismiss();
}

/// The interests of one instance are queued in the order in which its source calls them.
fn fact_71_and_98_the_order_of_the_walk(engine: &impl Engine) {
    let poll = engine.instance();
    let source = engine.counter(0);
    for (tag, mode) in [(1, EXCLUSIVE), (2, ET), (3, EXCLUSIVE), (4, ET), (5, ET)] {
        engine.add(&poll, &source, tag, IN | ET | mode, tag).unwrap();
    }
    engine.write(&source);
    assert_eq!(engine.data(&poll), [5, 4, 2, 1, 3], "plain: newest first; exclusive: oldest first");
    engine.modify(&poll, &source, 4, IN | ET, 44).unwrap();
    assert_eq!(engine.data(&poll), [44]);
    engine.read(&source);
    assert_eq!(engine.data(&poll), []);
    engine.write(&source);
    assert_eq!(engine.data(&poll), [5, 44, 2, 1, 3], "a modify keeps the place");
}

fn fact_77_and_78_each_callback_wakes_the_next_and_the_last_comer_first(engine: &impl Engine) {
    let [poll] = instances(engine);
    let source = engine.watched(&poll, 0, IN | ET, 1);
    let mut sleepers: Vec<_> = (0..4).map(|_| engine.sleeper(&poll, 4)).collect();
    while let Some(last) = sleepers.pop() {
        engine.write(&source);
        assert_eq!(last.data(), [1]);
        assert!(sleepers.iter().all(|sleeper| sleeper.is_asleep()));
    }
}

fn fact_79_and_80_level_triggered_and_not_drained_wakes_both(engine: &impl Engine) {
    let [poll] = instances(engine);
    let source = engine.watched(&poll, 0, IN, 1);
    let (a, b) = (engine.sleeper(&poll, 4), engine.sleeper(&poll, 4));
    engine.write(&source);
    assert_eq!((a.data(), b.data()), (vec![1], vec![1]));
}

fn fact_80_an_edge_wakes_one(engine: &impl Engine) {
    let [poll] = instances(engine);
    let source = engine.watched(&poll, 0, IN | ET, 1);
    let (a, b) = (engine.sleeper(&poll, 4), engine.sleeper(&poll, 4));
    engine.write(&source);
    assert_eq!(b.data(), [1]);
    a.dismiss();
}

fn fact_81_two_edges_for_two_sleepers(engine: &impl Engine) {
    let [poll] = instances(engine);
    let sources = [engine.watched(&poll, 0, IN | ET, 1), engine.watched(&poll, 0, IN | ET, 2)];
    let (x, y) = (engine.sleeper(&poll, 1), engine.sleeper(&poll, 1));
    for source in &sources {
        engine.write(source);
    }
    let mut both = [x.data(), y.data()].concat();
    both.sort();
    assert_eq!(both, [1, 2]);
}

fn fact_81_two_edges_by_one_operation(engine: &impl Engine) {
    let [poll] = instances(engine);
    let source = engine.watched(&poll, 0, IN | ET, 1);
    engine.add(&poll, &source, 1, IN | ET, 2).unwrap();
    let (x, y) = (engine.sleeper(&poll, 1), engine.sleeper(&poll, 1));
    engine.write(&source);
    let mut both = [x.data(), y.data()].concat();
    both.sort();
    assert_eq!(both, [1, 2]);
}

fn fact_89_add_and_modify_wake_a_sleeper(engine: &impl Engine) {
    let [poll] = instances(engine);
    let sleeper = engine.sleeper(&poll, 4);
    let source = engine.watched(&poll, 1, IN | ONESHOT, 1);
    assert_eq!(sleeper.data(), [1]);
    let sleeper = engine.sleeper(&poll, 4);
    engine.modify(&poll, &source, 0, IN | ONESHOT, 2).unwrap();
    assert_eq!(sleeper.data(), [2]);
}

/// A source that writes tells IN, one that is read tells OUT: the first of two idle instances that wants it has it alone.
fn fact_99_a_direction_is_consumed(engine: &impl Engine) {
    if !engine.is_exact() {
        return;
    }
    for reading in [false, true] {
        let [writable, readable, last] = instances(engine);
        let source = engine.counter(1);
        engine.add(&writable, &source, 0, OUT | ET | EXCLUSIVE, 1).unwrap();
        engine.add(&readable, &source, 0, IN | ET | EXCLUSIVE, 2).unwrap();
        engine.add(&last, &source, 0, IN | OUT | ET | EXCLUSIVE, 3).unwrap();
        for poll in [&writable, &readable, &last] {
            assert_eq!(engine.data(poll).len(), 1, "what held at ADD is out of the way");
        }
        let sleepers = [engine.sleeper(&writable, 4), engine.sleeper(&readable, 4)];
        if reading {
            engine.read(&source);
        } else {
            engine.write(&source);
        }
        let [first, second] = sleepers;
        let (woken, other, number) = if reading { (first, second, 1) } else { (second, first, 2) };
        assert_eq!(woken.data(), [number]);
        other.dismiss();
        assert_eq!(engine.data(&last), [], "consumed before");
    }
}

fn fact_100_an_idle_instance_accumulates_while_the_walk_goes_on(engine: &impl Engine) {
    let [idle, waiting, behind] = instances(engine);
    let source = engine.watched(&idle, 0, IN | ET | EXCLUSIVE, 1);
    engine.add(&waiting, &source, 0, IN | ET | EXCLUSIVE, 2).unwrap();
    engine.add(&behind, &source, 0, IN | ET | EXCLUSIVE, 3).unwrap();
    let sleeper = engine.sleeper(&waiting, 4);
    engine.write(&source);
    assert_eq!(sleeper.data(), [2]);
    assert_eq!(engine.data(&idle), [1]);
    assert_eq!(engine.data(&behind), [], "it was consumed before");
}

fn fact_100_idle_instances_all_queue(engine: &impl Engine) {
    for mode in [Events::empty(), ET] {
        let polls: [_; 3] = instances(engine);
        let source = engine.counter(0);
        for (poll, number) in polls.iter().zip(1..) {
            engine.add(poll, &source, 0, IN | mode | EXCLUSIVE, number).unwrap();
        }
        engine.write(&source);
        for (poll, number) in polls.iter().zip(1..) {
            assert_eq!(engine.data(poll), [number], "nobody waits, so nobody consumes");
        }
    }
}

fn fact_100_a_poller_is_no_waiter(engine: &impl Engine) {
    let [outer, watched, behind] = instances(engine);
    let source = engine.watched(&watched, 0, IN | ET | EXCLUSIVE, 1);
    engine.add(&behind, &source, 0, IN | ET | EXCLUSIVE, 2).unwrap();
    engine.nest(&outer, &watched, IN | ET, OUTER).unwrap();
    let sleeper = engine.sleeper(&outer, 4);
    engine.write(&source);
    assert_eq!(sleeper.data(), [OUTER]);
    assert_eq!(engine.data(&watched), [1]);
    assert_eq!(engine.data(&behind), [2], "a thread one storey up consumes nothing");
}

fn fact_101_hooks_are_never_rotated(engine: &impl Engine) {
    let [first, second] = instances(engine);
    let source = engine.watched(&first, 0, IN | ET | EXCLUSIVE, 1);
    engine.add(&second, &source, 0, IN | ET | EXCLUSIVE, 2).unwrap();
    let loser = engine.sleeper(&second, 4);
    for _ in 0..5 {
        let winner = engine.sleeper(&first, 4);
        engine.write(&source);
        assert_eq!(winner.data(), [1]);
    }
    loser.dismiss();
}

fn fact_102_each_write_wakes_one_of_eight(engine: &impl Engine) {
    let polls: [_; 8] = instances(engine);
    let source = engine.counter(0);
    for (poll, number) in polls.iter().zip(0..) {
        engine.add(poll, &source, 0, IN | ET | EXCLUSIVE, number).unwrap();
    }
    let mut sleepers: Vec<_> = polls.iter().map(|poll| engine.sleeper(poll, 4)).collect();
    for number in 0..7 {
        engine.write(&source);
        assert_eq!(sleepers.remove(0).data(), [number]);
        assert!(sleepers.iter().all(|sleeper| sleeper.is_asleep()));
    }
    sleepers.remove(0).dismiss();
}

fn fact_102_without_exclusive_all_wake(engine: &impl Engine) {
    let polls: [_; 8] = instances(engine);
    let source = engine.counter(0);
    for (poll, number) in polls.iter().zip(0..) {
        engine.add(poll, &source, 0, IN | ET, number).unwrap();
    }
    let sleepers: Vec<_> = polls.iter().map(|poll| engine.sleeper(poll, 4)).collect();
    engine.write(&source);
    for (sleeper, number) in sleepers.iter().zip(0..) {
        assert_eq!(sleeper.data(), [number]);
    }
}
