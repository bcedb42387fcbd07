//! [`UnixStream`]: one connection. What it shares with other kinds of stream is in [`crate::tcp`]'s macros, and in [`crate::message`].
//!
//! A short read is no sign that the queue is empty here: where a peer passed descriptors along, a read ends at the mark, with more behind it.
//! So reads are [`Marked`], which costs one "would block" a queue and never misses what is behind.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use egret_executor::io::Direction;
use futures_io::{AsyncRead, AsyncWrite};
use socket2::{Domain, SockRef, Type};

use super::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, UCred, WriteHalf, addr, split, ucred};
use crate::message::{poll_ready_method, readiness_methods, std_conversions};
use crate::socket::Socket;
use crate::tcp::traits::by_value;
use crate::transfer::{All, Call, Divisible, Peek, Receive, ReceiveVectored, Transmit, TransmitVectored};

/// A call whose short outcome says nothing about the next.
pub(crate) struct Marked<C>(pub(crate) C);

impl<C: Call> Call for Marked<C> {
    const DIRECTION: Direction = C::DIRECTION;

    /// With one byte "wanted" no transfer is ever a short one.
    fn wanted(&self) -> usize {
        self.0.wanted().min(1)
    }

    fn call(&mut self, socket: &SockRef<'_>) -> io::Result<usize> {
        self.0.call(socket)
    }
}

impl<C: Divisible> Divisible for Marked<C> {
    fn advance(&mut self, moved: usize) {
        self.0.advance(moved);
    }

    fn stuck() -> io::Error {
        C::stuck()
    }
}

/// A connection between two Unix sockets.
///
/// All the `async` methods take `&self` and any number of tasks may wait at the same time. The traits of `futures-io` and the `poll_*` methods
/// wait in one place per direction: the last task to ask is the one that is woken. Descriptors that a peer passes along are closed.
///
/// # Examples
///
/// ```
/// use egret_net::UnixStream;
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// runtime.block_on(async {
///     let (near, far) = UnixStream::pair()?;
///     near.write_all(b"hello").await?;
///     drop(near);
///     let mut buffer = [0; 16];
///     assert_eq!(far.read(&mut buffer).await?, 5);
///     assert_eq!(far.read(&mut buffer).await?, 0);
///     Ok(())
/// })
/// # }
/// ```
pub struct UnixStream {
    socket: Socket,
}

readiness_methods!(UnixStream);
poll_ready_method!(UnixStream, Read, poll_read_ready, readable);
poll_ready_method!(UnixStream, Write, poll_write_ready, writable);
std_conversions!(UnixStream, std::os::unix::net::UnixStream);
by_value!(UnixStream);

