//! What the tests over real descriptors share.
#![allow(dead_code)]

use egret_reactor::{Event, Eventpoll, FeedChoice, Lanes};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

pub const NOW: Option<Duration> = Some(Duration::ZERO);
/// Longer than anything here takes on a loaded machine; a test that needs it has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Every feed that this machine has: `poll` always, the others unless they are refused here.
pub fn feeds() -> Vec<Lanes> {
    let mut feeds = vec![Lanes::new(FeedChoice::Poll).unwrap()];
    for choice in [FeedChoice::Aio, FeedChoice::Uring] {
        match Lanes::new(choice) {
            Ok(lanes) => feeds.push(lanes),
            Err(error) => eprintln!("{choice} is left out: {error}"),
        }
    }
    feeds
}

/// Waits and gives what came, sorted by data.
pub fn wait(poll: &Eventpoll, timeout: Option<Duration>) -> Vec<Event> {
    let mut events = [Event::default(); 64];
    let n = loop {
        match poll.wait(&mut events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result.unwrap(),
        }
    };
    let mut events = events[..n].to_vec();
    events.sort_by_key(|event| event.data);
    events
}

/// Runs `condition` until it holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

pub fn pair() -> (UnixStream, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    (near, far)
}

pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    far.set_nonblocking(true).unwrap();
    (near, far)
}
