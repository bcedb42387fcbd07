//! The limit: the kernel's epoll and nothing else, one instance and one loop a thread. What a runtime adds is measured
//! against this.
//!
//! - Thread 0 accepts for all and deals the connections out in turn: the threads' shares are equal, which neither SO_REUSEPORT
//!   (it hashes) nor EPOLLEXCLUSIVE (whoever wakes first) gives, and a contest of a few seconds has few accepts.
//! - Edge-triggered, registered once for both directions. A short read means drained, so a request costs one read, one write,
//!   and its share of an epoll_wait. Level-triggered would have the kernel poll every reported socket once more.

use super::{fail, session};
use crate::contestant::Job;
use egret_benches::session::Pooled;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Events taken by one epoll_wait: tokio's default.
const EVENTS: usize = 1024;

/// What reports the end of a connection, or that it is near: read on until it is seen.
const HUNG_UP: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;

pub(super) fn serve(listener: TcpListener, workers: usize, job: Job) -> io::Result<Arc<[Worker]>> {
    let all: Arc<[Worker]> = (0..workers).map(|_| Worker::new()).collect::<io::Result<_>>()?;
    // Level-triggered: the accept loop may stop anywhere.
    all[0].epoll.add(listener.as_fd(), libc::EPOLLIN as u32)?;
    let mut listener = Some(listener);
    for index in 0..workers {
        let (all, listener) = (Arc::clone(&all), listener.take());
        thread::Builder::new()
            .name(format!("epoll-{index}"))
            .spawn(move || work(&all, index, listener, job))?;
    }
    Ok(all)
}

/// One thread's instance, and the connections that were dealt to it but haven't had an event yet.
pub(super) struct Worker {
    epoll: Epoll,
    dealt: Mutex<HashMap<RawFd, TcpStream>>,
}

impl Worker {
    fn new() -> io::Result<Self> {
        Ok(Worker { epoll: Epoll::new()?, dealt: Mutex::default() })
    }

    fn deal(&self, stream: TcpStream) -> io::Result<()> {
        let fd = stream.as_raw_fd();
        // Into the table first: the event may come at once.
        let mut dealt = self.dealt.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = dealt.entry(fd).insert_entry(stream);
        let both = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
        self.epoll.add(stream.get().as_fd(), both)
    }
}

fn work(all: &[Worker], index: usize, listener: Option<TcpListener>, job: Job) {
    let listening = listener.as_ref().map(AsRawFd::as_raw_fd);
    let mut next = 0;
    // By descriptor number, as the events come.
    let mut conns: Vec<Option<Box<Conn>>> = Vec::new();
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    loop {
        let count = match all[index].epoll.wait(&mut events) {
            Ok(count) => count,
            Err(error) => fail("epoll_wait", error),
        };
        for event in &events[..count] {
            let (fd, bits) = (event.u64 as RawFd, event.events);
            if Some(fd) == listening {
                if let Err(error) = listener.iter().try_for_each(|listener| accept(listener, all, &mut next))
                {
                    fail("accept", error);
                }
                continue;
            }
            let slot = fd as usize;
            if conns.len() <= slot {
                conns.resize_with(slot + 1, || None);
            }
            let conn = conns[slot].get_or_insert_with(|| {
                let dealt = all[index].dealt.lock().unwrap_or_else(PoisonError::into_inner).remove(&fd);
                let dealt = dealt.unwrap_or_else(|| fail("epoll", "an event for nobody's descriptor"));
                Box::new(Conn::new(dealt, job))
            });
            // A connection's error ends the connection; the client sees it and counts it.
            if !matches!(conn.drive(bits), Ok(true)) {
                conns[slot] = None;
            }
        }
    }
}

/// Accepts until there is nobody left, and deals out in turn.
fn accept(listener: &TcpListener, all: &[Worker], next: &mut usize) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                all[*next % all.len()].deal(stream)?;
                *next += 1;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

struct Conn {
    stream: TcpStream,
    /// Kept for life, or only while there is something to do; see `pooled`.
    session: Option<Pooled>,
    pooled: bool,
    /// How much of the session's output is written.
    written: usize,
    /// Something may be there to read.
    readable: bool,
    /// The end was reported, so a short read isn't the last.
    hung_up: bool,
}

impl Conn {
    fn new(stream: TcpStream, job: Job) -> Self {
        let pooled = job == Job::Idle;
        let session = (!pooled).then(|| session(job).into());
        Conn { stream, session, pooled, written: 0, readable: false, hung_up: false }
    }

    /// Reads and writes as far as it goes; `false` if the connection has ended.
    fn drive(&mut self, bits: u32) -> io::Result<bool> {
        self.hung_up |= bits & HUNG_UP != 0;
        self.readable |= bits & (libc::EPOLLIN as u32 | HUNG_UP) != 0;
        let session = self.session.get_or_insert_with(Pooled::take);
        loop {
            while self.written < session.output().len() {
                match self.stream.write(&session.output()[self.written..]) {
                    Ok(count) => self.written += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                    Err(error) => return Err(error),
                }
            }
            if session.closes() {
                return Ok(false);
            }
            if !self.readable {
                if self.pooled && session.at_rest() {
                    self.session = None;
                    self.written = 0;
                }
                return Ok(true);
            }
            let space = session.space();
            let room = space.len();
            match self.stream.read(space) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.readable = count == room || self.hung_up;
                    session.received(count);
                    self.written = 0;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) => return Err(error),
            }
        }
    }
}

struct Epoll(OwnedFd);

impl Epoll {
    fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above made the descriptor for us, and nobody else has it.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Adds `fd` with its number for data. It leaves when it is closed.
    fn add(&self, fd: BorrowedFd<'_>, bits: u32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: bits, u64: fd.as_raw_fd() as u64 };
        // SAFETY: `event` is valid for the call, both descriptors are open during it.
        let result =
            unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn wait(&self, events: &mut [libc::epoll_event]) -> io::Result<usize> {
        loop {
            // SAFETY: the pointer and the length are one slice's, which the kernel may overwrite.
            let count =
                unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), events.len() as i32, -1) };
            if count >= 0 {
                return Ok(count as usize);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}
