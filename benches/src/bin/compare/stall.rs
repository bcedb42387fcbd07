//! The stall contest: one bad client's handler keeps its worker for 300 ms, again and again. What do the others feel?
//!
//! ```text
//!   one bad client ── GET /block (or /spin) ──► a handler that sleeps (or computes) 300 ms inside of its task ──┐
//!         ▲                                                                                        rests 200 ms │
//!         └─────────────────────────────────────────────────────────────────────────────────────────────────────┘
//!   16 healthy clients ── GET / ── each every 4 ms ──► their latencies: p50, p90, p99, p99.9, max
//! ```
//!
//! The rules, the same for all:
//! - A server is started afresh for each turn, with two workers unless the command line says otherwise. Its handlers are what
//!   a careless user writes: nothing tells the runtime that they block.
//! - The healthy clients have a fixed pace and are spread evenly over it. Latency is measured from when a request was due, not
//!   from when it could be sent, so that a stall counts for every request it delays (no coordinated omission); what is due
//!   while an answer is missing is sent as soon as it has come, one at a time.
//! - A third kind of turn, `none`, has no bad client: what the healthy ones feel then is the machine's part of it.
//! - One thread with `poll` drives all healthy clients and needs a small part of a core; the bad client has a thread that
//!   sleeps. The bad client's rest lets a stalled server catch up, so that the percentiles tell of single stalls.
//! - A wrong answer, a request that is never answered, a bad request that was answered too early, or none at all: an error.

use crate::args::{Args, Common};
use crate::client;
use crate::contestant::{Contestant, Job, Server};
use crate::lines::{Better, Line};
use crate::stats::turns;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long the handler keeps its worker: the length of the contest's rules.
pub(crate) const BLOCK: Duration = Duration::from_millis(300);

/// How long the bad client rests after each answer. A guess: time enough for a server to catch up with what piled up.
const REST: Duration = Duration::from_millis(200);

const CLIENTS: usize = 16;

/// The time from one request of a healthy client to its next: 4,000 requests a second in all, a few percent of what one core
/// serves.
const PACE: Duration = Duration::from_millis(4);

/// How long the last answers may take once no more requests are due. A guess, many blocks long.
const DRAIN: Duration = Duration::from_secs(10);

/// The longest wait for a bad request's answer. A guess.
const BAD_ANSWER: Duration = Duration::from_secs(30);

/// The percentiles that are told, by the names of their lines.
const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];

/// What a bad handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bad {
    None,
    Sleep,
    Spin,
}

impl Bad {
    const ALL: [Bad; 3] = [Bad::None, Bad::Sleep, Bad::Spin];

    /// What the bad client asks for, if there is one.
    fn path(self) -> Option<&'static str> {
        match self {
            Bad::None => None,
            Bad::Sleep => Some("/block"),
            Bad::Spin => Some("/spin"),
        }
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bad::None => "none",
            Bad::Sleep => "sleep",
            Bad::Spin => "spin",
        })
    }
}

/// The servers' handler: looks at the path, and is bad if it is asked to.
pub(crate) fn handle(input: &[u8]) {
    if input.starts_with(b"GET /block ") {
        thread::sleep(BLOCK);
    } else if input.starts_with(b"GET /spin ") {
        let start = Instant::now();
        while start.elapsed() < BLOCK {
            std::hint::spin_loop();
        }
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    workers: usize,
    rounds: usize,
    length: Duration,
    only: Vec<Contestant>,
}

impl Options {
    /// Beside the common options: `--secs`, the length of a measurement.
    pub(crate) fn read(common: Common, args: &mut Args) -> Result<Self, String> {
        // The bare loop takes no part unless it is asked for: it has no way to help itself, and nobody to do it for it.
        let mut only = Contestant::chosen(&common)?;
        if common.only.is_none() {
            only.retain(|&who| who != Contestant::Epoll);
        }
        let secs = args.number("--secs")?.unwrap_or(if common.quick { 2 } else { 5 });
        Ok(Options {
            workers: common.workers.unwrap_or(2),
            rounds: common.rounds.unwrap_or(if common.quick { 1 } else { 3 }),
            length: Duration::from_secs(secs as u64),
            only,
        })
    }
}

/// Runs the contest.
pub(crate) fn run(options: &Options) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for bad in Bad::ALL {
        lines.extend(contest(bad, options)?);
    }
    Ok(lines)
}

