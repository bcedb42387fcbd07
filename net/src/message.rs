//! Sockets that carry messages: the loop under every datagram, and the methods that all of them have.
//!
//! ```text
//!              cached readiness has the direction?
//!       ┌── no: park the task until an event says so ◄──────────┐
//!       ▼                                                       │ clear(seen)
//!   the system call ──── would block ───────────────────────────┘
//!       ├── interrupted: once more
//!       └── a message, however short or empty, or an error: done; the readiness stays
//! ```
//!
//! It is not the loop of [`crate::socket`]. There a short transfer says that the kernel's queue is empty, and one of nothing is not made
//! at all. A message is as long as it is: a short one says nothing about the next, and an empty one is sent and received like
//! every other.

use std::io;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use egret_executor::io::Direction;
use egret_reactor::Readiness;
use socket2::SockRef;

use crate::Interest;
use crate::socket::Socket;

/// A socket that is closed before its drop returns, so that its address can be had again at once.
#[derive(Debug)]
pub(crate) struct Named {
    /// `None` only while it is being taken apart.
    socket: Option<Socket>,
}

impl Named {
    /// Registers `fd`, which is nonblocking already, with the current runtime.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { socket: Some(Socket::new(fd)?) })
    }

    /// Takes the descriptor out of the runtime.
    pub(crate) fn into_fd(mut self) -> io::Result<OwnedFd> {
        self.socket.take().expect("a socket is there until it goes").into_fd()
    }
}

impl Deref for Named {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        self.socket.as_ref().expect("a socket is there until it goes")
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            socket.close_now();
        }
    }
}

