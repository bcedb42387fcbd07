//! How an arm ends: in the lane's next submission, or at once.
//!
//! | way          | for whom                                            | when it returns                                  |
//! |--------------|-----------------------------------------------------|--------------------------------------------------|
//! | `disarm`     | a stream's drop, an `Fd` without interests          | cancel and close are queued, or on their way     |
//! | `disarm_now` | a listener's drop, an `Fd`'s drop                   | the kernel holds the file no longer for this arm |

use super::LaneInner;
use super::arms::Ending;
use crate::feed::{Disarmed, Token};
use crate::seat;
use crate::sync::Ordering;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long a synchronous disarm waits for the kernel to let go. The measured worst case is a timer tick (4 ms at 250 Hz)
/// plus the time until the thread that holds the arm is scheduled.
const LET_GO: Duration = Duration::from_millis(500);

impl LaneInner {
    /// Ends an arm, and closes its descriptor after it, both in the lane's next submission.
    pub(crate) fn disarm(&self, token: Token, close: Option<OwnedFd>) {
        if self.birthplace.check().is_err() {
            // The arm is the parent's, and so is the ring; only the descriptor was inherited, and `close` ends that.
            return;
        }
        let (disarmed, target) = {
            let mut arms = self.arms.lock();
            // Nothing armed under this token (any more): `close` is dropped, which closes it.
            let Some(slot) = arms.get(token) else { return };
            let target = match slot.end() {
                Ending::Armed(target) => target,
                Ending::Dead(target) => {
                    arms.vacate(token);
                    arms.released.push(target);
                    return;
                }
                Ending::Closing => return,
            };
            let disarmed = self.feed.disarm(token, close);
            if let Ok(Disarmed::Done | Disarmed::Now { .. }) = disarmed {
                arms.vacate(token);
            }
            (disarmed, target)
        };
        drop(target);
        match disarmed {
            // The ring takes nothing (no memory). The descriptor is closed; the arm that pins it goes the direct way.
            Err(_) => self.disarm_now(token),
            Ok(Disarmed::Done) => {}
            // Whoever blocks in the feed still pins the descriptor.
            Ok(Disarmed::Now { .. }) => self.nudge(),
            // The owner passes by. Anybody else can't tell when it does: it may be in a long task.
            Ok(Disarmed::LastFollows) if seat::owns(self) && self.attended.load(Ordering::Acquire) => {}
            Ok(Disarmed::LastFollows) => self.submit_or_leave(),
        }
    }

    /// Whether this arm is not over yet.
    pub(crate) fn knows(&self, token: Token) -> bool {
        self.arms.lock().get(token).is_some()
    }

    /// Hands over what was put off. If the kernel has no memory for it now, it stays queued and goes with the next
    /// submission. (If there is none because the lane ends, descriptors whose close was queued stay open.)
    pub(super) fn submit_or_leave(&self) {
        if self.birthplace.check().is_err() {
            // A forked child has no ring to hand it to.
            return;
        }
        if let Err(error) = self.feed.submit() {
            debug_assert!(error.raw_os_error().is_some());
        }
    }

    /// Ends an arm; when it returns the kernel holds the descriptor no longer on its behalf, so that closing it is felt at
    /// once. Gives up after half a second, if the thread that made the arm gets no processor.
    pub(crate) fn disarm_now(&self, token: Token) {
        if self.birthplace.check().is_err() {
            return;
        }
        let mut target = None;
        {
            let mut arms = self.arms.lock();
            let Some(slot) = arms.get(token) else { return };
            match slot.end() {
                Ending::Armed(armed) => target = Some(armed),
                Ending::Dead(target) => {
                    arms.vacate(token);
                    arms.released.push(target);
                    return;
                }
                Ending::Closing => {}
            }
        }
        drop(target);
        let deadline = Instant::now() + LET_GO;
        let how = match self.feed.disarm_now(token) {
            Ok(how) => how,
            Err(_out_of_memory) => {
                // It goes with the next submission instead.
                let _queued = self.feed.disarm(token, None);
                return;
            }
        };
        let last_follows = how == Disarmed::LastFollows;
        if !last_follows {
            self.arms.lock().vacate(token);
        }
        loop {
            // Any thread may harvest: this one does until the last completion is there, and what the feed waits for.
            if last_follows && self.pump(None, false).is_err() {
                return;
            }
            let ended = !last_follows || self.arms.lock().get(token).is_none();
            if ended && self.feed.unpinned(token, how) || Instant::now() >= deadline {
                return;
            }
            if ended {
                self.kick();
            }
            std::thread::yield_now();
        }
    }
}
