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
    /// What completions let go of: dropped without the lock.
    pub(super) released: Vec<Arc<dyn Armed>>,
    /// The feed waits for a thread that doesn't answer: when the kernel is to be asked in its place.
    pub(super) ask_at: Option<Instant>,
}

pub(super) struct Slot {
    generation: u32,
    pub(super) state: State,
}

pub(super) enum State {
    Vacant,
    Armed(Arm),
    Closing,
    Dead(Arm),
}

impl Slot {
    /// Armed → dead, dead → armed.
    pub(super) fn turn(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Vacant) {
            State::Armed(arm) => State::Dead(arm),
            State::Dead(arm) => State::Armed(arm),
            other => other,
        };
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
    pub(super) fn insert(&mut self, state: State) -> Token {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, state: State::Vacant });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.state = state;
        Token(u64::from(slot.generation) << 32 | u64::from(index))
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

    /// The arms whose descriptors may be asked for their level at any time: an event too many does no harm there.
    pub(super) fn askable(&self) -> impl Iterator<Item = (Token, &Arm)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| match &slot.state {
            State::Armed(arm) if arm.fallen == Fallen::Told => {
                Some((Token(u64::from(slot.generation) << 32 | index as u64), arm))
            }
            _ => None,
        })
    }

    pub(super) fn vacate(&mut self, token: Token) {
        if let Some(slot) = self.get(token) {
            slot.generation = slot.generation.wrapping_add(1);
            // The last generation of the last slot would read as one of the reserved tokens: never used.
            slot.generation %= u32::MAX;
            if let State::Armed(arm) | State::Dead(arm) = std::mem::replace(&mut slot.state, State::Vacant) {
                self.released.push(arm.target);
            }
            self.vacant.push(token.0 as u32);
        }
    }
}
