//! The contest of the schedulers: what it costs to spawn, to yield, to wake.
//!
//! The work is that of the rivals' own published benchmarks, not of our choosing: tokio's `benches/rt_multi_threaded.rs` and, with
//! `ae_` before the name, async-executor's `benches/executor.rs`. Written anew here, over [`Runtime`], so that all do the same.
//!
//! The rules, the same for all:
//! - The same number of workers, and this process's main thread beside them, which plays the outside as in the originals.
//! - Channels are of one make for all: std's `mpsc` to say "done", `tokio::sync::oneshot` and `async-channel` between tasks.
//! - Yielding is each runtime's own `yield_now`.
//! - A turn is a fresh process: warm-up, then iterations; its value is their median, in nanoseconds an operation.
//! - Every iteration knows how many tasks it has and waits for all of them: a lost one hangs it, which is an error.
//!
//! `--quick`: 3 rounds of a sixth of a second.

mod executor;
mod scheduler;

use crate::args::{Args, Common};
use crate::lines::Line;
use crate::work::{CONTESTANTS, Runtime, Settings, Turns, Value};
use std::time::Duration;

/// tokio's, then async-executor's.
const JOBS: [&str; 11] = [
    "spawn_many_local",
    "spawn_many_remote_idle",
    "spawn_many_remote_busy1",
    "spawn_many_remote_busy2",
    "yield_many",
    "ping_pong",
    "chained_spawn",
    "ae_spawn_many_local",
    "ae_spawn_recursively",
    "ae_yield_now",
    "ae_web_server",
];

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) jobs: Vec<String>,
    pub(crate) workers: usize,
    pub(crate) rounds: usize,
    pub(crate) millis: usize,
    pub(crate) who: Vec<&'static str>,
}

impl Options {
    /// `--jobs a,b` and `--millis N`, the time of one measurement, are this contest's own.
    pub(crate) fn read(common: Common, args: &mut Args) -> Result<Self, String> {
        let (rounds, millis) = if common.quick { (3, 160) } else { (7, 500) };
        Ok(Options {
            jobs: chosen_jobs(args, &JOBS)?,
            workers: common.workers.unwrap_or(2),
            rounds: common.rounds.unwrap_or(rounds),
            millis: args.number("--millis")?.unwrap_or(millis),
            who: common.chosen(&CONTESTANTS)?,
        })
    }
}

/// The value of `--jobs`, or all.
pub(crate) fn chosen_jobs(args: &mut Args, known: &[&str]) -> Result<Vec<String>, String> {
    let jobs = args.list::<String>("--jobs")?;
    let jobs = jobs.unwrap_or_else(|| known.iter().map(|job| job.to_string()).collect());
    match jobs.iter().find(|job| !known.contains(&job.as_str())) {
        Some(job) => Err(format!("--jobs: `{job}` is none of {}", known.join(", "))),
        None => Ok(jobs),
    }
}

/// Runs the contest.
pub(crate) fn run(options: &Options) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for job in &options.jobs {
        eprintln!("tasks {job}");
        let settings = Settings {
            workers: options.workers,
            time: Duration::from_millis(options.millis as u64),
            count: 1,
        };
        let turns = Turns { contest: "tasks", job, who: &options.who, rounds: options.rounds, settings };
        lines.extend(turns.take()?);
    }
    Ok(lines)
}

/// The child's part: does `job`.
pub(crate) fn work<R: Runtime>(runtime: R, job: &str, settings: &Settings) -> Result<Vec<Value>, String> {
    let time = match job {
        "spawn_many_local" => scheduler::spawn_many_local(&runtime, settings),
        "spawn_many_remote_idle" => scheduler::spawn_many_remote_idle(&runtime, settings),
        "spawn_many_remote_busy1" => scheduler::spawn_many_remote_busy1(&runtime, settings),
        "spawn_many_remote_busy2" => scheduler::spawn_many_remote_busy2(&runtime, settings),
        "yield_many" => scheduler::yield_many(&runtime, settings),
        "ping_pong" => scheduler::ping_pong(&runtime, settings),
        "chained_spawn" => scheduler::chained_spawn(&runtime, settings),
        "ae_spawn_many_local" => executor::spawn_many_local(&runtime, settings),
        "ae_spawn_recursively" => executor::spawn_recursively(&runtime, settings),
        "ae_yield_now" => executor::yield_now(&runtime, settings),
        "ae_web_server" => executor::web_server(&runtime, settings),
        _ => Err(format!("there is no job tasks/{job}")),
    }?;
    Ok(vec![(job.to_string(), "time", time)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{Egret, Smol, Tokio};

    /// Each job once, by each contestant.
    fn all_jobs_end<R: Runtime>() {
        let _watchdog = crate::watchdog::Watchdog::start();
        let settings = Settings { workers: 2, time: Duration::from_millis(1), count: 1 };
        for job in JOBS {
            let values = work(R::start(2).unwrap(), job, &settings).unwrap();
            assert_eq!((values[0].0.as_str(), values[0].1, values.len()), (job, "time", 1));
            assert!(values[0].2 > 0.0);
        }
    }

    #[test]
    fn egret_does_all_jobs() {
        all_jobs_end::<Egret>();
    }

    #[test]
    fn tokio_does_all_jobs() {
        all_jobs_end::<Tokio>();
    }

    #[test]
    fn smol_does_all_jobs() {
        all_jobs_end::<Smol>();
    }

    #[test]
    fn jobs_have_to_be_known() {
        let args = |line: &str| Args::new(line.split_whitespace().map(String::from));
        assert_eq!(chosen_jobs(&mut args(""), &["a", "b"]), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(chosen_jobs(&mut args("--jobs b"), &["a", "b"]), Ok(vec!["b".into()]));
        assert!(chosen_jobs(&mut args("--jobs c"), &["a", "b"]).is_err());
        let work =
            work(Egret::start(1).unwrap(), "x", &Settings { workers: 1, time: Duration::ZERO, count: 1 });
        assert!(work.is_err());
    }
}
