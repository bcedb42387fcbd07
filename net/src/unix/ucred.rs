//! [`UCred`]: who is at the other end.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Who was at the other end when the connection was made, as the kernel vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UCred {
    uid: libc::uid_t,
    gid: libc::gid_t,
    pid: libc::pid_t,
}

impl UCred {
    /// The effective user.
    pub fn uid(&self) -> libc::uid_t {
        self.uid
    }

    /// The effective group.
    pub fn gid(&self) -> libc::gid_t {
        self.gid
    }

    /// The process; `None` if it is in a namespace that cannot be seen from here. It may have ended, and its number may be another's by now.
    pub fn pid(&self) -> Option<libc::pid_t> {
        (self.pid > 0).then_some(self.pid)
    }
}

/// Asks with `SO_PEERCRED`.
pub(super) fn of_peer(socket: BorrowedFd<'_>) -> io::Result<UCred> {
    let mut answer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: getsockopt(2) writes at most `length` bytes to `answer`, which is that long, and the length to `length`. The descriptor is open as
    // long as its borrow.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut answer).cast(),
            &raw mut length,
        )
    };
    match outcome {
        0 => Ok(UCred { uid: answer.uid, gid: answer.gid, pid: answer.pid }),
        _ => Err(io::Error::last_os_error()),
    }
}
