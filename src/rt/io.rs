//! tokio's I/O traits as hyper's, and back.
//!
//! Both sides read into memory that may never have been written, each with a cursor type of its own. What the inner one filled is told to the outer one; nothing
//! is copied and nothing is zeroed.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};

pin_project! {
    /// A socket as hyper wants it: around anything with tokio's `AsyncRead` and `AsyncWrite`, which [`TcpStream`](crate::net::TcpStream) has, and a TLS stream
    /// over one. The counterpart of hyper-util's `TokioIo`.
    ///
    /// Around something of hyper's (an upgraded connection) it works in the other direction.
    ///
    /// Reads go straight into hyper's buffer, and none of it is zeroed.
    #[derive(Debug)]
    pub struct HyperIo<T> {
        #[pin]
        inner: T,
    }
}

impl<T> HyperIo<T> {
    /// Wraps `inner`.
    pub fn new(inner: T) -> Self {
        Self { inner }
    }

    /// What is wrapped.
    pub fn inner(&self) -> &T {
        &self.inner
    }

    /// What is wrapped, to be changed.
    pub fn inner_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// Unwraps it.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: AsyncRead> Read for HyperIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: nothing here makes a byte uninitialised, and safe code can't through a `ReadBuf`. An unsafe reader could, with bytes that hyper wrote and that
        // it does not fill itself: it isn't told that they were written. No reader has a reason to, and hyper-util's adapter relies on that as well.
        let mut buffer = tokio::io::ReadBuf::uninit(unsafe { cursor.as_mut() });
        let start = buffer.filled().as_ptr();
        ready!(self.project().inner.poll_read(cx, &mut buffer))?;
        // The trait is safe: nothing forbids its author to put another buffer in the place of this one.
        assert_eq!(start, buffer.filled().as_ptr(), "the reader changed the buffer itself");
        let moved = buffer.filled().len();
        // SAFETY: what is filled is initialised, and it is still this cursor's memory, from the beginning on.
        unsafe { cursor.advance(moved) };
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite> Write for HyperIo<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write_vectored(cx, data)
    }
}

impl<T: Read> AsyncRead for HyperIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: nothing here makes a byte uninitialised, and who reaches the memory through hyper's cursor has promised not to, whatever it knows of it.
        let mut inner = hyper::rt::ReadBuf::uninit(unsafe { buffer.unfilled_mut() });
        ready!(self.project().inner.poll_read(cx, inner.unfilled()))?;
        // A cursor leads to its buffer and gives no way to put another one in its place.
        let moved = inner.filled().len();
        // SAFETY: what is filled is initialised, and it begins where the unfilled part of `buffer` does.
        unsafe { buffer.assume_init(moved) };
        buffer.advance(moved);
        Poll::Ready(Ok(()))
    }
}

impl<T: Write> AsyncWrite for HyperIo<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write_vectored(cx, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::MaybeUninit;
    use std::task::Waker;

    /// Reads as much as there is room for, of tokio's kind and of hyper's.
    struct Numbers(u8);

    impl Numbers {
        fn next(&mut self) -> u8 {
            self.0 += 1;
            self.0
        }
    }

    impl AsyncRead for Numbers {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            buffer.put_slice(&[self.next(), self.next()]);
            Poll::Ready(Ok(()))
        }
    }

    /// Puts another buffer in the place of the one it was given.
    struct Swindler;

    impl AsyncRead for Swindler {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            *buffer = tokio::io::ReadBuf::new(Box::leak(Box::new([7; 8])));
            buffer.set_filled(8);
            Poll::Ready(Ok(()))
        }
    }

    fn read(reader: &mut (impl Read + Unpin), cursor: ReadBufCursor<'_>) -> io::Result<()> {
        match Pin::new(reader).poll_read(&mut Context::from_waker(Waker::noop()), cursor) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => panic!("it never waits"),
        }
    }

    #[test]
    fn what_is_filled_inside_is_filled_outside_behind_what_was_there() {
        let mut memory = [MaybeUninit::uninit(); 8];
        let mut buffer = hyper::rt::ReadBuf::uninit(&mut memory);
        let mut reader = HyperIo::new(Numbers(0));
        read(&mut reader, buffer.unfilled()).unwrap();
        read(&mut reader, buffer.unfilled()).unwrap();
        assert_eq!(buffer.filled(), [1, 2, 3, 4]);
    }

    #[test]
    fn and_the_other_way_round() {
        let mut memory = [MaybeUninit::uninit(); 8];
        let mut buffer = tokio::io::ReadBuf::uninit(&mut memory);
        // Around one that was wrapped already: tokio's, as hyper's, as tokio's.
        let mut reader = HyperIo::new(HyperIo::new(Numbers(0)));
        for _ in 0..2 {
            let reader: Pin<&mut HyperIo<HyperIo<Numbers>>> = Pin::new(&mut reader);
            let mut cx = Context::from_waker(Waker::noop());
            assert!(AsyncRead::poll_read(reader, &mut cx, &mut buffer).is_ready());
        }
        assert_eq!((buffer.filled(), buffer.initialized().len()), (&[1, 2, 3, 4][..], 4));
    }

    #[test]
    #[should_panic(expected = "the reader changed the buffer itself")]
    fn a_reader_that_swaps_the_buffer_is_found_out() {
        let mut memory = [MaybeUninit::uninit(); 8];
        let mut buffer = hyper::rt::ReadBuf::uninit(&mut memory);
        let _ = read(&mut HyperIo::new(Swindler), buffer.unfilled());
    }
}
