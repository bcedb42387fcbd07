//! [`Bell`]: how a signal handler, which may do next to nothing, reaches the engine.
//!
//! ```text
//!   handler:   this process? ─► rung = true; it was not? ─► write the eventfd
//!   listener:  the eventfd is readable ─► read it empty ─► rung = false; it was true? ─► a signal
//! ```
//!
//! `rung` is the truth and the eventfd only makes noise. Nothing is lost: who reads the eventfd empty finds `rung` as the handler left it before it
//! wrote; who takes `rung` before the handler has written is woken once for nothing.
//!
//! After a fork the child has the handler and the same eventfd. Its signals are no business of the parent's, so the handler looks whose process it
//! runs in (getpid(2) is async-signal-safe). Where that can't tell (a child with the same number in another PID namespace), the parent is woken, finds
//! `rung` untouched in its own memory, and waits on.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::sync::{AtomicBool, Ordering};

/// One listener's.
#[derive(Debug)]
pub(super) struct Bell {
    rung: AtomicBool,
    line: OwnedFd,
    home: u32,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let line = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if line < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just made, and nobody else knows of it.
        let line = unsafe { OwnedFd::from_raw_fd(line) };
        Ok(Self { rung: AtomicBool::new(false), line, home: std::process::id() })
    }

    /// For signal handlers: an atomic and two system calls, no lock, no memory, no panic. May change `errno`.
    pub(super) fn ring(&self) {
        if std::process::id() != self.home || self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let one = 1_u64;
        // SAFETY: write(2) reads the eight bytes of `one`. The descriptor is open as long as `self`.
        let written =
            unsafe { libc::write(self.line.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
        // All that can go wrong is a counter that is full, and that one is readable.
        let _ = written;
    }

    /// Reads the eventfd empty and says whether it was rung, however often, since this was asked last.
    pub(super) fn take(&self) -> bool {
        let mut count = 0_u64;
        // SAFETY: read(2) writes at most the eight bytes of `count`. The descriptor is open as long as `self`.
        let read = unsafe { libc::read(self.line.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
        // All that can go wrong is that it is empty. `rung` counts, whatever was there.
        let _ = read;
        self.rung.swap(false, Ordering::AcqRel)
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(bell: &Bell) -> bool {
        let mut asked = libc::pollfd { fd: bell.line.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd, and no waiting.
        unsafe { libc::poll(&raw mut asked, 1, 0) == 1 }
    }

    #[test]
    fn however_often_it_rings_it_is_taken_once() {
        let bell = Bell::new().unwrap();
        assert!(!bell.take());
        bell.ring();
        bell.ring();
        assert!(readable(&bell));
        assert!(bell.take());
        assert!(!readable(&bell) && !bell.take());
        bell.ring();
        assert!(bell.take());
    }

    #[test]
    fn in_a_process_that_is_not_its_own_it_makes_no_sound() {
        let bell = Bell { home: std::process::id() + 1, ..Bell::new().unwrap() };
        bell.ring();
        assert!(!readable(&bell) && !bell.take());
    }

    /// What a child with the parent's process number comes to: noise, and no signal.
    #[test]
    fn noise_alone_is_no_signal() {
        let bell = Bell::new().unwrap();
        bell.ring();
        bell.rung.store(false, Ordering::Relaxed);
        assert!(readable(&bell) && !bell.take() && !readable(&bell));
    }
}
