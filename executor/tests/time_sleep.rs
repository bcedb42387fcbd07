//! Sleeps in a real runtime.

mod support;

use egret_executor::{
    spawn,
    time::{Sleep, sleep, sleep_until, timeout},
};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};
use support::{eventually, runtime};

const MS: Duration = Duration::from_millis(1);
/// Generous: the machines that run this are shared.
const LATE: Duration = Duration::from_secs(2);
/// Far beyond what any of these tests lasts.
const HOUR: Duration = Duration::from_secs(3_600);

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll_once(sleep: &mut Sleep, waker: &Waker) -> Poll<()> {
    Pin::new(sleep).poll(&mut Context::from_waker(waker))
}

#[test]
fn not_early_and_not_much_later() {
    let runtime = runtime(2);
    for duration in [Duration::ZERO, Duration::from_micros(10), MS, 7 * MS, 40 * MS] {
        let start = Instant::now();
        runtime.block_on(sleep(duration));
        let here = start.elapsed();
        let there = runtime.block_on(runtime.spawn(async move {
            let start = Instant::now();
            sleep(duration).await;
            start.elapsed()
        }));
        for took in [here, there.unwrap()] {
            assert!(took >= duration, "{duration:?} took {took:?}");
            assert!(took < duration + LATE, "{duration:?} took {took:?}");
        }
    }
}

#[test]
fn resolution_is_below_a_millisecond() {
    let runtime = runtime(1);
    // A busy machine spoils many, but not all.
    let best = runtime.block_on(async {
        let (begin, mut best) = (Instant::now(), Duration::MAX);
        while best >= MS && begin.elapsed() < 10 * LATE {
            let start = Instant::now();
            sleep(Duration::from_micros(200)).await;
            best = best.min(start.elapsed());
        }
        best
    });
    assert!(best < MS, "the best of many sleeps of 200 us took {best:?}");
}

#[test]
fn fire_in_the_order_of_their_deadlines() {
    let runtime = runtime(1);
    let (tell, told) = mpsc::channel();
    let start = Instant::now() + 20 * MS;
    let tasks: Vec<_> = [5, 1, 4, 2, 3]
        .map(|n| {
            let tell = tell.clone();
            runtime.spawn(async move {
                sleep_until(start + n * 10 * MS).await;
                tell.send(n).unwrap();
            })
        })
        .into_iter()
        .collect();
    runtime.block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[test]
fn ten_thousand_at_once() {
    let runtime = runtime(2);
    let early = runtime.block_on(async {
        let tasks: Vec<_> = (0..10_000_u64)
            .map(|n| {
                spawn(async move {
                    let deadline = Instant::now() + Duration::from_micros(n * 7 % 50_000);
                    sleep_until(deadline).await;
                    Instant::now() < deadline
                })
            })
            .collect();
        let mut early = 0;
        for task in tasks {
            early += usize::from(task.await.unwrap());
        }
        early
    });
    assert_eq!(early, 0);
}

#[test]
fn durations_beyond_the_clock_never_come_and_never_panic() {
    let runtime = runtime(1);
    for duration in
        [Duration::MAX, Duration::from_secs(u64::MAX / 4), Duration::from_secs(1 << 40), HOUR * 24 * 365]
    {
        let result = runtime.block_on(timeout(2 * MS, sleep(duration)));
        assert!(result.is_err(), "{duration:?}");
    }
    let mut far = sleep(Duration::MAX);
    assert!(far.deadline() > Instant::now() + HOUR);
    assert!(!far.is_elapsed());
    far.reset(Instant::now() + MS);
    runtime.block_on(far);
}

/// Workers asleep towards an hour from now; a shorter sleep made by a thread outside the pool has to interrupt them.
#[test]
fn an_earlier_deadline_from_outside_wakes_a_sleeping_worker() {
    let runtime = runtime(2);
    let long: Vec<_> = (0..8).map(|_| runtime.spawn(sleep(HOUR))).collect();
    for _ in 0..20 {
        let start = Instant::now();
        runtime.block_on(sleep(2 * MS));
        assert!(start.elapsed() < LATE);
    }
    for task in long {
        assert!(!task.is_finished());
        task.abort();
    }
}

#[test]
fn reset_earlier_and_later_while_it_waits() {
    let runtime = runtime(1);
    let _guard = runtime.enter();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());

    let mut earlier = sleep(HOUR);
    assert!(poll_once(&mut earlier, &waker).is_pending());
    earlier.reset(Instant::now() + MS);
    eventually("the wake of the sleep that was reset", || count.0.load(Ordering::SeqCst) == 1);
    assert!(earlier.is_elapsed());
    assert!(poll_once(&mut earlier, &waker).is_ready());

    let start = Instant::now();
    let mut later = sleep(20 * MS);
    assert!(poll_once(&mut later, &waker).is_pending());
    later.reset(start + 60 * MS);
    eventually("the wake of the sleep that was put off", || count.0.load(Ordering::SeqCst) == 2);
    assert!(start.elapsed() >= 60 * MS);
    assert!(poll_once(&mut later, &waker).is_ready());
}

