//! [`UdpSocket`]. How it waits, and what it shares with other sockets that carry messages, is in [`crate::message`]; its options are in
//! [`options`].

mod options;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::task::{Context, Poll};

use egret_executor::io::Direction;
use socket2::{Domain, Protocol, Type};

use crate::addr::{self, ToSocketAddrs};
use crate::direct;
use crate::message::{
    Named, from_methods, message_methods, now, poll_when_ready, room, std_conversions, when_ready,
};

/// A UDP socket.
///
/// All methods take `&self`, and any number of tasks may send and receive at the same time: share it with an `Arc`. Each datagram goes to
/// one receiver. The `poll_*` methods wait in one place per direction: the last task to ask is the one that is woken.
///
/// # When nobody listens
///
/// A connected socket hears of it if nothing is bound at the other end. The next call, a send or a receive, answers
/// `ConnectionRefused`, once. The socket stays usable.
///
/// # Closing
///
/// Dropping the socket closes it before `drop` returns: the port can be bound again at once.
///
/// # Examples
///
/// ```
/// use egret_net::UdpSocket;
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// runtime.block_on(async {
///     let server = UdpSocket::bind("127.0.0.1:0").await?;
///     let client = UdpSocket::bind("127.0.0.1:0").await?;
///     client.connect(server.local_addr()?).await?;
///     client.send(b"ping").await?;
///
///     let mut buffer = [0; 1500];
///     let (length, from) = server.recv_from(&mut buffer).await?;
///     assert_eq!(&buffer[..length], b"ping");
///     server.send_to(b"pong", from).await?;
///     let length = client.recv(&mut buffer).await?;
///     assert_eq!(&buffer[..length], b"pong");
///     Ok(())
/// })
/// # }
/// ```
pub struct UdpSocket {
    socket: Named,
}

message_methods!(UdpSocket, SocketAddr, addr::of);
from_methods!(
    UdpSocket,
    SocketAddr,
    addr::of,
    "[`peek`](Self::peek)",
    peek_from,
    peek_from,
    poll_peek_from,
    try_peek_from
);
std_conversions!(UdpSocket, std::net::UdpSocket);

impl UdpSocket {
    /// Binds to `address`; of several addresses to the first that can be had. Port 0 asks the kernel for a free one.
    ///
    /// # Errors
    ///
    /// The last address's error; see [`ToSocketAddrs`] for those of resolving; an error outside a runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing bound.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        let mut outcome = Err(addr::none());
        for &address in address.resolve().await?.as_slice() {
            outcome = Self::bind_one(address);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    fn bind_one(address: SocketAddr) -> io::Result<Self> {
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = socket2::Socket::new_raw(Domain::for_address(address), kind, Some(Protocol::UDP))?;
        socket.bind(&address.into())?;
        Self::register(socket.into())
    }

    fn register(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { socket: Named::new(fd)? })
    }

    /// Takes over a socket of the standard library and makes it nonblocking, whether it was or not.
    ///
    /// # Errors
    ///
    /// Those of ioctl(2); an error outside a runtime.
    pub fn from_std(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Self::register(socket.into())
    }

    /// Connects to `address`, of several addresses to the first that can be reached: it is where [`send`](Self::send) sends to, and only what comes from
    /// there is received. Nothing is sent.
    ///
    /// # Errors
    ///
    /// The last address's error; see [`ToSocketAddrs`] for those of resolving.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the socket as it was.
    pub async fn connect(&self, address: impl ToSocketAddrs) -> io::Result<()> {
        let mut outcome = Err(addr::none());
        for &address in address.resolve().await?.as_slice() {
            outcome = self.socket.options().connect(&address.into());
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Sends `data` as one datagram to `target`, the first if it is several; also an empty one. Returns its length.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); see [`ToSocketAddrs`] for those of resolving.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the datagram is sent in the very poll that says so.
    pub async fn send_to(&self, data: &[u8], target: impl ToSocketAddrs) -> io::Result<usize> {
        let target = *target.resolve().await?.as_slice().first().ok_or_else(addr::none)?;
        let target = target.into();
        when_ready(&self.socket, Direction::Write, |socket| socket.send_to(data, &target)).await
    }

    /// [`send_to`](Self::send_to) for hand-written futures. Of several tasks only the last to call is woken.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        data: &[u8],
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        let target = target.into();
        poll_when_ready(&self.socket, cx, Direction::Write, |socket| socket.send_to(data, &target))
    }

    /// [`send_to`](Self::send_to) without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the kernel takes nothing now; otherwise as [`send`](Self::send).
    pub fn try_send_to(&self, data: &[u8], target: SocketAddr) -> io::Result<usize> {
        let target = target.into();
        now(&self.socket, Direction::Write, |socket| socket.send_to(data, &target))
    }

    /// Receives one datagram without taking it: the next receive gets the same one. Waits if there is none.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is taken.
    pub fn peek(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
        when_ready(&self.socket, Direction::Read, move |socket| socket.peek(room(buffer)))
    }

    /// [`peek`](Self::peek) for hand-written futures. Of several tasks only the last to call is woken.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn poll_peek(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        poll_when_ready(&self.socket, cx, Direction::Read, |socket| socket.peek(room(buffer)))
    }

    /// [`peek`](Self::peek) without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is no datagram; otherwise as [`recv`](Self::recv).
    pub fn try_peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        now(&self.socket, Direction::Read, |socket| socket.peek(room(buffer)))
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSocket")
            .field("fd", &self.as_raw_fd())
            .field("local_addr", &self.local_addr().ok())
            .field("peer_addr", &self.peer_addr().ok())
            .finish()
    }
}
