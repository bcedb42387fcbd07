//! The kernel's side: libc's epoll, and the few other system calls that the tool needs.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Turns a C result into a Rust one.
pub fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes over a descriptor that a system call has just made.
pub fn own(fd: libc::c_int) -> io::Result<OwnedFd> {
    let fd = check(fd)?;
    // SAFETY: the call that made it succeeded, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    own(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

/// `epoll_ctl`, with its errno.
pub fn control(epoll: RawFd, operation: libc::c_int, fd: RawFd, mask: u32, data: u64) -> Result<(), i32> {
    let mut event = libc::epoll_event { events: mask, u64: data };
    // SAFETY: the event is valid for the call.
    match check(unsafe { libc::epoll_ctl(epoll, operation, fd, &mut event) }) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.raw_os_error().unwrap_or(0)),
    }
}

/// `epoll_wait` with a zero timeout: masks and data.
pub fn wait(epoll: RawFd, max: usize) -> Result<Vec<(u32, u64)>, i32> {
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; max.max(1)];
    loop {
        // SAFETY: the vector has room for `max` events.
        match check(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), max as i32, 0) }) {
            Ok(n) => return Ok(events[..n as usize].iter().map(|event| (event.events, event.u64)).collect()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.raw_os_error().unwrap_or(0)),
        }
    }
}

/// What `poll(2)` says now, of these conditions and of ERR and HUP.
pub fn level(fd: &impl AsRawFd, conditions: u32) -> u32 {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: conditions as i16, revents: 0 };
    // SAFETY: one valid pollfd; a zero timeout can't block.
    unsafe { libc::poll(&mut poll, 1, 0) };
    u32::from(poll.revents as u16)
}

pub fn eventfd(value: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    own(unsafe { libc::eventfd(value, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })
}

pub fn read(fd: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is valid for its length.
    let n = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(n).map_err(|_negative| io::Error::last_os_error())
}

pub fn write(fd: &impl AsRawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the bytes are valid for their length.
    let n = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(n).map_err(|_negative| io::Error::last_os_error())
}

/// One byte of urgent data.
pub fn urgent(fd: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: one byte is valid.
    let n =
        unsafe { libc::send(fd.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB | libc::MSG_DONTWAIT) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// An ioctl that answers with a number.
pub fn ask(fd: &impl AsRawFd, request: libc::c_ulong) -> io::Result<i32> {
    let mut answer: libc::c_int = 0;
    // SAFETY: the requests used here (SIOCOUTQ, SIOCOUTQNSD) write one int.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, &mut answer) })?;
    Ok(answer)
}

/// What a TCP connection says of itself (Linux: `struct tcp_info`).
pub struct Tcp {
    pub state: u8,
    /// Bytes that were sent, each counted once.
    pub sent: u64,
    pub received: u64,
}

/// None if the connection is over.
pub fn tcp(fd: &impl AsRawFd) -> Option<Tcp> {
    let mut info = [0u8; 216];
    let mut size = info.len() as libc::socklen_t;
    // SAFETY: the array is valid for the size given with it; the kernel fills at most that.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut size,
        )
    };
    // By offset: tcpi_state, tcpi_bytes_received, tcpi_bytes_sent, tcpi_bytes_retrans.
    let at = |offset: usize| info[offset..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    const CLOSE: u8 = 7;
    (result == 0 && info[0] != CLOSE).then(|| Tcp {
        state: info[0],
        sent: at(200) - at(208),
        received: at(128),
    })
}

pub fn set_option<T>(fd: &impl AsRawFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is valid for its size; the options used here are plain C structs.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), size) })?;
    Ok(())
}
