//! The classic server: one thread, one loop, no async. Sends back what it receives.
//!
//! ```text
//! cargo run --release -p egret-reactor --example event_loop -- --port 7777
//! ```
//!
//! What to take from it:
//! * A connection is edge-triggered and registered once, for everything. Whatever the event, it is driven on until a call
//!   would block: so events may come too often, or for a connection that is gone, and do no harm. (A short read nearly always
//!   means that the next would block. Not at the mark of urgent data, so it isn't relied on.)
//! * A peer that doesn't read is not read from: at most one buffer of its answer waits for it.
//! * A peer that never stops gives way to the others after a while: `modify` looks at it anew and puts it at the end of the line.
//! * The listener is one-shot: it is armed again after each batch of accepts, which asks it anew, so nothing is missed. Without
//!   descriptors it simply stays unarmed until a connection ends.
//! * What ends the loop is a source as well, one in memory: no pipe, no signal, no descriptor.

use egret_reactor::{Counter, Event, Eventpoll, Events, Fd};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// What events are for; every other number is a connection's. No number is used twice, so an event that comes too late finds
/// nobody.
const LISTENER: u64 = u64::MAX;
const STOP: u64 = u64::MAX - 1;

const ACCEPTING: Events = Events::IN.union(Events::ONESHOT);
const EVERYTHING: Events = Events::IN.union(Events::OUT).union(Events::RDHUP).union(Events::ET);

/// How much is read at once. A guess.
const BUFFER: usize = 16 * 1024;
/// After so many buffers it is the others' turn, after so many accepts the connections'. Guesses.
const TURN: usize = 16;
const ACCEPTS: usize = 64;
/// Without descriptors or memory: how long until accept is tried again although no connection of ours ended.
const SHORTAGE: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let port = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Some(7777),
        ["--port", port] => port.parse().ok(),
        _ => None,
    };
    let Some(port) = port else {
        eprintln!("usage: event_loop [--port NUMBER]   (0: any free one)");
        return ExitCode::from(2);
    };
    if let Err(error) = serve(port) {
        eprintln!("event_loop: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn serve(port: u16) -> io::Result<()> {
    let server = Server::bind((Ipv4Addr::LOCALHOST, port).into())?;
    println!("listening on {}; the word stop ends it", server.local_addr()?);
    let stop = server.stop_handle();
    thread::spawn(move || {
        if io::stdin().lines().map_while(Result::ok).any(|line| line == "stop") {
            stop.write(1).expect("a counter with room for one more");
        }
    });
    server.run()
}

pub(crate) struct Server {
    poll: Eventpoll,
    listener: Arc<Fd<TcpListener>>,
    stop: Arc<Counter>,
    connections: HashMap<u64, Connection>,
    next: u64,
    /// There was no descriptor: the listener is not armed until then.
    accept_at: Option<Instant>,
}

impl Server {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = Arc::new(Fd::new(listener)?);
        let stop = Arc::new(Counter::new(0));
        let poll = Eventpoll::new()?;
        poll.add(&listener, 0, ACCEPTING, LISTENER)?;
        poll.add(&stop, 0, Events::IN, STOP)?;
        Ok(Self { poll, listener, stop, connections: HashMap::new(), next: 0, accept_at: None })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.get_ref().local_addr()
    }

    /// Ends the server when something is written to it, from whatever thread.
    pub(crate) fn stop_handle(&self) -> Arc<Counter> {
        self.stop.clone()
    }

    /// The loop. Ends when it is told to stop, or when the listener can't be used any more.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = [Event::default(); 256];
        let mut buffer = vec![0; BUFFER];
        loop {
            let timeout = self.accept_at.map(|at| at.saturating_duration_since(Instant::now()));
            let ready = match self.poll.wait(&mut events, timeout) {
                Ok(count) => &events[..count],
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for event in ready {
                match event.data {
                    STOP => return Ok(()),
                    LISTENER => self.accept()?,
                    key => self.drive(key, &mut buffer),
                }
            }
            if self.accept_at.is_some_and(|at| Instant::now() >= at) {
                self.resume_accepting();
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..ACCEPTS {
            match self.listener.get_ref().accept() {
                Ok((stream, peer)) => {
                    // This one can't be served (no memory, or as many interests as are allowed); the others can.
                    self.welcome(stream).unwrap_or_else(|error| eprintln!("event_loop: {peer}: {error}"));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        self.accept_at = Some(Instant::now() + SHORTAGE);
                        return Ok(());
                    }
                    // The listener itself is no good.
                    Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP) => {
                        return Err(error);
                    }
                    // It broke while it waited to be accepted.
                    _ => {}
                },
            }
        }
        self.resume_accepting();
        Ok(())
    }

    /// Arms the listener again; if somebody waits to be accepted it fires at once.
    fn resume_accepting(&mut self) {
        let armed = self.poll.modify(&self.listener, 0, ACCEPTING, LISTENER);
        self.accept_at = armed.is_err().then(|| Instant::now() + SHORTAGE);
    }

    fn welcome(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let stream = Arc::new(Fd::new(stream)?);
        // What is there already is an edge too.
        self.poll.add(&stream, 0, EVERYTHING, self.next)?;
        self.connections.insert(self.next, Connection { stream, unsent: Vec::new() });
        self.next += 1;
        Ok(())
    }

    fn drive(&mut self, key: u64, buffer: &mut [u8]) {
        // None: it ended earlier in this batch.
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let goes_on = match connection.drive(buffer) {
            Ok(Progress::Blocked) => true,
            // No edge would tell of it again.
            Ok(Progress::Unfinished) => self.poll.modify(&connection.stream, 0, EVERYTHING, key).is_ok(),
            // Reset, or gone: that is the peer's affair.
            Ok(Progress::Ended) | Err(_) => false,
        };
        if !goes_on {
            // Closes it, and with its last reference goes the interest.
            self.connections.remove(&key);
            if self.accept_at.is_some() {
                self.resume_accepting();
            }
        }
    }
}

struct Connection {
    stream: Arc<Fd<TcpStream>>,
    /// What the peer didn't take yet: less than a buffer. Nothing is read as long as there is something.
    unsent: Vec<u8>,
}

enum Progress {
    /// Until the next edge.
    Blocked,
    Unfinished,
    /// The peer has sent everything and got everything.
    Ended,
}

impl Connection {
    fn drive(&mut self, buffer: &mut [u8]) -> io::Result<Progress> {
        let mut stream = self.stream.get_ref();
        for _ in 0..TURN {
            let sent = send(stream, &self.unsent)?;
            self.unsent.drain(..sent);
            if !self.unsent.is_empty() {
                return Ok(Progress::Blocked);
            }
            match stream.read(buffer) {
                Ok(0) => return Ok(Progress::Ended),
                Ok(received) => {
                    let sent = send(stream, &buffer[..received])?;
                    self.unsent.extend_from_slice(&buffer[sent..received]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Progress::Unfinished)
    }
}

/// Sends until everything is sent or it would block; returns how much that was.
fn send(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(more) => sent += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
