//! [`TcpSocket`]: a TCP socket before it knows what it will be, for options that must be set before it connects or listens. The options
//! themselves are in [`options`].
//!
//! ```text
//!   new_v4, new_v6 ──┐                           ┌─ connect ──► TcpStream
//!   from_std_stream, ├─► TcpSocket ── options ───┤
//!   a descriptor   ──┘      bind                 └─ listen ───► TcpListener
//! ```
//!
//! It belongs to no runtime until then, and nothing here waits.

mod options;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use socket2::{Domain, Protocol, Type};

use super::connect::Attempt;
use super::{TcpListener, TcpStream};
use crate::addr;

/// A TCP socket that neither listens nor is connected yet.
///
/// [`TcpListener::bind`] and [`TcpStream::connect`] do what is right most of the time. This is for the rest: options that have to be set before,
/// a local address for a connection, a backlog of one's own.
///
/// What it has no method for can be set through `socket2::SockRef`, which takes anything that is [`AsFd`]. A listener hands most options down to
/// the connections that it accepts: buffer sizes, keepalive, `TCP_NODELAY`, linger.
///
/// Without a runtime it can be made and set up; [`connect`](Self::connect) and [`listen`](Self::listen) need one.
///
/// # Examples
///
/// ```
/// use egret_net::TcpSocket;
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// runtime.block_on(async {
///     let socket = TcpSocket::new_v4()?;
///     socket.set_reuseaddr(true)?;
///     socket.set_recv_buffer_size(64 * 1024)?;
///     socket.bind("127.0.0.1:0".parse().unwrap())?;
///     let listener = socket.listen(256)?;
///
///     let socket = TcpSocket::new_v4()?;
///     socket.set_nodelay(true)?;
///     let client = socket.connect(listener.local_addr()?).await?;
///     let (_server, from) = listener.accept().await?;
///     assert_eq!(from, client.local_addr()?);
///     assert!(client.nodelay()?);
///     Ok(())
/// })
/// # }
/// ```
pub struct TcpSocket {
    socket: socket2::Socket,
    /// Nobody but us has made it: it is nonblocking.
    ours: bool,
}

impl TcpSocket {
    /// A socket for IPv4, nonblocking and close-on-exec. No option is set: unlike [`TcpListener::bind`] this does not set `SO_REUSEADDR`.
    ///
    /// # Errors
    ///
    /// Those of socket(2): no descriptors, no memory.
    pub fn new_v4() -> io::Result<Self> {
        Self::new(Domain::IPV4)
    }

    /// A socket for IPv6, nonblocking and close-on-exec. Bound to `[::]` it is for IPv4, too, unless `net.ipv6.bindv6only` says otherwise.
    ///
    /// # Errors
    ///
    /// Those of socket(2): no descriptors, no memory, no IPv6 on this machine.
    pub fn new_v6() -> io::Result<Self> {
        Self::new(Domain::IPV6)
    }

    pub(crate) fn new(domain: Domain) -> io::Result<Self> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = socket2::Socket::new_raw(domain, kind, Some(Protocol::TCP))?;
        Ok(Self { socket, ours: true })
    }

    /// Takes over a socket of the standard library, which must not be connected yet: one that `socket2` has made, say, and set up.
    ///
    /// It is made nonblocking when it connects or listens. A stream that is connected goes to [`TcpStream::from_std`].
    ///
    /// # Examples
    ///
    /// ```
    /// use egret_net::TcpSocket;
    /// use socket2::{Domain, Socket, Type};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// # runtime.block_on(async {
    /// let prepared = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    /// prepared.set_tcp_mss(1000)?;
    /// let socket = TcpSocket::from_std_stream(prepared.into());
    /// socket.bind("127.0.0.1:0".parse().unwrap())?;
    /// let listener = socket.listen(16)?;
    /// # drop(listener);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn from_std_stream(std_stream: std::net::TcpStream) -> Self {
        OwnedFd::from(std_stream).into()
    }

    /// The address that the socket is bound to; before [`bind`](Self::bind) it is the unspecified one.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        addr::of(self.socket.local_addr()?)
    }

    /// Takes the error that waits at the socket (`SO_ERROR`), if there is one.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    /// Binds to a local address: where to listen, or where to connect from. Port 0 asks the kernel for a free one.
    ///
    /// # Errors
    ///
    /// Those of bind(2): `AddrInUse` (see [`set_reuseaddr`](Self::set_reuseaddr)), `AddrNotAvailable`, `PermissionDenied` for a port below
    /// 1024, `InvalidInput` if it is bound already.
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        self.socket.bind(&addr.into())
    }

    /// Connects to `addr`.
    ///
    /// # Errors
    ///
    /// Those of connect(2): `ConnectionRefused`, `TimedOut` after the kernel's two minutes, .., `EAFNOSUPPORT` for an address of the other
    /// family; an error outside a runtime. The socket is closed then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the connection that is being made, and closes the socket.
    pub async fn connect(self, addr: SocketAddr) -> io::Result<TcpStream> {
        Attempt::begin_with(self.nonblocking()?, addr)?.await
    }

    /// Listens, with a queue of `backlog` connections that nobody has accepted yet.
    ///
    /// The kernel cuts `backlog` to `net.core.somaxconn` (4096 since Linux 5.4, 128 before), silently: raise that, too, for more. A queue that
    /// is full makes the kernel drop the last packet of further handshakes; such a client takes itself for connected, or tries again after a
    /// second. 1024, as [`TcpListener::bind`] has it, is enough for nearly everybody.
    ///
    /// # Errors
    ///
    /// Those of listen(2); an error outside a runtime. The socket is closed then.
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        // What doesn't fit is far above every somaxconn.
        self.socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        TcpListener::register(self.nonblocking()?.into())
    }

    /// The socket as the runtime wants it.
    fn nonblocking(self) -> io::Result<socket2::Socket> {
        if !self.ours {
            self.socket.set_nonblocking(true)?;
        }
        Ok(self.socket)
    }
}

impl fmt::Debug for TcpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpSocket")
            .field("fd", &self.as_raw_fd())
            .field("local_addr", &self.local_addr().ok())
            .finish()
    }
}

impl AsFd for TcpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for TcpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl IntoRawFd for TcpSocket {
    fn into_raw_fd(self) -> RawFd {
        self.socket.into_raw_fd()
    }
}

impl FromRawFd for TcpSocket {
    /// Takes over a TCP socket that is not connected yet. It is made nonblocking when it connects or listens.
    unsafe fn from_raw_fd(fd: RawFd) -> Self {
        // SAFETY: that `fd` is open, and the caller's to give away, is this function's own contract.
        unsafe { OwnedFd::from_raw_fd(fd) }.into()
    }
}

impl From<OwnedFd> for TcpSocket {
    /// As [`from_std_stream`](TcpSocket::from_std_stream).
    fn from(fd: OwnedFd) -> Self {
        Self { socket: fd.into(), ours: false }
    }
}

impl From<TcpSocket> for OwnedFd {
    /// The socket is nonblocking if [`new_v4`](TcpSocket::new_v4) or [`new_v6`](TcpSocket::new_v6) has made it.
    fn from(socket: TcpSocket) -> Self {
        socket.socket.into()
    }
}
