//! tokio's `AsyncRead` and `AsyncWrite` for the sockets.
//!
//! A [`ReadBuf`] has room that was never written. The kernel writes it, and only what it wrote is called initialised: nothing is zeroed, however large
//! the buffer and however small the read. An adapter over `futures-io`, whose buffers are plain slices, would have to.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use egret_executor::io::Direction;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::direct;
use crate::socket::Socket;
use crate::tcp::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, TcpStream, WriteHalf};
use crate::transfer::{Call, Transmit, TransmitVectored};

/// `recv(2)` into memory that may never have been written.
struct ReceiveUninit<'b>(&'b mut [MaybeUninit<u8>]);

impl Call for ReceiveUninit<'_> {
    const DIRECTION: Direction = Direction::Read;

    fn wanted(&self) -> usize {
        self.0.len()
    }

    fn call(&mut self, socket: &SockRef<'_>) -> io::Result<usize> {
        direct::receive_uninit(socket.as_fd(), self.0)
    }
}

/// Reads into the room that is left in `buffer`; with none it is done at once, as tokio's own sockets are.
fn poll_read(socket: &Socket, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    // SAFETY: all that happens to the slice is that recv(2) writes bytes into it. What was initialised stays so.
    let room = unsafe { buffer.unfilled_mut() };
    let moved = ready!(socket.poll_transfer(cx, ReceiveUninit(room)))?;
    // SAFETY: `moved` is what recv(2) said it wrote, from the beginning of the room on.
    unsafe { buffer.assume_init(moved) };
    buffer.advance(moved);
    Poll::Ready(Ok(()))
}

/// `AsyncRead` for what reads over a socket.
macro_rules! reads {
    ($($reader:ty),*) => {$(
        /// With the feature `tokio-io`. A read writes only what arrived: the rest of the buffer is not zeroed.
        impl AsyncRead for $reader {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                poll_read(self.over(), cx, buffer)
            }
        }
    )*};
}

/// `AsyncWrite` for what writes by `futures-io`'s already.
macro_rules! writes {
    ($($writer:ty),*) => {$(
        /// With the feature `tokio-io`. Writes are vectored, flushing does nothing, and shutting down ends the writing direction.
        impl AsyncWrite for $writer {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.over().poll_transfer(cx, Transmit(data))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.over().poll_transfer(cx, TransmitVectored::new(data))
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                // An owned half remembers that it did.
                futures_io::AsyncWrite::poll_close(self, cx)
            }
        }
    )*};
}

/// What reads and writes over one socket.
trait Over {
    fn over(&self) -> &Socket;
}

impl Over for TcpStream {
    fn over(&self) -> &Socket {
        self.socket()
    }
}

/// The halves lead to their stream.
macro_rules! halves {
    ($($half:ty),*) => {$(
        impl Over for $half {
            fn over(&self) -> &Socket {
                self.as_ref().socket()
            }
        }
    )*};
}

halves!(OwnedReadHalf, OwnedWriteHalf, ReadHalf<'_>, WriteHalf<'_>);
reads!(TcpStream, OwnedReadHalf, ReadHalf<'_>);
writes!(TcpStream, OwnedWriteHalf, WriteHalf<'_>);
