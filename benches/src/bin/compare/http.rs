//! The HTTP contest: wrk against each contestant in turn, round by round.
//!
//! | line | what wrk does |
//! |---|---|
//! | `conns=N` | N connections, on each one request after the other |
//! | `pipelined=N` | 64 connections, on each N requests with one write; one write of the server answers them |
//! | `close=N` | 64 connections at a time, N requests on each before it is closed; N is 1 |
//! | `idle=N` | 64 connections, beside N that were each served one request and then do nothing |
//!
//! The rules, the same for all:
//! - The servers share codec, buffers and socket options, and have the same number of threads.
//! - For each turn the server is started afresh, warmed up, measured, and ended: nobody else's idle threads and no
//!   memory of an earlier turn are in the picture. Neighbours within a round are seconds apart, so a ratio is taken within a
//!   round; who begins changes from round to round.
//! - A server's CPU time and context switches are those between the start and the end of the measuring wrk, connecting and
//!   closing included, divided by the requests it counted. Its memory is looked at halfway, under load.
//! - Beside idle connections a turn measures twice, with them and without, on the same server; which comes first changes from
//!   round to round. The metric `idle_cost` is the one CPU time divided by the other.
//! - With one request per connection the server closes first as a rule, so that what stays in TIME_WAIT is at its end and
//!   keeps no port of wrk's from being used again; the few that wrk closes first are free again after a second
//!   (tcp_tw_reuse, on by default for the loopback). Latency doesn't include connecting: wrk counts from the write.
//! - A socket error or an answer that isn't 2xx ends the contest with an error.

use crate::args::{Args, Common};
use crate::connections::Resting;
use crate::contestant::{Contestant, Job, Server};
use crate::lines::{Better, Line};
use crate::proc::{self, Usage, wait_until_quiet};
use crate::stats::turns;
use crate::wrk::{self, Load, Requests};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The connections of the lines that are about something else than their number: those of the other gates.
const BUSY: usize = 64;

/// Length of the warm-up before each measurement: caches, branch predictors and allocators settle in far less.
const WARM_UP: Duration = Duration::from_millis(1000);

/// The same when it has to be quick: a few thousand requests.
const QUICK_WARM_UP: Duration = Duration::from_millis(300);

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    works: Vec<Work>,
    workers: usize,
    rounds: usize,
    secs: usize,
    warm_up: Duration,
    only: Vec<Contestant>,
}

impl Options {
    /// Beside the common options: `--lines conns=64,close=1` and `--conns 64,512`, short for lines of that kind; `--secs`, the
    /// length of a measurement.
    pub(crate) fn read(common: Common, args: &mut Args) -> Result<Self, String> {
        let conns = args.list::<usize>("--conns")?;
        let lines = args.list::<Work>("--lines")?;
        let works = match (conns, lines) {
            (None, None) => Work::ALL.to_vec(),
            (conns, lines) => {
                let conns = conns.unwrap_or_default().into_iter().map(Work::Conns);
                conns.chain(lines.unwrap_or_default()).collect()
            }
        };
        if works.iter().any(|work| matches!(work, Work::Conns(0) | Work::Pipelined(0) | Work::Idle(0))) {
            return Err("a line's number has to be at least 1".into());
        }
        Ok(Options {
            works,
            workers: common.workers.unwrap_or(2),
            rounds: common.rounds.unwrap_or(if common.quick { 1 } else { 5 }),
            secs: args.number("--secs")?.unwrap_or(if common.quick { 1 } else { 3 }),
            warm_up: if common.quick { QUICK_WARM_UP } else { WARM_UP },
            only: Contestant::chosen(&common)?,
        })
    }
}

/// One line's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Conns(usize),
    Pipelined(usize),
    /// One request per connection.
    Close,
    Idle(usize),
}

impl Work {
    const ALL: [Work; 7] = [
        Work::Conns(16),
        Work::Conns(64),
        Work::Conns(512),
        Work::Conns(4096),
        Work::Pipelined(16),
        Work::Close,
        Work::Idle(8000),
    ];

    fn load(self) -> Load {
        let (conns, requests) = match self {
            Work::Conns(conns) => (conns, Requests::OneByOne),
            Work::Pipelined(depth) => (BUSY, Requests::Pipelined(depth)),
            Work::Close => (BUSY, Requests::OneAConnection),
            Work::Idle(_) => (BUSY, Requests::OneByOne),
        };
        Load { conns, requests }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Conns(conns) => write!(f, "conns={conns}"),
            Work::Pipelined(depth) => write!(f, "pipelined={depth}"),
            Work::Close => write!(f, "close=1"),
            Work::Idle(idle) => write!(f, "idle={idle}"),
        }
    }
}

