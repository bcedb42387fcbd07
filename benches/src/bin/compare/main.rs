//! `compare`: egret held against its rivals, on this machine, now.
//!
//! ```text
//! cargo run --release -p egret-benches --bin compare -- http [--conns 64,512] [--workers 2] [--rounds 5] [--secs 3]
//!                                                            [--only egret,tokio] [--json FILE]
//! ```
//!
//! What lives here: the choice of the subcommand. `http` is the HTTP contest; `serve` is what it starts as its contestants:
//! this same executable, so that all of them are the same build.
//!
//! ```text
//!   compare http ──spawns──► compare serve egret|tokio|smol|epoll     one at a time, in turn
//!        │                        ▲ 127.0.0.1:port
//!        └───────spawns──► wrk ───┘
//! ```
//!
//! Ends with status 0 if every run was clean, 1 if not, 2 if it was called wrongly.

mod args;
mod contestant;
mod http;
mod machine;
mod proc;
mod report;
mod serve;
mod stats;
mod wrk;

use args::Args;
use contestant::Contestant;
use std::process::ExitCode;

const USAGE: &str = "usage: compare http [--conns 64,512] [--workers 2] [--rounds 5] [--secs 3]
                    [--only egret,tokio,smol,epoll] [--json FILE]

  --conns    connection counts, one contest each
  --workers  threads of every contestant
  --rounds   how often each contestant has its turn
  --secs     length of one measurement
  --only     leave the others out
  --json     write every run and the medians to FILE";

/// Why the program ends early.
enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// Something went wrong; the measurement is void.
    Run(String),
}

fn main() -> ExitCode {
    let mut args = Args::new(std::env::args().skip(1));
    let result = match args.subcommand().as_deref() {
        Some("http") => http::Options::read(args)
            .map_err(Failure::Usage)
            .and_then(|options| http::run(&options).map_err(Failure::Run)),
        Some("serve") => serve_options(args).map_err(Failure::Usage).and_then(|(who, workers)| {
            serve::run(who, workers).map_err(|e| Failure::Run(format!("serve {who}: {e}")))
        }),
        Some("help") | None => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(other) => Err(Failure::Usage(format!("unknown subcommand `{other}`"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(what)) => {
            eprintln!("compare: {what}\n\n{USAGE}");
            ExitCode::from(2)
        }
        Err(Failure::Run(what)) => {
            eprintln!("compare: {what}");
            ExitCode::FAILURE
        }
    }
}

fn serve_options(mut args: Args) -> Result<(Contestant, usize), String> {
    let who = args.positional("a contestant")?;
    let workers = args.number("--workers")?.unwrap_or(2);
    args.finish()?;
    Ok((who, workers))
}
