//! [`UnixListener`]. Its loop is TCP's, [`crate::tcp::accept`].

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::task::{Context, Poll};

use socket2::SockRef;

use super::{UnixStream, addr};
use crate::message::{Named, descriptor_traits, std_conversions};
use crate::sync::Mutex;
use crate::tcp::accept::{self, Pace};

/// A Unix socket that listens for connections.
///
/// Accepting goes on when it fails for lack of descriptors or memory, and skips broken connections, as
/// [`TcpListener`](crate::TcpListener#when-accepting-fails) does.
///
/// Dropping it closes it before `drop` returns. A path stays in the file system: remove it before binding it again. An abstract name goes.
///
/// # Examples
///
/// ```
/// use std::os::linux::net::SocketAddrExt;
/// use egret_net::{UnixListener, UnixStream, unix::SocketAddr};
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// runtime.block_on(async {
///     let name = SocketAddr::from_abstract_name(format!("egret-doc-{}", std::process::id()))?;
///     let listener = UnixListener::bind_addr(&name)?;
///     let client = UnixStream::connect_addr(&name).await?;
///     let (server, _) = listener.accept().await?;
///     assert_eq!(server.peer_cred()?.pid(), Some(std::process::id() as i32));
///     client.write_all(b"hello").await?;
///     let mut buffer = [0; 5];
///     server.read_exact(&mut buffer).await?;
///     assert_eq!(&buffer, b"hello");
///     Ok(())
/// })
/// # }
/// ```
pub struct UnixListener {
    socket: Named,
    /// The pause of `poll_accept`, which has no future of its own to keep it in.
    pace: Mutex<Pace>,
}

descriptor_traits!(UnixListener);
std_conversions!(UnixListener, std::os::unix::net::UnixListener);

impl UnixListener {
    /// Listens at `path`, which must not exist yet.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if the path exists; others of bind(2); an error outside a runtime.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Listens at `address`, which may be an abstract name.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::from_std(std::os::unix::net::UnixListener::bind_addr(address)?)
    }

    /// Takes over a listening socket of the standard library and makes it nonblocking.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the socket does not listen; an error outside a runtime.
    pub fn from_std(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        if !SockRef::from(&listener).is_listener()? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the socket is not listening: call listen(2) before from_std",
            ));
        }
        listener.set_nonblocking(true)?;
        Ok(Self { socket: Named::new(listener.into())?, pace: Mutex::default() })
    }

    /// Waits for the next connection. Any number of tasks may wait; each connection goes to one of them.
    ///
    /// # Errors
    ///
    /// Only those of the listener itself, or when the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a connection is taken from the kernel only in the very poll that returns it.
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        finish(accept::next(&self.socket).await?)
    }

    /// [`accept`](Self::accept) for hand-written futures. Of several tasks only the last to call it is woken.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(UnixStream, SocketAddr)>> {
        accept::poll_next(&self.socket, &self.pace, cx).map(|accepted| finish(accepted?))
    }

    /// The name that the listener is bound to.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        addr::of(self.socket.options().local_addr()?)
    }
}

fn finish((socket, from): (socket2::Socket, socket2::SockAddr)) -> io::Result<(UnixStream, SocketAddr)> {
    let from = addr::of(from)?;
    Ok((UnixStream::register(socket.into())?, from))
}

impl fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixListener")
            .field("fd", &self.socket.as_raw_fd())
            .field("local_addr", &self.local_addr().ok())
            .finish()
    }
}
