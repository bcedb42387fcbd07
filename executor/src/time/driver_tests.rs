//! Timers without a runtime: the clock is a parameter.

use super::{super::clock::TICK_SHIFT, *};
use crate::watchdog::Watchdog;
use std::{
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::Wake,
    thread,
    time::Duration,
};

const MS: Duration = Duration::from_millis(1);
const TICK: Duration = Duration::from_nanos(1 << TICK_SHIFT);

/// A timer as a `Sleep` has it.
struct Timer {
    block: Arc<Block>,
    index: Index,
    deadline: Instant,
}

impl Timer {
    fn poll(&self, waker: &Waker) -> Polled {
        self.block.poll(&self.index, self.deadline.into(), waker)
    }

    fn reset(&mut self, deadline: Instant) -> Option<Next> {
        self.deadline = deadline;
        self.block.reset(&self.index, deadline.into())
    }

    fn put_off(&mut self, deadline: Instant) {
        self.deadline = deadline;
        self.block.put_off(&self.index, Moment::from(deadline).tick_not_before());
    }

    fn cancel(self) {
        self.block.cancel(&self.index);
    }
}

fn insert(timers: &Timers, now: Instant, deadline: Instant, waker: Waker) -> (Timer, Next) {
    let (block, index, next) = timers.insert(now.into(), deadline.into(), waker).unwrap();
    (Timer { block, index, deadline }, next)
}

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
        let start = Instant::now();
        let (flag, waker) = count();
        let deadline = start + Duration::from_micros(micros);
        let (_, next) = insert(&timers, start, deadline, waker);
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
    let start = Instant::now();
    let (flag, waker) = count();
    for at in 0..200_u32 {
        let _ = insert(&timers, start, start + at * at * MS, waker.clone());
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
    let start = Instant::now();
    let (tell, told) = mpsc::channel();
    for id in [70, 3, 500, 41, 1_000, 2, 99] {
        let waker = Waker::from(std::sync::Arc::new(Tell(id, tell.clone())));
        let _ = insert(&timers, start, start + id * MS, waker);
    }
    timers.fire(start + 999 * MS);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [2, 3, 41, 70, 99, 500]);
}

#[test]
fn only_an_earlier_deadline_interrupts() {
    let timers = Timers::new();
    let start = Instant::now();
    let (_, waker) = count();
    let (mut late, next) = insert(&timers, start, start + 100 * MS, waker.clone());
    assert_eq!(next, Next::Earlier);
    assert_eq!(insert(&timers, start, start + 200 * MS, waker.clone()).1, Next::Unchanged);
    assert_eq!(late.reset(start + 300 * MS), Some(Next::Unchanged));
    assert!(
        timers.next_deadline().unwrap() <= start + 200 * MS,
        "a reset or a cancel never makes the worker sleep too long"
    );
    assert_eq!(late.reset(start + 50 * MS), Some(Next::Earlier));
    late.cancel();
    assert!(timers.next_deadline().unwrap() <= start + 200 * MS);
}

#[test]
fn a_reset_timer_fires_at_its_new_deadline() {
    let timers = Timers::new();
    let start = Instant::now();
    let (flag, waker) = count();
    let (mut timer, _) = insert(&timers, start, start + 10 * MS, waker);
    for ms in [20, 30, 5_000, 40] {
        assert!(timer.reset(start + ms * MS).is_some());
    }
    timers.fire(start + 39 * MS);
    assert_eq!(woken(&flag), 0);
    timers.fire(start + 40 * MS + TICK);
    assert_eq!(woken(&flag), 1);
    assert_eq!(timer.reset(start + 50 * MS), None);
}

#[test]
fn the_waker_set_last_is_woken_and_the_others_dropped() {
    let timers = Timers::new();
    let start = Instant::now();
    let (old, old_waker) = count();
    let (new, new_waker) = count();
    let (timer, _) = insert(&timers, start, start + MS, old_waker);
    assert_eq!(timer.poll(&new_waker), Polled::Waits);
    assert_eq!(std::sync::Arc::strong_count(&old), 1);
    timers.fire(start + 2 * MS);
    assert_eq!((woken(&old), woken(&new)), (0, 1));
    assert_eq!(timer.poll(&new_waker), Polled::Elapsed);
}

#[test]
fn a_timer_that_is_put_off_fires_at_its_new_deadline_only() {
    let timers = Timers::new();
    let start = Instant::now();
    let (flag, waker) = count();
    let (mut timer, _) = insert(&timers, start, start + 10 * MS, waker.clone());
    for ms in [10, 20, 5_000] {
        timer.put_off(start + ms * MS);
        timers.fire(start + (ms - 1) * MS);
        assert_eq!(woken(&flag), 0);
    }
    assert_eq!(timer.poll(&waker), Polled::Waits);
    timers.fire(start + 5_000 * MS + TICK);
    assert_eq!(woken(&flag), 1);
    assert_eq!(timer.poll(&waker), Polled::Elapsed);
}