/// Makes `call` as soon as it doesn't block, waiting as one of any number of tasks. Cancel safe: it is made in the very poll that returns.
pub(crate) async fn when_ready<R>(
    socket: &Socket,
    direction: Direction,
    mut call: impl FnMut(&SockRef<'_>) -> io::Result<R>,
) -> io::Result<R> {
    loop {
        let seen = socket.seen(interest(direction)).await?;
        if let Some(outcome) = attempt(socket, seen, direction, &mut call) {
            return outcome;
        }
    }
}

/// [`when_ready`] for callers that have a context; one task per direction.
pub(crate) fn poll_when_ready<R>(
    socket: &Socket,
    cx: &mut Context<'_>,
    direction: Direction,
    mut call: impl FnMut(&SockRef<'_>) -> io::Result<R>,
) -> Poll<io::Result<R>> {
    loop {
        let seen = ready!(socket.poll_ready(cx, direction))?;
        if let Some(outcome) = attempt(socket, seen, direction, &mut call) {
            return Poll::Ready(outcome);
        }
    }
}

/// The same without waiting.
pub(crate) fn now<R>(
    socket: &Socket,
    direction: Direction,
    mut call: impl FnMut(&SockRef<'_>) -> io::Result<R>,
) -> io::Result<R> {
    socket.try_io(interest(direction), || call(&socket.options()))
}

/// One call. `None`: go round again.
fn attempt<R>(
    socket: &Socket,
    seen: Readiness,
    direction: Direction,
    call: &mut impl FnMut(&SockRef<'_>) -> io::Result<R>,
) -> Option<io::Result<R>> {
    match call(&socket.options()) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.clear(seen, direction),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        outcome => return Some(outcome),
    }
    None
}

fn interest(direction: Direction) -> Interest {
    match direction {
        Direction::Read => Interest::READABLE,
        Direction::Write => Interest::WRITABLE,
    }
}

/// `buffer` as socket2 wants it, for its receiving calls only.
pub(crate) fn room(buffer: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: `MaybeUninit<u8>` has the layout of `u8`. What is done with the slice is recvfrom(2), which writes only bytes into it, so that it is
    // as initialised afterwards as it was before.
    unsafe { &mut *(std::ptr::from_mut(buffer) as *mut [MaybeUninit<u8>]) }
}

/// What everything over a field `socket` has that leads to a [`Socket`]: waiting for readiness, and calls of one's own.
macro_rules! readiness_methods {
    ($kind:ident) => {
        impl $kind {
            /// Waits until one of the directions in `interest` is ready, and says which are. It may turn out to block all the same.
            ///
            /// # Errors
            ///
            /// When the runtime has ended.
            ///
            /// # Cancel safety
            ///
            /// Cancel safe: nothing is consumed.
            pub async fn ready(&self, interest: $crate::Interest) -> std::io::Result<$crate::Ready> {
                Ok($crate::Ready::new(self.socket.seen(interest).await?.events))
            }

            /// Runs `call`, a nonblocking operation on this descriptor, if a direction in `interest` is known to be ready. Its `WouldBlock`
            /// tells the runtime that it is not. With both directions in `interest` it may be run once for each.
            ///
            /// # Errors
            ///
            /// `WouldBlock` if nothing is known to be ready (`call` is not run then); otherwise what `call` answers. `call` must not say
            /// `WouldBlock` unless the descriptor did: the runtime would wait for an event that has already been.
            pub fn try_io<R>(
                &self,
                interest: $crate::Interest,
                call: impl FnMut() -> std::io::Result<R>,
            ) -> std::io::Result<R> {
                self.socket.try_io(interest, call)
            }

            /// Waits for `interest`, runs `call` as in [`try_io`](Self::try_io), and repeats both while `call` answers `WouldBlock`.
            ///
            /// # Errors
            ///
            /// What `call` answers; an error when the runtime has ended.
            ///
            /// # Cancel safety
            ///
            /// Cancel safe as far as `call` is: nothing is awaited after it.
            pub async fn async_io<R>(
                &self,
                interest: $crate::Interest,
                mut call: impl FnMut() -> std::io::Result<R>,
            ) -> std::io::Result<R> {
                loop {
                    self.socket.seen(interest).await?;
                    match self.socket.try_io(interest, &mut call) {
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        outcome => return outcome,
                    }
                }
            }
        }

        $crate::message::direction_methods!($kind, READABLE, readable, "read");
        $crate::message::direction_methods!($kind, WRITABLE, writable, "write");
        $crate::message::descriptor_traits!($kind);
    };
}

/// Waiting for one direction.
macro_rules! direction_methods {
    ($kind:ident, $interest:ident, $wait:ident, $what:literal) => {
        impl $kind {
            #[doc = concat!("Waits until a ", $what, " would not block. It may turn out to block all the same.")]
            ///
            /// # Errors
            ///
            /// When the runtime has ended, or the engine can't take the descriptor (`ENOMEM`).
            ///
            /// # Cancel safety
            ///
            /// Cancel safe: nothing is consumed.
            pub fn $wait(&self) -> impl Future<Output = std::io::Result<()>> + Send {
                $crate::transfer::Wait(self.socket.seen($crate::Interest::$interest))
            }
        }
    };
}

/// [`direction_methods`] for hand-written futures.
macro_rules! poll_ready_method {
    ($kind:ident, $direction:ident, $poll:ident, $wait:ident) => {
        impl $kind {
            #[doc = concat!("[`", stringify!($wait), "`](Self::", stringify!($wait), ") for hand-written futures.")]
            /// It has one place: of several tasks only the last to call is woken.
            ///
            /// # Errors
            ///
            /// When the runtime has ended.
            pub fn $poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.socket.poll_ready(cx, Direction::$direction).map_ok(drop)
            }
        }
    };
}

/// The standard library's views of a descriptor.
macro_rules! descriptor_traits {
    ($kind:ident) => {
        impl std::os::fd::AsFd for $kind {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.socket.as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $kind {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.socket.as_raw_fd()
            }
        }
    };
}

/// To and from the standard library, for what is made of a field `socket`, whose constructor is `register`.
macro_rules! std_conversions {
    ($kind:ident, $std:ty) => {
        impl $kind {
            /// Takes the socket out of the runtime. It stays nonblocking: call `set_nonblocking(false)` if blocking is what is wanted.
            ///
            /// # Errors
            ///
            /// If the runtime cannot let go of the descriptor; the socket is closed then.
            pub fn into_std(self) -> io::Result<$std> {
                self.socket.into_fd().map(Into::into)
            }

            /// The error that is pending on the socket, which is cleared by asking.
            ///
            /// # Errors
            ///
            /// Those of getsockopt(2).
            pub fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.socket.options().take_error()
            }
        }

        impl TryFrom<$std> for $kind {
            type Error = io::Error;

            fn try_from(socket: $std) -> io::Result<Self> {
                Self::from_std(socket)
            }
        }

        /// As `into_std`: it may fail, since the runtime may not let go of the descriptor.
        impl TryFrom<$kind> for std::os::fd::OwnedFd {
            type Error = io::Error;

            fn try_from(socket: $kind) -> io::Result<Self> {
                socket.socket.into_fd()
            }
        }
    };
}

/// Sending to and receiving from wherever the socket is connected to, and receiving from anywhere: in three ways each.
macro_rules! message_methods {
    ($kind:ident, $address:ty, $address_of:path) => {
        $crate::message::readiness_methods!($kind);
        $crate::message::poll_ready_method!($kind, Read, poll_recv_ready, readable);
        $crate::message::poll_ready_method!($kind, Write, poll_send_ready, writable);

        impl $kind {
            /// Sends `data` as one message to the connected address; also an empty one. Returns its length.
            ///
            /// # Errors
            ///
            /// Those of send(2): `NotConnected`, `EMSGSIZE` if it is too long, and what the network said about an earlier one, once
            /// (`ConnectionRefused`); an error when the runtime has ended.
            ///
            /// # Cancel safety
            ///
            /// Cancel safe: the message is sent in the very poll that says so.
            pub fn send(&self, data: &[u8]) -> impl Future<Output = io::Result<usize>> + Send {
                when_ready(&self.socket, Direction::Write, move |socket| {
                    direct::transmit(socket.as_fd(), data)
                })
            }

            /// [`send`](Self::send) for hand-written futures. Of several tasks only the last to call is woken.
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send).
            pub fn poll_send(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
                poll_when_ready(&self.socket, cx, Direction::Write, |socket| {
                    direct::transmit(socket.as_fd(), data)
                })
            }

            /// [`send`](Self::send) without waiting.
            ///
            /// # Errors
            ///
            /// `WouldBlock` if the kernel takes nothing now; otherwise as [`send`](Self::send).
            pub fn try_send(&self, data: &[u8]) -> io::Result<usize> {
                now(&self.socket, Direction::Write, |socket| direct::transmit(socket.as_fd(), data))
            }

            /// Receives one message and says how long it is; waits if there is none. What doesn't fit into `buffer` is lost. 0 is an empty message
            /// and not an end.
            ///
            /// # Errors
            ///
            /// Those of recv(2), and what the network said about a message sent earlier, once (`ConnectionRefused`): the socket goes on. An
            /// error when the runtime has ended.
            ///
            /// # Cancel safety
            ///
            /// Cancel safe: a message is taken from the kernel only in the very poll that returns it.
            pub fn recv(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
                when_ready(&self.socket, Direction::Read, move |socket| {
                    direct::receive(socket.as_fd(), buffer)
                })
            }

            /// [`recv`](Self::recv) for hand-written futures. Of several tasks only the last to call is woken.
            ///
            /// # Errors
            ///
            /// As [`recv`](Self::recv).
            pub fn poll_recv(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
                poll_when_ready(&self.socket, cx, Direction::Read, |socket| {
                    direct::receive(socket.as_fd(), buffer)
                })
            }

            /// [`recv`](Self::recv) without waiting.
            ///
            /// # Errors
            ///
            /// `WouldBlock` if there is no message; otherwise as [`recv`](Self::recv).
            pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
                now(&self.socket, Direction::Read, |socket| direct::receive(socket.as_fd(), buffer))
            }
        }

        $crate::message::from_methods!(
            $kind,
            $address,
            $address_of,
            "[`recv`](Self::recv)",
            recv_from,
            recv_from,
            poll_recv_from,
            try_recv_from
        );
    };
}

