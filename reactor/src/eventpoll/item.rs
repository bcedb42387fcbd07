//! [`Item`]: one interest of one instance in one source (the kernel's `epitem`).
//!
//! | field        | written                                         | read                         |
//! |--------------|-------------------------------------------------|------------------------------|
//! | `mask`       | MOD, with control and list lock; one-shot firing, with control lock | callbacks, with list lock; scan, with control lock |
//! | `data`       | ADD and MOD, with control lock                  | scan, with control lock      |
//! | `others`     | ADD and DEL, with control lock                  | the same                     |
//! | `linked`     | with list lock; by the scan with control lock alone | with list lock; callbacks don't look while a scan runs |
//! | `overflowed` | with list lock                                  | with list lock               |
//! | `dead`       | with list lock                                  | scan, anywhere               |
//! | `fired`      | with list lock                                  | dump                         |
//! | `delivered`  | scan, with control lock                         | dump                         |
//!
//! The places an item can be in:
//!
//! ```text
//!              callback, no scan          scan takes the list
//!   unlinked ───────────────────► ready ─────────────────────► batch ──► delivered or silent ──► unlinked
//!      │                            ▲                            │                                  │
//!      │ callback during a scan     │ end of scan                │ not reached (leftover)           │ level-triggered
//!      └──────────► overflow ───────┴────────────────────────────┴──────────────────────────────────┘
//! ```
//!
//! `linked` says "on the ready list or in the batch", `overflowed` says "on the overflow list"; both can hold. A dead
//! item (DEL, or its source went away) may still lie in a list as a tombstone; nothing looks at it any more.

use super::ready::{Lists, Ready};
use crate::events::Events;
use crate::parker::Wakes;
use crate::source::{Finished, PollTable, Probe, Source};
use crate::sync::{Arc, AtomicBool, AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, Weak};
use crate::wait_queue::{Hooked, Queue};
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What an interest is known by: the source's address, which the item's weak reference keeps from being used again,
/// and the caller's tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) source: usize,
    pub(crate) tag: u64,
}

impl Key {
    pub(crate) fn new(source: &Arc<dyn Source>, tag: u64) -> Self {
        Self { source: Arc::as_ptr(source).cast::<()>() as usize, tag }
    }
}

/// What a custom source's `poll` threw.
pub(crate) type Panic = Box<dyn Any + Send>;

/// What a callback and a delivery touch comes first: with the reference counts it fills one cache line. There is one for
/// every socket, so it is kept small.
#[repr(C)]
pub(crate) struct Item {
    ready: Arc<Ready>,
    /// The short way to the source's readiness, if it offers one. Its queue has the hook, too.
    probe: Option<Arc<dyn Probe>>,
    data: AtomicU64,
    mask: AtomicU32,
    linked: AtomicBool,
    overflowed: AtomicBool,
    dead: AtomicBool,
    /// Accepted callbacks and deliveries, for the dump. They wrap.
    fired: AtomicU32,
    delivered: AtomicU32,
    pub(crate) exclusive: bool,
    tag: u64,
    source: Weak<dyn Source>,
    /// The queues that hold a hook of this item, if that isn't the probe's alone.
    others: Mutex<Option<Box<Queues>>>,
}

