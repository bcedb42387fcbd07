//! Pairs of sockets, and the ways to learn which of them are readable: [`Readiness`].

use crate::kernel::{Epoll, NO_EVENT};
use egret::reactor::{CachedFd, Event, Eventpoll, Events, Fd, Lanes};
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// A way to learn which sockets are readable, and to read them.
pub(crate) trait Readiness {
    /// Adds the numbers of those that are told of: waits for one, or looks once.
    fn look(&mut self, block: bool, ready: &mut Vec<usize>);

    /// Zero if there is nothing to read.
    fn receive(&mut self, socket: usize, buffer: &mut [u8]) -> usize {
        receive(self.stream(socket), buffer)
    }

    fn stream(&self, socket: usize) -> &TcpStream;
}

fn receive(mut stream: &TcpStream, buffer: &mut [u8]) -> usize {
    match stream.read(buffer) {
        Ok(received) => {
            assert_ne!(received, 0, "the clients stay");
            received
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("recv: {error}"),
    }
}

/// Connections over loopback.
pub(crate) struct Pairs {
    pub(crate) clients: Vec<TcpStream>,
    /// Nonblocking.
    pub(crate) server: Vec<TcpStream>,
}

impl Pairs {
    pub(crate) fn connect(count: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (mut clients, mut server) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let client = TcpStream::connect(address).expect("a connection");
            let (accepted, _) = listener.accept().expect("its other end");
            client.set_nodelay(true).expect("nodelay");
            accepted.set_nodelay(true).expect("nodelay");
            accepted.set_nonblocking(true).expect("nonblocking");
            clients.push(client);
            server.push(accepted);
        }
        Self { clients, server }
    }
}

/// Nobody tells: all of them are tried.
pub(crate) struct Bare(pub(crate) Vec<TcpStream>);

impl Readiness for Bare {
    fn look(&mut self, _block: bool, ready: &mut Vec<usize>) {
        ready.extend(0..self.0.len());
    }

    fn stream(&self, socket: usize) -> &TcpStream {
        &self.0[socket]
    }
}

/// The kernel's epoll, edge-triggered, registered once for both directions: as tokio does.
pub(crate) struct Kernel {
    epoll: Epoll,
    events: [libc::epoll_event; 1024],
    streams: Vec<TcpStream>,
}

impl Kernel {
    pub(crate) fn new(streams: Vec<TcpStream>) -> Self {
        let epoll = Epoll::new();
        for (stream, data) in streams.iter().zip(0..) {
            let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
            epoll.add(stream.as_fd(), interest, data);
        }
        Self { epoll, events: [NO_EVENT; 1024], streams }
    }
}

impl Readiness for Kernel {
    fn look(&mut self, block: bool, ready: &mut Vec<usize>) {
        let count = self.epoll.wait(&mut self.events, block);
        ready.extend(self.events[..count].iter().map(|event| event.u64 as usize));
    }

    fn stream(&self, socket: usize) -> &TcpStream {
        &self.streams[socket]
    }
}

/// The same interest.
const EDGES: Events = Events::IN.union(Events::OUT).union(Events::RDHUP).union(Events::ET);

/// egret as its runtime uses it: readiness is remembered, and taken back when a read was short.
pub(crate) struct Cached {
    poll: Eventpoll,
    events: [Event; 1024],
    fds: Vec<Arc<CachedFd>>,
    streams: Vec<TcpStream>,
}

impl Cached {
    pub(crate) fn new(lanes: &Lanes, streams: Vec<TcpStream>) -> Self {
        let poll = Eventpoll::with_lanes(lanes);
        let fds: Vec<_> =
            streams.iter().map(|stream| CachedFd::new(stream.try_clone().expect("dup").into())).collect();
        for (fd, data) in fds.iter().zip(0..) {
            poll.add(fd, 0, EDGES, data).expect("add");
        }
        Self { poll, events: [Event::default(); 1024], fds, streams }
    }
}

impl Readiness for Cached {
    fn look(&mut self, block: bool, ready: &mut Vec<usize>) {
        look(&self.poll, block, &mut self.events, ready);
    }

    fn receive(&mut self, socket: usize, buffer: &mut [u8]) -> usize {
        let seen = self.fds[socket].readiness();
        if !seen.events.contains(Events::IN) {
            return 0;
        }
        let received = receive(&self.streams[socket], buffer);
        if received < buffer.len() {
            self.fds[socket].clear(seen, Events::IN);
        }
        received
    }

    fn stream(&self, socket: usize) -> &TcpStream {
        &self.streams[socket]
    }
}

/// egret as a program without a runtime uses it: each delivery asks the kernel once more.
pub(crate) struct Exact {
    poll: Eventpoll,
    events: [Event; 1024],
    fds: Vec<Arc<Fd<TcpStream>>>,
}

impl Exact {
    pub(crate) fn new(lanes: &Lanes, streams: Vec<TcpStream>) -> Self {
        let poll = Eventpoll::with_lanes(lanes);
        let fds: Vec<_> =
            streams.into_iter().map(|stream| Arc::new(Fd::new(stream).expect("a socket"))).collect();
        for (fd, data) in fds.iter().zip(0..) {
            poll.add(fd, 0, EDGES, data).expect("add");
        }
        Self { poll, events: [Event::default(); 1024], fds }
    }
}

impl Readiness for Exact {
    fn look(&mut self, block: bool, ready: &mut Vec<usize>) {
        look(&self.poll, block, &mut self.events, ready);
    }

    fn stream(&self, socket: usize) -> &TcpStream {
        self.fds[socket].get_ref()
    }
}

fn look(poll: &Eventpoll, block: bool, events: &mut [Event], ready: &mut Vec<usize>) {
    let timeout = if block { None } else { Some(Duration::ZERO) };
    let count = poll.wait(events, timeout).expect("wait");
    ready.extend(events[..count].iter().map(|event| event.data as usize));
}
