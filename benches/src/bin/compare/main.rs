//! `compare`: egret held against its rivals, on this machine, now.
//!
//! ```text
//! cargo run --release -p egret-benches --bin compare -- all --quick --check
//! cargo run --release -p egret-benches --bin compare -- http [--conns 64,512] [--secs 3] [--only egret,tokio] [--json FILE]
//! cargo run --release -p egret-benches --bin compare -- plot --from FILE --to DIR
//! ```
//!
//! What lives here: the choice of the subcommand, and what is done with the lines that a contest yields. Each contest has a
//! module of its own, whose first screen says its rules; `all` has the list of them. Servers and work in one's own process are
//! this same executable, started afresh for each turn, so that all contestants are the same build.
//!
//! ```text
//!   compare http, stall, memory ──spawns──► compare serve egret|tokio|smol|monoio|epoll     one at a time, in turn
//!        │                                       ▲ 127.0.0.1:port
//!        └──── spawns ──► wrk, or connects ──────┘
//!   compare tasks, timers, wake ──spawns──► compare work ...                         one at a time, in turn
//!        │
//!        ▼
//!     [Line] ──► table, RATIO lines, JSON ──► check, plot
//! ```
//!
//! Ends with status 0 if every run was clean, 1 if not, 2 if it was called wrongly, 3 if `--check` or `check` found that egret
//! falls short.

mod all;
mod args;
mod check;
mod client;
mod connections;
mod contestant;
mod http;
mod lines;
mod machine;
mod plot;
mod proc;
mod serve;
mod sleepers;
mod stall;
mod stats;
mod tasks;
mod timers;
mod wake;
#[cfg(test)]
#[path = "../../../../tests/support/watchdog.rs"]
mod watchdog;
mod work;
mod wrk;

use args::{Args, Common};
use lines::Line;
use machine::Machine;
use std::fs;
use std::process::ExitCode;

const USAGE: &str =
    "usage: compare CONTEST [--rounds N] [--workers N] [--only a,b] [--quick] [--check] [--json FILE]
       compare all [the same]
       compare check --from FILE
       compare plot --from FILE --to DIR

contests: http, stall, memory, tasks, timers, wake

  --rounds   how often each contestant has its turn
  --workers  threads of every contestant
  --only     leave out everybody else of egret, tokio, smol, monoio, epoll; egret-off is egret without its
             watch over blocked workers, in http, stall and memory
  --quick    less of everything: all contests within 4 minutes
  --check    hold the lines against the bars; status 3 if one is missed
  --json     write every round and the medians to FILE, for plot and check

of their own:
  http           --lines conns=64,pipelined=16,close=1,idle=8000  --conns 64,512  --secs N
  stall          --secs N
  tasks          --jobs a,b  --millis N
  timers         --jobs a,b  --timers N";

/// Why the program ends early.
enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// Something went wrong; what was measured there is void.
    Run(String),
    /// Everything ran, and a bar was missed.
    Short,
}

use Failure::{Run, Short, Usage};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("compare {}", words.join(" "));
    let mut args = Args::new(words.into_iter());
    let result = match args.subcommand().as_deref() {
        Some("all") => contests(None, &command, args),
        Some("check") => check_file(args),
        Some("plot") => plot_file(args),
        Some("serve") => serve::Options::read(args).map_err(Usage).and_then(|options| {
            serve::run(&options).map_err(|error| Run(format!("serve {}: {error}", options.who)))
        }),
        // What a contest of in-process work starts as its contestants.
        Some("work") => work::run(args).map_err(Run),
        Some("help") | None => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(other) => match all::find(other) {
            Some(contest) => contests(Some(contest), &command, args),
            None => Err(Usage(format!("unknown subcommand `{other}`"))),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Usage(what)) => {
            eprintln!("compare: {what}\n\n{USAGE}");
            ExitCode::from(2)
        }
        Err(Run(what)) => {
            eprintln!("compare: {what}");
            ExitCode::FAILURE
        }
        Err(Short) => ExitCode::from(3),
    }
}

/// Runs one contest, or all of them; prints, writes and checks what they found.
fn contests(one: Option<&all::Contest>, command: &str, mut args: Args) -> Result<(), Failure> {
    let check = args.flag("--check");
    let common = Common::read(&mut args).map_err(Usage)?;
    let json = common.json.clone();
    let ready = match one {
        Some(contest) => vec![(contest.name, (contest.prepare)(common, &mut args).map_err(Usage)?)],
        None => all::prepare(common).map_err(Usage)?,
    };
    args.finish().map_err(Usage)?;
    let names: Vec<&str> = ready.iter().map(|(name, _)| *name).collect();

    machine::raise_descriptor_limit()
        .map_err(|error| Run(format!("can't raise the descriptor limit: {error}")))?;
    let machine = Machine::look();
    println!("{}, Linux {}, {} cores, {}\n", machine.date, machine.kernel, machine.cores, machine.cpu);
    if cfg!(debug_assertions) {
        eprintln!("compare: this is a debug build; its numbers mean nothing");
    }
    let all::Outcome { lines, failed } = all::run(ready);
    lines::print(&lines);
    if let Some(path) = json {
        let text = format!("{:#}\n", lines::json(command, &machine, &lines));
        fs::write(&path, text).map_err(|error| Run(format!("can't write {path}: {error}")))?;
    }
    let checked = if check { print_check(&lines, &names) } else { Ok(()) };
    if failed.is_empty() { checked } else { Err(Run(failed.join("\ncompare: "))) }
}

fn print_check(lines: &[Line], contests: &[&str]) -> Result<(), Failure> {
    let verdict = check::check(lines, contests);
    println!();
    for text in &verdict.text {
        println!("{text}");
    }
    println!("{} passed, {} fell short, {} not measured", verdict.passed, verdict.short, verdict.missing);
    if verdict.short == 0 { Ok(()) } else { Err(Short) }
}

/// Takes `--from FILE` and reads it.
fn from_file(args: &mut Args) -> Result<lines::Results, Failure> {
    let path = args.option("--from").map_err(Usage)?.ok_or_else(|| Usage("--from FILE is missing".into()))?;
    let text = fs::read_to_string(&path).map_err(|error| Run(format!("can't read {path}: {error}")))?;
    lines::read(&text).map_err(|what| Run(format!("{path}: {what}")))
}

fn check_file(mut args: Args) -> Result<(), Failure> {
    let results = from_file(&mut args)?;
    args.finish().map_err(Usage)?;
    let names: Vec<&str> = all::CONTESTS.iter().map(|contest| contest.name).collect();
    print_check(&results.lines, &names)
}

fn plot_file(mut args: Args) -> Result<(), Failure> {
    let to = args.option("--to").map_err(Usage)?.ok_or_else(|| Usage("--to DIR is missing".into()))?;
    let results = from_file(&mut args)?;
    args.finish().map_err(Usage)?;
    for path in plot::draw(&results, &to).map_err(Run)? {
        println!("{path}");
    }
    Ok(())
}
