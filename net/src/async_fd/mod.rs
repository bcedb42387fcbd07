//! [`AsyncFd`]: any descriptor that the kernel can poll, awaited; for what has no type of its own here.
//!
//! ```text
//!   AsyncFd { duplicate of the descriptor in the runtime, T }
//!       readable() ─► guard (what was seen) ─► the user's own call ── would block ─► clear_ready ─► readable() waits for the next event
//!       drop, into_inner: the duplicate is closed, and that has happened when T is dropped or handed back
//! ```
//!
//! It is a socket's registration, with its cached readiness, and not an [`AsyncSource`](egret_executor::io::AsyncSource) over the engine's exact
//! [`Fd`](egret_reactor::Fd):
//!
//! - [`clear_ready`](AsyncFdReadyGuard::clear_ready) means "until the next event", also for who leaves the level up on purpose (an eventfd that is never
//!   read). An exact source has only the level: such a program would run in circles.
//! - A wait that is over at once makes no system call, where the level costs a poll(2).
//! - The registration owns its descriptor, so it gets a duplicate. Whatever becomes of `T`'s (closed early, its number given to another file, watched
//!   twice), what is registered stays what it was, and it is let go of on drop.
//!
//! The price: a second descriptor, and that the end of both directions (`HUP`) is final. A FIFO or terminal that can come back to life is
//! better served by `AsyncSource<Arc<Fd<T>>>`, which is what [`pipe`](crate::unix::pipe) does.
//!
//! A registration starts out as ready for everything, since a socket's I/O is tried before it is waited for. Here somebody may rely on the first answer
//! (and block, if the descriptor does), so that is taken back before the engine is asked.

mod error;
mod guard;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::task::{Context, Poll, ready};

use egret_executor::io::Direction;
use egret_reactor::{Fd, Readiness};

use crate::Interest;
use crate::socket::Socket;
use crate::sync::Arc;

pub use error::{AsyncFdRegisterError, TryIoError};
pub use guard::{AsyncFdReadyGuard, AsyncFdReadyMutGuard};

/// A descriptor of any kind in a runtime: what it is ready for can be awaited, the I/O is the user's.
///
/// For what has a descriptor and no type here: an eventfd, an inotify or timerfd, a raw socket, a library's connection. The descriptor should be nonblocking;
/// it is not made so. It may be in several `AsyncFd`s, in several runtimes, at the same time.
///
/// The pattern: wait for a guard, do the I/O within [`try_io`](AsyncFdReadyGuard::try_io), start again if it would have blocked. [`async_io`](Self::async_io)
/// is that loop.
///
/// # The descriptor
///
/// `T` keeps its descriptor and closes it; this type watches a duplicate (one more towards `RLIMIT_NOFILE`), which it closes before it drops or hands back
/// `T`. If `T`'s descriptor is closed earlier, or exchanged through [`get_mut`](Self::get_mut), the old file stays open and watched until this is dropped.
///
/// # Examples
///
/// ```
/// use egret_net::io::unix::AsyncFd;
/// use std::io::{self, Read, Write};
/// use std::os::unix::net::UnixStream;
///
/// # fn main() -> io::Result<()> {
/// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// runtime.block_on(async {
///     let (near, mut far) = UnixStream::pair()?;
///     near.set_nonblocking(true)?;
///     let near = AsyncFd::new(near)?;
///     far.write_all(b"hello")?;
///     let mut buffer = [0; 16];
///     let read = loop {
///         let mut guard = near.readable().await?;
///         match guard.try_io(|near| near.get_ref().read(&mut buffer)) {
///             Ok(result) => break result?,
///             Err(_would_block) => continue,
///         }
///     };
///     assert_eq!(&buffer[..read], b"hello");
///     Ok(())
/// })
/// # }
/// ```
pub struct AsyncFd<T: AsRawFd> {
    /// None only while it is taken apart, as `inner`.
    socket: Option<Socket>,
    inner: Option<T>,
}

impl<T: AsRawFd> AsyncFd<T> {
    /// Takes a descriptor into the current runtime, to wait for reading and writing.
    ///
    /// # Errors
    ///
    /// `EPERM` for what is always ready and can't be waited for: files, directories, devices like `/dev/null`. `EBADF` if it is not open, or opened with
    /// `O_PATH`. `EMFILE` if there is no room for its duplicate. Outside a runtime and after its end: of kind [`Other`](io::ErrorKind::Other). The engine
    /// can't take it (`ENOMEM`). `inner` is dropped then; [`try_new`](Self::try_new) gives it back.
    pub fn new(inner: T) -> io::Result<Self> {
        Ok(Self::try_new(inner)?)
    }

