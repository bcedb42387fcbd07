//! Intervals in a real runtime. How late a tick is by the machine's fault nobody knows: only lower bounds are exact.

mod support;

use egret_executor::time::{Interval, MissedTickBehavior, interval, interval_at, sleep, timeout};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};
use support::runtime;

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn ticks_are_due_a_period_apart_whatever_is_done_between() {
    runtime(2).block_on(async {
        let start = Instant::now();
        let mut interval = interval_at(start + 3 * MS, 4 * MS);
        for tick in 0..5 {
            let due = interval.tick().await;
            assert_eq!(due, start + 3 * MS + tick * 4 * MS);
            assert!(Instant::now() >= due, "tick {tick} was early");
            sleep(MS).await;
        }
    });
}

#[test]
fn the_first_tick_comes_at_once_and_below_a_millisecond_it_still_keeps_time() {
    runtime(2).block_on(async {
        let before = Instant::now();
        let mut interval = interval(Duration::from_micros(300));
        let first = interval.tick().await;
        assert!((before..=Instant::now()).contains(&first));
        for tick in 1..=20u32 {
            assert_eq!(interval.tick().await, first + tick * Duration::from_micros(300));
        }
        assert!(first.elapsed() >= 20 * Duration::from_micros(300));
    });
}

/// Blocks until `ticks` of a period of 20 ms are missed.
async fn missed(behavior: MissedTickBehavior) -> (Instant, Interval) {
    let mut interval = interval(20 * MS);
    interval.set_missed_tick_behavior(behavior);
    let first = interval.tick().await;
    sleep(70 * MS).await;
    (first, interval)
}

#[test]
fn a_burst_makes_up_for_every_tick() {
    runtime(2).block_on(async {
        let (first, mut interval) = missed(MissedTickBehavior::Burst).await;
        for tick in 1..=3u32 {
            assert_eq!(interval.tick().await, first + tick * 20 * MS);
        }
    });
}

#[test]
fn a_delay_begins_anew() {
    runtime(2).block_on(async {
        let (first, mut interval) = missed(MissedTickBehavior::Delay).await;
        let late = Instant::now();
        assert_eq!(interval.tick().await, first + 20 * MS);
        assert!(interval.tick().await >= late + 20 * MS);
    });
}

#[test]
fn a_skip_keeps_to_the_multiples() {
    runtime(2).block_on(async {
        let (first, mut interval) = missed(MissedTickBehavior::Skip).await;
        assert_eq!(interval.tick().await, first + 20 * MS);
        let since = interval.tick().await - first;
        assert!(since >= 80 * MS, "it came from what was missed: {since:?}");
        assert_eq!(since.as_nanos() % (20 * MS).as_nanos(), 0, "{since:?}");
    });
}

#[test]
fn a_reset_moves_the_next_tick() {
    runtime(2).block_on(async {
        let mut interval = interval_at(Instant::now() + HOUR, HOUR);
        interval.reset_immediately();
        timeout(HOUR, interval.tick()).await.unwrap();
        let now = Instant::now();
        interval.reset_after(2 * MS);
        assert!(interval.tick().await >= now + 2 * MS);
        let at = Instant::now() + 3 * MS;
        interval.reset_at(at);
        assert_eq!(interval.tick().await, at);
        interval.reset();
        assert!(timeout(MS, interval.tick()).await.is_err(), "an hour from now");
        assert_eq!((interval.period(), interval.missed_tick_behavior()), (HOUR, MissedTickBehavior::Burst));
    });
}

#[test]
fn a_tick_that_nobody_waited_for_to_the_end_is_not_lost() {
    runtime(2).block_on(async {
        let start = Instant::now();
        let mut interval = interval_at(start + 10 * MS, 10 * MS);
        while timeout(MS, interval.tick()).await.is_err() {}
        // Whenever it was taken, it was the first.
        assert_eq!(interval.tick().await, start + 20 * MS);
    });
}

#[test]
fn far_away_is_never_and_zero_is_refused() {
    let runtime = runtime(1);
    let _entered = runtime.enter();
    for period in [Duration::MAX, Duration::from_secs(u64::MAX / 2)] {
        runtime.block_on(async {
            let mut interval = interval(period);
            interval.tick().await;
            assert!(timeout(MS, interval.tick()).await.is_err());
            interval.reset();
            assert!(timeout(MS, interval.tick()).await.is_err());
        });
    }
    let refused = catch_unwind(AssertUnwindSafe(|| interval(Duration::ZERO)));
    assert!(refused.unwrap_err().downcast_ref::<&str>().unwrap().contains("zero"));
}

#[test]
fn it_goes_wherever_its_task_goes() {
    fn to_any_thread<T: Send + Sync + Unpin>() {}
    to_any_thread::<Interval>();
    to_any_thread::<MissedTickBehavior>();
}
