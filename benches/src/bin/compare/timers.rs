//! The contest of the timers: a million that sleep, and a timeout for every request.
//!
//! | line | what is timed |
//! |---|---|
//! | `set` | arming a timer, its first poll, beside up to a million others: deadlines from 1 s to 1 h from now |
//! | `reset_later` | moving an armed one out by 30 s, as a connection's idle timeout with each read |
//! | `reset` | moving an armed one to any other deadline of that hour |
//! | `cancel` | dropping an armed one |
//! | `fire` | what the process spends on firing one, from the moment all are armed to the last wake |
//! | `timeout_per_request` | a `timeout` of 1 s around a future that is pending once: armed, polled, cancelled, in 64 tasks |
//! | `mixed` | a set, a reset or a cancel by 64 tasks on all workers at once, a thousand timers each |
//! | `precision` | how late a task goes on after a sleep of 1 to 20 ms in a runtime that does nothing else: `p50`, and `late`, the worst |
//!
//! The rules, the same for all:
//! - A sleep is each runtime's own, in a box of its own: tokio's and smol's users can't keep a growing list of them in another way.
//!   Boxing isn't timed.
//! - A task arms a hundred and yields: runtimes with a budget make no more than 128 operations in one poll count.
//! - `fire` polls each sleep once with a waker that only counts and looks at the clock. So the scheduler has no part in it: it's the timers that are
//!   measured. As time that passes is given by the deadlines (200,000 between 100 and 300 ms), it's the processor time of the process that counts.
//! - `mixed` and `timeout_per_request` count the time that passes, all workers together.
//! - A wake before the deadline is an error, wherever it happens, and so is a sleep that isn't ready after its wake, or one that doesn't come.
//!
//! `--quick`: 2 rounds instead of 5, two fifths of the time for what is repeated, a quarter of the sleeps in `precision`.

mod firing;
mod million;
mod requests;

pub(crate) use million::arm;

use crate::args::{Args, Common};
use crate::lines::Line;
use crate::tasks::chosen_jobs;
use crate::work::{CONTESTANTS, Runtime, Settings, Turns, Value};
use std::time::Duration;

/// `million` is where `set`, `reset_later`, `reset` and `cancel` come from.
const JOBS: [&str; 5] = ["million", "fire", "timeout_per_request", "mixed", "precision"];

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) jobs: Vec<String>,
    pub(crate) workers: usize,
    pub(crate) rounds: usize,
    pub(crate) timers: usize,
    pub(crate) quick: bool,
    pub(crate) who: Vec<&'static str>,
}

impl Options {
    /// `--jobs a,b` and `--timers N`, a million if it isn't given, are this contest's own.
    pub(crate) fn read(common: Common, args: &mut Args) -> Result<Self, String> {
        Ok(Options {
            jobs: chosen_jobs(args, &JOBS)?,
            workers: common.workers.unwrap_or(2),
            rounds: common.rounds.unwrap_or(if common.quick { 2 } else { 5 }),
            timers: args.number("--timers")?.unwrap_or(1_000_000),
            quick: common.quick,
            who: common.chosen(&CONTESTANTS)?,
        })
    }

    /// How many of what a job has many of.
    fn count(&self, job: &str) -> usize {
        match job {
            "fire" => self.timers.div_ceil(5),
            "precision" if self.quick => 50,
            "precision" => 200,
            _ => self.timers,
        }
    }
}

/// Runs the contest.
pub(crate) fn run(options: &Options) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for job in &options.jobs {
        eprintln!("timers {job}");
        let settings = Settings {
            workers: options.workers,
            time: Duration::from_millis(if options.quick { 200 } else { 500 }),
            count: options.count(job),
        };
        let turns = Turns { contest: "timers", job, who: &options.who, rounds: options.rounds, settings };
        lines.extend(turns.take()?);
    }
    Ok(lines)
}

/// The child's part: does `job`.
pub(crate) fn work<R: Runtime>(runtime: R, job: &str, settings: &Settings) -> Result<Vec<Value>, String> {
    match job {
        "million" => million::work(&runtime, settings),
        "fire" => firing::fire(&runtime, settings),
        "precision" => firing::precision(&runtime, settings),
        "timeout_per_request" => requests::timeout_per_request(&runtime, settings),
        "mixed" => requests::mixed(&runtime, settings),
        _ => Err(format!("there is no job timers/{job}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{Egret, Smol, Tokio};

    fn all_jobs_end<R: Runtime>() {
        let _watchdog = crate::watchdog::Watchdog::start();
        let settings = Settings { workers: 2, time: Duration::from_millis(1), count: 20 };
        let mut names = Vec::new();
        for job in JOBS {
            let values = work(R::start(2).unwrap(), job, &settings).unwrap();
            assert!(values.iter().all(|(_, _, value)| *value > 0.0), "{values:?}");
            names.extend(values.into_iter().map(|(name, ..)| name));
        }
        names.dedup();
        let all =
            ["set", "reset_later", "reset", "cancel", "fire", "timeout_per_request", "mixed", "precision"];
        assert_eq!(names, all);
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
}