impl UnixStream {
    /// Connects to the listener at `path`.
    ///
    /// # Errors
    ///
    /// Those of connect(2): `NotFound`, `ConnectionRefused`, and `WouldBlock` while the listener's backlog is full, for which the kernel lets
    /// nobody wait; an error outside a runtime.
    ///
    /// # Cancel safety
    ///
    /// Nothing is awaited.
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::connect_to(&SocketAddr::from_pathname(path)?)
    }

    /// [`connect`](Self::connect) to `address`, which may be an abstract name.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    ///
    /// Nothing is awaited.
    pub async fn connect_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::connect_to(address)
    }

    fn connect_to(address: &SocketAddr) -> io::Result<Self> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = socket2::Socket::new_raw(Domain::UNIX, kind, None)?;
        socket.connect(&addr::for_kernel(address)?)?;
        Self::register(socket.into())
    }

    /// Two streams that are connected to each other.
    ///
    /// # Errors
    ///
    /// Those of socketpair(2); an error outside a runtime.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (near, far) = std::os::unix::net::UnixStream::pair()?;
        Ok((Self::from_std(near)?, Self::from_std(far)?))
    }

    #[cfg(feature = "tokio-io")]
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Takes `fd`, a connected nonblocking socket, into the current runtime.
    pub(super) fn register(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { socket: Socket::new(fd)? })
    }

    /// Takes over a connection of the standard library and makes it nonblocking, whether it was or not.
    ///
    /// # Errors
    ///
    /// Those of ioctl(2); an error outside a runtime.
    pub fn from_std(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Self::register(stream.into())
    }

    /// Reads what is there into `buffer` and says how many bytes; waits if nothing is. 0 is the end of the stream, or an empty `buffer`.
    ///
    /// # Errors
    ///
    /// Those of recv(2); an error when the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: bytes move only in the very poll that returns their number.
    pub fn read(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
        self.socket.transfer(Marked(Receive(buffer)))
    }

    /// [`read`](Self::read) into several buffers in one system call.
    ///
    /// # Errors
    ///
    /// Those of recv(2); an error when the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: bytes move only in the very poll that returns their number.
    pub fn read_vectored(
        &self,
        buffers: &mut [IoSliceMut<'_>],
    ) -> impl Future<Output = io::Result<usize>> + Send {
        self.socket.transfer(Marked(ReceiveVectored::new(buffers)))
    }

    /// Reads until `buffer` is full.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the stream ends before; otherwise as [`read`](Self::read).
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: nobody knows how much has been read.
    pub fn read_exact(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<()>> + Send {
        All(self.socket.transfer(Marked(Receive(buffer))))
    }

    /// Reads without taking: the next read sees the same bytes again.
    ///
    /// # Errors
    ///
    /// Those of recv(2); an error when the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is taken.
    pub fn peek(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
        self.socket.transfer(Peek(buffer))
    }

    /// [`peek`](Self::peek) for hand-written futures.
    ///
    /// # Errors
    ///
    /// Those of recv(2); an error when the runtime has ended.
    pub fn poll_peek(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.socket.poll_transfer(cx, Peek(buffer))
    }

    /// Writes as much of `data` as the kernel takes and says how much that was; waits if it takes nothing.
    ///
    /// # Errors
    ///
    /// Those of send(2): `BrokenPipe` when the peer has gone (never a SIGPIPE); an error when the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: bytes move only in the very poll that returns their number.
    pub fn write(&self, data: &[u8]) -> impl Future<Output = io::Result<usize>> + Send {
        self.socket.transfer(Transmit(data))
    }

    /// [`write`](Self::write) from several buffers in one system call.
    ///
    /// # Errors
    ///
    /// Those of send(2): `BrokenPipe` when the peer has gone (never a SIGPIPE); an error when the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: bytes move only in the very poll that returns their number.
    pub fn write_vectored(&self, data: &[IoSlice<'_>]) -> impl Future<Output = io::Result<usize>> + Send {
        self.socket.transfer(TransmitVectored::new(data))
    }

    /// Writes all of `data`.
    ///
    /// # Errors
    ///
    /// Those of send(2): `BrokenPipe` when the peer has gone (never a SIGPIPE); an error when the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a part may be on its way.
    pub fn write_all(&self, data: &[u8]) -> impl Future<Output = io::Result<()>> + Send {
        self.socket.write_all(data)
    }

    /// [`read`](Self::read) without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing can be moved now; otherwise as the call that waits.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.try_transfer(Marked(Receive(buffer)))
    }

    /// [`read_vectored`](Self::read_vectored) without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing can be moved now; otherwise as the call that waits.
    pub fn try_read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.socket.try_transfer(Marked(ReceiveVectored::new(buffers)))
    }

    /// [`write`](Self::write) without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing can be moved now; otherwise as the call that waits.
    pub fn try_write(&self, data: &[u8]) -> io::Result<usize> {
        self.socket.try_transfer(Transmit(data))
    }

    /// [`write_vectored`](Self::write_vectored) without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing can be moved now; otherwise as the call that waits.
    pub fn try_write_vectored(&self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.try_transfer(TransmitVectored::new(data))
    }

    /// Ends one direction, or both, at once. After `Write` the peer reads the end of the stream behind everything that was written.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection is gone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.options().shutdown(how)
    }

    /// Who is at the other end: who connected, or who listened.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn peer_cred(&self) -> io::Result<UCred> {
        ucred::of_peer(self.socket.as_fd())
    }

    /// The name of this end; those that connect usually have none.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        addr::of(self.socket.options().local_addr()?)
    }

    /// The name of the other end.
    ///
    /// # Errors
    ///
    /// Those of getpeername(2).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        addr::of(self.socket.options().peer_addr()?)
    }

    /// Borrows the two directions, to use them in one task at the same time. Costs nothing.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf::new(self), WriteHalf::new(self))
    }

    /// Takes the connection apart into two halves that can go to different tasks; [`reunite`](OwnedReadHalf::reunite) puts them together again.
    /// Dropping the write half shuts the writing direction down.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        split::into_split(self)
    }
}

impl AsyncRead for &UnixStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.socket.poll_transfer(cx, Marked(Receive(buffer)))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_transfer(cx, Marked(ReceiveVectored::new(buffers)))
    }
}

impl AsyncWrite for &UnixStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.socket.poll_transfer(cx, Transmit(data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_transfer(cx, TransmitVectored::new(data))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Shuts the writing direction down. A connection that is gone already has nothing left to close.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match self.shutdown(Shutdown::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            outcome => outcome,
        })
    }
}

impl fmt::Debug for UnixStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixStream")
            .field("fd", &self.socket.as_raw_fd())
            .field("local_addr", &self.local_addr().ok())
            .field("peer_addr", &self.peer_addr().ok())
            .finish()
    }
}
