//! The two directions of a stream, borrowed: for one task that reads and writes at the same time.
//!
//! Each half holds a shared reference and nothing else. The owned pair is in [`super::split_owned`]; both offer the same
//! methods, which one macro writes down.

use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};

use super::stream::TcpStream;
use crate::{Interest, Ready};

/// The reading half of a borrowed stream; made by [`TcpStream::split`].
#[derive(Debug)]
pub struct ReadHalf<'a> {
    stream: &'a TcpStream,
}

/// The writing half of a borrowed stream; made by [`TcpStream::split`]. Dropping it does not end the direction: the stream
/// lives on.
#[derive(Debug)]
pub struct WriteHalf<'a> {
    stream: &'a TcpStream,
}

impl<'a> ReadHalf<'a> {
    pub(crate) fn new(stream: &'a TcpStream) -> Self {
        Self { stream }
    }
}

impl<'a> WriteHalf<'a> {
    pub(crate) fn new(stream: &'a TcpStream) -> Self {
        Self { stream }
    }
}

/// The methods and traits of a reading half that holds something in `stream` which leads to a [`TcpStream`].
macro_rules! reading_half {
    ($half:ty) => {
        impl $half {
            /// Reads what is there; see [`TcpStream::read`].
            ///
            /// # Errors
            ///
            /// As [`TcpStream::read`].
            ///
            /// # Cancel safety
            ///
            /// Cancel safe.
            pub fn read(&mut self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
                self.stream.read(buffer)
            }

            /// Reads into several buffers; see [`TcpStream::read_vectored`].
            ///
            /// # Errors
            ///
            /// As [`TcpStream::read`].
            ///
            /// # Cancel safety
            ///
            /// Cancel safe.
            pub fn read_vectored(
                &mut self,
                buffers: &mut [IoSliceMut<'_>],
            ) -> impl Future<Output = io::Result<usize>> + Send {
                self.stream.read_vectored(buffers)
            }

            /// Reads until `buffer` is full; see [`TcpStream::read_exact`].
            ///
            /// # Errors
            ///
            /// As [`TcpStream::read_exact`].
            ///
            /// # Cancel safety
            ///
            /// Not cancel safe.
            pub fn read_exact(&mut self, buffer: &mut [u8]) -> impl Future<Output = io::Result<()>> + Send {
                self.stream.read_exact(buffer)
            }

            /// Reads without taking; see [`TcpStream::peek`].
            ///
            /// # Errors
            ///
            /// As [`TcpStream::read`].
            ///
            /// # Cancel safety
            ///
            /// Cancel safe.
            pub fn peek(&mut self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
                self.stream.peek(buffer)
            }

            /// [`peek`](Self::peek) for hand-written futures; see [`TcpStream::poll_peek`].
            ///
            /// # Errors
            ///
            /// As [`TcpStream::read`].
            pub fn poll_peek(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
                self.stream.poll_peek(cx, buffer)
            }

            /// Waits until a read would not block; see [`TcpStream::readable`].
            ///
            /// # Errors
            ///
            /// When the runtime has ended.
            ///
            /// # Cancel safety
            ///
            /// Cancel safe.
            pub fn readable(&self) -> impl Future<Output = io::Result<()>> + Send {
                self.stream.readable()
            }

            /// Waits for `interest`; see [`TcpStream::ready`].
            ///
            /// # Errors
            ///
            /// When the runtime has ended.
            ///
            /// # Cancel safety
            ///
            /// Cancel safe.
            pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
                self.stream.ready(interest).await
            }

            /// Reads without waiting; see [`TcpStream::try_read`].
            ///
            /// # Errors
            ///
            /// As [`TcpStream::try_read`].
            pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                self.stream.try_read(buffer)
            }

            /// Reads into several buffers without waiting; see [`TcpStream::try_read_vectored`].
            ///
            /// # Errors
            ///
            /// As [`TcpStream::try_read`].
            pub fn try_read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.stream.try_read_vectored(buffers)
            }

            /// The address at the other end.
            ///
            /// # Errors
            ///
            /// As [`TcpStream::peer_addr`].
            pub fn peer_addr(&self) -> io::Result<SocketAddr> {
                self.stream.peer_addr()
            }

            /// The address at this end.
            ///
            /// # Errors
            ///
            /// As [`TcpStream::local_addr`].
            pub fn local_addr(&self) -> io::Result<SocketAddr> {
                self.stream.local_addr()
            }
        }

        impl AsyncRead for $half {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                self.stream.socket().poll_transfer(cx, $crate::transfer::Receive(buffer))
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                self.stream.socket().poll_transfer(cx, $crate::transfer::ReceiveVectored::new(buffers))
            }
        }

        impl AsRef<TcpStream> for $half {
            fn as_ref(&self) -> &TcpStream {
                &self.stream
            }
        }
    };
}