#[test]
fn reset_after_it_fired_starts_anew() {
    let runtime = runtime(1);
    runtime.block_on(async {
        let mut pause = sleep(MS);
        Pin::new(&mut pause).await;
        for _ in 0..5 {
            let deadline = Instant::now() + 2 * MS;
            pause.reset(deadline);
            assert_eq!(pause.deadline(), deadline);
            Pin::new(&mut pause).await;
            assert!(Instant::now() >= deadline);
        }
    });
}

/// Deadlines that move to and fro while their timers fire, by tasks that move between workers: the last one counts.
#[test]
fn whatever_was_reset_before_the_last_deadline_counts() {
    let runtime = runtime(2);
    let tasks: Vec<_> = (0..400_u32)
        .map(|number| {
            runtime.spawn(async move {
                let mut pause = sleep(HOUR);
                for turn in 0..60 {
                    // Any number will do, as long as near and far, earlier and later follow one another.
                    let any = number.wrapping_mul(2_654_435_761).wrapping_add(turn * 40_503) >> 7;
                    let micros = if any % 5 == 0 { 3_600_000_000 } else { u64::from(any % 3_000) };
                    pause.reset(Instant::now() + Duration::from_micros(micros));
                    let early =
                        timeout(Duration::from_micros(u64::from(any % 700)), &mut pause).await.is_ok();
                    assert!(!early || Instant::now() >= pause.deadline());
                }
                pause.reset(Instant::now() + Duration::from_micros(u64::from(number % 2_000)));
                Pin::new(&mut pause).await;
                assert!(Instant::now() >= pause.deadline());
            })
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            timeout(10 * LATE, task).await.expect("a deadline was lost").unwrap();
        }
    });
}

#[test]
fn a_dropped_sleep_wakes_nobody() {
    let runtime = runtime(1);
    let _guard = runtime.enter();
    let count = Arc::new(Count::default());
    let mut dropped = sleep(5 * MS);
    assert!(poll_once(&mut dropped, &Waker::from(count.clone())).is_pending());
    drop(dropped);
    assert_eq!(Arc::strong_count(&count), 1, "the waker was kept");
    runtime.block_on(sleep(20 * MS));
    assert_eq!(count.0.load(Ordering::SeqCst), 0);
}

/// Armed by one task, awaited by another on another worker: the waker follows.
#[test]
fn a_sleep_moves_between_tasks() {
    let runtime = runtime(2);
    let (give, take) = mpsc::channel();
    let start = Instant::now();
    let first = runtime.spawn(async move {
        let mut moved = sleep(30 * MS);
        std::future::poll_fn(|cx| {
            assert!(Pin::new(&mut moved).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        give.send(moved).unwrap();
    });
    runtime.block_on(first).unwrap();
    let moved = take.recv().unwrap();
    runtime.block_on(runtime.spawn(moved)).unwrap();
    assert!(start.elapsed() >= 30 * MS);
    assert!(start.elapsed() < LATE);
}

#[test]
fn outside_a_runtime_it_panics_only_when_it_has_to_wait() {
    let mut waits = sleep(HOUR);
    let polled =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll_once(&mut waits, Waker::noop())));
    assert!(polled.is_err());
    assert!(poll_once(&mut sleep(Duration::ZERO), Waker::noop()).is_ready());
}

#[test]
fn the_end_of_the_runtime_ends_its_sleeps() {
    let first = runtime(1);
    let handle = first.handle().clone();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut armed = sleep(HOUR);
    let mut dropped_later = sleep(HOUR);
    {
        let _guard = handle.enter();
        assert!(poll_once(&mut armed, &waker).is_pending());
        assert!(poll_once(&mut dropped_later, &waker).is_pending());
    }
    drop(first);
    assert_eq!(count.0.load(Ordering::SeqCst), 2);
    assert!(poll_once(&mut armed, &waker).is_ready());
    drop(dropped_later);
    let _guard = handle.enter();
    assert!(poll_once(&mut sleep(HOUR), &waker).is_ready(), "nobody would wake it");
}

#[test]
fn a_task_that_sleeps_keeps_nothing_alive_after_the_runtime() {
    let token = Arc::new(());
    let runtime = runtime(2);
    for _ in 0..10 {
        let token = token.clone();
        drop(runtime.spawn(async move {
            sleep(HOUR).await;
            drop(token);
        }));
    }
    runtime.block_on(sleep(5 * MS));
    drop(runtime);
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn sleep_is_send_sync_and_unpin() {
    fn check<T: Send + Sync + Unpin>(_: &T) {}
    check(&sleep(MS));
}
