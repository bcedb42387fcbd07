//! Unix sockets: streams and their halves, names of every kind, who is at the other end, messages.

mod support;

use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::sync::atomic::{AtomicU32, Ordering};

use egret_net::unix::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, SocketAddr, UCred, WriteHalf};
use egret_net::{Interest, UnixDatagram, UnixListener, UnixStream};
use futures_lite::future::{block_on, poll_once};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use support::{Random, run, runtime};

/// An abstract name that no other test has.
fn name() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from_abstract_name(format!("egret-test-{}-{number}", std::process::id())).unwrap()
}

#[test]
fn types_and_futures_can_be_sent() {
    fn all<T: Send + Sync + Unpin>() {}
    fn send<T: Send>(_: &T) {}
    all::<UnixStream>();
    all::<UnixListener>();
    all::<UnixDatagram>();
    all::<(ReadHalf<'_>, WriteHalf<'_>, OwnedReadHalf, OwnedWriteHalf, ReuniteError, UCred)>();
    fn of(stream: &UnixStream, listener: &UnixListener, datagram: &UnixDatagram, buffer: &mut [u8]) {
        send(&UnixStream::connect("x"));
        send(&stream.read(buffer));
        send(&stream.write_all(b""));
        send(&listener.accept());
        send(&datagram.recv_from(buffer));
        send(&datagram.send_to(b"", "x"));
    }
    let _ = of;
}

#[test]
fn a_large_transfer_both_ways_through_halves() {
    run(async {
        let listener = UnixListener::bind_addr(&name()).unwrap();
        let client = UnixStream::connect_addr(&listener.local_addr().unwrap()).await.unwrap();
        let (server, from) = poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
        assert!(from.is_unnamed());
        let echo = egret_executor::spawn(async move {
            let mut buffer = vec![0; 3000];
            while let n @ 1.. = server.read(&mut buffer).await.unwrap() {
                server.write_all(&buffer[..n]).await.unwrap();
            }
        });
        let data = Random::new(3).bytes(1_000_000);
        let (mut read, mut write) = client.into_split();
        let sent = data.clone();
        let writer = egret_executor::spawn(async move {
            write.write_all(&sent).await.unwrap();
            write.close().await.unwrap();
            write
        });
        let mut received = Vec::new();
        AsyncReadExt::read_to_end(&mut read, &mut received).await.unwrap();
        assert!(received == data);
        echo.await.unwrap();
        let mut whole = read.reunite(writer.await.unwrap()).unwrap();
        let (read, _write) = whole.split();
        assert!(read.local_addr().unwrap().is_unnamed());
    });
}

#[test]
fn dropping_the_owned_write_half_ends_the_direction() {
    run(async {
        let (near, far) = UnixStream::pair().unwrap();
        let (mut read, write) = near.into_split();
        drop(write);
        assert_eq!(far.read(&mut [0; 4]).await.unwrap(), 0);
        far.write_all(b"still").await.unwrap();
        let mut buffer = [0; 5];
        read.read_exact(&mut buffer).await.unwrap();
        let (_, other) = UnixStream::pair().unwrap().0.into_split();
        assert!(read.reunite(other).is_err());
    });
}

