//! The contest of the wakes: how long it takes from a foreign thread's `Waker::wake` to the poll of the task, in microseconds.
//!
//! - `idle`: all workers are parked; the next wake comes 1 to 2 ms after the last one was answered.
//! - `busy`: the same while eight other tasks take 10 us each and yield, more than there are workers: how long does a task from
//!   outside stand in line?
//!
//! The rules, the same for all:
//! - The foreign thread is this process's main thread. It runs nothing of the runtime's, and sleeps between its wakes.
//! - It looks at the clock right before it wakes, the task does first thing when it is polled; how the task tells its waker is the same code for all.
//! - A wake that isn't answered within ten seconds is lost, which is an error; so is a second answer.
//!
//! `--quick`: 2 rounds of 200 wakes.

use crate::args::{Args, Common};
use crate::lines::Line;
use crate::work::{CONTESTANTS, Random, Runtime, Settings, Turns, Value, percentile};
use std::future::poll_fn;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

const JOBS: [&str; 2] = ["idle", "busy"];

/// Between an answer and the next wake, in microseconds. Long enough for every worker to have found nothing and to have parked.
const PAUSE: std::ops::Range<u64> = 1_000..2_000;

/// The load of `busy`, that of tokio's `spawn_many_remote_busy1`.
const BUSY_TASKS: usize = 8;
const BUSY_FOR: Duration = Duration::from_micros(10);

/// Wakes before those that count.
const WARM_UP: usize = 20;

/// When a wake counts as lost. A guess, far above what a loaded machine makes of it.
const LOST: Duration = Duration::from_secs(10);

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) workers: usize,
    pub(crate) rounds: usize,
    pub(crate) wakes: usize,
    pub(crate) who: Vec<&'static str>,
}

impl Options {
    /// Nothing beside the common options.
    pub(crate) fn read(common: Common, _: &mut Args) -> Result<Self, String> {
        let (rounds, wakes) = if common.quick { (2, 200) } else { (5, 1_000) };
        Ok(Options {
            workers: common.workers.unwrap_or(2),
            rounds: common.rounds.unwrap_or(rounds),
            wakes,
            who: common.chosen(&CONTESTANTS)?,
        })
    }
}

/// Runs the contest.
pub(crate) fn run(options: &Options) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for job in JOBS {
        eprintln!("wake {job}");
        let settings =
            Settings { workers: options.workers, time: Duration::from_secs(1), count: options.wakes };
        let turns = Turns { contest: "wake", job, who: &options.who, rounds: options.rounds, settings };
        lines.extend(turns.take()?);
    }
    Ok(lines)
}

/// The child's part: does `job`.
pub(crate) fn work<R: Runtime>(runtime: R, job: &str, settings: &Settings) -> Result<Vec<Value>, String> {
    match job {
        "idle" => {}
        "busy" => keep_busy(&runtime),
        _ => return Err(format!("there is no job wake/{job}")),
    }
    let latencies = ring(&runtime, WARM_UP + settings.count)?;
    let counted = &latencies[WARM_UP..];
    let value = |metric, part| (job.to_string(), metric, percentile(counted, part));
    Ok(vec![value("p50", 0.5), value("p99", 0.99)])
}

/// Until the process ends.
fn keep_busy<R: Runtime>(runtime: &R) {
    for _ in 0..BUSY_TASKS {
        R::forget(runtime.spawn_from_outside(async {
            loop {
                let start = Instant::now();
                while start.elapsed() < BUSY_FOR {
                    std::hint::spin_loop();
                }
                R::yield_now().await;
            }
        }));
    }
}

/// One wake's way from the thread to the task.
#[derive(Default)]
struct Bell {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waker: Option<Waker>,
    rung: Option<Instant>,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the waiting task's waker and wakes it; `false` if nobody waits yet.
    fn ring(&self) -> bool {
        let Some(waker) = self.lock().waker.take() else {
            return false;
        };
        self.lock().rung = Some(Instant::now());
        waker.wake();
        true
    }

    /// Waits for the next ring; how long it took to get here.
    async fn answer(&self) -> Duration {
        poll_fn(|cx| {
            let mut state = self.lock();
            match state.rung.take() {
                Some(rung) => Poll::Ready(rung.elapsed()),
                None => {
                    state.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Rings `count` times; the latencies in microseconds.
fn ring<R: Runtime>(runtime: &R, count: usize) -> Result<Vec<f64>, String> {
    let bell = Arc::new(Bell::default());
    let (sender, answers) = sync_channel(count);
    let rung = Arc::clone(&bell);
    R::forget(runtime.spawn_from_outside(async move {
        for _ in 0..count {
            sender.send(rung.answer().await).expect("the thread waits for this");
        }
    }));
    let mut random = Random::new(count as u64);
    let mut latencies = Vec::with_capacity(count);
    for number in 1..=count {
        thread::sleep(Duration::from_micros(random.within(PAUSE)));
        let start = Instant::now();
        while !bell.ring() {
            if start.elapsed() > LOST {
                return Err(format!("the task doesn't wait for wake {number}"));
            }
            thread::sleep(Duration::from_micros(100));
        }
        let latency =
            answers.recv_timeout(LOST).map_err(|error| format!("wake {number} is lost: {error}"))?;
        latencies.push(latency.as_nanos() as f64 / 1_000.0);
    }
    match answers.try_recv() {
        Ok(_) => Err("more answers than wakes".into()),
        Err(_) => Ok(latencies),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{Egret, Smol, Tokio};

    fn wakes_are_answered<R: Runtime>() {
        let _watchdog = crate::watchdog::Watchdog::start();
        let settings = Settings { workers: 2, time: Duration::ZERO, count: 20 };
        let values = work(R::start(2).unwrap(), "idle", &settings).unwrap();
        assert_eq!(values.iter().map(|value| value.1).collect::<Vec<_>>(), ["p50", "p99"]);
        assert!(values[0].2 > 0.0 && values[0].2 <= values[1].2);
        assert!(work(R::start(2).unwrap(), "x", &settings).is_err());
    }

    #[test]
    fn egret_answers() {
        wakes_are_answered::<Egret>();
    }

    #[test]
    fn tokio_answers() {
        wakes_are_answered::<Tokio>();
    }

    #[test]
    fn smol_answers() {
        wakes_are_answered::<Smol>();
    }
}
