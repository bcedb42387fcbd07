//! The wheel alone, and against a `BTreeMap` that does the same the slow way.

use super::*;
use crate::time::slots::{LEVELS, PAGE, Page};
use proptest::prelude::*;
use std::{collections::BTreeMap, task::Waker};

type Numbers = Wheel<u32, ()>;

fn insert(wheel: &mut Numbers, now: u64, due: u64, id: u32) -> Index {
    wheel.insert(now, due, id, || ())
}

fn drain(wheel: &mut Numbers, now: u64) -> Vec<u32> {
    let mut out = Vec::new();
    while wheel.advance(now, 3, &mut |value| out.push(value)) == Progress::More {}
    out
}

#[test]
fn an_entry_is_compact() {
    let bytes = size_of::<Value<Waker>>() + size_of::<Cell>() + size_of::<Page>() / PAGE;
    assert!(bytes <= 36, "{bytes}");
}

#[test]
fn hands_out_at_its_tick_and_not_before() {
    for due in [1, 63, 64, 65, 4095, 4096, 262_144, 1 << 30, (1 << 36) - 1, 1 << 36, (1 << 40) + 12_345] {
        let mut wheel = Numbers::new(0);
        insert(&mut wheel, 0, due, 7);
        assert_eq!(drain(&mut wheel, due - 1), [], "due at {due}");
        assert_eq!(drain(&mut wheel, due), [7], "due at {due}");
        assert_eq!(wheel.next_due(), None);
    }
}

#[test]
fn past_deadlines_come_at_once() {
    let mut wheel = Numbers::new(0);
    assert_eq!(drain(&mut wheel, 1_000), []);
    insert(&mut wheel, 1_000, 3, 1);
    assert!(wheel.next_due().unwrap() <= 1_000);
    assert_eq!(drain(&mut wheel, 1_000), [1]);
}

#[test]
fn a_clock_that_steps_back_is_harmless() {
    let mut wheel = Numbers::new(0);
    insert(&mut wheel, 0, 100, 1);
    insert(&mut wheel, 0, 5_000, 2);
    assert_eq!(drain(&mut wheel, 200), [1]);
    assert_eq!(drain(&mut wheel, 90), []);
    assert_eq!(drain(&mut wheel, 5_000), [2]);
}

#[test]
fn never_is_never_and_can_be_reset_to_a_tick() {
    let mut wheel = Numbers::new(0);
    let index = insert(&mut wheel, 0, NEVER, 1);
    assert_eq!(wheel.next_due(), None);
    assert_eq!(drain(&mut wheel, 1 << 60), []);
    assert!(wheel.reset(&index, (1 << 60) + 5));
    assert_eq!(wheel.next_due(), Some((1 << 60) + 5));
    assert!(wheel.reset(&index, NEVER));
    assert_eq!(drain(&mut wheel, (1 << 60) + 6), []);
    assert_eq!(wheel.next_due(), None);
    assert_eq!(wheel.release(&index), Some(1));
}

#[test]
fn the_end_of_the_range_does_not_overflow() {
    let mut wheel = Numbers::new(0);
    insert(&mut wheel, 0, NEVER - 1, 1);
    assert!(wheel.next_due().unwrap() < NEVER);
    assert_eq!(drain(&mut wheel, 1 << 50), []);
    insert(&mut wheel, 1 << 50, 1 << 51, 2);
    assert_eq!(drain(&mut wheel, 1 << 52), [2]);
    assert_eq!(wheel.len(), 1);
}

#[test]
fn a_fired_timer_keeps_its_entry_until_it_is_released() {
    let mut wheel = Numbers::new(0);
    let old = insert(&mut wheel, 0, 10, 1);
    assert_eq!(drain(&mut wheel, 10), [1]);
    assert!(!wheel.reset(&old, 15));
    assert!(wheel.get_mut(&old).is_none());
    old_is_not(&old, &insert(&mut wheel, 10, 20, 2));
    assert_eq!(wheel.release(&old), None);
    let again = insert(&mut wheel, 10, 30, 3);
    assert_eq!(again, old);
    assert_eq!(drain(&mut wheel, 30), [2, 3]);
}

fn old_is_not(old: &Index, new: &Index) {
    assert_ne!(old, new, "an entry was given away while its owner had it");
}

#[test]
fn one_timeout_after_another_takes_one_entry_and_files_it_once() {
    let mut wheel = Numbers::new(0);
    for at in 0..1_000 {
        let index = insert(&mut wheel, at, at + 5_000, 1);
        assert_eq!(wheel.release(&index), Some(1));
        assert_eq!((wheel.values.len(), wheel.slots.filed()), (1, 1));
        // Where the first was filed.
        assert_eq!(wheel.next_due(), Some(8_192), "the end of the slot it lies in: nothing waits");
    }
    assert_eq!(drain(&mut wheel, 10_000), []);
    assert_eq!((wheel.slots.filed(), wheel.next_due()), (0, None));
    // Loose now: filed anew, and found.
    insert(&mut wheel, 10_000, 10_001, 2);
    assert_eq!(drain(&mut wheel, 10_001), [2]);
}

