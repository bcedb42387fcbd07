//! [`Counter`]: eventfd's semantics without a descriptor or a system call.

use crate::events::Events;
use crate::source::{PollTable, Source};
use crate::sync::Mutex;
use crate::wait_queue::WaitQueue;
use std::io;

/// A counter that is readable while it is not zero: `eventfd(2)` in user space.
///
/// [`write`](Counter::write) adds, [`read`](Counter::read) takes everything and leaves zero. It polls [`Events::IN`] above
/// zero and [`Events::OUT`] while one can be added.
///
/// ```
/// use egret_reactor::Counter;
///
/// let counter = Counter::new(0);
/// counter.write(2)?;
/// counter.write(3)?;
/// assert_eq!(counter.read()?, 5);
/// assert_eq!(counter.read().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Counter {
    value: Mutex<u64>,
    queue: WaitQueue,
}

/// The largest value that a write may leave (`eventfd(2)`: 0xfffffffffffffffe).
const MAX: u64 = u64::MAX - 1;

impl Counter {
    /// Makes a counter that starts at `value`, at most `u64::MAX - 1`: larger values are cut to that.
    pub fn new(value: u64) -> Self {
        Self { value: Mutex::new(value.min(MAX)), queue: WaitQueue::new() }
    }

    /// Adds `n` and tells who watches, also when the counter was readable already: each write is an edge.
    ///
    /// # Errors
    /// `EINVAL` if `n` is `u64::MAX`; [`WouldBlock`](io::ErrorKind::WouldBlock) if the sum would pass `u64::MAX - 1`.
    pub fn write(&self, n: u64) -> io::Result<()> {
        if n == u64::MAX {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        {
            let mut value = self.value.lock();
            *value = value.checked_add(n).filter(|sum| *sum <= MAX).ok_or(io::ErrorKind::WouldBlock)?;
        }
        self.queue.wake(Events::IN);
        Ok(())
    }

    /// Takes the value and leaves zero.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if it is zero.
    pub fn read(&self) -> io::Result<u64> {
        let value = std::mem::take(&mut *self.value.lock());
        if value == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.queue.wake(Events::OUT);
        Ok(value)
    }
}

impl Source for Counter {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        table.register(&self.queue);
        let value = *self.value.lock();
        let mut events = Events::empty();
        events.set(Events::IN, value > 0);
        events.set(Events::OUT, value < MAX);
        events
    }
}