fn contest(bad: Bad, options: &Options) -> Result<Vec<Line>, String> {
    let line = |(metric, _)| Line {
        contest: "stall",
        name: bad.to_string(),
        metric,
        unit: "us",
        better: Better::Less,
        series: options.only.iter().map(|who| (who.name().to_string(), Vec::new())).collect(),
    };
    let mut lines = PERCENTILES.map(line);
    for round in 0..options.rounds {
        for turn in turns(round, options.only.len()) {
            let who = options.only[turn];
            let mut latencies = turn_of(who, bad, options)
                .map_err(|what| format!("{who}, stall {bad}, round {}: {what}", round + 1))?;
            latencies.sort_unstable();
            for (line, (_, percent)) in lines.iter_mut().zip(PERCENTILES) {
                line.series[turn].1.push(percentile(&latencies, percent).as_secs_f64() * 1e6);
            }
            eprintln!(
                "stall {bad}, round {}: {who:6} p50 {:.0?}, p99.9 {:.0?}, max {:.0?}",
                round + 1,
                percentile(&latencies, 50.0),
                percentile(&latencies, 99.9),
                percentile(&latencies, 100.0)
            );
        }
    }
    Ok(lines.into())
}

/// The smallest of the sorted `latencies` that `percent` of them don't exceed.
fn percentile(latencies: &[Duration], percent: f64) -> Duration {
    let rank = (latencies.len() as f64 * percent / 100.0).ceil() as usize;
    latencies[rank.clamp(1, latencies.len()) - 1]
}

/// One contestant's turn: the healthy clients' latencies.
fn turn_of(who: Contestant, bad: Bad, options: &Options) -> Result<Vec<Duration>, String> {
    let mut server = Server::start(who, options.workers, Job::Stall)?;
    let port = server.port();
    let stop = AtomicBool::new(false);
    let latencies = thread::scope(|scope| {
        let stop = &stop;
        let worst = bad.path().map(|path| scope.spawn(move || be_bad(port, path, stop)));
        let latencies = be_healthy(port, options.length, || stop.store(true, Ordering::Relaxed));
        stop.store(true, Ordering::Relaxed);
        if let Some(worst) = worst {
            let blocks = worst.join().map_err(|_| "the bad client panicked")??;
            if blocks == 0 {
                return Err("nothing was blocked".to_string());
            }
        }
        latencies
    })?;
    server.check_alive()?;
    Ok(latencies)
}

/// The bad client: returns how many of its requests were answered.
fn be_bad(port: u16, path: &str, stop: &AtomicBool) -> Result<usize, String> {
    let run = || -> io::Result<usize> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(BAD_ANSWER))?;
        let (request, expected) = client::exchange(path);
        let mut answer = vec![0; expected.len()];
        let mut blocks = 0;
        while !stop.load(Ordering::Relaxed) {
            let start = Instant::now();
            stream.write_all(&request)?;
            stream.read_exact(&mut answer)?;
            if answer != expected || start.elapsed() < BLOCK {
                return Err(io::Error::other(format!("a wrong answer after {:?}", start.elapsed())));
            }
            blocks += 1;
            thread::sleep(REST);
        }
        Ok(blocks)
    };
    run().map_err(|error| format!("the bad client: {error}"))
}

/// A healthy client's connection.
struct Client {
    stream: TcpStream,
    /// When its next request is due; in the past if it has to wait for an answer.
    due: Instant,
    /// When the request that isn't answered yet was due.
    waiting: Option<Instant>,
    /// How much of the answer is there.
    received: usize,
}

/// The healthy clients: all latencies of what was due within `length`. Calls `over` when nothing more is due.
fn be_healthy(port: u16, length: Duration, over: impl FnOnce()) -> Result<Vec<Duration>, String> {
    let run = || -> io::Result<Vec<Duration>> {
        let (request, expected) = client::exchange("/");
        let mut answer = vec![0; expected.len()];
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.set_nodelay(true)?;
            // The first request isn't measured: it has the accept in it.
            stream.write_all(&request)?;
            stream.read_exact(&mut answer)?;
            stream.set_nonblocking(true)?;
            clients.push(stream);
        }
        let start = Instant::now();
        let end = start + length;
        let spread = |(at, stream)| {
            let due = start + PACE * at as u32 / CLIENTS as u32;
            Client { stream, due, waiting: None, received: 0 }
        };
        let mut clients: Vec<Client> = clients.into_iter().enumerate().map(spread).collect();
        let mut latencies = Vec::new();
        let mut over = Some(over);
        loop {
            let now = Instant::now();
            if now >= end + DRAIN {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "a request was never answered"));
            }
            if now >= end
                && let Some(over) = over.take()
            {
                over();
            }
            for client in &mut clients {
                if client.waiting.is_none() && client.due <= now && client.due < end {
                    client.send(&request)?;
                }
            }
            // The next thing to do without an answer.
            let next = clients.iter().filter(|client| client.waiting.is_none()).map(|client| client.due);
            let next = next.filter(|&due| due < end).min();
            let waiting = clients.iter().any(|client| client.waiting.is_some());
            if next.is_none() && !waiting {
                return Ok(latencies);
            }
            let until = next.unwrap_or(end + DRAIN);
            let readable = poll(&clients, until.saturating_duration_since(Instant::now()))?;
            for (client, readable) in clients.iter_mut().zip(readable) {
                if readable && let Some(due) = client.receive(&expected, &mut answer)? {
                    latencies.push(due.elapsed());
                }
            }
        }
    };
    run().map_err(|error| format!("a healthy client: {error}"))
}