/// Fired already, and put off before its future was polled: that poll must neither take it for elapsed nor wait for a wake that doesn't come.
#[test]
fn a_timer_that_is_put_off_after_it_fired_has_to_be_armed_anew() {
    let timers = Timers::new();
    let start = Instant::now();
    let (flag, waker) = count();
    let (mut timer, _) = insert(&timers, start, start + MS, waker.clone());
    timers.fire(start + 2 * MS);
    assert_eq!(woken(&flag), 1);
    timer.put_off(start + 9 * MS);
    assert_eq!(timer.poll(&waker), Polled::TooEarly);
    // Its place can be used again.
    let (again, _) = insert(&timers, start, start + 9 * MS, waker.clone());
    assert_eq!(again.index, timer.index);
    timers.fire(start + 10 * MS);
    assert_eq!(again.poll(&waker), Polled::Elapsed);
}

#[test]
fn a_deadline_that_never_comes() {
    let timers = Timers::new();
    let start = Instant::now();
    let year = Duration::from_secs(86_400 * 365);
    let (flag, waker) = count();
    let (late, next) = insert(&timers, start, start + 300 * year, waker.clone());
    assert_eq!(next, Next::Earlier);
    let (never, next) = insert(&timers, start, start + 60_000 * year, waker);
    assert_eq!(next, Next::Unchanged);
    timers.fire(start + year);
    assert_eq!(woken(&flag), 0);
    late.cancel();
    timers.fire(start + 301 * year);
    assert_eq!((woken(&flag), timers.next_deadline()), (0, None));
    never.cancel();
    assert_eq!(std::sync::Arc::strong_count(&flag), 1);
}

#[test]
fn shutdown_wakes_all_and_refuses_more() {
    let timers = Timers::new();
    let start = Instant::now();
    let (flag, waker) = count();
    let mut armed: Vec<_> =
        (1..=100).map(|s| insert(&timers, start, start + Duration::from_secs(s), waker.clone()).0).collect();
    timers.shutdown();
    assert_eq!(woken(&flag), 100);
    assert_eq!(timers.next_deadline(), None);
    assert!(timers.insert(start.into(), (start + MS).into(), waker.clone()).is_err());
    assert_eq!(armed[0].poll(&waker), Polled::Elapsed);
    assert_eq!(armed[1].reset(start), None);
    armed.pop().unwrap().cancel();
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
    let start = Instant::now();
    let waker = || Waker::from(std::sync::Arc::new(Reentrant(timers.clone())));
    let (timer, _) = insert(&timers, start, start + MS, waker());
    assert_eq!(timer.poll(&waker()), Polled::Waits);
    timer.cancel();
    let _ = insert(&timers, start, start + MS, waker());
    timers.fire(start + 2 * MS);
    let _ = insert(&timers, start, start + MS, waker());
    timers.shutdown();
    assert!(timers.insert(start.into(), start.into(), waker()).is_err());
    assert_eq!(Arc::strong_count(&timers.shared), 1);
}

/// Set when it is dropped, also by a failed assertion: a scope waits for its threads.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// One thread fires, others arm, move and cancel: every timer that wasn't cancelled in time fires exactly once.
#[test]
fn stress_fire_against_cancel_and_reset() {
    let _watchdog = Watchdog::start();
    /// Each round takes three threads' turns: on a loaded machine that is a matter of minutes.
    const ENOUGH: Duration = Duration::from_secs(10);
    let timers = Timers::new();
    let start = Instant::now();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                timers.fire(Instant::now());
            }
        });
        let _stop = Stop(&stop);
        let users: Vec<_> = (0..2_u32)
            .map(|user| {
                let timers = timers.clone();
                scope.spawn(move || {
                    for round in 0..3_000_u32 {
                        if start.elapsed() > ENOUGH {
                            break;
                        }
                        let (flag, waker) = count();
                        let now = Instant::now();
                        let (mut timer, _) = insert(&timers, now, now + Duration::from_micros(100), waker);
                        match (round + user) % 4 {
                            0 => {
                                let _ = timer.reset(now + Duration::from_micros(200));
                                while woken(&flag) == 0 {
                                    thread::yield_now();
                                }
                                assert!(now.elapsed() >= Duration::from_micros(100));
                            }
                            1 => {
                                // A wake that was under way may still come.
                                timer.cancel();
                            }
                            2 => {
                                let deadline = now + Duration::from_micros(200);
                                timer.put_off(deadline);
                                while woken(&flag) == 0 {
                                    thread::yield_now();
                                }
                                let (_, waker) = count();
                                match timer.poll(&waker) {
                                    Polled::Elapsed => assert!(Instant::now() >= deadline, "early"),
                                    Polled::TooEarly => {}
                                    Polled::Waits => panic!("it has fired"),
                                }
                            }
                            _ => {
                                let (new, new_waker) = count();
                                if timer.poll(&new_waker) == Polled::Waits {
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
    });
    timers.fire(start + Duration::from_secs(3_600));
    assert_eq!(timers.lock().wheel.len(), 0);
}
