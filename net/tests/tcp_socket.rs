//! [`TcpSocket`]: its options reach the kernel, it becomes a stream or a listener, it comes from and goes to other types.

mod support;

use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use egret_net::{TcpListener, TcpSocket, TcpStream};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use support::{listener, run};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[test]
fn it_can_be_sent_and_shared_and_so_can_its_future() {
    fn send_sync<T: Send + Sync + Unpin + std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    fn send<T: Send>(_: &T) {}
    send_sync::<TcpSocket>();
    send(&TcpSocket::new_v4().unwrap().connect(ANY_PORT));
}

#[test]
fn options_are_off_at_first_and_are_what_was_set() {
    let socket = TcpSocket::new_v4().unwrap();
    type Switch = (fn(&TcpSocket, bool) -> std::io::Result<()>, fn(&TcpSocket) -> std::io::Result<bool>);
    let switches: [Switch; 5] = [
        (TcpSocket::set_keepalive, TcpSocket::keepalive),
        (TcpSocket::set_reuseaddr, TcpSocket::reuseaddr),
        (TcpSocket::set_reuseport, TcpSocket::reuseport),
        (TcpSocket::set_nodelay, TcpSocket::nodelay),
        (TcpSocket::set_fastopen_connect, TcpSocket::fastopen_connect),
    ];
    for (index, (set, get)) in switches.into_iter().enumerate() {
        assert!(!get(&socket).unwrap(), "{index}");
        set(&socket, true).unwrap();
        assert!(get(&socket).unwrap(), "{index}");
        set(&socket, false).unwrap();
        assert!(!get(&socket).unwrap(), "{index}");
    }
    socket.set_send_buffer_size(20_000).unwrap();
    socket.set_recv_buffer_size(10_000).unwrap();
    assert_eq!(
        (socket.send_buffer_size().unwrap(), socket.recv_buffer_size().unwrap()),
        (40_000, 20_000),
        "socket(7): the kernel doubles them"
    );
    assert_eq!(socket.linger().unwrap(), None);
    socket.set_linger(Some(Duration::from_secs(3))).unwrap();
    assert_eq!(socket.linger().unwrap(), Some(Duration::from_secs(3)));
    socket.set_zero_linger().unwrap();
    assert_eq!(socket.linger().unwrap(), Some(Duration::ZERO));
    socket.set_linger(None).unwrap();
    assert_eq!(socket.linger().unwrap(), None);
    socket.set_tos_v4(0x10).unwrap();
    assert_eq!(socket.tos_v4().unwrap(), 0x10);
    assert_eq!(socket.set_tclass_v6(1).unwrap_err().raw_os_error(), Some(libc::ENOPROTOOPT));
    assert_eq!(socket.tclass_v6().unwrap_err().raw_os_error(), Some(libc::EOPNOTSUPP));
    assert!(socket.take_error().unwrap().is_none());
    assert!(SockRef::from(&socket).nonblocking().unwrap());
}

#[test]
fn the_traffic_class_of_version_six() {
    let socket = match TcpSocket::new_v6() {
        Ok(socket) => socket,
        Err(error) => return eprintln!("skipped: no IPv6 here: {error}"),
    };
    socket.set_tclass_v6(0x20).unwrap();
    assert_eq!(socket.tclass_v6().unwrap(), 0x20);
    assert_eq!(SockRef::from(&socket).local_addr().unwrap().as_socket().unwrap().ip(), Ipv6Addr::UNSPECIFIED);
}

#[test]
fn keepalive_times_are_set_through_socket2() {
    run(async {
        let socket = TcpSocket::new_v4().unwrap();
        let times =
            TcpKeepalive::new().with_time(Duration::from_secs(61)).with_interval(Duration::from_secs(7));
        SockRef::from(&socket).set_tcp_keepalive(&times).unwrap();
        assert!(socket.keepalive().unwrap());
        let (_listener, address) = listener().await;
        let stream = socket.connect(address).await.unwrap();
        assert_eq!(SockRef::from(&stream).tcp_keepalive_time().unwrap(), Duration::from_secs(61));
        assert_eq!(SockRef::from(&stream).tcp_keepalive_interval().unwrap(), Duration::from_secs(7));
    });
}

#[test]
fn a_device_by_name() {
    let socket = TcpSocket::new_v4().unwrap();
    assert_eq!(socket.device().unwrap(), None);
    let error = socket.bind_device(Some(b"no-such-thing0")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    match socket.bind_device(Some(b"lo")) {
        Ok(()) => assert_eq!(socket.device().unwrap().as_deref(), Some(&b"lo"[..])),
        // Before Linux 5.7 it takes a capability.
        Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied),
    }
}

