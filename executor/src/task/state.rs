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
//! between the task's last look at the bit and its registration.

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
}

/// The word. See the module's table.
#[derive(Default)]
pub struct State(AtomicU64);

impl State {
    /// Whether the task was asked to end.
    #[inline]
    pub fn is_aborted(&self) -> bool {
        self.0.load(Ordering::Acquire) & ABORTED != 0
    }

    /// Whether the task's waker is in the registry.
    #[inline]
    pub fn is_registered(&self) -> bool {
        self.0.load(Ordering::Relaxed) & REGISTERED != 0
    }

    /// Asks the task to end.
    pub fn abort(&self) -> Abort {
        let old = self.0.fetch_or(ABORTED, Ordering::AcqRel);
        if old & ABORTED != 0 {
            return Abort::Already;
        }
        key(old).map_or(Abort::WillSee, Abort::Wake)
    }

    /// Tells aborters under which key the task's waker is.
    pub fn publish(&self, key: Key) -> Publish {
        let bits = REGISTERED | u64::from(key.shard) << SHARD_SHIFT | u64::from(key.slot) << SLOT_SHIFT;
        let old = self.0.fetch_or(bits, Ordering::AcqRel);
        debug_assert_eq!(old & REGISTERED, 0, "a task registers once");
        if old & ABORTED != 0 { Publish::Aborted } else { Publish::Published }
    }

    /// Takes the registration back; the key, if there was one.
    #[must_use = "the registry still holds the waker"]
    #[inline]
    pub fn withdraw(&self) -> Option<Key> {
        // Only the task itself registers, so a look is enough for those that never did.
        if !self.is_registered() {
            return None;
        }
        key(self.0.fetch_and(ABORTED, Ordering::AcqRel))
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
        assert_eq!(state.withdraw(), Some(KEY));
        assert_eq!(state.withdraw(), None);
        assert!(state.is_aborted());
    }

    #[test]
    fn an_abort_before_the_registration_is_seen_by_it() {
        let state = State::default();
        assert_eq!(state.abort(), Abort::WillSee);
        assert_eq!(state.publish(KEY), Publish::Aborted);
    }
}
