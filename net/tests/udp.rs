//! Datagrams: each arrives whole, once, in whatever way it is waited for; short and empty ones are datagrams like the others.

mod support;

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use egret_net::{Interest, UdpSocket};
use futures_lite::future::{block_on, poll_once};
use support::{run, runtime};

fn send_sync_unpin<T: Send + Sync + Unpin>() {}
fn send<T: Send>(_: &T) {}

#[test]
fn the_socket_and_its_futures_can_be_sent() {
    send_sync_unpin::<UdpSocket>();
    fn of(socket: &UdpSocket, buffer: &mut [u8]) {
        send(&socket.send(b""));
        send(&socket.send_to(b"", "127.0.0.1:1"));
        send(&socket.recv(buffer));
        send(&socket.recv_from(buffer));
        send(&socket.peek_from(buffer));
        send(&socket.readable());
        send(&socket.connect("127.0.0.1:1"));
    }
    let _ = of;
}

async fn any() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

async fn connected() -> (UdpSocket, UdpSocket) {
    let (near, far) = (any().await, any().await);
    near.connect(far.local_addr().unwrap()).await.unwrap();
    far.connect(near.local_addr().unwrap()).await.unwrap();
    (near, far)
}

/// A stream's loop would take the first short datagram for the last, and wait for an event that has been.
#[test]
fn short_and_empty_datagrams_in_a_row_all_arrive() {
    run(async {
        let (near, far) = connected().await;
        let lengths = [3, 0, 1, 0, 0, 1200, 2];
        let mut buffer = [0; 2000];
        for round in 0..20 {
            for length in lengths {
                assert_eq!(near.send(&vec![round; length]).await.unwrap(), length);
            }
            for length in lengths {
                assert_eq!(far.recv(&mut buffer).await.unwrap(), length);
                assert!(buffer[..length].iter().all(|byte| *byte == round));
            }
            assert_eq!(far.try_recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    });
}

#[test]
fn an_empty_buffer_takes_a_datagram() {
    run(async {
        let (near, far) = connected().await;
        near.send(b"lost").await.unwrap();
        near.send(b"kept").await.unwrap();
        assert_eq!(far.recv(&mut []).await.unwrap(), 0);
        let mut buffer = [0; 3];
        assert_eq!(far.recv(&mut buffer).await.unwrap(), 3, "cut to the buffer");
        assert_eq!(&buffer, b"kep");
    });
}

#[test]
fn dropped_receives_lose_no_datagram() {
    run(async {
        let (near, far) = connected().await;
        let mut buffer = [0; 8];
        for number in 0..100u32 {
            // Waits, and is dropped, before and after there is something.
            assert!(poll_once(far.recv(&mut buffer)).await.is_none());
            near.send(&number.to_be_bytes()).await.unwrap();
            drop(far.recv(&mut buffer));
            assert_eq!(far.recv(&mut buffer).await.unwrap(), 4);
            assert_eq!(buffer[..4], number.to_be_bytes());
        }
    });
}

#[test]
fn a_refusal_is_told_once_and_the_socket_goes_on() {
    run(async {
        let (near, far) = connected().await;
        let address = far.local_addr().unwrap();
        drop(far);
        near.send(b"anybody?").await.unwrap();
        let mut buffer = [0; 16];
        assert_eq!(near.recv(&mut buffer).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert!(near.take_error().unwrap().is_none(), "it was told");
        assert!(poll_once(near.recv(&mut buffer)).await.is_none(), "it waits again");
        // Dropped sockets are closed: the address can be had.
        let again = UdpSocket::bind(address).await.unwrap();
        again.connect(near.local_addr().unwrap()).await.unwrap();
        near.send(b"and now?").await.unwrap();
        assert_eq!(again.recv(&mut buffer).await.unwrap(), 8);
        again.send(b"yes").await.unwrap();
        assert_eq!(near.recv(&mut buffer).await.unwrap(), 3);
    });
}

#[test]
fn many_receivers_share_the_datagrams() {
    run(async {
        let far = Arc::new(any().await);
        let near = any().await;
        let address = far.local_addr().unwrap();
        let receivers: Vec<_> = (0..8)
            .map(|_| {
                let far = Arc::clone(&far);
                egret_executor::spawn(async move {
                    let mut buffer = [0; 8];
                    far.recv_from(&mut buffer).await.unwrap();
                    buffer[0]
                })
            })
            .collect();
        for number in 0..8 {
            near.send_to(&[number], address).await.unwrap();
        }
        let mut received = Vec::new();
        for receiver in receivers {
            received.push(receiver.await.unwrap());
        }
        received.sort_unstable();
        assert_eq!(received, [0, 1, 2, 3, 4, 5, 6, 7]);
    });
}

#[test]
fn every_way_to_send_to_and_receive_from() {
    run(async {
        let (near, far) = (any().await, any().await);
        let (from, to) = (near.local_addr().unwrap(), far.local_addr().unwrap());
        let mut buffer = [0; 16];
        poll_fn(|cx| near.poll_send_to(cx, b"one", to)).await.unwrap();
        far.readable().await.unwrap();
        assert_eq!(far.peek_from(&mut buffer).await.unwrap(), (3, from));
        assert_eq!(poll_fn(|cx| far.poll_peek_from(cx, &mut buffer)).await.unwrap(), (3, from));
        assert_eq!(far.try_peek_from(&mut buffer).unwrap(), (3, from));
        assert_eq!(far.peek(&mut buffer).await.unwrap(), 3);
        assert_eq!(poll_fn(|cx| far.poll_recv_from(cx, &mut buffer)).await.unwrap(), (3, from));
        near.try_send_to(b"three", to).unwrap();
        assert!(far.ready(Interest::READABLE).await.unwrap().is_readable());
        assert_eq!(far.try_recv_from(&mut buffer).unwrap(), (5, from));
        assert_eq!(&buffer[..5], b"three");
        assert_eq!(near.send(b"nowhere").await.unwrap_err().raw_os_error(), Some(libc::EDESTADDRREQ));

        far.connect(from).await.unwrap();
        near.connect(to).await.unwrap();
        assert_eq!(near.peer_addr().unwrap(), to);
        near.writable().await.unwrap();
        poll_fn(|cx| near.poll_send_ready(cx)).await.unwrap();
        poll_fn(|cx| near.poll_send(cx, b"four")).await.unwrap();
        poll_fn(|cx| far.poll_recv_ready(cx)).await.unwrap();
        assert_eq!(poll_fn(|cx| far.poll_recv(cx, &mut buffer)).await.unwrap(), 4);
        near.try_send(b"five!").unwrap();
        let call = || socket2::SockRef::from(&far).recv(&mut [std::mem::MaybeUninit::uninit(); 8]);
        assert_eq!(far.async_io(Interest::READABLE, call).await.unwrap(), 5);
        assert_eq!(far.try_recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn options_reach_the_kernel() {
    run(async {
        let socket = any().await;
        socket.set_broadcast(true).unwrap();
        socket.set_ttl(7).unwrap();
        socket.set_tos_v4(0x10).unwrap();
        socket.set_multicast_loop_v4(false).unwrap();
        socket.set_multicast_ttl_v4(3).unwrap();
        assert!(socket.broadcast().unwrap());
        assert_eq!((socket.ttl().unwrap(), socket.tos_v4().unwrap()), (7, 0x10));
        assert!(!socket.multicast_loop_v4().unwrap());
        assert_eq!(socket.multicast_ttl_v4().unwrap(), 3);
        let group = Ipv4Addr::new(239, 1, 2, 3);
        socket.join_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap();
        socket.leave_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap();
        assert!(socket.join_multicast_v4(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST).is_err());
        assert_eq!(socket.device().unwrap(), None);
        assert!(socket.bind_device(Some(b"no-such-thing")).is_err());
        assert!(format!("{socket:?}").contains("UdpSocket"));
    });
}

#[test]
fn to_std_and_back_blocking_or_not() {
    run(async {
        let std = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::from_std(std).unwrap();
        let address = socket.local_addr().unwrap();
        // Still blocking it would hold the worker here, for ever.
        let mut buffer = [0; 8];
        assert!(poll_once(socket.recv(&mut buffer)).await.is_none());
        let std = socket.into_std().unwrap();
        assert_eq!(std.local_addr().unwrap(), address);
        let socket = UdpSocket::try_from(std).unwrap();
        let fd = OwnedFd::try_from(socket).unwrap();
        assert_eq!(std::net::UdpSocket::from(fd).local_addr().unwrap(), address);
    });
}

#[test]
fn it_needs_a_runtime_and_outlives_it_with_errors() {
    assert!(block_on(UdpSocket::bind("127.0.0.1:0")).is_err());
    let runtime = runtime();
    let socket = runtime.block_on(any());
    drop(runtime);
    assert!(block_on(socket.recv(&mut [0; 8])).is_err());
}
