//! The options of a [`TcpSocket`]: one system call each.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::TcpSocket;

impl TcpSocket {
    /// Sets `SO_KEEPALIVE`: the kernel asks a peer that has been silent for long whether it is still there, and ends the connection when it isn't.
    ///
    /// How long that is comes from `net.ipv4.tcp_keepalive_time` and its neighbours: two hours, then 9 questions 75 seconds apart. For
    /// other times use `socket2`, which turns it on, too:
    ///
    /// ```
    /// use socket2::{SockRef, TcpKeepalive};
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let socket = egret_net::TcpSocket::new_v4()?;
    /// let times = TcpKeepalive::new()
    ///     .with_time(Duration::from_secs(60))
    ///     .with_interval(Duration::from_secs(10))
    ///     .with_retries(3);
    /// SockRef::from(&socket).set_tcp_keepalive(&times)?;
    /// assert!(socket.keepalive()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_keepalive(&self, keepalive: bool) -> io::Result<()> {
        self.socket.set_keepalive(keepalive)
    }

    /// Whether the kernel asks after a silent peer.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn keepalive(&self) -> io::Result<bool> {
        self.socket.keepalive()
    }

    /// Sets `SO_REUSEADDR`: [`bind`](Self::bind) succeeds although connections of a predecessor at the same port are still in `TIME_WAIT`. A server
    /// wants it; [`TcpListener::bind`](crate::TcpListener::bind) sets it.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_reuseaddr(&self, reuseaddr: bool) -> io::Result<()> {
        self.socket.set_reuse_address(reuseaddr)
    }

    /// Whether `SO_REUSEADDR` is set.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn reuseaddr(&self) -> io::Result<bool> {
        self.socket.reuse_address()
    }

    /// Sets `SO_REUSEPORT`: several sockets, of one process or of several of the same user, listen at one port, if all of them have set it before
    /// they bind. The kernel deals new connections out among them by their addresses, evenly and for good: one that is dealt to a listener which does
    /// not accept waits there, and is reset when that listener closes.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// # runtime.block_on(async {
    /// let listen = |address| {
    ///     let socket = egret_net::TcpSocket::new_v4()?;
    ///     socket.set_reuseport(true)?;
    ///     socket.bind(address)?;
    ///     socket.listen(1024)
    /// };
    /// let first = listen("127.0.0.1:0".parse().unwrap())?;
    /// let second = listen(first.local_addr()?)?;
    /// assert_eq!(first.local_addr()?, second.local_addr()?);
    /// # std::io::Result::Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_reuseport(&self, reuseport: bool) -> io::Result<()> {
        self.socket.set_reuse_port(reuseport)
    }

    /// Whether `SO_REUSEPORT` is set.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn reuseport(&self) -> io::Result<bool> {
        self.socket.reuse_port()
    }

    /// Sets the size of the kernel's send buffer (`SO_SNDBUF`), in bytes. The kernel cuts it to `net.core.wmem_max`, doubles it for its own book-keeping,
    /// and no longer adapts it to the connection: without a reason it is best left alone.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_send_buffer_size(&self, size: u32) -> io::Result<()> {
        self.socket.set_send_buffer_size(size as usize)
    }

    /// The size of the kernel's send buffer, in bytes; after [`set_send_buffer_size`](Self::set_send_buffer_size) twice what was asked for.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn send_buffer_size(&self) -> io::Result<u32> {
        // The kernel's own type is a C `int`, and the size is never negative.
        self.socket.send_buffer_size().map(|size| size as u32)
    }

    /// Sets the size of the kernel's receive buffer (`SO_RCVBUF`), in bytes. Before connecting or listening it also bounds the window that peers are
    /// offered. The kernel cuts it to `net.core.rmem_max`, doubles it for its own book-keeping, and no longer adapts it.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_recv_buffer_size(&self, size: u32) -> io::Result<()> {
        self.socket.set_recv_buffer_size(size as usize)
    }

    /// The size of the kernel's receive buffer, in bytes; after [`set_recv_buffer_size`](Self::set_recv_buffer_size) twice what was asked for.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn recv_buffer_size(&self) -> io::Result<u32> {
        self.socket.recv_buffer_size().map(|size| size as u32)
    }

    /// Sets `SO_LINGER`, in whole seconds. Anything but zero makes the worker that closes the connection block for up to that time, which is
    /// rarely wanted; for zero there is [`set_zero_linger`](Self::set_zero_linger).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_linger(&self, dur: Option<Duration>) -> io::Result<()> {
        self.socket.set_linger(dur)
    }

    /// Makes closing throw away what was not sent yet and reset the connection. Nothing blocks, and nothing is left in `TIME_WAIT`.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.set_linger(Some(Duration::ZERO))
    }

    /// How long closing goes on trying to send what was written; `None` is the kernel's default.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.socket.linger()
    }

    /// Sets `TCP_NODELAY`: a small write leaves at once instead of waiting for the acknowledgement of the one before.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.set_tcp_nodelay(nodelay)
    }

    /// Whether small writes leave at once.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket.tcp_nodelay()
    }

    /// Sets the type of service, the second byte of the IPv4 header. The two lowest bits are the kernel's.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_tos_v4(&self, tos: u32) -> io::Result<()> {
        self.socket.set_tos_v4(tos)
    }

    /// The type of service.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn tos_v4(&self) -> io::Result<u32> {
        self.socket.tos_v4()
    }

    /// Sets the traffic class, which is to IPv6 what the type of service is to IPv4.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2): `ENOPROTOOPT` for an IPv4 socket.
    pub fn set_tclass_v6(&self, tclass: u32) -> io::Result<()> {
        self.socket.set_tclass_v6(tclass)
    }

    /// The traffic class.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2): `EOPNOTSUPP` for an IPv4 socket.
    pub fn tclass_v6(&self) -> io::Result<u32> {
        self.socket.tclass_v6()
    }

    /// The interface that the socket is bound to, by name.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn device(&self) -> io::Result<Option<Vec<u8>>> {
        self.socket.device()
    }

    /// Sends and receives through the interface of this name only (`SO_BINDTODEVICE`); `None` undoes it.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2): `ENODEV` if there is no such interface, `PermissionDenied` to change it without `CAP_NET_RAW`.
    pub fn bind_device(&self, interface: Option<&[u8]>) -> io::Result<()> {
        self.socket.bind_device(interface)
    }

    /// Lets [`listen`](Self::listen) take data with the first packet of a client that has been here before (`TCP_FASTOPEN`, RFC 7413), a round trip
    /// early, for at most `queue` such connections that haven't finished their handshake. 0 turns it off.
    ///
    /// Such data may arrive twice: use it for requests that may be made twice. It needs bit 2 in `net.ipv4.tcp_fastopen`, which
    /// is off on most machines; without it the option has no effect, and that is no error.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_fastopen(&self, queue: u32) -> io::Result<()> {
        let queue = libc::c_int::try_from(queue).unwrap_or(libc::c_int::MAX);
        set_tcp_option(&self.socket, libc::TCP_FASTOPEN, queue)
    }

    /// What [`set_fastopen`](Self::set_fastopen) has set: the bound of the queue, 0 for "off".
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn fastopen(&self) -> io::Result<u32> {
        // Set from a number that isn't negative.
        tcp_option(&self.socket, libc::TCP_FASTOPEN).map(|queue| queue as u32)
    }

    /// Lets [`connect`](Self::connect) put the first write into the first packet (`TCP_FASTOPEN_CONNECT`, Linux 4.11), if the server has allowed it on
    /// an earlier connection; this saves a round trip.
    ///
    /// `connect` returns at once in that case, before the server was asked: that it refuses, or isn't there, is what the first write or read
    /// says. Nothing is sent until then, so write first. The data may reach the server twice: use it for requests that may be made twice.
    ///
    /// It needs bit 1 in `net.ipv4.tcp_fastopen`, which is on by default; without it the option is an error.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2): `EOPNOTSUPP` where the machine forbids it.
    pub fn set_fastopen_connect(&self, fastopen: bool) -> io::Result<()> {
        set_tcp_option(&self.socket, libc::TCP_FASTOPEN_CONNECT, fastopen.into())
    }

    /// What [`set_fastopen_connect`](Self::set_fastopen_connect) has set.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn fastopen_connect(&self) -> io::Result<bool> {
        tcp_option(&self.socket, libc::TCP_FASTOPEN_CONNECT).map(|set| set != 0)
    }
}

/// Sets an option of the TCP level that socket2 doesn't know, and whose value is an `int`.
fn set_tcp_option(socket: &socket2::Socket, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: setsockopt(2) reads one `int`, which lives through the call; the descriptor is open as long as `socket`.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reads what [`set_tcp_option`] sets.
fn tcp_option(socket: &socket2::Socket, option: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: getsockopt(2) writes at most `length` bytes to `value`, which lives through the call and is that long.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(value) }
}
