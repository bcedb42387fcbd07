//! [`Timer`] beside the kernel's timerfd, and by itself.
//!
//! A test waits for a deadline that must pass, and says "not before" with exact times; "soon after" is never asked for, except
//! within the bound. Where a test says that nothing comes it gives it time to come: on a slow machine it proves less, and never
//! fails.
#![cfg(not(egret_loom))]

mod sources_common;
#[path = "sources_common/timer_faces.rs"]
mod timer_faces;

use egret_reactor::{Event, Eventpoll, Events, Timer};
use sources_common::*;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use timer_faces::*;

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

fn would_block(result: io::Result<u64>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn one_shot() {
    each(|timer| {
        assert!(would_block(timer.read()) && !timer.level() && !timer.edge(Duration::ZERO));
        let start = Instant::now();
        timer.set(5 * MS, Duration::ZERO);
        assert!(timer.edge(BOUND) && start.elapsed() >= 5 * MS);
        assert!(timer.level() && timer.level() && timer.remaining() == Duration::ZERO);
        assert_eq!(timer.read().unwrap(), 1);
        assert!(would_block(timer.read()) && !timer.level() && !timer.edge(10 * MS));
    });
}

#[test]
fn a_periodic_one_counts_what_was_missed() {
    each(|timer| {
        timer.set(2 * MS, 2 * MS);
        let mut sum = 0;
        for _ in 0..5 {
            assert!(timer.edge(BOUND) && timer.level());
            sum += timer.read().unwrap();
        }
        assert!(sum >= 5);
        thread::sleep(20 * MS);
        assert!(timer.read().unwrap() >= 9);
    });
}

/// What goes by while nobody reads is counted but not announced.
#[test]
fn a_periodic_one_that_is_not_read_is_one_edge() {
    each(|timer| {
        timer.set(2 * MS, 2 * MS);
        assert!(timer.edge(BOUND));
        assert!(!timer.edge(40 * MS));
        assert!(timer.level());
        assert!(timer.read().unwrap() >= 20);
        assert!(timer.edge(BOUND), "reading lets it go on");
    });
}

#[test]
fn asking_for_the_remaining_time_lets_a_periodic_one_go_on() {
    each(|timer| {
        timer.set(2 * MS, 3 * MS);
        for _ in 0..4 {
            assert!(timer.edge(BOUND));
            assert!(!timer.edge(12 * MS));
            let remaining = timer.remaining();
            assert!(remaining <= 3 * MS, "{remaining:?}");
        }
        assert!(timer.edge(BOUND));
        assert!(timer.read().unwrap() >= 16, "nothing was taken by asking");
    });
}

#[test]
fn setting_forgets_what_was() {
    each(|timer| {
        timer.set(MS, MS);
        assert!(timer.edge(BOUND));
        timer.set(HOUR, Duration::ZERO);
        assert!(would_block(timer.read()) && !timer.level() && !timer.edge(10 * MS));
        assert!(timer.remaining() > HOUR / 2 && timer.remaining() <= HOUR);
        timer.set(MS, Duration::ZERO);
        assert!(timer.edge(BOUND));
        assert_eq!(timer.read().unwrap(), 1);
    });
}

#[test]
fn disarming_forgets_what_was() {
    each(|timer| {
        timer.set(MS, MS);
        assert!(timer.edge(BOUND));
        timer.disarm();
        assert!(would_block(timer.read()) && !timer.level() && !timer.edge(10 * MS));
        assert_eq!(timer.remaining(), Duration::ZERO);
        timer.set(5 * MS, Duration::ZERO);
        timer.disarm();
        assert!(!timer.edge(15 * MS) && !timer.level());
    });
}

#[test]
fn the_past_expires_at_once() {
    each(|timer| {
        timer.set_past(35 * MS, Duration::ZERO);
        assert!(timer.edge(BOUND) && timer.level());
        assert_eq!(timer.read().unwrap(), 1);
        assert!(!timer.edge(5 * MS));
        timer.set_past(35 * MS, 10 * MS);
        assert!(timer.edge(BOUND) && timer.level());
        assert!(timer.read().unwrap() >= 4);
        assert!(timer.edge(BOUND));
    });
}

#[test]
fn zero_expires_at_once_and_is_one_edge() {
    let timer = Ours::new();
    for period in [Duration::ZERO, HOUR] {
        timer.set(Duration::ZERO, period);
        assert!(timer.edge(Duration::ZERO) && timer.level(), "nobody has to come for that");
        assert!(!timer.edge(5 * MS));
        assert_eq!(timer.read().unwrap(), 1);
        assert!(would_block(timer.read()));
    }
    assert!(timer.remaining() > HOUR / 2);
    timer.timer.disarm();
    assert_eq!(timer.timer.remaining(), None);
}

#[test]
fn no_time_is_too_long() {
    let timer = Ours::new();
    for first in [Duration::MAX, Duration::from_secs(u64::MAX / 4)] {
        timer.set(first, Duration::MAX);
        assert!(timer.remaining() > first / 2);
        assert!(!timer.edge(MS) && would_block(timer.read()));
    }
    timer.set(MS, Duration::MAX);
    assert!(timer.edge(BOUND));
    assert_eq!(timer.read().unwrap(), 1);
    assert_eq!(timer.remaining(), Duration::MAX);
    timer.timer.set(HOUR, None).unwrap();
    assert!(timer.remaining() <= HOUR);
}

/// A period that no thread could keep up with costs nothing until it is read.
#[test]
fn the_shortest_period() {
    let timer = Ours::new();
    let start = Instant::now();
    timer.set(Duration::ZERO, Duration::from_nanos(1));
    let mut sum = 0;
    for _ in 0..100 {
        assert!(timer.edge(BOUND));
        sum += u128::from(timer.read().unwrap());
    }
    assert!(sum <= start.elapsed().as_nanos() + 1);
}

#[test]
fn never_early() {
    let timer = Arc::new(Timer::new());
    let poll = watching(&timer, Events::IN);
    for micros in (0..3_000).step_by(37) {
        let first = Duration::from_micros(micros);
        let start = Instant::now();
        timer.set(first, None).unwrap();
        assert_eq!(wait(&poll, 1, Some(BOUND)).len(), 1);
        assert!(start.elapsed() >= first);
        assert_eq!(timer.read().unwrap(), 1);
    }
}

/// The sum of the counts is what the clock says, however the reads fall.
#[test]
fn the_count_is_the_clocks() {
    let timer = Arc::new(Timer::new());
    let poll = watching(&timer, Events::IN | Events::ET);
    let (first, period) = (3 * MS, Duration::from_micros(700));
    let before_set = Instant::now();
    timer.set(first, Some(period)).unwrap();
    let after_set = Instant::now();
    let mut sum = 0;
    for _ in 0..50 {
        assert_eq!(wait(&poll, 1, Some(BOUND)).len(), 1);
        let before_read = Instant::now();
        sum += u128::from(timer.read().unwrap());
        let after_read = Instant::now();
        let count = |span: Duration| (span.saturating_sub(first)).as_nanos() / period.as_nanos() + 1;
        assert!(sum >= count(before_read - after_set) && sum <= count(after_read - before_set));
    }
}

#[test]
fn it_can_be_set_while_others_sleep_on_it() {
    bounded(|| {
        let timer = Arc::new(Timer::new());
        let poll = watching(&timer, Events::IN);
        for first in [None, Some(HOUR)] {
            timer.disarm();
            if let Some(first) = first {
                timer.set(first, None).unwrap();
            }
            let inside = poll.clone();
            let sleeper = thread::spawn(move || wait(&inside, 1, None));
            until("it sleeps", || waiters(&poll) == 1);
            timer.set(2 * MS, None).unwrap();
            assert_eq!(sleeper.join().unwrap(), [Event { events: Events::IN, data: 1 }]);
        }
    });
}

/// Who sleeps two instances away is woken, and everybody who watches.
#[test]
fn it_wakes_whoever_watches() {
    bounded(|| {
        let timer = Arc::new(Timer::new());
        let [inner, beside] = [watching(&timer, Events::IN), watching(&timer, Events::IN | Events::ET)];
        let middle = watching(&inner, Events::IN);
        let outer = watching(&middle, Events::IN | Events::ET);
        timer.set(5 * MS, None).unwrap();
        let sleepers: Vec<_> =
            [beside, outer].into_iter().map(|poll| thread::spawn(move || wait(&poll, 1, None))).collect();
        for sleeper in sleepers {
            assert_eq!(sleeper.join().unwrap()[0].data, 1);
        }
        assert_eq!(conditions(&inner), [Events::IN]);
    });
}

#[test]
fn many_timers_from_several_threads() {
    const THREADS: usize = 4;
    const EACH: usize = 2_500;
    bounded(|| {
        let poll = Eventpoll::new().unwrap();
        let setters: Vec<_> = (0..THREADS)
            .map(|thread| {
                let poll = poll.clone();
                thread::spawn(move || {
                    let set = |n: usize| {
                        let timer = Arc::new(Timer::new());
                        let number = thread * EACH + n;
                        poll.add(&timer, 0, Events::IN | Events::ET, number as u64).unwrap();
                        // Out of order, and some at the same time.
                        timer.set(Duration::from_micros((number * 7919 % 50_000) as u64), None).unwrap();
                        timer
                    };
                    (0..EACH).map(set).collect::<Vec<_>>()
                })
            })
            .collect();
        let timers: Vec<_> = setters.into_iter().flat_map(|setter| setter.join().unwrap()).collect();
        let mut told = vec![0; THREADS * EACH];
        while told.contains(&0) {
            for event in wait(&poll, 256, None) {
                let number = event.data as usize;
                told[number] += 1;
                assert_eq!(timers[number].read().unwrap(), 1);
            }
        }
        assert_eq!(told, vec![1; THREADS * EACH]);
        assert_eq!(look(&poll), []);
    });
}

#[test]
fn a_dropped_timer_is_silent() {
    let poll = Eventpoll::new().unwrap();
    let timers: Vec<_> = (0..1_000)
        .map(|number| {
            let timer = Arc::new(Timer::new());
            poll.add(&timer, 0, Events::IN | Events::ET, number).unwrap();
            timer.set(20 * MS, Some(20 * MS)).unwrap();
            timer
        })
        .collect();
    let kept: Vec<_> = timers.into_iter().step_by(10).collect();
    let mut told = HashSet::new();
    while told.len() < kept.len() {
        for event in wait(&poll, 64, Some(BOUND)) {
            assert_eq!(event.data % 10, 0, "what was dropped is not even told if it had expired");
            assert!(told.insert(event.data), "one edge each");
        }
    }
    drop(kept);
    assert_eq!(wait(&poll, 64, Some(25 * MS)), []);
}

/// Set, read, disarmed and dropped from all sides while it expires: nobody hangs, and the last word counts.
#[test]
fn no_rest_for_a_timer() {
    bounded(|| {
        for _ in 0..20 {
            let timer = Arc::new(Timer::new());
            let poll = watching(&timer, Events::IN | Events::ET);
            let stop = Arc::new(AtomicBool::new(false));
            let waiter = {
                let (poll, stop) = (poll.clone(), stop.clone());
                thread::spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        wait(&poll, 1, Some(MS));
                    }
                })
            };
            thread::scope(|scope| {
                let timer = &timer;
                scope.spawn(move || {
                    (0..300).for_each(|n| timer.set(Duration::from_micros(n % 40), None).unwrap())
                });
                scope.spawn(move || {
                    (0..300)
                        .for_each(|n| timer.set(Duration::from_micros(n % 7), Some(30 * MS / 1000)).unwrap());
                });
                scope.spawn(move || (0..300).for_each(|_| assert_ne!(timer.read().unwrap_or(1), 0)));
                scope.spawn(move || {
                    for _ in 0..100 {
                        timer.remaining();
                        timer.disarm();
                    }
                });
            });
            stop.store(true, Ordering::SeqCst);
            waiter.join().unwrap();
            timer.set(Duration::from_micros(100), None).unwrap();
            wait(&poll, 1, None);
            until("it expires", || timer.read().is_ok());
            timer.set(HOUR, Some(HOUR)).unwrap();
            drop(timer);
            assert_eq!(look(&poll), []);
        }
    });
}

/// Contract C12: the clock's thread is not the child's.
#[test]
fn after_fork_the_child_gets_an_error() {
    let timer = Timer::new();
    timer.set(HOUR, Some(HOUR)).unwrap();
    // SAFETY: the child touches only timers and leaves without unwinding.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = timer.set(MS, None).is_err()
            && timer.set_at(Instant::now(), None).is_err()
            && timer.read().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
            && timer.remaining().is_none()
            && Timer::new().set(MS, None).is_err();
        timer.disarm();
        drop(timer);
        // SAFETY: ends the child at once, without running anything of the parent's.
        unsafe { libc::_exit(i32::from(!refused)) }
    }
    assert!(child > 0);
    let mut status = -1;
    until("the child ends", || {
        // SAFETY: `status` is valid, and the child is ours.
        unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) == child }
    });
    assert_eq!(status, 0);
    assert!(timer.remaining().unwrap() <= HOUR, "the parent's goes on");
}
