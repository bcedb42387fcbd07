//! [`Ready`]: the half of an instance that callbacks touch. Ready list, overflow list, waiters: all under the list lock.
//!
//! ```text
//!                 publish                       begin_scan                     end_scan
//!   ready list ◄──────────── callback   Quiet ────────────────► Scanning ────────────────► Quiet
//!   overflow   ◄──────────── callback                           (ready list empty, the scan owns the batch)
//!
//!   after a scan the ready list is  [leftovers of the batch][overflow, oldest first][level-triggered, delivered]
//! ```
//!
//! Items point here (so that a callback needs no reference to the instance) and are pointed at from the lists only while
//! they are linked. Closing empties the lists and makes callbacks pass by, which breaks that circle.

use super::item::Item;
use super::topology::Id;
use super::waiters::{Outcome, Waiters};
use super::{Inner, Instance};
use crate::events::Events;
use crate::parker::{Parker, Wakes};
use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, OnceLock, Ordering, Weak};
use crate::wait_queue::WaitQueue;
use std::collections::VecDeque;

pub(crate) struct Ready {
    id: Id,
    lists: Mutex<Lists>,
    /// Other instances that watch this one (the kernel's `poll_wait`).
    pollers: WaitQueue,
    /// A copy of `Lists::watched` that can be read without the lock, and may be late.
    maybe_watched: AtomicBool,
    instance: OnceLock<Weak<Inner>>,
    #[cfg(not(egret_loom))]
    lanes: crate::lane::Lanes,
}

/// What the list lock protects.
#[derive(Default)]
pub(crate) struct Lists {
    ready: VecDeque<Arc<Item>>,
    overflow: Vec<Arc<Item>>,
    scanning: bool,
    closed: bool,
    watched: bool,
    /// A `notify_one` that met no waiter.
    permit: bool,
    tombstones: usize,
    /// Items whose source went away; the next holder of the control lock takes them out of the interest tree.
    buried: Vec<Arc<Item>>,
    pub(super) waiters: Waiters,
}

/// What a thread that pumps has gathered: items and the keys they were called with. None where an item went on.
pub(crate) type Batch = Vec<(Option<Arc<Item>>, Events)>;

/// What a thread inside `wait` is about to do if there is nothing for it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Intent<'a> {
    /// Return: its answer has to be right.
    LookOnce,
    /// Look again in a moment.
    LookAround,
    /// Sleep here.
    Sleep(&'a Arc<Parker>),
}

/// What a thread inside `wait` has to do next.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Scan; return afterwards in any case if `notified`.
    Scan {
        /// A `notify_one` was for this wait.
        notified: bool,
    },
    /// It is enrolled: sleep.
    Park,
    /// Nothing is ready.
    Leave,
}

impl Ready {
    pub(super) fn new(id: Id, #[cfg(not(egret_loom))] lanes: crate::lane::Lanes) -> Self {
        Self {
            id,
            lists: Mutex::new(Lists::default()),
            pollers: WaitQueue::new(),
            maybe_watched: AtomicBool::new(false),
            instance: OnceLock::new(),
            #[cfg(not(egret_loom))]
            lanes,
        }
    }

    #[cfg(not(egret_loom))]
    pub(crate) fn lanes(&self) -> &crate::lane::Lanes {
        &self.lanes
    }

    pub(super) fn belongs_to(&self, instance: &Instance) {
        // The first and only call: nothing to do if it were repeated.
        let _ = self.instance.set(Arc::downgrade(instance));
    }

    /// The instance's number.
    pub(super) fn id(&self) -> Id {
        self.id
    }

    /// The instance that this is a half of.
    pub(super) fn instance(&self) -> Weak<Inner> {
        self.instance.get().cloned().unwrap_or_default()
    }

    /// # Errors
    /// In a child that was forked after the instance was made.
    #[cfg(not(egret_loom))]
    pub(super) fn check_process(&self) -> std::io::Result<()> {
        self.lanes.check_process()
    }

    #[cfg(egret_loom)]
    pub(super) fn check_process(&self) -> std::io::Result<()> {
        Ok(())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock()
    }

    pub(crate) fn pollers(&self) -> &WaitQueue {
        &self.pollers
    }

    /// Another instance begins to watch this one.
    pub(super) fn set_watched(&self) {
        let mut lists = self.lock();
        if !lists.watched {
            lists.watched = true;
            self.maybe_watched.store(true, Ordering::Relaxed);
        }
    }

