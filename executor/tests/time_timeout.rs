//! Timeouts in a real runtime.

mod support;

use egret_executor::time::{sleep, timeout, timeout_at};
use std::{
    future::{pending, ready},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use support::runtime;

const MS: Duration = Duration::from_millis(1);

#[test]
fn ready_pending_and_never() {
    runtime(1).block_on(async {
        assert_eq!(timeout(Duration::ZERO, ready(1)).await, Ok(1), "the future is polled first");
        assert_eq!(timeout(Duration::MAX, async { sleep(MS).await }).await, Ok(()));
        let start = Instant::now();
        assert!(timeout(5 * MS, pending::<()>()).await.is_err());
        assert!(start.elapsed() >= 5 * MS);
        assert!(timeout_at(start, pending::<()>()).await.is_err());
    });
}

#[test]
fn the_error_fits_into_io() {
    let elapsed = runtime(1).block_on(timeout(MS, pending::<()>())).unwrap_err();
    assert_eq!(elapsed.to_string(), "deadline has elapsed");
    assert_eq!(io::Error::from(elapsed).kind(), io::ErrorKind::TimedOut);
}

#[test]
fn the_inner_future_survives_its_timeout() {
    runtime(1).block_on(async {
        let mut slow = timeout(MS, sleep(Duration::MAX));
        assert!((&mut slow).await.is_err());
        let mut inner = slow.into_inner();
        inner.reset(Instant::now() + MS);
        inner.await;
    });
}

/// A future that always has more to do spends the whole budget in every poll; the deadline must come through all the same.
#[test]
fn a_busy_future_does_not_hold_off_the_deadline() {
    let runtime = runtime(1);
    let busy = runtime.spawn(async {
        timeout(20 * MS, async {
            loop {
                sleep(Duration::ZERO).await;
            }
        })
        .await
    });
    let result: Result<(), _> = runtime.block_on(busy).unwrap();
    assert!(result.is_err());
}

/// The opposite mistake: deadlines that ignore the budget, so that a loop of them never lets anybody else run.
#[test]
fn a_loop_of_elapsed_timeouts_yields() {
    let runtime = runtime(1);
    let stop = Arc::new(AtomicBool::new(false));
    let looping = {
        let stop = stop.clone();
        runtime.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let _ = timeout(Duration::ZERO, pending::<()>()).await;
            }
        })
    };
    let other = runtime.spawn(async move { stop.store(true, Ordering::Relaxed) });
    runtime.block_on(other).unwrap();
    runtime.block_on(looping).unwrap();
}
