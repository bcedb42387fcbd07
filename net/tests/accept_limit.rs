//! `TcpListener::max_connections`: accepting waits while so many streams are alive, and goes on as soon as one is gone, however it goes.

mod support;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use egret_net::{Incoming, TcpListener, TcpStream};
use futures_lite::StreamExt;
use futures_lite::future::poll_once;
use support::{run, run_for};

async fn limited(limit: usize) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap().max_connections(limit);
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Clients that are connected, as far as they know: the kernel has taken them into the queue.
fn clients(address: SocketAddr, count: usize) -> Vec<std::net::TcpStream> {
    (0..count).map(|_| std::net::TcpStream::connect(address).unwrap()).collect()
}

/// Nothing is accepted, although connections wait: asked twice, since the first try may only find out.
async fn is_full(listener: &TcpListener) -> bool {
    let mut accept = pin!(listener.accept());
    poll_once(&mut accept).await.is_none() && poll_once(&mut accept).await.is_none()
}

#[test]
fn accepting_waits_while_so_many_are_alive_and_goes_on_when_one_is_dropped() {
    run(async {
        let (listener, address) = limited(3).await;
        let _clients = clients(address, 10);
        let mut alive = Vec::new();
        for _ in 0..3 {
            alive.push(listener.accept().await.unwrap().0);
        }
        for _ in 0..7 {
            assert!(is_full(&listener).await);
            drop(alive.remove(0));
            alive.push(listener.accept().await.unwrap().0);
        }
        assert!(is_full(&listener).await);
    });
}

/// Each way to be rid of a stream.
#[test]
fn a_permit_comes_back_whichever_way_a_stream_goes() {
    type Way = fn(TcpStream);
    let ways: [(&str, Way); 6] = [
        ("drop", drop),
        ("into_std", |stream| drop(stream.into_std().unwrap())),
        ("into_split", |stream| drop(stream.into_split())),
        ("reunite", |stream| {
            let (read, write) = stream.into_split();
            drop(read.reunite(write).unwrap());
        }),
        ("a panic", |stream| {
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let _stream = stream;
                std::panic::resume_unwind(Box::new("on purpose, quietly"));
            }));
            assert!(panicked.is_err());
        }),
        ("another thread", |stream| std::thread::spawn(move || drop(stream)).join().unwrap()),
    ];
    run(async move {
        for (name, way) in ways {
            let (listener, address) = limited(1).await;
            let _clients = clients(address, 2);
            let (stream, _) = listener.accept().await.unwrap();
            assert!(is_full(&listener).await, "{name}");
            way(stream);
            listener.accept().await.unwrap();
        }
    });
}

#[test]
fn a_stream_taken_apart_counts_until_both_halves_are_gone() {
    run(async {
        let (listener, address) = limited(1).await;
        let _clients = clients(address, 3);
        let (stream, _) = listener.accept().await.unwrap();
        let (read, write) = stream.into_split();
        drop(read);
        assert!(is_full(&listener).await);
        drop(write);
        let (stream, _) = listener.accept().await.unwrap();
        let (read, write) = stream.into_split();
        write.forget();
        assert!(is_full(&listener).await);
        drop(read);
        let (mut stream, _) = listener.accept().await.unwrap();
        // Borrowed halves have no say in it.
        let (read, write) = stream.split();
        let _ = (read, write);
        assert!(is_full(&listener).await);
    });
}

#[test]
fn a_stream_in_std_does_not_count_and_still_works() {
    run(async {
        use std::io::Write;
        let (listener, address) = limited(1).await;
        let mut clients = clients(address, 2);
        let mut taken = listener.accept().await.unwrap().0.into_std().unwrap();
        let (_second, _) = listener.accept().await.unwrap();
        taken.write_all(b"x").unwrap();
        std::io::Read::read_exact(&mut clients[0], &mut [0]).unwrap();
    });
}

#[test]
fn streams_that_count_read_write_and_close_like_any_other() {
    run(async {
        let (listener, address) = limited(2).await;
        let client = TcpStream::connect(address).await.unwrap();
        let (server, from) = listener.accept().await.unwrap();
        assert_eq!((from, server.local_addr().unwrap()), (client.local_addr().unwrap(), address));
        client.write_all(b"ping").await.unwrap();
        let mut buffer = [0; 4];
        server.read_exact(&mut buffer).await.unwrap();
        server.write_all(&buffer).await.unwrap();
        client.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"ping");
        drop(server);
        assert_eq!(client.read(&mut buffer).await.unwrap(), 0);
    });
}

