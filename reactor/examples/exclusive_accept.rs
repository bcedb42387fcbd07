//! One listener, many threads: each has an instance of its own and watches the listener exclusively, so that a connection wakes
//! one of them and not all.
//!
//! ```text
//! cargo run --release -p egret-reactor --example exclusive_accept -- --threads 4 --connections 1000
//! ```
//!
//! It makes its own clients, prints how many connections each thread took and how often one was woken for nothing, and ends.
//!
//! What to expect is what the kernel's `EPOLLEXCLUSIVE` gives: every connection is taken once, and hardly a wake-up is in vain.
//! The shares are whatever comes of it: a wake-up goes to the first exclusive interest whose instance didn't know yet that
//! there is something, so a thread that is free takes what a busy one would have to leave, and nobody counts.

use egret_reactor::{Counter, Event, Eventpoll, Events, Fd};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const LISTENER: u64 = 0;
const STOP: u64 = 1;

/// Clients that connect at the same time: less than the listener's backlog (128 in std), so that none is refused.
const CLIENTS: usize = 16;
/// How long a client waits to be taken. A guess.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let Some((threads, connections)) = arguments(std::env::args().skip(1)) else {
        eprintln!(
            "usage: exclusive_accept [--threads NUMBER] [--connections NUMBER]   (at least one thread)"
        );
        return ExitCode::from(2);
    };
    match run(threads, connections) {
        Ok(shares) => {
            for (thread, share) in shares.iter().enumerate() {
                println!("thread {thread}: {} connections, woken {} times in vain", share.taken, share.vain);
            }
            let total: usize = shares.iter().map(|share| share.taken).sum();
            println!("total: {total} of {connections}");
            if total == connections { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("exclusive_accept: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut words: impl Iterator<Item = String>) -> Option<(usize, usize)> {
    let (mut threads, mut connections) = (4, 1_000);
    while let Some(word) = words.next() {
        let number = words.next()?.parse().ok()?;
        match word.as_str() {
            "--threads" if number > 0 => threads = number,
            "--connections" => connections = number,
            _ => return None,
        }
    }
    Some((threads, connections))
}

/// What a thread had of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share {
    pub(crate) taken: usize,
    pub(crate) vain: usize,
}

/// Accepts so many connections with so many threads.
pub(crate) fn run(threads: usize, connections: usize) -> io::Result<Vec<Share>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = Arc::new(Fd::new(listener)?);
    let stop = Arc::new(Counter::new(0));

    thread::scope(|scope| {
        // A thread that can't be started is an error and no panic: a panic here would wait for the other acceptors, for ever.
        let acceptors: io::Result<Vec<_>> = (0..threads)
            .map(|_| {
                let (listener, stop) = (&listener, &stop);
                thread::Builder::new().spawn_scoped(scope, move || accept(listener, stop))
            })
            .collect();
        let made = acceptors.and_then(|acceptors| {
            make_connections(address, connections)?;
            Ok(acceptors)
        });
        // Level-triggered and never read: every thread sees it.
        stop.write(1)?;
        made?.into_iter().map(|acceptor| acceptor.join().expect("no panic")).collect()
    })
}

fn accept(listener: &Arc<Fd<TcpListener>>, stop: &Arc<Counter>) -> io::Result<Share> {
    let poll = Eventpoll::new()?;
    // Level-triggered: one connection a turn, and the instance looks again whether there is another.
    poll.add(listener, 0, Events::IN | Events::EXCLUSIVE, LISTENER)?;
    poll.add(stop, 0, Events::IN, STOP)?;
    let mut share = Share::default();
    let mut events = [Event::default(); 4];
    loop {
        let ready = match poll.wait(&mut events, None) {
            Ok(count) => &events[..count],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for event in ready {
            if event.data == STOP {
                return Ok(share);
            }
            match listener.get_ref().accept() {
                Ok((stream, _)) => {
                    share.taken += 1;
                    greet(stream);
                }
                // Another thread was faster.
                Err(error) if error.kind() == ErrorKind::WouldBlock => share.vain += 1,
                // It broke while it waited to be accepted.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The client goes when it has its letter. If it went before, that is its affair.
fn greet(mut stream: TcpStream) {
    if let Err(error) = stream.write_all(b"!") {
        eprintln!("exclusive_accept: a client: {error}");
    }
}

/// Connects so many times, and sees that each connection was taken.
fn make_connections(address: SocketAddr, connections: usize) -> io::Result<()> {
    let started = AtomicUsize::new(0);
    let client = || {
        while started.fetch_add(1, Ordering::Relaxed) < connections {
            let mut stream = TcpStream::connect(address)?;
            // Should every acceptor have failed, nobody answers.
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.read_exact(&mut [0])?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let clients: io::Result<Vec<_>> =
            (0..CLIENTS).map(|_| thread::Builder::new().spawn_scoped(scope, client)).collect();
        clients?.into_iter().try_for_each(|client| client.join().expect("no panic"))
    })
}