#[derive(Default)]
struct Queues(Vec<Arc<dyn Hooked>>);

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("key", &self.key())
            .field("mask", &self.mask())
            .field("data", &self.data())
            .field("linked", &self.linked.load(Ordering::Relaxed))
            .field("dead", &self.dead.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

impl Item {
    pub(crate) fn new(
        tag: u64,
        source: &Arc<dyn Source>,
        ready: Arc<Ready>,
        mask: Events,
        data: u64,
    ) -> Self {
        Self {
            tag,
            source: Arc::downgrade(source),
            probe: source.probe(),
            ready,
            exclusive: mask.contains(Events::EXCLUSIVE),
            mask: AtomicU32::new((mask | Events::ALWAYS).bits()),
            data: AtomicU64::new(data),
            others: Mutex::new(None),
            linked: AtomicBool::new(false),
            overflowed: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            fired: AtomicU32::new(0),
            delivered: AtomicU32::new(0),
        }
    }

    pub(crate) fn key(&self) -> Key {
        Key { source: self.source.as_ptr().cast::<()>() as usize, tag: self.tag }
    }

    pub(crate) fn ready(&self) -> &Ready {
        &self.ready
    }

    pub(crate) fn mask(&self) -> Events {
        Events::from_bits_retain(self.mask.load(Ordering::Relaxed))
    }

    pub(crate) fn data(&self) -> u64 {
        self.data.load(Ordering::Relaxed)
    }

    /// MOD: the new mask is published under the list lock. A callback that ran before it had changed its source's state
    /// before it took that lock, so the poll that follows sees the state; one that runs after it sees the mask (fact 70).
    pub(crate) fn set_interest(&self, _lists: &MutexGuard<'_, Lists>, mask: Events, data: u64) {
        self.mask.store((mask | Events::ALWAYS).bits(), Ordering::Relaxed);
        self.data.store(data, Ordering::Relaxed);
    }

    /// A one-shot interest has fired: only its modes stay.
    pub(super) fn disarm(&self) {
        self.mask.store((self.mask() & Events::PRIVATE).bits(), Ordering::Relaxed);
    }

    pub(super) fn is_linked(&self) -> bool {
        self.linked.load(Ordering::Relaxed)
    }

    pub(super) fn set_linked(&self, linked: bool) {
        self.linked.store(linked, Ordering::Relaxed);
    }

    /// Marks the item as being on the overflow list; false if it was.
    pub(super) fn enter_overflow(&self, _lists: &mut Lists) -> bool {
        let was = self.overflowed.load(Ordering::Relaxed);
        self.overflowed.store(true, Ordering::Relaxed);
        !was
    }

    pub(super) fn leave_overflow(&self, _lists: &mut Lists) {
        self.overflowed.store(false, Ordering::Relaxed);
    }

    /// One writer at a time, so no read-modify-write is needed.
    pub(super) fn count_firing(&self, _lists: &mut Lists) {
        self.fired.store(self.fired.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// The same; the control lock makes it one writer.
    pub(super) fn count_delivery(&self) {
        self.delivered.store(self.delivered.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// How often it fired and was delivered.
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.fired.load(Ordering::Relaxed), self.delivered.load(Ordering::Relaxed))
    }

    /// The source, if it is still there. The last reference must not be dropped under a lock.
    pub(super) fn source(&self) -> Option<Arc<dyn Source>> {
        self.source.upgrade()
    }

    pub(super) fn is_overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Relaxed)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// From here on callbacks and scans pass the item over; false if it was dead already.
    pub(super) fn kill(&self, _lists: &mut Lists) -> bool {
        let was = self.dead.load(Ordering::Relaxed);
        self.dead.store(true, Ordering::Relaxed);
        !was
    }

    /// Asks the source what holds now, under this interest's mask. A source that is going away answers nothing.
    ///
    /// `graveyard` takes the reference that kept the source alive meanwhile: if it is the last one, the source's drop
    /// runs when the caller has released its locks.
    pub(crate) fn poll(&self, graveyard: &mut Vec<Arc<dyn Source>>) -> Result<Events, Panic> {
        let mask = self.mask();
        if mask.conditions().is_empty() || self.is_dead() {
            return Ok(Events::empty());
        }
        if let Some(probe) = &self.probe {
            return Ok(probe.now() & mask.conditions());
        }
        let Some(source) = self.source.upgrade() else { return Ok(Events::empty()) };
        let polled = catch_unwind(AssertUnwindSafe(|| source.poll(&mut PollTable::asking(mask, graveyard))));
        graveyard.push(source);
        polled.map(|now| now & mask.conditions())
    }

    /// ADD's and MOD's poll. ADD's installs hooks; MOD's leaves them where they are (fact 71).
    pub(crate) fn poll_with(
        self: &Arc<Self>,
        source: &Arc<dyn Source>,
        modifying: bool,
        graveyard: &mut Vec<Arc<dyn Source>>,
    ) -> Result<(Events, Option<std::io::Error>), Panic> {
        let mask = self.mask();
        let mut table = PollTable::hooking(self, mask, modifying, graveyard);
        let polled = catch_unwind(AssertUnwindSafe(|| source.poll(&mut table)));
        let Finished { mut added, error } = table.finish();
        if self.probe.is_some() {
            added.retain(|queue| !self.is_probed(queue.queue()));
        }
        if !added.is_empty() {
            self.others.lock().get_or_insert_default().0.extend(added);
        }
        polled.map(|now| (now & mask.conditions(), error))
    }

    /// Whether this is the probe's queue.
    fn is_probed(&self, queue: &Queue) -> bool {
        self.probe.as_ref().is_some_and(|probe| std::ptr::eq(probe.queue(), queue))
    }

    /// Calls `found` with every item of the same source that stands in a queue with this one, itself among them; with one that
    /// stands in several, several times.
    pub(super) fn each_neighbour(&self, mut found: impl FnMut(&Arc<Item>)) {
        let source = self.key().source;
        let mut of_source = |item: &Arc<Item>| {
            if item.key().source == source {
                found(item);
            }
        };
        if let Some(probe) = &self.probe {
            probe.queue().each_item(&mut of_source);
        }
        let others = self.others.lock().as_ref().map(|queues| queues.0.clone());
        for queue in others.into_iter().flatten() {
            queue.queue().each_item(&mut of_source);
        }
    }

    /// Takes the hook out of every queue. After it returns no callback of this item runs.
    pub(crate) fn unhook(self: &Arc<Self>) {
        if let Some(probe) = &self.probe {
            probe.queue().unhook(self);
        }
        let others = self.others.lock().take();
        for queue in others.into_iter().flat_map(|queues| queues.0) {
            queue.queue().unhook(self);
        }
    }

    /// The source says that the conditions in `key` came true (the kernel's `ep_poll_callback`). True if an exclusive
    /// walk may stop here.
    pub(crate) fn ready_callback(self: &Arc<Self>, key: Events, wakes: &mut Wakes<'_>) -> bool {
        let pumping = wakes.is_pumping(&self.ready);
        if pumping && !self.ready.maybe_watched() {
            // The thread that pumps publishes its whole batch at once, under one lock. Not if others watch: they have to hear
            // of it in the order of events.
            wakes.put_off(self, key);
            return self.exclusive && {
                let lists = self.ready.lock();
                self.accepts(&lists, key) && self.consumes(&lists, key)
            };
        }
        let mut lists = self.ready.lock();
        if !self.accepts(&lists, key) {
            return false;
        }
        // The hook's reference is another one, so this is not the last.
        let _already_there = lists.publish(self.clone());
        let consumes = self.exclusive && self.consumes(&lists, key);
        if !pumping && let Some(parker) = lists.waiters.wake_one() {
            wakes.push(parker);
        }
        let watched = lists.is_watched();
        drop(lists);
        if watched {
            self.ready.pollers().wake_with(Events::IN, wakes);
        }
        consumes
    }

    /// Whether an exclusive walk may stop here (fact 99): somebody waits, and the direction is unambiguous. A thread that is
    /// only passing by, on its way to look, is none that waits; one that slept in the feed and came back for this is.
    fn consumes(&self, lists: &Lists, key: Events) -> bool {
        let in_out = key & (Events::IN | Events::OUT);
        let unambiguous = in_out != (Events::IN | Events::OUT) && self.mask().contains(in_out);
        lists.waiters.anyone_parked() && (in_out.is_empty() || unambiguous)
    }

    /// A disarmed item hears nothing (fact 48); a key that names nothing of interest is passed over (fact 47).
    pub(super) fn accepts(&self, lists: &Lists, key: Events) -> bool {
        let mask = self.mask();
        !lists.is_closed()
            && !self.is_dead()
            && !mask.conditions().is_empty()
            && (key.is_empty() || key.intersects(mask))
    }

    /// The source is being dropped: the interest vanishes without an event (facts 91 and 93).
    pub(crate) fn source_gone(self: &Arc<Self>) {
        if self.ready.lock().bury(self) {
            self.ready.reap();
        }
    }
}
