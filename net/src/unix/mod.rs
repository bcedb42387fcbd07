//! Unix sockets: streams, listeners, datagrams, and what comes with them.
//!
//! | item | what |
//! |---|---|
//! | [`SocketAddr`] | the standard library's: a path, an abstract name (`std::os::linux::net::SocketAddrExt`), or none |
//! | [`UCred`] | who is at the other end |
//! | [`pipe`] | pipes and FIFOs |
//! | [`ReadHalf`], [`WriteHalf`], [`OwnedReadHalf`], [`OwnedWriteHalf`], [`ReuniteError`] | the directions of a [`UnixStream`] |

mod addr;
mod datagram;
mod listener;
pub mod pipe;
mod split;
mod stream;
mod ucred;

pub use std::os::unix::net::SocketAddr;

#[doc(inline)]
pub use datagram::UnixDatagram;
#[doc(inline)]
pub use listener::UnixListener;
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
#[cfg(feature = "tokio-io")]
pub(crate) use stream::Marked;
#[doc(inline)]
pub use stream::UnixStream;
pub use ucred::UCred;
