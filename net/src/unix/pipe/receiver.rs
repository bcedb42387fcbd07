//! [`Receiver`]: what comes out of a pipe.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use egret_executor::io::Direction;
use futures_io::AsyncRead;

use super::end::{End, end_methods};
use crate::{Interest, Ready};

/// The reading end of a pipe.
///
/// The end of the stream is where all senders have gone. A FIFO's need not be for good: when somebody opens it for writing again, reading waits again. A FIFO
/// that nobody has opened for writing yet is not at its end, reading waits. With [`OpenOptions::read_write`](super::OpenOptions::read_write) there is no
/// end at all.
///
/// # Examples
///
/// What a child process says:
///
/// ```
/// use egret_net::unix::pipe;
/// use std::process::Command;
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// runtime.block_on(async {
///     let (sender, receiver) = pipe::pipe()?;
///     let mut child = Command::new("echo").arg("hello").stdout(sender.into_blocking_fd()?).spawn()?;
///     let (mut said, mut buffer) = (Vec::new(), [0; 64]);
///     while let n @ 1.. = receiver.read(&mut buffer).await? {
///         said.extend_from_slice(&buffer[..n]);
///     }
///     assert_eq!(said, b"hello\n");
///     child.wait()?;
///     Ok(())
/// })
/// # }
/// ```
pub struct Receiver(pub(super) End);

end_methods!(Receiver, Read, "reading", readable, poll_read_ready);

impl Receiver {
    /// Reads what is there into `buffer` and says how many bytes; waits if nothing is. 0 is the end of the stream, or an empty `buffer`.
    ///
    /// # Errors
    ///
    /// Those of read(2); an error when the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: bytes move only in the very poll that returns their number.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.0.when_ready(|mut file| file.read(buffer)).await
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
    pub async fn read_exact(&self, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]).await? {
                0 => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the pipe ended before the buffer was full",
                    ));
                }
                n => filled += n,
            }
        }
        Ok(())
    }

    /// [`read`](Self::read) without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is nothing to read now, and no end; otherwise as [`read`](Self::read).
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.0.now(|mut file| file.read(buffer))
    }

    /// [`try_read`](Self::try_read) into several buffers in one system call.
    ///
    /// # Errors
    ///
    /// As [`try_read`](Self::try_read).
    pub fn try_read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Ok(0);
        }
        self.0.now(|mut file| file.read_vectored(buffers))
    }
}

impl AsyncRead for &Receiver {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.0.poll_when_ready(cx, |mut file| file.read(buffer))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        self.0.poll_when_ready(cx, |mut file| file.read_vectored(buffers))
    }
}

impl AsyncRead for Receiver {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read(cx, buffer)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read_vectored(cx, buffers)
    }
}
