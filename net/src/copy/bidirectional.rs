//! [`copy_bidirectional`]: a relay between two streams.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};

use super::{BUFFER, pump::Pump};

/// One direction of it.
enum Way {
    Moving(Pump),
    /// The reader is at its end, the writer is told.
    Closing(u64),
    Closed(u64),
}

impl Way {
    fn new(size: usize) -> Self {
        Self::Moving(Pump::new(size))
    }

    fn poll<R, W>(&mut self, cx: &mut Context<'_>, reader: &mut R, writer: &mut W) -> Poll<io::Result<u64>>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        loop {
            *self = match self {
                Self::Moving(pump) => Self::Closing(ready!(pump.poll(cx, reader, writer))?),
                Self::Closing(moved) => {
                    ready!(Pin::new(&mut *writer).poll_close(cx))?;
                    Self::Closed(*moved)
                }
                Self::Closed(moved) => return Poll::Ready(Ok(*moved)),
            };
        }
    }
}

/// Moves what `a` gives into `b` and what `b` gives into `a`, until both are at their end. Says how many bytes went from `a` to `b`, and from `b` to `a`.
///
/// When one is at its end the other is closed for writing, and the other direction goes on: a half-closed connection stays one. There are
/// 8 KiB for each direction.
///
/// # Errors
///
/// The first of any of the four. The other direction is left where it is then: drop the streams.
///
/// # Cancel safety
///
/// Not cancel safe: up to 8 KiB that were read in each direction may be lost.
///
/// # Examples
///
/// A relay: what comes to its port goes on to another, and back.
///
/// ```
/// use egret_net::{TcpListener, TcpStream, io};
/// use std::net::Shutdown;
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// runtime.block_on(async {
///     let (relay, target) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
///     let (here, there) = (relay.local_addr()?, target.local_addr()?);
///     let relaying = egret_executor::spawn(async move {
///         let (mut client, _) = relay.accept().await?;
///         let mut server = TcpStream::connect(there).await?;
///         io::copy_bidirectional(&mut client, &mut server).await
///     });
///
///     let client = TcpStream::connect(here).await?;
///     client.write_all(b"a question").await?;
///     client.shutdown(Shutdown::Write)?;
///
///     let (server, _) = target.accept().await?;
///     let mut question = [0; 10];
///     server.read_exact(&mut question).await?;
///     assert_eq!(server.read(&mut [0]).await?, 0); // the end is passed on,
///     server.write_all(b"the answer").await?; // and an answer comes back all the same
///     drop(server);
///
///     let mut answer = [0; 10];
///     client.read_exact(&mut answer).await?;
///     assert_eq!(relaying.await.expect("no panic")?, (10, 10));
///     Ok(())
/// })
/// # }
/// ```
pub async fn copy_bidirectional<A, B>(a: &mut A, b: &mut B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    copy_bidirectional_with_sizes(a, b, BUFFER, BUFFER).await
}

/// [`copy_bidirectional`] with buffers of these many bytes.
///
/// # Errors
///
/// As [`copy_bidirectional`].
///
/// # Panics
///
/// If a size is zero.
///
/// # Cancel safety
///
/// Not cancel safe: what is in the buffers may be lost.
pub async fn copy_bidirectional_with_sizes<A, B>(
    a: &mut A,
    b: &mut B,
    a_to_b_buf_size: usize,
    b_to_a_buf_size: usize,
) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    let (mut there, mut back) = (Way::new(a_to_b_buf_size), Way::new(b_to_a_buf_size));
    poll_fn(|cx| {
        // Both, before either is waited for.
        let there = there.poll(cx, a, b)?;
        let back = back.poll(cx, b, a)?;
        match (there, back) {
            (Poll::Ready(there), Poll::Ready(back)) => Poll::Ready(Ok((there, back))),
            _ => Poll::Pending,
        }
    })
    .await
}
