//! The limit of interests in a process (epoll fact 22). It is process-wide: one test, in a binary of its own.
//!
//! The kernel's limit belongs to the user, not to the process; it is not touched here.
#![cfg(not(egret_loom))]

mod rules_common;

use egret_reactor::{Counter, Eventpoll, Events, max_watches, set_max_watches, watches};
use rules_common::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

const IN: Events = Events::IN;

fn counter() -> Arc<Counter> {
    Arc::new(Counter::new(1))
}

#[test]
fn fact_22_interests_of_a_process_are_limited() {
    assert_eq!((watches(), max_watches()), (0, usize::MAX));
    set_max_watches(3);
    assert_eq!(max_watches(), 3);
    let (poll, other) = (instance(), instance());
    let [a, b, c] = std::array::from_fn(|_| counter());
    poll.add(&a, 0, IN, 1).unwrap();
    poll.add(&a, 1, IN, 2).unwrap();
    other.add(&a, 0, IN, 3).unwrap();
    assert_eq!(watches(), 3, "each interest counts, in all instances together");
    assert_eq!(errno(other.add(&b, 0, IN, 4)), libc::ENOSPC);

    // Nothing is left of the one that was refused.
    assert_eq!(watches(), 3);
    assert_eq!(errno(other.remove(&b, 0)), libc::ENOENT);
    assert_eq!(data(&other), [3]);
    b.write(1).unwrap();
    assert_eq!(data(&other), [3]);

    precedence(&poll, &a);

    // A modify needs no place; a remove gives one back, and so does the end of a source or of an instance.
    poll.modify(&a, 0, IN | Events::OUT, 1).unwrap();
    poll.remove(&a, 1).unwrap();
    poll.add(&b, 0, IN, 4).unwrap();
    assert_eq!(errno(poll.add(&c, 0, IN, 5)), libc::ENOSPC);
    drop(b);
    assert_eq!(watches(), 2);
    poll.add(&c, 0, IN, 5).unwrap();
    drop(other);
    assert_eq!(watches(), 2);

    refused_and_thrown(&poll);

    // A lower limit takes nothing away.
    set_max_watches(0);
    assert_eq!(watches(), 2);
    assert_eq!(data(&poll).len(), 2);
    poll.modify(&c, 0, IN, 6).unwrap();
    assert_eq!(errno(poll.add(&a, 9, IN, 0)), libc::ENOSPC);
    drop(poll);
    assert_eq!(watches(), 0);
    set_max_watches(usize::MAX);
    path_check_comes_later();
    assert_eq!(watches(), 0);
}

/// The process is full, and `a` is watched by `poll` under tag 0.
fn precedence(poll: &Eventpoll, a: &Arc<Counter>) {
    assert_eq!(errno(poll.add(a, 0, IN, 0)), libc::EEXIST, "decided first");
    assert_eq!(errno(poll.add(a, 7, IN | Events::EXCLUSIVE | Events::ONESHOT, 0)), libc::EINVAL);
    assert_eq!(errno(poll.add(poll, 0, IN, 0)), libc::EINVAL);
    assert_eq!(errno(poll.add(&instance(), 0, IN, 0)), libc::ENOSPC, "instances count like any source");
}

/// One place is free; an ADD that fails otherwise doesn't keep it.
fn refused_and_thrown(poll: &Eventpoll) {
    for _ in 0..3 {
        let bad = Puppet::new(IN);
        bad.once(|| panic!("in poll, on purpose"));
        assert!(catch_unwind(AssertUnwindSafe(|| poll.add(&bad, 0, IN, 0))).is_err());
        assert_eq!(watches(), 2);
    }
}

/// ENOSPC is decided before the path limit is, and ELOOP before both.
fn path_check_comes_later() {
    let source = counter();
    let build = |lowest: &[Eventpoll]| {
        let chain: Vec<_> = (0..4).map(|_| instance()).collect();
        for poll in lowest {
            chain[0].add(poll, 0, IN, 0).unwrap();
        }
        for link in chain.windows(2) {
            link[1].add(&link[0], 0, IN, 0).unwrap();
        }
        chain
    };
    // Ten paths of length five are as many as there may be.
    let lowest: [_; 11] = std::array::from_fn(|_| instance());
    let chain = build(&lowest);
    for poll in &lowest[..10] {
        poll.add(&source, 0, IN, 0).unwrap();
    }
    let add = || errno(lowest[10].add(&source, 0, IN, 0));
    assert_eq!(add(), libc::EINVAL);
    let full = watches();
    set_max_watches(full);
    assert_eq!(add(), libc::ENOSPC);
    assert_eq!(errno(lowest[0].add(&chain[3], 0, IN, 0)), libc::ELOOP);
    set_max_watches(full + 1);
    assert_eq!(add(), libc::EINVAL);
    assert_eq!(watches(), full, "the place was given back");
    set_max_watches(usize::MAX);
}
