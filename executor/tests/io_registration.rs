//! Registrations of real sockets in a real runtime. `EGRET_FEED` chooses the feed.

mod support;

use egret_executor::{
    io::{Direction, Registration},
    task::yield_now,
    time::{sleep, timeout},
};
use egret_reactor::{Events, FeedKind, Readiness};
use std::{
    future::poll_fn,
    io::{self, Read, Write},
    net::{TcpListener, UdpSocket},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};
use support::Watched;

const MS: Duration = Duration::from_millis(1);
/// For what has to happen: generous, the machines that run this are shared.
const SOON: Duration = Duration::from_secs(10);
/// For what must not happen.
const A_WHILE: Duration = Duration::from_millis(30);

fn runtime() -> Watched {
    support::runtime(2)
}

/// A registered socket, a second descriptor of it to do the I/O on, and its blocking peer.
struct Pair {
    registration: Registration,
    near: UnixStream,
    far: UnixStream,
}

fn pair() -> Pair {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_read_timeout(Some(SOON)).unwrap();
    let registration = Registration::new(OwnedFd::from(near.try_clone().unwrap())).unwrap();
    Pair { registration, near, far }
}

/// The peer has closed, and sent nothing before. (`read_to_end` goes on after an `EINTR`: a thread outside the pool that closed an armed
/// descriptor may get one.)
#[track_caller]
fn assert_ended(far: &mut UnixStream) {
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).expect("it has been closed");
    assert!(rest.is_empty());
}

impl Pair {
    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.registration.poll_io(cx, Direction::Read, || (&self.near).read(buffer))).await
    }

    async fn read_shared(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.registration.async_io(Direction::Read, || (&self.near).read(buffer)).await
    }

    async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.registration.poll_io(cx, Direction::Write, || (&self.near).write(bytes))).await
    }

    async fn ready(&self, direction: Direction) -> io::Result<Readiness> {
        poll_fn(|cx| self.registration.poll_ready(cx, direction)).await
    }

    /// Writes until the socket takes no more.
    fn fill(&self) -> usize {
        let chunk = [7; 4096];
        let mut total = 0;
        loop {
            match self.registration.try_io(Direction::Write, || (&self.near).write(&chunk)) {
                Ok(n) => total += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return total,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn count() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (count.clone(), Waker::from(count))
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "{what} never happened");
        thread::yield_now();
    }
}

#[test]
fn waits_for_data_on_a_worker_and_outside() {
    let runtime = runtime();
    for on_worker in [false, true] {
        let echo = async {
            let pair = pair();
            let mut far = pair.far.try_clone().unwrap();
            let peer = thread::spawn(move || {
                let mut buffer = [0; 5];
                for _ in 0..100 {
                    far.write_all(b"hello").unwrap();
                    far.read_exact(&mut buffer).unwrap();
                    assert_eq!(&buffer, b"HELLO");
                }
            });
            for _ in 0..100 {
                let mut buffer = [0; 16];
                assert_eq!(pair.read(&mut buffer).await.unwrap(), 5);
                assert_eq!(pair.write(&buffer[..5].to_ascii_uppercase()).await.unwrap(), 5);
            }
            peer.join().unwrap();
        };
        if on_worker {
            runtime.block_on(runtime.spawn(echo)).unwrap();
        } else {
            runtime.block_on(echo);
        }
    }
}

#[test]
fn io_is_tried_before_it_is_waited_for() {
    let runtime = runtime();
    runtime.block_on(async {
        let mut pair = pair();
        pair.far.write_all(b"x").unwrap();
        let (_, waker) = count();
        let mut cx = Context::from_waker(&waker);
        let read = pair.registration.poll_io(&mut cx, Direction::Read, || (&pair.near).read(&mut [0; 8]));
        assert!(matches!(read, Poll::Ready(Ok(1))), "{read:?}");
    });
}

#[test]
fn who_only_tries_hears_of_new_data() {
    let runtime = runtime();
    runtime.block_on(async {
        let mut pair = pair();
        let read = || (&pair.near).read(&mut [0; 8]);
        let refused = pair.registration.try_io(Direction::Read, read).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        pair.far.write_all(b"x").unwrap();
        let start = Instant::now();
        while pair.registration.try_io(Direction::Read, read).is_err() {
            assert!(start.elapsed() < SOON);
            yield_now().await;
        }
    });
}

