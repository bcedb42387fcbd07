//! What the tests share: a runtime, a bound on everything, and a random generator that can be repeated.
#![allow(dead_code)] // every test binary takes what it needs

#[path = "../../../tests/support/watchdog.rs"]
mod watchdog;

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use egret_executor::Runtime;
use egret_net::{TcpListener, TcpStream};
#[allow(unused_imports)] // as above
pub use watchdog::Watchdog;

/// Within this everything on loopback has happened, on a loaded machine, too.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A runtime with two workers.
pub fn runtime() -> Runtime {
    egret_executor::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime can be made")
}

/// Runs a test's future on a fresh runtime, within [`PATIENCE`].
#[track_caller]
pub fn run<F: Future>(test: F) -> F::Output {
    run_for(PATIENCE, test)
}

/// The same with a bound of its own, and a watchdog for hangs that the runtime's own timeout doesn't end.
#[track_caller]
pub fn run_for<F: Future>(limit: Duration, test: F) -> F::Output {
    let _watchdog = Watchdog::new(limit + PATIENCE);
    runtime().block_on(egret_executor::time::timeout(limit, test)).expect("the test ends in time")
}

/// A listener on loopback and its address.
pub async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Two ends of one connection: connected, accepted.
pub async fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listener().await;
    let connected = TcpStream::connect(address).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    (connected, accepted)
}

/// Our end, and a blocking one of the standard library.
pub async fn pair_with_std() -> (TcpStream, std::net::TcpStream) {
    let (listener, address) = listener().await;
    let theirs = std::net::TcpStream::connect(address).unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    theirs.set_write_timeout(Some(PATIENCE)).unwrap();
    let (ours, _) = listener.accept().await.unwrap();
    (ours, theirs)
}

/// Waits for `condition`, blocking this thread.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// xorshift64*: enough for chunk sizes, and the same on every run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}
