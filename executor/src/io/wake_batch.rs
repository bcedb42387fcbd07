//! Wakers gathered under a lock, to be woken after it was dropped. On the stack, so that firing and dispatching don't allocate.

use crate::{prefetch::prefetch, task::quiet::quietly};
use std::task::Waker;

/// How many wakers a batch holds before the lock has to be dropped for them (tokio's number).
pub(crate) const BATCH: usize = 32;

/// What most machines load at once, in bytes.
const LINE: usize = 64;

/// The lines of a task that are touched when it is woken and polled, as far as they are known here: its state, and its future from the beginning.
/// (The task of an HTTP connection has four in all.)
const TASK: usize = 4;

/// Up to [`BATCH`] wakers. A waker that panics doesn't take its neighbours' wakes with it.
pub(crate) struct WakeBatch {
    wakers: [Option<Waker>; BATCH],
    len: usize,
}

impl WakeBatch {
    pub(crate) fn new() -> Self {
        Self { wakers: [const { None }; BATCH], len: 0 }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == BATCH
    }

    /// How many more fit.
    pub(crate) fn room(&self) -> usize {
        BATCH - self.len
    }

    /// Adds a waker, and begins to load what it wakes. Panics if the batch is full.
    pub(crate) fn push(&mut self, waker: Waker) {
        for line in 0..TASK {
            prefetch(waker.data().cast::<u8>().wrapping_add(line * LINE));
        }
        self.wakers[self.len] = Some(waker);
        self.len += 1;
    }

    /// Wakes everything gathered, in the order it was pushed. Never call it with a lock held.
    pub(crate) fn wake(mut self) {
        for waker in self.wakers[..self.len].iter_mut().filter_map(Option::take) {
            wake(waker);
        }
    }
}

/// Wakes a task; a foreign waker's panic ends here.
pub(crate) fn wake(waker: Waker) {
    quietly(|| waker.wake());
}

#[cfg(all(test, not(egret_loom)))]
mod tests {
    use super::*;
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    struct Count {
        woken: AtomicUsize,
        panics: bool,
    }

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.woken.fetch_add(1, Ordering::Relaxed);
            assert!(!self.panics, "a waker that panics");
        }
    }

    #[test]
    fn a_panicking_waker_does_not_swallow_the_other_wakes() {
        let good = Arc::new(Count { woken: AtomicUsize::new(0), panics: false });
        let bad = Arc::new(Count { woken: AtomicUsize::new(0), panics: true });
        let mut batch = WakeBatch::new();
        batch.push(Waker::from(good.clone()));
        batch.push(Waker::from(bad.clone()));
        batch.push(Waker::from(good.clone()));
        batch.wake();
        assert_eq!(good.woken.load(Ordering::Relaxed), 2);
        assert_eq!(bad.woken.load(Ordering::Relaxed), 1);
    }
}
