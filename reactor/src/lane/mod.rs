//! A lane: a feed, a way to wake who blocks in it, and the [`arms`] that live in it. [`lanes`] has the public face.
//!
//! Every worker of a pool owns a lane: it pumps it while it runs and blocks in it when it parks. Threads outside a pool
//! share one and take turns: one leads (blocks in the feed), the others sleep on a condition variable until they are
//! woken for an event or for the lead. A lane is owned, not private: any thread may harvest it.
//!
//! A thread that blocks in the feed:
//!
//! ```text
//!            block (owner or leader)                kick
//!   AWAKE ─────────────────────────► DOZING ─────────────────► KICKED   + the eventfd is written
//!     ▲                                 │                        │
//!     └────────── back from the feed: swap(AWAKE) ───────────────┘
//!   AWAKE ── kick ──► KICKED ── block: takes it and doesn't sleep ──► AWAKE
//! ```
//!
//! The arms' lock is held while completions are published (below it: wait queues and lists); what a last completion lets
//! go of is dropped after it.

mod arms;
mod asking;
mod closing;
mod lanes;
#[cfg(test)]
mod tests;
mod turns;

pub use lanes::{Lane, LaneGuard, LaneStats, Lanes};

use crate::eventpoll::ready::Ready;
use crate::events::Events;
use crate::feed::{self, Completion, Fallen, Feed, FeedKind, Token};
use crate::fork::Birthplace;
use crate::parker::Wakes;
use crate::seat;
use crate::sync::{Arc, AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Mutex, Ordering, fence};
use arms::{Arm, Arms};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Instant;
use turns::Lead;

const AWAKE: u8 = 0;
const DOZING: u8 = 1;
const KICKED: u8 = 2;

/// So many completions ahead of the one that is published targets are being loaded. A guess: about as many misses as a core has under way.
const AHEAD: usize = 8;

/// What a completion is for.
pub(crate) trait Armed: Send + Sync {
    /// The conditions in `level` hold. Called under the lane's lock: publishes, and wakes through `wakes`.
    fn fire(&self, level: Events, wakes: &mut Wakes<'_>);

    /// Whether the answer that comes next tells all that this one would: then this one is passed over.
    fn is_said_again_by(&self, _level: Events, _next: &Completion) -> bool {
        false
    }

    /// Whether a condition in `level` is news to it.
    fn misses(&self, _level: Events) -> bool {
        false
    }

    /// The arm has ended with an error: when the descriptor is found not to be ready, [`LaneInner::rearm`] shall be called.
    fn lost(&self);
}

pub(crate) struct LaneInner {
    feed: Box<dyn Feed>,
    arms: Mutex<Arms>,
    doze: AtomicU8,
    interrupted: AtomicBool,
    wake: OwnedFd,
    /// An arm may be dead: look when a condition falls.
    any_dead: AtomicBool,
    /// Something was armed whose edges are counted exactly: to be submitted before the next delivery, so that what held at
    /// ADD is not told twice.
    exact: AtomicBool,
    /// Something of that kind was armed here at some time: a look without blocking has to be right. (The flag above falls with the
    /// submission.)
    serves_exact: AtomicBool,
    /// Arms were made anew by a harvest.
    was_renewed: AtomicBool,
    /// How many arms there are, counting those that are ending: a lane without any has nothing to harvest. It may say more than
    /// there are (until the next harvest), never less.
    occupied: AtomicUsize,
    /// Whether a worker passes by regularly and so carries out what was put off.
    attended: AtomicBool,
    /// How often the feed was called to hand over, and to block.
    submits: AtomicU64,
    blocks: AtomicU64,
    lead: Mutex<Lead>,
    birthplace: Birthplace,
}

// No user code runs under a lock of a lane or a feed, so no panic of a user leaves anything half done in them.
impl std::panic::UnwindSafe for LaneInner {}
impl std::panic::RefUnwindSafe for LaneInner {}

impl fmt::Debug for LaneInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("feed", &self.feed).finish_non_exhaustive()
    }
}

impl LaneInner {
    /// The first lane of its kind: its error says why the feed can't be had here.
    fn first(kind: FeedKind) -> io::Result<Self> {
        Self::make(kind, |error| feed::explain(kind, error))
    }

    /// One more.
    fn new(kind: FeedKind) -> io::Result<Self> {
        Self::make(kind, |error| error)
    }

