//! [`End`]: one end of a pipe in a runtime; and what files are such ends.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::task::{Context, Poll, ready};

use egret_executor::io::{AsyncSource, Direction};
use egret_reactor::{Events, Fd};
use socket2::SockRef;

use crate::sync::Arc;
use crate::{Interest, Ready};

/// An end of a pipe, nonblocking, for one direction.
pub(super) struct End {
    /// The file is shared only so that it can be taken out again.
    source: AsyncSource<Arc<Fd<Arc<File>>>>,
    direction: Direction,
}

impl End {
    /// Takes `file` into the current runtime, for this direction.
    pub(super) fn new(file: File, direction: Direction) -> io::Result<Self> {
        // It is fcntl(2), which has nothing to do with sockets.
        SockRef::from(&file).set_nonblocking(true)?;
        let source = AsyncSource::with_interest(Arc::new(Fd::new(Arc::new(file))?), events(direction))?;
        Ok(Self { source, direction })
    }

    /// The same if it is an end of a pipe that was opened for the direction.
    pub(super) fn checked(file: File, direction: Direction) -> io::Result<Self> {
        check(&file, direction)?;
        Self::new(file, direction)
    }

    pub(super) fn file(&self) -> &File {
        self.source.get_ref().get_ref()
    }

    /// Makes `call` as soon as it doesn't block. Cancel safe: it is made in the very poll that returns.
    pub(super) async fn when_ready<R>(&self, mut call: impl FnMut(&File) -> io::Result<R>) -> io::Result<R> {
        self.source.async_io(events(self.direction), |fd| call(fd.get_ref())).await
    }

    /// The same for callers that have a context; one task.
    pub(super) fn poll_when_ready<R>(
        &self,
        cx: &mut Context<'_>,
        mut call: impl FnMut(&File) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        loop {
            ready!(self.source.poll_ready(cx, self.direction))?;
            match call(self.file()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// The same without waiting.
    pub(super) fn now<R>(&self, mut call: impl FnMut(&File) -> io::Result<R>) -> io::Result<R> {
        self.source.try_io(events(self.direction), |fd| call(fd.get_ref()))
    }

    pub(super) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        let holds = self.source.ready(interest.events() & events(self.direction)).await?;
        Ok(Ready::new(holds))
    }

    pub(super) async fn wait(&self) -> io::Result<()> {
        self.source.ready(events(self.direction)).await.map(drop)
    }

    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.source.poll_ready(cx, self.direction).map_ok(drop)
    }

    /// Takes the descriptor out of the runtime. It stays nonblocking.
    pub(super) fn into_fd(self) -> io::Result<OwnedFd> {
        let source = self.source.into_inner();
        let file = source.get_ref().clone();
        drop(source);
        match Arc::try_unwrap(file) {
            Ok(file) => Ok(file.into()),
            // A worker has just asked the source, and lets go of it in a moment.
            Err(shared) => shared.try_clone().map(OwnedFd::from),
        }
    }

    /// The same, and makes it block.
    pub(super) fn into_blocking_fd(self) -> io::Result<OwnedFd> {
        let fd = self.into_fd()?;
        SockRef::from(&fd).set_nonblocking(false)?;
        Ok(fd)
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file().as_fd()
    }
}

fn events(direction: Direction) -> Events {
    match direction {
        Direction::Read => Events::IN,
        Direction::Write => Events::OUT,
    }
}

/// `InvalidInput` unless it is an end of a pipe that was opened for the direction.
fn check(file: &File, direction: Direction) -> io::Result<()> {
    let refuse = |reason| Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    if !file.metadata()?.file_type().is_fifo() {
        return refuse("not a pipe");
    }
    // SAFETY: takes no pointers; the descriptor is open as long as its borrow.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    match (flags & libc::O_ACCMODE, direction) {
        (libc::O_RDWR, _) | (libc::O_RDONLY, Direction::Read) | (libc::O_WRONLY, Direction::Write) => Ok(()),
        (_, Direction::Read) => refuse("the pipe was not opened for reading"),
        (_, Direction::Write) => refuse("the pipe was not opened for writing"),
    }
}

