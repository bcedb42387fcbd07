//! The futures of reads and writes, written by hand.
//!
//! An `async fn` over an `async fn` over a wait keeps its arguments once a level: 170 to 220 bytes where these have 40, and the largest of
//! a task's futures lies in its allocation as long as the connection lives.
//!
//! ```text
//!   Transfer { wait, call }:  wait for the direction ─► call ─► settle ── done ──► the number of bytes
//!                                     ▲                            │
//!                                     └──── would block, interrupted
//!   All { transfer }:  Transfer, then what is left, until nothing is
//! ```
//!
//! Nothing is kept between two calls but what is left to move: dropping one takes its task off the list of waiters, no more.

use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use egret_executor::io::{Direction, Ready, Registration};
use socket2::SockRef;

use crate::socket::{self, settle};

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
pub(crate) struct ReceiveVectored<'b, 'c>(pub(crate) &'b mut [IoSliceMut<'c>]);
/// `recv(2)` that leaves the data where it is.
pub(crate) struct Peek<'b>(pub(crate) &'b mut [u8]);
/// `send(2)`.
pub(crate) struct Send<'b>(pub(crate) &'b [u8]);
/// `sendmsg(2)` of at most as many buffers as it takes.
pub(crate) struct SendVectored<'b, 'c>(pub(crate) &'b [IoSlice<'c>]);

impl Call for Receive<'_> {
    const DIRECTION: Direction = Direction::Read;

    fn wanted(&self) -> usize {
        self.0.len()
    }

    fn call(&mut self, socket: &SockRef<'_>) -> io::Result<usize> {
        socket::receive(socket, self.0)
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
        socket::receive_vectored(socket, self.0)
    }
}

impl Call for Peek<'_> {
    const DIRECTION: Direction = Direction::Read;

    /// The data stays, and so must the readiness: one byte is all that is "wanted", so that no look is ever a short one.
    fn wanted(&self) -> usize {
        self.0.len().min(1)
    }

    fn call(&mut self, socket: &SockRef<'_>) -> io::Result<usize> {
        socket::peek(socket, self.0)
    }
}

impl Call for Send<'_> {
    const DIRECTION: Direction = Direction::Write;

    fn wanted(&self) -> usize {
        self.0.len()
    }

    fn call(&mut self, socket: &SockRef<'_>) -> io::Result<usize> {
        socket::send(socket, self.0)
    }
}

impl Divisible for Send<'_> {
    fn advance(&mut self, moved: usize) {
        self.0 = &self.0[moved..];
    }

    fn stuck() -> io::Error {
        io::Error::new(io::ErrorKind::WriteZero, "the socket takes no more data")
    }
}

impl Call for SendVectored<'_, '_> {
    const DIRECTION: Direction = Direction::Write;

    fn wanted(&self) -> usize {
        self.0.iter().map(|part| part.len()).sum()
    }

    fn call(&mut self, socket: &SockRef<'_>) -> io::Result<usize> {
        socket::send_vectored(socket, self.0)
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
        Self { wait: registration.ready(socket::events(C::DIRECTION)), call }
    }
}

impl<C: Call> Future for Transfer<'_, C> {
    type Output = io::Result<usize>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { wait, call } = self.get_mut();
        let wanted = call.wanted();
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        loop {
            let seen = ready!(Pin::new(&mut *wait).poll(cx))?;
            let registration = wait.registration();
            let outcome = call.call(&SockRef::from(registration));
            if let Some(outcome) = settle(registration, seen, C::DIRECTION, wanted, outcome) {
                return Poll::Ready(outcome);
            }
        }
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
        assert_eq!(size_of::<All<'_, Send<'_>>>(), 40);
        assert_eq!(size_of::<Wait<'_>>(), 24);
    }
}
