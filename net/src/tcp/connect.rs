//! Making a connection: to one address, which is an [`Attempt`]; to one of several, which is a [`Race`].

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::{Domain, Protocol, Type};

use super::race::Race;
use super::stream::TcpStream;
use crate::addr::ToSocketAddrs;

/// A connection that is being made. Dropping it abandons it.
///
/// Written by hand: an `async fn` would keep the stream twice.
pub(crate) struct Attempt {
    /// `None` once it was given away.
    stream: Option<TcpStream>,
    under_way: bool,
}

impl Attempt {
    pub(crate) fn begin(address: SocketAddr) -> io::Result<Self> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = socket2::Socket::new_raw(Domain::for_address(address), kind, Some(Protocol::TCP))?;
        Self::begin_with(socket, address)
    }

    /// With a socket of one's own, which is nonblocking.
    pub(crate) fn begin_with(socket: socket2::Socket, address: SocketAddr) -> io::Result<Self> {
        let under_way = match socket.connect(&address.into()) {
            Ok(()) => false,
            // Interrupted by a signal it goes on by itself, like any nonblocking connect.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => true,
            Err(error) => return Err(error),
        };
        Ok(Self { stream: Some(TcpStream::register(socket.into())?), under_way })
    }
}

impl Future for Attempt {
    type Output = io::Result<TcpStream>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.under_way
            && let Some(stream) = &self.stream
        {
            ready!(stream.socket().poll_connected(cx))?;
        }
        Poll::Ready(Ok(self.stream.take().expect("a finished attempt to connect was polled again")))
    }
}

impl TcpStream {
    /// Connects to `address`; of several addresses to the first that answers.
    ///
    /// A name often has several addresses, of which some don't work: a family that the network between doesn't carry, a machine that is off. They
    /// are tried as RFC 8305 ("happy eyeballs") has it: the families take turns, beginning with that of the first address; the next one is tried as
    /// soon as one has failed, or after 250 ms without an answer, beside those that are still under way. The first that connects is the one, the
    /// others are closed. (Such a one may have been connected just then, and its server sees a client that says nothing and goes.)
    ///
    /// # Errors
    ///
    /// The error of the address that failed last (`ConnectionRefused`, `TimedOut` after the kernel's two minutes, ..); see [`ToSocketAddrs`] for those
    /// of resolving; an error outside a runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the connections that are being made.
    ///
    /// # Examples
    ///
    /// ```
    /// use egret_net::{TcpListener, TcpStream};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// # runtime.block_on(async {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// // Most machines know "localhost" as [::1], too, where nobody listens now.
    /// let stream = TcpStream::connect(("localhost", listener.local_addr()?.port())).await?;
    /// assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub async fn connect(address: impl ToSocketAddrs) -> io::Result<Self> {
        let addresses = address.resolve().await?;
        match addresses.as_slice() {
            &[address] => Attempt::begin(address)?.await,
            // In a box: the future of the usual, single address is not bigger for it.
            several => Box::pin(Race::new(several)).await,
        }
    }
}
