//! [`Arms`]: what a lane has armed, by token. A slab with generations, under the lane's lock.
//!
//! ```text
//!   vacant ── arm ──► armed ── disarm ──► closing ── last completion ──► vacant, next generation
//!                     │  ▲ └── disarm, feed has nothing under way ─────► vacant
//!                     │  └──── ended by itself (submitter gone, queue full): armed again
//!                     ├─────── ended with an error: dead ── disarm ────► vacant
//!                     └─────────────── rearm ────────────────┘
//! ```

use super::Armed;
use crate::eventpoll::ready::Batch;
use crate::events::Events;
use crate::feed::{Completion, Fallen, Token};
use crate::prefetch::prefetch;
use crate::sync::Arc;
use std::os::fd::RawFd;
use std::time::Instant;

#[derive(Default)]
pub(super) struct Arms {
    pub(super) slots: Vec<Slot>,
    pub(super) vacant: Vec<u32>,
    pub(super) completions: Vec<Completion>,
    /// Memory for the items that one harvest publishes. Empty between harvests.
    pub(super) batch: Batch,
    /// Something was armed again, possibly by a thread that will not block.
    pub(super) renewed: bool,
    /// How often something was armed, and how many completions have come: counted up for ever.
    pub(super) armed: u64,
    pub(super) completed: u64,
    /// What completions let go of: dropped without the lock.
    pub(super) released: Vec<Arc<dyn Armed>>,
    /// The feed waits for a thread that doesn't answer: when the kernel is to be asked in its place.
    pub(super) ask_at: Option<Instant>,
}

/// Half a cache line, and there is one for every socket: so it is no `enum`, whose tag would cost a word.
#[repr(align(32))]
pub(super) struct Slot {
    /// Nobody in a slot that is vacant or closing.
    target: Option<Arc<dyn Armed>>,
    generation: u32,
    pub(super) fd: RawFd,
    pub(super) interest: Events,
    pub(super) fallen: Fallen,
    state: State,
}

const _: () = assert!(size_of::<Slot>() == 32, "it has grown");

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Vacant,
    Armed,
    Closing,
    Dead,
}

/// What an arm was when it was told to end.
pub(super) enum Ending {
    /// Whoever wanted to know. Its last completion may follow.
    Armed(Arc<dyn Armed>),
    /// There is no arm any more.
    Dead(Arc<dyn Armed>),
    /// It was told before.
    Closing,
}

impl Slot {
    /// Whoever wants to know, unless it is ending or dead.
    #[inline]
    pub(super) fn armed(&self) -> Option<&Arc<dyn Armed>> {
        self.target.as_ref().filter(|_| self.state == State::Armed)
    }

    /// Whether its arm has ended with an error, and was not made anew.
    pub(super) fn is_dead(&self) -> bool {
        self.state == State::Dead
    }

    /// Armed → dead.
    pub(super) fn die(&mut self) {
        debug_assert!(self.state == State::Armed);
        self.state = State::Dead;
    }

    /// Dead → armed.
    pub(super) fn revive(&mut self) {
        debug_assert!(self.state == State::Dead);
        self.state = State::Armed;
    }

    /// Armed, dead → closing.
    pub(super) fn end(&mut self) -> Ending {
        let before = std::mem::replace(&mut self.state, State::Closing);
        match self.target.take() {
            Some(target) if before == State::Dead => Ending::Dead(target),
            Some(target) => Ending::Armed(target),
            None => Ending::Closing,
        }
    }
}

/// What is watched, for whom.
pub(super) struct Arm {
    pub(super) target: Arc<dyn Armed>,
    pub(super) fd: RawFd,
    pub(super) interest: Events,
    pub(super) fallen: Fallen,
}

impl Arms {
    pub(super) fn insert(&mut self, arm: Arm) -> Token {
        let index = self.vacant.pop().unwrap_or(self.slots.len() as u32);
        let Arm { target, fd, interest, fallen } = arm;
        let fresh =
            |generation| Slot { target: Some(target), generation, fd, interest, fallen, state: State::Armed };
        let generation = match self.slots.get_mut(index as usize) {
            Some(slot) => {
                *slot = fresh(slot.generation);
                slot.generation
            }
            None => {
                self.slots.push(fresh(0));
                0
            }
        };
        Token(u64::from(generation) << 32 | u64::from(index))
    }

    /// Slots in use: armed, dead or closing.
    pub(super) fn occupied(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// The slot, if the token is of its present generation: an answer for a closed socket can't reach its successor.
    pub(super) fn get(&mut self, token: Token) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(token.0 as u32 as usize)?;
        (u64::from(slot.generation) == token.0 >> 32).then_some(slot)
    }

    /// Begins to load what an answer for this token will be told to.
    #[inline]
    pub(super) fn prefetch(&self, token: Token) {
        let slot = self.slots.get(token.0 as u32 as usize);
        if let Some(target) = slot.and_then(|slot| slot.target.as_ref()) {
            prefetch(Arc::as_ptr(target).cast::<u8>());
        }
    }

    /// The arms whose descriptors may be asked for their level at any time: an event too many does no harm there.
    pub(super) fn askable(&self) -> impl Iterator<Item = (Token, &Slot)> {
        let askable = |slot: &Slot| slot.armed().is_some() && slot.fallen == Fallen::Told;
        self.slots
            .iter()
            .enumerate()
            .filter(move |(_, slot)| askable(slot))
            .map(|(index, slot)| (Token(u64::from(slot.generation) << 32 | index as u64), slot))
    }

    pub(super) fn vacate(&mut self, token: Token) {
        if let Some(slot) = self.get(token) {
            slot.generation = slot.generation.wrapping_add(1);
            // The last generation of the last slot would read as one of the reserved tokens: never used.
            slot.generation %= u32::MAX;
            slot.state = State::Vacant;
            let target = slot.target.take();
            self.released.extend(target);
            self.vacant.push(token.0 as u32);
        }
    }
}
