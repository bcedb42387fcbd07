//! The wheel alone, and against a `BTreeMap` that does the same the slow way.

use super::*;
use proptest::prelude::*;
use std::{collections::BTreeMap, task::Waker};

fn drain(wheel: &mut Wheel<u32>, now: u64) -> Vec<u32> {
    let mut out = Vec::new();
    while wheel.advance(now, 3, &mut |value| out.push(value)) == Progress::More {}
    out
}

#[test]
fn an_entry_is_compact() {
    assert!(size_of::<Entry<Waker>>() <= 40, "{}", size_of::<Entry<Waker>>());
}

#[test]
fn hands_out_at_its_tick_and_not_before() {
    for due in [1, 63, 64, 65, 4095, 4096, 262_144, 1 << 30, (1 << 36) - 1, 1 << 36, (1 << 40) + 12_345] {
        let mut wheel = Wheel::new();
        wheel.insert(0, due, 7);
        assert_eq!(drain(&mut wheel, due - 1), [], "due at {due}");
        assert_eq!(drain(&mut wheel, due), [7], "due at {due}");
        assert_eq!(wheel.next_due(), None);
    }
}

#[test]
fn past_deadlines_come_at_once() {
    let mut wheel = Wheel::new();
    assert_eq!(drain(&mut wheel, 1_000), []);
    wheel.insert(1_000, 3, 1);
    assert!(wheel.next_due().unwrap() <= 1_000);
    assert_eq!(drain(&mut wheel, 1_000), [1]);
}

#[test]
fn a_clock_that_steps_back_is_harmless() {
    let mut wheel = Wheel::new();
    wheel.insert(0, 100, 1);
    wheel.insert(0, 5_000, 2);
    assert_eq!(drain(&mut wheel, 200), [1]);
    assert_eq!(drain(&mut wheel, 90), []);
    assert_eq!(drain(&mut wheel, 5_000), [2]);
}

#[test]
fn never_is_never_and_can_be_reset_to_a_tick() {
    let mut wheel = Wheel::new();
    let key = wheel.insert(0, NEVER, 1);
    assert_eq!(wheel.next_due(), None);
    assert_eq!(drain(&mut wheel, 1 << 60), []);
    assert!(wheel.reset(key, (1 << 60) + 5));
    assert_eq!(wheel.next_due(), Some((1 << 60) + 5));
    assert!(wheel.reset(key, NEVER));
    assert_eq!(drain(&mut wheel, (1 << 60) + 6), []);
    assert_eq!(wheel.next_due(), None);
    assert_eq!(wheel.remove(key), Some(1));
}

#[test]
fn the_end_of_the_range_does_not_overflow() {
    let mut wheel = Wheel::new();
    wheel.insert(0, NEVER - 1, 1);
    assert!(wheel.next_due().unwrap() < NEVER);
    assert_eq!(drain(&mut wheel, 1 << 50), []);
    wheel.insert(1 << 50, 1 << 51, 2);
    assert_eq!(drain(&mut wheel, 1 << 52), [2]);
    assert_eq!(wheel.len(), 1);
}

#[test]
fn a_stale_key_does_not_reach_its_successor() {
    let mut wheel = Wheel::new();
    let old = wheel.insert(0, 10, 1);
    assert_eq!(wheel.remove(old), Some(1));
    let new = wheel.insert(0, 20, 2);
    assert_eq!((old.index, wheel.len()), (new.index, 1));
    assert_eq!(wheel.remove(old), None);
    assert!(!wheel.reset(old, 5));
    assert!(wheel.get_mut(old).is_none());
    assert_eq!(drain(&mut wheel, 19), []);
    assert_eq!(drain(&mut wheel, 20), [2]);
    assert!(wheel.get_mut(new).is_none());
}

#[test]
fn a_lone_timer_is_awaited_exactly() {
    let mut wheel = Wheel::new();
    let key = wheel.insert(0, 100_000, 1);
    assert_eq!(wheel.next_due(), Some(100_000));
    // Later, but within the slot's span it can still be told exactly; beyond, the slot's end is told.
    assert!(wheel.reset(key, 100_001));
    assert_eq!(wheel.next_due(), Some(100_001));
    assert!(wheel.reset(key, 1_000_000));
    assert!(wheel.next_due().unwrap() < 1_000_000);
    assert_eq!(drain(&mut wheel, 999_999), []);
    assert_eq!(drain(&mut wheel, 1_000_000), [1]);
}

#[test]
fn removal_in_the_middle_of_a_cascade() {
    let mut wheel = Wheel::new();
    let keys: Vec<_> = (0..10).map(|id: u32| wheel.insert(0, 5_000 + u64::from(id), id)).collect();
    assert_eq!(wheel.advance(4_999, 4, &mut |_| panic!("early")), Progress::More);
    for key in &keys {
        wheel.remove(*key).unwrap();
    }
    assert_eq!(wheel.advance(6_000, 4, &mut |_| panic!("removed")), Progress::Done);
    assert_eq!((wheel.len(), wheel.next_due()), (0, None));
    assert_eq!(wheel.occupied, [0; LEVELS]);
}