impl Client {
    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        // An idle connection's send buffer takes it whole.
        let count = self.stream.write(request)?;
        if count != request.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.waiting = Some(self.due);
        self.due += PACE;
        Ok(())
    }

    /// Reads; when the answer is complete, returns when its request was due.
    fn receive(&mut self, expected: &[u8], buffer: &mut [u8]) -> io::Result<Option<Instant>> {
        let rest = &expected[self.received..];
        match self.stream.read(&mut buffer[..rest.len()]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) if buffer[..count] != rest[..count] => Err(io::Error::other("a wrong answer")),
            Ok(count) if count < rest.len() => {
                self.received += count;
                Ok(None)
            }
            Ok(_) => {
                self.received = 0;
                Ok(self.waiting.take())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Waits until one that waits for an answer can read, or `timeout` is over; says who can.
fn poll(clients: &[Client], timeout: Duration) -> io::Result<[bool; CLIENTS]> {
    let mut fds = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; CLIENTS];
    for (fd, client) in fds.iter_mut().zip(clients) {
        // A negative descriptor is passed over.
        fd.fd = if client.waiting.is_some() { client.stream.as_raw_fd() } else { -1 };
    }
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos() as libc::c_long,
    };
    // SAFETY: the array and its length are one, the timeout lives through the call, a null mask changes no signals.
    let result =
        unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, &timeout, std::ptr::null()) };
    if result < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(fds.map(|fd| fd.revents != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn options(line: &str) -> Result<Options, String> {
        let mut args = Args::new(line.split_whitespace().map(String::from));
        Options::read(Common::read(&mut args)?, &mut args)
    }

    #[test]
    fn the_bare_loop_takes_part_when_it_is_asked() {
        assert!(!options("").unwrap().only.contains(&Contestant::Epoll));
        assert_eq!(options("--only epoll").unwrap().only, [Contestant::Epoll]);
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let millis: Vec<Duration> = (1..=1000).map(Duration::from_millis).collect();
        let at = |percent| percentile(&millis, percent).as_millis();
        assert_eq!([50.0, 90.0, 99.9, 100.0].map(at), [500, 900, 999, 1000]);
        assert_eq!(percentile(&millis[..1], 50.0).as_millis(), 1);
    }

    #[test]
    fn a_bad_path_keeps_its_thread() {
        for path in Bad::ALL.into_iter().filter_map(Bad::path) {
            let start = Instant::now();
            handle(&client::exchange(path).0);
            assert!(start.elapsed() >= BLOCK, "{path}");
        }
    }

    /// A server that answers nobody for `stall` after `after` answers: every request that was due meanwhile has to show it.
    #[test]
    fn a_stall_counts_for_all_it_delays() {
        let _watchdog = crate::watchdog::Watchdog::start();
        const STALL: Duration = Duration::from_millis(200);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (request, expected) = client::exchange("/");
        let stalled = std::sync::RwLock::new(());
        let latencies = thread::scope(|scope| {
            for index in 0..CLIENTS {
                let (request, expected, stalled, listener) = (&request, &expected, &stalled, &listener);
                scope.spawn(move || {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut buffer = vec![0; request.len()];
                    let mut served = 0;
                    while stream.read_exact(&mut buffer).is_ok() {
                        served += 1;
                        if index == 0 && served == 10 {
                            let _all = stalled.write().unwrap();
                            thread::sleep(STALL);
                        }
                        drop(stalled.read().unwrap());
                        stream.write_all(expected).unwrap();
                    }
                });
            }
            be_healthy(port, Duration::from_millis(500), || ()).unwrap()
        });
        let due = 500 / PACE.as_millis() as usize * CLIENTS;
        assert_eq!(latencies.len(), due, "all that was due");
        // Requests fall due evenly, so half of those in the stall have waited for half of it or more. A client without the
        // correction has 16 such latencies.
        let half = latencies.iter().filter(|&&latency| latency >= STALL / 2).count();
        assert!(half >= due / 6, "{half} of {due}");
    }
}