#[test]
fn try_io_repeats_what_a_signal_interrupted() {
    let runtime = runtime();
    runtime.block_on(async {
        let pair = pair();
        let mut interruptions = 3;
        let result = pair.registration.try_io(Direction::Write, || {
            interruptions -= 1;
            if interruptions > 0 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(1) }
        });
        assert_eq!((result.unwrap(), interruptions), (1, 0));
    });
}

/// A "would block" that was seen before an event came in, and is reported after: it must not erase the event.
#[test]
fn a_late_clear_does_not_erase_a_newer_event() {
    let runtime = runtime();
    if runtime.feed() != FeedKind::Uring {
        // The other feeds tell of data only when there was none; the readiness doesn't move on while it is set.
        return;
    }
    runtime.block_on(async {
        let mut pair = pair();
        assert!(timeout(A_WHILE, pair.read(&mut [0; 8])).await.is_err(), "nothing was written");
        pair.far.write_all(b"a").unwrap();
        let seen = pair.ready(Direction::Read).await.unwrap();
        pair.far.write_all(b"b").unwrap();
        let start = Instant::now();
        while pair.registration.readiness() == seen {
            assert!(start.elapsed() < SOON, "the second write never arrived");
            yield_now().await;
        }
        pair.registration.clear(seen, Direction::Read);
        assert!(pair.registration.readiness().events.contains(Events::IN));
        let newer = timeout(SOON, pair.ready(Direction::Read)).await.unwrap().unwrap();
        pair.registration.clear(newer, Direction::Read);
        assert!(!pair.registration.readiness().events.contains(Events::IN), "a clear in time does");
    });
}

/// Both directions wait, one becomes ready: the other must still be heard of.
#[test]
fn one_direction_firing_leaves_the_other_armed() {
    let runtime = runtime();
    let pair = runtime.block_on(async { Arc::new(pair()) });
    let filled = pair.fill();
    let reader = {
        let pair = pair.clone();
        runtime.spawn(async move { pair.read(&mut [0; 8]).await.unwrap() })
    };
    let writer = {
        let pair = pair.clone();
        runtime.spawn(async move { pair.write(b"w").await.unwrap() })
    };
    runtime.block_on(sleep(A_WHILE));
    assert!(!reader.is_finished() && !writer.is_finished());
    let mut drained = vec![0; filled];
    (&pair.far).read_exact(&mut drained).unwrap();
    assert_eq!(runtime.block_on(timeout(SOON, writer)).unwrap().unwrap(), 1);
    assert!(
        !reader.is_finished(),
        "woken by the other direction's event, it read something that isn't there"
    );
    (&pair.far).write_all(b"r").unwrap();
    assert_eq!(runtime.block_on(timeout(SOON, reader)).unwrap().unwrap(), 1);
}

/// A peer that has finished sending leaves nothing to wait for to a reader, and a full socket still full.
#[test]
fn a_half_closed_peer_ends_reads_and_not_writes() {
    let runtime = runtime();
    runtime.block_on(async {
        let pair = pair();
        pair.fill();
        assert!(timeout(A_WHILE, pair.read(&mut [0; 8])).await.is_err());
        pair.far.shutdown(std::net::Shutdown::Write).unwrap();
        for _ in 0..3 {
            let read = timeout(SOON, pair.read(&mut [0; 8])).await.unwrap();
            assert_eq!(read.unwrap(), 0);
        }
        assert!(timeout(A_WHILE, pair.ready(Direction::Write)).await.is_err(), "writable, it says");
    });
}

#[test]
fn a_peer_that_goes_away_ends_both() {
    let runtime = runtime();
    runtime.block_on(async {
        let Pair { registration, near, far } = pair();
        let pair = Pair { registration, near, far: UnixStream::pair().unwrap().0 };
        pair.fill();
        let gone = thread::spawn(move || {
            thread::sleep(5 * MS);
            drop(far);
        });
        timeout(SOON, pair.ready(Direction::Write)).await.unwrap().unwrap();
        assert!(
            timeout(SOON, pair.read(&mut [0; 8]))
                .await
                .unwrap()
                .is_err_and(|e| e.kind() == io::ErrorKind::ConnectionReset)
                || timeout(SOON, pair.read(&mut [0; 8])).await.unwrap().unwrap() == 0
        );
        assert!(pair.write(b"x").await.is_err());
        gone.join().unwrap();
    });
}

