//! The kernel's epoll against egret's, step by step, over real descriptors.
//!
//! ```text
//! cargo run --release -p egret-reactor --example differential -- --ops 1000000 --seed 7
//!     --feed uring|aio|poll    the feed (uring)
//!     --script FILE            runs one script, and shows every line, instead of random ones
//!     --verbose                shows counts as they grow
//! ```
//!
//! A script makes pipes, unix and TCP pairs, eventfds, second descriptors of all of them, and instances that watch them and
//! each other ([`script`]). After each line the answers of both sides are compared: errno, and events with mask, data and
//! order ([`compare`]; for feeds whose edges are not exact, [`promised`]). Both watch the same files, so nothing is done
//! twice. On a difference the script is made as short as it gets and printed; `--script` replays it, and the exit code is 1.
//!
//! Not reached from one thread: events that come in during a scan (the overflow list), waiters that sleep, exclusive walks
//! that end early, timeouts. The models and the stress tests are for those.

mod compare;
mod egret;
mod generate;
mod kernel;
mod objects;
mod promised;
mod random;
mod run;
mod script;
mod shrink;
mod world;

use egret_reactor::FeedChoice;
use run::Counts;
use std::process::ExitCode;
use std::time::Instant;

struct Arguments {
    ops: u64,
    seed: u64,
    feed: FeedChoice,
    script: Option<String>,
    verbose: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments =
        Arguments { ops: 100_000, seed: 1, feed: FeedChoice::Uring, script: None, verbose: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        let number = |text: String| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
        match word.as_str() {
            "--ops" => arguments.ops = number(value()?)?,
            "--seed" => arguments.seed = number(value()?)?,
            "--feed" => arguments.feed = value()?.parse().map_err(|error| format!("{error}"))?,
            "--script" => arguments.script = Some(value()?),
            "--verbose" => arguments.verbose = true,
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| compare_all(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("differential: {error}");
            ExitCode::from(2)
        }
    }
}

/// True if both sides are the same.
fn compare_all(arguments: &Arguments) -> Result<bool, String> {
    let setting = run::setting(arguments.feed).map_err(|error| error.to_string())?;
    let feed = setting.lanes.feed();
    let edges = if setting.exact { "every answer, event and order" } else { "what the feed promises" };
    println!("feed {feed}, seed {}: compared is {edges}", arguments.seed);
    let mut counts = Counts::default();
    if let Some(file) = &arguments.script {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        let script: script::Script = text.parse()?;
        let show = |line: usize, verdict: &compare::Verdict| {
            println!("{:<50} {verdict:?}", script.0[line].to_string())
        };
        let difference =
            run::script(&setting, &script, &mut counts, show).map_err(|error| error.to_string())?;
        return Ok(report(&counts, usize::from(difference.is_some())));
    }
    let start = Instant::now();
    let progress = |counts: &Counts| {
        if arguments.verbose {
            println!("{counts:?} after {:.1} s", start.elapsed().as_secs_f64());
        }
    };
    let found = run::campaign(&setting, arguments.ops, arguments.seed, &mut counts, progress)
        .map_err(|error| error.to_string())?;
    if let Some(found) = found {
        print!("\n# line {} differs", found.line + 1);
        println!(
            "{}",
            if found.again { "" } else { " (not seen again: it depends on the machine's timing)" }
        );
        println!("# kernel: {}\n# egret:  {}", found.difference.kernel, found.difference.egret);
        println!("{}# replay with --script FILE\n", found.script);
        return Ok(report(&counts, 1));
    }
    Ok(report(&counts, 0))
}

fn report(counts: &Counts, differences: usize) -> bool {
    println!(
        "let pass: siblings={} unnamed={}; TCP did not rest: {}",
        counts.siblings, counts.unnamed, counts.restless
    );
    println!("scripts={} ops={} differences={differences}", counts.scripts, counts.ops);
    differences == 0
}
