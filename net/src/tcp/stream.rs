//! [`TcpStream`]: one connection. How it is made is in [`super::connect`]; how its reads and writes wait in [`crate::socket`]; how it is split
//! in [`super::split`] and [`super::split_owned`]; its addresses and options are in [`super::options`].

use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use egret_executor::io::Direction;

use super::limit::Permit;
use super::split::{ReadHalf, WriteHalf};
use super::split_owned::{OwnedReadHalf, OwnedWriteHalf, into_split};
use crate::socket::Socket;
use crate::transfer::{Peek, Receive, ReceiveVectored, Transmit, TransmitVectored, Wait};
use crate::{Interest, Ready};

/// A TCP connection.
///
/// # Reading and writing
///
/// Every operation is tried at once and only waits if it has to. All the `async` methods take `&self` and any number of tasks may wait at the
/// same time, so a connection can be read and written from two tasks without splitting it; what two concurrent reads, or
/// two concurrent writes, get of the stream is up to chance. The traits [`AsyncRead`](futures_io::AsyncRead) and [`AsyncWrite`](futures_io::AsyncWrite) and the `poll_*` methods wait in
/// one place per direction: the last task to ask is the one that is woken.
///
/// Urgent data (RFC 6093 advises against it) is skipped. A read ends where it was; what is behind it may be announced only when more
/// arrives, or the end of the stream.
///
/// # Closing
///
/// Dropping the stream closes the connection: the peer reads the end of the stream once it has read what was sent, or a
/// reset if it had sent something that nobody read. The system call is made with the next batch of the worker that
/// serves the socket. For an orderly end in one direction see [`shutdown`](Self::shutdown).
///
/// # Examples
///
/// ```
/// use egret_net::{TcpListener, TcpStream};
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// runtime.block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let address = listener.local_addr()?;
///     let echo = egret_executor::spawn(async move {
///         let (stream, _) = listener.accept().await?;
///         let mut buffer = [0; 1024];
///         loop {
///             match stream.read(&mut buffer).await? {
///                 0 => return Ok::<(), std::io::Error>(()),
///                 n => stream.write_all(&buffer[..n]).await?,
///             }
///         }
///     });
///
///     let stream = TcpStream::connect(address).await?;
///     stream.write_all(b"hello").await?;
///     let mut answer = [0; 5];
///     stream.read_exact(&mut answer).await?;
///     assert_eq!(&answer, b"hello");
///     drop(stream);
///     echo.await.expect("the task did not panic")
/// })
/// # }
/// ```
pub struct TcpStream {
    link: Link,
}

/// A connection, and what came with it.
enum Link {
    Plain(Socket),
    /// One of those that a listener counts. In a box, so that the others are not bigger for it.
    Counted(Box<Counted>),
}

/// The fields are dropped in this order: first the connection, then its permit.
struct Counted {
    socket: Socket,
    _permit: Permit,
}

// There is one for each connection: which of the two it is has to fit where the socket has room.
const _: () = assert!(size_of::<TcpStream>() == size_of::<Socket>());

