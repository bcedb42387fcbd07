//! [`Counter`]: eventfd's semantics without a descriptor or a system call.
//!
//! The value is one atomic word, so nothing blocks and there is no lock. Each successful call changes the word first and wakes
//! the queue after it, with the keys of the kernel's `eventfd_write` and `eventfd_read`:
//!
//! | call            | changes                          | wakes with | also                                               |
//! |-----------------|----------------------------------|------------|----------------------------------------------------|
//! | `write(n)`      | adds `n`                         | `IN`       | when it was readable already, and when `n` is zero |
//! | `read`          | takes everything                 | `OUT`      | when there was room already                        |
//! | `read`, semaphore | takes one                      | `OUT`      | the same; what is left is no new edge of `IN`      |

use crate::events::Events;
use crate::source::{PollTable, Source};
use crate::sync::{AtomicU64, Ordering};
use crate::wait_queue::WaitQueue;
use std::io;

/// A counter that is readable while it is not zero: `eventfd(2)` in user space.
///
/// [`write`](Counter::write) adds; [`read`](Counter::read) takes everything and leaves zero, or takes one if the counter is a
/// [`semaphore`](Counter::semaphore). It polls [`Events::IN`] above zero and [`Events::OUT`] while one can be added. The
/// `ERR` of an eventfd whose value overflowed can't be had: only the kernel itself can make one overflow.
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
    value: AtomicU64,
    semaphore: bool,
    queue: WaitQueue,
}

/// The largest value that a write may leave (`eventfd(2)`: 0xfffffffffffffffe).
const MAX: u64 = u64::MAX - 1;

impl Counter {
    /// Makes a counter that starts at `value`, at most `u64::MAX - 1`: larger values are cut to that.
    pub fn new(value: u64) -> Self {
        Self::made(value, false)
    }

    /// Makes a counter whose [`read`](Counter::read) takes exactly one (eventfd's `EFD_SEMAPHORE`). It starts at `value`, at
    /// most `u64::MAX - 1`.
    ///
    /// ```
    /// use egret_reactor::Counter;
    ///
    /// let permits = Counter::semaphore(2);
    /// assert_eq!(permits.read()?, 1);
    /// assert_eq!(permits.read()?, 1);
    /// assert_eq!(permits.read().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    /// permits.write(1)?; // gives one back
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn semaphore(value: u64) -> Self {
        Self::made(value, true)
    }

    fn made(value: u64, semaphore: bool) -> Self {
        Self { value: AtomicU64::new(value.min(MAX)), semaphore, queue: WaitQueue::new() }
    }

    /// Adds `n` and tells who watches, also when the counter was readable already: each write is an edge, even one that adds
    /// nothing to a readable counter.
    ///
    /// # Errors
    /// `EINVAL` if `n` is `u64::MAX`; [`WouldBlock`](io::ErrorKind::WouldBlock) if the sum would pass `u64::MAX - 1`.
    pub fn write(&self, n: u64) -> io::Result<()> {
        if n == u64::MAX {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // What the writer did before is seen by whoever reads the value. (Who is woken sees it through the queue's lock.)
        self.value
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |value| {
                value.checked_add(n).filter(|sum| *sum <= MAX)
            })
            .map_err(|_| io::ErrorKind::WouldBlock)?;
        self.queue.wake(Events::IN);
        Ok(())
    }

    /// Takes the value and leaves zero; a semaphore takes one. Returns what was taken.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if it is zero.
    pub fn read(&self) -> io::Result<u64> {
        let taken = if self.semaphore {
            let before =
                self.value.fetch_update(Ordering::AcqRel, Ordering::Acquire, |value| value.checked_sub(1));
            before.map(|_| 1).unwrap_or(0)
        } else {
            self.value.swap(0, Ordering::AcqRel)
        };
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.queue.wake(Events::OUT);
        Ok(taken)
    }
}

impl Source for Counter {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        table.register(&self.queue);
        let value = self.value.load(Ordering::Acquire);
        let mut events = Events::empty();
        events.set(Events::IN, value > 0);
        events.set(Events::OUT, value < MAX);
        events
    }
}
