//! [`TcpListener`]: binding, accepting, and giving the port back.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use socket2::{Domain, Protocol, SockRef, Type};

use super::accept::{self, Accepted, Pace};
use super::limit::{Limit, Permit};
use crate::TcpStream;
use crate::addr::{self, ToSocketAddrs};
use crate::socket::Socket;
use crate::sync::{Arc, Mutex};

/// How many connections the kernel keeps for a listener that is not accepting at the moment. tokio's value; the standard library's
/// 128 overflows when a few hundred clients arrive at once. The kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// A socket that listens for TCP connections.
///
/// # When accepting fails
///
/// [`accept`](Self::accept), [`poll_accept`](Self::poll_accept) and [`incoming`](Self::incoming) only report what is wrong with the
/// listener itself:
///
/// - A connection that broke before it was accepted (`ECONNABORTED`, `EPROTO`, and the network errors that accept(2) lists) is
///   skipped; nobody is told.
/// - Without descriptors or memory for a connection (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`) accepting pauses, first for 1 ms, then twice
///   as long each time up to 32 ms, and goes on by itself. The connections that wait are kept by the kernel; those that are
///   being served already do not notice. There is no spinning and no error to handle. (Polled outside a runtime, where no timer can
///   fire, the error is returned.)
///
/// # Closing
///
/// Dropping a listener closes it before `drop` returns: the port can be bound again at once, also while another task of the process
/// was waiting in `accept` just before. Connections that nobody has accepted are reset by the kernel.
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
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     let (server, from) = listener.accept().await?;
///     assert_eq!(from, client.local_addr()?);
///     server.write_all(b"hello").await?;
///     let mut buffer = [0; 5];
///     client.read_exact(&mut buffer).await?;
///     assert_eq!(&buffer, b"hello");
///     Ok(())
/// })
/// # }
/// ```
pub struct TcpListener {
    /// `None` only while the listener is being taken apart.
    socket: Option<Socket>,
    /// The pause of `poll_accept`, which has no future of its own to keep it in. Empty but for the time of a pause.
    pace: Mutex<Pace>,
    /// How many connections may live at the same time, if there is a bound.
    limit: Option<Arc<Limit>>,
}

impl TcpListener {
    /// Listens at `address`; of several addresses at the first that can be had.
    ///
    /// The socket gets `SO_REUSEADDR`, so that a server can be restarted while connections of its predecessor are in `TIME_WAIT`, and
    /// a backlog of 1024 (the kernel cuts it to `net.core.somaxconn`). For other options, or another
    /// backlog, use a [`TcpSocket`](crate::TcpSocket). Port 0 asks the kernel for a free one, see [`local_addr`](Self::local_addr).
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
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = socket2::Socket::new_raw(Domain::for_address(address), kind, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Self::register(socket.into())
    }

