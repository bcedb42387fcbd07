//! The example `event_loop` without descriptors. Alone in its file: the limit is the process's.

#![cfg(not(egret_loom))]

#[path = "../examples/event_loop.rs"]
#[allow(dead_code, reason = "its `main` is not used here")]
mod event_loop;
#[path = "../../tests/support/watchdog.rs"]
mod watchdog;

use event_loop::Server;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use watchdog::Watchdog;

/// The server waits for a descriptor, at rest, and goes on when a connection ends and when somebody else's is closed.
#[test]
fn event_loop_rests_without_descriptors() {
    let _watchdog = Watchdog::start();
    let (started, start) = mpsc::channel();
    // Made in its own thread: with io_uring, what this one armed could end its reads, which have a timeout, with `EINTR`.
    let server = thread::spawn(move || {
        let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        started.send((server.local_addr().unwrap(), server.stop_handle())).unwrap();
        server.run()
    });
    let (address, stop) = start.recv().unwrap();
    let connect = || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let mut first = connect();
    echoes(&mut first);

    limit_descriptors(256);
    let mut filling = fill();
    // One for the client's end, none for the server's.
    drop(filling.pop());
    let mut second = connect();
    second.write_all(b"?").unwrap();

    second.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let (start, before) = (Instant::now(), process_cpu());
    let error = second.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "nobody can have accepted");
    let (worked, passed) = (process_cpu() - before, start.elapsed());
    assert!(worked * 5 < passed, "worked for {worked:?} of {passed:?} while there was nothing to do");

    // A connection ends: both of its descriptors are free.
    second.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    drop(first);
    second.read_exact(&mut [0]).unwrap();

    // Somebody else closes something: found out without an event.
    filling.extend(fill());
    drop(filling.pop());
    let mut third = connect();
    third.write_all(b"?").unwrap();
    third.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(third.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    third.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    drop(filling.pop());
    third.read_exact(&mut [0]).unwrap();

    echoes(&mut second);
    stop.write(1).unwrap();
    server.join().unwrap().unwrap();
}

fn echoes(stream: &mut TcpStream) {
    stream.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

fn limit_descriptors(count: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid and may be written.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = count.min(limit.rlim_max);
    // SAFETY: `limit` is valid.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

/// Every descriptor that is left.
fn fill() -> Vec<OwnedFd> {
    let filling: Vec<_> = std::iter::repeat_with(|| File::open("/dev/null")).map_while(Result::ok).collect();
    assert_eq!(File::open("/dev/null").unwrap_err().raw_os_error(), Some(libc::EMFILE));
    filling.into_iter().map(OwnedFd::from).collect()
}

fn process_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid and may be written.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
