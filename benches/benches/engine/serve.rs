//! 64 ready sockets, served as a server does: one wait, one recv and one send each.
//!
//! In `serve64_<feed>` clients and server are one thread: the clients send 64 requests, the server waits and answers, the
//! clients read 64 answers. What an arrival costs is paid where it arrives, in the client's send (epoll's callback there,
//! io_uring's and its completion here), so the time is taken over the whole turn. What the clients need
//! without any engine is measured beside it (`clients`), and so is everything without an engine (`bare`):
//!
//! ```text
//!   a server's time = the turn - clients      readiness alone = the turn - bare
//! ```
//!
//! In `serve64_<feed>_handed` the clients are a thread on another processor. The server is busy (it spins, which isn't
//! counted) until 64 requests are sent: all of them are ready when it looks, and what the engine does for an arrival is done
//! where it is done under load, partly in the sender's call and partly in the server's thread. Both are counted: the clients'
//! sends, and the server from its look to the last answer.
//!
//! In `serve64_<feed>_threads` the clients are a thread of their own, and the server blocks when there is nothing to do. How
//! many are ready at once is then a matter of luck, but both threads' work is as in life: once the server's thread is
//! measured, and once both.

use crate::entry::{Entry, Group, Ratio};
use crate::kernel::{process_cpu, stay_on, thread_cpu};
use crate::sockets::{Bare, Cached, Exact, Kernel, Pairs, Readiness};
use egret::reactor::{FeedChoice, Lane, Lanes};
use std::hint::spin_loop;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

const SOCKETS: usize = 64;
/// A small request with its headers, and an answer like it.
const MESSAGE: [u8; 128] = [b'x'; 128];

/// Groups for each feed that can be had here. Clients that are threads run on that processor.
pub(crate) fn groups(clients: usize) -> Vec<Group> {
    let feeds = [
        (FeedChoice::Uring, "serve64_uring", "serve64_uring_handed", "serve64_uring_threads"),
        (FeedChoice::Aio, "serve64_aio", "serve64_aio_handed", "serve64_aio_threads"),
        (FeedChoice::Poll, "serve64_poll", "serve64_poll_handed", "serve64_poll_threads"),
    ];
    let mut groups = Vec::new();
    for (feed, alone, handed, threads) in feeds {
        match Lanes::new(feed) {
            Ok(_) => {
                groups.extend([
                    one_thread(feed, alone),
                    handed_over(feed, handed, clients),
                    two_threads(feed, threads, clients),
                ]);
            }
            Err(error) => println!("SKIPPED {alone}: {error}"),
        }
    }
    groups
}

fn one_thread(feed: FeedChoice, name: &'static str) -> Group {
    let mut entries = vec![
        served("cached", Some(feed), Cached::new),
        served("epoll", None, |_, server| Kernel::new(server)),
        served("bare", None, |_, server| Bare(server)),
        clients_alone("clients"),
    ];
    let mut contestants = vec!["cached"];
    // Where edges are not exact a source that stays writable is told late, and what is measured is that wait.
    if feed == FeedChoice::Uring {
        entries.push(served("exact", Some(feed), Exact::new));
        contestants.push("exact");
    }
    let ratios = contestants
        .into_iter()
        .flat_map(|entry| {
            [
                Ratio::new(format!("{name} {entry} cpu egret/epoll"), entry, "epoll").without("clients"),
                Ratio::new(format!("{name} {entry} readiness alone egret/epoll"), entry, "epoll")
                    .without("bare"),
            ]
        })
        .collect();
    Group { name, entries, ratios }
}

fn handed_over(feed: FeedChoice, name: &'static str, clients: usize) -> Group {
    let mut entries = vec![
        handed("cached", clients, Some(feed), Cached::new),
        handed("epoll", clients, None, |_, server| Kernel::new(server)),
        handed("bare", clients, None, |_, server| Bare(server)),
    ];
    let mut contestants = vec!["cached"];
    if feed == FeedChoice::Uring {
        entries.push(handed("exact", clients, Some(feed), Exact::new));
        contestants.push("exact");
    }
    let ratios = contestants
        .into_iter()
        .flat_map(|entry| {
            [
                Ratio::new(format!("{name} {entry} cpu egret/epoll"), entry, "epoll"),
                Ratio::new(format!("{name} {entry} readiness alone egret/epoll"), entry, "epoll")
                    .without("bare"),
            ]
        })
        .collect();
    Group { name, entries, ratios }
}

fn two_threads(feed: FeedChoice, name: &'static str, clients: usize) -> Group {
    Group {
        name,
        entries: vec![
            served_to_thread("cached_server", clients, thread_cpu, Some(feed), Cached::new),
            served_to_thread("epoll_server", clients, thread_cpu, None, |_, server| Kernel::new(server)),
            served_to_thread("cached_both", clients, process_cpu, Some(feed), Cached::new),
            served_to_thread("epoll_both", clients, process_cpu, None, |_, server| Kernel::new(server)),
        ],
        ratios: vec![
            Ratio::new(
                format!("{name} cached cpu of the server's thread egret/epoll"),
                "cached_server",
                "epoll_server",
            ),
            Ratio::new(format!("{name} cached cpu of both threads egret/epoll"), "cached_both", "epoll_both"),
        ],
    }
}

/// A server, and what it is measured in: with a feed this thread owns a lane while it serves, as a runtime's worker does.
struct Server<R> {
    lane: Option<Lane>,
    readiness: R,
    ready: Vec<usize>,
    buffer: [u8; 4096],
}

