//! [`UnixDatagram`]. How it waits is in [`crate::message`].

use std::fmt;
use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::task::{Context, Poll};

use egret_executor::io::Direction;

use super::addr;
use crate::direct;
use crate::message::{Named, message_methods, now, poll_when_ready, room, std_conversions, when_ready};

/// A Unix socket that carries messages, reliably and in order.
///
/// # When the receiver doesn't keep up
///
/// A connected sender waits until there is room. One that is not connected can't: the kernel tells nobody when another socket's queue has
/// room again. Use [`try_send_to`](Self::try_send_to) there, which says `WouldBlock`, or connect.
///
/// # Examples
///
/// ```
/// use egret_net::UnixDatagram;
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// runtime.block_on(async {
///     let (near, far) = UnixDatagram::pair()?;
///     near.send(b"one").await?;
///     near.send(b"").await?;
///     let mut buffer = [0; 64];
///     assert_eq!(far.recv(&mut buffer).await?, 3);
///     assert_eq!(far.recv(&mut buffer).await?, 0);
///     Ok(())
/// })
/// # }
/// ```
pub struct UnixDatagram {
    socket: Named,
}

message_methods!(UnixDatagram, SocketAddr, addr::of);
std_conversions!(UnixDatagram, std::os::unix::net::UnixDatagram);

impl UnixDatagram {
    /// Binds to `path`, which must not exist yet and stays when the socket is dropped.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if the path exists; others of bind(2); an error outside a runtime.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::from_std(std::os::unix::net::UnixDatagram::bind(path)?)
    }

    /// Binds to `address`, which may be an abstract name.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::from_std(std::os::unix::net::UnixDatagram::bind_addr(address)?)
    }

    /// A socket without a name: it can send, and nobody can send to it.
    ///
    /// # Errors
    ///
    /// Those of socket(2); an error outside a runtime.
    pub fn unbound() -> io::Result<Self> {
        Self::from_std(std::os::unix::net::UnixDatagram::unbound()?)
    }

    /// Two sockets that are connected to each other.
    ///
    /// # Errors
    ///
    /// Those of socketpair(2); an error outside a runtime.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (near, far) = std::os::unix::net::UnixDatagram::pair()?;
        Ok((Self::from_std(near)?, Self::from_std(far)?))
    }

    /// Takes over a socket of the standard library and makes it nonblocking, whether it was or not.
    ///
    /// # Errors
    ///
    /// Those of ioctl(2); an error outside a runtime.
    pub fn from_std(socket: std::os::unix::net::UnixDatagram) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Named::new(socket.into())? })
    }

    /// Connects to `path`: it is where [`send`](Self::send) sends to, and only what comes from there is received.
    ///
    /// # Errors
    ///
    /// Those of connect(2): `NotFound`, `ConnectionRefused`.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// [`connect`](Self::connect) to `address`, which may be an abstract name.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        self.socket.options().connect(&addr::for_kernel(address)?)
    }

    /// Sends `data` as one message to `path`; also an empty one. Returns its length. About a receiver whose queue is full
    /// [see above](Self#when-the-receiver-doesnt-keep-up).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); `NotFound` and `ConnectionRefused` if nobody is there.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the message is sent in the very poll that says so.
    pub async fn send_to(&self, data: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        let target = socket2::SockAddr::unix(path)?;
        when_ready(&self.socket, Direction::Write, |socket| socket.send_to(data, &target)).await
    }

    /// [`send_to`](Self::send_to) for hand-written futures. Of several tasks only the last to call is woken.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        data: &[u8],
        path: impl AsRef<Path>,
    ) -> Poll<io::Result<usize>> {
        let target = socket2::SockAddr::unix(path)?;
        poll_when_ready(&self.socket, cx, Direction::Write, |socket| socket.send_to(data, &target))
    }

    /// [`send_to`](Self::send_to) without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the receiver's queue is full; otherwise as [`send_to`](Self::send_to).
    pub fn try_send_to(&self, data: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        let target = socket2::SockAddr::unix(path)?;
        now(&self.socket, Direction::Write, |socket| socket.send_to(data, &target))
    }

    /// Ends one direction, or both, at once.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the socket is not connected.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.options().shutdown(how)
    }

    /// The name that the socket is bound to.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        addr::of(self.socket.options().local_addr()?)
    }

    /// The name that the socket is connected to.
    ///
    /// # Errors
    ///
    /// `NotConnected` if it is not.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        addr::of(self.socket.options().peer_addr()?)
    }
}

impl fmt::Debug for UnixDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixDatagram")
            .field("fd", &self.socket.as_raw_fd())
            .field("local_addr", &self.local_addr().ok())
            .finish()
    }
}
