//! A million timers of one task: set, moved, and cancelled before any of them is due.

use crate::work::{Random, Runtime, Settings, Value};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// How many a task arms, moves or drops before it yields. Below the budget of a poll, 128 with tokio and egret.
const AT_ONCE: usize = 100;

/// How far [`reset_later`](super) moves a deadline.
const LATER: Duration = Duration::from_secs(30);

/// The share of the timers that a first pass warms up with.
const WARM_UP: usize = 10;

const NAMES: [&str; 4] = ["set", "reset_later", "reset", "cancel"];

pub(super) fn work<R: Runtime>(runtime: &R, settings: &Settings) -> Result<Vec<Value>, String> {
    let count = settings.count;
    // In a task: a worker's timers, and not those that a thread outside reaches for.
    let pass = |count| runtime.block_on(runtime.spawn_from_outside(pass::<R>(count)));
    pass(count.div_ceil(WARM_UP))?;
    let times = pass(count)?;
    let value =
        |(name, nanos): (&str, Duration)| (name.to_string(), "time", nanos.as_nanos() as f64 / count as f64);
    Ok(NAMES.into_iter().zip(times).map(value).collect())
}

/// The times in the order of [`NAMES`].
async fn pass<R: Runtime>(count: usize) -> Result<[Duration; 4], String> {
    let mut random = Random::new(count as u64);
    let begin = Instant::now();
    let mut deadline = || begin + Duration::from_millis(random.within(1_000..3_600_000));
    let deadlines: Vec<Instant> = (0..count).map(|_| deadline()).collect();
    let others: Vec<Instant> = (0..count).map(|_| deadline()).collect();
    let mut sleeps: Vec<Pin<Box<R::Sleep>>> =
        deadlines.iter().map(|deadline| Box::pin(R::sleep_until(*deadline + LATER))).collect();

    let start = Instant::now();
    for some in sleeps.chunks_mut(AT_ONCE) {
        arm(some).await?;
        R::yield_now().await;
    }
    let set = start.elapsed();

    let start = Instant::now();
    for (some, deadlines) in sleeps.chunks_mut(AT_ONCE).zip(deadlines.chunks(AT_ONCE)) {
        for (sleep, deadline) in some.iter_mut().zip(deadlines) {
            R::reset(sleep.as_mut(), *deadline + 2 * LATER);
        }
        R::yield_now().await;
    }
    let reset_later = start.elapsed();

    let start = Instant::now();
    for (some, others) in sleeps.chunks_mut(AT_ONCE).zip(others.chunks(AT_ONCE)) {
        for (sleep, other) in some.iter_mut().zip(others) {
            R::reset(sleep.as_mut(), *other + 2 * LATER);
        }
        R::yield_now().await;
    }
    let reset = start.elapsed();

    let start = Instant::now();
    while !sleeps.is_empty() {
        sleeps.truncate(sleeps.len().saturating_sub(AT_ONCE));
        R::yield_now().await;
    }
    Ok([set, reset_later, reset, start.elapsed()])
}

/// Polls each of `sleeps` once. It isn't due, so one that is ready is an error.
pub(crate) async fn arm<S: Future>(sleeps: &mut [Pin<Box<S>>]) -> Result<(), String> {
    let polled = poll_fn(|cx| Poll::Ready(sleeps.iter_mut().any(|sleep| sleep.as_mut().poll(cx).is_ready())));
    if polled.await { Err("a sleep was ready before its time".into()) } else { Ok(()) }
}