    /// As [`new`](Self::new). What isn't in `interest` need not be waited for, though here it may be: both directions cost no more than one.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_interest(inner: T, interest: Interest) -> io::Result<Self> {
        Ok(Self::try_with_interest(inner, interest)?)
    }

    /// [`new`](Self::new) that gives `inner` back with an error.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn try_new(inner: T) -> Result<Self, AsyncFdRegisterError<T>> {
        Self::try_with_interest(inner, Interest::READABLE | Interest::WRITABLE)
    }

    /// [`with_interest`](Self::with_interest) that gives `inner` back with an error.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn try_with_interest(inner: T, _interest: Interest) -> Result<Self, AsyncFdRegisterError<T>> {
        match watch(inner.as_raw_fd()) {
            Ok(socket) => Ok(Self { socket: Some(socket), inner: Some(inner) }),
            Err(cause) => Err(AsyncFdRegisterError::new(inner, cause)),
        }
    }

    /// What was taken in.
    pub fn get_ref(&self) -> &T {
        self.inner.as_ref().expect("it is there until `into_inner`")
    }

    /// What was taken in. Another descriptor put in its place is not watched.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("it is there until `into_inner`")
    }

    /// Takes it out of the runtime again.
    pub fn into_inner(mut self) -> T {
        self.leave();
        self.inner.take().expect("it is there until this")
    }

    /// Waits for one of the directions in `interest`. Any number of tasks may wait.
    ///
    /// # Errors
    ///
    /// When the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is consumed.
    pub async fn ready(&self, interest: Interest) -> io::Result<AsyncFdReadyGuard<'_, T>> {
        let seen = self.seen(interest).await?;
        Ok(AsyncFdReadyGuard::new(self, seen, interest))
    }

    /// [`ready`](Self::ready) with a guard that lends `T` mutably.
    ///
    /// # Errors
    ///
    /// As [`ready`](Self::ready).
    ///
    /// # Cancel safety
    ///
    /// As [`ready`](Self::ready).
    pub async fn ready_mut(&mut self, interest: Interest) -> io::Result<AsyncFdReadyMutGuard<'_, T>> {
        let seen = self.seen(interest).await?;
        Ok(AsyncFdReadyMutGuard::new(self, seen, interest))
    }

    /// Runs `call` if a direction in `interest` is known to be ready. Its `WouldBlock` tells the runtime that it is not.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing is known to be ready (`call` is not run then); otherwise what `call` answers. `call` must not say `WouldBlock` unless
    /// the descriptor did: the runtime would wait for an event that has already been.
    pub fn try_io<R>(&self, interest: Interest, call: impl FnOnce(&T) -> io::Result<R>) -> io::Result<R> {
        let seen = self.known(interest)?;
        let result = call(self.get_ref());
        self.heed(seen, interest, &result)?;
        result
    }

    /// [`try_io`](Self::try_io) that lends `T` mutably.
    ///
    /// # Errors
    ///
    /// As [`try_io`](Self::try_io).
    pub fn try_io_mut<R>(
        &mut self,
        interest: Interest,
        call: impl FnOnce(&mut T) -> io::Result<R>,
    ) -> io::Result<R> {
        let seen = self.known(interest)?;
        let result = call(self.get_mut());
        self.heed(seen, interest, &result)?;
        result
    }

    /// Waits for `interest` and runs `call`, again and again while it says `WouldBlock` or was interrupted.
    ///
    /// # Errors
    ///
    /// What `call` answers (see [`try_io`](Self::try_io)); an error when the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe as far as `call` is: nothing is awaited after it.
    pub async fn async_io<R>(
        &self,
        interest: Interest,
        mut call: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            let seen = self.seen(interest).await?;
            let result = call(self.get_ref());
            if self.heed(seen, interest, &result)? {
                return result;
            }
        }
    }

    /// [`async_io`](Self::async_io) that lends `T` mutably.
    ///
    /// # Errors
    ///
    /// As [`async_io`](Self::async_io).
    ///
    /// # Cancel safety
    ///
    /// As [`async_io`](Self::async_io).
    pub async fn async_io_mut<R>(
        &mut self,
        interest: Interest,
        mut call: impl FnMut(&mut T) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            let seen = self.seen(interest).await?;
            let result = call(self.get_mut());
            if self.heed(seen, interest, &result)? {
                return result;
            }
        }
    }

    fn socket(&self) -> &Socket {
        self.socket.as_ref().expect("it is there until it goes")
    }

    async fn seen(&self, interest: Interest) -> io::Result<Readiness> {
        self.socket().seen(interest).await
    }

    /// What it is ready for, if that is among `interest`.
    fn known(&self, interest: Interest) -> io::Result<Readiness> {
        // Armed since it was made, so who only ever tries hears of new readiness, too.
        let seen = self.socket().readiness();
        let known = seen.events.intersects(guard::ends(interest));
        if known { Ok(seen) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    /// Takes back what the outcome of a call refutes. False: it has to be made again.
    fn heed<R>(&self, seen: Readiness, interest: Interest, result: &io::Result<R>) -> io::Result<bool> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Of two directions nobody knows which one blocked, and a readiness that is taken back although it holds never comes again.
                let both = interest.is_readable() && interest.is_writable();
                for direction in guard::directions(interest) {
                    if !both || !self.socket().holds(direction)? {
                        self.socket().clear(seen, direction);
                    }
                }
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            _ => Ok(true),
        }
    }

    /// Closes the duplicate before it returns.
    fn leave(&mut self) {
        if let Some(socket) = self.socket.take() {
            socket.close_now();
        }
    }
}

