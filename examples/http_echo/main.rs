//! An HTTP/1.1 echo server on egret.
//!
//! ```text
//! cargo run --release --example http_echo -- --addr 127.0.0.1:8080 --workers 2 --feed auto
//! curl -d 'hello' http://127.0.0.1:8080/
//! ```
//!
//! | file | what |
//! |---|---|
//! | `main.rs` | arguments, the runtime, the end |
//! | `server.rs` | the accept loop |
//! | `connection.rs` | one connection: buffers, timeouts, lingering close |
//! | `codec.rs` and its parts | HTTP, without I/O |
//! | `gate.rs` | graceful stop |
//! | `signals.rs` | Ctrl-C |

pub mod codec;
pub mod connection;
pub mod gate;
pub mod server;
pub mod signals;

use std::io;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use egret::reactor::FeedChoice;
use server::{Config, Server};

const USAGE: &str = "\
An HTTP/1.1 echo server.

Usage: http_echo [options]
  --addr ADDRESS           where to listen (127.0.0.1:8080)
  --workers N              worker threads (as many as there are cores)
  --feed NAME              where readiness comes from: auto, uring, aio or poll (auto)
  --head-timeout-ms N      for a request head to be complete (10000)
  --idle-timeout-ms N      until a connection without a request is closed (60000)
  --grace-ms N             for requests in flight after Ctrl-C (5000)
";

struct Options {
    address: String,
    workers: usize,
    feed: Option<FeedChoice>,
    config: Config,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        address: "127.0.0.1:8080".into(),
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        feed: None,
        config: Config::default(),
    };
    while let Some(name) = arguments.next() {
        if name == "--help" || name == "-h" {
            return Ok(None);
        }
        let mut value = || arguments.next().ok_or(format!("{name} needs a value"));
        match name.as_str() {
            "--addr" => options.address = value()?,
            "--workers" => options.workers = number(&name, value()?)?,
            "--feed" => {
                options.feed = Some(FeedChoice::from_str(&value()?).map_err(|error| error.to_string())?)
            }
            "--head-timeout-ms" => {
                options.config.head_timeout = Duration::from_millis(number(&name, value()?)?)
            }
            "--idle-timeout-ms" => {
                options.config.idle_timeout = Duration::from_millis(number(&name, value()?)?)
            }
            "--grace-ms" => options.config.grace = Duration::from_millis(number(&name, value()?)?),
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(Some(options))
}

fn number<T: FromStr>(name: &str, value: String) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name}: {value:?} is not a number that fits"))
}

fn main() -> ExitCode {
    run(std::env::args().skip(1))
}

/// The program, given its arguments.
pub fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let options = match parse(arguments) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("http_echo: {message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("http_echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: Options) -> io::Result<()> {
    let mut builder = egret::Builder::new_multi_thread().worker_threads(options.workers);
    if let Some(feed) = options.feed {
        builder = builder.feed(feed);
    }
    let runtime = builder.build()?;
    let server =
        runtime.block_on(Server::bind(options.address.as_str(), options.config)).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {}: {error}", options.address))
        })?;
    let gate = server.gate();
    let stop = server.gate();
    signals::on_stop_signal(move || stop.stop())?;
    println!(
        "http_echo on http://{}, {} workers, feed {}",
        server.local_addr()?,
        options.workers,
        runtime.feed()
    );

    // In a task of its own, so that connections come in on a worker and not on this thread.
    let server = runtime.spawn(server.run());
    let unfinished = runtime.block_on(server).map_err(io::Error::other)??;
    drop(runtime);
    println!("served {} requests, {unfinished} connections cut off", gate.served());
    Ok(())
}
