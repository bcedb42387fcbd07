//! [`Lanes`] and [`Lane`]: a feed, a way to wake who blocks in it, and the arms that live in it.
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
//! An arm:
//!
//! ```text
//!   vacant ── arm ──► armed ── disarm ──► closing ── last completion ──► vacant, next generation
//!                     │  ▲ └── disarm, feed has nothing under way ─────► vacant
//!                     │  └──── ended by itself (submitter gone, queue full): armed again
//!                     └─────── ended with an error: dead ── disarm ────► vacant
//! ```
//!
//! The arms' lock is held while completions are published (below it: wait queues and lists); what a last completion lets
//! go of is dropped after it.

use crate::eventpoll::ready::Ready;
use crate::events::Events;
use crate::feed::{self, Completion, Disarmed, Fallen, Feed, FeedChoice, FeedKind, Token};
use crate::parker::{Parker, Wakes};
use crate::seat;
use crate::sync::{Arc, AtomicBool, AtomicU8, AtomicUsize, Mutex, OnceLock, Ordering};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

const AWAKE: u8 = 0;
const DOZING: u8 = 1;
const KICKED: u8 = 2;

/// How long a synchronous disarm waits for the kernel to let go. The measured worst case is a timer tick (4 ms at 250 Hz)
/// plus the time until the thread that holds the arm is scheduled.
const LET_GO: Duration = Duration::from_millis(500);

/// What a completion is for.
pub(crate) trait Armed: Send + Sync {
    /// The conditions in `level` hold. Called under the lane's lock: publishes, and wakes through `wakes`.
    fn fire(&self, level: Events, wakes: &mut Wakes<'_>);
}

pub(crate) struct LaneInner {
    feed: Box<dyn Feed>,
    arms: Mutex<Arms>,
    doze: AtomicU8,
    interrupted: AtomicBool,
    wake: OwnedFd,
    /// Whether a worker passes by regularly and so carries out what was put off.
    attended: AtomicBool,
    lead: Mutex<Lead>,
}

/// Whose turn it is to block in a shared lane.
#[derive(Default)]
struct Lead {
    taken: bool,
    followers: Vec<Arc<Parker>>,
}

#[derive(Default)]
struct Arms {
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    completions: Vec<Completion>,
    /// What completions let go of: dropped without the lock.
    released: Vec<Arc<dyn Armed>>,
}

struct Slot {
    generation: u32,
    state: State,
}

enum State {
    Vacant,
    Armed { target: Arc<dyn Armed>, fd: RawFd, interest: Events, fallen: Fallen },
    Closing,
    Dead,
}

impl fmt::Debug for LaneInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("feed", &self.feed).finish_non_exhaustive()
    }
}

impl Arms {
    fn insert(&mut self, state: State) -> Token {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, state: State::Vacant });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.state = state;
        Token(u64::from(slot.generation) << 32 | u64::from(index))
    }

    /// The slot, if the token is of its present generation: an answer for a closed socket can't reach its successor.
    fn get(&mut self, token: Token) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(token.0 as u32 as usize)?;
        (u64::from(slot.generation) == token.0 >> 32).then_some(slot)
    }

    fn vacate(&mut self, token: Token) {
        if let Some(slot) = self.get(token) {
            slot.generation = slot.generation.wrapping_add(1);
            // The last generation of the last slot would read as one of the reserved tokens: never used.
            slot.generation %= u32::MAX;
            if let State::Armed { target, .. } = std::mem::replace(&mut slot.state, State::Vacant) {
                self.released.push(target);
            }
            self.vacant.push(token.0 as u32);
        }
    }
}

