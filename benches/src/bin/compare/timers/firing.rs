//! Timers that are due: what firing costs, and how punctual it is.

use crate::work::{Clock, Random, Runtime, Settings, Value, percentile};
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The timers of `fire` are due in the course of this time,
const SPREAD: Duration = Duration::from_millis(200);

/// which begins so long after the arming, and this for each timer later: ten times what arming one takes on a machine that has nothing else to do.
const AHEAD: Duration = Duration::from_millis(100);
const ARMING: Duration = Duration::from_micros(4);

/// The sleeps of `precision`, in microseconds.
const SLEEPS: std::ops::Range<u64> = 1_000..20_000;

/// How many sleeps a task polls before it yields. Below the budget of a poll, 128 with tokio and egret.
const AT_ONCE: usize = 100;

/// What the wakers of all timers share.
struct Tally {
    left: AtomicUsize,
    early: AtomicUsize,
    finished: Mutex<Option<oneshot::Sender<()>>>,
}

/// The waker of one timer.
struct Alarm {
    deadline: Instant,
    tally: Arc<Tally>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if Instant::now() < self.deadline {
            self.tally.early.fetch_add(1, Relaxed);
        }
        // AcqRel: who looks at the counts after the last wake sees all of them.
        if self.tally.left.fetch_sub(1, AcqRel) == 1 {
            let finished = self.tally.finished.lock().unwrap_or_else(PoisonError::into_inner).take();
            // Sent once; the second time there is nobody, which the count shows.
            if let Some(finished) = finished {
                let _ = finished.send(());
            }
        }
    }
}

pub(super) fn fire<R: Runtime>(runtime: &R, settings: &Settings) -> Result<Vec<Value>, String> {
    let count = settings.count;
    let spent = runtime.block_on(runtime.spawn_from_outside(storm::<R>(count)))?;
    Ok(vec![("fire".into(), "time", spent.as_nanos() as f64 / count as f64)])
}

/// Arms `count` sleeps and waits for them: the processor time between the last arming and the last wake.
async fn storm<R: Runtime>(count: usize) -> Result<Duration, String> {
    let (finished, all_fired) = oneshot::channel();
    let tally = Arc::new(Tally {
        left: AtomicUsize::new(count),
        early: AtomicUsize::new(0),
        finished: Mutex::new(Some(finished)),
    });
    let mut random = Random::new(count as u64);
    let first = Instant::now() + AHEAD + ARMING * u32::try_from(count).map_err(|error| error.to_string())?;
    let spread = SPREAD.as_micros() as u64;
    let deadlines: Vec<Instant> =
        (0..count).map(|_| first + Duration::from_micros(random.within(0..spread))).collect();
    let mut sleeps: Vec<_> = deadlines.iter().map(|deadline| Box::pin(R::sleep_until(*deadline))).collect();
    let waker = |deadline| Waker::from(Arc::new(Alarm { deadline, tally: Arc::clone(&tally) }));
    let wakers: Vec<Waker> = deadlines.into_iter().map(waker).collect();

    let ready = poll_all::<R>(&mut sleeps, &wakers).await;
    if ready > 0 || Instant::now() >= first {
        return Err(format!("arming {count} timers took so long that {ready} were ready"));
    }
    let before = Clock::Process.spent()?;
    all_fired.await.map_err(|error| error.to_string())?;
    let spent = Clock::Process.spent()?.saturating_sub(before);

    let early = tally.early.load(Relaxed);
    let ready = poll_all::<R>(&mut sleeps, &wakers).await;
    if early > 0 || ready != count {
        return Err(format!("of {count} timers {early} fired early, {ready} are ready"));
    }
    Ok(spent)
}

/// Polls each of `sleeps` with its waker; how many are ready.
async fn poll_all<R: Runtime>(sleeps: &mut [Pin<Box<R::Sleep>>], wakers: &[Waker]) -> usize {
    let mut ready = 0;
    for (sleeps, wakers) in sleeps.chunks_mut(AT_ONCE).zip(wakers.chunks(AT_ONCE)) {
        for (sleep, waker) in sleeps.iter_mut().zip(wakers) {
            ready += usize::from(sleep.as_mut().poll(&mut Context::from_waker(waker)).is_ready());
        }
        R::yield_now().await;
    }
    ready
}

/// Sleeps one after the other, with nothing else to do for anybody.
pub(super) fn precision<R: Runtime>(runtime: &R, settings: &Settings) -> Result<Vec<Value>, String> {
    let count = settings.count;
    let sleeping = async move {
        let mut random = Random::new(1);
        let mut late = Vec::with_capacity(count);
        for _ in 0..count {
            let deadline = Instant::now() + Duration::from_micros(random.within(SLEEPS));
            R::sleep_until(deadline).await;
            match Instant::now().checked_duration_since(deadline) {
                Some(lateness) => late.push(lateness.as_nanos() as f64 / 1_000.0),
                None => return Err("a sleep ended before its time".to_string()),
            }
        }
        Ok(late)
    };
    let late = runtime.block_on(runtime.spawn_from_outside(sleeping))?;
    let value = |metric, part| ("precision".to_string(), metric, percentile(&late, part));
    Ok(vec![value("p50", 0.5), value("late", 1.0)])
}
