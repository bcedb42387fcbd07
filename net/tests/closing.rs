//! Whatever is dropped is closed: the peer learns of it in bounded time, wherever the drop happens and whatever was armed; a port is free when the
//! listener's drop returns.

mod support;

use std::future::Future;
use std::io::Read;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use egret_net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use support::{Watchdog, listener, pair_with_std, run, run_for, runtime};

/// Polls once, which arms the socket.
fn poll_once(future: impl Future) {
    let future = pin!(future);
    assert!(future.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

/// Leaves the stream armed, with nobody waiting.
fn arm(stream: &TcpStream) {
    poll_once(stream.read(&mut [0]));
}

/// The peer reads the end of the stream, within its read timeout.
#[track_caller]
fn sees_the_end(peer: &mut std::net::TcpStream) {
    // Not a bare `read`: a completion for a ring that this thread has made interrupts a receive that has a timeout.
    assert_eq!(peer.read_to_end(&mut Vec::new()).expect("the end of the stream, in time"), 0);
}

#[test]
fn a_dropped_stream_sends_fin_whether_armed_or_not() {
    run(async {
        for armed in [false, true] {
            let (ours, mut theirs) = pair_with_std().await;
            if armed {
                arm(&ours);
            }
            drop(ours);
            sees_the_end(&mut theirs);
        }
    });
}

#[test]
fn a_stream_dropped_by_a_task_that_was_aborted_or_panicked_sends_fin() {
    run(async {
        let (ours, mut theirs) = pair_with_std().await;
        let reader = egret_executor::spawn(async move { ours.read(&mut [0]).await });
        egret_executor::task::yield_now().await;
        reader.abort();
        assert!(reader.await.unwrap_err().is_cancelled());
        sees_the_end(&mut theirs);

        let (ours, mut theirs) = pair_with_std().await;
        let panicking = egret_executor::spawn(async move {
            arm(&ours);
            std::panic::resume_unwind(Box::new("on purpose, quietly"));
        });
        assert!(panicking.await.unwrap_err().is_panic());
        sees_the_end(&mut theirs);
    });
}

#[test]
fn a_stream_dropped_on_a_foreign_thread_sends_fin() {
    run(async {
        for armed in [false, true] {
            let (ours, mut theirs) = pair_with_std().await;
            if armed {
                let ours = egret_executor::spawn(async move {
                    arm(&ours);
                    ours
                });
                let ours = ours.await.unwrap();
                std::thread::spawn(move || drop(ours)).join().unwrap();
            } else {
                std::thread::spawn(move || drop(ours)).join().unwrap();
            }
            sees_the_end(&mut theirs);
        }
    });
}

#[test]
fn streams_in_tasks_of_a_dropped_runtime_send_fin() {
    let _watchdog = Watchdog::start();
    let runtime = runtime();
    let mut peers = Vec::new();
    for _ in 0..20 {
        let (ours, theirs) = runtime.block_on(pair_with_std());
        peers.push(theirs);
        runtime.spawn(async move { ours.read(&mut [0]).await });
    }
    drop(runtime);
    peers.iter_mut().for_each(sees_the_end);
}

#[test]
fn a_stream_outlives_its_runtime_as_an_error_and_closes_when_dropped() {
    let _watchdog = Watchdog::start();
    for armed in [false, true] {
        let runtime = runtime();
        let (ours, mut theirs) = runtime.block_on(async {
            let (ours, theirs) = pair_with_std().await;
            if armed {
                arm(&ours);
            }
            (ours, theirs)
        });
        drop(runtime);
        let error = futures_lite::future::block_on(ours.read(&mut [0])).unwrap_err();
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
        drop(ours);
        sees_the_end(&mut theirs);
    }
}

#[test]
fn both_ends_dropped_with_data_in_flight_leave_no_task_behind() {
    run(async {
        let (ours, theirs) = support::pair().await;
        let big = vec![1; 10_000_000];
        let writer = egret_executor::spawn(async move { ours.write_all(&big).await });
        let mut buffer = [0; 1000];
        theirs.read_exact(&mut buffer).await.unwrap();
        drop(theirs);
        // The reset finds the writer where it waits for room.
        assert!(writer.await.unwrap().is_err());
    });
}

/// A program that has not told the system to ignore SIGPIPE would be killed by it.
#[test]
fn writing_to_a_peer_that_has_gone_raises_no_signal() {
    static RAISED: AtomicBool = AtomicBool::new(false);
    extern "C" fn note(_: libc::c_int) {
        RAISED.store(true, Ordering::SeqCst);
    }
    let handler = note as extern "C" fn(libc::c_int);
    // SAFETY: the handler stores to an atomic and does nothing else, which is async-signal-safe.
    assert_ne!(unsafe { libc::signal(libc::SIGPIPE, handler as libc::sighandler_t) }, libc::SIG_ERR);
    run(async {
        for vectored in [false, true] {
            let (ours, theirs) = pair_with_std().await;
            drop(theirs);
            // The first write may still be taken, and the second be told of a reset; after that it is a broken pipe.
            let mut broken = false;
            while !broken {
                let outcome = if vectored {
                    ours.write_vectored(&[std::io::IoSlice::new(b"x")]).await
                } else {
                    ours.write(b"x").await
                };
                broken = matches!(outcome, Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe);
            }
        }
    });
    assert!(!RAISED.load(Ordering::SeqCst));
}

fn bind_without_reuse(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&address.into())?;
    socket.listen(16)?;
    TcpListener::from_std(socket.into())
}

#[test]
fn a_port_is_free_when_its_listeners_drop_returns() {
    run_for(support::PATIENCE * 2, async {
        for reuse in [true, false] {
            let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = first.local_addr().unwrap();
            drop(first);
            for round in 0..100 {
                let bound =
                    if reuse { TcpListener::bind(address).await } else { bind_without_reuse(address) };
                let listener = bound.unwrap_or_else(|error| panic!("round {round}, reuse {reuse}: {error}"));
                match round % 4 {
                    // Nobody ever waited.
                    0 => drop(listener),
                    // Armed here.
                    1 => {
                        poll_once(listener.accept());
                        drop(listener);
                    }
                    // Armed by a worker, dropped with its task.
                    2 => {
                        let accept = egret_executor::spawn(async move { listener.accept().await.map(drop) });
                        egret_executor::task::yield_now().await;
                        accept.abort();
                        assert!(accept.await.unwrap_err().is_cancelled());
                    }
                    // Armed by a worker, dropped elsewhere.
                    _ => {
                        let armed = egret_executor::spawn(async move {
                            poll_once(listener.accept());
                            listener
                        });
                        drop(armed.await.unwrap());
                    }
                }
            }
        }
    });
}

#[test]
fn a_listener_dropped_after_its_runtime_frees_the_port() {
    let _watchdog = Watchdog::start();
    let runtime = runtime();
    let listener = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        poll_once(listener.accept());
        listener
    });
    let address = listener.local_addr().unwrap();
    drop(runtime);
    drop(listener);
    std::net::TcpListener::bind(address).unwrap();
}