/// An error that a datagram socket tells once must not leave it ready for ever.
#[test]
fn an_error_that_was_told_is_forgotten() {
    let runtime = runtime();
    runtime.block_on(async {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(nobody).unwrap();
        socket.set_nonblocking(true).unwrap();
        let registration = Registration::new(OwnedFd::from(socket.try_clone().unwrap())).unwrap();
        let receive = || registration.async_io(Direction::Read, || socket.recv(&mut [0; 8]));
        assert!(timeout(A_WHILE, receive()).await.is_err());
        socket.send(b"anybody?").unwrap();
        let refused = timeout(SOON, receive()).await.unwrap().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let tries = AtomicUsize::new(0);
        let again = registration.async_io(Direction::Read, || {
            tries.fetch_add(1, Ordering::Relaxed);
            socket.recv(&mut [0; 8])
        });
        assert!(timeout(A_WHILE, again).await.is_err());
        assert!(tries.into_inner() < 10, "it spins");
    });
}

#[test]
fn any_number_of_tasks_may_wait_in_one_direction() {
    let runtime = runtime();
    let pair = runtime.block_on(async { Arc::new(pair()) });
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let pair = pair.clone();
            runtime.spawn(async move { pair.read_shared(&mut [0; 1]).await.unwrap() })
        })
        .collect();
    for (at, reader) in readers.iter().enumerate() {
        if at % 10 == 0 {
            reader.abort();
        }
    }
    runtime.block_on(sleep(A_WHILE));
    (&pair.far).write_all(&[1; 90]).unwrap();
    let mut read = 0;
    for reader in readers {
        if let Ok(n) = runtime.block_on(timeout(SOON, reader)).unwrap() {
            read += n;
        }
    }
    assert_eq!(read, 90);
}

#[test]
fn a_ready_future_that_is_dropped_leaves_no_waker_behind() {
    let runtime = runtime();
    runtime.block_on(async {
        let pair = pair();
        assert!(timeout(A_WHILE, pair.read(&mut [0; 1])).await.is_err());
        let (count, waker) = count();
        let mut ready = Box::pin(pair.registration.ready(Events::IN));
        assert!(ready.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(Arc::strong_count(&count), 3);
        drop(ready);
        assert_eq!(Arc::strong_count(&count), 2);
    });
}

#[test]
fn dropped_while_armed_the_peer_sees_the_end() {
    let runtime = runtime();
    let mut peers = Vec::new();
    runtime.block_on(async {
        for _ in 0..20 {
            let Pair { registration, near, far } = pair();
            drop(near);
            let wait = registration.ready(Events::IN).await.unwrap();
            registration.clear(wait, Direction::Read);
            assert!(timeout(MS, registration.ready(Events::IN)).await.is_err());
            drop(registration);
            peers.push(far);
        }
    });
    for mut far in peers {
        assert_ended(&mut far);
    }
}

#[test]
fn dropped_by_a_thread_that_knows_no_runtime() {
    let runtime = runtime();
    let Pair { registration, near, mut far } = runtime.block_on(async {
        let pair = pair();
        assert!(timeout(MS, pair.read(&mut [0; 1])).await.is_err());
        pair
    });
    drop(near);
    thread::spawn(move || drop(registration)).join().unwrap();
    assert_ended(&mut far);
}

#[test]
fn a_port_is_free_when_close_now_returns() {
    let runtime = runtime();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let registration = Registration::new(OwnedFd::from(listener)).unwrap();
        let seen = registration.readiness();
        registration.clear(seen, Direction::Read);
        assert!(timeout(A_WHILE, registration.ready(Events::IN)).await.is_err());
        registration.close_now();
        TcpListener::bind(address).unwrap();
    });
}

#[test]
fn into_fd_hands_back_a_descriptor_that_works() {
    let runtime = runtime();
    runtime.block_on(async {
        let Pair { registration, near, far } = pair();
        drop(near);
        let seen = registration.readiness();
        registration.clear(seen, Direction::Read);
        assert!(timeout(MS, registration.ready(Events::IN)).await.is_err());
        let mut back = UnixStream::from(registration.into_fd().unwrap());
        (&far).write_all(b"still there").unwrap();
        back.set_nonblocking(false).unwrap();
        assert_eq!(back.read(&mut [0; 16]).unwrap(), 11);
        // And it may come again.
        back.set_nonblocking(true).unwrap();
        let again = Registration::new(OwnedFd::from(back)).unwrap();
        let seen = again.readiness();
        again.clear(seen, Direction::Read);
        (&far).write_all(b"again").unwrap();
        timeout(SOON, again.ready(Events::IN)).await.unwrap().unwrap();
    });
}

