//! Instances that watch instances, asserted on the running kernel and on egret by the same scripts. Named after epoll facts.
#![cfg(not(egret_loom))]

mod oracle_common;
mod rules_common;

use egret_reactor::{Event, Events};
use oracle_common::{Egret, Engine, Kernel, on_both};

const IN: Events = Events::IN;
const OUT: Events = Events::OUT;
const ET: Events = Events::ET;
const ONESHOT: Events = Events::ONESHOT;
const OUTER: u64 = 100;

on_both! {
    fact_18_a_refused_edge_is_not_counted
    fact_31_and_32_a_chain_has_at_most_five_instances
    fact_31_and_32_two_chains_are_not_joined_to_a_longer_one
    fact_33_circles_are_refused
    fact_35_parallel_edges_are_counted
    fact_38_an_instance_is_readable_if_an_item_polls_ready
    fact_39_a_look_from_outside_consumes_nothing_and_keeps_the_order
    fact_40_over_a_level_item_until_it_is_drained
    fact_40_over_an_edge_item_until_it_is_collected
    fact_41_an_instance_never_fires_out
    fact_42_an_outer_edge_for_each_inner_callback
    fact_43_an_outer_level_stays_while_the_inner_edge_is_not_collected
    fact_45_a_scan_of_the_inner_is_no_edge_for_the_outer
    fact_46_closing_the_inner_takes_it_out_of_the_outer
    fact_46_closing_the_outer_unhooks_it
    fact_52_only_a_new_link_is_an_edge_for_the_outer
    fact_62_a_one_shot_over_an_instance
}

fn pair<E: Engine>(engine: &E, mode: Events) -> (E::Poll, E::Poll) {
    let (outer, inner) = (engine.instance(), engine.instance());
    engine.nest(&outer, &inner, IN | mode, OUTER).unwrap();
    (outer, inner)
}

/// `n` instances, each of which watches the next.
fn chain<E: Engine>(engine: &E, n: usize) -> Vec<E::Poll> {
    let chain: Vec<_> = (0..n).map(|_| engine.instance()).collect();
    for link in chain.windows(2) {
        engine.nest(&link[0], &link[1], IN, OUTER).unwrap();
    }
    chain
}

/// Which of ELOOP and EEXIST comes first can't be seen: an edge that exists has passed the check of the graph it is in.
fn fact_18_a_refused_edge_is_not_counted(engine: &impl Engine) {
    let (outer, inner) = pair(engine, Events::empty());
    assert_eq!(engine.nest(&outer, &inner, IN, 0), Err(libc::EEXIST));
    assert_eq!(engine.nest(&inner, &outer, IN, 0), Err(libc::ELOOP));
    engine.unnest(&outer, &inner).unwrap();
    engine.nest(&inner, &outer, IN, 0).unwrap();
}

fn fact_31_and_32_a_chain_has_at_most_five_instances(engine: &impl Engine) {
    let chain = chain(engine, 5);
    let source = engine.watched(&chain[4], 0, IN, 1);
    let sixth = engine.instance();
    assert_eq!(engine.nest(&chain[4], &sixth, IN, 0), Err(libc::ELOOP), "below");
    assert_eq!(engine.nest(&sixth, &chain[0], IN, 0), Err(libc::ELOOP), "on top");
    engine.nest(&sixth, &chain[1], IN, 0).unwrap();
    // And the whole chain works.
    assert_eq!(engine.data(&chain[0]), []);
    engine.write(&source);
    assert_eq!((engine.data(&chain[0]), engine.data(&sixth)), (vec![OUTER], vec![0]));
    engine.read(&source);
    assert_eq!(engine.data(&chain[0]), []);
}

fn fact_31_and_32_two_chains_are_not_joined_to_a_longer_one(engine: &impl Engine) {
    let (upper, lower) = (chain(engine, 3), chain(engine, 3));
    assert_eq!(engine.nest(&upper[2], &lower[0], IN, 0), Err(libc::ELOOP), "two, one and two are five edges");
    engine.nest(&upper[2], &lower[1], IN, 0).unwrap();
    engine.unnest(&upper[2], &lower[1]).unwrap();
    engine.nest(&upper[1], &lower[0], IN, 0).unwrap();
}