/// A read ends where descriptors were passed along, with more behind it: short, and yet not the last.
#[test]
fn what_follows_a_passed_descriptor_is_read() {
    run(async {
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let far = UnixStream::from_std(far).unwrap();
        let mut buffer = [0; 64];
        assert!(poll_once(far.read(&mut buffer)).await.is_none());
        pass_descriptor(&near, b"with");
        std::io::Write::write_all(&mut &near, b"behind").unwrap();
        assert_eq!(far.read(&mut buffer).await.unwrap(), 4);
        assert_eq!(far.read(&mut buffer).await.unwrap(), 6);
        assert_eq!(&buffer[..6], b"behind");
        assert_eq!(far.try_read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

fn pass_descriptor(socket: &std::os::unix::net::UnixStream, data: &[u8]) {
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        descriptor: [i32; 2],
    }
    let control = Control {
        header: libc::cmsghdr {
            cmsg_len: size_of::<libc::cmsghdr>() + size_of::<i32>(),
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        },
        descriptor: [socket.as_raw_fd(), 0],
    };
    let message = socket2::MsgHdr::new();
    let parts = [IoSlice::new(data)];
    // SAFETY: the bytes of a plain structure without padding, borrowed for as long as it lives.
    let bytes =
        unsafe { std::slice::from_raw_parts((&raw const control).cast::<u8>(), size_of::<Control>()) };
    let message = message.with_buffers(&parts).with_control(bytes);
    assert_eq!(socket2::SockRef::from(socket).sendmsg(&message, 0).unwrap(), data.len());
}

#[test]
fn who_is_at_the_other_end() {
    run(async {
        let (near, _far) = UnixStream::pair().unwrap();
        let peer = near.peer_cred().unwrap();
        assert_eq!(peer.pid(), Some(std::process::id() as i32));
        // SAFETY: geteuid(2) and getegid(2) always succeed.
        assert_eq!((peer.uid(), peer.gid()), unsafe { (libc::geteuid(), libc::getegid()) });
    });
}

#[test]
fn paths_and_errors() {
    run(async {
        let path = std::env::temp_dir().join(format!("egret-unix-{}", std::process::id()));
        assert_eq!(UnixStream::connect(&path).await.unwrap_err().kind(), ErrorKind::NotFound);
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(path.as_path()));
        assert_eq!(UnixListener::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        let stream = UnixStream::connect(&path).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().as_pathname(), Some(path.as_path()));
        assert!(stream.take_error().unwrap().is_none());
        // Closed before its drop returns.
        drop(listener);
        assert_eq!(UnixStream::connect(&path).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn an_accept_that_is_dropped_loses_no_connection() {
    run(async {
        let listener = UnixListener::bind_addr(&name()).unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..20 {
            assert!(poll_once(listener.accept()).await.is_none());
            let client = UnixStream::connect_addr(&address).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            server.write_all(b"x").await.unwrap();
            assert_eq!(client.read(&mut [0; 2]).await.unwrap(), 1);
        }
    });
}

#[test]
fn a_gone_peer_is_an_error_and_the_ends_are_told() {
    run(async {
        let (near, far) = UnixStream::pair().unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        assert_eq!(near.read(&mut [0; 4]).await.unwrap(), 0);
        let std = far.into_std().unwrap();
        drop(OwnedFd::from(std));
        assert_eq!(near.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert!(near.ready(Interest::READABLE).await.unwrap().is_readable());
        assert_eq!(near.read(&mut [0; 4]).await.unwrap(), 0);
        assert!(OwnedFd::try_from(near).is_ok());
    });
}

#[test]
fn messages_short_and_empty_between_every_kind_of_name() {
    run(async {
        let (near, far) =
            (UnixDatagram::bind_addr(&name()).unwrap(), UnixDatagram::bind_addr(&name()).unwrap());
        near.connect_addr(&far.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 64];
        assert!(poll_once(far.recv(&mut buffer)).await.is_none());
        for length in [5, 0, 1, 0] {
            near.send(&[7; 8][..length]).await.unwrap();
        }
        for length in [5, 0, 1, 0] {
            let (received, from) = far.recv_from(&mut buffer).await.unwrap();
            assert_eq!(received, length);
            assert_eq!(from.as_abstract_name(), near.local_addr().unwrap().as_abstract_name());
        }
        assert_eq!(far.try_recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);

        let path = std::env::temp_dir().join(format!("egret-datagram-{}", std::process::id()));
        let bound = UnixDatagram::bind(&path).unwrap();
        let anonymous = UnixDatagram::unbound().unwrap();
        anonymous.send_to(b"one", &path).await.unwrap();
        anonymous.try_send_to(b"two!", &path).unwrap();
        poll_fn(|cx| anonymous.poll_send_to(cx, b"three", &path)).await.unwrap();
        for length in [3, 4, 5] {
            let (received, from) = bound.recv_from(&mut buffer).await.unwrap();
            assert_eq!((received, from.is_unnamed()), (length, true));
        }
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn a_connected_sender_waits_for_room() {
    run(async {
        let (near, far) = UnixDatagram::pair().unwrap();
        let sender = egret_executor::spawn(async move {
            for number in 0..2000u32 {
                near.send(&number.to_be_bytes()).await.unwrap();
            }
        });
        let mut buffer = [0; 4];
        for number in 0..2000u32 {
            assert_eq!(far.recv(&mut buffer).await.unwrap(), 4);
            assert_eq!(u32::from_be_bytes(buffer), number);
        }
        sender.await.unwrap();
    });
}

#[test]
fn they_need_a_runtime_and_outlive_it_with_errors() {
    assert!(UnixStream::pair().is_err());
    let runtime = runtime();
    let (near, _far) = runtime.block_on(async { UnixStream::pair().unwrap() });
    drop(runtime);
    assert!(block_on(near.read(&mut [0; 8])).is_err());
}
