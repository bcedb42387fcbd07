//! Path limits, asserted on the running kernel and on egret by the same scripts: in how many ways one source may reach the
//! instances at the top. Named after epoll facts.
//!
//! A path's length is the number of instances on it. Paths are those that end at an instance which nobody watches.
#![cfg(not(egret_loom))]

mod oracle_common;
mod rules_common;

use egret_reactor::Events;
use oracle_common::{Egret, Engine, Kernel, on_both};
use rules_common::until;

const IN: Events = Events::IN;
const OUTER: u64 = 100;

/// For each limited length: the limit, and how many instances stand on each storey over one source to reach exactly that, if
/// each watches all of the storey below.
const LIMITS: [(usize, &[usize]); 4] =
    [(500, &[25, 20]), (100, &[5, 5, 4]), (50, &[5, 5, 2, 1]), (10, &[5, 2, 1, 1, 1])];

on_both! {
    fact_36_each_length_has_its_limit
    fact_36_a_source_of_a_watched_instance_counts_too
    fact_36_every_interest_is_a_path
    fact_36_each_source_has_its_own_count
    fact_36_and_37_length_one_is_unlimited
    fact_24_a_refused_path_leaves_nothing
    fact_24_what_comes_before_and_after_the_path_check
    fact_37_modify_and_remove_check_nothing
    fact_36_a_path_that_ends_makes_room
}

/// One source with exactly as many paths of one length as there may be.
struct Saturated<E: Engine> {
    source: E::Source,
    /// From the source upwards.
    storeys: Vec<Vec<E::Poll>>,
}

impl<E: Engine> Saturated<E> {
    fn new(engine: &E, storeys: &[usize]) -> Self {
        let source = engine.counter(0);
        let storeys: Vec<Vec<_>> =
            storeys.iter().map(|n| (0..*n).map(|_| engine.instance()).collect()).collect();
        for poll in &storeys[0] {
            engine.add(poll, &source, 0, IN, 1).unwrap();
        }
        for pair in storeys.windows(2) {
            for outer in &pair[1] {
                for inner in &pair[0] {
                    engine.nest(outer, inner, IN, OUTER).unwrap();
                }
            }
        }
        Self { source, storeys }
    }

    fn length(&self) -> usize {
        self.storeys.len()
    }
}

/// One more chain of that many instances, the lowest first, over nothing.
fn chain<E: Engine>(engine: &E, length: usize) -> Vec<E::Poll> {
    let chain: Vec<_> = (0..length).map(|_| engine.instance()).collect();
    for pair in chain.windows(2) {
        engine.nest(&pair[1], &pair[0], IN, OUTER).unwrap();
    }
    chain
}

fn fact_36_each_length_has_its_limit<E: Engine>(engine: &E) {
    for (limit, storeys) in LIMITS {
        assert_eq!(storeys.iter().product::<usize>(), limit);
        let full = Saturated::new(engine, storeys);
        // One more path, of which the last step watches an instance.
        let chain = chain(engine, full.length() - 1);
        engine.add(&chain[0], &full.source, 0, IN, 1).unwrap();
        let top = engine.instance();
        let last = chain.last().unwrap();
        assert_eq!(engine.nest(&top, last, IN, OUTER), Err(libc::EINVAL), "{limit}");
        assert_eq!(engine.unnest(&top, last), Err(libc::ENOENT));
        engine.write(&full.source);
        assert_eq!(engine.data(&full.storeys.last().unwrap()[0]).len(), storeys[storeys.len() - 2]);
    }
}

fn fact_36_a_source_of_a_watched_instance_counts_too<E: Engine>(engine: &E) {
    for (limit, storeys) in LIMITS {
        let full = Saturated::new(engine, storeys);
        // One more path, of which the last step watches the source.
        let chain = chain(engine, full.length());
        assert_eq!(engine.add(&chain[0], &full.source, 0, IN, 1), Err(libc::EINVAL), "{limit}");
        assert_eq!(engine.remove(&chain[0], &full.source, 0), Err(libc::ENOENT));
        engine.write(&full.source);
        assert_eq!(engine.data(chain.last().unwrap()), []);
        // Nobody watches this one: no path grows.
        engine.add(chain.last().unwrap(), &full.source, 0, IN, 1).unwrap();
    }
}

fn fact_36_every_interest_is_a_path<E: Engine>(engine: &E) {
    let full = Saturated::new(engine, &[5, 2, 1, 1, 1]);
    // Under another tag it is another interest: in the source,
    assert_eq!(engine.add(&full.storeys[0][0], &full.source, 1, IN, 1), Err(libc::EINVAL));
    // and in an instance.
    let second = engine.target(&full.storeys[3][0]);
    assert_eq!(engine.add(&full.storeys[4][0], &second, 1, IN, 1), Err(libc::EINVAL));
}

fn fact_36_each_source_has_its_own_count<E: Engine>(engine: &E) {
    let full = Saturated::new(engine, &[5, 2, 1, 1, 1]);
    let other = engine.counter(1);
    for poll in &full.storeys[0] {
        engine.add(poll, &other, 0, IN, 2).unwrap();
    }
    assert_eq!(engine.data(&full.storeys[4][0]), [OUTER]);
    let sixth = chain(engine, 5);
    assert_eq!(engine.add(&sixth[0], &other, 0, IN, 2), Err(libc::EINVAL));
    // Shorter paths of the same source are counted apart.
    let short = chain(engine, 4);
    engine.add(&short[0], &other, 0, IN, 2).unwrap();
}

