//! [`Eventpoll`]: one instance. Interests in, events out.
//!
//! | lock          | protects                                                   | taken below           |
//! |---------------|------------------------------------------------------------|-----------------------|
//! | topology      | which instance watches which (process-wide, [`topology`])  | nothing               |
//! | control       | the interest tree, the scan's batch ([`control`])          | topology, an outer instance's control |
//! | list          | ready list, overflow list, waiters ([`ready`])             | all the others        |
//!
//! A wait queue's lock and a lane's lock lie between control and list: a walk takes list locks, an ADD takes a queue's
//! lock and a lane's. No user code runs under any lock except `Source::poll`, which runs under control (contract C1).

mod control;
mod dump;
pub(crate) mod item;
mod paths;
pub(crate) mod ready;
mod scan;
mod topology;
mod wait;
mod waiters;
mod watches;

pub use dump::{Dump, InterestDump};
pub use wait::Woken;
pub use watches::{max_watches, set_max_watches, watches};

use crate::events::Events;
use crate::source::{AsSource, Nested, PollTable, Source};
use crate::sync::{Arc, Mutex};
use control::Control;
use ready::Ready;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A readiness engine with epoll's semantics, in user space.
///
/// Register [sources](Source) with [`add`](Eventpoll::add), ask for what is ready with [`wait`](Eventpoll::wait). The handle
/// is cheap to clone; the instance ends when its last handle goes.
///
/// An interest is known by its source and a `tag`: two interests in one source need different tags (epoll's dup'ed
/// descriptors). An interest ends with [`remove`](Eventpoll::remove), or silently when the last reference to its source goes.
///
/// ```
/// use egret_reactor::{Counter, Event, Eventpoll, Events};
/// use std::sync::Arc;
///
/// let poll = Eventpoll::new()?;
/// let counter = Arc::new(Counter::new(0));
/// poll.add(&counter, 0, Events::IN | Events::ET, 7)?;
///
/// let writer = counter.clone();
/// let thread = std::thread::spawn(move || writer.write(1));
/// let mut events = [Event::default(); 16];
/// let n = poll.wait(&mut events, None)?;
/// assert_eq!((n, events[0].data), (1, 7));
/// # thread.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Eventpoll {
    inner: Instance,
}

pub(crate) type Instance = Arc<Inner>;

pub(crate) struct Inner {
    ready: Arc<Ready>,
    control: Mutex<Control>,
    /// How long a waiter looks around before it parks, in nanoseconds.
    busy_poll: AtomicU64,
}

impl Eventpoll {
    /// Makes an instance whose descriptors are fed by the process's default [`Lanes`](crate::Lanes).
    ///
    /// # Errors
    /// If no feed can be had, or `EGRET_FEED` names one that can't.
    #[cfg(not(egret_loom))]
    pub fn new() -> io::Result<Self> {
        Ok(Self::with_lanes(&crate::Lanes::process_default()?))
    }

    /// Makes an instance that is fed by these lanes.
    #[cfg(not(egret_loom))]
    pub fn with_lanes(lanes: &crate::Lanes) -> Self {
        Self::over(|id| Ready::new(id, lanes.clone()))
    }

    /// Makes an instance for a model: without a feed.
    #[cfg(egret_loom)]
    pub fn new() -> io::Result<Self> {
        Ok(Self::over(Ready::new))
    }

    /// What a lane publishes to.
    #[cfg(not(egret_loom))]
    pub(crate) fn ready(&self) -> &Ready {
        self.inner.ready()
    }