/// Of the tasks that wait for a place each stream that goes wakes one.
#[test]
fn of_many_acceptors_each_gets_a_connection_when_its_turn_comes() {
    run_for(support::PATIENCE * 2, async {
        const LIMIT: usize = 3;
        const TASKS: usize = 8;
        const CONNECTIONS: usize = 400;
        let (listener, address) = limited(LIMIT).await;
        let listener = Arc::new(listener);
        let (alive, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let served = Arc::new(AtomicUsize::new(0));
        let acceptors: Vec<_> = (0..TASKS)
            .map(|task| {
                let (listener, alive, most) = (listener.clone(), alive.clone(), most.clone());
                let served = served.clone();
                egret_executor::spawn(async move {
                    while served.fetch_add(1, Ordering::SeqCst) < CONNECTIONS {
                        // Every third gives up once before it waits in earnest.
                        if task % 3 == 0
                            && let Some(accepted) = poll_once(listener.accept()).await
                        {
                            serve(accepted.unwrap().0, &alive, &most).await;
                            continue;
                        }
                        serve(listener.accept().await.unwrap().0, &alive, &most).await;
                    }
                })
            })
            .collect();
        let clients = std::thread::spawn(move || {
            for _ in 0..CONNECTIONS / 8 {
                drop(clients(address, 8));
            }
        });
        for acceptor in acceptors {
            acceptor.await.unwrap();
        }
        clients.join().unwrap();
        assert_eq!(alive.load(Ordering::SeqCst), 0);
        let most = most.load(Ordering::SeqCst);
        assert!((1..=LIMIT).contains(&most), "{most} at the same time");
    });

    async fn serve(stream: TcpStream, alive: &AtomicUsize, most: &AtomicUsize) {
        most.fetch_max(alive.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // The client sends nothing and hangs up: the end of the stream, or a reset.
        let _ = stream.read(&mut [0]).await;
        alive.fetch_sub(1, Ordering::SeqCst);
        drop(stream);
    }
}

/// Counts its wakes.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_stream_that_goes_wakes_one_of_those_who_wait_for_its_place() {
    run(async {
        let (listener, address) = limited(2).await;
        let _clients = clients(address, 6);
        let (first, _) = listener.accept().await.unwrap();
        let (second, _) = listener.accept().await.unwrap();
        let wakes: [Arc<Wakes>; 3] = Default::default();
        let mut accepts: Vec<_> = (0..3).map(|_| Box::pin(listener.accept())).collect();
        for (accept, wakes) in accepts.iter_mut().zip(&wakes) {
            let waker = Waker::from(wakes.clone());
            assert!(accept.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        let count = || wakes.iter().map(|wakes| wakes.0.load(Ordering::SeqCst)).collect::<Vec<_>>();
        assert_eq!(count(), [0, 0, 0]);
        drop(first);
        assert_eq!(count(), [1, 0, 0]);
        // Who was woken and turns away passes it on.
        drop(accepts.remove(0));
        assert_eq!(count(), [1, 1, 0]);
        drop(second);
        assert_eq!(count(), [1, 1, 1]);
        for accept in accepts {
            accept.await.unwrap();
        }
    });
}

/// The task that polled last may have turned to something else, and then its wake must not be the only one.
#[test]
fn a_poll_that_was_given_up_keeps_no_place_from_others() {
    run(async {
        let (listener, address) = limited(1).await;
        let _clients = clients(address, 2);
        let (stream, _) = listener.accept().await.unwrap();
        let stale = Arc::new(Wakes::default());
        let waker = Waker::from(stale.clone());
        assert!(listener.poll_accept(&mut Context::from_waker(&waker)).is_pending());
        let next = egret_executor::spawn({
            let listener = Arc::new(listener);
            async move { listener.accept().await.map(drop) }
        });
        egret_executor::task::yield_now().await;
        drop(stream);
        next.await.unwrap().unwrap();
        assert_eq!(stale.0.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn polls_and_the_stream_of_connections_wait_as_well() {
    run(async {
        let (listener, address) = limited(2).await;
        let clients = clients(address, 5);
        let mut incoming: Incoming<'_> = listener.incoming();
        let first = incoming.next().await.unwrap().unwrap();
        let second = incoming.next().await.unwrap().unwrap();
        assert!(poll_once(incoming.next()).await.is_none());
        let dropper = egret_executor::spawn(async move { drop(first) });
        let third = incoming.next().await.unwrap().unwrap();
        dropper.await.unwrap();
        assert_eq!(third.peer_addr().unwrap(), clients[2].local_addr().unwrap());
        drop(second);
        let poll = std::future::poll_fn(|cx| match listener.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(accepted),
            Poll::Pending => Poll::Pending,
        });
        let (_fourth, from) = poll.await.unwrap();
        assert_eq!(from, clients[3].local_addr().unwrap());
        assert!(poll_once(Pin::new(&mut incoming).next()).await.is_none());
    });
}

/// Who waits for connections holds no place.
#[test]
fn an_acceptor_that_waits_for_connections_takes_no_place_from_another() {
    run(async {
        let (listener, address) = limited(1).await;
        let mut idle = Box::pin(listener.accept());
        assert!(poll_once(&mut idle).await.is_none());
        let _clients = clients(address, 1);
        // `idle` is not polled again, and it is its place that would be missing here.
        listener.accept().await.unwrap();
    });
}

#[test]
fn streams_outlive_their_listener_and_a_listener_its_runtime() {
    run(async {
        let (listener, address) = limited(1).await;
        let clients = clients(address, 1);
        let (stream, _) = listener.accept().await.unwrap();
        assert!(poll_once(listener.accept()).await.is_none());
        drop(listener);
        stream.write_all(b"x").await.unwrap();
        std::io::Read::read_exact(&mut &clients[0], &mut [0]).unwrap();
        drop(stream);
    });
    let _watchdog = support::Watchdog::start();
    let runtime = support::runtime();
    let (listener, streams) = runtime.block_on(async {
        let (listener, address) = limited(1).await;
        let _clients = clients(address, 2);
        let streams = [listener.accept().await.unwrap().0];
        assert!(is_full(&listener).await);
        (listener, streams)
    });
    drop(runtime);
    drop(streams);
    futures_lite::future::block_on(listener.accept()).unwrap_err();
}

#[test]
fn a_new_bound_starts_a_new_count() {
    run(async {
        let (listener, address) = limited(1).await;
        let _clients = clients(address, 3);
        let (_first, _) = listener.accept().await.unwrap();
        let listener = listener.max_connections(1);
        let (_second, _) = listener.accept().await.unwrap();
        assert!(is_full(&listener).await);
    });
}

#[test]
#[should_panic(expected = "would never accept anything")]
fn a_bound_of_nothing_is_refused() {
    run(async {
        let _ = limited(0).await;
    });
}
