//! Timers without a runtime: the clock is a parameter.

use super::*;
use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::Wake,
    thread,
};

const MS: Duration = Duration::from_millis(1);
const TICK: Duration = Duration::from_nanos(1 << TICK_SHIFT);

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn count() -> (std::sync::Arc<Count>, Waker) {
    let count = std::sync::Arc::new(Count::default());
    (count.clone(), Waker::from(count))
}

fn woken(count: &Count) -> usize {
    count.0.load(Ordering::SeqCst)
}

#[test]
fn never_early_and_at_most_a_tick_late() {
    for micros in [1, 130, 131, 132, 1_000, 77_777, 123_456_789] {
        let timers = Timers::new();
        let start = timers.shared.start;
        let (flag, waker) = count();
        let deadline = start + Duration::from_micros(micros);
        let (_, next) = timers.insert(start, deadline, waker).unwrap();
        assert_eq!(next, Next::Earlier);
        timers.fire(deadline - Duration::from_nanos(1));
        assert_eq!(woken(&flag), 0);
        let awaited = timers.next_deadline().unwrap();
        assert!(awaited <= deadline + TICK);
        timers.fire(deadline + TICK);
        assert_eq!(woken(&flag), 1);
        assert_eq!(timers.next_deadline(), None);
    }
}

#[test]
fn waking_at_next_deadline_is_enough() {
    let timers = Timers::new();
    let start = timers.shared.start;
    let (flag, waker) = count();
    for at in 0..200_u32 {
        let _ = timers.insert(start, start + at * at * MS, waker.clone()).unwrap();
    }
    let mut last = start;
    let mut rounds = 0;
    while let Some(next) = timers.next_deadline() {
        assert!(next > last || rounds == 0, "time stands still");
        last = next;
        timers.fire(next);
        let due = (0..200_u32).filter(|at| start + *at * *at * MS <= next).count();
        assert!(woken(&flag) <= due);
        rounds += 1;
    }
    assert_eq!(woken(&flag), 200);
    assert!(rounds < 600, "{rounds} rounds for 200 timers");
}

#[test]
fn wakes_in_the_order_of_the_deadlines() {
    struct Tell(u32, mpsc::Sender<u32>);
    impl Wake for Tell {
        fn wake(self: std::sync::Arc<Self>) {
            self.1.send(self.0).unwrap();
        }
    }
    let timers = Timers::new();
    let start = timers.shared.start;
    let (tell, told) = mpsc::channel();
    for id in [70, 3, 500, 41, 1_000, 2, 99] {
        let waker = Waker::from(std::sync::Arc::new(Tell(id, tell.clone())));
        let _ = timers.insert(start, start + id * MS, waker).unwrap();
    }
    timers.fire(start + 999 * MS);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [2, 3, 41, 70, 99, 500]);
}

#[test]
fn only_an_earlier_deadline_interrupts() {
    let timers = Timers::new();
    let start = timers.shared.start;
    let (_, waker) = count();
    let (late, next) = timers.insert(start, start + 100 * MS, waker.clone()).unwrap();
    assert_eq!(next, Next::Earlier);
    assert_eq!(timers.insert(start, start + 200 * MS, waker.clone()).unwrap().1, Next::Unchanged);
    assert_eq!(timers.reset(late, start + 300 * MS), Some(Next::Unchanged));
    assert!(
        timers.next_deadline().unwrap() <= start + 200 * MS,
        "a reset or a cancel never makes the worker sleep too long"
    );
    assert_eq!(timers.reset(late, start + 50 * MS), Some(Next::Earlier));
    timers.cancel(late);
    assert!(timers.next_deadline().unwrap() <= start + 200 * MS);
}

#[test]
fn a_reset_timer_fires_at_its_new_deadline() {
    let timers = Timers::new();
    let start = timers.shared.start;
    let (flag, waker) = count();
    let (key, _) = timers.insert(start, start + 10 * MS, waker).unwrap();
    for ms in [20, 30, 5_000, 40] {
        assert!(timers.reset(key, start + ms * MS).is_some());
    }
    timers.fire(start + 39 * MS);
    assert_eq!(woken(&flag), 0);
    timers.fire(start + 40 * MS + TICK);
    assert_eq!(woken(&flag), 1);
    assert_eq!(timers.reset(key, start + 50 * MS), None);
}

