//! [`Pump`]: one direction of a copy, without the streams, so that two of them can share a pair.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};

/// So often in one poll a reader gives something, at the most. Sockets stop by themselves, with their task's budget; streams in memory would never. A guess, as
/// that budget is.
const ROUNDS: u32 = 128;

/// What lies between a reader and a writer.
#[derive(Debug)]
pub(super) struct Pump {
    buffer: Box<[u8]>,
    /// Read, and not written yet.
    left: Range<usize>,
    at_end: bool,
    /// Something was written since the last flush.
    unflushed: bool,
    moved: u64,
}

impl Pump {
    pub(super) fn new(size: usize) -> Self {
        assert!(size > 0, "a copy needs room for a byte at least");
        Self {
            buffer: vec![0; size].into_boxed_slice(),
            left: 0..0,
            at_end: false,
            unflushed: false,
            moved: 0,
        }
    }

    /// Moves what can be moved. Ready, with the number of bytes, when the reader is at its end and everything is written and flushed; then, and
    /// after an error, it may be asked again.
    pub(super) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<io::Result<u64>>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        for _ in 0..ROUNDS {
            while !self.left.is_empty() {
                let data = &self.buffer[self.left.clone()];
                match ready!(Pin::new(&mut *writer).poll_write(cx, data))? {
                    0 => {
                        return Poll::Ready(Err(io::Error::new(
                            io::ErrorKind::WriteZero,
                            "the writer takes no more data",
                        )));
                    }
                    written => {
                        self.left.start += written;
                        self.moved += written as u64;
                        self.unflushed = true;
                    }
                }
            }
            if self.at_end {
                ready!(self.poll_flush(cx, writer))?;
                return Poll::Ready(Ok(self.moved));
            }
            match Pin::new(&mut *reader).poll_read(cx, &mut self.buffer) {
                Poll::Ready(read) => {
                    self.left = 0..read?;
                    self.at_end = self.left.is_empty();
                }
                Poll::Pending => {
                    // Who waits for an answer to what lies in the writer's buffer would wait for ever.
                    ready!(self.poll_flush(cx, writer))?;
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_flush<W>(&mut self, cx: &mut Context<'_>, writer: &mut W) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin + ?Sized,
    {
        if self.unflushed {
            ready!(Pin::new(writer).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
