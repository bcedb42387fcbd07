//! The HTTP contest: wrk against each contestant in turn, round by round.
//!
//! The rules, the same for all:
//! - The servers share codec, buffers and socket options, and have the same number of threads.
//! - For each turn the server is started afresh, warmed up, measured, and ended: nobody else's idle threads and no
//!   memory of an earlier turn are in the picture. Neighbours within a round are seconds apart, so a ratio is taken within a
//!   round; who begins changes from round to round.
//! - A server's CPU time and context switches are those between the start and the end of the measuring wrk, connecting and
//!   closing included, divided by the requests it counted. Its memory is looked at halfway, under load.
//! - A socket error or an answer that isn't 2xx ends the contest with an error.

use crate::args::Args;
use crate::contestant::{Contestant, Server};
use crate::machine::{self, Machine};
use crate::proc::{self, Usage};
use crate::report::{self, Ratio, Run, Series};
use crate::wrk;
use std::thread;
use std::time::{Duration, Instant};

/// Length of the warm-up before each measurement: caches, branch predictors and allocators settle in far less.
const WARM_UP_SECS: usize = 1;

/// How long a server may take to fall quiet after the warm-up. A guess; closing 512 connections takes about 15 ms.
const QUIET: Duration = Duration::from_secs(2);

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) conns: Vec<usize>,
    pub(crate) workers: usize,
    pub(crate) rounds: usize,
    pub(crate) secs: usize,
    pub(crate) only: Vec<Contestant>,
    pub(crate) json: Option<String>,
}

impl Options {
    pub(crate) fn read(mut args: Args) -> Result<Self, String> {
        let options = Options {
            conns: args.list("--conns")?.unwrap_or_else(|| vec![64, 512]),
            workers: args.number("--workers")?.unwrap_or(2),
            rounds: args.number("--rounds")?.unwrap_or(5),
            secs: args.number("--secs")?.unwrap_or(3),
            only: args.list("--only")?.unwrap_or_else(|| Contestant::ALL.to_vec()),
            json: args.option("--json")?,
        };
        args.finish()?;
        if options.conns.contains(&0) {
            return Err("--conns has to be at least 1".into());
        }
        let twice = |(at, who): (usize, &Contestant)| options.only[..at].contains(who);
        if options.only.iter().enumerate().any(twice) {
            return Err("--only names a contestant twice".into());
        }
        Ok(options)
    }
}

/// Runs the contest and prints it.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    machine::raise_descriptor_limit()
        .map_err(|error| format!("can't raise the descriptor limit: {error}"))?;
    let machine = Machine::look();
    println!("{}, Linux {}, {} cores, {}", machine.date, machine.kernel, machine.cores, machine.cpu);
    let turns = options.conns.len() * options.rounds * options.only.len();
    let about = turns * (options.secs + WARM_UP_SECS);
    eprintln!("{turns} turns, about {} min {} s", about / 60, about % 60);

    let mut contests = Vec::new();
    for &conns in &options.conns {
        let series = contest(conns, options)?;
        report::print_table(conns, options, &series);
        contests.push((conns, series));
    }

    let ratios: Vec<Ratio> =
        contests.iter().flat_map(|(conns, series)| report::ratios(*conns, series)).collect();
    if !ratios.is_empty() {
        println!();
    }
    for ratio in &ratios {
        println!("{}", ratio.line());
    }
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", report::json(options, &machine, &contests, &ratios));
        std::fs::write(path, text).map_err(|error| format!("can't write {path}: {error}"))?;
    }
    Ok(())
}

/// All rounds at one number of connections.
fn contest(conns: usize, options: &Options) -> Result<Vec<Series>, String> {
    let mut series: Vec<Series> = options.only.iter().map(|&who| Series { who, runs: Vec::new() }).collect();
    let contestants = series.len();
    for round in 0..options.rounds {
        for turn in 0..contestants {
            let Series { who, runs } = &mut series[(round + turn) % contestants];
            let run = turn_of(*who, conns, options)
                .map_err(|what| format!("{who}, {conns} connections, round {}: {what}", round + 1))?;
            eprintln!(
                "round {}: {who:5} {:8.0} req/s {:6.2} us CPU",
                round + 1,
                run.requests_per_sec,
                run.cpu_us()
            );
            runs.push(run);
        }
    }
    Ok(series)
}

/// One contestant's turn.
fn turn_of(who: Contestant, conns: usize, options: &Options) -> Result<Run, String> {
    let mut server = Server::start(who, options.workers)?;
    let (pid, url) = (server.pid(), server.url());
    let proc_error = |error| format!("can't read the server's usage: {error}");

    wrk::run(&url, conns, WARM_UP_SECS, || ())?;
    wait_until_quiet(pid)?;

    let before = Usage::of(pid).map_err(proc_error)?;
    let mut rss = Ok(0);
    let report = wrk::run(&url, conns, options.secs, || rss = proc::rss_kib(pid))?;
    let used = Usage::of(pid).map_err(proc_error)?.since(before);
    server.check_alive()?;

    let requests = report.requests as f64;
    let (user, system) = used.user_and_system_us();
    Ok(Run {
        requests: report.requests,
        requests_per_sec: report.requests_per_sec,
        p50_us: report.p50_us,
        p99_us: report.p99_us,
        user_us: user / requests,
        system_us: system / requests,
        switches: used.switches as f64 / requests,
        rss_mib: rss.map_err(proc_error)? as f64 / 1024.0,
    })
}

/// Waits until the server has closed the warm-up's connections: until it uses no CPU for 20 ms.
fn wait_until_quiet(pid: u32) -> Result<(), String> {
    let usage = || Usage::of(pid).map_err(|error| format!("can't read the server's usage: {error}"));
    let start = Instant::now();
    let mut before = usage()?;
    loop {
        thread::sleep(Duration::from_millis(20));
        let now = usage()?;
        // A timer may tick now and then: less than 1 % of a CPU is quiet.
        if now.cpu_ns - before.cpu_ns < 200_000 {
            return Ok(());
        }
        if start.elapsed() > QUIET {
            return Err(format!("it is still busy {QUIET:?} after the warm-up"));
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options, String> {
        Options::read(Args::new(line.split_whitespace().map(String::from)))
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let options = options("").unwrap();
        assert_eq!((options.conns, options.workers, options.rounds, options.secs), (vec![64, 512], 2, 5, 3));
        assert_eq!(options.only, Contestant::ALL);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["--only mio", "--only egret,egret", "--conns 0", "--conns x", "--rounds 0", "--loud"] {
            assert!(options(line).is_err(), "{line}");
        }
    }
}
