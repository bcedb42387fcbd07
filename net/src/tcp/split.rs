//! The two directions of a stream, borrowed: for one task that reads and writes at the same time.
//!
//! Each half holds a shared reference and nothing else. The owned pair is in [`super::split_owned`]; both offer the same
//! methods, which one macro writes down, for this and for every other kind of stream.

use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};

use super::stream::TcpStream;
use crate::{Interest, Ready};

/// The methods and traits of a reading half that holds something in `stream` which leads to a `$stream`.
macro_rules! reading_half {
    ($half:ty, $stream:ident, $address:ty) => {
        impl $half {
            #[doc = concat!("Reads what is there; see [`", stringify!($stream), "::read`].")]
            ///
            /// # Errors
            ///
            #[doc = concat!("As [`", stringify!($stream), "::read`].")]
            ///
            /// # Cancel safety
            ///
            /// Cancel safe.
            pub fn read(&mut self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
                self.stream.read(buffer)
            }

            #[doc = concat!("Reads into several buffers; see [`", stringify!($stream), "::read_vectored`].")]
            ///
            /// # Errors
            ///
            #[doc = concat!("As [`", stringify!($stream), "::read`].")]
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

            #[doc = concat!("Reads until `buffer` is full; see [`", stringify!($stream), "::read_exact`].")]
            ///
            /// # Errors
            ///
            #[doc = concat!("As [`", stringify!($stream), "::read_exact`].")]
            ///
            /// # Cancel safety
            ///
            /// Not cancel safe.
            pub fn read_exact(&mut self, buffer: &mut [u8]) -> impl Future<Output = io::Result<()>> + Send {
                self.stream.read_exact(buffer)
            }

            #[doc = concat!("Reads without taking; see [`", stringify!($stream), "::peek`].")]
            ///
            /// # Errors
            ///
            #[doc = concat!("As [`", stringify!($stream), "::read`].")]
            ///
            /// # Cancel safety
            ///
            /// Cancel safe.
            pub fn peek(&mut self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
                self.stream.peek(buffer)
            }

            #[doc = concat!("[`peek`](Self::peek) for hand-written futures; see [`", stringify!($stream), "::poll_peek`].")]
            ///
            /// # Errors
            ///
            #[doc = concat!("As [`", stringify!($stream), "::read`].")]
            pub fn poll_peek(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
                self.stream.poll_peek(cx, buffer)
            }

            #[doc = concat!("Waits until a read would not block; see [`", stringify!($stream), "::readable`].")]
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

            #[doc = concat!("Waits for `interest`; see [`", stringify!($stream), "::ready`].")]
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

            #[doc = concat!("Reads without waiting; see [`", stringify!($stream), "::try_read`].")]
            ///
            /// # Errors
            ///
            #[doc = concat!("As [`", stringify!($stream), "::try_read`].")]
            pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                self.stream.try_read(buffer)
            }

            #[doc = concat!("Reads into several buffers without waiting; see [`", stringify!($stream), "::try_read_vectored`].")]
            ///
            /// # Errors
            ///
            #[doc = concat!("As [`", stringify!($stream), "::try_read`].")]
            pub fn try_read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.stream.try_read_vectored(buffers)
            }

            /// The address at the other end.
            ///
            /// # Errors
            ///
            #[doc = concat!("As [`", stringify!($stream), "::peer_addr`].")]
            pub fn peer_addr(&self) -> io::Result<$address> {
                self.stream.peer_addr()
            }

            /// The address at this end.
            ///
            /// # Errors
            ///
            #[doc = concat!("As [`", stringify!($stream), "::local_addr`].")]
            pub fn local_addr(&self) -> io::Result<$address> {
                self.stream.local_addr()
            }
        }

        impl AsyncRead for $half {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut &*self.stream).poll_read(cx, buffer)
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut &*self.stream).poll_read_vectored(cx, buffers)
            }
        }

        impl AsRef<$stream> for $half {
            fn as_ref(&self) -> &$stream {
                &self.stream
            }
        }
    };
}

