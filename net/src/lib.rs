//! Sockets for egret: TCP, UDP and Unix, whose waiting is done by the readiness engine and whose data moves through plain nonblocking system calls.
//!
//! A socket is registered with the runtime once, for life. An operation is tried at once; if it would block, the task sleeps
//! until the engine reports the direction, and tries again. A transfer that moved less than it was asked for tells as much
//! as a "would block" does, and saves the call that would have said so.
//!
//! ```
//! use egret_net::{TcpListener, TcpStream};
//!
//! # fn main() -> std::io::Result<()> {
//! let runtime = egret_executor::Builder::new_multi_thread().worker_threads(2).build()?;
//! runtime.block_on(async {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let address = listener.local_addr()?;
//!     egret_executor::spawn(async move {
//!         loop {
//!             let Ok((stream, _)) = listener.accept().await else { break };
//!             egret_executor::spawn(async move {
//!                 let mut buffer = vec![0; 4096];
//!                 while let Ok(n @ 1..) = stream.read(&mut buffer).await {
//!                     if stream.write_all(&buffer[..n]).await.is_err() {
//!                         break;
//!                     }
//!                 }
//!             });
//!         }
//!     });
//!
//!     let client = TcpStream::connect(address).await?;
//!     client.write_all(b"to and fro").await?;
//!     let mut answer = [0; 10];
//!     client.read_exact(&mut answer).await?;
//!     assert_eq!(&answer, b"to and fro");
//!     Ok(())
//! })
//! # }
//! ```
//!
//! | module | what |
//! |---|---|
//! | `tcp` | [`TcpListener`], [`TcpStream`], their halves and traits; [`TcpSocket`] |
//! | `udp` | [`UdpSocket`] |
//! | [`unix`] | [`UnixStream`], [`UnixListener`], [`UnixDatagram`] |
//! | `message` | the loop under every datagram, and what all sockets have that carry messages |
//! | `socket`, `transfer` | the loop under every read and write: try, wait, clear; and its futures |
//! | [`io`] | the traits of `futures-io`, which the sockets implement; [`io::copy`], and [`splice`] from connection to connection |
//! | `compat` | tokio's traits for them, with the feature `tokio-io` |
//! | [`io::unix`] | [`AsyncFd`](io::unix::AsyncFd): any descriptor, awaited |
//! | [`signal`] | signals of the operating system, awaited |
//! | `ready` | [`Interest`] and [`Ready`] |
//! | `addr`, `resolve` | [`ToSocketAddrs`], [`lookup_host`], and the threads that resolve names |
//!
//! Sockets belong to the runtime in whose context they were made, may be used on any thread, and answer with an error once
//! that runtime has ended.

mod addr;
mod async_fd;
#[cfg(feature = "tokio-io")]
mod compat;
mod copy;
mod direct;
pub mod io;
mod message;
mod ready;
mod resolve;
pub mod signal;
mod socket;
mod sync;
mod tcp;
mod transfer;
mod udp;
pub mod unix;

pub use addr::{ToSocketAddrs, lookup_host};
pub use copy::splice::{splice, splice_bidirectional};
pub use ready::{Interest, Ready};
pub use tcp::{
    Incoming, OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, TcpListener, TcpSocket, TcpStream,
    WriteHalf,
};
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixListener, UnixStream};