#[test]
fn a_connection_comes_from_the_address_that_was_bound() {
    run(async {
        let (listener, address) = listener().await;
        let socket = TcpSocket::new_v4().unwrap();
        assert_eq!(socket.local_addr().unwrap(), SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0))).unwrap();
        let from = socket.local_addr().unwrap();
        assert!(format!("{socket:?}").contains("127.0.0.2"), "{socket:?}");
        assert_eq!(socket.bind(ANY_PORT).unwrap_err().kind(), ErrorKind::InvalidInput);
        let stream = socket.connect(address).await.unwrap();
        assert_eq!(stream.local_addr().unwrap(), from);
        let (accepted, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, from);
        stream.write_all(b"x").await.unwrap();
        accepted.read_exact(&mut [0]).await.unwrap();
    });
}

#[test]
fn a_connection_that_fails_says_why_and_closes_the_socket() {
    run(async {
        let hold = TcpSocket::new_v4().unwrap();
        hold.bind(ANY_PORT).unwrap();
        let nobody = hold.local_addr().unwrap();
        let error = TcpSocket::new_v4().unwrap().connect(nobody).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(ANY_PORT).unwrap();
        let from = socket.local_addr().unwrap();
        let error = socket.connect(SocketAddr::from((Ipv6Addr::LOCALHOST, 1))).await.unwrap_err();
        assert!(matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EINVAL)), "{error}");
        // Without SO_REUSEADDR this needs the port to be free.
        let again = TcpSocket::new_v4().unwrap();
        again.bind(from).unwrap();
    });
}

/// `tcp_info` of a listening socket says its backlog where a connection has its SACKs.
fn backlog(listener: &TcpListener) -> u32 {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    let fd = listener.as_raw_fd();
    // SAFETY: getsockopt(2) writes at most `length` bytes to `info`, which is that long.
    let outcome = unsafe {
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut length)
    };
    assert_eq!(outcome, 0);
    // SAFETY: all zeroes is a valid `tcp_info`, and the call has filled in what it knows.
    unsafe { info.assume_init() }.tcpi_sacked
}

#[test]
fn the_backlog_is_what_was_asked_for_and_no_more_than_somaxconn() {
    run(async {
        let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let somaxconn: u32 = somaxconn.trim().parse().unwrap();
        for (asked, got) in [(7, 7), (somaxconn + 1, somaxconn), (u32::MAX, somaxconn)] {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(ANY_PORT).unwrap();
            assert_eq!(backlog(&socket.listen(asked).unwrap()), got, "{asked}");
        }
    });
}

#[test]
fn options_go_down_to_what_is_accepted() {
    run(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_keepalive(true).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_recv_buffer_size(10_000).unwrap();
        socket.bind(ANY_PORT).unwrap();
        let listener = socket.listen(16).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(accepted.nodelay().unwrap());
        assert!(SockRef::from(&accepted).keepalive().unwrap());
        assert_eq!(SockRef::from(&accepted).recv_buffer_size().unwrap(), 20_000);
    });
}

#[test]
fn several_listeners_at_one_port_only_if_all_agree() {
    run(async {
        let listen = |address: SocketAddr, reuseport: bool| {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseport(reuseport)?;
            socket.bind(address)?;
            socket.listen(64)
        };
        let first = listen(ANY_PORT, true).unwrap();
        let address = first.local_addr().unwrap();
        assert_eq!(listen(address, false).unwrap_err().kind(), ErrorKind::AddrInUse);
        let second = listen(address, true).unwrap();
        // Dealt out by their addresses: 64 connections all go to one of the two with a probability of 2^-63.
        let clients: Vec<_> = (0..64).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let (mut at_first, mut at_second) = (0, 0);
        while at_first + at_second < clients.len() {
            futures_lite::future::or(
                async {
                    first.accept().await.unwrap();
                    at_first += 1;
                },
                async {
                    second.accept().await.unwrap();
                    at_second += 1;
                },
            )
            .await;
        }
        assert!(at_first > 0 && at_second > 0, "{at_first} and {at_second}");
    });
}