impl LaneInner {
    fn new(kind: FeedKind) -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers; the result is checked.
        let wake = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if wake < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let wake = unsafe { OwnedFd::from_raw_fd(wake) };
        let feed = feed::make(kind, wake.as_raw_fd())?;
        Ok(Self::over(feed, wake))
    }

    pub(crate) fn over(feed: Box<dyn Feed>, wake: OwnedFd) -> Self {
        Self {
            feed,
            arms: Mutex::new(Arms::default()),
            doze: AtomicU8::new(AWAKE),
            interrupted: AtomicBool::new(false),
            wake,
            attended: AtomicBool::new(false),
            lead: Mutex::new(Lead::default()),
        }
    }

    /// Whether giving up the processor once before blocking pays in this lane.
    pub(crate) fn rests(&self) -> bool {
        self.feed.rests()
    }

    /// Arms `fd` for `target`. What holds already is reported like everything that follows.
    pub(crate) fn arm(
        self: &Arc<Self>,
        fd: RawFd,
        interest: Events,
        fallen: Fallen,
        target: Arc<dyn Armed>,
    ) -> io::Result<Token> {
        let token = {
            let mut arms = self.arms.lock();
            let token = arms.insert(State::Armed { target, fd, interest, fallen });
            if let Err(error) = self.feed.arm(token, fd, interest, fallen) {
                arms.vacate(token);
                let released = std::mem::take(&mut arms.released);
                drop(arms);
                drop(released);
                return Err(error);
            }
            token
        };
        self.nudge();
        Ok(token)
    }

    /// These conditions were seen not to hold.
    pub(crate) fn rearm(self: &Arc<Self>, token: Token, conditions: Events) {
        if self.feed.rearm(token, conditions) {
            self.nudge();
        }
    }

    /// Ends an arm, and closes its descriptor after it, both in the lane's next submission.
    pub(crate) fn disarm(self: &Arc<Self>, token: Token, close: Option<OwnedFd>) {
        let (disarmed, target) = {
            let mut arms = self.arms.lock();
            // Nothing armed under this token (any more): `close` is dropped, which closes it.
            let Some(slot) = arms.get(token) else { return };
            let target = match std::mem::replace(&mut slot.state, State::Closing) {
                State::Armed { target, .. } => target,
                State::Dead => {
                    arms.vacate(token);
                    return;
                }
                State::Closing | State::Vacant => return,
            };
            let disarmed = self.feed.disarm(token, close);
            if let Ok(Disarmed::Now) = disarmed {
                arms.vacate(token);
            }
            (disarmed, target)
        };
        drop(target);
        if disarmed.is_err() {
            // The ring takes nothing (no memory). The descriptor is closed; the arm that pins it goes the direct way.
            self.disarm_now(token);
        } else if self.attended.load(Ordering::Acquire) {
            self.nudge();
        } else {
            self.submit_or_leave();
        }
    }

    /// Hands over what was put off. If the kernel has no memory for it now, it stays queued and goes with the next
    /// submission; the end of the ring closes what is left.
    fn submit_or_leave(&self) {
        if let Err(error) = self.feed.submit() {
            debug_assert!(error.raw_os_error().is_some());
        }
    }

    /// Ends an arm; when it returns the kernel holds the descriptor no longer on its behalf, so that closing it is felt at
    /// once. Gives up after half a second, if the thread that made the arm gets no processor.
    pub(crate) fn disarm_now(self: &Arc<Self>, token: Token) {
        let mut target = None;
        {
            let mut arms = self.arms.lock();
            let Some(slot) = arms.get(token) else { return };
            match std::mem::replace(&mut slot.state, State::Closing) {
                State::Armed { target: armed, .. } => target = Some(armed),
                State::Dead => {
                    arms.vacate(token);
                    return;
                }
                State::Closing | State::Vacant => {}
            }
        }
        drop(target);
        let deadline = Instant::now() + LET_GO;
        match self.feed.disarm_now(token) {
            Ok(Disarmed::Now) => self.arms.lock().vacate(token),
            Ok(Disarmed::LastFollows) => {
                // Any thread may harvest: this one does until the last completion is there.
                while self.pump(None, false).is_ok()
                    && self.arms.lock().get(token).is_some()
                    && Instant::now() < deadline
                {
                    std::thread::yield_now();
                }
            }
            Err(error) => {
                debug_assert!(error.raw_os_error().is_some());
                return;
            }
        }
        while !self.feed.unpinned(token) && Instant::now() < deadline {
            self.kick();
            std::thread::yield_now();
        }
    }

    /// Something was put off that a thread which blocks in the feed right now would not see.
    fn nudge(self: &Arc<Self>) {
        if !seat::owns(self) && self.doze.load(Ordering::SeqCst) == DOZING {
            self.kick();
        }
    }

    /// Makes whoever blocks in the feed come back, or the next one not block.
    pub(crate) fn kick(&self) {
        if self.doze.swap(KICKED, Ordering::SeqCst) == DOZING {
            let one = 1u64.to_ne_bytes();
            // SAFETY: the buffer is eight bytes, as eventfd wants them, and the descriptor is open as long as `self`.
            let written = unsafe { libc::write(self.wake.as_raw_fd(), one.as_ptr().cast(), one.len()) };
            // It can only fail when the counter is full, and then the descriptor is readable all the same.
            debug_assert!(written == 8 || io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock);
        }
    }

    /// Blocks in the feed until it has something, until kicked, or until the deadline.
    pub(crate) fn block(&self, deadline: Option<Instant>) -> io::Result<()> {
        if self.doze.compare_exchange(AWAKE, DOZING, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            self.doze.swap(AWAKE, Ordering::SeqCst);
            return Ok(());
        }
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let result = self.feed.block(timeout);
        self.doze.swap(AWAKE, Ordering::SeqCst);
        result
    }

    /// Publishes what the feed has: each completion as its source's callback would. Waiters of `pumping` are left alone,
    /// for the caller delivers for it.
    pub(crate) fn pump(&self, pumping: Option<&Ready>, submit: bool) -> io::Result<()> {
        if submit && self.feed.has_pending() {
            self.feed.submit()?;
        }
        let mut wakes = Wakes::new(pumping);
        let released = {
            let mut arms = self.arms.lock();
            let mut completions = std::mem::take(&mut arms.completions);
            let harvested = self.feed.harvest(&mut completions);
            for completion in completions.drain(..) {
                self.publish(&mut arms, completion, &mut wakes);
            }
            arms.completions = completions;
            harvested?;
            if arms.released.is_empty() { Vec::new() } else { std::mem::take(&mut arms.released) }
        };
        wakes.flush();
        drop(released);
        Ok(())
    }

    fn publish(&self, arms: &mut Arms, completion: Completion, wakes: &mut Wakes<'_>) {
        let Completion { token, level, last } = completion;
        match token {
            Token::NONE => return,
            Token::WAKE => {
                self.drain_wake(last);
                return;
            }
            _ => {}
        }
        let Some(slot) = arms.get(token) else { return };
        let State::Armed { target, fd, interest, fallen } = &slot.state else {
            if last {
                arms.vacate(token);
            }
            return;
        };
        if let Ok(level) = level {
            target.fire(level, wakes);
        }
        if !last {
            return;
        }
        // Ended by itself. The submitter's thread is gone, or the completion queue was full: armed again, which reports
        // the present level, so nothing is lost in between. Anything else will not come right by trying again.
        let ended = match level {
            Ok(_) | Err(libc::ECANCELED) => self.feed.arm(token, *fd, *interest, *fallen).is_err(),
            Err(_) => true,
        };
        if ended {
            // Whoever uses the descriptor shall try, and meet the error himself.
            target.fire(Events::ERR | Events::HUP, wakes);
            if let State::Armed { target, .. } = std::mem::replace(&mut slot.state, State::Dead) {
                arms.released.push(target);
            }
        }
    }

    fn drain_wake(&self, last: bool) {
        if self.feed.kind() == FeedKind::Poll {
            let mut count = [0u8; 8];
            // SAFETY: the buffer has the eight bytes that eventfd writes. An empty counter is an error that says so.
            unsafe { libc::read(self.wake.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        }
        if last && self.feed.arm(Token::WAKE, self.wake.as_raw_fd(), Events::IN, Fallen::Told).is_err() {
            // Nothing can be submitted: the next block fails with the same error and says so.
            self.doze.store(KICKED, Ordering::SeqCst);
        }
    }

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

/// The lanes of one pool, or of the threads outside any pool. A cheap handle.
#[derive(Clone)]
pub struct Lanes {
    shared: Arc<LanesInner>,
}

struct LanesInner {
    kind: FeedKind,
    fallback: Option<String>,
    /// Made to see that the feed can be had; becomes the first lane that is asked for.
    spare: Mutex<Option<Arc<LaneInner>>>,
    owned: Mutex<Vec<Arc<LaneInner>>>,
    outside: OnceLock<Arc<LaneInner>>,
    turn: AtomicUsize,
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes")
            .field("feed", &self.shared.kind)
            .field("owned", &self.shared.owned.lock().len())
            .finish_non_exhaustive()
    }
}

impl Lanes {
    /// Chooses a feed, and proves that it can be had by making one.
    ///
    /// [`FeedChoice::Auto`] takes what the environment variable `EGRET_FEED` names, else the first of uring and poll that
    /// works; [`fallback`](Lanes::fallback) then tells what was passed over and why.
    ///
    /// # Errors
    /// If a feed that was named (here or in the environment) can't be had, and why; if `EGRET_FEED` names none.
    pub fn new(choice: FeedChoice) -> io::Result<Self> {
        let choice = match choice {
            FeedChoice::Auto => FeedChoice::from_environment()?,
            named => named,
        };
        let (kind, lane, fallback) = match choice {
            FeedChoice::Auto => match LaneInner::new(FeedKind::Uring) {
                Ok(lane) => (FeedKind::Uring, lane, None),
                Err(error) => (FeedKind::Poll, LaneInner::new(FeedKind::Poll)?, Some(error.to_string())),
            },
            FeedChoice::Uring => (FeedKind::Uring, LaneInner::new(FeedKind::Uring)?, None),
            FeedChoice::Aio => (FeedKind::Aio, LaneInner::new(FeedKind::Aio)?, None),
            FeedChoice::Poll => (FeedKind::Poll, LaneInner::new(FeedKind::Poll)?, None),
        };
        Ok(Self::over(kind, fallback, Arc::new(lane)))
    }

    pub(crate) fn over(kind: FeedKind, fallback: Option<String>, spare: Arc<LaneInner>) -> Self {
        Self {
            shared: Arc::new(LanesInner {
                kind,
                fallback,
                spare: Mutex::new(Some(spare)),
                owned: Mutex::new(Vec::new()),
                outside: OnceLock::new(),
                turn: AtomicUsize::new(0),
            }),
        }
    }

    /// The lanes that [`Eventpoll::new`](crate::Eventpoll::new) uses: made once, on first use.
    ///
    /// # Errors
    /// As [`new`](Lanes::new) with [`FeedChoice::Auto`]; the next call tries again.
    pub fn process_default() -> io::Result<Self> {
        static DEFAULT: OnceLock<Lanes> = OnceLock::new();
        if let Some(lanes) = DEFAULT.get() {
            return Ok(lanes.clone());
        }
        let lanes = Self::new(FeedChoice::Auto)?;
        Ok(DEFAULT.get_or_init(|| lanes).clone())
    }

    /// The feed in use.
    pub fn feed(&self) -> FeedKind {
        self.shared.kind
    }

    /// Why a better feed was passed over, if one was.
    pub fn fallback(&self) -> Option<&str> {
        self.shared.fallback.as_deref()
    }

    /// Makes a lane for a worker.
    ///
    /// # Errors
    /// If the feed can't be made: no descriptors, no memory.
    pub fn add_lane(&self) -> io::Result<Lane> {
        let lane = self.make()?;
        self.shared.owned.lock().push(lane.clone());
        Ok(Lane { inner: lane, lanes: self.clone() })
    }

    fn make(&self) -> io::Result<Arc<LaneInner>> {
        match self.shared.spare.lock().take() {
            Some(spare) => Ok(spare),
            None => LaneInner::new(self.shared.kind).map(Arc::new),
        }
    }

    /// The lane of the threads outside the pool.
    pub(crate) fn outside(&self) -> io::Result<Arc<LaneInner>> {
        if let Some(lane) = self.shared.outside.get() {
            return Ok(lane.clone());
        }
        let lane = self.make()?;
        Ok(self.shared.outside.get_or_init(|| lane).clone())
    }

    /// Where a source that is first needed by this thread is armed: in its own lane; else, from outside the pool, in the
    /// workers' lanes in turn; without workers, in the lane that the threads outside share.
    pub(crate) fn here(&self) -> io::Result<Arc<LaneInner>> {
        if let Some(lane) = seat::own_lane(self) {
            return Ok(lane);
        }
        {
            let owned = self.shared.owned.lock();
            if !owned.is_empty() {
                let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed);
                return Ok(owned[turn % owned.len()].clone());
            }
        }
        self.outside()
    }

    pub(crate) fn is(&self, other: &Lanes) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

/// A worker's lane. A cheap handle.
#[derive(Clone, Debug)]
pub struct Lane {
    inner: Arc<LaneInner>,
    lanes: Lanes,
}

impl Lane {
    /// Makes the current thread the lane's owner until the guard is dropped: its waits pump and block in this lane, and
    /// sources that it is the first to need are armed here.
    ///
    /// # Panics
    /// If the lane has an owner.
    pub fn enter(&self) -> LaneGuard<'_> {
        assert!(!self.inner.attended.swap(true, Ordering::AcqRel), "a lane has one owner at a time");
        let previous = seat::enter(self.lanes.clone(), self.inner.clone());
        LaneGuard { lane: self, previous, _not_send: PhantomData }
    }

    /// The owner's wait returns early: at once if it waits, else its next one does.
    pub fn interrupt(&self) {
        self.inner.interrupted.store(true, Ordering::SeqCst);
        self.inner.kick();
    }
}

/// While it lives, the thread that made it owns the lane.
#[derive(Debug)]
pub struct LaneGuard<'a> {
    lane: &'a Lane,
    previous: Option<seat::Ownership>,
    _not_send: PhantomData<*const ()>,
}

impl Drop for LaneGuard<'_> {
    fn drop(&mut self) {
        seat::leave(self.previous.take());
        self.lane.inner.attended.store(false, Ordering::Release);
        // What this thread put off has nobody else to carry it out.
        self.lane.inner.submit_or_leave();
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