fn fact_33_circles_are_refused(engine: &impl Engine) {
    let chain = chain(engine, 3);
    assert_eq!(engine.nest(&chain[1], &chain[0], IN, 0), Err(libc::ELOOP));
    assert_eq!(engine.nest(&chain[2], &chain[0], IN, 0), Err(libc::ELOOP));
    engine.unnest(&chain[1], &chain[2]).unwrap();
    engine.nest(&chain[2], &chain[0], IN, 0).unwrap();
}

fn fact_35_parallel_edges_are_counted(engine: &impl Engine) {
    let (outer, inner) = (engine.instance(), engine.instance());
    let target = engine.target(&inner);
    engine.add(&outer, &target, 0, IN, 0).unwrap();
    engine.add(&outer, &target, 1, IN, 1).unwrap();
    engine.remove(&outer, &target, 0).unwrap();
    assert_eq!(engine.nest(&inner, &outer, IN, 0), Err(libc::ELOOP));
    engine.remove(&outer, &target, 1).unwrap();
    engine.nest(&inner, &outer, IN, 0).unwrap();
}

fn fact_38_an_instance_is_readable_if_an_item_polls_ready(engine: &impl Engine) {
    let (outer, inner) = (engine.instance(), engine.instance());
    engine.nest(&outer, &inner, IN | Events::RDNORM | OUT, OUTER).unwrap();
    let source = engine.watched(&inner, 0, IN, 1);
    assert_eq!(engine.look(&outer), [], "it is writable, but nobody asked for that");
    engine.write(&source);
    let readable = [Event { events: IN | Events::RDNORM, data: OUTER }];
    assert_eq!(engine.look(&outer), readable);
    engine.read(&source);
    assert_eq!(engine.look(&outer), [], "queued in the inner one, but not ready any more");
    engine.modify(&inner, &source, 0, OUT, 1).unwrap();
    assert_eq!(engine.look(&outer), readable, "ready under its own mask, whatever that is");
}

fn fact_39_a_look_from_outside_consumes_nothing_and_keeps_the_order(engine: &impl Engine) {
    let (outer, inner) = pair(engine, Events::empty());
    let stale = engine.watched(&inner, 1, IN, 1);
    let modes = [(ET, 2), (ONESHOT, 3), (Events::empty(), 4)];
    let sources = modes.map(|(mode, data)| engine.watched(&inner, 0, IN | mode, data));
    for source in &sources {
        engine.write(source);
    }
    engine.read(&stale);
    for _ in 0..3 {
        assert_eq!(engine.data(&outer), [OUTER]);
    }
    // Quiet when it was met from outside, so it was dropped and comes in anew.
    engine.write(&stale);
    assert_eq!(engine.data(&inner), [2, 3, 4, 1]);
}

fn fact_40_over_a_level_item_until_it_is_drained(engine: &impl Engine) {
    let (outer, inner) = pair(engine, Events::empty());
    let source = engine.watched(&inner, 1, IN, 1);
    for _ in 0..3 {
        assert_eq!(engine.data(&outer), [OUTER]);
        assert_eq!(engine.data(&inner), [1]);
    }
    engine.read(&source);
    assert_eq!(engine.data(&outer), []);
}

fn fact_40_over_an_edge_item_until_it_is_collected(engine: &impl Engine) {
    let (outer, inner) = pair(engine, Events::empty());
    let source = engine.watched(&inner, 0, IN | ET, 1);
    engine.write(&source);
    assert_eq!(engine.data(&outer), [OUTER]);
    assert_eq!(engine.data(&inner), [1]);
    assert_eq!(engine.data(&outer), [], "collected, though not drained");
}

