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
use crate::tcp::{self, TcpStream};
use crate::transfer::{Call, Transmit, TransmitVectored};
use crate::unix::{self, UnixStream};

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
fn poll_read<S: Over>(stream: &S, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    // SAFETY: all that happens to the slice is that recv(2) writes bytes into it. What was initialised stays so.
    let room = unsafe { buffer.unfilled_mut() };
    let moved = ready!(stream.poll_receive(cx, ReceiveUninit(room)))?;
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
                poll_read(&*self, cx, buffer)
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

    /// Receives; where a short outcome says nothing about the next, it is not taken for the end of what is there.
    fn poll_receive(&self, cx: &mut Context<'_>, call: ReceiveUninit<'_>) -> Poll<io::Result<usize>> {
        self.over().poll_transfer(cx, call)
    }
}

impl Over for TcpStream {
    fn over(&self) -> &Socket {
        self.socket()
    }
}

impl Over for UnixStream {
    fn over(&self) -> &Socket {
        self.socket()
    }

    fn poll_receive(&self, cx: &mut Context<'_>, call: ReceiveUninit<'_>) -> Poll<io::Result<usize>> {
        self.over().poll_transfer(cx, unix::Marked(call))
    }
}

/// The halves lead to their stream.
macro_rules! halves {
    ($stream:ty: $($half:ty),*) => {$(
        impl Over for $half {
            fn over(&self) -> &Socket {
                AsRef::<$stream>::as_ref(self).over()
            }

            fn poll_receive(&self, cx: &mut Context<'_>, call: ReceiveUninit<'_>) -> Poll<io::Result<usize>> {
                AsRef::<$stream>::as_ref(self).poll_receive(cx, call)
            }
        }
    )*};
}

halves!(TcpStream: tcp::OwnedReadHalf, tcp::OwnedWriteHalf, tcp::ReadHalf<'_>, tcp::WriteHalf<'_>);
halves!(UnixStream: unix::OwnedReadHalf, unix::OwnedWriteHalf, unix::ReadHalf<'_>, unix::WriteHalf<'_>);
reads!(TcpStream, tcp::OwnedReadHalf, tcp::ReadHalf<'_>);
reads!(UnixStream, unix::OwnedReadHalf, unix::ReadHalf<'_>);
writes!(TcpStream, tcp::OwnedWriteHalf, tcp::WriteHalf<'_>);
writes!(UnixStream, unix::OwnedWriteHalf, unix::WriteHalf<'_>);