#[test]
fn a_released_entry_is_found_in_time_when_it_is_used_for_an_earlier_timer() {
    let mut wheel = Numbers::new(0);
    for (id, due) in [50_000, 300, 100_000, 299, 64, 1].into_iter().enumerate() {
        let index = insert(&mut wheel, 0, 1_000_000, 9);
        assert_eq!(wheel.release(&index), Some(9));
        let last = insert(&mut wheel, 0, due, id as u32);
        assert_eq!((wheel.values.len(), wheel.slots.filed()), (id + 1, id + 1));
        assert_eq!(wheel.get_mut(&last), Some(&mut (id as u32)));
    }
    assert_eq!(drain(&mut wheel, 60_000), [5, 4, 3, 1, 0]);
    assert_eq!(drain(&mut wheel, 100_000), [2]);
}

#[test]
fn put_off_needs_no_wheel() {
    let mut wheel = Numbers::new(0);
    let index = insert(&mut wheel, 0, 100, 1);
    let block = wheel.block(&index).clone();
    block.put_off(&index, 70_000);
    assert_eq!(drain(&mut wheel, 69_999), []);
    block.put_off(&index, 70_000);
    assert_eq!(drain(&mut wheel, 70_000), [1]);
    block.put_off(&index, 70_001);
    assert_eq!(drain(&mut wheel, 70_001), [], "it has fired");
}

#[test]
fn due_ticks_of_many_blocks_are_kept_apart() {
    let mut wheel = Numbers::new(0);
    let many = 3 * BLOCK as u32 + 1;
    let indices: Vec<_> = (0..many).map(|id| insert(&mut wheel, 0, 1, id)).collect();
    for (index, due) in indices.iter().zip(2..) {
        wheel.block(index).clone().put_off(index, due);
    }
    assert_eq!(drain(&mut wheel, u64::from(many) + 1), (0..many).collect::<Vec<_>>());
}

#[test]
fn a_lone_timer_is_awaited_exactly() {
    let mut wheel = Numbers::new(0);
    let index = insert(&mut wheel, 0, 100_000, 1);
    assert_eq!(wheel.next_due(), Some(100_000));
    // Later, but within the slot's span it can still be told exactly; beyond, the slot's end is told.
    assert!(wheel.reset(&index, 100_001));
    assert_eq!(wheel.next_due(), Some(100_001));
    assert!(wheel.reset(&index, 1_000_000));
    assert!(wheel.next_due().unwrap() < 1_000_000);
    assert_eq!(drain(&mut wheel, 999_999), []);
    assert_eq!(drain(&mut wheel, 1_000_000), [1]);
}

#[test]
fn release_in_the_middle_of_a_cascade() {
    let mut wheel = Numbers::new(0);
    let indices: Vec<_> = (0..10).map(|id: u32| insert(&mut wheel, 0, 5_000 + u64::from(id), id)).collect();
    assert_eq!(wheel.advance(4_999, 4, &mut |_| panic!("early")), Progress::More);
    for index in &indices {
        wheel.release(index).unwrap();
    }
    assert_eq!(drain(&mut wheel, 6_000), [], "released");
    assert_eq!((wheel.len(), wheel.slots.filed(), wheel.next_due()), (0, 0, None));
    assert_eq!(*wheel.slots.occupied(), [0; LEVELS]);
}

#[test]
fn a_cascade_that_nothing_is_left_of_harms_no_later_timer() {
    let mut wheel = Numbers::new(0);
    let indices: Vec<_> = (0..10).map(|id: u32| insert(&mut wheel, 0, 5_000 + u64::from(id), id)).collect();
    assert_eq!(wheel.advance(4_992, 4, &mut |_| panic!("early")), Progress::More);
    for index in indices {
        wheel.release(&index).unwrap();
    }
    // The same slot of level 1, 64 slots on.
    insert(&mut wheel, 5_000, 5_000 + 4_096, 1);
    assert_eq!(drain(&mut wheel, 5_000 + 4_095), []);
    assert_eq!(drain(&mut wheel, 5_000 + 4_096), [1]);
}

