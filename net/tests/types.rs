//! What the public types promise without being run: to be sent and shared, to be used after a panic, and what their futures promise.

use std::{
    os::fd::OwnedFd,
    panic::{RefUnwindSafe, UnwindSafe},
};

use egret_net::io::{AsyncRead, AsyncWrite, copy, copy_bidirectional, unix as any};
use egret_net::{
    Incoming, Interest, OwnedReadHalf, OwnedWriteHalf, ReadHalf, Ready, ReuniteError, TcpListener, TcpSocket,
    TcpStream, ToSocketAddrs, UdpSocket, UnixDatagram, UnixListener, UnixStream, WriteHalf, lookup_host,
    signal, splice, splice_bidirectional, unix,
};

fn all<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}
fn send<T: Send>(_: &T) {}
fn duplex<T: AsyncRead + AsyncWrite + Unpin>() {}
fn address<T: ToSocketAddrs + ?Sized>() {}

#[test]
fn public_types_are_send_sync_unpin_and_unwind_safe() {
    macro_rules! all {
        ($($kind:ty),+ $(,)?) => {$( all::<$kind>(); )+};
    }
    all!(
        TcpListener,
        TcpSocket,
        TcpStream,
        ReadHalf<'_>,
        WriteHalf<'_>,
        OwnedReadHalf,
        OwnedWriteHalf,
        Incoming<'_>,
        ReuniteError,
        Interest,
        Ready,
        UdpSocket,
        UnixStream,
        UnixListener,
        UnixDatagram,
        unix::ReadHalf<'_>,
        unix::WriteHalf<'_>,
        unix::OwnedReadHalf,
        unix::OwnedWriteHalf,
        unix::ReuniteError,
        unix::UCred,
        unix::pipe::Sender,
        unix::pipe::Receiver,
        unix::pipe::OpenOptions,
        any::AsyncFd<OwnedFd>,
        any::AsyncFdReadyGuard<'_, OwnedFd>,
        any::TryIoError,
        signal::unix::Signal,
        signal::unix::SignalKind,
    );
    // The one has an `io::Error` in it, the other a `&mut`: neither is unwind safe, wherever it is.
    fn sent<T: Send + Sync + Unpin>() {}
    sent::<any::AsyncFdRegisterError<OwnedFd>>();
    sent::<any::AsyncFdReadyMutGuard<'_, OwnedFd>>();
    duplex::<TcpStream>();
    duplex::<&TcpStream>();
    duplex::<UnixStream>();
    duplex::<&UnixStream>();
}

#[test]
fn whatever_names_an_address_is_taken() {
    address::<str>();
    address::<&str>();
    address::<String>();
    address::<&String>();
    address::<(&str, u16)>();
    address::<(String, u16)>();
    address::<std::net::SocketAddr>();
    address::<std::net::SocketAddrV4>();
    address::<std::net::SocketAddrV6>();
    address::<(std::net::IpAddr, u16)>();
    address::<(std::net::Ipv4Addr, u16)>();
    address::<(std::net::Ipv6Addr, u16)>();
    address::<&[std::net::SocketAddr]>();
}

#[test]
fn futures_are_send() {
    // Never polled: only their types matter.
    send(&TcpListener::bind("127.0.0.1:0"));
    send(&TcpStream::connect("127.0.0.1:0"));
    send(&UdpSocket::bind("127.0.0.1:0"));
    send(&UnixStream::connect("/nowhere"));
    send(&lookup_host("127.0.0.1:0"));
    send(&signal::ctrl_c());
    struct All<'a> {
        tcp: (&'a TcpStream, &'a TcpListener, TcpSocket),
        unix: (&'a UnixStream, &'a UnixListener),
        datagrams: (&'a UdpSocket, &'a UnixDatagram),
        pipe: (&'a unix::pipe::Sender, &'a unix::pipe::Receiver),
        fd: &'a any::AsyncFd<OwnedFd>,
        signal: &'a mut signal::unix::Signal,
    }
    fn of(all: All<'_>, buffer: &mut [u8]) {
        let (stream, listener, socket) = all.tcp;
        send(&stream.read(buffer));
        send(&stream.read_exact(buffer));
        send(&stream.write(b""));
        send(&stream.write_all(b""));
        send(&stream.peek(buffer));
        send(&stream.readable());
        send(&stream.writable());
        send(&stream.ready(Interest::WRITABLE));
        send(&stream.async_io(Interest::READABLE, || Ok(())));
        send(&listener.accept());
        send(&socket.connect(([127, 0, 0, 1], 0).into()));
        let (stream, listener) = all.unix;
        send(&stream.read(buffer));
        send(&stream.write_all(b""));
        send(&listener.accept());
        let (udp, unix) = all.datagrams;
        send(&udp.recv_from(buffer));
        send(&udp.send_to(b"", "127.0.0.1:0"));
        send(&unix.recv_from(buffer));
        send(&unix.send_to(b"", "/nowhere"));
        let (sender, receiver) = all.pipe;
        send(&sender.writable());
        send(&receiver.readable());
        send(&all.fd.readable());
        send(&all.fd.async_io(Interest::READABLE, |_| Ok(())));
        send(&all.signal.recv());
    }
    fn copies(first: &mut TcpStream, second: &mut TcpStream) {
        send(&copy(&mut *first, &mut *second));
        send(&copy_bidirectional(&mut *first, &mut *second));
        send(&splice(&*first, &*second));
        send(&splice_bidirectional(&*first, &*second));
    }
    let _ = (of, copies);
}
