//! What one asks the kernel about a [`TcpStream`], and tells it: addresses, the pending error, socket options.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::stream::TcpStream;
use crate::addr;

impl TcpStream {
    /// The address at this end.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        addr::of(self.socket().options().local_addr()?)
    }

    /// The address at the other end.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        addr::of(self.socket().options().peer_addr()?)
    }

    /// Takes the error that waits at the socket (`SO_ERROR`), if there is one. The next read or write does not see it then.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket().options().take_error()
    }

    /// Whether small writes leave at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket().options().tcp_nodelay()
    }

    /// Sets `TCP_NODELAY`: a small write leaves at once instead of waiting for the acknowledgement of the one before.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket().options().set_tcp_nodelay(nodelay)
    }

    /// Whether the kernel acknowledges what arrives at once (`TCP_QUICKACK`), for the time being.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn quickack(&self) -> io::Result<bool> {
        self.socket().options().tcp_quickack()
    }

    /// Sets `TCP_QUICKACK`: what arrives is acknowledged at once instead of with the next write, or up to 40 ms later.
    ///
    /// It does not last: the kernel goes back to its own judgement after a few packets. Who needs it sets it again after each read. It does not
    /// turn off what the *peer* waits for; that is [`set_nodelay`](Self::set_nodelay), at the peer's end.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// # runtime.block_on(async {
    /// # let listener = egret_net::TcpListener::bind("127.0.0.1:0").await?;
    /// let stream = egret_net::TcpStream::connect(listener.local_addr()?).await?;
    /// stream.set_quickack(true)?;
    /// assert!(stream.quickack()?);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        self.socket().options().set_tcp_quickack(quickack)
    }

    /// How long closing goes on trying to send what was written (`SO_LINGER`, whole seconds); `None` is the kernel's default.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.socket().options().linger()
    }

    /// Sets `SO_LINGER`. Anything but zero makes the worker that closes the socket block for up to that time, which is rarely wanted; for
    /// zero there is [`set_zero_linger`](Self::set_zero_linger).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.socket().options().set_linger(linger)
    }

    /// Makes closing throw away what was not sent yet and reset the connection: the peer reads `ConnectionReset`. Nothing blocks, and nothing is
    /// left in `TIME_WAIT`.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.set_linger(Some(Duration::ZERO))
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