/// The methods and traits of a writing half; `poll_close` is the caller's, since owning makes a difference there.
macro_rules! writing_half {
    ($half:ty, $stream:ident, $address:ty) => {
        impl $half {
            #[doc = concat!("Writes as much as the kernel takes; see [`", stringify!($stream), "::write`].")]
            ///
            /// # Errors
            ///
            #[doc = concat!("As [`", stringify!($stream), "::write`].")]
            ///
            /// # Cancel safety
            ///
            /// Cancel safe.
            pub fn write(&mut self, data: &[u8]) -> impl Future<Output = io::Result<usize>> + Send {
                self.stream.write(data)
            }

            #[doc = concat!("Writes from several buffers; see [`", stringify!($stream), "::write_vectored`].")]
            ///
            /// # Errors
            ///
            #[doc = concat!("As [`", stringify!($stream), "::write`].")]
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

            #[doc = concat!("Writes everything; see [`", stringify!($stream), "::write_all`].")]
            ///
            /// # Errors
            ///
            #[doc = concat!("As [`", stringify!($stream), "::write_all`].")]
            ///
            /// # Cancel safety
            ///
            /// Not cancel safe.
            pub fn write_all(&mut self, data: &[u8]) -> impl Future<Output = io::Result<()>> + Send {
                self.stream.write_all(data)
            }

            #[doc = concat!("Waits until a write would not block; see [`", stringify!($stream), "::writable`].")]
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

            #[doc = concat!("Waits for `interest`; see [`", stringify!($stream), "::ready`].")]
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

            #[doc = concat!("Writes without waiting; see [`", stringify!($stream), "::try_write`].")]
            ///
            /// # Errors
            ///
            #[doc = concat!("As [`", stringify!($stream), "::try_write`].")]
            pub fn try_write(&self, data: &[u8]) -> io::Result<usize> {
                self.stream.try_write(data)
            }

            #[doc = concat!("Writes from several buffers without waiting; see [`", stringify!($stream), "::try_write_vectored`].")]
            ///
            /// # Errors
            ///
            #[doc = concat!("As [`", stringify!($stream), "::try_write`].")]
            pub fn try_write_vectored(&self, data: &[IoSlice<'_>]) -> io::Result<usize> {
                self.stream.try_write_vectored(data)
            }

            /// The address at the other end.
            ///
            /// # Errors
            ///
            #[doc = concat!("As [`", stringify!($stream), "::peer_addr`].")]
            pub fn peer_addr(&self) -> io::Result<$address> {
                self.stream.peer_addr()
            }

            /// The address at this end.
            ///
            /// # Errors
            ///
            #[doc = concat!("As [`", stringify!($stream), "::local_addr`].")]
            pub fn local_addr(&self) -> io::Result<$address> {
                self.stream.local_addr()
            }
        }

        impl AsyncWrite for $half {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut &*self.stream).poll_write(cx, data)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut &*self.stream).poll_write_vectored(cx, data)
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

        impl AsRef<$stream> for $half {
            fn as_ref(&self) -> &$stream {
                &self.stream
            }
        }
    };
}

/// The borrowed halves of a kind of stream. Invoke it once a module: the types are called the same for all of them.
macro_rules! borrowed_halves {
    ($stream:ident, $address:ty) => {
        #[doc = concat!("The reading half of a borrowed stream; made by [`", stringify!($stream), "::split`].")]
        #[derive(Debug)]
        pub struct ReadHalf<'a> {
            stream: &'a $stream,
        }

        #[doc = concat!("The writing half of a borrowed stream; made by [`", stringify!($stream), "::split`]. Dropping it does not end the direction: the stream")]
        /// lives on.
        #[derive(Debug)]
        pub struct WriteHalf<'a> {
            stream: &'a $stream,
        }

        impl<'a> ReadHalf<'a> {
            pub(crate) fn new(stream: &'a $stream) -> Self {
                Self { stream }
            }
        }

        impl<'a> WriteHalf<'a> {
            pub(crate) fn new(stream: &'a $stream) -> Self {
                Self { stream }
            }
        }

        reading_half!(ReadHalf<'_>, $stream, $address);
        writing_half!(WriteHalf<'_>, $stream, $address);

        impl WriteHalf<'_> {
            /// The direction was shut down: nothing to remember here.
            fn ended(&mut self) {}
        }
    };
}

pub(crate) use {borrowed_halves, reading_half, writing_half};

borrowed_halves!(TcpStream, SocketAddr);
