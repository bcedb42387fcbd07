//! The contestants' servers. One process is one of them: it binds a port of the system's choice on the loopback, prints the
//! port, and serves until its stdin closes. To each line `heap` on stdin it prints the bytes its allocator has given out.
//!
//! Shared by all, so that only the runtime differs: the listener made here, TCP_NODELAY on what is accepted, and
//! [`Session`] for buffers and codec.
//!
//! Each can be written in two ways, see [`Job`]: with a buffer for the life of a connection, where every request counts, and
//! with none while a connection is idle, where memory counts.

mod egret;
mod epoll;
mod monoio;
mod smol;
mod tokio;

use crate::args::Args;
use crate::contestant::{Contestant, Job};
use crate::{machine, proc, stall};
use egret_benches::session::Session;
use socket2::{Domain, Protocol, Socket, Type};
use std::any::Any;
use std::fmt::Display;
use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

/// Length of the accept queue, for everyone: the kernel's own limit (somaxconn) since 5.4, and as many connections as the
/// largest contest opens at once. A shorter queue makes a client wait a second for its next try.
const BACKLOG: i32 = 4096;

/// Which server, with how many threads, for which job.
pub(crate) struct Options {
    pub(crate) who: Contestant,
    workers: usize,
    job: Job,
}

impl Options {
    pub(crate) fn read(mut args: Args) -> Result<Self, String> {
        let who = args.positional("a contestant")?;
        let workers = args.number("--workers")?.unwrap_or(2);
        let job = args.option("--job")?.map_or(Ok(Job::Http), |word| word.parse())?;
        args.finish()?;
        Ok(Options { who, workers, job })
    }
}

/// Serves until stdin closes.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let &Options { who, workers, job } = options;
    machine::raise_descriptor_limit()?;
    // What is dropped at the end, and where it listens.
    let (running, port): (Box<dyn Any>, u16) = if who == Contestant::Monoio {
        (Box::new(()), monoio::serve(workers, job)?)
    } else {
        let listener = listener()?;
        let port = listener.local_addr()?.port();
        let running: Box<dyn Any> = match who {
            Contestant::Egret => Box::new(egret::serve(listener, egret::builder(workers), job)?),
            Contestant::EgretOff => {
                Box::new(egret::serve(listener, egret::builder(workers).stall_watch(None), job)?)
            }
            Contestant::Tokio => Box::new(tokio::serve(listener, workers, job)?),
            Contestant::Smol => Box::new(smol::serve(listener, workers, job)?),
            Contestant::Epoll => Box::new(epoll::serve(listener, workers, job)?),
            Contestant::Monoio => unreachable!("it has listeners of its own"),
        };
        (running, port)
    };
    say(port)?;
    for line in io::stdin().lock().lines() {
        match line?.as_str() {
            "heap" => say(proc::heap_bytes().map_or("unknown".into(), |bytes| bytes.to_string()))?,
            other => return Err(io::Error::other(format!("don't know what to do with `{other}`"))),
        }
    }
    drop(running);
    Ok(())
}

fn say(line: impl Display) -> io::Result<()> {
    println!("{line}");
    io::stdout().flush()
}

/// The listening socket: nonblocking, SO_REUSEADDR, the same backlog for everyone.
fn listener() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The session of a fresh connection, for the jobs in which it has one for life.
fn session(job: Job) -> Session {
    match job {
        Job::Http | Job::Idle => Session::new(),
        Job::Stall => Session::with_handler(stall::handle),
    }
}

/// Ends the process: a contestant that can't accept or poll has lost, and the contest should say so at once.
fn fail(what: &str, error: impl Display) -> ! {
    eprintln!("{what}: {error}");
    std::process::exit(1);
}
