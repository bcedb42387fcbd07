//! Whose turn it is to block in a lane that several threads share.
//!
//! ```text
//!   nobody leads ── take_turns ──► leads: blocks in the feed ── comes back ──► nobody leads
//!                                    │ meanwhile: take_turns                        │
//!                                    ▼                                              │ hand_over, when it leaves its wait
//!                                  follows: sleeps on its condition variable ◄──────┘ wakes the last comer, who leads
//! ```

use super::LaneInner;
use crate::parker::Parker;
use crate::sync::Arc;
use std::io;
use std::time::Instant;

/// Whose turn it is to block in a shared lane.
#[derive(Default)]
pub(super) struct Lead {
    taken: bool,
    followers: Vec<Arc<Parker>>,
}

impl LaneInner {
    /// Sleeps in the feed, or behind the thread that does.
    pub(crate) fn take_turns(&self, parker: &Arc<Parker>, deadline: Option<Instant>) -> io::Result<()> {
        let leads = {
            let mut lead = self.lead.lock();
            if !lead.taken {
                lead.taken = true;
                true
            } else {
                lead.followers.push(parker.clone());
                false
            }
        };
        if leads {
            let result = parker.park_in_lane(deadline);
            self.lead.lock().taken = false;
            result
        } else {
            parker.park(deadline);
            self.lead.lock().followers.retain(|other| !Arc::ptr_eq(other, parker));
            Ok(())
        }
    }

    /// A thread leaves `wait`: if nobody leads, the follower who came last is woken to do so.
    pub(crate) fn hand_over(&self) {
        let heir = {
            let mut lead = self.lead.lock();
            if lead.taken { None } else { lead.followers.pop() }
        };
        if let Some(heir) = heir {
            heir.unpark();
        }
    }
}
