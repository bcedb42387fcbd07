//! Making connections: refused, to one of several addresses, to a name, slowly; accepting them, one by one, as a stream, by many tasks.

mod support;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use egret_executor::time::timeout;
use egret_net::{TcpListener, TcpStream};
use futures_lite::StreamExt;
use socket2::{Domain, Protocol, Socket, Type};
use support::{listener, pair, run, run_for};

/// Where nobody listens. Bound, so that nobody else gets the port while the test runs.
fn nobody() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[test]
fn a_refused_connection_is_an_error() {
    run(async {
        let (_hold, address) = nobody();
        let error = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn of_several_addresses_the_first_that_answers() {
    run(async {
        let (_hold, dead) = nobody();
        let (listener, alive) = listener().await;
        let stream = TcpStream::connect(&[dead, alive, dead][..]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
        assert_eq!(listener.accept().await.unwrap().1, stream.local_addr().unwrap());
        let error = TcpStream::connect(&[dead, dead][..]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = TcpStream::connect(&[][..]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let bound =
            TcpListener::bind(&[alive, dead, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))][..]).await.unwrap();
        assert!(![alive, dead].contains(&bound.local_addr().unwrap()));
    });
}

#[test]
fn a_name_is_resolved_without_blocking_a_worker() {
    run(async {
        let (listener, address) = listener().await;
        for _ in 0..5 {
            let stream = TcpStream::connect(("localhost", address.port())).await.unwrap();
            // One that was abandoned may have got as far as the queue.
            while listener.accept().await.unwrap().1 != stream.local_addr().unwrap() {}
            // Abandoned at once: nobody minds.
            let _ =
                futures_lite::future::poll_once(TcpStream::connect(format!("localhost:{}", address.port())))
                    .await;
        }
        // A name that the resolver refuses by itself: no name server has to be asked, or waited for.
        let error = TcpStream::connect("name\0invalid:80").await.unwrap_err();
        assert!(error.to_string().contains("invalid"), "{error}");
        let error = TcpStream::connect("localhost").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn hosts_are_looked_up_without_connecting() {
    run(async {
        let given: Vec<SocketAddr> = ["127.0.0.1:1", "[::1]:2"].map(|text| text.parse().unwrap()).into();
        assert!(egret_net::lookup_host(&given[..]).await.unwrap().eq(given.clone()));
        assert!(egret_net::lookup_host("[::1]:2").await.unwrap().eq([given[1]]));
        let found: Vec<_> = egret_net::lookup_host(("localhost", 7)).await.unwrap().collect();
        assert!(!found.is_empty() && found.iter().all(|address| address.port() == 7), "{found:?}");
        let error = egret_net::lookup_host("localhost").await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn outside_a_runtime_there_is_an_error_and_no_panic() {
    let error = futures_lite::future::block_on(TcpListener::bind("127.0.0.1:0")).unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error =
        futures_lite::future::block_on(TcpStream::connect(listener.local_addr().unwrap())).unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");
    assert!(TcpListener::from_std(listener).is_err());
}

#[test]
fn a_socket_that_does_not_listen_is_no_listener() {
    run(async {
        let (hold, _) = nobody();
        let error = TcpListener::from_std(hold.into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

/// With its queue full the kernel drops SYNs: the connect really has to wait, for a retransmission a second later.
#[test]
fn a_slow_connect_waits_and_can_be_abandoned() {
    run_for(support::PATIENCE * 3, async {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        socket.listen(1).unwrap();
        let listener = TcpListener::from_std(socket.into()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
            queued.push(stream.unwrap());
            assert!(queued.len() < 16, "the queue never fills");
        }
        let mut slow = Box::pin(TcpStream::connect(address));
        assert!(futures_lite::future::poll_once(&mut slow).await.is_none(), "its SYN was answered");
        let slow = egret_executor::spawn(slow);
        for stream in &queued {
            let (_, from) = listener.accept().await.unwrap();
            assert_eq!(from, stream.local_addr().unwrap());
        }
        let slow = slow.await.unwrap().unwrap();
        let (accepted, from) = listener.accept().await.unwrap();
        assert_eq!(from, slow.local_addr().unwrap());
        slow.write_all(b"late").await.unwrap();
        let mut buffer = [0; 4];
        accepted.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"late");
    });
}

#[test]
fn connections_come_as_a_stream() {
    run(async {
        let (listener, address) = listener().await;
        let clients: Vec<_> = (0..10).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let mut incoming = listener.incoming();
        for client in &clients {
            let stream = incoming.next().await.unwrap().unwrap();
            assert_eq!(stream.peer_addr().unwrap(), client.local_addr().unwrap());
        }
        assert!(timeout(Duration::from_millis(20), incoming.next()).await.is_err());
        let later = std::thread::spawn(move || std::net::TcpStream::connect(address).unwrap());
        incoming.next().await.unwrap().unwrap();
        later.join().unwrap();
    });
}

#[test]
fn of_many_acceptors_each_gets_its_connection() {
    run(async {
        let (listener, address) = listener().await;
        let listener = std::sync::Arc::new(listener);
        let acceptors: Vec<_> = (0..20)
            .map(|_| {
                let listener = listener.clone();
                egret_executor::spawn(async move { listener.accept().await.unwrap().1 })
            })
            .collect();
        egret_executor::task::yield_now().await;
        let clients: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let mut expected: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
        let mut got = Vec::new();
        for acceptor in acceptors {
            got.push(acceptor.await.unwrap());
        }
        expected.sort();
        got.sort();
        assert_eq!(got, expected);
    });
}

#[test]
fn a_cancelled_accept_takes_no_connection_with_it() {
    run(async {
        let (listener, address) = listener().await;
        let client = std::thread::spawn(move || {
            (0..200).map(|_| std::net::TcpStream::connect(address).unwrap()).collect::<Vec<_>>()
        });
        let mut accepted = Vec::new();
        while accepted.len() < 200 {
            if let Ok(outcome) = timeout(Duration::from_micros(50), listener.accept()).await {
                accepted.push(outcome.unwrap());
            }
        }
        drop(client.join().unwrap());
    });
}

#[test]
fn options_reach_the_socket() {
    run(async {
        let (ours, _theirs) = pair().await;
        ours.set_nodelay(true).unwrap();
        assert!(ours.nodelay().unwrap());
        ours.set_ttl(42).unwrap();
        assert_eq!(ours.ttl().unwrap(), 42);
        ours.set_linger(Some(Duration::from_secs(3))).unwrap();
        assert_eq!(ours.linger().unwrap(), Some(Duration::from_secs(3)));
        ours.set_linger(None).unwrap();
        assert_eq!(ours.linger().unwrap(), None);
        assert!(ours.take_error().unwrap().is_none());
        let (listener, _) = listener().await;
        listener.set_ttl(17).unwrap();
        assert_eq!(listener.ttl().unwrap(), 17);
        assert!(socket2::SockRef::from(&listener).reuse_address().unwrap());
        assert!(format!("{listener:?} {ours:?}").contains("127.0.0.1"));
    });
}
