//! What the public types promise without being run: to be sent and shared, and small futures.

use egret_net::io::{AsyncRead, AsyncWrite};
use egret_net::{
    Incoming, Interest, OwnedReadHalf, OwnedWriteHalf, ReadHalf, Ready, ReuniteError, TcpListener, TcpStream,
    ToSocketAddrs, WriteHalf,
};

fn send_sync<T: Send + Sync>() {}
fn unpin<T: Unpin>() {}
fn send<T: Send>(_: &T) {}
fn duplex<T: AsyncRead + AsyncWrite + Unpin>() {}
fn address<T: ToSocketAddrs + ?Sized>() {}

#[test]
fn public_types_are_send_sync_and_unpin() {
    macro_rules! all {
        ($($kind:ty),+) => {$( send_sync::<$kind>(); unpin::<$kind>(); )+};
    }
    all!(
        TcpListener,
        TcpStream,
        ReadHalf<'_>,
        WriteHalf<'_>,
        OwnedReadHalf,
        OwnedWriteHalf,
        Incoming<'_>,
        ReuniteError,
        Interest,
        Ready
    );
    duplex::<TcpStream>();
    duplex::<&TcpStream>();
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
    fn of(stream: &TcpStream, listener: &TcpListener, buffer: &mut [u8]) {
        send(&stream.read(buffer));
        send(&stream.write(b""));
        send(&stream.write_all(b""));
        send(&stream.peek(buffer));
        send(&stream.readable());
        send(&stream.ready(Interest::WRITABLE));
        send(&listener.accept());
    }
    let _ = of;
}
