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

use crate::fork::Birthplace;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// A timer to sleep on that others move.
///
/// It isn't part of any [`Eventpoll`](crate::Eventpoll): for the thread that shall notice when all those who wait there are kept from it.
///
/// A child that was forked after it was made can neither move it, for the parent goes by it, nor wait for it.
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
    birthplace: Birthplace,
}

/// The longest time it is set to, a hundred years: what is longer never comes either, and the kernel refuses what it can't count.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Alarm {
    /// An alarm that isn't set.
    ///
    /// # Errors
    /// If no descriptor is left, or no memory, or where a filter refuses timers.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers; the result is checked.
        let timer = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC) };
        if timer < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let timer = unsafe { OwnedFd::from_raw_fd(timer) };
        let alarm = Self { timer, birthplace: Birthplace::here() };
        // What can be made but not set would never ring, and nobody would know why.
        alarm.try_set_time(Duration::ZERO)?;
        Ok(alarm)
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
        if self.birthplace.check().is_err() {
            // The child's descriptor is the same timer.
            return;
        }
        let set = self.try_set_time(after);
        debug_assert!(
            set.is_ok(),
            "the descriptor is a timer, the time is in range, and it could be set before"
        );
    }

    fn try_set_time(&self, after: Duration) -> io::Result<()> {
        let setting = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec {
                tv_sec: after.as_secs() as libc::time_t,
                tv_nsec: after.subsec_nanos().into(),
            },
        };
        // SAFETY: the setting lives until the call returns, and the old one isn't asked for.
        let set = unsafe { libc::timerfd_settime(self.timer.as_raw_fd(), 0, &setting, std::ptr::null_mut()) };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Sleeps until it rings; if it has rung since the last wait and wasn't set again, not at all. For one thread at a time.
    ///
    /// # Errors
    /// In a child that was forked after it was made.
    pub fn wait(&self) -> io::Result<()> {
        self.birthplace.check()?;
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
    use crate::watchdog::Watchdog;
    use std::time::Instant;

    #[test]
    fn it_rings_when_it_was_last_set_to() {
        let _watchdog = Watchdog::start();
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
        let _watchdog = Watchdog::start();
        let alarm = Alarm::new().unwrap();
        alarm.set(Duration::from_secs(3600));
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| alarm.wait());
            alarm.set(Duration::from_millis(2));
            sleeper.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_forked_child_does_not_move_it() {
        let alarm = std::sync::Arc::new(Alarm::new().unwrap());
        alarm.set(Duration::from_millis(50));
        // SAFETY: the child calls the alarm, which makes system calls only (an error allocates nothing unless it is formatted, and the
        // C library makes its allocator usable in the child), and ends without running anything else.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            alarm.unset();
            let refused = alarm.wait().is_err();
            // SAFETY: takes no pointers.
            unsafe { libc::_exit(i32::from(!refused)) };
        }
        let mut status = -1;
        // SAFETY: the status is valid for writing.
        let ended = unsafe { libc::waitpid(child, &mut status, 0) };
        assert_eq!((ended, status), (child, 0), "it may not wait there");
        let (rings, rang) = std::sync::mpsc::channel();
        std::thread::spawn(move || rings.send(alarm.wait()));
        rang.recv_timeout(Duration::from_secs(30)).expect("it was unset by the child").unwrap();
    }
}
