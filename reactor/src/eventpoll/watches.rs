//! How many interests the process holds, and how many it may (the kernel's `max_user_watches`, fact 22).
//!
//! One counter for all instances. A [`Watch`] is one interest's share of it: it lies beside the item in the interest tree and
//! gives its place back when it leaves the tree.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

static WATCHES: AtomicUsize = AtomicUsize::new(0);
static MAX: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Limits the number of interests that all instances of this process hold together. Interests beyond a limit that is
/// lowered stay.
///
/// Where the kernel takes a share of the machine's low memory by default, there is no limit here until one is set:
/// what interests take is the process's own memory, about 300 bytes each.
///
/// ```
/// use egret_reactor::{max_watches, set_max_watches, watches};
///
/// set_max_watches(watches() + 100_000);
/// assert!(max_watches() >= 100_000);
/// # set_max_watches(usize::MAX);
/// ```
pub fn set_max_watches(max: usize) {
    MAX.store(max, Ordering::Relaxed);
}

/// What [`set_max_watches`] has set; `usize::MAX` if nothing was.
pub fn max_watches() -> usize {
    MAX.load(Ordering::Relaxed)
}

/// How many interests all instances of this process hold now.
pub fn watches() -> usize {
    WATCHES.load(Ordering::Relaxed)
}

/// One interest's place in the count.
#[derive(Debug)]
pub(super) struct Watch(());

impl Watch {
    /// # Errors
    /// `ENOSPC` if the limit is reached.
    pub(super) fn take() -> io::Result<Self> {
        let max = MAX.load(Ordering::Relaxed);
        let one_more = |watches| if watches < max { Some(watches + 1) } else { None };
        match WATCHES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Self(())),
            Err(_) => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHES.fetch_sub(1, Ordering::Relaxed);
    }
}