    /// Takes `fd`, a listening nonblocking socket, into the current runtime.
    pub(crate) fn register(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { socket: Some(Socket::new(fd)?), pace: Mutex::default(), limit: None })
    }

    /// Takes over a listening socket of the standard library and makes it nonblocking.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the socket does not listen; an error outside a runtime.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        if !SockRef::from(&listener).is_listener()? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the socket is not listening: call listen(2) before from_std",
            ));
        }
        listener.set_nonblocking(true)?;
        Self::register(listener.into())
    }

    /// Takes the socket out of the runtime. It keeps listening, and it stays nonblocking: call
    /// [`set_nonblocking(false)`](std::net::TcpListener::set_nonblocking) if blocking is what is wanted.
    ///
    /// # Errors
    ///
    /// If the runtime cannot let go of the descriptor; the listener is closed then.
    pub fn into_std(mut self) -> io::Result<std::net::TcpListener> {
        let socket = self.socket.take().expect("a listener has its socket until it goes");
        socket.into_fd().map(Into::into)
    }

    fn socket(&self) -> &Socket {
        self.socket.as_ref().expect("a listener has its socket until it goes")
    }

    /// Bounds the connections that live at the same time: while `limit` streams that this listener has accepted are alive, accepting waits.
    ///
    /// A stream counts until it is gone: dropped, both halves dropped, or taken out of the runtime by [`TcpStream::into_std`]. Connections beyond the
    /// bound wait in the kernel's queue: the client is connected and may have written, but nobody answers. With that queue full, too (1024
    /// connections, unless [`TcpSocket::listen`](crate::TcpSocket::listen) says otherwise), the kernel turns clients away.
    ///
    /// Of several tasks that wait in [`accept`](Self::accept) each stream that goes wakes one, in the order in which they came.
    ///
    /// It takes the listener and gives it back, since a bound belongs to a listener before its first connection. Called again it starts a new
    /// count; the streams that are alive don't belong to it.
    ///
    /// Streams are counted, not descriptors: that of a stream which was dropped is closed a moment later, with its worker's next batch. Who
    /// bounds connections for the descriptors' sake leaves a few to spare. A stream that counts costs an allocation of some 60 bytes.
    ///
    /// # Panics
    ///
    /// If `limit` is 0: nothing would ever be accepted.
    ///
    /// # Examples
    ///
    /// ```
    /// use egret_net::{TcpListener, TcpStream};
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// # runtime.block_on(async {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?.max_connections(1);
    /// let _clients = [
    ///     TcpStream::connect(listener.local_addr()?).await?,
    ///     TcpStream::connect(listener.local_addr()?).await?,
    /// ];
    /// let (first, _) = listener.accept().await?;
    /// let second = egret_executor::time::timeout(Duration::from_millis(10), listener.accept()).await;
    /// assert!(second.is_err(), "one is alive");
    ///
    /// drop(first);
    /// let (_second, _) = listener.accept().await?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[must_use = "the listener is given back"]
    #[track_caller]
    pub fn max_connections(mut self, limit: usize) -> Self {
        assert!(limit > 0, "a listener with max_connections(0) would never accept anything");
        self.limit = Some(Limit::new(limit));
        self
    }

    /// Waits for the next connection. Any number of tasks may wait; each connection goes to one of them.
    ///
    /// # Errors
    ///
    /// Only those of the listener itself, [see above](Self#when-accepting-fails), or when the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a connection, and a place among the [`max_connections`](Self::max_connections), is taken only in the very poll that returns it.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match &self.limit {
            None => finish(accept::next(self.socket()).await?, None),
            Some(limit) => {
                let (accepted, permit) = accept::next_within(self.socket(), limit).await?;
                finish(accepted, Some(permit))
            }
        }
    }

    /// [`accept`](Self::accept) for hand-written futures. Of several tasks only the last to call it is woken.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        accept::poll_next_within(self.socket(), self.limit.as_ref(), &self.pace, cx).map(|outcome| {
            let (accepted, permit) = outcome?;
            finish(accepted, permit)
        })
    }

    /// The connections as a stream that never ends by itself.
    ///
    /// It waits as [`poll_accept`](Self::poll_accept) does: use one at a time.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// The address that the listener is bound to, with the port that the kernel chose.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        addr::of(self.socket().options().local_addr()?)
    }

    /// The time to live of the packets sent from this socket, in hops (IPv4).
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket().options().ttl_v4()
    }

    /// Sets the [time to live](Self::ttl), in hops.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket().options().set_ttl_v4(ttl)
    }
}

fn finish((socket, from): Accepted, permit: Option<Permit>) -> io::Result<(TcpStream, SocketAddr)> {
    let from = addr::of(from)?;
    let stream = match permit {
        None => TcpStream::register(socket.into())?,
        Some(permit) => TcpStream::register_counted(socket.into(), permit)?,
    };
    Ok((stream, from))
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            socket.close_now();
        }
        if let Some(limit) = &self.limit {
            // The streams keep it alive, and the waker of a task that will hear nothing more is not theirs to keep.
            limit.leave_place();
        }
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket().as_raw_fd()
    }
}

impl TryFrom<std::net::TcpListener> for TcpListener {
    type Error = io::Error;

    fn try_from(listener: std::net::TcpListener) -> io::Result<Self> {
        Self::from_std(listener)
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener")
            .field("fd", &self.socket().as_raw_fd())
            .field("local_addr", &self.local_addr().ok())
            .finish()
    }
}

/// The connections of a [`TcpListener`], one after the other; made by [`TcpListener::incoming`].
#[derive(Debug)]
#[must_use = "a stream does nothing until it is polled"]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Stream for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.listener.poll_accept(cx).map(|accepted| Some(accepted.map(|(stream, _)| stream)))
    }
}