impl<R: Readiness> Server<R> {
    fn new(feed: Option<FeedChoice>, make: fn(&Lanes, Vec<TcpStream>) -> R, sockets: Vec<TcpStream>) -> Self {
        let lanes = Lanes::new(feed.unwrap_or(FeedChoice::Poll)).expect("it could be had a moment ago");
        let lane = feed.map(|_| lanes.add_lane().expect("a lane"));
        let readiness = {
            let _owner = lane.as_ref().map(Lane::enter);
            make(&lanes, sockets)
        };
        Self { lane, readiness, ready: Vec::new(), buffer: [0; 4096] }
    }

    /// Until so many requests are answered. (Loopback may deliver a moment late when the machine is busy.)
    fn answer(&mut self, mut requests: u64, block: bool) {
        while requests > 0 {
            self.readiness.look(block, &mut self.ready);
            for socket in self.ready.drain(..) {
                match self.readiness.receive(socket, &mut self.buffer) {
                    0 => continue, // writable, not readable
                    received => assert_eq!(received, MESSAGE.len()),
                }
                let sent = self.readiness.stream(socket).write(&MESSAGE).expect("an answer is sent");
                assert_eq!(sent, MESSAGE.len());
                requests -= 1;
            }
        }
    }
}

fn served<R: Readiness + 'static>(
    name: &'static str,
    feed: Option<FeedChoice>,
    make: fn(&Lanes, Vec<TcpStream>) -> R,
) -> Entry {
    Entry::new(name, move || {
        let Pairs { clients, server } = Pairs::connect(SOCKETS);
        let mut server = Server::new(feed, make, server);
        move |turns| {
            let lane = server.lane.clone();
            let _owner = lane.as_ref().map(Lane::enter);
            let start = thread_cpu();
            for _ in 0..turns {
                ask(&clients);
                server.answer(SOCKETS as u64, false);
                read_answers(&clients);
            }
            thread_cpu() - start
        }
    })
}

/// The clients' part of such turns, without any engine.
fn clients_alone(name: &'static str) -> Entry {
    Entry::new(name, || {
        let Pairs { clients, server } = Pairs::connect(SOCKETS);
        let mut server = Server::new(None, |_, server| Bare(server), server);
        move |turns| {
            let mut took = Duration::ZERO;
            for _ in 0..turns {
                let start = thread_cpu();
                ask(&clients);
                let asked = thread_cpu();
                server.answer(SOCKETS as u64, false);
                let answered = thread_cpu();
                read_answers(&clients);
                took += asked - start + (thread_cpu() - answered);
            }
            took
        }
    })
}

fn handed<R: Readiness + 'static>(
    name: &'static str,
    processor: usize,
    feed: Option<FeedChoice>,
    make: fn(&Lanes, Vec<TcpStream>) -> R,
) -> Entry {
    Entry::new(name, move || {
        let Pairs { clients, server } = Pairs::connect(SOCKETS);
        let mut server = Server::new(feed, make, server);
        let (order, orders) = mpsc::channel();
        let asked = Arc::new(AtomicU64::new(NOT_YET));
        let asking = asked.clone();
        // It ends with the entry, which drops `order`.
        thread::spawn(move || {
            stay_on(processor);
            // An order to ask, then an order to read.
            while orders.recv().is_ok() {
                let start = thread_cpu();
                ask(&clients);
                asking.store((thread_cpu() - start).as_nanos() as u64, Ordering::Release);
                if orders.recv().is_err() {
                    return;
                }
                read_answers(&clients);
            }
        });
        move |turns| {
            let lane = server.lane.clone();
            let _owner = lane.as_ref().map(Lane::enter);
            let mut took = Duration::ZERO;
            for _ in 0..turns {
                order.send(()).expect("the clients live as long as the entry");
                took += loop {
                    match asked.swap(NOT_YET, Ordering::Acquire) {
                        NOT_YET => spin_loop(),
                        nanoseconds => break Duration::from_nanos(nanoseconds),
                    }
                };
                let start = thread_cpu();
                server.answer(SOCKETS as u64, false);
                took += thread_cpu() - start;
                order.send(()).expect("the clients live as long as the entry");
            }
            took
        }
    })
}

/// In place of what the clients' sends took.
const NOT_YET: u64 = u64::MAX;

fn served_to_thread<R: Readiness + 'static>(
    name: &'static str,
    processor: usize,
    clock: fn() -> Duration,
    feed: Option<FeedChoice>,
    make: fn(&Lanes, Vec<TcpStream>) -> R,
) -> Entry {
    Entry::new(name, move || {
        let Pairs { clients, server } = Pairs::connect(SOCKETS);
        let mut server = Server::new(feed, make, server);
        let (order, orders) = mpsc::channel();
        let (report, reports) = mpsc::channel();
        // It ends with the entry, which drops `order`.
        thread::spawn(move || {
            stay_on(processor);
            for turns in orders {
                for _ in 0..turns {
                    ask(&clients);
                    read_answers(&clients);
                }
                report.send(()).expect("the entry waits");
            }
        });
        move |turns| {
            let lane = server.lane.clone();
            let _owner = lane.as_ref().map(Lane::enter);
            let start = clock();
            order.send(turns).expect("the clients live as long as the entry");
            server.answer(turns * SOCKETS as u64, true);
            reports.recv().expect("they have their answers");
            clock() - start
        }
    })
}

fn ask(clients: &[TcpStream]) {
    for mut client in clients {
        client.write_all(&MESSAGE).expect("a request is sent");
    }
}

fn read_answers(clients: &[TcpStream]) {
    let mut buffer = [0; MESSAGE.len()];
    for mut client in clients {
        client.read_exact(&mut buffer).expect("an answer");
    }
}