/// What both ends have, for a type whose one field is an [`End`].
macro_rules! end_methods {
    ($end:ident, $direction:ident, $interest:literal, $wait:ident, $poll:ident) => {
        impl $end {
            /// Takes over an end of a pipe and makes it nonblocking.
            ///
            /// # Errors
            ///
            /// `InvalidInput` if it is no pipe or was opened for the other direction only; an error outside a runtime.
            pub fn from_file(file: File) -> io::Result<Self> {
                End::checked(file, Direction::$direction).map(Self)
            }

            /// As [`from_file`](Self::from_file).
            ///
            /// # Errors
            ///
            /// As [`from_file`](Self::from_file).
            pub fn from_owned_fd(fd: OwnedFd) -> io::Result<Self> {
                Self::from_file(fd.into())
            }

            /// Takes over a descriptor without a look at what it is, and makes it nonblocking.
            ///
            /// # Errors
            ///
            /// `EPERM` for what can't be waited for, as files; an error outside a runtime.
            pub fn from_file_unchecked(file: File) -> io::Result<Self> {
                End::new(file, Direction::$direction).map(Self)
            }

            /// As [`from_file_unchecked`](Self::from_file_unchecked).
            ///
            /// # Errors
            ///
            /// As [`from_file_unchecked`](Self::from_file_unchecked).
            pub fn from_owned_fd_unchecked(fd: OwnedFd) -> io::Result<Self> {
                Self::from_file_unchecked(fd.into())
            }

            #[doc = concat!("Waits for `interest`, of which ", $interest, " is what an end like this can tell, and says what holds. The other end's end is told, too.")]
            ///
            /// # Errors
            ///
            /// When the runtime has ended.
            ///
            /// # Cancel safety
            ///
            /// Cancel safe: nothing is consumed.
            pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
                self.0.ready(interest).await
            }

            #[doc = concat!("Waits for ", $interest, ", or the other end's end.")]
            ///
            /// # Errors
            ///
            /// When the runtime has ended.
            ///
            /// # Cancel safety
            ///
            /// Cancel safe: nothing is consumed.
            pub async fn $wait(&self) -> io::Result<()> {
                self.0.wait().await
            }

            #[doc = concat!("[`", stringify!($wait), "`](Self::", stringify!($wait), ") for hand-written futures.")]
            /// It has one place: of several tasks only the last to call is woken.
            ///
            /// # Errors
            ///
            /// When the runtime has ended.
            pub fn $poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.0.poll_ready(cx)
            }

            /// Runs `call`, a nonblocking operation on this descriptor, if it is ready now. Repeats it when it was interrupted.
            ///
            /// # Errors
            ///
            /// `WouldBlock` if it is not (`call` is not run then); otherwise what `call` answers.
            pub fn try_io<R>(&self, mut call: impl FnMut() -> io::Result<R>) -> io::Result<R> {
                self.0.now(|_| call())
            }

            /// Takes the descriptor out of the runtime and makes it block, as child processes want it.
            ///
            /// # Errors
            ///
            /// Those of fcntl(2).
            pub fn into_blocking_fd(self) -> io::Result<OwnedFd> {
                self.0.into_blocking_fd()
            }

            /// Takes the descriptor out of the runtime. It stays nonblocking.
            ///
            /// # Errors
            ///
            /// Those of dup(2), which is seldom needed.
            pub fn into_nonblocking_fd(self) -> io::Result<OwnedFd> {
                self.0.into_fd()
            }
        }

        impl AsFd for $end {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }

        impl AsRawFd for $end {
            fn as_raw_fd(&self) -> RawFd {
                self.0.as_fd().as_raw_fd()
            }
        }

        impl fmt::Debug for $end {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($end)).field("fd", &self.as_raw_fd()).finish()
            }
        }
    };
}

pub(super) use end_methods;
