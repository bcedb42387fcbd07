//! Links: how somebody who has neither a task's handle nor its waker aborts it.
//!
//! An [`AbortHandle`](super::AbortHandle) of a task that waits keeps one of the task's wakers, and with it the task's memory, and aborts as a handle does. A
//! task that is queued, or in its first poll, has no waker that anybody could get at. Then an entry in this table stands between the two.
//! Few tasks ever have one: a task has one bit for it (LINKED, in `state`), and no room.
//!
//! ```text
//!               make: entry, then LINKED                                published: the task's first Pending sees LINKED
//!   no entry ───────────────────────────► entry without a key ──────────────────────────────────────► entry with a key
//!                                           │ ask: marks it. The task looks, before its              │ ask: gives the key: the asker
//!                                           │ first poll and in `published`: it ends                 │ wakes the task, as an abort does
//!                                           ▼                                                        ▼
//!                                        end: the task's future is gone: an ask does nothing ─► forget: the task's memory goes
//! ```
//!
//! `make` and `publish` change the same word. If `make` comes second it finds the key in it; if `publish` does, it sees LINKED and brings the
//! key here. `make` holds the lock from its look at the table until the entry is whole, so nobody asks a half-made one.
//!
//! A task that ends in its first poll doesn't change its word, so a link that is made in that very moment may be overlooked. Then nobody calls `end`: the entry
//! goes with the task's memory, which sees the bit, because whoever made the link had the handle, and let go of it later. Until then
//! an ask marks an entry that nobody looks at any more.
//!
//! | field | lock |
//! |---|---|
//! | `Links` | its mutex, a leaf; no user code runs under it |

use std::collections::HashMap;

use crate::{
    sync::{Mutex, lock},
    task::{registry::Key, state::State},
};

/// What a task that waits from now on learns.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Published {
    /// An ask from now on gives the key.
    Waits,
    /// An ask came first: end now.
    Asked,
}

#[derive(Clone, Copy)]
struct Entry {
    key: Option<Key>,
    asked: bool,
    ended: bool,
}

/// The entries of a runtime's tasks, by their ids.
#[derive(Default)]
pub struct Links(Mutex<HashMap<u64, Entry>>);

impl Links {
    /// Makes sure that the task has an entry. The caller has its handle.
    pub fn make(&self, task: u64, state: &State) {
        let mut entries = lock(&self.0);
        entries.entry(task).or_insert_with(|| {
            let found = state.link();
            Entry { key: found.key, asked: false, ended: found.ended }
        });
    }

    /// Asks the task to end. A key: it waits there, and has to be aborted through its waker. None: it sees it, or has ended.
    #[must_use = "a task that waits has to be woken"]
    pub fn ask(&self, task: u64) -> Option<Key> {
        let mut entries = lock(&self.0);
        let entry = entries.get_mut(&task).filter(|entry| !entry.ended)?;
        entry.asked = true;
        entry.key
    }

    /// Whether the task was asked to end.
    pub fn is_asked(&self, task: u64) -> bool {
        lock(&self.0).get(&task).is_some_and(|entry| entry.asked)
    }

    /// The task, which saw its bit, waits under that key now.
    pub fn published(&self, task: u64, key: Key) -> Published {
        match lock(&self.0).get_mut(&task) {
            Some(entry) if entry.asked => Published::Asked,
            Some(entry) => {
                entry.key = Some(key);
                Published::Waits
            }
            None => unreachable!("an entry is there before its bit is"),
        }
    }

    /// The task's future is gone.
    pub fn end(&self, task: u64) {
        if let Some(entry) = lock(&self.0).get_mut(&task) {
            entry.ended = true;
        }
    }

    /// Whether the task's future is gone.
    pub fn is_ended(&self, task: u64) -> bool {
        lock(&self.0).get(&task).is_none_or(|entry| entry.ended)
    }

    /// The task's memory goes.
    pub fn forget(&self, task: u64) {
        lock(&self.0).remove(&task);
    }

    /// How many entries there are.
    #[cfg(egret_loom)]
    pub fn len(&self) -> usize {
        lock(&self.0).len()
    }
}
