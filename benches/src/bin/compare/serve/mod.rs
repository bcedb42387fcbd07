//! The contestants' servers. One process is one of them: it binds a port of the system's choice on the loopback, prints the
//! port, and serves until its stdin closes.
//!
//! Shared by all, so that only the runtime differs: the listener made here, TCP_NODELAY on what is accepted, and
//! [`Session`](egret_benches::session::Session) for buffers and codec.

mod egret;
mod epoll;
mod smol;
mod tokio;

use crate::contestant::Contestant;
use crate::machine;
use socket2::{Domain, Protocol, Socket, Type};
use std::any::Any;
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

/// Length of the accept queue: tokio's `TcpListener::bind` has 1024.
const BACKLOG: i32 = 1024;

/// Serves as `who` with `workers` threads until stdin closes.
pub(crate) fn run(who: Contestant, workers: usize) -> io::Result<()> {
    machine::raise_descriptor_limit()?;
    let listener = listener()?;
    let port = listener.local_addr()?.port();
    let running: Box<dyn Any> = match who {
        Contestant::Egret => Box::new(egret::serve(listener, workers)?),
        Contestant::Tokio => Box::new(tokio::serve(listener, workers)?),
        Contestant::Smol => Box::new(smol::serve(listener, workers)?),
        Contestant::Epoll => Box::new(epoll::serve(listener, workers)?),
    };
    println!("{port}");
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(running);
    Ok(())
}

/// The listening socket: nonblocking, SO_REUSEADDR, the same backlog for everyone.
fn listener() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Ends the process: a contestant that can't accept or poll has lost, and the contest should say so at once.
fn fail(what: &str, error: impl Display) -> ! {
    eprintln!("{what}: {error}");
    std::process::exit(1);
}
