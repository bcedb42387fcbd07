//! The kernel's epoll and eventfd: one system call a method.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> Self {
        // SAFETY: takes no pointers; the result is checked.
        Self(owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }, "epoll_create1"))
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, events: i32, data: u64) {
        let mut event = libc::epoll_event { events: events as u32, u64: data };
        // SAFETY: `event` is valid, and both descriptors are open.
        let result = unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event)
        };
        check(result, "epoll_ctl");
    }

    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        // SAFETY: no pointer is read for DEL, and both descriptors are open.
        let result = unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_DEL, fd.as_raw_fd(), std::ptr::null_mut())
        };
        check(result, "epoll_ctl");
    }

    /// Waits for an event, or looks once.
    pub(crate) fn wait(&self, events: &mut [libc::epoll_event], block: bool) -> usize {
        let timeout = if block { -1 } else { 0 };
        // SAFETY: the pointer and the length are those of a slice that may be written.
        let count = unsafe {
            libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), events.len() as i32, timeout)
        };
        check(count, "epoll_wait");
        count as usize
    }
}

pub(crate) const NO_EVENT: libc::epoll_event = libc::epoll_event { events: 0, u64: 0 };

pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    pub(crate) fn new() -> Self {
        // SAFETY: takes no pointers; the result is checked.
        Self(owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }, "eventfd"))
    }

    pub(crate) fn write(&self, n: u64) {
        let bytes = n.to_ne_bytes();
        // SAFETY: eight bytes, as eventfd wants them.
        let written = unsafe { libc::write(self.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
        assert_eq!(written, 8, "write to an eventfd: {}", io::Error::last_os_error());
    }

    pub(crate) fn read(&self) -> u64 {
        let mut bytes = [0; 8];
        // SAFETY: eight bytes that may be written, as eventfd wants them.
        let read = unsafe { libc::read(self.0.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
        assert_eq!(read, 8, "read from an eventfd: {}", io::Error::last_os_error());
        u64::from_ne_bytes(bytes)
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the processor has worked for this thread, in user space and in the kernel.
pub(crate) fn thread_cpu() -> Duration {
    cpu(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// The same for all threads together.
pub(crate) fn process_cpu() -> Duration {
    cpu(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn cpu(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid and may be written.
    check(unsafe { libc::clock_gettime(clock, &raw mut time) }, "clock_gettime");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Keeps this thread, and those that it starts, on one processor. Otherwise it is luck whether two threads that wake each
/// other share one, and that decides more than what is measured.
pub(crate) fn stay_on(processor: usize) {
    let mut chosen = no_processor();
    // SAFETY: writes one bit of a set that has so many.
    unsafe { libc::CPU_SET(processor, &mut chosen) };
    // SAFETY: `chosen` is valid and as large as said.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&chosen), &raw const chosen) };
    check(result, "sched_setaffinity");
}

/// The first and the last processor that this thread may use.
pub(crate) fn processors() -> (usize, usize) {
    let mut allowed = no_processor();
    // SAFETY: `allowed` is valid, may be written, and is as large as said.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&allowed), &raw mut allowed) };
    check(result, "sched_getaffinity");
    let mut processors = (0..libc::CPU_SETSIZE as usize)
        // SAFETY: reads one bit of a set that has so many.
        .filter(|&processor| unsafe { libc::CPU_ISSET(processor, &allowed) });
    let first = processors.next().expect("this thread runs somewhere");
    (first, processors.next_back().unwrap_or(first))
}

fn no_processor() -> libc::cpu_set_t {
    // SAFETY: the set is plain bits, and all zero is the empty one.
    unsafe { std::mem::zeroed() }
}

fn owned(fd: i32, call: &str) -> OwnedFd {
    check(fd, call);
    // SAFETY: the call has just made this descriptor, for nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn check(result: i32, call: &str) {
    assert!(result >= 0, "{call}: {}", io::Error::last_os_error());
}
