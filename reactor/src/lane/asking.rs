//! Asking the kernel in the place of a thread that can't be reached.
//!
//! With the `uring` feed a wake-up becomes a completion in the thread that submitted the arm, on its way through the kernel. A thread that
//! computes is interrupted for it; one that sleeps in the kernel where no signal wakes it (it reads from a slow disk, or waits for a process
//! to start) can't be, and its arms are silent for as long as that takes.
//!
//! ```text
//!   visit: a thread was prodded and doesn't answer ──► ask: not yet ── PATIENCE later, still no answer ──► poll(2) over the lane's arms
//!                                                              ▲                                             │ what is news: fire
//!                                                              └──────── nine times as long as that took ────┘
//! ```
//!
//! Only arms of [`Fallen::Told`] are asked for: there an event too many costs a system call and nothing else, and the thread's own completion,
//! when it comes at last, is one.

use super::LaneInner;
use super::arms::Slot;
use crate::eventpoll::ready::Ready;
use crate::events::Events;
use crate::feed::{self, Token};
use crate::parker::Wakes;
use std::io;
use std::time::{Duration, Instant};

/// How long a thread that the feed waits for may stay away before the kernel is asked in its place. A guess: longer than a thread that has lost
/// its processor waits for it on a machine that isn't overloaded, and still within what a blocked worker may delay its neighbours.
const PATIENCE: Duration = Duration::from_millis(2);

impl LaneInner {
    /// In the place of a thread that the feed waits for and that can't be reached: one that sleeps in the kernel where no signal wakes
    /// it (it reads from a slow disk, or starts a process). Its descriptors are asked for their level with `poll(2)`.
    ///
    /// That costs O(n), and most threads that don't answer have only lost their processor: so not at once, and for a tenth of the time
    /// at most.
    pub(super) fn ask_the_kernel(&self, pumping: &Ready) -> io::Result<()> {
        let begin = Instant::now();
        let (tokens, mut polls): (Vec<Token>, Vec<libc::pollfd>) = {
            let mut arms = self.arms.lock();
            match arms.ask_at {
                // Not for long: this is another time.
                Some(at) if at + 10 * PATIENCE > begin => {
                    if at > begin {
                        return Ok(());
                    }
                }
                _ => {
                    arms.ask_at = Some(begin + PATIENCE);
                    return Ok(());
                }
            }
            let poll_of = |arm: &Slot| libc::pollfd {
                fd: arm.fd,
                events: (arm.interest.conditions() - Events::ALWAYS).bits() as i16,
                revents: 0,
            };
            arms.askable().map(|(token, arm)| (token, poll_of(arm))).unzip()
        };
        let asked = feed::poll::ppoll(&mut polls, Some(Duration::ZERO));
        let mut wakes = {
            let mut arms = self.arms.lock();
            let mut wakes = Wakes::with_batch(Some(pumping), std::mem::take(&mut arms.batch));
            for (token, poll) in tokens.into_iter().zip(&polls) {
                // Still armed: so the descriptor that was asked was its own.
                if poll.revents != 0
                    && let Some(slot) = arms.get(token)
                    && let Some(target) = slot.armed()
                    && target.misses(feed::level_of(poll))
                {
                    target.fire(feed::level_of(poll), &mut wakes);
                }
            }
            let end = Instant::now();
            arms.ask_at = Some(end + end.saturating_duration_since(begin) * 9);
            arms.batch = wakes.publish();
            wakes
        };
        wakes.flush();
        asked
    }
}