#[test]
fn the_waker_set_last_is_woken_and_the_others_dropped() {
    let timers = Timers::new();
    let start = timers.shared.start;
    let (old, old_waker) = count();
    let (new, new_waker) = count();
    let (key, _) = timers.insert(start, start + MS, old_waker).unwrap();
    assert_eq!(timers.set_waker(key, &new_waker), Armed::Yes);
    assert_eq!(std::sync::Arc::strong_count(&old), 1);
    timers.fire(start + 2 * MS);
    assert_eq!((woken(&old), woken(&new)), (0, 1));
    assert_eq!(timers.set_waker(key, &new_waker), Armed::Fired);
}

#[test]
fn a_deadline_that_never_comes() {
    let timers = Timers::new();
    let start = timers.shared.start;
    let (flag, waker) = count();
    let far = start + Duration::from_secs(u64::from(u32::MAX) * 60);
    let (key, next) = timers.insert(start, far, waker).unwrap();
    assert_eq!(next, Next::Earlier);
    timers.fire(start + Duration::from_secs(86_400 * 365));
    assert_eq!(woken(&flag), 0);
    timers.cancel(key);
    assert_eq!(std::sync::Arc::strong_count(&flag), 1);
}

#[test]
fn shutdown_wakes_all_and_refuses_more() {
    let timers = Timers::new();
    let start = timers.shared.start;
    let (flag, waker) = count();
    let keys: Vec<_> = (1..=100)
        .map(|s| timers.insert(start, start + Duration::from_secs(s), waker.clone()).unwrap().0)
        .collect();
    timers.shutdown();
    assert_eq!(woken(&flag), 100);
    assert_eq!(timers.next_deadline(), None);
    assert!(timers.insert(start, start + MS, waker.clone()).is_err());
    assert_eq!(timers.set_waker(keys[0], &waker), Armed::Fired);
    assert_eq!(timers.reset(keys[1], start), None);
    timers.cancel(keys[2]);
    drop(waker);
    assert_eq!(std::sync::Arc::strong_count(&flag), 1);
}

/// A waker that comes back to the timers when it is woken or dropped: a deadlock if that ran under the lock.
#[test]
fn no_user_code_runs_under_the_lock() {
    struct Reentrant(Timers);
    impl Reentrant {
        fn use_the_lock(&self) {
            drop(self.0.lock());
        }
    }
    impl Wake for Reentrant {
        fn wake(self: std::sync::Arc<Self>) {
            self.use_the_lock();
        }
    }
    impl Drop for Reentrant {
        fn drop(&mut self) {
            self.use_the_lock();
        }
    }
    let timers = Timers::new();
    let start = timers.shared.start;
    let waker = || Waker::from(std::sync::Arc::new(Reentrant(timers.clone())));
    let (key, _) = timers.insert(start, start + MS, waker()).unwrap();
    assert_eq!(timers.set_waker(key, &waker()), Armed::Yes);
    timers.cancel(key);
    let _ = timers.insert(start, start + MS, waker()).unwrap();
    timers.fire(start + 2 * MS);
    let _ = timers.insert(start, start + MS, waker()).unwrap();
    timers.shutdown();
    assert!(timers.insert(start, start, waker()).is_err());
    assert_eq!(Arc::strong_count(&timers.shared), 1);
}

/// One thread fires, others arm, move and cancel: every timer that wasn't cancelled in time fires exactly once.
#[test]
fn stress_fire_against_cancel_and_reset() {
    let timers = Timers::new();
    let start = timers.shared.start;
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let firing = scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                timers.fire(Instant::now());
            }
        });
        let users: Vec<_> = (0..2_u32)
            .map(|user| {
                let timers = timers.clone();
                scope.spawn(move || {
                    for round in 0..3_000_u32 {
                        let (flag, waker) = count();
                        let now = Instant::now();
                        let (key, _) = timers.insert(now, now + Duration::from_micros(100), waker).unwrap();
                        match (round + user) % 3 {
                            0 => {
                                let _ = timers.reset(key, now + Duration::from_micros(200));
                                while woken(&flag) == 0 {
                                    thread::yield_now();
                                }
                                assert!(now.elapsed() >= Duration::from_micros(100));
                            }
                            1 => {
                                timers.cancel(key);
                                // A wake that was under way may still come; the entry may not.
                                assert_eq!(timers.reset(key, now), None);
                            }
                            _ => {
                                let (new, new_waker) = count();
                                if timers.set_waker(key, &new_waker) == Armed::Yes {
                                    while woken(&new) == 0 {
                                        thread::yield_now();
                                    }
                                }
                            }
                        }
                    }
                })
            })
            .collect();
        for user in users {
            user.join().unwrap();
        }
        stop.store(true, Ordering::Release);
        firing.join().unwrap();
    });
    timers.fire(start + Duration::from_secs(3_600));
    assert_eq!(timers.lock().wheel.len(), 0);
}
