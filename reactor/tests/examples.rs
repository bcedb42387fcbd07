//! The examples do what they are there to show.

#![cfg(not(egret_loom))]

#[path = "../examples/event_loop.rs"]
#[allow(dead_code, reason = "its `main` is not used here")]
mod event_loop;
#[path = "../examples/exclusive_accept.rs"]
#[allow(dead_code, reason = "its `main` is not used here")]
mod exclusive_accept;
#[path = "../../tests/support/watchdog.rs"]
mod watchdog;

use event_loop::Server;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use watchdog::Watchdog;

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs clients against a server, then stops it and sees it end.
///
/// The server is made in its own thread: with io_uring, what a thread has armed may end its blocking calls that have a timeout
/// with `EINTR`, and the clients make such calls.
fn with_server(clients: impl FnOnce(SocketAddr)) {
    let _watchdog = Watchdog::start();
    let (started, start) = mpsc::channel();
    let server = thread::spawn(move || {
        let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        started.send((server.local_addr().unwrap(), server.stop_handle())).unwrap();
        server.run()
    });
    let (address, stop) = start.recv().unwrap();
    clients(address);
    stop.write(1).unwrap();
    server.join().unwrap().unwrap();
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Bytes that tell where in the stream they are, and in which stream.
fn payload(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(31) + at / 251 + seed) as u8).collect()
}

fn echoes(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(message).unwrap();
    let mut answer = vec![0; message.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, message);
}

/// A hundred at a time, each writing and reading at its own pace; then half of the connection is closed, and the rest comes.
#[test]
fn event_loop_echoes_large_payloads_to_many() {
    with_server(|address| {
        thread::scope(|scope| {
            for seed in 0..100 {
                scope.spawn(move || {
                    let sent = payload(seed, 300_000 + seed);
                    let mut reader = connect(address);
                    let mut writer = reader.try_clone().unwrap();
                    let mut received = Vec::new();
                    thread::scope(|scope| {
                        scope.spawn(|| {
                            writer.write_all(&sent).unwrap();
                            writer.shutdown(Shutdown::Write).unwrap();
                        });
                        reader.read_to_end(&mut received).unwrap();
                    });
                    assert!(received == sent, "stream {seed}: {} of {} bytes", received.len(), sent.len());
                });
            }
        });
    });
}

/// Who doesn't read is not read from, and holds up nobody else.
#[test]
fn event_loop_pushes_back() {
    with_server(|address| {
        let mut stubborn = connect(address);
        stubborn.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let chunk = payload(1, 64 * 1024);
        let mut sent = 0;
        let error = loop {
            match stubborn.write(&chunk[sent % chunk.len()..]) {
                Ok(written) => sent += written,
                Err(error) => break error,
            }
            assert!(sent < 1 << 30, "the server stores everything");
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);

        echoes(&mut connect(address), &payload(2, 100_000));

        stubborn.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        stubborn.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), sent);
        assert!(received.chunks(chunk.len()).all(|part| part == &chunk[..part.len()]));
    });
}

/// Clients that go without reading what they asked for: their connections are reset.
#[test]
fn event_loop_survives_resets() {
    with_server(|address| {
        let mut witness = connect(address);
        for seed in 0..20 {
            let mut stream = connect(address);
            stream.write_all(&payload(seed, 100_000)).unwrap();
            stream.read_exact(&mut [0]).unwrap();
            drop(stream);
            echoes(&mut witness, b"still there?");
        }
    });
}

struct ShutDown<'a>(&'a TcpStream);

impl Drop for ShutDown<'_> {
    fn drop(&mut self) {
        self.0.shutdown(Shutdown::Both).unwrap();
    }
}

/// One that never stops sending, and the others beside it.
#[test]
fn event_loop_serves_others_beside_a_greedy_one() {
    with_server(|address| {
        let greedy = connect(address);
        let (mut writer, mut reader) = (greedy.try_clone().unwrap(), greedy.try_clone().unwrap());
        thread::scope(|scope| {
            scope.spawn(move || {
                let chunk = payload(0, 64 * 1024);
                // Until the other half of the test shuts it down.
                while writer.write_all(&chunk).is_ok() {}
            });
            scope.spawn(move || io::copy(&mut reader, &mut io::sink()));
            // Also when an assertion fails: the scope waits for both.
            let _end = ShutDown(&greedy);
            for seed in 0..50 {
                echoes(&mut connect(address), &payload(seed, 1_000));
            }
        });
    });
}

#[test]
fn exclusive_accept_takes_each_connection_once() {
    let _watchdog = Watchdog::start();
    for threads in [1, 4] {
        let shares = exclusive_accept::run(threads, 200).unwrap();
        assert_eq!(shares.len(), threads);
        assert_eq!(shares.iter().map(|share| share.taken).sum::<usize>(), 200);
        // Not each connection wakes everybody: that would be 600 with four threads.
        assert!(shares.iter().map(|share| share.vain).sum::<usize>() < 200, "{shares:?}");
    }
}