impl FromStr for Work {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let (kind, number) = word.split_once('=').ok_or("a line is `kind=number`")?;
        let number: usize = number.parse().map_err(|error| format!("{number}: {error}"))?;
        match (kind, number) {
            ("conns", _) => Ok(Work::Conns(number)),
            ("pipelined", _) => Ok(Work::Pipelined(number)),
            ("close", 1) => Ok(Work::Close),
            ("idle", _) => Ok(Work::Idle(number)),
            _ => Err("it is none of conns=N, pipelined=N, close=1, idle=N".into()),
        }
    }
}

/// One measurement of one contestant.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    requests_per_sec: f64,
    p50_us: f64,
    p99_us: f64,
    /// CPU time of the server for one request.
    user_us: f64,
    system_us: f64,
    /// Context switches of the server for one request.
    switches: f64,
    rss_mib: f64,
    /// Its CPU time divided by that without idle connections.
    idle_cost: Option<f64>,
}

impl Run {
    fn cpu_us(&self) -> f64 {
        self.user_us + self.system_us
    }
}

/// A metric: its name, its unit, which way it gets better, and where it is in a run.
type Metric = (&'static str, &'static str, Better, fn(&Run) -> Option<f64>);

const METRICS: [Metric; 9] = [
    ("rps", "1/s", Better::More, |run| Some(run.requests_per_sec)),
    ("p50", "us", Better::Less, |run| Some(run.p50_us)),
    ("p99", "us", Better::Less, |run| Some(run.p99_us)),
    ("cpu", "us", Better::Less, |run| Some(run.cpu_us())),
    ("user", "us", Better::Less, |run| Some(run.user_us)),
    ("system", "us", Better::Less, |run| Some(run.system_us)),
    ("switches", "1", Better::Less, |run| Some(run.switches)),
    ("rss", "MiB", Better::Less, |run| Some(run.rss_mib)),
    ("idle_cost", "1", Better::Less, |run| run.idle_cost),
];

/// Runs the contest.
pub(crate) fn run(options: &Options) -> Result<Vec<Line>, String> {
    let turns = options.works.len() * options.rounds * options.only.len();
    let twice = options.works.iter().filter(|work| matches!(work, Work::Idle(_))).count();
    let measurements = turns + twice * options.rounds * options.only.len();
    let about = measurements * options.secs + turns * options.warm_up.as_millis() as usize / 1000;
    eprintln!("http: {turns} turns, about {} min {} s", about / 60, about % 60);

    let mut lines = Vec::new();
    for &work in &options.works {
        lines.extend(lines_of(work, &contest(work, options)?));
    }
    Ok(lines)
}

/// All rounds of one piece of work: each contestant's runs.
fn contest(work: Work, options: &Options) -> Result<Vec<(Contestant, Vec<Run>)>, String> {
    let mut all: Vec<(Contestant, Vec<Run>)> = options.only.iter().map(|&who| (who, Vec::new())).collect();
    for round in 0..options.rounds {
        for turn in turns(round, all.len()) {
            let (who, runs) = &mut all[turn];
            let run = turn_of(*who, work, round, options)
                .map_err(|what| format!("{who}, {work}, round {}: {what}", round + 1))?;
            eprintln!(
                "{work}, round {}: {who:6} {:8.0} req/s {:6.2} us CPU",
                round + 1,
                run.requests_per_sec,
                run.cpu_us()
            );
            runs.push(run);
        }
    }
    Ok(all)
}

fn lines_of(work: Work, all: &[(Contestant, Vec<Run>)]) -> Vec<Line> {
    let line = |&(metric, unit, better, value): &Metric| {
        let of = |(who, runs): &(Contestant, Vec<Run>)| {
            let rounds: Option<Vec<f64>> = runs.iter().map(value).collect();
            rounds.map(|rounds| (who.name().to_string(), rounds))
        };
        let series: Option<Vec<_>> = all.iter().map(of).collect();
        series.map(|series| Line { contest: "http", name: work.to_string(), metric, unit, better, series })
    };
    METRICS.iter().filter_map(line).collect()
}

