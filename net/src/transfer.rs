//! The calls that move bytes, and their futures, which are written by hand.
//!
//! An `async fn` over an `async fn` over a wait keeps its arguments once a level: 170 to 220 bytes where these have 40, and the largest of
//! a task's futures lies in its allocation as long as the connection lives.
//!
//! ```text
//!   Transfer { wait, call }:  wait for the direction ─► call ── done ──► the number of bytes
//!                                     ▲                  │
//!                                     └──── would block, interrupted       (the loop is `socket::transfer`)
//!   All { transfer }:  Transfer, then what is left, until nothing is
//! ```
//!
//! Nothing is kept between two calls but what is left to move: dropping one takes its task off the list of waiters, no more.

use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use egret_executor::io::{Direction, Ready, Registration};
use egret_reactor::Events;
use socket2::SockRef;

use crate::{direct, socket};

/// The most buffers that one `sendmsg(2)` or `recvmsg(2)` takes; more are `EMSGSIZE`. The kernel's `UIO_MAXIOV`.
const MAX_BUFFERS: usize = 1024;

/// One system call that moves bytes, and the bytes.
pub(crate) trait Call: Unpin {
    /// Which way.
    const DIRECTION: Direction;

    /// How many bytes it would like to move. With none it is not made.
    fn wanted(&self) -> usize;

    /// Makes it.
    fn call(&mut self, socket: &SockRef<'_>) -> io::Result<usize>;
}

/// A call of which a part can be left to do.
pub(crate) trait Divisible: Call {
    /// The first `moved` bytes are done.
    fn advance(&mut self, moved: usize);

    /// What it means that a call moved nothing.
    fn stuck() -> io::Error;
}

/// `recv(2)` into a buffer.
pub(crate) struct Receive<'b>(pub(crate) &'b mut [u8]);
/// `recvmsg(2)` into at most as many buffers as it takes.
pub(crate) struct ReceiveVectored<'b, 'c>(&'b mut [IoSliceMut<'c>]);
/// `recv(2)` that leaves the data where it is.
pub(crate) struct Peek<'b>(pub(crate) &'b mut [u8]);
/// `send(2)`. `MSG_NOSIGNAL`: a peer that has gone is an error of this call, not a SIGPIPE for the process.
pub(crate) struct Transmit<'b>(pub(crate) &'b [u8]);
/// `sendmsg(2)` of at most as many buffers as it takes; no signal, as [`Transmit`].
pub(crate) struct TransmitVectored<'b, 'c>(&'b [IoSlice<'c>]);

impl<'b, 'c> ReceiveVectored<'b, 'c> {
    pub(crate) fn new(buffers: &'b mut [IoSliceMut<'c>]) -> Self {
        let count = buffers.len().min(MAX_BUFFERS);
        Self(&mut buffers[..count])
    }
}

impl<'b, 'c> TransmitVectored<'b, 'c> {
    pub(crate) fn new(data: &'b [IoSlice<'c>]) -> Self {
        Self(&data[..data.len().min(MAX_BUFFERS)])
    }
}

impl Call for Receive<'_> {
    const DIRECTION: Direction = Direction::Read;

    fn wanted(&self) -> usize {
        self.0.len()
    }

    fn call(&mut self, socket: &SockRef<'_>) -> io::Result<usize> {
        direct::receive(socket.as_fd(), self.0)
    }
}

impl Divisible for Receive<'_> {
    fn advance(&mut self, moved: usize) {
        self.0 = &mut std::mem::take(&mut self.0)[moved..];
    }

    fn stuck() -> io::Error {
        io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended before the buffer was full")
    }
}

impl Call for ReceiveVectored<'_, '_> {
    const DIRECTION: Direction = Direction::Read;

    fn wanted(&self) -> usize {
        self.0.iter().map(|buffer| buffer.len()).sum()
    }

    fn call(&mut self, socket: &SockRef<'_>) -> io::Result<usize> {
        (&mut &**socket).read_vectored(self.0)
    }
}

impl Call for Peek<'_> {
    const DIRECTION: Direction = Direction::Read;

    /// The data stays, and so must the readiness: one byte is all that is "wanted", so that no look is ever a short one.
    fn wanted(&self) -> usize {
        self.0.len().min(1)
    }

    fn call(&mut self, socket: &SockRef<'_>) -> io::Result<usize> {
        // SAFETY: `MaybeUninit<u8>` has the layout of `u8`, and recv(2), which is all that happens to the slice, writes only
        // bytes into it, so that it is as initialised afterwards as it was before.
        let buffer = unsafe { &mut *(std::ptr::from_mut(self.0) as *mut [MaybeUninit<u8>]) };
        socket.peek(buffer)
    }
}

impl Call for Transmit<'_> {
    const DIRECTION: Direction = Direction::Write;

    fn wanted(&self) -> usize {
        self.0.len()
    }

    fn call(&mut self, socket: &SockRef<'_>) -> io::Result<usize> {
        direct::transmit(socket.as_fd(), self.0)
    }
}

impl Divisible for Transmit<'_> {
    fn advance(&mut self, moved: usize) {
        self.0 = &self.0[moved..];
    }

    fn stuck() -> io::Error {
        io::Error::new(io::ErrorKind::WriteZero, "the socket takes no more data")
    }
}

impl Call for TransmitVectored<'_, '_> {
    const DIRECTION: Direction = Direction::Write;

    fn wanted(&self) -> usize {
        self.0.iter().map(|part| part.len()).sum()
    }

    fn call(&mut self, socket: &SockRef<'_>) -> io::Result<usize> {
        socket.send_vectored_with_flags(self.0, libc::MSG_NOSIGNAL)
    }
}

/// Makes a call as soon as it doesn't block. Cancel safe: it is made in the very poll that returns.
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub(crate) struct Transfer<'a, C> {
    wait: Ready<'a>,
    call: C,
}

impl<'a, C: Call> Transfer<'a, C> {
    pub(crate) fn new(registration: &'a Registration, call: C) -> Self {
        let events = match C::DIRECTION {
            Direction::Read => Events::IN,
            Direction::Write => Events::OUT,
        };
        Self { wait: registration.ready(events), call }
    }
}

impl<C: Call> Future for Transfer<'_, C> {
    type Output = io::Result<usize>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { wait, call } = self.get_mut();
        socket::transfer(wait.registration(), call, || Pin::new(&mut *wait).poll(cx))
    }
}

/// Makes a call again and again until everything is moved. Not cancel safe: a part may be.
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub(crate) struct All<'a, C>(pub(crate) Transfer<'a, C>);

impl<C: Divisible> Future for All<'_, C> {
    type Output = io::Result<()>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let transfer = &mut self.get_mut().0;
        while transfer.call.wanted() > 0 {
            match ready!(Pin::new(&mut *transfer).poll(cx))? {
                0 => return Poll::Ready(Err(C::stuck())),
                moved => transfer.call.advance(moved),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Waits for a readiness and throws away which.
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub(crate) struct Wait<'a>(pub(crate) Ready<'a>);

impl Future for Wait<'_> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_ok(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_as_small_as_is_said() {
        assert_eq!(size_of::<Transfer<'_, Receive<'_>>>(), 40);
        assert_eq!(size_of::<All<'_, Transmit<'_>>>(), 40);
        assert_eq!(size_of::<Wait<'_>>(), 24);
    }
}
