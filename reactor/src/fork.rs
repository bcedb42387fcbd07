//! Whether this process is a fork of the one that made something (contract C12).
//!
//! A ring's memory is not inherited, and a child that harvested its parent's would take its events. Asking for the process
//! number is a system call, so forks are counted instead: in the child, by the C library.

use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);

/// Runs in the child, right after the fork: an atomic addition is all that is allowed here.
extern "C" fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// The process that something was made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Birthplace(u32);

impl Birthplace {
    pub(crate) fn here() -> Self {
        static COUNTING: Once = Once::new();
        COUNTING.call_once(|| {
            // SAFETY: the function is async-signal-safe and stays for ever. If there is no memory for the entry, forks
            // are not noticed.
            unsafe { libc::pthread_atfork(None, None, Some(forked)) };
        });
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// # Errors
    /// If this process is a child of that one.
    pub(crate) fn check(self) -> io::Result<()> {
        if self.0 == FORKS.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(io::Error::other("an egret instance does not outlive fork: make a new one in the child"))
    }
}
