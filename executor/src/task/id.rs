//! Task ids.

use std::{cell::Cell, fmt, num::NonZeroU64, sync::atomic::Ordering};

use crate::sync::AtomicU64;

/// A task's number: unique in the process, never reused. The order of numbers means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(NonZeroU64);

impl Id {
    pub(crate) fn get(self) -> u64 {
        self.0.get()
    }

    /// The id with that number, which was one's.
    pub(crate) fn of_number(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many numbers a thread takes at once, so that spawning threads don't share a line for each task. A guess.
const BLOCK: u64 = 1024;

static NEXT_BLOCK: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

impl Id {
    #[inline]
    pub(crate) fn next() -> Self {
        let mut id = NEXT.get();
        if id.is_multiple_of(BLOCK) {
            id = NEXT_BLOCK.fetch_add(1, Ordering::Relaxed) * BLOCK;
        }
        NEXT.set(id + 1);
        Self(NonZeroU64::new(id).expect("the first block is number 1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_all_threads_differ() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..3000).map(|_| Id::next()).collect::<Vec<_>>()))
            .collect();
        let ids: std::collections::HashSet<_> =
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ids.len(), 12_000);
    }
}