#[test]
fn outside_a_runtime_it_is_an_error_that_says_so() {
    let (near, _far) = UnixStream::pair().unwrap();
    let error = Registration::new(OwnedFd::from(near)).unwrap_err();
    assert!(error.to_string().contains("no egret runtime"), "{error}");
}

#[test]
fn the_end_of_the_runtime_is_an_error_for_who_waits() {
    let first = runtime();
    let second = runtime();
    let handle = first.handle().clone();
    let pair = first.block_on(async { Arc::new(pair()) });
    let fixed = {
        let pair = pair.clone();
        second.spawn(async move { pair.read(&mut [0; 1]).await })
    };
    let listed = {
        let pair = pair.clone();
        second.spawn(async move { pair.read_shared(&mut [0; 1]).await })
    };
    second.block_on(sleep(A_WHILE));
    drop(first);
    for waiter in [fixed, listed] {
        let error = second.block_on(timeout(SOON, waiter)).unwrap().unwrap().unwrap_err();
        assert!(error.to_string().contains("shut down"), "{error}");
    }
    assert!(second.block_on(pair.read(&mut [0; 1])).is_err(), "a later wait");
    let (other, _far) = UnixStream::pair().unwrap();
    assert!(Registration::new_in(OwnedFd::from(other), &handle).is_err(), "a later registration");
    // The last of it is dropped long after its runtime.
    let Ok(Pair { registration, near, mut far }) = Arc::try_unwrap(pair) else {
        panic!("somebody still waits")
    };
    drop(near);
    drop(registration);
    assert_ended(&mut far);
}

/// Tasks that own armed sockets, dropped with their runtime: no deadlock, no descriptor left open.
#[test]
fn a_runtime_dropped_with_waiting_sockets_closes_them() {
    let runtime = runtime();
    let mut peers = Vec::new();
    for _ in 0..20 {
        let _guard = runtime.enter();
        let Pair { registration, near, far } = pair();
        drop(runtime.spawn(async move {
            let near = near;
            registration.async_io(Direction::Read, || (&near).read(&mut [0; 1])).await
        }));
        peers.push(far);
    }
    runtime.block_on(sleep(5 * MS));
    drop(runtime);
    for mut far in peers {
        assert_ended(&mut far);
    }
}

/// Slots are used again and again: an event or a wake meant for a socket that is gone must not disturb its successor.
#[test]
fn sockets_come_and_go() {
    let runtime = runtime();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            runtime.spawn(async {
                for round in 0..200_u8 {
                    let pair = pair();
                    let (read, write) = (async { pair.read(&mut [0; 4]).await }, async {
                        yield_now().await;
                        (&pair.far).write_all(&[round; 4])
                    });
                    let mut read = Box::pin(read);
                    let mut write = Box::pin(write);
                    let mut written = false;
                    let n = timeout(
                        SOON,
                        poll_fn(|cx| {
                            if !written && let Poll::Ready(result) = write.as_mut().poll(cx) {
                                result.unwrap();
                                written = true;
                            }
                            read.as_mut().poll(cx)
                        }),
                    )
                    .await
                    .expect("an event was lost");
                    assert_eq!(n.unwrap(), 4);
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
}

/// A socket that always has data must not keep its worker from its other tasks.
#[test]
fn a_busy_socket_yields() {
    let runtime = support::runtime(1);
    let pair = runtime.block_on(async { pair() });
    (&pair.far).write_all(b"x").unwrap();
    let stop = Arc::new(AtomicUsize::new(0));
    let busy = {
        let stop = stop.clone();
        runtime.spawn(async move {
            while stop.load(Ordering::Relaxed) == 0 {
                pair.ready(Direction::Read).await.unwrap();
            }
        })
    };
    let other = runtime.spawn(async move { stop.store(1, Ordering::Relaxed) });
    runtime.block_on(timeout(SOON, other)).unwrap().unwrap();
    runtime.block_on(busy).unwrap();
}

#[test]
fn a_foreign_waker_is_woken() {
    let runtime = runtime();
    let _guard = runtime.enter();
    let pair = pair();
    let (count, waker) = count();
    let mut cx = Context::from_waker(&waker);
    let mut buffer = [0; 1];
    assert!(
        pair.registration.poll_io(&mut cx, Direction::Read, || (&pair.near).read(&mut buffer)).is_pending()
    );
    let before = count.0.load(Ordering::SeqCst);
    (&pair.far).write_all(b"x").unwrap();
    wait_until("the wake", || count.0.load(Ordering::SeqCst) > before);
}

#[test]
fn registration_is_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Registration>();
    check::<egret_executor::io::Ready<'static>>();
}