impl TcpStream {
    /// Takes `fd`, a connected nonblocking socket, into the current runtime.
    pub(crate) fn register(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { link: Link::Plain(Socket::new(fd)?) })
    }

    /// The same for one that holds `permit` as long as it lives.
    pub(crate) fn register_counted(fd: OwnedFd, permit: Permit) -> io::Result<Self> {
        let socket = Socket::new(fd)?;
        Ok(Self { link: Link::Counted(Box::new(Counted { socket, _permit: permit })) })
    }

    /// Takes over a connection of the standard library and makes it nonblocking.
    ///
    /// # Errors
    ///
    /// Those of ioctl(2); an error outside a runtime.
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Self::register(stream.into())
    }

    /// Takes the connection out of the runtime. It stays nonblocking: call
    /// [`set_nonblocking(false)`](std::net::TcpStream::set_nonblocking) if blocking is what is wanted. It no longer counts among its listener's
    /// [`max_connections`](crate::TcpListener::max_connections).
    ///
    /// # Errors
    ///
    /// If the runtime cannot let go of the descriptor; the connection is closed then.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        let socket = match self.link {
            Link::Plain(socket) => socket,
            Link::Counted(counted) => counted.socket,
        };
        socket.into_fd().map(Into::into)
    }

    /// The socket, for the traits and the options.
    #[inline]
    pub(crate) fn socket(&self) -> &Socket {
        match &self.link {
            Link::Plain(socket) => socket,
            Link::Counted(counted) => &counted.socket,
        }
    }

    /// Reads what is there into `buffer` and says how many bytes; waits if nothing is. 0 is the end of the stream, or an empty `buffer`.
    ///
    /// # Errors
    ///
    /// Those of recv(2), `ConnectionReset` above all; an error when the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: bytes are taken from the kernel only in the very poll that returns them.
    pub fn read(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
        self.socket().transfer(Receive(buffer))
    }

    /// [`read`](Self::read) into several buffers, one after the other, in one system call.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`read`](Self::read).
    pub fn read_vectored(
        &self,
        buffers: &mut [IoSliceMut<'_>],
    ) -> impl Future<Output = io::Result<usize>> + Send {
        self.socket().transfer(ReceiveVectored::new(buffers))
    }

    /// Reads until `buffer` is full.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the stream ends before; otherwise as [`read`](Self::read). How much was read before an error is unknown.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: what has been read so far stays in `buffer`, and nobody knows how much it is.
    pub fn read_exact(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<()>> + Send {
        self.socket().read_exact(buffer)
    }

    /// Reads without taking: the next read sees the same bytes again. 0 is the end of the stream, or an empty `buffer`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is taken.
    pub fn peek(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
        self.socket().transfer(Peek(buffer))
    }

    /// [`peek`](Self::peek) for hand-written futures.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn poll_peek(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.socket().poll_transfer(cx, Peek(buffer))
    }

    /// Writes as much of `data` as the kernel takes and says how much that was; waits if it takes nothing. 0 only for empty `data`.
    ///
    /// # Errors
    ///
    /// Those of send(2): `BrokenPipe` and `ConnectionReset` when the peer has gone (never a SIGPIPE); an error when the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: bytes go to the kernel only in the very poll that returns their number.
    pub fn write(&self, data: &[u8]) -> impl Future<Output = io::Result<usize>> + Send {
        self.socket().transfer(Transmit(data))
    }

    /// [`write`](Self::write) from several buffers, one after the other, in one system call (of more than 1024 the first 1024).
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`write`](Self::write).
    pub fn write_vectored(&self, data: &[IoSlice<'_>]) -> impl Future<Output = io::Result<usize>> + Send {
        self.socket().transfer(TransmitVectored::new(data))
    }

    /// Writes all of `data`.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write). How much was written before an error is unknown.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a part may be on its way, and nobody knows how much.
    pub fn write_all(&self, data: &[u8]) -> impl Future<Output = io::Result<()>> + Send {
        self.socket().write_all(data)
    }

    /// Waits until one of the directions in `interest` is ready, and says which are.
    ///
    /// # Errors
    ///
    /// When the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is consumed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::ErrorKind::WouldBlock;
    /// use egret_net::{Interest, TcpListener, TcpStream};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// # runtime.block_on(async {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let client = TcpStream::connect(listener.local_addr()?).await?;
    /// let (server, _) = listener.accept().await?;
    /// client.write_all(b"ping").await?;
    ///
    /// let mut buffer = [0; 16];
    /// let n = loop {
    ///     let ready = server.ready(Interest::READABLE).await?;
    ///     assert!(ready.is_readable());
    ///     match server.try_read(&mut buffer) {
    ///         Err(error) if error.kind() == WouldBlock => continue,
    ///         outcome => break outcome?,
    ///     }
    /// };
    /// assert_eq!(&buffer[..n], b"ping");
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        Ok(Ready::new(self.socket().seen(interest).await?.events))
    }

    /// Waits until a read would not block. It may turn out to block all the same.
    ///
    /// # Errors
    ///
    /// When the runtime has ended, or the engine can't take the socket (`ENOMEM`).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is consumed.
    pub fn readable(&self) -> impl Future<Output = io::Result<()>> + Send {
        Wait(self.socket().seen(Interest::READABLE))
    }

    /// Waits until a write would not block. It may turn out to block all the same.
    ///
    /// # Errors
    ///
    /// When the runtime has ended, or the engine can't take the socket (`ENOMEM`).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is consumed.
    pub fn writable(&self) -> impl Future<Output = io::Result<()>> + Send {
        Wait(self.socket().seen(Interest::WRITABLE))
    }

    /// [`readable`](Self::readable) for hand-written futures; shares its place with [`AsyncRead`](futures_io::AsyncRead).
    ///
    /// # Errors
    ///
    /// When the runtime has ended.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_ready(cx, Direction::Read).map_ok(drop)
    }

    /// [`writable`](Self::writable) for hand-written futures; shares its place with [`AsyncWrite`](futures_io::AsyncWrite).
    ///
    /// # Errors
    ///
    /// When the runtime has ended.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_ready(cx, Direction::Write).map_ok(drop)
    }

    /// [`read`](Self::read) without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is nothing to read now; otherwise as [`read`](Self::read).
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket().try_transfer(Receive(buffer))
    }

    /// [`read_vectored`](Self::read_vectored) without waiting.
    ///
    /// # Errors
    ///
    /// As [`try_read`](Self::try_read).
    pub fn try_read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.socket().try_transfer(ReceiveVectored::new(buffers))
    }

    /// [`write`](Self::write) without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the kernel takes nothing now; otherwise as [`write`](Self::write).
    pub fn try_write(&self, data: &[u8]) -> io::Result<usize> {
        self.socket().try_transfer(Transmit(data))
    }

    /// [`write_vectored`](Self::write_vectored) without waiting.
    ///
    /// # Errors
    ///
    /// As [`try_write`](Self::try_write).
    pub fn try_write_vectored(&self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket().try_transfer(TransmitVectored::new(data))
    }

    /// Runs `call`, a nonblocking operation on this socket's descriptor, if a direction in `interest` is known to be ready. Its `WouldBlock`
    /// tells the runtime that it is not. With both directions in `interest` it may be run once for each, and costs a poll(2) when it would block.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing is known to be ready (`call` is not run then); otherwise what `call` answers. `call` must not say
    /// `WouldBlock` unless the socket did: the runtime would wait for an event that has already been.
    pub fn try_io<R>(&self, interest: Interest, call: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        self.socket().try_io(interest, call)
    }

    /// Waits for `interest`, runs `call` as in [`try_io`](Self::try_io), and repeats both while `call` answers `WouldBlock`.
    ///
    /// Ask for the direction that `call` needs: with both in `interest` it is repeated for as long as either is ready.
    ///
    /// # Errors
    ///
    /// What `call` answers; an error when the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe as far as `call` is: nothing is awaited after it.
    pub async fn async_io<R>(
        &self,
        interest: Interest,
        mut call: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            self.socket().seen(interest).await?;
            match self.socket().try_io(interest, &mut call) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
        }
    }

    /// Ends one direction, or both. After `Write` the peer reads the end of the stream behind everything that was written, and can still send.
    ///
    /// Takes effect at once, for every task that uses the connection, and does not wait for anything.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection is gone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket().options().shutdown(how)
    }

    /// Borrows the two directions, to use them in one task at the same time. Costs nothing.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf::new(self), WriteHalf::new(self))
    }

    /// Takes the connection apart into two halves that can go to different tasks; [`reunite`](OwnedReadHalf::reunite) puts them together
    /// again. Dropping the write half shuts the writing direction down.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        into_split(self)
    }
}