/// The methods and traits of a writing half; `poll_close` is the caller's, since owning makes a difference there.
macro_rules! writing_half {
    ($half:ty) => {
        impl $half {
            /// Writes as much as the kernel takes; see [`TcpStream::write`].
            ///
            /// # Errors
            ///
            /// As [`TcpStream::write`].
            ///
            /// # Cancel safety
            ///
            /// Cancel safe.
            pub fn write(&mut self, data: &[u8]) -> impl Future<Output = io::Result<usize>> + Send {
                self.stream.write(data)
            }

            /// Writes from several buffers; see [`TcpStream::write_vectored`].
            ///
            /// # Errors
            ///
            /// As [`TcpStream::write`].
            ///
            /// # Cancel safety
            ///
            /// Cancel safe.
            pub fn write_vectored(
                &mut self,
                data: &[IoSlice<'_>],
            ) -> impl Future<Output = io::Result<usize>> + Send {
                self.stream.write_vectored(data)
            }

            /// Writes everything; see [`TcpStream::write_all`].
            ///
            /// # Errors
            ///
            /// As [`TcpStream::write_all`].
            ///
            /// # Cancel safety
            ///
            /// Not cancel safe.
            pub fn write_all(&mut self, data: &[u8]) -> impl Future<Output = io::Result<()>> + Send {
                self.stream.write_all(data)
            }

            /// Waits until a write would not block; see [`TcpStream::writable`].
            ///
            /// # Errors
            ///
            /// When the runtime has ended.
            ///
            /// # Cancel safety
            ///
            /// Cancel safe.
            pub fn writable(&self) -> impl Future<Output = io::Result<()>> + Send {
                self.stream.writable()
            }

            /// Waits for `interest`; see [`TcpStream::ready`].
            ///
            /// # Errors
            ///
            /// When the runtime has ended.
            ///
            /// # Cancel safety
            ///
            /// Cancel safe.
            pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
                self.stream.ready(interest).await
            }

            /// Writes without waiting; see [`TcpStream::try_write`].
            ///
            /// # Errors
            ///
            /// As [`TcpStream::try_write`].
            pub fn try_write(&self, data: &[u8]) -> io::Result<usize> {
                self.stream.try_write(data)
            }

            /// Writes from several buffers without waiting; see [`TcpStream::try_write_vectored`].
            ///
            /// # Errors
            ///
            /// As [`TcpStream::try_write`].
            pub fn try_write_vectored(&self, data: &[IoSlice<'_>]) -> io::Result<usize> {
                self.stream.try_write_vectored(data)
            }

            /// The address at the other end.
            ///
            /// # Errors
            ///
            /// As [`TcpStream::peer_addr`].
            pub fn peer_addr(&self) -> io::Result<SocketAddr> {
                self.stream.peer_addr()
            }

            /// The address at this end.
            ///
            /// # Errors
            ///
            /// As [`TcpStream::local_addr`].
            pub fn local_addr(&self) -> io::Result<SocketAddr> {
                self.stream.local_addr()
            }
        }

        impl AsyncWrite for $half {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.stream.socket().poll_transfer(cx, $crate::transfer::Transmit(data))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.stream.socket().poll_transfer(cx, $crate::transfer::TransmitVectored::new(data))
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let outcome = Pin::new(&mut &*self.stream).poll_close(cx);
                self.ended();
                outcome
            }
        }

        impl AsRef<TcpStream> for $half {
            fn as_ref(&self) -> &TcpStream {
                &self.stream
            }
        }
    };
}

pub(crate) use {reading_half, writing_half};

reading_half!(ReadHalf<'_>);
writing_half!(WriteHalf<'_>);

impl WriteHalf<'_> {
    /// The direction was shut down: nothing to remember here.
    fn ended(&mut self) {}
}
