//! Pipes: anonymous ones, to and from threads and child processes, and FIFOs in the file system.
//!
//! | item | what |
//! |---|---|
//! | [`pipe`] | a new pipe: both its ends |
//! | [`OpenOptions`] | opens an end of a FIFO |
//! | [`Sender`], [`Receiver`] | the ends |
//! | `end` | what the two have in common: the waiting |
//!
//! An end is a source over the engine's exact [`Fd`](egret_reactor::Fd), and not a socket with cached readiness. The end of a FIFO's stream is not final: when all
//! writers have gone the kernel says `HUP`, and takes it back when another one comes. A cache that holds it to be final has a reader that is always ready and
//! never has anything to read. The price is a poll(2) before each read or write.

mod end;
mod open;
mod receiver;
mod sender;
#[cfg(feature = "tokio-io")]
mod tokio_io;

use std::io;
use std::os::fd::OwnedFd;

pub use open::OpenOptions;
#[doc(inline)]
pub use receiver::Receiver;
#[doc(inline)]
pub use sender::Sender;

/// Makes a pipe. What is written into the sender comes out of the receiver; each end is the runtime's. Both are closed on exec.
///
/// To hand one to a child process make it a blocking descriptor: [`Sender::into_blocking_fd`], [`Receiver::into_blocking_fd`].
///
/// # Errors
///
/// Those of pipe(2): `EMFILE`; an error outside a runtime.
///
/// # Examples
///
/// ```
/// use egret_net::unix::pipe;
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// runtime.block_on(async {
///     let (sender, receiver) = pipe::pipe()?;
///     sender.write_all(b"hello").await?;
///     drop(sender);
///     let mut buffer = [0; 16];
///     assert_eq!(receiver.read(&mut buffer).await?, 5);
///     assert_eq!(receiver.read(&mut buffer).await?, 0); // the end
///     Ok(())
/// })
/// # }
/// ```
pub fn pipe() -> io::Result<(Sender, Receiver)> {
    let (reader, writer) = io::pipe()?;
    let sender = Sender::from_owned_fd_unchecked(OwnedFd::from(writer))?;
    let receiver = Receiver::from_owned_fd_unchecked(OwnedFd::from(reader))?;
    Ok((sender, receiver))
}