    /// Whether somebody watches this instance, as far as this thread has heard.
    pub(super) fn maybe_watched(&self) -> bool {
        self.maybe_watched.load(Ordering::Relaxed)
    }

    /// Takes buried items out of the interest tree now if the control lock is free; if not, its holder does it later.
    pub(super) fn reap(&self) {
        if let Some(instance) = self.instance.get().and_then(Weak::upgrade) {
            instance.reap_if_free();
        }
    }

    /// ADD and MOD: an item that polled ready and was not linked is linked, and one waiter and the pollers hear of it.
    pub(super) fn link(&self, item: &Arc<Item>, wakes: &mut Wakes<'_>) {
        let watched = {
            let mut lists = self.lock();
            if item.is_linked() {
                return;
            }
            item.set_linked(true);
            lists.ready.push_back(item.clone());
            if let Some(parker) = lists.waiters.wake_one() {
                wakes.push(parker);
            }
            lists.watched
        };
        if watched {
            self.pollers.wake_with(Events::IN, wakes);
        }
    }

    /// What the thread that pumps for this instance has gathered: published in one go. It wakes no waiter, for that thread
    /// delivers next.
    pub(crate) fn publish(&self, batch: &mut Batch, wakes: &mut Wakes<'_>) {
        let mut accepted = false;
        let watched = {
            let mut lists = self.lock();
            for (item, key) in batch.iter_mut() {
                // What is not taken stays, to be dropped without the lock.
                if let Some(taken) = item.take_if(|item| item.accepts(&lists, *key)) {
                    *item = lists.publish(taken);
                    accepted = true;
                }
            }
            lists.watched
        };
        batch.clear();
        if watched && accepted {
            self.pollers.wake_with(Events::IN, wakes);
        }
    }

    /// Hands the ready list to a scan. `batch` is empty; callbacks go to the overflow list from here on. Returns the items
    /// whose source went away, for the interest tree.
    #[must_use]
    pub(super) fn begin_scan(&self, batch: &mut VecDeque<Arc<Item>>) -> Vec<Arc<Item>> {
        debug_assert!(batch.is_empty());
        let mut lists = self.lock();
        debug_assert!(!lists.scanning, "the control lock lets one scan run at a time");
        lists.scanning = true;
        lists.tombstones = 0;
        std::mem::swap(&mut lists.ready, batch);
        lists.take_buried()
    }

    /// Takes the batch back: leftovers, then what overflowed (oldest first, unless linked), then `requeue`. If anything is
    /// left for somebody, one more waiter is to be woken: the cascade.
    #[must_use]
    pub(super) fn end_scan(
        &self,
        batch: &mut VecDeque<Arc<Item>>,
        requeue: &mut Vec<Arc<Item>>,
    ) -> Option<Arc<Parker>> {
        let mut lists = self.lock();
        if !lists.overflow.is_empty() {
            let mut overflow = std::mem::take(&mut lists.overflow);
            for item in overflow.drain(..) {
                item.leave_overflow(&mut lists);
                if !item.is_linked() && !item.is_dead() {
                    item.set_linked(true);
                    batch.push_back(item);
                }
            }
            lists.overflow = overflow;
        }
        batch.extend(requeue.drain(..));
        debug_assert!(lists.ready.is_empty());
        std::mem::swap(&mut lists.ready, batch);
        lists.scanning = false;
        if lists.ready.is_empty() { None } else { lists.waiters.wake_one() }
    }

    /// One turn of `wait` under the list lock: what is there, was this waiter woken, may it sleep?
    ///
    /// Checking the lists and enrolling happen under one lock, so no callback can fall in between.
    pub(super) fn step(&self, ticket: &mut Option<u64>, intent: Intent<'_>) -> Step {
        let mut lists = self.lock();
        let outcome = ticket.map_or(Outcome::Undisturbed, |ticket| lists.waiters.outcome(ticket));
        let notified = outcome == Outcome::Notified || std::mem::take(&mut lists.permit);
        // A scan in progress may have put everything ready out of sight: a look that has to be right queues up behind
        // it instead of calling that "nothing" (fact 85). One that sleeps will be woken by the scan's cascade.
        let hidden = lists.scanning && matches!(intent, Intent::LookOnce);
        if notified || hidden || !lists.ready.is_empty() {
            lists.leave(ticket);
            return Step::Scan { notified };
        }
        let Intent::Sleep(parker) = intent else {
            lists.leave(ticket);
            return Step::Leave;
        };
        if outcome == Outcome::Woken {
            // Somebody else took it (fact 76): back to sleep, as the most recent waiter.
            lists.leave(ticket);
        }
        if ticket.is_none() {
            *ticket = Some(lists.waiters.enroll(parker));
        }
        Step::Park
    }

