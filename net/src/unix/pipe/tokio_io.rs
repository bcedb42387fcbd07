//! tokio's `AsyncRead` and `AsyncWrite` for the ends of a pipe.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Receiver, Sender};

/// With the feature `tokio-io`. A read writes only what arrived: the rest of the buffer is not zeroed.
impl AsyncRead for Receiver {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.0.poll_when_ready(cx, |file| read(file, buffer))
    }
}

/// Reads into the room that is left.
fn read(file: &File, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
    // SAFETY: all that happens to the slice is that read(2) writes bytes into it. What was initialised stays so.
    let room = unsafe { buffer.unfilled_mut() };
    // SAFETY: read(2) writes at most as many bytes as there is room, which is borrowed for that. The descriptor is open as long as its borrow.
    let moved = unsafe { libc::read(file.as_raw_fd(), room.as_mut_ptr().cast(), room.len()) };
    let moved = usize::try_from(moved).map_err(|_negative| io::Error::last_os_error())?;
    // SAFETY: `moved` is what read(2) said it wrote, from the beginning of the room on.
    unsafe { buffer.assume_init(moved) };
    buffer.advance(moved);
    Ok(())
}

/// With the feature `tokio-io`. Writes are vectored; flushing and shutting down do nothing: dropping it is what ends the stream.
impl AsyncWrite for Sender {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        futures_io::AsyncWrite::poll_write(self, cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        futures_io::AsyncWrite::poll_write_vectored(self, cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_io::AsyncWrite::poll_flush(self, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_io::AsyncWrite::poll_close(self, cx)
    }
}
