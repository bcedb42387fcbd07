//! The state word that a task shares with its handle and the registry.
//!
//! async-task keeps the word that says whether a task is scheduled, running, done; this one only knows about abortion
//! and registration.
//!
//! | bits | name | set by | cleared by |
//! |---|---|---|---|
//! | 0 | ABORTED | `abort`: any holder of the handle, any time | never |
//! | 1 | REGISTERED | `publish`: the task's own poll, after its waker is in the registry | `withdraw`: the end of the task's future |
//! | 2..18 | shard | with REGISTERED | with REGISTERED |
//! | 18..50 | slot | with REGISTERED | with REGISTERED |
//! | 50 | LINKED | `link`: a holder of the handle, once; there is an entry in `links` | never |
//! | 51 | WATCHED | with the task itself: its end is to be marked | never |
//! | 52 | ENDED | `withdraw`, of a task that has any of REGISTERED, LINKED, WATCHED: its future is gone | never |
//!
//! ```text
//!   abort                           the task, at its first Pending
//!   ─────                           ──────────────────────────────
//!   word |= ABORTED                 insert the waker into the registry
//!   old has REGISTERED?             word |= REGISTERED, shard, slot
//!     yes: wake by its key          old has ABORTED?
//!     no: the task will see           yes: end now, as aborted
//!         the bit itself              no: a later abort finds the key
//! ```
//!
//! Both sides change the same word, so one of them comes second and sees what the first has done: an abort can't fall
//! between the task's last look at the bit and its registration. `link` is a third one who changes it: what it does with what it
//! sees is told in `links`.
//!
//! A task that ends in its first poll, and that nobody has asked for more than its output, changes the word not once.

use crate::{
    sync::{AtomicU64, Ordering},
    task::registry::Key,
};

const ABORTED: u64 = 1 << 0;
const REGISTERED: u64 = 1 << 1;
const SHARD_SHIFT: u32 = 2;
const SLOT_SHIFT: u32 = 18;
const SHARD_MASK: u64 = 0xffff;
const SLOT_MASK: u64 = 0xffff_ffff;
const LINKED: u64 = 1 << 50;
const WATCHED: u64 = 1 << 51;
const ENDED: u64 = 1 << 52;

/// What an abort has to do after it has set the bit.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Abort {
    /// The task waits; wake it through the registry.
    Wake(Key),
    /// The task is queued, running for the first time, or at its end: it sees the bit without help.
    WillSee,
    /// Somebody else aborted it before.
    Already,
}

/// What a task that has published its registration learns.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Publish {
    /// An abort from now on finds the key.
    Published,
    /// An abort came first and doesn't know the key: end now.
    Aborted,
    /// There is an entry in `links`, which doesn't know the key: tell it.
    Linked,
}

/// What a task is told before a poll.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing.
    Go,
    /// It was aborted.
    Aborted,
    /// It may have been aborted through its entry in `links`, which doesn't know how to wake it yet.
    AskLinks,
}

/// What a task leaves behind when its future is gone.
#[must_use]
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Where the registry still holds its waker.
    pub key: Option<Key>,
    /// It has an entry in `links`, which doesn't know of the end.
    pub linked: bool,
}

/// What somebody who makes a link finds.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Where the task's waker is, if it waits.
    pub key: Option<Key>,
    /// Its future is gone.
    pub ended: bool,
}

/// The word. See the module's table.
#[derive(Default)]
pub struct State(AtomicU64);

impl State {
    /// The state of a task whose end will be marked.
    pub fn watched() -> Self {
        Self(AtomicU64::new(WATCHED))
    }

    /// What the task has to know before a poll.
    #[inline]
    pub fn look(&self) -> Look {
        let word = self.0.load(Ordering::Acquire);
        if word & (ABORTED | LINKED) == 0 {
            return Look::Go;
        }
        // Once it is registered, whoever aborts by a link does it here.
        if word & ABORTED != 0 {
            Look::Aborted
        } else if word & REGISTERED == 0 {
            Look::AskLinks
        } else {
            Look::Go
        }
    }

    /// Whether the task's waker is in the registry.
    #[inline]
    pub fn is_registered(&self) -> bool {
        self.0.load(Ordering::Relaxed) & REGISTERED != 0
    }

    /// Whether the task's future is gone. Only of a task that has waited, or was made by [`watched`](Self::watched).
    pub fn is_ended(&self) -> bool {
        self.0.load(Ordering::Acquire) & ENDED != 0
    }

    /// Whether the task has an entry in `links`: for its end, when nobody can make one any more.
    #[inline]
    pub fn is_linked(&self) -> bool {
        self.0.load(Ordering::Relaxed) & LINKED != 0
    }

    /// Where the task's waker is, if it waits.
    pub fn key(&self) -> Option<Key> {
        key(self.0.load(Ordering::Acquire))
    }

    /// Asks the task to end.
    pub fn abort(&self) -> Abort {
        let old = self.0.fetch_or(ABORTED, Ordering::AcqRel);
        if old & (ABORTED | ENDED) != 0 {
            return Abort::Already;
        }
        key(old).map_or(Abort::WillSee, Abort::Wake)
    }

    /// Tells aborters under which key the task's waker is.
    pub fn publish(&self, key: Key) -> Publish {
        let bits = REGISTERED | u64::from(key.shard) << SHARD_SHIFT | u64::from(key.slot) << SLOT_SHIFT;
        let old = self.0.fetch_or(bits, Ordering::AcqRel);
        debug_assert_eq!(old & REGISTERED, 0, "a task registers once");
        if old & ABORTED != 0 {
            Publish::Aborted
        } else if old & LINKED != 0 {
            Publish::Linked
        } else {
            Publish::Published
        }
    }

    /// Tells the task that it has an entry in `links`.
    pub fn link(&self) -> Found {
        let old = self.0.fetch_or(LINKED, Ordering::AcqRel);
        Found { key: key(old), ended: old & ENDED != 0 }
    }

    /// The task's future is gone: takes the registration back.
    #[must_use = "the registry may still hold the waker"]
    #[inline]
    pub fn withdraw(&self) -> Left {
        // Only the task itself registers, so a look is enough for those that never did. A link that is made at this very moment may
        // be overlooked; it finds out by itself, see `links`.
        if self.0.load(Ordering::Relaxed) & (REGISTERED | LINKED | WATCHED) == 0 {
            return Left::default();
        }
        let old = self.0.fetch_or(ENDED, Ordering::AcqRel);
        Left { key: key(old), linked: old & LINKED != 0 }
    }
}

fn key(word: u64) -> Option<Key> {
    (word & REGISTERED != 0).then_some(Key {
        shard: (word >> SHARD_SHIFT & SHARD_MASK) as u16,
        slot: (word >> SLOT_SHIFT & SLOT_MASK) as u32,
    })
}

#[cfg(all(test, not(egret_loom)))]
mod tests {
    use super::*;

    const KEY: Key = Key { shard: u16::MAX, slot: u32::MAX };

    #[test]
    fn a_key_survives_the_word() {
        let state = State::default();
        assert_eq!(state.publish(KEY), Publish::Published);
        assert_eq!(state.abort(), Abort::Wake(KEY));
        assert_eq!(state.abort(), Abort::Already);
        assert_eq!(state.withdraw(), Left { key: Some(KEY), linked: false });
        assert!(state.look() == Look::Aborted && state.is_ended());
    }

    #[test]
    fn an_abort_before_the_registration_is_seen_by_it() {
        let state = State::default();
        assert_eq!(state.abort(), Abort::WillSee);
        assert_eq!(state.publish(KEY), Publish::Aborted);
    }
}