#[test]
fn a_port_in_time_wait_is_bound_again_with_reuseaddr_only() {
    run(async {
        let bind = |address: SocketAddr, reuseaddr: bool| {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(reuseaddr)?;
            socket.bind(address)?;
            socket.listen(16)
        };
        let listener = bind(ANY_PORT, true).unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = std::net::TcpStream::connect(address).unwrap();
        drop(listener.accept().await.unwrap());
        drop(listener);
        // Who closes first is left with TIME_WAIT: the server's end has done so when the client reads the end.
        assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 0);
        drop(client);
        assert_eq!(bind(address, false).unwrap_err().kind(), ErrorKind::AddrInUse);
        bind(address, true).unwrap();
    });
}

#[test]
fn with_zero_linger_closing_resets() {
    run(async {
        let (listener, address) = listener().await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_zero_linger().unwrap();
        let client = socket.connect(address).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        drop(client);
        assert_eq!(server.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

/// A socket of somebody else's, which blocks.
fn blocking() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    assert!(!socket.nonblocking().unwrap());
    socket
}

#[test]
fn a_blocking_socket_taken_over_blocks_nobody() {
    run(async {
        let socket = TcpSocket::from_std_stream(blocking().into());
        socket.bind(ANY_PORT).unwrap();
        let listener = socket.listen(16).unwrap();
        assert!(SockRef::from(&listener).nonblocking().unwrap());
        let waited = futures_lite::future::poll_once(listener.accept()).await;
        assert!(waited.is_none());
        let address = listener.local_addr().unwrap();

        let from_owned = TcpSocket::from(OwnedFd::from(blocking()));
        let raw = blocking().into_raw_fd();
        // SAFETY: `into_raw_fd` has just given the open descriptor away, and to nobody else.
        let from_raw = unsafe { TcpSocket::from_raw_fd(raw) };
        assert_eq!(from_raw.as_raw_fd(), raw);
        for socket in [from_owned, from_raw] {
            let client = socket.connect(address).await.unwrap();
            assert!(SockRef::from(&client).nonblocking().unwrap());
            let (server, _) = listener.accept().await.unwrap();
            server.write_all(b"x").await.unwrap();
            client.read_exact(&mut [0]).await.unwrap();
        }
    });
}

#[test]
fn it_goes_where_descriptors_are_wanted() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(ANY_PORT).unwrap();
    let address = socket.local_addr().unwrap();
    let socket = Socket::from(OwnedFd::from(socket));
    assert_eq!(socket.local_addr().unwrap().as_socket(), Some(address));
    drop(socket);
    let raw = TcpSocket::new_v4().unwrap().into_raw_fd();
    // SAFETY: as above: it is open, and nobody else's.
    drop(unsafe { OwnedFd::from_raw_fd(raw) });
}

#[test]
fn outside_a_runtime_there_is_an_error_and_no_panic() {
    let (held, address) = {
        let held = std::net::TcpListener::bind(ANY_PORT).unwrap();
        let address = held.local_addr().unwrap();
        (held, address)
    };
    let connect = TcpSocket::new_v4().unwrap().connect(address);
    let error = futures_lite::future::block_on(connect).unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");
    drop(held);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(ANY_PORT).unwrap();
    let error = socket.listen(1).unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");
}

/// Twice, since the first connection is the one that asks for the cookie. Where the machine doesn't offer Fast Open to servers it is a plain
/// connection, and has to work just the same.
#[test]
fn fast_open_connects_and_carries_the_first_write() {
    let allowed = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_fastopen").unwrap();
    let allowed: u32 = allowed.trim().parse().unwrap();
    if allowed & 2 == 0 {
        eprintln!("only as a plain connection: net.ipv4.tcp_fastopen is {allowed}, without the servers' bit");
    }
    run(async {
        let socket = TcpSocket::new_v4().unwrap();
        assert_eq!(socket.fastopen().unwrap(), 0);
        socket.set_fastopen(5).unwrap();
        assert_eq!(socket.fastopen().unwrap(), 5);
        socket.bind(ANY_PORT).unwrap();
        let listener = socket.listen(16).unwrap();
        let address = listener.local_addr().unwrap();
        for round in 0..2 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_fastopen_connect(true).unwrap();
            let client = socket.connect(address).await.unwrap();
            if allowed & 3 == 3 && round > 0 {
                // Nothing was sent so far, so nobody can have come.
                assert!(futures_lite::future::poll_once(listener.accept()).await.is_none());
            }
            client.write_all(b"early").await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 5];
            server.read_exact(&mut buffer).await.unwrap();
            assert_eq!(&buffer, b"early");
            server.write_all(b"late").await.unwrap();
            client.read_exact(&mut buffer[..4]).await.unwrap();
            assert_eq!(&buffer[..4], b"late");
        }
    });
}
