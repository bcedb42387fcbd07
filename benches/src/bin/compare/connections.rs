//! Connections that do nothing, and the contest about the memory they take: `memory idle_connection`.
//!
//! A connection is opened, served one request, and then left alone. How many bytes does the server hold for it?
//!
//! The rules, the same for all:
//! - A server is started afresh for each turn, with connections enough that its fixed costs and its pools have been paid for;
//!   then as many again and more. What counts is the slope between the two: the difference of the bytes by the difference of
//!   the connections.
//! - The servers are those of [`Job::Idle`]: no buffer is held while a connection is idle, as each one's users would do it
//!   where memory matters: wait until something can be read, then take buffers from a pool of the thread's.
//! - `bytes` is the private dirty memory of the process (its own pages that have been written to; what ends with it), `heap`
//!   what its allocator has given out. The first is what the machine pays, and has the allocator's spare room in it; the second
//!   is exact and has not.
//! - The kernel's memory is in neither: socket buffers are the same for all, and an armed poll of io_uring and an item of
//!   epoll weigh about 200 bytes each.

use crate::args::{Args, Common};
use crate::client;
use crate::contestant::{Contestant, Job, Server};
use crate::lines::{Better, Line};
use crate::proc::{self, wait_until_quiet};
use crate::stats::turns;
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// How many of the connections are opened at once, and have their request under way at once. A guess: enough that the server
/// sleeps little, few enough that no queue overflows.
const AT_ONCE: usize = 32;

/// How long a server may take to answer a request. A guess.
const ANSWER: Duration = Duration::from_secs(10);

/// Connections that were served one request each, and do nothing. They are reset on drop: closed in order, each would leave
/// an entry in the kernel's table of connections in TIME_WAIT for a minute, and that table is everybody's.
pub(crate) struct Resting {
    port: u16,
    streams: Vec<TcpStream>,
}

impl Resting {
    /// None yet, to the server at `port` of the loopback.
    pub(crate) fn new(port: u16) -> Self {
        Resting { port, streams: Vec::new() }
    }

    /// Opens `count` more.
    pub(crate) fn open(&mut self, count: usize) -> Result<(), String> {
        let target = self.streams.len() + count;
        let (request, expected) = client::exchange("/");
        let mut answer = vec![0; expected.len()];
        let port = self.port;
        while self.streams.len() < target {
            let first = self.streams.len();
            for _ in 0..AT_ONCE.min(target - first) {
                let number = self.streams.len() + 1;
                let connect = || -> std::io::Result<TcpStream> {
                    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
                    stream.set_read_timeout(Some(ANSWER))?;
                    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
                    stream.write_all(&request)?;
                    Ok(stream)
                };
                self.streams.push(connect().map_err(|error| format!("connection {number}: {error}"))?);
            }
            for (at, stream) in self.streams.iter_mut().enumerate().skip(first) {
                let number = at + 1;
                stream.read_exact(&mut answer).map_err(|error| format!("connection {number}: {error}"))?;
                if answer != expected {
                    return Err(format!("connection {number} got another answer"));
                }
            }
        }
        Ok(())
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    few: usize,
    many: usize,
    workers: usize,
    rounds: usize,
    only: Vec<Contestant>,
}

impl Options {
    /// Nothing beside the common options.
    pub(crate) fn read(common: Common, _: &mut Args) -> Result<Self, String> {
        let (few, many) = if common.quick { (1000, 4000) } else { (4000, 12_000) };
        Ok(Options {
            few,
            many,
            workers: common.workers.unwrap_or(2),
            rounds: common.rounds.unwrap_or(if common.quick { 1 } else { 3 }),
            only: Contestant::chosen(&common)?,
        })
    }
}

/// Runs the contest.
pub(crate) fn run(options: &Options) -> Result<Vec<Line>, String> {
    let series = || options.only.iter().map(|who| (who.name().to_string(), Vec::new())).collect();
    let line = |metric| Line {
        contest: "memory",
        name: "idle_connection".into(),
        metric,
        unit: "B",
        better: Better::Less,
        series: series(),
    };
    let (mut bytes, mut heap) = (line("bytes"), line("heap"));
    for round in 0..options.rounds {
        for turn in turns(round, options.only.len()) {
            let who = options.only[turn];
            let slope = turn_of(who, options)
                .map_err(|what| format!("{who}, idle connections, round {}: {what}", round + 1))?;
            eprintln!(
                "idle connections, round {}: {who:6} {:6.0} B, {:6.0} B of them heap",
                round + 1,
                slope.private,
                slope.heap
            );
            bytes.series[turn].1.push(slope.private);
            heap.series[turn].1.push(slope.heap);
        }
    }
    Ok(vec![bytes, heap])
}

/// The bytes of a server, or of one of its connections.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    private: f64,
    heap: f64,
}

impl Held {
    fn by(server: &mut Server) -> Result<Self, String> {
        wait_until_quiet(server.pid())?;
        let private = proc::private_dirty_kib(server.pid())
            .map_err(|error| format!("can't read the server's memory: {error}"))?;
        Ok(Held { private: private as f64 * 1024.0, heap: server.heap_bytes()? as f64 })
    }
}

/// One contestant's turn: what one more connection takes.
fn turn_of(who: Contestant, options: &Options) -> Result<Held, String> {
    let &Options { few, many, workers, .. } = options;
    let mut server = Server::start(who, workers, Job::Idle)?;
    let mut resting = Resting::new(server.port());
    resting.open(few)?;
    let before = Held::by(&mut server)?;
    resting.open(many - few)?;
    let after = Held::by(&mut server)?;
    server.check_alive()?;
    let slope = |of: fn(&Held) -> f64| (of(&after) - of(&before)) / (many - few) as f64;
    Ok(Held { private: slope(|held| held.private), heap: slope(|held| held.heap) })
}