/// Waiting for one direction, in four ways.
macro_rules! direction_methods {
    ($interest:ident, $direction:ident, $what:literal, $wait:ident, $wait_mut:ident, $poll:ident, $poll_mut:ident) => {
        impl<T: AsRawFd> AsyncFd<T> {
            #[doc = concat!("Waits until a ", $what, " would not block, as far as is known. Any number of tasks may wait.")]
            ///
            /// # Errors
            ///
            /// When the runtime has ended.
            ///
            /// # Cancel safety
            ///
            /// Cancel safe: nothing is consumed.
            pub async fn $wait(&self) -> io::Result<AsyncFdReadyGuard<'_, T>> {
                self.ready(Interest::$interest).await
            }

            #[doc = concat!("[`", stringify!($wait), "`](Self::", stringify!($wait), ") with a guard that lends `T` mutably.")]
            ///
            /// # Errors
            ///
            /// When the runtime has ended.
            ///
            /// # Cancel safety
            ///
            /// Cancel safe: nothing is consumed.
            pub async fn $wait_mut(&mut self) -> io::Result<AsyncFdReadyMutGuard<'_, T>> {
                self.ready_mut(Interest::$interest).await
            }

            #[doc = concat!("[`", stringify!($wait), "`](Self::", stringify!($wait), ") for hand-written futures.")]
            /// It has one place: of several tasks only the last to call is woken.
            ///
            /// # Errors
            ///
            /// When the runtime has ended.
            pub fn $poll<'a>(
                &'a self,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<AsyncFdReadyGuard<'a, T>>> {
                let seen = ready!(self.socket().poll_ready(cx, Direction::$direction))?;
                Poll::Ready(Ok(AsyncFdReadyGuard::new(self, seen, Interest::$interest)))
            }

            #[doc = concat!("[`", stringify!($poll), "`](Self::", stringify!($poll), ") with a guard that lends `T` mutably.")]
            ///
            /// # Errors
            ///
            /// When the runtime has ended.
            pub fn $poll_mut<'a>(
                &'a mut self,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<AsyncFdReadyMutGuard<'a, T>>> {
                let seen = ready!(self.socket().poll_ready(cx, Direction::$direction))?;
                Poll::Ready(Ok(AsyncFdReadyMutGuard::new(self, seen, Interest::$interest)))
            }
        }
    };
}

direction_methods!(READABLE, Read, "read", readable, readable_mut, poll_read_ready, poll_read_ready_mut);
direction_methods!(WRITABLE, Write, "write", writable, writable_mut, poll_write_ready, poll_write_ready_mut);

/// Registers a duplicate of the descriptor, armed, with nothing taken for granted.
fn watch(fd: RawFd) -> io::Result<Socket> {
    // SAFETY: takes no pointers and closes nothing: a number that is not open is an error.
    let duplicate = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    if duplicate < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made, and nobody else knows of it.
    let duplicate = Arc::new(unsafe { OwnedFd::from_raw_fd(duplicate) });
    // The engine's own check of what can be watched. It is never registered.
    drop(Fd::new(duplicate.clone())?);
    let duplicate = Arc::into_inner(duplicate).expect("the check has let go of it");
    let socket = Socket::new(duplicate)?;
    let assumed = socket.readiness();
    for direction in [Direction::Read, Direction::Write] {
        socket.clear(assumed, direction);
    }
    // Known to be ready for nothing: the call is not made, the engine is asked.
    match socket.try_io(Interest::READABLE, || Ok(())) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _armed => Ok(socket),
    }
}

impl<T: AsRawFd> Drop for AsyncFd<T> {
    fn drop(&mut self) {
        // `inner` is dropped after this.
        self.leave();
    }
}

impl<T: AsRawFd> AsRawFd for AsyncFd<T> {
    /// The descriptor of `T`.
    fn as_raw_fd(&self) -> RawFd {
        self.get_ref().as_raw_fd()
    }
}

impl<T: AsRawFd + AsFd> AsFd for AsyncFd<T> {
    /// The descriptor of `T`.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

impl<T: AsRawFd + fmt::Debug> fmt::Debug for AsyncFd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFd").field("inner", &self.inner).finish_non_exhaustive()
    }
}
