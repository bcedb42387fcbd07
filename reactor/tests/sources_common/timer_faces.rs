//! [`Timer`] and the kernel's timerfd behind one face, so that the same test runs over both.

use super::sources_common::*;
use egret_reactor::{Eventpoll, Events, Timer};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What both timers can do. One edge-triggered interest and one level-triggered one watch each of them.
pub trait Face {
    fn set(&self, first: Duration, period: Duration);
    /// With a first expiration that long ago.
    fn set_past(&self, ago: Duration, period: Duration);
    fn disarm(&self);
    fn read(&self) -> io::Result<u64>;
    /// Zero if there is nothing to come.
    fn remaining(&self) -> Duration;
    fn edge(&self, timeout: Duration) -> bool;
    fn level(&self) -> bool;
}

pub struct Ours {
    pub timer: Arc<Timer>,
    edges: Eventpoll,
    levels: Eventpoll,
}

impl Ours {
    pub fn new() -> Self {
        let timer = Arc::new(Timer::new());
        let (edges, levels) = (watching(&timer, Events::IN | Events::ET), watching(&timer, Events::IN));
        Self { timer, edges, levels }
    }
}

impl Face for Ours {
    fn set(&self, first: Duration, period: Duration) {
        self.timer.set(first, Some(period)).unwrap();
    }

    fn set_past(&self, ago: Duration, period: Duration) {
        self.timer.set_at(Instant::now().checked_sub(ago).unwrap(), Some(period)).unwrap();
    }

    fn disarm(&self) {
        self.timer.disarm();
    }

    fn read(&self) -> io::Result<u64> {
        self.timer.read()
    }

    fn remaining(&self) -> Duration {
        self.timer.remaining().unwrap_or_default()
    }

    fn edge(&self, timeout: Duration) -> bool {
        !wait(&self.edges, 4, Some(timeout)).is_empty()
    }

    fn level(&self) -> bool {
        conditions(&self.levels) == [Events::IN]
    }
}

struct Kernels {
    fd: OwnedFd,
    edges: Oracle,
    levels: Oracle,
}

impl Kernels {
    fn new() -> Self {
        // SAFETY: takes no pointers.
        let fd = owned(unsafe {
            libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC)
        });
        let (edges, levels) = (Oracle::new(), Oracle::new());
        edges.add(&fd, Events::IN | Events::ET, 1).unwrap();
        levels.add(&fd, Events::IN, 1).unwrap();
        Self { fd, edges, levels }
    }

    fn settime(&self, flags: i32, first: Duration, period: Duration) {
        let value = libc::itimerspec { it_interval: timespec(period), it_value: timespec(first) };
        // SAFETY: the value is valid for the call, and the old one is not asked for.
        let result =
            unsafe { libc::timerfd_settime(self.fd.as_raw_fd(), flags, &value, std::ptr::null_mut()) };
        checked(result).unwrap();
    }
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec { tv_sec: i64::try_from(time.as_secs()).unwrap(), tv_nsec: time.subsec_nanos().into() }
}

fn duration(time: libc::timespec) -> Duration {
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

impl Face for Kernels {
    fn set(&self, first: Duration, period: Duration) {
        self.settime(0, first, period);
    }

    fn set_past(&self, ago: Duration, period: Duration) {
        let mut now = timespec(Duration::ZERO);
        // SAFETY: the time is valid for writing.
        checked(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) }).unwrap();
        self.settime(libc::TFD_TIMER_ABSTIME, duration(now) - ago, period);
    }

    fn disarm(&self) {
        self.settime(0, Duration::ZERO, Duration::ZERO);
    }

    fn read(&self) -> io::Result<u64> {
        let mut count = [0; 8];
        read(&self.fd, &mut count).map(|_| u64::from_ne_bytes(count))
    }

    fn remaining(&self) -> Duration {
        let zero = timespec(Duration::ZERO);
        let mut value = libc::itimerspec { it_interval: zero, it_value: zero };
        // SAFETY: the value is valid for writing.
        checked(unsafe { libc::timerfd_gettime(self.fd.as_raw_fd(), &mut value) }).unwrap();
        duration(value.it_value)
    }

    fn edge(&self, timeout: Duration) -> bool {
        !self.edges.wait(4, Some(timeout)).is_empty()
    }

    fn level(&self) -> bool {
        self.levels.look().iter().any(|event| event.events == Events::IN)
    }
}

/// What holds of our timer has to hold of the kernel's, or the test is wrong.
pub fn each(test: impl Fn(&dyn Face)) {
    test(&Kernels::new());
    test(&Ours::new());
}