    /// A thread that published for this instance and woke nobody, since it meant to deliver, can't: another one shall.
    pub(super) fn hand_on(&self) {
        let mut wakes = Wakes::new(None);
        let mut lists = self.lock();
        if !lists.ready.is_empty()
            && let Some(parker) = lists.waiters.wake_one()
        {
            wakes.push(parker);
        }
        drop(lists);
    }

    /// A wait ends without having looked (an error of the feed): a wake-up that was meant for it goes to the next.
    pub(super) fn abandon(&self, ticket: u64) {
        let mut wakes = Wakes::new(None);
        let mut lists = self.lock();
        match lists.waiters.withdraw(ticket) {
            Outcome::Undisturbed => {}
            Outcome::Woken => {
                if let Some(parker) = lists.waiters.wake_one() {
                    wakes.push(parker);
                }
            }
            Outcome::Notified => lists.notify_one(&mut wakes),
        }
        drop(lists);
    }
}

impl Lists {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watched
    }

    /// An accepted callback: onto the ready list, or onto the overflow list while a scan runs; once at most. Gives the reference
    /// back if the item is there already.
    #[must_use = "to be dropped without the lock"]
    pub(super) fn publish(&mut self, item: Arc<Item>) -> Option<Arc<Item>> {
        item.count_firing(self);
        if self.scanning {
            if item.enter_overflow(self) {
                self.overflow.push(item);
                return None;
            }
        } else if !item.is_linked() {
            item.set_linked(true);
            self.ready.push_back(item);
            return None;
        }
        Some(item)
    }

    /// A waiter that has seen what it was woken for, or will.
    fn leave(&mut self, ticket: &mut Option<u64>) {
        if let Some(ticket) = ticket.take() {
            let _seen = self.waiters.withdraw(ticket);
        }
    }

    pub(super) fn notify_one(&mut self, wakes: &mut Wakes<'_>) {
        match self.waiters.notify_one() {
            Some(parker) => wakes.push(parker),
            None => self.permit = true,
        }
    }

    /// DEL: the item is dead, and if it lies in the ready list it is a tombstone. They are swept when they make up half of
    /// the list, so that an interest added and removed for ever without a wait in between costs no memory.
    pub(super) fn forget(&mut self, item: &Arc<Item>) {
        if item.kill(self) {
            self.leave_tombstone(item);
        }
    }

    fn leave_tombstone(&mut self, item: &Arc<Item>) {
        // A scan that runs has the list, and sweeps as it goes.
        if self.scanning || !item.is_linked() {
            return;
        }
        self.tombstones += 1;
        if self.tombstones * 2 > self.ready.len() {
            self.ready.retain(|item| !item.is_dead());
            self.tombstones = 0;
        }
    }

    /// The source went away: dead at once, out of the tree as soon as somebody holds the control lock. False if it was
    /// dead already.
    pub(super) fn bury(&mut self, item: &Arc<Item>) -> bool {
        if self.closed || !item.kill(self) {
            return false;
        }
        self.leave_tombstone(item);
        self.buried.push(item.clone());
        true
    }

    pub(super) fn take_buried(&mut self) -> Vec<Arc<Item>> {
        std::mem::take(&mut self.buried)
    }

    /// The instance is gone: nothing is accepted any more. What lay in the lists is handed out, to be dropped elsewhere.
    pub(super) fn close(&mut self) -> (VecDeque<Arc<Item>>, Vec<Arc<Item>>) {
        self.closed = true;
        let mut rest = std::mem::take(&mut self.overflow);
        rest.append(&mut self.buried);
        (std::mem::take(&mut self.ready), rest)
    }

    pub(super) fn is_scanning(&self) -> bool {
        self.scanning
    }

    pub(super) fn lengths(&self) -> (usize, usize, usize) {
        (self.ready.len(), self.overflow.len(), self.waiters.len())
    }
}
