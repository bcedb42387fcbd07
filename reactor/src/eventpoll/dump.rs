//! [`Dump`]: an instance laid open, in the spirit of the kernel's `/proc/<pid>/fdinfo/<epfd>` (fact 7).
//!
//! The counters it shows are always kept: two plain additions an event. Everything else is read when it is asked for.

use super::Eventpoll;
use super::item::Item;
use crate::events::Events;
use crate::source::Source;
use crate::sync::Arc;
use std::fmt;
use std::time::Duration;

/// What [`Eventpoll::dump`] saw.
///
/// Printed, it is one line for the instance and one for each interest:
///
/// ```text
/// eventpoll 3: interests 2 ready 1 overflow 0 waiters 0 busy_poll 0ns
///   tag: 0 events: 80000019 data: 7 state: ready fired: 1 delivered: 0 source: fd 5
///   tag: 0 events: 40000000 data: 8 state: disarmed fired: 1 delivered: 1 source: egret_reactor::counter::Counter
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dump {
    /// The instance's number in this process.
    pub id: u64,
    /// In the order of the tree: by source, then by tag.
    pub interests: Vec<InterestDump>,
    /// Length of the ready list. It may hold interests that were removed and are not swept yet.
    pub ready: usize,
    /// Length of the overflow list: what came while a delivery was under way.
    pub overflow: usize,
    /// Whether a delivery is under way.
    pub scanning: bool,
    /// Threads that are parked in `wait`, or woken and not yet back.
    pub waiters: usize,
    /// Whether another instance watches this one, or did.
    pub watched: bool,
    /// What [`Eventpoll::set_busy_poll`] has set.
    pub busy_poll: Duration,
}

/// One interest in a [`Dump`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InterestDump {
    /// What the source says of itself ([`Source::describe`]).
    pub source: String,
    /// The tag it was added under.
    pub tag: u64,
    /// The mask, with modes. One-shot and fired: only the modes are left.
    pub events: Events,
    /// The number it was added with.
    pub data: u64,
    /// In a word: `idle`, `ready` (or being delivered), `overflow`, `disarmed`, `gone`.
    pub state: &'static str,
    /// How often its source called and it listened. Wraps at 2^32.
    pub fired: u32,
    /// How often an event of it was delivered. Wraps at 2^32.
    pub delivered: u32,
}

impl Eventpoll {
    /// Looks at the instance: every interest with its mask, data, state and counts, the lists, the waiters.
    ///
    /// Takes the control lock as `add` does, so it waits for a delivery that is under way. Cost: O(interests). The counts that
    /// it shows are kept all the time and cost nothing to speak of.
    ///
    /// ```
    /// use egret_reactor::{Counter, Eventpoll, Events};
    /// use std::sync::Arc;
    ///
    /// let poll = Eventpoll::new()?;
    /// let counter = Arc::new(Counter::new(1));
    /// poll.add(&counter, 0, Events::IN, 7)?;
    /// let dump = poll.dump();
    /// assert_eq!((dump.interests[0].data, dump.interests[0].state), (7, "ready"));
    /// println!("{dump}");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn dump(&self) -> Dump {
        let inner = &self.inner;
        let (items, ready, overflow, waiters, scanning, watched) = {
            let mut control = inner.control.lock();
            control.reap(&inner.ready);
            let items: Vec<_> = control.interests.values().map(|interest| interest.item.clone()).collect();
            let lists = inner.ready.lock();
            let (ready, overflow, waiters) = lists.lengths();
            (items, ready, overflow, waiters, lists.is_scanning(), lists.is_watched())
        };
        // Without locks: `describe` is the user's, and the reference that it is called through may be the last.
        let interests = items.iter().map(describe).collect();
        let busy_poll = inner.busy_poll();
        Dump { id: inner.id(), interests, ready, overflow, scanning, waiters, watched, busy_poll }
    }
}

fn describe(item: &Arc<Item>) -> InterestDump {
    let source = item.source();
    let events = item.mask();
    let state = if source.is_none() || item.is_dead() {
        "gone"
    } else if events.conditions().is_empty() {
        "disarmed"
    } else if item.is_linked() {
        "ready"
    } else if item.is_overflowed() {
        "overflow"
    } else {
        "idle"
    };
    let (fired, delivered) = item.counts();
    let source = source.map_or_else(String::new, |source| Described(&*source).to_string());
    InterestDump { source, tag: item.key().tag, events, data: item.data(), state, fired, delivered }
}

struct Described<'a>(&'a dyn Source);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.describe(f)
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, interests, ready, overflow, waiters, busy_poll, .. } = self;
        let count = interests.len();
        write!(f, "eventpoll {id}: interests {count} ready {ready} overflow {overflow} waiters {waiters}")?;
        write!(f, " busy_poll {busy_poll:?}")?;
        if self.scanning {
            f.write_str(" scanning")?;
        }
        if self.watched {
            f.write_str(" watched")?;
        }
        for interest in interests {
            write!(f, "\n  {interest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for InterestDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, tag, events, data, state, fired, delivered } = self;
        let events = events.bits();
        write!(f, "tag: {tag} events: {events:x} data: {data:x} state: {state}")?;
        write!(f, " fired: {fired} delivered: {delivered} source: {source}")
    }
}