    fn over(ready: impl FnOnce(topology::Id) -> Ready) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let inner = Arc::new(Inner {
            ready: Arc::new(ready(id)),
            control: Mutex::new(Control::default()),
            busy_poll: AtomicU64::new(0),
        });
        inner.ready.belongs_to(&inner);
        Self { inner }
    }

    /// Registers an interest: tells of the conditions in `interest` (and of [`Events::ERR`] and [`Events::HUP`], always) with
    /// the number `data`. Conditions that hold already are reported.
    ///
    /// # Errors
    /// In a child that was forked after the instance was made. Then, in this order of precedence, with epoll's numbers:
    /// * `EINVAL`: an instance that is to watch itself; [`Events::EXCLUSIVE`] with a bit it doesn't go with, or on an instance.
    /// * `ELOOP`: a circle of instances, or a chain of more than five.
    /// * `EEXIST`: the source is registered under this tag.
    /// * `ENOSPC`: the process holds as many interests as it may ([`set_max_watches`]).
    /// * `EINVAL`: a source would reach the instances at the top in too many ways: more than 500, 100, 50 or 10 chains of two,
    ///   three, four or five instances.
    /// * What the source's feed says, for example `ENOMEM`; then nothing is registered.
    ///
    /// # Panics
    /// With the panic of a custom source's `poll`; then nothing is registered.
    pub fn add(&self, source: &impl AsSource, tag: u64, interest: Events, data: u64) -> io::Result<()> {
        self.inner.add(&source.as_source(), tag, interest, data)
    }

    /// Changes an interest, arms it again if it was one-shot, and asks its source anew: what holds is reported.
    ///
    /// # Errors
    /// In a child that was forked after the instance was made. Then, in this order:
    /// * `EINVAL`: [`Events::EXCLUSIVE`] is asked for.
    /// * `ENOENT`: no such interest.
    /// * `EINVAL`: the interest was added with [`Events::EXCLUSIVE`].
    /// * What the source's feed says when the new mask needs a new arm; then the interest has its new mask, and no arm.
    ///
    /// # Panics
    /// With the panic of a custom source's `poll`; the interest then has its new mask.
    pub fn modify(&self, source: &impl AsSource, tag: u64, interest: Events, data: u64) -> io::Result<()> {
        self.inner.modify(&source.as_source(), tag, interest, data)
    }

    /// Removes an interest. When it returns no later wait reports it; a wait that is returning may still hold an event.
    ///
    /// # Errors
    /// `ENOENT`: no such interest. In a child that was forked after the instance was made, an error that says so.
    pub fn remove(&self, source: &impl AsSource, tag: u64) -> io::Result<()> {
        self.inner.remove(&source.as_source(), tag)
    }
}

/// How long a waiter may look around before it parks.
impl Eventpoll {
    /// Lets waiters harvest for up to `time` before they park (epoll's `EPIOCSPARAMS`, `busy_poll_usecs`): an event that comes
    /// meanwhile costs no wake-up, and the processor is kept busy. Zero, the default, parks at once.
    ///
    /// It holds for waits that begin after the call. A waiter that is looking around is not parked: an exclusive walk
    /// doesn't take it for one that waits, and a signal handler that runs doesn't end its wait. What it looks at is the feed of its own lane and the ready list; between two
    /// looks it gives up the processor once.
    pub fn set_busy_poll(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.inner.busy_poll.store(nanos, Ordering::Relaxed);
    }

    /// What [`set_busy_poll`](Self::set_busy_poll) has set.
    pub fn busy_poll(&self) -> Duration {
        self.inner.busy_poll()
    }
}

impl AsSource for Eventpoll {
    fn as_source(&self) -> Arc<dyn Source> {
        self.inner.clone()
    }
}

impl fmt::Debug for Eventpoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ready, overflow, waiters) = self.inner.ready.lock().lengths();
        f.debug_struct("Eventpoll")
            .field("id", &self.inner.id())
            .field("ready", &ready)
            .field("overflow", &overflow)
            .field("waiters", &waiters)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn ready(&self) -> &Ready {
        &self.ready
    }

    fn id(&self) -> topology::Id {
        self.ready.id()
    }

    fn busy_poll(&self) -> Duration {
        Duration::from_nanos(self.busy_poll.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("id", &self.id()).finish_non_exhaustive()
    }
}

fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

/// An instance is a source: readable while something on its ready list is.
impl Source for Inner {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        self.ready.set_watched();
        table.register(self.ready.pollers());
        self.readiness(table.graveyard())
    }

    fn nested(&self) -> Option<Nested> {
        Some(Nested { id: self.id(), instance: self.ready.instance() })
    }

    /// What it holds may be fed by any lane; those of a thread that is alone are one.
    #[cfg(not(egret_loom))]
    fn catch_up(&self, lanes: &crate::Lanes) {
        if let Ok(lane) = lanes.here() {
            // Without memory to submit with: it is made up for by the next wait.
            let _put_off = lane.catch_up();
        }
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Eventpoll {}", self.id())
    }
}

/// The last handle is gone: every interest is unhooked, and whoever watches this instance loses it (fact 46).
impl Drop for Inner {
    fn drop(&mut self) {
        let (interests, graphed) = {
            let mut control = self.control.lock();
            (std::mem::take(&mut control.interests), control.graphed)
        };
        for interest in interests.values() {
            interest.item.unhook();
        }
        let lists = self.ready.lock().close();
        drop(lists);
        // Items that a callback still holds keep the queue alive: its hooks are told now, not when it is freed. Those who
        // watch hear nothing: the interest vanishes as with any source, and the kernel takes it out before it wakes.
        self.ready.pollers().retire();
        // Last: while a hook of it stands somewhere, the ways through it count.
        if graphed {
            topology::lock().remove(self.id());
        }
        for interest in interests.values() {
            if let Some(source) = interest.item.source() {
                self.unwatched(&source);
            }
        }
    }
}