/// The kernel's table says 1000, and its code lets any number pass.
fn fact_36_and_37_length_one_is_unlimited<E: Engine>(engine: &E) {
    let source = engine.counter(1);
    engine.needs_descriptors(1200);
    let polls: Vec<_> = (0..1100).map(|_| engine.instance()).collect();
    for poll in &polls {
        engine.add(poll, &source, 0, IN, 1).unwrap();
    }
    assert_eq!(engine.data(&polls[1099]), [1]);
    // Paths of length two begin to count when somebody watches some of these: here twenty watch each of twenty-five.
    let outers: Vec<_> = (0..20).map(|_| engine.instance()).collect();
    for outer in &outers {
        for poll in &polls[..25] {
            engine.nest(outer, poll, IN, OUTER).unwrap();
        }
    }
    assert_eq!(engine.nest(&outers[0], &polls[25], IN, OUTER), Err(libc::EINVAL));
    let one_more = engine.instance();
    engine.add(&one_more, &source, 0, IN, 1).unwrap();
}

fn fact_24_a_refused_path_leaves_nothing<E: Engine>(engine: &E) {
    let full = Saturated::new(engine, &[5, 2, 1, 1, 1]);
    let chain = chain(engine, 4);
    engine.add(&chain[0], &full.source, 0, IN, 1).unwrap();
    let top = engine.instance();
    for _ in 0..3 {
        assert_eq!(engine.nest(&top, &chain[3], IN, OUTER), Err(libc::EINVAL));
    }
    engine.write(&full.source);
    assert_eq!(engine.data(&top), [], "no interest,");
    assert_eq!(engine.unnest(&top, &chain[3]), Err(libc::ENOENT));
    assert_eq!(engine.data(&chain[3]), [OUTER], "no harm to what was there,");
    // and no edge: what would be a circle or too long with it is neither.
    engine.remove(&chain[0], &full.source, 0).unwrap();
    engine.nest(&chain[0], &top, IN, OUTER).unwrap();
    engine.unnest(&chain[0], &top).unwrap();
    engine.nest(&top, &chain[3], IN, OUTER).unwrap();
}

fn fact_24_what_comes_before_and_after_the_path_check<E: Engine>(engine: &E) {
    let full = Saturated::new(engine, &[5, 2, 1, 1, 1]);
    let chain = chain(engine, 5);
    // Before it: what exists, and the depth.
    assert_eq!(engine.nest(&full.storeys[4][0], &full.storeys[3][0], IN, 0), Err(libc::EEXIST));
    assert_eq!(engine.add(&full.storeys[0][0], &full.source, 0, IN, 0), Err(libc::EEXIST));
    assert_eq!(engine.nest(&chain[0], &full.storeys[0][0], IN, 0), Err(libc::ELOOP));
    // The mask is looked at before.
    let exclusive = IN | Events::EXCLUSIVE | Events::ONESHOT;
    assert_eq!(engine.add(&chain[0], &full.source, 0, exclusive, 0), Err(libc::EINVAL));
    assert_eq!(engine.add(&chain[0], &full.source, 0, IN, 0), Err(libc::EINVAL));
    // After it nothing is held against the next one.
    engine.remove(&full.storeys[0][0], &full.source, 0).unwrap();
    engine.add(&chain[0], &full.source, 0, IN, 0).unwrap();
}

fn fact_37_modify_and_remove_check_nothing<E: Engine>(engine: &E) {
    let full = Saturated::new(engine, &[5, 2, 1, 1, 1]);
    engine.modify(&full.storeys[0][0], &full.source, 0, IN | Events::ET, 2).unwrap();
    engine.modify(&full.storeys[1][0], &engine.target(&full.storeys[0][0]), 0, IN | Events::ET, 2).unwrap();
    for storey in full.storeys.windows(2) {
        engine.unnest(&storey[1][0], &storey[0][0]).unwrap();
    }
    engine.remove(&full.storeys[0][0], &full.source, 0).unwrap();
}

fn fact_36_a_path_that_ends_makes_room<E: Engine>(engine: &E) {
    let mut full = Saturated::new(engine, &[5, 2, 1, 1, 1]);
    let chain = chain(engine, 5);
    let add = |source| engine.add(&chain[0], source, 0, IN, 1);
    assert_eq!(add(&full.source), Err(libc::EINVAL));
    // By a remove of an instance from another,
    engine.unnest(&full.storeys[1][0], &full.storeys[0][0]).unwrap();
    add(&full.source).unwrap();
    engine.remove(&chain[0], &full.source, 0).unwrap();
    engine.nest(&full.storeys[1][0], &full.storeys[0][0], IN, OUTER).unwrap();
    assert_eq!(add(&full.source), Err(libc::EINVAL));
    // or by the end of one.
    full.storeys[0].pop();
    // In this process other threads' path checks look at all instances, and one that is looked at ends a moment later.
    until("its end is known", || add(&full.source).is_ok());
}
