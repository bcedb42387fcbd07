//! A server that can be looked at while it runs: an echo, and beside it a page for Prometheus, one with every task, and one that a stuck handler
//! is told of.
//!
//! ```text
//! cargo run --release --features backtrace --example metrics -- 127.0.0.1:7000 127.0.0.1:7001
//! nc 127.0.0.1 7000                                 (echoes lines; `stuck` keeps its worker for a second)
//! curl http://127.0.0.1:7001/metrics                (counters and poll times, as Prometheus reads them)
//! curl http://127.0.0.1:7001/tasks                  (each task, where it was spawned, what it waits for)
//! ```
//!
//! None of it costs the echo anything that could be measured, but for the poll times: two looks at the clock a poll.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::process::ExitCode;
use std::time::Duration;

use egret::net::{TcpListener, TcpStream};
use egret::runtime::{Handle, Metrics, StuckPoll, WorkerMetrics};
use egret::task::JoinSet;

/// What a poll may take before it is told of.
const LIMIT: Duration = Duration::from_millis(50);
/// What a request for a page, or a line, may be long.
const LONGEST: usize = 1024;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let echo = arguments.next().unwrap_or_else(|| "127.0.0.1:7000".to_owned());
    let pages = arguments.next().unwrap_or_else(|| "127.0.0.1:7001".to_owned());
    let outcome = runtime(|poll| eprintln!("metrics: {poll}")).and_then(|runtime| {
        runtime.block_on(async {
            let (echo, pages) = (TcpListener::bind(&*echo).await?, TcpListener::bind(&*pages).await?);
            println!("metrics: echo on {}, pages on {}", echo.local_addr()?, pages.local_addr()?);
            serve(echo, pages).await
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("metrics: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A runtime that measures its polls, and tells of those that last.
pub fn runtime(stuck: impl Fn(&StuckPoll) + Send + Sync + 'static) -> io::Result<egret::Runtime> {
    egret::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_metrics_poll_time_histogram()
        .on_stuck_poll(LIMIT, stuck)
        .build()
}

/// Serves both until one of them can't go on.
pub async fn serve(echo: TcpListener, pages: TcpListener) -> io::Result<()> {
    let mut listeners: JoinSet<io::Result<()>> = JoinSet::new();
    listeners.build_task().name("echo's listener").spawn(async move {
        loop {
            let (stream, peer) = echo.accept().await?;
            let name = format!("echo of {peer}");
            egret::task::Builder::new().name(&name).spawn(say(self::echo(stream)))?;
        }
    })?;
    listeners.build_task().name("pages' listener").spawn(async move {
        loop {
            let (stream, _) = pages.accept().await?;
            egret::spawn(say(page(stream)));
        }
    })?;
    match listeners.join_next().await {
        Some(first) => first?,
        None => Ok(()),
    }
}

/// A connection's end is its own affair; why it failed is said.
async fn say(connection: impl Future<Output = io::Result<()>>) {
    if let Err(error) = connection.await {
        eprintln!("metrics: {error}");
    }
}

async fn echo(stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; LONGEST];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => {
                if buffer[..n].starts_with(b"stuck") {
                    // What nobody should do: it is told of on stderr.
                    std::thread::sleep(Duration::from_secs(1));
                }
                stream.write_all(&buffer[..n]).await?;
            }
        }
    }
}

async fn page(stream: TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut part = [0; 256];
        match stream.read(&mut part).await? {
            0 => return Ok(()),
            n => request.extend(&part[..n]),
        }
        if request.len() > LONGEST {
            return Err(io::Error::other("a request that is too long"));
        }
    }
    let runtime = Handle::current();
    let (status, text) = if request.starts_with(b"GET /metrics ") {
        ("200 OK", Prometheus(&runtime.metrics()).to_string())
    } else if request.starts_with(b"GET /tasks ") {
        ("200 OK", runtime.dump().to_string())
    } else {
        ("404 Not Found", "there are /metrics and /tasks\n".to_owned())
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown(Shutdown::Write)
}

/// Prometheus' text format, 0.0.4.
struct Prometheus<'a>(&'a Metrics);

impl fmt::Display for Prometheus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(metrics) = self;
        let mut whole =
            |name, kind, value: f64| writeln!(f, "# TYPE egret_{name} {kind}\negret_{name} {value}");
        whole("alive_tasks", "gauge", metrics.alive_tasks as f64)?;
        whole("spawned_tasks_total", "counter", metrics.spawned_tasks as f64)?;
        whole("injector_depth", "gauge", metrics.injector_depth as f64)?;
        whole("blocking_threads", "gauge", metrics.blocking_threads as f64)?;
        whole("blocking_queue_depth", "gauge", metrics.blocking_queue_depth as f64)?;
        whole("stall_alarms_total", "counter", metrics.stall_alarms as f64)?;
        type Value = fn(&WorkerMetrics) -> f64;
        let of_workers: [(&str, &str, Value); 10] = [
            ("polls_total", "counter", |worker| worker.polls as f64),
            ("steals_total", "counter", |worker| worker.steals as f64),
            ("parks_total", "counter", |worker| worker.parks as f64),
            ("idle_wakes_total", "counter", |worker| worker.idle_wakes as f64),
            ("busy_seconds_total", "counter", |worker| worker.busy.as_secs_f64()),
            ("queue_depth", "gauge", |worker| worker.queue_depth as f64),
            ("timers", "gauge", |worker| worker.timers as f64),
            ("stalls_served_total", "counter", |worker| worker.stalls_served as f64),
            ("feed_completions_total", "counter", |worker| worker.feed_completions as f64),
            ("feed_system_calls_total", "counter", |worker| {
                (worker.feed_submits + worker.feed_blocks) as f64
            }),
        ];
        for (name, kind, value) in of_workers {
            writeln!(f, "# TYPE egret_worker_{name} {kind}")?;
            for (number, worker) in metrics.workers.iter().enumerate() {
                writeln!(f, "egret_worker_{name}{{worker=\"{number}\"}} {}", value(worker))?;
            }
        }
        f.write_str("# TYPE egret_poll_seconds histogram\n")?;
        for (number, worker) in metrics.workers.iter().enumerate() {
            let Some(times) = &worker.poll_times else { continue };
            let mut below = 0;
            for (range, count) in times.buckets() {
                below += count;
                let end = match range.end {
                    Duration::MAX => "+Inf".to_owned(),
                    end => end.as_secs_f64().to_string(),
                };
                writeln!(f, "egret_poll_seconds_bucket{{worker=\"{number}\",le=\"{end}\"}} {below}")?;
            }
            writeln!(f, "egret_poll_seconds_count{{worker=\"{number}\"}} {below}")?;
        }
        Ok(())
    }
}