    fn make(kind: FeedKind, explain: impl FnOnce(io::Error) -> io::Error) -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers; the result is checked.
        let wake = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if wake < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let wake = unsafe { OwnedFd::from_raw_fd(wake) };
        let feed = feed::make(kind, wake.as_raw_fd()).map_err(explain)?;
        Ok(Self::over(feed, wake))
    }

    pub(crate) fn over(feed: Box<dyn Feed>, wake: OwnedFd) -> Self {
        Self {
            feed,
            arms: Mutex::new(Arms::default()),
            doze: AtomicU8::new(AWAKE),
            interrupted: AtomicBool::new(false),
            wake,
            any_dead: AtomicBool::new(false),
            exact: AtomicBool::new(false),
            serves_exact: AtomicBool::new(false),
            was_renewed: AtomicBool::new(false),
            occupied: AtomicUsize::new(0),
            attended: AtomicBool::new(false),
            submits: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
            lead: Mutex::new(Lead::default()),
            birthplace: Birthplace::here(),
        }
    }

    /// Whether giving up the processor once before blocking pays in this lane.
    pub(crate) fn rests(&self) -> bool {
        self.feed.rests()
    }

    /// Arms `fd` for `target`. What holds already is reported like everything that follows.
    pub(crate) fn arm(
        &self,
        fd: RawFd,
        interest: Events,
        fallen: Fallen,
        target: Arc<dyn Armed>,
    ) -> io::Result<Token> {
        let token = {
            let mut arms = self.arms.lock();
            arms.armed += 1;
            let token = arms.insert(Arm { target, fd, interest, fallen });
            self.occupied.store(arms.occupied(), Ordering::Relaxed);
            if let Err(error) = self.feed.arm(token, fd, interest, fallen) {
                arms.vacate(token);
                let released = std::mem::take(&mut arms.released);
                drop(arms);
                drop(released);
                return Err(error);
            }
            token
        };
        if fallen == Fallen::Watched {
            self.serves_exact.store(true, Ordering::Relaxed);
            self.exact.store(true, Ordering::Relaxed);
        }
        self.nudge();
        Ok(token)
    }

    /// Whether [`catch_up`](Self::catch_up) does anything.
    pub(crate) fn counts_arrivals(&self) -> bool {
        self.feed.counts_arrivals()
    }

    /// Submits what was put off and publishes what has happened up to now, before something changes that it must not be
    /// applied to: an event of before an ADD or a MOD is none of after it.
    pub(crate) fn catch_up(&self) -> io::Result<()> {
        if !self.feed.counts_arrivals() || self.birthplace.check().is_err() {
            return Ok(());
        }
        self.pump(None, true)
    }

    /// Whether [`rearm`](Self::rearm) does anything.
    pub(crate) fn wants_to_be_told(&self) -> bool {
        self.feed.wants_to_be_told()
    }

    /// These conditions were seen not to hold.
    pub(crate) fn rearm(&self, token: Token, conditions: Events) {
        if self.birthplace.check().is_err() {
            return;
        }
        if self.feed.rearm(token, conditions) || (self.any_dead.load(Ordering::Relaxed) && self.revive(token))
        {
            self.nudge();
        }
    }

    /// An arm that ended with an error is tried again when its user has found that the descriptor would block after all.
    fn revive(&self, token: Token) -> bool {
        let mut arms = self.arms.lock();
        let Some(slot) = arms.get(token) else { return false };
        if slot.is_dead() && self.feed.arm(token, slot.fd, slot.interest, slot.fallen).is_ok() {
            slot.revive();
            return true;
        }
        false
    }

    /// Something was put off that a thread which blocks in the feed right now would not see.
    fn nudge(&self) {
        if seat::owns(self) {
            return;
        }
        // With the fence in `block`: either that thread sees what was put off, or it is seen to doze.
        fence(Ordering::SeqCst);
        if self.doze.load(Ordering::SeqCst) == DOZING {
            self.kick();
        }
    }

    /// Makes whoever blocks in the feed come back, or the next one not block.
    pub(crate) fn kick(&self) {
        if self.doze.swap(KICKED, Ordering::SeqCst) == DOZING {
            self.ring();
        }
    }

    fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the buffer is eight bytes, as eventfd wants them, and the descriptor is open as long as `self`.
        let written = unsafe { libc::write(self.wake.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        // It can only fail when the counter is full, and then the descriptor is readable all the same.
        debug_assert!(written == 8 || io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock);
    }

    /// Blocks in the feed until it has something, until kicked, or until the deadline.
    pub(crate) fn block(&self, deadline: Option<Instant>) -> io::Result<()> {
        if self.doze.compare_exchange(AWAKE, DOZING, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            self.doze.swap(AWAKE, Ordering::SeqCst);
            return Ok(());
        }
        fence(Ordering::SeqCst);
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // One thread blocks at a time.
        self.blocks.store(self.blocks.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let result = self.feed.block(timeout);
        self.doze.swap(AWAKE, Ordering::SeqCst);
        result
    }

    pub(crate) fn stats(&self) -> LaneStats {
        let (arms, completions) = {
            let arms = self.arms.lock();
            (arms.armed, arms.completed)
        };
        LaneStats {
            arms,
            completions,
            submits: self.submits.load(Ordering::Relaxed),
            blocks: self.blocks.load(Ordering::Relaxed),
        }
    }

    /// Whether there is nothing to pump for. (A wake-up may lie there: for a thread that blocks, and that one pumps.)
    pub(crate) fn is_vacant(&self) -> bool {
        self.occupied.load(Ordering::Relaxed) == 0
    }

    /// [`pump`](Self::pump) for a look that must be right: also what another thread has to turn into answers first. Only exact
    /// descriptors promise that.
    pub(crate) fn pump_settled(&self, pumping: Option<&Ready>) -> io::Result<()> {
        if !self.serves_exact.load(Ordering::Relaxed) {
            return self.pump(pumping, true);
        }
        self.feed.settle();
        self.pump(pumping, true)?;
        // Arms whose thread has ended were made anew, and have answered at once.
        if self.was_renewed.swap(false, Ordering::Relaxed) { self.pump(pumping, true) } else { Ok(()) }
    }

    /// A [`pump`](Self::pump) by a thread that isn't the owner, which may be kept from coming by for long.
    /// False if a thread that the feed waits for can't be reached.
    fn visit(&self, pumping: &Ready) -> io::Result<bool> {
        if self.is_vacant() && !self.feed.has_pending() {
            return Ok(true);
        }
        let answered = self.feed.prod();
        self.pump(Some(pumping), true)?;
        Ok(answered)
    }

    /// Publishes what the feed has: each completion as its source's callback would. Waiters of `pumping` are left alone,
    /// for the caller delivers for it.
    pub(crate) fn pump(&self, pumping: Option<&Ready>, submit: bool) -> io::Result<()> {
        if (submit || self.exact.load(Ordering::Relaxed)) && self.feed.has_pending() {
            self.exact.store(false, Ordering::Relaxed);
            self.submits.fetch_add(1, Ordering::Relaxed);
            self.feed.submit()?;
        }
        let (released, renewed, calls_back, mut wakes) = {
            let mut arms = self.arms.lock();
            let mut wakes = Wakes::with_batch(pumping, std::mem::take(&mut arms.batch));
            let mut completions = std::mem::take(&mut arms.completions);
            let harvested = self.feed.harvest(&mut completions);
            arms.completed += completions.len() as u64;
            for completion in completions.iter().take(AHEAD) {
                arms.prefetch(completion.token);
            }
            for (at, completion) in completions.iter().enumerate() {
                if let Some(ahead) = completions.get(at + AHEAD) {
                    arms.prefetch(ahead.token);
                }
                self.publish(&mut arms, completion, completions.get(at + 1), &mut wakes);
            }
            completions.clear();
            arms.completions = completions;
            arms.batch = wakes.publish();
            self.occupied.store(arms.occupied(), Ordering::Relaxed);
            let calls_back = harvested?;
            (std::mem::take(&mut arms.released), std::mem::take(&mut arms.renewed), calls_back, wakes)
        };
        wakes.flush();
        if calls_back {
            self.nudge();
        }
        drop(released);
        // Another thread may be about to block without having seen it.
        if renewed {
            self.was_renewed.store(true, Ordering::Relaxed);
            self.feed.submit()
        } else {
            Ok(())
        }
    }

    fn publish(
        &self,
        arms: &mut Arms,
        completion: &Completion,
        next: Option<&Completion>,
        wakes: &mut Wakes<'_>,
    ) {
        let Completion { token, level, last } = *completion;
        match token {
            Token::NONE => return,
            Token::WAKE => {
                self.renew_wake(arms, last);
                return;
            }
            _ => {}
        }
        let Some(slot) = arms.get(token) else { return };
        let Some(target) = slot.armed() else {
            if last {
                arms.vacate(token);
            }
            return;
        };
        if let Ok(level) = level
            && !next.is_some_and(|next| target.is_said_again_by(level, next))
        {
            target.fire(level, wakes);
        }
        if !last {
            return;
        }
        // Ended by itself. The submitter's thread is gone, or the completion queue was full: armed again, which reports
        // the present level, so nothing is lost in between. After anything else (no memory, a descriptor that is none)
        // whoever uses it shall try, and meet the error himself, or find that it would block and ask to be armed again.
        let again = matches!(level, Ok(_) | Err(libc::ECANCELED))
            && self.feed.arm(token, slot.fd, slot.interest, slot.fallen).is_ok();
        if again {
            arms.renewed = true;
            return;
        }
        self.any_dead.store(true, Ordering::Relaxed);
        target.lost();
        // Not the conditions that are final where they are remembered.
        target.fire((slot.interest - (Events::RDHUP | Events::HUP)) | Events::ERR, wakes);
        slot.die();
    }

    /// The wake-up's only work was to end the block. Its arm ends with the thread that submitted it.
    fn renew_wake(&self, arms: &mut Arms, last: bool) {
        arms.renewed |= last;
        // A thread that harvests in passing may take the wake-up of one that is on its way into the kernel: it rings again.
        // (The sleeper itself is up by the time it harvests.)
        if !seat::owns(self) && self.doze.load(Ordering::SeqCst) == KICKED {
            self.ring();
        }
        if last && self.feed.arm(Token::WAKE, self.wake.as_raw_fd(), Events::IN, Fallen::Told).is_err() {
            // Nothing can be submitted: the next block fails with the same error and says so.
            self.doze.store(KICKED, Ordering::SeqCst);
        }
    }

    pub(crate) fn take_interrupt(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed) && self.interrupted.swap(false, Ordering::SeqCst)
    }
}

impl Drop for LaneInner {
    fn drop(&mut self) {
        // Descriptors whose close was put off.
        self.submit_or_leave();
    }
}
