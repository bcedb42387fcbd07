//! `recv(2)` and `send(2)` without the C library's wrappers.
//!
//! These two are thread cancellation points: in a process with more than one thread glibc's `recv` and `send` switch asynchronous cancellation
//! on before the system call and off after it, with a locked instruction each. Nothing here is ever cancelled by `pthread_cancel`, and a request
//! is one of each: 124 instructions of 3,000. `syscall(2)` is no cancellation point, and sets `errno` like the wrappers.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Moves what has arrived to the front of `buffer`; returns how many bytes, zero at the end of the stream.
#[inline]
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is borrowed for writing.
    unsafe { receive_at(socket, buffer.as_mut_ptr(), buffer.len()) }
}

/// The same into memory that may never have been written: as many bytes of it as are returned have been, the others are what they were.
#[cfg(feature = "tokio-io")]
#[inline]
pub(crate) fn receive_uninit(
    socket: BorrowedFd<'_>,
    buffer: &mut [std::mem::MaybeUninit<u8>],
) -> io::Result<usize> {
    // SAFETY: the buffer is borrowed for writing.
    unsafe { receive_at(socket, buffer.as_mut_ptr().cast(), buffer.len()) }
}

/// # Safety
///
/// `len` bytes from `start` on may be written.
#[inline]
unsafe fn receive_at(socket: BorrowedFd<'_>, start: *mut u8, len: usize) -> io::Result<usize> {
    let nobody = ptr::null_mut::<u8>();
    // SAFETY: recvfrom(2) writes at most `len` bytes to the buffer, which the caller vouches for, and no address where there are null pointers
    // for it. The descriptor is open as long as its borrow.
    let moved = unsafe {
        libc::syscall(
            libc::SYS_recvfrom,
            libc::c_long::from(socket.as_raw_fd()),
            start,
            len,
            0 as libc::c_long,
            nobody,
            nobody,
        )
    };
    moved_by(moved)
}

/// Hands `data` to the socket; returns how many bytes it took. A peer that has gone is an error, and no signal.
#[inline]
pub(crate) fn transmit(socket: BorrowedFd<'_>, data: &[u8]) -> io::Result<usize> {
    // SAFETY: sendto(2) reads at most `len` bytes of the data, which are borrowed, and no address where there is a null pointer for it. The
    // descriptor is open as long as its borrow.
    let moved = unsafe {
        libc::syscall(
            libc::SYS_sendto,
            libc::c_long::from(socket.as_raw_fd()),
            data.as_ptr(),
            data.len(),
            libc::c_long::from(libc::MSG_NOSIGNAL),
            ptr::null::<u8>(),
            0 as libc::c_long,
        )
    };
    moved_by(moved)
}

#[inline]
fn moved_by(result: libc::c_long) -> io::Result<usize> {
    // Negative is an error, and only -1 is ever returned.
    usize::try_from(result).map_err(|_negative| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn bytes_ends_and_errors_are_those_of_the_wrappers() {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let mut buffer = [0; 8];
        let error = receive(near.as_fd(), &mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(transmit(far.as_fd(), b"hello").unwrap(), 5);
        assert_eq!(receive(near.as_fd(), &mut buffer).unwrap(), 5);
        assert_eq!(&buffer, b"hello\0\0\0");
        let mut sent = 0;
        let error = loop {
            match transmit(near.as_fd(), &[7; 4096]) {
                Ok(some) => sent += some,
                Err(error) => break error,
            }
        };
        assert_eq!((error.kind(), sent > 0), (io::ErrorKind::WouldBlock, true));
        drop(far);
        // SIGPIPE, which a test process ignores, would not show; the error does.
        assert_eq!(transmit(near.as_fd(), b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(receive(file.as_fd(), &mut buffer).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
    }
}
