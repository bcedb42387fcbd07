//! [`Lanes`], [`Lane`]: the public face. A choice of feed, the lanes made of it, and who owns which.

use super::LaneInner;
use crate::eventpoll::Eventpoll;
use crate::feed::{FeedChoice, FeedKind};
use crate::fork::Birthplace;
use crate::seat;
use crate::sync::{Arc, AtomicUsize, Mutex, OnceLock, Ordering};
use std::fmt;
use std::io;
use std::marker::PhantomData;

/// The lanes of one pool, or of the threads outside any pool. A cheap handle.
#[derive(Clone)]
pub struct Lanes {
    shared: Arc<LanesInner>,
}

struct LanesInner {
    kind: FeedKind,
    birthplace: Birthplace,
    fallback: Option<String>,
    /// Made to see that the feed can be had; becomes the first lane that is asked for.
    spare: Mutex<Option<Arc<LaneInner>>>,
    owned: Mutex<Vec<Arc<LaneInner>>>,
    outside: OnceLock<Arc<LaneInner>>,
    turn: AtomicUsize,
}

fn fallback(reasons: &[String]) -> Option<String> {
    (!reasons.is_empty()).then(|| reasons.join("; "))
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
    /// [`FeedChoice::Auto`] takes what the environment variable `EGRET_FEED` names, else the first of uring, aio and poll
    /// that works; [`fallback`](Lanes::fallback) then tells what was passed over and why.
    ///
    /// # Errors
    /// If a feed that was named (here or in the environment) can't be had, and why; if `EGRET_FEED` names none.
    pub fn new(choice: FeedChoice) -> io::Result<Self> {
        let choice = match choice {
            FeedChoice::Auto => FeedChoice::from_environment()?,
            named => named,
        };
        let kinds: &[FeedKind] = match choice {
            FeedChoice::Auto => &[FeedKind::Uring, FeedKind::Aio, FeedKind::Poll],
            FeedChoice::Uring => &[FeedKind::Uring],
            FeedChoice::Aio => &[FeedKind::Aio],
            FeedChoice::Poll => &[FeedKind::Poll],
        };
        let (last, better) = kinds.split_last().expect("there is one at least");
        let mut reasons = Vec::new();
        for kind in better {
            match LaneInner::first(*kind) {
                Ok(lane) => return Ok(Self::over(*kind, fallback(&reasons), Arc::new(lane))),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        let lane = LaneInner::first(*last)?;
        Ok(Self::over(*last, fallback(&reasons), Arc::new(lane)))
    }

    pub(crate) fn over(kind: FeedKind, fallback: Option<String>, spare: Arc<LaneInner>) -> Self {
        Self {
            shared: Arc::new(LanesInner {
                kind,
                birthplace: Birthplace::here(),
                fallback,
                spare: Mutex::new(Some(spare)),
                owned: Mutex::new(Vec::new()),
                outside: OnceLock::new(),
                turn: AtomicUsize::new(0),
            }),
        }
    }

    /// The lanes that [`Eventpoll::new`](crate::Eventpoll::new) uses: made on first use; a forked child makes its own.
    ///
    /// # Errors
    /// As [`new`](Lanes::new) with [`FeedChoice::Auto`]; the next call tries again.
    pub fn process_default() -> io::Result<Self> {
        static DEFAULT: OnceLock<Mutex<Option<Lanes>>> = OnceLock::new();
        let mut default = DEFAULT.get_or_init(Mutex::default).lock();
        if let Some(lanes) = &*default
            && lanes.check_process().is_ok()
        {
            return Ok(lanes.clone());
        }
        let lanes = Self::new(FeedChoice::Auto)?;
        // In a forked child: the parent's stay as they were inherited.
        std::mem::forget(default.replace(lanes.clone()));
        Ok(lanes)
    }

    /// The feed in use.
    pub fn feed(&self) -> FeedKind {
        self.shared.kind
    }

    /// Why the better feeds were passed over, if any were: all reasons, joined by semicolons.
    pub fn fallback(&self) -> Option<&str> {
        self.shared.fallback.as_deref()
    }

    /// Makes a lane for a worker.
    ///
    /// # Errors
    /// If the feed can't be made: no descriptors, no memory.
    pub fn add_lane(&self) -> io::Result<Lane> {
        let inner = self.make()?;
        self.shared.owned.lock().push(inner.clone());
        Ok(Lane { listed: Arc::new(Listed { inner, lanes: self.clone() }) })
    }

    fn make(&self) -> io::Result<Arc<LaneInner>> {
        match self.shared.spare.lock().take() {
            Some(spare) => Ok(spare),
            None => LaneInner::new(self.shared.kind).map(Arc::new),
        }
    }

    /// The lane of the threads outside the pool.
    pub(crate) fn outside(&self) -> io::Result<&Arc<LaneInner>> {
        if let Some(lane) = self.shared.outside.get() {
            return Ok(lane);
        }
        let lane = self.make()?;
        Ok(self.shared.outside.get_or_init(|| lane))
    }

    /// Where a source that is first needed by this thread is armed: in its own lane; else, from outside the pool, in the
    /// workers' lanes in turn; without workers, in the lane that the threads outside share.
    ///
    /// # Errors
    /// In a child that was forked after these lanes were made; as [`add_lane`](Lanes::add_lane).
    pub(crate) fn here(&self) -> io::Result<Arc<LaneInner>> {
        self.check_process()?;
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
        self.outside().cloned()
    }

    /// # Errors
    /// In a child that was forked after these lanes were made.
    pub(crate) fn check_process(&self) -> io::Result<()> {
        self.shared.birthplace.check()
    }

    pub(crate) fn is(&self, other: &Lanes) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

/// A worker's lane. A cheap handle; with the last one the lane gets no more sources.
#[derive(Clone, Debug)]
pub struct Lane {
    listed: Arc<Listed>,
}

/// A lane's place among those that sources from outside the pool are dealt to.
#[derive(Debug)]
struct Listed {
    inner: Arc<LaneInner>,
    lanes: Lanes,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.lanes.shared.owned.lock().retain(|lane| !Arc::ptr_eq(lane, &self.inner));
    }
}

impl Lane {
    /// Makes the current thread the lane's owner until the guard is dropped: its waits pump and block in this lane, and
    /// sources that it is the first to need are armed here.
    ///
    /// # Panics
    /// If the lane has an owner.
    pub fn enter(&self) -> LaneGuard<'_> {
        let Listed { inner, lanes } = &*self.listed;
        // The wake-up's arm is among it. Whoever submits an arm has to turn its wake-ups into answers: if a visitor did, the owner's sleep would
        // end when that thread comes by, and it may sleep in the kernel itself.
        inner.submit_or_leave();
        assert!(!inner.attended.swap(true, Ordering::AcqRel), "a lane has one owner at a time");
        let previous = seat::enter(lanes.clone(), inner.clone());
        LaneGuard { lane: self, previous, _not_send: PhantomData }
    }

    /// The owner's thread stops being the owner, until it calls [`resume`](Self::resume): another thread may [`enter`](Self::enter) meanwhile.
    ///
    /// # Panics
    /// If this thread doesn't own the lane.
    pub fn suspend(&self) {
        let inner = &self.listed.inner;
        assert!(seat::owns(inner), "only its owner can suspend a lane");
        seat::leave(None);
        inner.attended.store(false, Ordering::Release);
        // What this thread put off has nobody else to carry it out.
        inner.submit_or_leave();
    }

    /// Ends a [`suspend`](Self::suspend), on the same thread.
    ///
    /// # Panics
    /// If another thread owns the lane.
    pub fn resume(&self) {
        let Listed { inner, lanes } = &*self.listed;
        inner.submit_or_leave();
        assert!(!inner.attended.swap(true, Ordering::AcqRel), "a lane has one owner at a time");
        // What it owned before is with the guard of `enter`.
        let _nothing = seat::enter(lanes.clone(), inner.clone());
    }

    /// The owner's wait returns early: at once if it waits, else its next one does.
    pub fn interrupt(&self) {
        self.listed.inner.interrupted.store(true, Ordering::SeqCst);
        self.listed.inner.kick();
    }

    /// A snapshot of its counters.
    pub fn stats(&self) -> LaneStats {
        self.listed.inner.stats()
    }

    /// Does in the owner's place what the owner does when it comes by: hands over what was put off in this lane, and publishes what has
    /// happened to its sources. For an owner that is kept from it; any thread may visit any lane, its own too.
    ///
    /// No waiter of `eventpoll` is woken for that: the caller has to wait there next (without blocking if it likes), and gets
    /// the events. Waiters of other instances on these lanes are woken.
    ///
    /// What only the owner's thread can turn into an answer (see the `uring` feed) it is made to, if it runs: it gets some
    /// microseconds for it, and what comes later is there at the next visit. False if it has not answered.
    ///
    /// # Errors
    /// In a child that was forked after the lane was made; whatever the feed's system call returns.
    pub fn visit(&self, eventpoll: &Eventpoll) -> io::Result<bool> {
        let Listed { inner, lanes } = &*self.listed;
        lanes.check_process()?;
        if !inner.attended.load(Ordering::Acquire) {
            // Its owner has yet to come, and to submit the wake-up's arm itself.
            return Ok(true);
        }
        inner.visit(eventpoll.ready())
    }

    /// Asks the kernel for the level of this lane's runtime sockets, where a [`visit`](Lane::visit) (of whatever lane: what a thread has to do for
    /// several rings is announced in one of them) has found a thread that can't be reached. Not at the first call, and not all the time, because that
    /// is O(n).
    ///
    /// # Errors
    /// As [`visit`](Lane::visit).
    pub fn ask(&self, eventpoll: &Eventpoll) -> io::Result<()> {
        let Listed { inner, lanes } = &*self.listed;
        lanes.check_process()?;
        inner.ask_the_kernel(eventpoll.ready())
    }
}

/// What a [`Lane`] has asked of its feed, counted from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneStats {
    /// How often a descriptor was armed. One that stays armed counts once.
    pub arms: u64,
    /// Answers that were taken: one says what has happened to one descriptor. (The lane's own wake-ups are among them.)
    pub completions: u64,
    /// How often what was put off was handed over to the kernel without blocking: a system call each, more if it is much.
    pub submits: u64,
    /// How often its owner has gone into the kernel to block there: a system call each. (What is put off is handed over by the same call.)
    pub blocks: u64,
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
        self.lane.listed.inner.attended.store(false, Ordering::Release);
        // What this thread put off has nobody else to carry it out.
        self.lane.listed.inner.submit_or_leave();
    }
}
