//! The contest of what sleeps: bytes of memory for a task that sleeps, and for a timer that is armed.
//!
//! - `sleeping_task`: tasks that do nothing but `sleep(1 h).await`, spawned by another task, handles dropped.
//! - `armed_timer`: sleeps in boxes that one task owns and has polled: the sleep, its box, its place among the timers.
//!
//! The rules, the same for all:
//! - A turn is a fresh process. What counts is the slope between two numbers of sleepers, 100,000 and 400,000: what the runtime
//!   takes for itself, whatever the number, isn't in it; the spare room of what grows by doubling is.
//! - `bytes` and `heap` are those of [`connections`](crate::connections): private dirty memory, and what the allocator has given out.
//! - A task counts as asleep when it has been polled and the process has fallen quiet; one that never is is an error.
//!
//! `--quick`: 1 round.

use crate::args::{Args, Common};
use crate::lines::Line;
use crate::proc;
use crate::work::{CONTESTANTS, Runtime, Settings, Turns, Value, wait_until_others_are_quiet};
use std::pin::Pin;
use std::process;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

const JOBS: [&str; 2] = ["sleeping_task", "armed_timer"];

/// The share of the sleepers that are there when the first look is taken.
const FEW: usize = 4;

const MANY: usize = 400_000;

const AN_HOUR: Duration = Duration::from_secs(3_600);

/// How many are spawned or polled before their owner yields. Below the budget of a poll, 128 with tokio and egret.
const AT_ONCE: usize = 100;

/// How long the tasks may take to fall asleep. A guess, for a machine that has other things to do.
const FALLING_ASLEEP: Duration = Duration::from_secs(30);

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) workers: usize,
    pub(crate) rounds: usize,
    pub(crate) who: Vec<&'static str>,
}

impl Options {
    /// Nothing beside the common options.
    pub(crate) fn read(common: Common, _: &mut Args) -> Result<Self, String> {
        Ok(Options {
            workers: common.workers.unwrap_or(2),
            rounds: common.rounds.unwrap_or(if common.quick { 1 } else { 3 }),
            who: common.chosen(&CONTESTANTS)?,
        })
    }
}

/// Runs the contest.
pub(crate) fn run(options: &Options) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for job in JOBS {
        eprintln!("memory {job}");
        let settings = Settings { workers: options.workers, time: Duration::from_secs(1), count: MANY };
        let turns = Turns { contest: "memory", job, who: &options.who, rounds: options.rounds, settings };
        lines.extend(turns.take()?);
    }
    Ok(lines)
}

/// The child's part: does `job`.
pub(crate) fn work<R: Runtime>(runtime: R, job: &str, settings: &Settings) -> Result<Vec<Value>, String> {
    let many = settings.count;
    let few = many / FEW;
    let (before, after) = match job {
        "sleeping_task" => {
            let asleep = &ASLEEP;
            let begin = asleep.load(Relaxed);
            runtime.block_on(runtime.spawn_from_outside(spawn_sleepers::<R>(few)));
            wait_for(asleep, begin + few)?;
            let before = Held::by_this_process()?;
            runtime.block_on(runtime.spawn_from_outside(spawn_sleepers::<R>(many - few)));
            wait_for(asleep, begin + many)?;
            (before, Held::by_this_process()?)
        }
        "armed_timer" => {
            let timers = Vec::with_capacity(many);
            let timers = runtime.block_on(runtime.spawn_from_outside(arm_more::<R>(timers, few)))?;
            let before = Held::by_this_process()?;
            let timers = runtime.block_on(runtime.spawn_from_outside(arm_more::<R>(timers, many - few)))?;
            let after = Held::by_this_process()?;
            if timers.len() != many {
                return Err(format!("{} timers, not {many}", timers.len()));
            }
            (before, after)
        }
        _ => return Err(format!("there is no job memory/{job}")),
    };
    let value =
        |metric, before: f64, after: f64| (job.to_string(), metric, (after - before) / (many - few) as f64);
    Ok(vec![value("bytes", before.private, after.private), value("heap", before.heap, after.heap)])
}

/// Tasks that have begun to sleep: a static, so that a task need not hold a reference to it.
static ASLEEP: AtomicUsize = AtomicUsize::new(0);

async fn spawn_sleepers<R: Runtime>(count: usize) {
    for number in 1..=count {
        R::forget(R::spawn(async {
            ASLEEP.fetch_add(1, Relaxed);
            R::sleep_until(Instant::now() + AN_HOUR).await;
        }));
        if number % AT_ONCE == 0 {
            R::yield_now().await;
        }
    }
}

fn wait_for(asleep: &AtomicUsize, count: usize) -> Result<(), String> {
    let start = Instant::now();
    while asleep.load(Relaxed) != count {
        if start.elapsed() > FALLING_ASLEEP {
            return Err(format!("{} of {count} tasks sleep after {FALLING_ASLEEP:?}", asleep.load(Relaxed)));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

async fn arm_more<R: Runtime>(
    mut timers: Vec<Pin<Box<R::Sleep>>>,
    count: usize,
) -> Result<Vec<Pin<Box<R::Sleep>>>, String> {
    let armed = timers.len();
    timers.extend((0..count).map(|_| Box::pin(R::sleep_until(Instant::now() + AN_HOUR))));
    for some in timers[armed..].chunks_mut(AT_ONCE) {
        crate::timers::arm(some).await?;
        R::yield_now().await;
    }
    Ok(timers)
}

/// What this process holds, in bytes.
struct Held {
    private: f64,
    heap: f64,
}

impl Held {
    /// Once it has fallen quiet.
    fn by_this_process() -> Result<Self, String> {
        wait_until_others_are_quiet()?;
        let private = proc::private_dirty_kib(process::id())
            .map_err(|error| format!("can't read this process's memory: {error}"))?;
        let heap = proc::heap_bytes().ok_or("the allocator can't say what it has given out")?;
        Ok(Held { private: private as f64 * 1024.0, heap: heap as f64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{Egret, Smol, Tokio};

    // What a whole job says is in tests/work.rs: this process is never quiet, other tests run in it.
    #[test]
    fn everything_falls_asleep() {
        let _watchdog = crate::watchdog::Watchdog::start();
        fn sleeps<R: Runtime>() {
            let runtime = R::start(2).unwrap();
            let begin = ASLEEP.load(Relaxed);
            runtime.block_on(runtime.spawn_from_outside(spawn_sleepers::<R>(250)));
            wait_for(&ASLEEP, begin + 250).unwrap();
            let mut timers = Vec::new();
            for count in [10, 240] {
                let arm = arm_more::<R>(timers, count);
                timers = runtime.block_on(runtime.spawn_from_outside(arm)).unwrap();
            }
            assert_eq!(timers.len(), 250);
        }
        sleeps::<Egret>();
        sleeps::<Tokio>();
        sleeps::<Smol>();
    }
}
