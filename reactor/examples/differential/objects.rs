//! Descriptors: making them, moving bytes, and waiting until TCP has come to rest.
//!
//! Both sides watch the same files, and readiness is not used up by looking at it, so every byte is moved once. What must
//! not happen is that the world changes between the kernel's look and egret's: pipes, unix sockets and eventfds change only
//! inside our own calls; TCP over the loopback normally does too, but may be finished by another thread of the kernel, and
//! acknowledgements can be put off. After every call on a TCP socket [`settle`] waits until nothing is under way.

use crate::kernel;
use crate::script::Half;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long TCP gets to come to rest. Far above a delayed acknowledgement (40 ms); a script that hits it is given up.
const REST: Duration = Duration::from_secs(2);

/// Small buffers, so that filling one is quick. The kernel doubles them and has a lower limit.
const BUFFER: libc::c_int = 8 * 1024;
const WINDOW: libc::c_int = 16 * 1024;
/// As on an ethernet. The loopback's 64 KiB would be more than the window.
const SEGMENT: libc::c_int = 1448;
/// One page: the smallest pipe.
const PIPE: libc::c_int = 4096;

const OUT: u32 = libc::POLLOUT as u32;
/// For how long an acknowledgement may be put off, in microseconds (Linux 6.15; 40 ms before): a hundredth of the usual, rounded
/// up to a tick.
const TCP_DELACK_MAX_US: libc::c_int = 46;
const PUT_OFF: libc::c_int = 400;
const SIOCOUTQ: libc::c_ulong = 0x5411;
const SIOCOUTQNSD: libc::c_ulong = 0x894b;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Pipe,
    Unix,
    Tcp,
    Eventfd,
    Instance,
}

/// Where TCP pairs come from.
pub struct Net {
    listener: TcpListener,
}

impl Net {
    pub fn new() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        narrow(&listener)?;
        Ok(Self { listener })
    }

    pub fn tcp(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        // SAFETY: takes numbers.
        let near =
            kernel::own(unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
        narrow(&near)?;
        let address = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: self.listener.local_addr()?.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() },
            sin_zero: [0; 8],
        };
        let size = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the address is valid for its size.
        kernel::check(unsafe { libc::connect(near.as_raw_fd(), std::ptr::from_ref(&address).cast(), size) })?;
        let near = TcpStream::from(near);
        let (far, _) = self.listener.accept()?;
        for end in [&near, &far] {
            end.set_nonblocking(true)?;
            end.set_nodelay(true)?;
            kernel::set_option(end, libc::SOL_SOCKET, libc::SO_SNDBUF, &BUFFER)?;
            // An older kernel takes longer to come to rest.
            let _unknown = kernel::set_option(end, libc::IPPROTO_TCP, TCP_DELACK_MAX_US, &PUT_OFF);
        }
        Ok((near.into(), far.into()))
    }
}

/// A small window from the start, far smaller than the receive buffer: a receiver that has no room drops what comes, and the
/// sender tries again at a moment of its own.
fn narrow(socket: &impl AsRawFd) -> io::Result<()> {
    kernel::set_option(socket, libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, &WINDOW)?;
    kernel::set_option(socket, libc::IPPROTO_TCP, libc::TCP_MAXSEG, &SEGMENT)
}

pub fn unix() -> io::Result<(OwnedFd, OwnedFd)> {
    let (a, b) = UnixStream::pair()?;
    for end in [&a, &b] {
        end.set_nonblocking(true)?;
        kernel::set_option(end, libc::SOL_SOCKET, libc::SO_SNDBUF, &BUFFER)?;
    }
    Ok((a.into(), b.into()))
}

pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: the array has room for the two descriptors.
    kernel::check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) })?;
    let ends = (kernel::own(ends[0])?, kernel::own(ends[1])?);
    // SAFETY: takes a number.
    kernel::check(unsafe { libc::fcntl(ends.0.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE) })?;
    Ok(ends)
}

/// Errors of the calls below are part of the world: a full pipe, a socket that is shut down. Both sides see the same.
fn went(result: io::Result<usize>) -> bool {
    matches!(result, Ok(n) if n > 0)
}

pub fn write(fd: &OwnedFd, kind: Kind, n: usize) -> bool {
    match kind {
        Kind::Eventfd => went(kernel::write(fd, &(n as u64).to_ne_bytes())),
        _ => went(kernel::write(fd, &vec![b'x'; n])),
    }
}

/// Writes until nothing more goes in.
pub fn fill(fd: &OwnedFd, kind: Kind) {
    match kind {
        Kind::Eventfd => {
            write(fd, kind, (u64::MAX - 1) as usize);
        }
        _ => while write(fd, kind, 16 * 1024) {},
    }
}

pub fn read(fd: &OwnedFd, kind: Kind, n: usize) -> bool {
    let mut buffer = vec![0; if kind == Kind::Eventfd { 8 } else { n }];
    went(kernel::read(fd, &mut buffer))
}

/// Reads until nothing more comes out.
pub fn drain(fd: &OwnedFd, kind: Kind) {
    while read(fd, kind, 64 * 1024) {}
}

pub fn shutdown(fd: &OwnedFd, half: Half) {
    let how = match half {
        Half::Read => libc::SHUT_RD,
        Half::Write => libc::SHUT_WR,
        Half::Both => libc::SHUT_RDWR,
    };
    // SAFETY: takes numbers. An error (it is down already) is the same for both sides.
    unsafe { libc::shutdown(fd.as_raw_fd(), how) };
}

/// The close that follows throws away what was not sent and resets the connection.
pub fn abort_on_close(fd: &OwnedFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // It fails if the connection is gone, and then there is nothing to reset.
    let _gone = kernel::set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger);
}

/// Whether a TCP socket has bytes that it could not send or that were not acknowledged.
pub fn has_unsent(fd: &OwnedFd) -> bool {
    kernel::ask(fd, SIOCOUTQ).is_ok_and(|n| n > 0)
}

fn until(condition: impl Fn() -> bool) -> bool {
    let end = Instant::now() + REST;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

/// Waits until nothing is under way from one end to the other that either would be woken for: everything that was sent is
/// acknowledged; or it has arrived, and the sender has room and no end of its stream to be acknowledged, so that nobody waits for that. False if it
/// takes too long.
pub fn settle(from: &OwnedFd, to: &OwnedFd) -> bool {
    let rests = || {
        let Ok(unacknowledged @ 1..) = kernel::ask(from, SIOCOUTQ) else { return true };
        const ESTABLISHED: u8 = 1;
        const CLOSE_WAIT: u8 = 8;
        match kernel::tcp(from) {
            Some(kernel::Tcp { state: ESTABLISHED | CLOSE_WAIT, sent, .. })
                if kernel::level(from, OUT) & OUT != 0 =>
            {
                kernel::tcp(to).is_none_or(|to| to.received >= sent)
            }
            Some(_) => kernel::ask(from, SIOCOUTQNSD).is_ok_and(|unsent| unsent == unacknowledged),
            None => true,
        }
    };
    if rests() {
        return true;
    }
    // Whoever puts an acknowledgement off sends it now, if all was read. (It fails if there is no connection any more.)
    let acknowledge = || kernel::set_option(to, libc::IPPROTO_TCP, libc::TCP_QUICKACK, &1i32);
    until(|| acknowledge().is_err() || rests())
}

/// Waits until an end has heard that the other is gone.
pub fn settle_closed(left: &OwnedFd) -> bool {
    const GONE: u32 = libc::POLLRDHUP as u32;
    until(|| kernel::level(left, GONE) & (GONE | libc::POLLHUP as u32 | libc::POLLERR as u32) != 0)
}
