//! [`Alarm`]: a timer that one thread sleeps on and any thread sets, or puts off.
//!
//! ```text
//!            set                       the time comes              wait returns
//!   Unset ─────────► Set (to when) ────────────────────► Rung ───────────────────► Unset
//!     ▲                │ └──◄── set again: earlier or later ──┤ (not rung any more)
//!     └──── unset ─────┴──────────────────────────────────────┘
//! ```
//!
//! A timerfd, because putting it off wakes nobody: a condition variable's sleeper would have to wake at the old time to hear of the
//! new one, which costs a hundred times what this call does.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// A timer to sleep on that others move.
///
/// It isn't part of any [`Eventpoll`](crate::Eventpoll): for the thread that shall notice when all those who wait there are kept from it.
///
/// ```
/// use egret_reactor::Alarm;
/// use std::time::Duration;
///
/// let alarm = Alarm::new()?;
/// alarm.set(Duration::from_secs(60));
/// alarm.set(Duration::from_millis(1));
/// alarm.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Alarm {
    timer: OwnedFd,
}

/// The longest time it is set to, a hundred years: what is longer never comes either, and the kernel refuses what it can't count.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Alarm {
    /// An alarm that isn't set.
    ///
    /// # Errors
    /// If no descriptor is left, or no memory.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers; the result is checked.
        let timer = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC) };
        if timer < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self { timer: unsafe { OwnedFd::from_raw_fd(timer) } })
    }

    /// It shall ring once, `after` this time from now and not before, whatever it was set to. Zero is as soon as can be.
    pub fn set(&self, after: Duration) {
        // A zero would unset it.
        self.set_time(after.clamp(Duration::from_nanos(1), LONGEST));
    }

    /// It shall not ring.
    pub fn unset(&self) {
        self.set_time(Duration::ZERO);
    }

    fn set_time(&self, after: Duration) {
        let setting = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec {
                tv_sec: after.as_secs() as libc::time_t,
                tv_nsec: after.subsec_nanos().into(),
            },
        };
        // SAFETY: the setting lives until the call returns, and the old one isn't asked for.
        let set = unsafe { libc::timerfd_settime(self.timer.as_raw_fd(), 0, &setting, std::ptr::null_mut()) };
        debug_assert_eq!(set, 0, "the descriptor is a timer and the time is in range");
    }

    /// Sleeps until it rings; if it has rung since the last wait and wasn't set again, not at all. For one thread at a time.
    ///
    /// # Errors
    /// None is known.
    pub fn wait(&self) -> io::Result<()> {
        let mut count = [0u8; 8];
        loop {
            // SAFETY: the buffer has the eight bytes that a timer writes.
            let read = unsafe { libc::read(self.timer.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
            if read == 8 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn it_rings_when_it_was_last_set_to() {
        let alarm = Alarm::new().unwrap();
        let begin = Instant::now();
        alarm.set(Duration::from_millis(1));
        alarm.set(Duration::from_millis(30));
        alarm.wait().unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(30));
        alarm.set(Duration::MAX);
        alarm.set(Duration::ZERO);
        alarm.wait().unwrap();
        alarm.set(Duration::ZERO);
        alarm.unset();
        let begin = Instant::now();
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| alarm.wait());
            alarm.set(Duration::from_millis(30));
            sleeper.join().unwrap().unwrap();
        });
        assert!(begin.elapsed() >= Duration::from_millis(30), "it was not to ring before");
    }

    #[test]
    fn who_sleeps_hears_of_an_earlier_time() {
        let alarm = Alarm::new().unwrap();
        alarm.set(Duration::from_secs(3600));
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| alarm.wait());
            alarm.set(Duration::from_millis(2));
            sleeper.join().unwrap().unwrap();
        });
    }
}