#[test]
fn an_emptied_wheel_forgets_an_unfinished_cascade() {
    let mut wheel = Wheel::new();
    let keys: Vec<_> = (0..10).map(|id: u32| wheel.insert(0, 5_000 + u64::from(id), id)).collect();
    assert_eq!(wheel.advance(4_992, 4, &mut |_| panic!("early")), Progress::More);
    for key in keys {
        wheel.remove(key).unwrap();
    }
    // The same slot of level 1, 64 slots on.
    wheel.insert(5_000, 5_000 + 4_096, 1);
    assert_eq!(drain(&mut wheel, 5_000 + 4_095), []);
    assert_eq!(drain(&mut wheel, 5_000 + 4_096), [1]);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Reset(usize, u64),
    Remove(usize),
    Advance(u64, usize),
    ToNext,
}

/// Delays from every level, and the edges of each.
fn delay() -> impl Strategy<Value = u64> {
    (0_u32..40, 0_u64..4, -2_i64..3)
        .prop_map(|(shift, times, off)| (times << shift).saturating_add_signed(off))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => delay().prop_map(Step::Insert),
        1 => Just(Step::Insert(NEVER)),
        3 => (any::<usize>(), delay()).prop_map(|(i, d)| Step::Reset(i, d)),
        1 => any::<usize>().prop_map(|i| Step::Reset(i, NEVER)),
        2 => any::<usize>().prop_map(Step::Remove),
        3 => (delay(), 1_usize..9).prop_map(|(d, limit)| Step::Advance(d, limit)),
        2 => Just(Step::ToNext),
    ]
}

/// What the model knows: every live timer's key and due tick.
type Model = BTreeMap<u32, (Key, u64)>;

fn advance_both(wheel: &mut Wheel<u32>, model: &mut Model, now: u64, limit: usize) {
    let mut last = 0;
    loop {
        let mut fired = Vec::new();
        let progress = wheel.advance(now, limit, &mut |id| fired.push(id));
        assert!(fired.len() <= limit);
        for id in fired {
            let (key, due) = model.remove(&id).expect("fired twice, or after its removal");
            assert!(due <= now, "early: due at {due}, now {now}");
            assert!(due >= last, "out of order: {due} after {last}");
            last = due;
            assert!(wheel.get_mut(key).is_none());
        }
        if progress == Progress::Done {
            break;
        }
        assert!(wheel.next_due().unwrap() <= now);
    }
    let late: Vec<_> = model.values().filter(|(_, due)| *due <= now).collect();
    assert!(late.is_empty(), "not fired at {now}: {late:?}");
}

proptest! {
    #[test]
    fn like_a_btreemap(steps in prop::collection::vec(step(), 1..120)) {
        let mut wheel = Wheel::new();
        let mut model = Model::new();
        let mut now = 0_u64;
        for (id, step) in (0..).zip(steps) {
            match step {
                Step::Insert(delay) => {
                    // One tick ahead at least: what is due already would be handed out before timers that were due earlier.
                    let due = now.saturating_add(delay.max(1));
                    model.insert(id, (wheel.insert(now, due, id), due));
                }
                Step::Reset(pick, delay) => {
                    let due = now.saturating_add(delay.max(1));
                    let nth = pick % model.len().max(1);
                    if let Some((key, was)) = model.values_mut().nth(nth) {
                        prop_assert!(wheel.reset(*key, due));
                        *was = due;
                    }
                }
                Step::Remove(pick) => {
                    let nth = pick % model.len().max(1);
                    if let Some((&id, &(key, _))) = model.iter().nth(nth) {
                        model.remove(&id);
                        prop_assert_eq!(wheel.remove(key), Some(id));
                    }
                }
                Step::Advance(delay, limit) => {
                    now += delay;
                    advance_both(&mut wheel, &mut model, now, limit);
                }
                Step::ToNext => {
                    let Some(next) = wheel.next_due() else { continue };
                    now = now.max(next);
                    advance_both(&mut wheel, &mut model, now, usize::MAX);
                }
            }
            prop_assert_eq!(wheel.len(), model.len());
            let earliest = model.values().map(|(_, due)| *due).filter(|due| *due != NEVER).min();
            match (wheel.next_due(), earliest) {
                (Some(next), Some(due)) => prop_assert!(next <= due && next > now, "next {next}, due {due}, now {now}"),
                // A timer that was reset to never still sits in its old slot.
                (Some(next), None) => prop_assert!(next > now && !model.is_empty()),
                (None, earliest) => prop_assert_eq!(earliest, None),
            }
        }
        // Following `next_due` alone fires everything, with a bounded number of wakes for nothing.
        let mut idle = 0;
        while let Some(next) = wheel.next_due() {
            let before = model.len();
            advance_both(&mut wheel, &mut model, next, usize::MAX);
            idle = if model.len() < before { 0 } else { idle + 1 };
            prop_assert!(idle <= 120 * LEVELS + 2_048, "woken for nothing {idle} times");
        }
        prop_assert!(model.values().all(|(_, due)| *due == NEVER));
    }
}