/// One contestant's turn.
fn turn_of(who: Contestant, work: Work, round: usize, options: &Options) -> Result<Run, String> {
    let mut server = Server::start(who, options.workers, Job::Http)?;
    let load = work.load();
    wrk::warm_up(&server.url(), &load, options.warm_up)?;
    let Work::Idle(idle) = work else {
        return measure(&mut server, &load, options.secs);
    };
    let beside = |server: &mut Server| {
        let mut resting = Resting::new(server.port());
        resting.open(idle)?;
        measure(server, &load, options.secs)
    };
    let (with, without) = if round.is_multiple_of(2) {
        let without = measure(&mut server, &load, options.secs)?;
        (beside(&mut server)?, without)
    } else {
        let with = beside(&mut server)?;
        (with, measure(&mut server, &load, options.secs)?)
    };
    Ok(Run { idle_cost: Some(with.cpu_us() / without.cpu_us()), ..with })
}

/// One measurement; again if wrk didn't come to its end.
fn measure(server: &mut Server, load: &Load, secs: usize) -> Result<Run, String> {
    for _ in 0..2 {
        match measure_once(server, load, secs)? {
            Some(run) => return Ok(run),
            None => eprintln!("wrk -d{secs}s didn't come to its end, and was killed"),
        }
    }
    Err("wrk didn't come to its end, twice".into())
}

fn measure_once(server: &mut Server, load: &Load, secs: usize) -> Result<Option<Run>, String> {
    let (pid, url) = (server.pid(), server.url());
    let proc_error = |error| format!("can't read the server's usage: {error}");
    wait_until_quiet(pid)?;
    let before = Usage::of(pid).map_err(proc_error)?;
    let mut rss = Ok(0);
    let Some(report) = wrk::run(&url, load, secs, || rss = proc::rss_kib(pid))? else {
        return Ok(None);
    };
    let used = Usage::of(pid).map_err(proc_error)?.since(before);
    server.check_alive()?;

    let requests = report.requests as f64;
    let (user, system) = used.user_and_system_us();
    Ok(Some(Run {
        requests_per_sec: report.requests_per_sec,
        p50_us: report.p50_us,
        p99_us: report.p99_us,
        user_us: user / requests,
        system_us: system / requests,
        switches: used.switches as f64 / requests,
        rss_mib: rss.map_err(proc_error)? as f64 / 1024.0,
        idle_cost: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options, String> {
        let mut args = Args::new(line.split_whitespace().map(String::from));
        let options = Options::read(Common::read(&mut args)?, &mut args)?;
        args.finish()?;
        Ok(options)
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let defaults = options("").unwrap();
        assert_eq!((defaults.workers, defaults.rounds, defaults.secs), (2, 5, 3));
        assert_eq!(defaults.works, Work::ALL);
        assert_eq!(defaults.only.len(), Contestant::ALL.len() - 1, "all but egret-off");
        let quick = options("--quick").unwrap();
        assert_eq!((quick.rounds, quick.secs, quick.works.len()), (1, 1, Work::ALL.len()));
    }

    #[test]
    fn lines_are_chosen() {
        let works = |line: &str| options(line).unwrap().works;
        assert_eq!(works("--conns 64,512"), [Work::Conns(64), Work::Conns(512)]);
        assert_eq!(works("--conns 1 --lines close=1,idle=10"), [Work::Conns(1), Work::Close, Work::Idle(10)]);
        for work in Work::ALL {
            assert_eq!(work.to_string().parse(), Ok(work));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let lines = [
            "--only mio",
            "--only egret,egret",
            "--conns 0",
            "--conns x",
            "--lines conns",
            "--lines idle=0",
            "--lines close=2",
            "--rounds 0",
            "--loud",
        ];
        for line in lines {
            assert!(options(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_metric_that_was_not_measured_has_no_line() {
        let run = Run {
            requests_per_sec: 1.0,
            p50_us: 2.0,
            p99_us: 3.0,
            user_us: 4.0,
            system_us: 5.0,
            switches: 6.0,
            rss_mib: 7.0,
            idle_cost: None,
        };
        let lines = lines_of(Work::Conns(64), &[(Contestant::Egret, vec![run, run])]);
        let names: Vec<&str> = lines.iter().map(|line| line.metric).collect();
        assert_eq!(names, ["rps", "p50", "p99", "cpu", "user", "system", "switches", "rss"]);
        assert_eq!(lines[3].series, [("egret".to_string(), vec![9.0, 9.0])]);
        assert_eq!(lines[3].name, "conns=64");
        let run = Run { idle_cost: Some(1.0), ..run };
        let lines = lines_of(Work::Idle(8000), &[(Contestant::Egret, vec![run])]);
        assert_eq!((lines.len(), lines[8].metric), (9, "idle_cost"));
    }
}