/// Three ways to receive, or to peek at, a message with its sender's address.
macro_rules! from_methods {
    ($kind:ident, $address:ty, $address_of:path, $like:literal, $call:ident, $wait:ident, $poll:ident, $now:ident) => {
        impl $kind {
            #[doc = concat!("As ", $like, ", and says who sent the message.")]
            ///
            /// # Errors
            ///
            #[doc = concat!("As ", $like, ".")]
            ///
            /// # Cancel safety
            ///
            #[doc = concat!("Cancel safe, as ", $like, ".")]
            pub fn $wait(
                &self,
                buffer: &mut [u8],
            ) -> impl Future<Output = io::Result<(usize, $address)>> + Send {
                when_ready(&self.socket, Direction::Read, move |socket| {
                    let (length, from) = socket.$call(room(buffer))?;
                    Ok((length, $address_of(from)?))
                })
            }

            #[doc = concat!("[`", stringify!($wait), "`](Self::", stringify!($wait), ") for hand-written futures.")]
            /// Of several tasks only the last to call is woken.
            ///
            /// # Errors
            ///
            #[doc = concat!("As ", $like, ".")]
            pub fn $poll(
                &self,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<(usize, $address)>> {
                poll_when_ready(&self.socket, cx, Direction::Read, |socket| {
                    let (length, from) = socket.$call(room(buffer))?;
                    Ok((length, $address_of(from)?))
                })
            }

            #[doc = concat!("[`", stringify!($wait), "`](Self::", stringify!($wait), ") without waiting.")]
            ///
            /// # Errors
            ///
            #[doc = concat!("`WouldBlock` if there is no message; otherwise as ", $like, ".")]
            pub fn $now(&self, buffer: &mut [u8]) -> io::Result<(usize, $address)> {
                now(&self.socket, Direction::Read, |socket| {
                    let (length, from) = socket.$call(room(buffer))?;
                    Ok((length, $address_of(from)?))
                })
            }
        }
    };
}

pub(crate) use {
    descriptor_traits, direction_methods, from_methods, message_methods, poll_ready_method,
    readiness_methods, std_conversions,
};
