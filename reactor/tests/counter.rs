//! [`Counter`] against the kernel's eventfd, and by itself.
#![cfg(not(egret_loom))]

mod sources_common;

use egret_reactor::{Counter, Events};
use proptest::prelude::*;
use sources_common::*;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

const MAX: u64 = u64::MAX - 1;

/// Every bit that a poll could show, level-triggered.
const ALL: Events = Events::from_bits_retain(0x27ff);

#[derive(Clone, Debug)]
enum Op {
    Write(u64),
    Read,
    Modify(Events),
    Look,
}

fn masks() -> impl Strategy<Value = Events> {
    let bits = [Events::IN, Events::OUT, Events::PRI, Events::RDNORM, Events::ERR, Events::RDHUP];
    let conditions = prop::sample::subsequence(bits.to_vec(), 0..=bits.len());
    let modes = prop::sample::subsequence(vec![Events::ET, Events::ONESHOT], 0..=2);
    (conditions, modes).prop_map(|(a, b)| a.into_iter().chain(b).collect())
}

fn ops() -> impl Strategy<Value = Op> {
    let value = prop_oneof![0..4_u64, MAX - 2..=u64::MAX, any::<u64>()];
    prop_oneof![
        4 => value.prop_map(Op::Write),
        4 => Just(Op::Read),
        2 => masks().prop_map(Op::Modify),
        4 => Just(Op::Look),
    ]
}

fn eventfd(value: u32, semaphore: bool) -> OwnedFd {
    let mode = if semaphore { libc::EFD_SEMAPHORE } else { 0 };
    // SAFETY: takes no pointers.
    owned(unsafe { libc::eventfd(value, mode | libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })
}

fn kernel_write(fd: &OwnedFd, value: u64) -> io::Result<()> {
    write(fd, &value.to_ne_bytes()).map(drop)
}

fn kernel_read(fd: &OwnedFd) -> io::Result<u64> {
    let mut value = [0; 8];
    read(fd, &mut value).map(|_| u64::from_ne_bytes(value))
}

/// What a program sees of a result.
fn told<T>(result: io::Result<T>) -> Result<T, io::ErrorKind> {
    result.map_err(|error| error.kind())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same script on both, with one instance that shows the levels and one with any interest.
    #[test]
    fn a_counter_is_an_eventfd(
        start in prop_oneof![0..3_u32, Just(u32::MAX)],
        semaphore: bool,
        mask in masks(),
        script in prop::collection::vec(ops(), 1..60),
    ) {
        let fd = eventfd(start, semaphore);
        let (levels, edges) = (Oracle::new(), Oracle::new());
        levels.add(&fd, ALL, 1).unwrap();
        edges.add(&fd, mask, 1).unwrap();
        let value = u64::from(start);
        let counter = Arc::new(if semaphore { Counter::semaphore(value) } else { Counter::new(value) });
        let (our_levels, our_edges) = (watching(&counter, ALL), watching(&counter, mask));
        for op in script {
            match op {
                Op::Write(n) => prop_assert_eq!(told(counter.write(n)), told(kernel_write(&fd, n)), "write {}", n),
                Op::Read => prop_assert_eq!(told(counter.read()), told(kernel_read(&fd))),
                Op::Modify(mask) => {
                    edges.modify(&fd, mask, 1).unwrap();
                    our_edges.modify(&counter, 0, mask, 1).unwrap();
                }
                Op::Look => prop_assert_eq!(look(&our_edges), edges.look()),
            }
            prop_assert_eq!(look(&our_levels), levels.look());
        }
    }
}

/// The same calls on both; the last look of each line is what the line is about.
#[test]
fn edges_are_those_of_an_eventfd() {
    for semaphore in [false, true] {
        let fd = eventfd(0, semaphore);
        let oracle = Oracle::new();
        oracle.add(&fd, Events::IN | Events::ET, 1).unwrap();
        let counter = Arc::new(if semaphore { Counter::semaphore(0) } else { Counter::new(0) });
        let poll = watching(&counter, Events::IN | Events::ET);
        let both = |what: &str, edges: usize| {
            assert_eq!((oracle.look().len(), look(&poll).len()), (edges, edges), "{what}");
        };
        let write = |n| {
            kernel_write(&fd, n).unwrap();
            counter.write(n).unwrap();
        };
        both("nothing yet", 0);
        write(0);
        both("nothing was added to nothing", 0);
        write(3);
        both("readable", 1);
        write(1);
        both("more, though it was readable", 1);
        write(0);
        both("nothing more, but it was written to and is readable", 1);
        kernel_read(&fd).unwrap();
        counter.read().unwrap();
        both("reading is no arrival, also when something is left", 0);
    }
}

#[test]
fn room_is_an_edge_for_the_writer() {
    for semaphore in [false, true] {
        let counter = Arc::new(if semaphore { Counter::semaphore(MAX) } else { Counter::new(MAX) });
        let poll = watching(&counter, Events::OUT | Events::ET);
        assert_eq!(conditions(&poll), []);
        assert_eq!(counter.write(1).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        counter.read().unwrap();
        assert_eq!(conditions(&poll), [Events::OUT]);
        assert_eq!(conditions(&poll), []);
        if semaphore {
            counter.read().unwrap();
            assert_eq!(conditions(&poll), [Events::OUT], "every read");
        }
    }
}

#[test]
fn limits() {
    assert_eq!(Counter::new(u64::MAX).read().unwrap(), MAX);
    let counter = Counter::semaphore(u64::MAX);
    assert_eq!(counter.write(u64::MAX).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    assert_eq!(counter.write(1).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(counter.read().unwrap(), 1);
    counter.write(1).unwrap();
    assert_eq!(counter.write(1).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn dropping_it_takes_the_interest_with_it() {
    let counter = Arc::new(Counter::new(1));
    let poll = watching(&counter, Events::IN);
    drop(counter);
    assert_eq!(look(&poll), []);
}

/// Permits that many threads give and take, each sleeping until there is one: none is lost, none is made.
#[test]
fn a_semaphore_between_threads() {
    const THREADS: u64 = 4;
    const EACH: u64 = 2_000;
    bounded(|| {
        let permits = Arc::new(Counter::semaphore(0));
        let takers: Vec<_> = (0..THREADS)
            .map(|_| {
                let permits = permits.clone();
                std::thread::spawn(move || {
                    let poll = watching(&permits, Events::IN);
                    let mut taken = 0;
                    while taken < EACH {
                        wait(&poll, 1, None);
                        // Another may have been faster.
                        taken += permits.read().unwrap_or(0);
                    }
                })
            })
            .collect();
        for n in 0..THREADS * EACH / 4 {
            permits.write(if n % 2 == 0 { 3 } else { 5 }).unwrap();
        }
        for taker in takers {
            taker.join().unwrap();
        }
        assert_eq!(permits.read().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    });
}

/// An edge-triggered reader that reads once for each edge misses nothing that was added.
#[test]
fn sums_arrive_whole() {
    bounded(|| {
        let counter = Arc::new(Counter::new(0));
        let poll = watching(&counter, Events::IN | Events::ET);
        let writers: Vec<_> = (0..3_u64)
            .map(|seed| {
                let counter = counter.clone();
                std::thread::spawn(move || (0..5_000).for_each(|n| counter.write(n % (7 + seed)).unwrap()))
            })
            .collect();
        let expected: u64 = (0..3_u64).flat_map(|seed| (0..5_000).map(move |n| n % (7 + seed))).sum();
        let mut sum = 0;
        while sum < expected {
            wait(&poll, 1, None);
            sum += counter.read().unwrap_or(0);
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(sum, expected);
    });
}
