//! [`Sender`]: what goes into a pipe.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use egret_executor::io::Direction;
use futures_io::AsyncWrite;

use super::end::{End, end_methods};
use crate::{Interest, Ready};

/// The writing end of a pipe. Dropping it is how the stream ends; closing by `futures-io`'s or tokio's traits does nothing before that.
///
/// Writes of up to 4,096 bytes (`PIPE_BUF`) are done as a whole or not at all, so several senders don't mix them. Without receivers a write is `BrokenPipe`. It
/// comes with a SIGPIPE, which Rust programs ignore from the start.
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
///     // More than the kernel keeps: it goes on as the receiver reads.
///     let writing = egret_executor::spawn(async move { sender.write_all(&[7; 200_000]).await });
///     let mut buffer = vec![0; 200_000];
///     receiver.read_exact(&mut buffer).await?;
///     writing.await.expect("no panic")?;
///     Ok(())
/// })
/// # }
/// ```
pub struct Sender(pub(super) End);

end_methods!(Sender, Write, "writing", writable, poll_write_ready);

impl Sender {
    /// Writes as much of `data` as the pipe takes and says how much that was; waits if it takes nothing.
    ///
    /// # Errors
    ///
    /// Those of write(2): `BrokenPipe` without receivers; an error when the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: bytes move only in the very poll that returns their number.
    pub async fn write(&self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        self.0.when_ready(|mut file| file.write(data)).await
    }

    /// Writes all of `data`.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a part may be written.
    pub async fn write_all(&self, data: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < data.len() {
            match self.write(&data[written..]).await? {
                0 => return Err(io::Error::new(io::ErrorKind::WriteZero, "the pipe takes no more data")),
                n => written += n,
            }
        }
        Ok(())
    }

    /// [`write`](Self::write) without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the pipe takes nothing now; otherwise as [`write`](Self::write).
    pub fn try_write(&self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        self.0.now(|mut file| file.write(data))
    }

    /// [`try_write`](Self::try_write) from several buffers in one system call.
    ///
    /// # Errors
    ///
    /// As [`try_write`](Self::try_write).
    pub fn try_write_vectored(&self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        if data.iter().all(|part| part.is_empty()) {
            return Ok(0);
        }
        self.0.now(|mut file| file.write_vectored(data))
    }
}

impl AsyncWrite for &Sender {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.0.poll_when_ready(cx, |mut file| file.write(data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if data.iter().all(|part| part.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        self.0.poll_when_ready(cx, |mut file| file.write_vectored(data))
    }

    /// Nothing to do: there is no buffer but the kernel's.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Nothing to do: dropping it is what ends the stream.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Sender {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write_vectored(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_close(cx)
    }
}
