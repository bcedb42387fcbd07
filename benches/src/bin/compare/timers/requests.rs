//! Timers in use by many tasks on all workers: a timeout for every request, and a mix of everything.

use super::million::arm;
use crate::work::{Random, Runtime, Settings, Value, repeat};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// As many as there are connections in the http contest's first line.
const TASKS: usize = 64;

/// Requests and operations of a task in one iteration: some tens of milliseconds for all tasks.
const REQUESTS: usize = 1_000;
const OPERATIONS: usize = 2_000;

/// Timers of a task in `mixed`.
const TIMERS: usize = 1_000;

/// After how many operations a task of `mixed` yields: below the budget of a poll, 128 with tokio and egret.
const AT_ONCE: usize = 100;

/// Of a request; none takes as long.
const TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn timeout_per_request<R: Runtime>(
    runtime: &R,
    settings: &Settings,
) -> Result<Vec<Value>, String> {
    async fn requests<R: Runtime>() -> usize {
        let mut answered = 0;
        for number in 0..REQUESTS {
            // Pending once, like a read that waits for its data.
            let mut waited = false;
            let request = poll_fn(move |cx| {
                if waited {
                    return Poll::Ready(number);
                }
                waited = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            });
            answered += usize::from(R::timeout(TIMEOUT, request).await == Some(number));
        }
        answered
    }
    let time = repeat(settings, TASKS * REQUESTS, || {
        let answered = runtime.block_on(async {
            let tasks: Vec<_> = (0..TASKS).map(|_| R::spawn(requests::<R>())).collect();
            let mut answered = 0;
            for task in tasks {
                answered += task.await;
            }
            answered
        });
        let timed_out = TASKS * REQUESTS - answered;
        if timed_out > 0 { Err(format!("{timed_out} requests timed out within a second")) } else { Ok(()) }
    })?;
    Ok(vec![("timeout_per_request".into(), "time", time)])
}

/// When an iteration is over the tasks drop the timers that are left, some seven hundred each: their cancelling isn't counted as
/// operations, but it takes its time.
pub(super) fn mixed<R: Runtime>(runtime: &R, settings: &Settings) -> Result<Vec<Value>, String> {
    let time = repeat(settings, TASKS * OPERATIONS, || {
        runtime.block_on(async {
            let tasks: Vec<_> = (0..TASKS).map(|seed| R::spawn(mix::<R>(seed as u64))).collect();
            for task in tasks {
                task.await?;
            }
            Ok(())
        })
    })?;
    Ok(vec![("mixed".into(), "time", time)])
}

/// Sets where there is none, and resets or cancels where there is one. The deadlines are far enough away that none comes.
async fn mix<R: Runtime>(seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut timers: Vec<Option<Pin<Box<R::Sleep>>>> = (0..TIMERS).map(|_| None).collect();
    for operation in 1..=OPERATIONS {
        let deadline = Instant::now() + Duration::from_millis(random.within(60_000..3_600_000));
        let timer = &mut timers[random.within(0..TIMERS as u64) as usize];
        match timer {
            None => {
                let mut sleep = [Box::pin(R::sleep_until(deadline))];
                arm(&mut sleep).await?;
                *timer = Some(sleep).map(|[sleep]| sleep);
            }
            Some(sleep) if random.within(0..2) == 0 => R::reset(sleep.as_mut(), deadline),
            Some(_) => *timer = None,
        }
        if operation % AT_ONCE == 0 {
            R::yield_now().await;
        }
    }
    Ok(())
}