fn fact_41_an_instance_never_fires_out(engine: &impl Engine) {
    let (outer, inner) = (engine.instance(), engine.instance());
    engine.nest(&outer, &inner, OUT, OUTER).unwrap();
    let source = engine.watched(&inner, 0, IN | OUT | ET, 1);
    engine.write(&source);
    assert_eq!(engine.data(&outer), []);
    assert_eq!(engine.data(&inner), [1]);
}

fn fact_42_an_outer_edge_for_each_inner_callback(engine: &impl Engine) {
    if !engine.is_exact() {
        return;
    }
    let (outer, inner) = pair(engine, ET);
    let source = engine.watched(&inner, 0, IN | ET, 1);
    for _ in 0..3 {
        engine.write(&source);
        assert_eq!(engine.data(&outer), [OUTER], "also while the inner item is still queued");
        assert_eq!(engine.data(&outer), []);
    }
    assert_eq!(engine.data(&inner), [1]);
}

fn fact_43_an_outer_level_stays_while_the_inner_edge_is_not_collected(engine: &impl Engine) {
    let (outer, inner) = pair(engine, Events::empty());
    let source = engine.watched(&inner, 0, IN | ET, 1);
    engine.write(&source);
    assert_eq!(engine.data(&outer), [OUTER]);
    assert_eq!(engine.data(&outer), [OUTER]);
}

fn fact_45_a_scan_of_the_inner_is_no_edge_for_the_outer(engine: &impl Engine) {
    let (outer, inner) = pair(engine, ET);
    let sources = [engine.watched(&inner, 0, IN, 1), engine.watched(&inner, 0, IN, 2)];
    for source in &sources {
        engine.write(source);
    }
    assert_eq!(engine.data(&outer), [OUTER]);
    assert_eq!(engine.one(&inner), Some(1));
    assert_eq!(engine.data(&outer), [], "something is left, but nothing came in");
}

fn fact_46_closing_the_inner_takes_it_out_of_the_outer(engine: &impl Engine) {
    let (outer, inner) = pair(engine, Events::empty());
    let source = engine.watched(&inner, 1, IN, 1);
    assert_eq!(engine.data(&outer), [OUTER]);
    drop(inner);
    assert_eq!(engine.data(&outer), []);
    engine.write(&source);
    assert_eq!(engine.data(&outer), []);
    // The graph has forgotten the edge: as long a chain as ever fits below.
    engine.nest(&outer, &chain(engine, 4)[0], IN, 0).unwrap();
}

fn fact_46_closing_the_outer_unhooks_it(engine: &impl Engine) {
    let (outer, inner) = pair(engine, Events::empty());
    let source = engine.watched(&inner, 0, IN, 1);
    drop(outer);
    engine.write(&source);
    assert_eq!(engine.data(&inner), [1]);
    let next = engine.instance();
    engine.nest(&inner, &next, IN, 0).unwrap();
}

fn fact_52_only_a_new_link_is_an_edge_for_the_outer(engine: &impl Engine) {
    let (outer, inner) = pair(engine, ET);
    let source = engine.watched(&inner, 1, IN | ET, 1);
    assert_eq!(engine.data(&outer), [OUTER], "an ADD of what is ready");
    engine.modify(&inner, &source, 0, IN | ET, 2).unwrap();
    assert_eq!(engine.data(&outer), [], "it was linked");
    assert_eq!(engine.data(&inner), [2]);
    engine.modify(&inner, &source, 0, IN | ET, 3).unwrap();
    assert_eq!(engine.data(&outer), [OUTER], "it was not");
}

fn fact_62_a_one_shot_over_an_instance(engine: &impl Engine) {
    let (outer, inner) = pair(engine, ONESHOT);
    let _source = engine.watched(&inner, 1, IN, 1);
    assert_eq!((engine.data(&outer), engine.data(&outer)), (vec![OUTER], vec![]));
    engine.modify(&outer, &engine.target(&inner), 0, IN | ONESHOT, 7).unwrap();
    assert_eq!((engine.data(&outer), engine.data(&outer)), (vec![7], vec![]));
}