#[test]
fn a_listener_that_was_shut_down_tells_its_acceptor() {
    run(async {
        let (listener, _) = listener().await;
        let listener = std::sync::Arc::new(listener);
        let accept = egret_executor::spawn({
            let listener = listener.clone();
            async move { listener.accept().await.map(drop) }
        });
        egret_executor::task::yield_now().await;
        SockRef::from(&*listener).shutdown(std::net::Shutdown::Both).unwrap();
        let error = accept.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    });
}

#[test]
fn taken_out_of_the_runtime_a_socket_works_with_std() {
    run(async {
        let (ours, theirs) = support::pair().await;
        arm(&ours);
        let ours = ours.into_std().unwrap();
        assert!(SockRef::from(&ours).nonblocking().unwrap(), "as it was in the runtime");
        ours.set_nonblocking(false).unwrap();
        ours.set_read_timeout(Some(support::PATIENCE)).unwrap();
        theirs.write_all(b"x").await.unwrap();
        (&ours).read_exact(&mut [0]).unwrap();
        // And back again, from a blocking socket, without blocking anybody.
        let ours = TcpStream::from_std(ours).unwrap();
        assert!(SockRef::from(&ours).nonblocking().unwrap());
        let waited = egret_executor::time::timeout(Duration::from_millis(20), ours.read(&mut [0])).await;
        assert!(waited.is_err());

        let (listener, address) = listener().await;
        poll_once(listener.accept());
        let listener = listener.into_std().unwrap();
        listener.set_nonblocking(false).unwrap();
        let client = std::thread::spawn(move || std::net::TcpStream::connect(address).unwrap());
        listener.accept().unwrap();
        client.join().unwrap();
        let listener = TcpListener::try_from(listener).unwrap();
        assert!(SockRef::from(&listener).nonblocking().unwrap());
        poll_once(listener.accept());
    });
}