#[test]
fn a_cascade_whose_rest_was_taken_out_is_over() {
    let month = 1 << (SLOT_BITS * TOP as u32);
    let mut wheel = Numbers::new(0);
    let indices: Vec<_> = (0..10).map(|id| insert(&mut wheel, 0, month + 1, id)).collect();
    for index in &indices {
        wheel.block(index).clone().put_off(index, 5 * month);
    }
    assert_eq!(wheel.advance(month, 4, &mut |_| panic!("early")), Progress::More);
    // Out of the slots of the top level: some were filed anew, some are not yet.
    for index in &indices {
        assert!(wheel.reset(index, NEVER));
    }
    assert_eq!(wheel.slots.filed(), 0);
    // The slot that was being emptied, a whole turn of the top level on.
    insert(&mut wheel, 2 * month, 65 * month, 10);
    let mut rounds = 0;
    while wheel.advance(2 * month, 4, &mut |_| panic!("early")) == Progress::More {
        rounds += 1;
        assert!(rounds < 10, "it is filed in the slot that is being emptied, for ever");
    }
    assert_eq!(wheel.next_due(), Some(65 * month));
    assert_eq!(drain(&mut wheel, 65 * month), [10]);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Reset(usize, u64),
    Release(usize),
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
        2 => any::<usize>().prop_map(Step::Release),
        3 => (delay(), 1_usize..9).prop_map(|(d, limit)| Step::Advance(d, limit)),
        2 => Just(Step::ToNext),
    ]
}

/// What the model knows: every waiting timer's index and due tick.
type Model = BTreeMap<u32, (Index, u64)>;

/// What has fired and wasn't released.
type Fired = Vec<Index>;

fn advance_both(wheel: &mut Numbers, model: &mut Model, done: &mut Fired, now: u64, limit: usize) {
    let mut last = 0;
    loop {
        let mut fired = Vec::new();
        let progress = wheel.advance(now, limit, &mut |id| fired.push(id));
        assert!(fired.len() <= limit);
        for id in fired {
            let (index, due) = model.remove(&id).expect("fired twice, or after its release");
            assert!(due <= now, "early: due at {due}, now {now}");
            assert!(due >= last, "out of order: {due} after {last}");
            last = due;
            assert!(wheel.get_mut(&index).is_none());
            done.push(index);
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
        let mut wheel = Numbers::new(0);
        let mut model = Model::new();
        let mut fired = Fired::new();
        let mut now = 0_u64;
        let mut most = 0;
        for (id, step) in (0..).zip(steps) {
            match step {
                Step::Insert(delay) => {
                    // One tick ahead at least: what is due already would be handed out before timers that were due earlier.
                    let due = now.saturating_add(delay.max(1));
                    let index = insert(&mut wheel, now, due, id);
                    prop_assert!(!fired.contains(&index) && model.values().all(|(other, _)| *other != index), "given twice");
                    model.insert(id, (index, due));
                }
                Step::Reset(pick, delay) => {
                    let due = now.saturating_add(delay.max(1));
                    let nth = pick % model.len().max(1);
                    if let Some((index, was)) = model.values_mut().nth(nth) {
                        if due >= *was && pick % 2 == 0 {
                            wheel.block(index).put_off(index, due);
                        } else {
                            prop_assert!(wheel.reset(index, due));
                        }
                        *was = due;
                    }
                }
                Step::Release(pick) => {
                    let nth = pick % model.len().max(1);
                    if let Some(id) = model.keys().nth(nth).copied() {
                        let (index, _) = model.remove(&id).unwrap();
                        prop_assert_eq!(wheel.release(&index), Some(id));
                    }
                    if pick % 2 == 0 && let Some(index) = fired.pop() {
                        prop_assert!(!wheel.reset(&index, now + 1));
                        prop_assert_eq!(wheel.release(&index), None);
                    }
                }
                Step::Advance(delay, limit) => {
                    now += delay;
                    advance_both(&mut wheel, &mut model, &mut fired, now, limit);
                }
                Step::ToNext => {
                    let Some(next) = wheel.next_due() else { continue };
                    now = now.max(next);
                    advance_both(&mut wheel, &mut model, &mut fired, now, usize::MAX);
                }
            }
            prop_assert_eq!(wheel.len(), model.len());
            most = most.max(model.len() + fired.len());
            prop_assert!(wheel.values.len() <= most, "{} entries for {most} timers", wheel.values.len());
            let earliest = model.values().map(|(_, due)| *due).filter(|due| *due != NEVER).min();
            match (wheel.next_due(), earliest) {
                (Some(next), Some(due)) => prop_assert!(next <= due && next > now, "next {next}, due {due}, now {now}"),
                // A timer that was reset to never still sits in its old slot, and so does one that was released.
                (Some(next), None) => prop_assert!(next > now && wheel.slots.filed() > 0),
                (None, earliest) => prop_assert_eq!(earliest, None),
            }
        }
        // Following `next_due` alone fires everything, with a bounded number of wakes for nothing.
        let mut idle = 0;
        while let Some(next) = wheel.next_due() {
            let before = model.len();
            advance_both(&mut wheel, &mut model, &mut fired, next, usize::MAX);
            idle = if model.len() < before { 0 } else { idle + 1 };
            prop_assert!(idle <= 120 * LEVELS + 2_048, "woken for nothing {idle} times");
        }
        prop_assert_eq!(wheel.slots.filed(), 0);
        prop_assert!(model.values().all(|(_, due)| *due == NEVER));
    }
}
