//! The registry of live tasks: the wakers of all tasks that have waited at least once.
//!
//! It serves two purposes: an abort wakes a waiting task through it, and the end of the runtime reaches every task that
//! nothing else would ever wake. A task that completes in its first poll never comes here.
//!
//! ```text
//!              insert (first Pending)              remove (end of the task's future)
//!   not here ─────────────────────────► registered ─────────────────────────────────► not here
//!       │                                   │
//!       │ insert after close: Err(Closed)   │ close_and_take: the end of the runtime takes the waker out and wakes it
//!       ▼                                   ▼
//!     the task ends as aborted            the task's Runnable arrives in the injector and is dropped there
//! ```
//!
//! | field | lock |
//! |---|---|
//! | everything in a `Shard` | that shard's mutex; a worker's tasks register in its own shard, foreign threads share the last |
//!
//! Under a lock a waker is only cloned or moved, never woken or dropped. A slot is reused, so a key may be stale: a slot
//! knows whose waker it holds. In the runtime `T`, which says that, is a pointer to the task's own memory, which the waker keeps: so what
//! is registered can be looked at, at the cost of no byte more.

use std::task::Waker;

use crate::sync::{Mutex, Padded, lock};

/// Where a task's waker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The shard's number.
    pub shard: u16,
    /// The slot's number in it.
    pub slot: u32,
}

/// The runtime is ending, nothing registers any more.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

enum Slot<T> {
    Free { next: Option<u32> },
    Taken { task: T, waker: Waker },
}

struct Shard<T> {
    slots: Vec<Slot<T>>,
    free: Option<u32>,
    taken: usize,
    closed: bool,
}

impl<T> Default for Shard<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: None, taken: 0, closed: false }
    }
}

impl<T: Copy + Eq> Shard<T> {
    fn insert(&mut self, task: T, waker: Waker) -> u32 {
        self.taken += 1;
        let taken = Slot::Taken { task, waker };
        if let Some(slot) = self.free {
            let old = std::mem::replace(&mut self.slots[slot as usize], taken);
            let Slot::Free { next } = old else {
                unreachable!("the free list links free slots");
            };
            self.free = next;
            slot
        } else {
            let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 tasks in a shard");
            self.slots.push(taken);
            slot
        }
    }

    fn remove(&mut self, slot: u32, task: T) -> Option<Waker> {
        let place = self.slots.get_mut(slot as usize)?;
        if !matches!(place, Slot::Taken { task: whose, .. } if *whose == task) {
            return None;
        }
        let next = self.free.replace(slot);
        let Slot::Taken { waker, .. } = std::mem::replace(place, Slot::Free { next }) else {
            unreachable!("it was taken a line above");
        };
        self.taken -= 1;
        Some(waker)
    }
}

/// The wakers of a runtime's live tasks, by shard.
pub struct Registry<T = u64> {
    shards: Box<[Padded<Mutex<Shard<T>>>]>,
}

impl<T: Copy + Eq> Registry<T> {
    /// A registry with a shard for each of `workers` and one for everybody else.
    pub fn new(workers: usize) -> Self {
        Self { shards: (0..=workers).map(|_| Padded(Mutex::new(Shard::default()))).collect() }
    }

    /// Registers a task's waker in the shard of `worker`, or in the shared one.
    ///
    /// # Errors
    ///
    /// If the registry is closed; the waker is dropped, after the lock.
    pub fn insert(&self, worker: Option<usize>, task: T, waker: Waker) -> Result<Key, Closed> {
        let index = worker.unwrap_or(self.shards.len() - 1);
        let mut shard = lock(&self.shards[index]);
        if shard.closed {
            drop(shard);
            drop(waker);
            return Err(Closed);
        }
        Ok(Key { shard: index as u16, slot: shard.insert(task, waker) })
    }

    /// Takes a task's waker out; none if the end of the runtime has taken it before.
    #[must_use = "to be dropped outside of any lock"]
    pub fn remove(&self, key: Key, task: T) -> Option<Waker> {
        lock(&self.shards[usize::from(key.shard)]).remove(key.slot, task)
    }

    /// A clone of a task's waker; none if it isn't registered any more.
    #[must_use = "to be woken"]
    pub fn waker(&self, key: Key, task: T) -> Option<Waker> {
        let shard = lock(&self.shards[usize::from(key.shard)]);
        match shard.slots.get(key.slot as usize) {
            Some(Slot::Taken { task: whose, waker }) if *whose == task => Some(waker.clone()),
            _ => None,
        }
    }

    /// Closes all shards and takes out every waker that is registered.
    #[must_use = "to be woken"]
    pub fn close_and_take(&self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.closed = true;
            shard.free = None;
            shard.taken = 0;
            wakers.extend(shard.slots.drain(..).filter_map(|slot| match slot {
                Slot::Taken { waker, .. } => Some(waker),
                Slot::Free { .. } => None,
            }));
        }
        wakers
    }

    /// Everything that is registered, with a waker that keeps it, shard by shard.
    pub fn snapshot(&self) -> Vec<(T, Waker)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            all.extend(shard.slots.iter().filter_map(|slot| match slot {
                Slot::Taken { task, waker } => Some((*task, waker.clone())),
                Slot::Free { .. } => None,
            }));
        }
        all
    }

    /// How many tasks are registered; a snapshot.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).taken).sum()
    }
}

#[cfg(all(test, not(egret_loom)))]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_stale_key_reaches_nobody_else() {
        let registry = Registry::new(1);
        let key = registry.insert(Some(0), 1, Waker::noop().clone()).unwrap();
        assert!(registry.waker(key, 1).is_some());
        assert!(registry.remove(key, 1).is_some());
        let reused = registry.insert(Some(0), 2, Waker::noop().clone()).unwrap();
        assert_eq!(key, reused);
        assert!(registry.waker(key, 1).is_none());
        assert!(registry.remove(key, 1).is_none());
        assert_eq!(registry.len(), 1);
    }

    #[test]
    fn slots_are_reused_last_freed_first() {
        let registry = Registry::new(1);
        let keys: Vec<_> =
            (0..3).map(|task| registry.insert(None, task, Waker::noop().clone()).unwrap()).collect();
        assert!(registry.remove(keys[0], 0).is_some());
        assert!(registry.remove(keys[2], 2).is_some());
        let again = registry.insert(None, 3, Waker::noop().clone()).unwrap();
        assert_eq!(again, keys[2]);
        let again = registry.insert(None, 4, Waker::noop().clone()).unwrap();
        assert_eq!(again, keys[0]);
        let fresh = registry.insert(None, 5, Waker::noop().clone()).unwrap();
        assert_eq!(fresh.slot, 3);
    }

    #[test]
    fn closing_takes_all_and_refuses_more() {
        let registry = Registry::new(2);
        let count = Arc::new(Count::default());
        let key = registry.insert(Some(1), 1, Waker::from(count.clone())).unwrap();
        let _other = registry.insert(None, 2, Waker::from(count.clone()));
        for waker in registry.close_and_take() {
            waker.wake();
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        assert_eq!(registry.insert(Some(0), 3, Waker::from(count.clone())), Err(Closed));
        assert!(registry.remove(key, 1).is_none());
        assert_eq!((registry.len(), Arc::strong_count(&count)), (0, 1));
    }
}
