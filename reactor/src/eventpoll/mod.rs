//! [`Eventpoll`]: one instance. Interests in, events out.
//!
//! | lock          | protects                                                   | taken below           |
//! |---------------|------------------------------------------------------------|-----------------------|
//! | topology      | which instance watches which (process-wide, [`topology`])  | nothing               |
//! | control       | the interest tree, the scan's batch                        | topology, an outer instance's control |
//! | list          | ready list, overflow list, waiters ([`ready`])             | all the others        |
//!
//! A wait queue's lock and a lane's lock lie between control and list: a walk takes list locks, an ADD takes a queue's
//! lock and a lane's. No user code runs under any lock except `Source::poll`, which runs under control (contract C1).

pub(crate) mod item;
pub(crate) mod ready;
mod scan;
mod topology;
mod wait;
mod waiters;

pub use wait::Woken;

use crate::events::Events;
use crate::parker::Wakes;
use crate::source::{AsSource, Nested, PollTable, Source};
use crate::sync::{Arc, Mutex};
use item::{Item, Key, Panic};
use ready::Ready;
use scan::rethrow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

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
    id: Nested,
}

/// What the control lock protects.
#[derive(Default)]
struct Control {
    interests: BTreeMap<Key, Arc<Item>>,
    /// A scan's working lists, kept for their memory; empty between scans.
    batch: VecDeque<Arc<Item>>,
    requeue: Vec<Arc<Item>>,
    /// A panic of a source's `poll` that met a scan which had something to deliver: for the next one.
    thrown: Option<Panic>,
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
        Self::over(Ready::new(lanes.clone()))
    }

    /// Makes an instance for a model: without a feed.
    #[cfg(egret_loom)]
    pub fn new() -> io::Result<Self> {
        Ok(Self::over(Ready::new()))
    }

    fn over(ready: Ready) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let inner = Arc::new(Inner {
            ready: Arc::new(ready),
            control: Mutex::new(Control::default()),
            id: Nested(NEXT.fetch_add(1, Ordering::Relaxed)),
        });
        inner.ready.belongs_to(&inner);
        Self { inner }
    }

    /// Registers an interest: tells of the conditions in `interest` (and of [`Events::ERR`] and [`Events::HUP`], always) with
    /// the number `data`. Conditions that hold already are reported.
    ///
    /// # Errors
    /// In this order of precedence, with epoll's numbers:
    /// * `EINVAL`: an instance that is to watch itself; [`Events::EXCLUSIVE`] with a bit it doesn't go with, or on an instance.
    /// * `ELOOP`: a circle of instances, or a chain of more than five.
    /// * `EEXIST`: the source is registered under this tag.
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
    /// * `EINVAL`: [`Events::EXCLUSIVE`] is asked for, or the interest was added with it.
    /// * `ENOENT`: no such interest.
    ///
    /// # Panics
    /// With the panic of a custom source's `poll`; the interest then has its new mask.
    pub fn modify(&self, source: &impl AsSource, tag: u64, interest: Events, data: u64) -> io::Result<()> {
        self.inner.modify(&source.as_source(), tag, interest, data)
    }

    /// Removes an interest. When it returns no later wait reports it; a wait that is returning may still hold an event.
    ///
    /// # Errors
    /// `ENOENT`: no such interest.
    pub fn remove(&self, source: &impl AsSource, tag: u64) -> io::Result<()> {
        self.inner.remove(&source.as_source(), tag)
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
            .field("id", &self.inner.id.0)
            .field("ready", &ready)
            .field("overflow", &overflow)
            .field("waiters", &waiters)
            .finish_non_exhaustive()
    }
}

fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

impl Inner {
    pub(super) fn ready(&self) -> &Ready {
        &self.ready
    }

    fn add(&self, source: &Arc<dyn Source>, tag: u64, interest: Events, data: u64) -> io::Result<()> {
        let nested = source.nested();
        if nested == Some(self.id) {
            return Err(errno(libc::EINVAL));
        }
        if interest.contains(Events::EXCLUSIVE)
            && (nested.is_some() || !Events::EXCLUSIVE_OK.contains(interest))
        {
            return Err(errno(libc::EINVAL));
        }
        // Held to the end: check and insertion are one step as seen by other ADDs of instances.
        let mut topology = nested.map(|inner| (inner, topology::lock()));
        if let Some((inner, graph)) = &topology {
            graph.check(self.id, *inner)?;
        }
        let key = Key::new(source, tag);
        let mut graveyard = Vec::new();
        let mut wakes = Wakes::new(None);
        let mut panic = None;
        let result = {
            let mut control = self.control.lock();
            control.reap(&self.ready);
            if control.interests.contains_key(&key) {
                return Err(errno(libc::EEXIST));
            }
            let item = Arc::new(Item::new(key, source, self.ready.clone(), interest, data));
            control.interests.insert(key, item.clone());
            let result = match item.poll_with(source, false, &mut graveyard) {
                Ok((now, None)) => {
                    if !now.is_empty() {
                        self.ready.link(&item, &mut wakes);
                    }
                    Ok(())
                }
                Ok((_, Some(error))) => Err(error),
                Err(thrown) => {
                    panic = Some(thrown);
                    Ok(())
                }
            };
            if result.is_err() || panic.is_some() {
                control.interests.remove(&key);
                self.detach(&item);
            } else if let Some((inner, graph)) = &mut topology {
                graph.connect(self.id, *inner);
            }
            result
        };
        drop(topology);
        wakes.flush();
        rethrow(panic, &mut graveyard);
        result
    }

    fn modify(&self, source: &Arc<dyn Source>, tag: u64, interest: Events, data: u64) -> io::Result<()> {
        if interest.contains(Events::EXCLUSIVE) {
            return Err(errno(libc::EINVAL));
        }
        let mut graveyard = Vec::new();
        let mut wakes = Wakes::new(None);
        let mut panic = None;
        let result = {
            let mut control = self.control.lock();
            control.reap(&self.ready);
            let item = control.interests.get(&Key::new(source, tag)).ok_or_else(|| errno(libc::ENOENT))?;
            if item.exclusive {
                return Err(errno(libc::EINVAL));
            }
            item.set_interest(&self.ready.lock(), interest, data);
            match item.poll_with(source, true, &mut graveyard) {
                Ok((now, error)) => {
                    if !now.is_empty() {
                        self.ready.link(item, &mut wakes);
                    }
                    error.map_or(Ok(()), Err)
                }
                Err(thrown) => {
                    panic = Some(thrown);
                    Ok(())
                }
            }
        };
        wakes.flush();
        rethrow(panic, &mut graveyard);
        result
    }

    fn remove(&self, source: &Arc<dyn Source>, tag: u64) -> io::Result<()> {
        let mut topology = source.nested().map(|inner| (inner, topology::lock()));
        let mut control = self.control.lock();
        control.reap(&self.ready);
        let item = control.interests.remove(&Key::new(source, tag)).ok_or_else(|| errno(libc::ENOENT))?;
        self.detach(&item);
        if let Some((inner, graph)) = &mut topology {
            graph.disconnect(self.id, *inner);
        }
        Ok(())
    }

    /// Unhooks an item, so that no callback of it runs any more, and takes it out of the lists.
    fn detach(&self, item: &Arc<Item>) {
        item.unhook();
        self.ready.lock().forget(item);
    }

    /// Takes interests whose source went away out of the tree, unless somebody holds the control lock: every holder
    /// starts by doing that. The topology forgot a nested instance when it closed.
    pub(crate) fn reap_if_free(&self) {
        if let Some(mut control) = self.control.try_lock() {
            control.reap(&self.ready);
        }
    }
}

impl Control {
    fn reap(&mut self, ready: &Ready) {
        let gone = ready.lock().take_buried();
        forget_gone(&mut self.interests, gone);
    }
}

/// Takes items whose source went away out of the interest tree.
fn forget_gone(interests: &mut BTreeMap<Key, Arc<Item>>, gone: Vec<Arc<Item>>) {
    for item in gone {
        if interests.get(&item.key).is_some_and(|other| Arc::ptr_eq(other, &item)) {
            interests.remove(&item.key);
        }
        // A source may have several queues, and not all of them need be gone.
        item.unhook();
    }
}

/// An instance is a source: readable while something on its ready list is.
impl Source for Inner {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        self.ready.lock().set_watched();
        table.register(self.ready.pollers());
        self.readiness(table.graveyard())
    }

    fn nested(&self) -> Option<Nested> {
        Some(self.id)
    }
}

/// The last handle is gone: every interest is unhooked, and whoever watches this instance loses it (fact 46).
impl Drop for Inner {
    fn drop(&mut self) {
        topology::lock().remove(self.id);
        let interests = std::mem::take(&mut self.control.lock().interests);
        for item in interests.values() {
            item.unhook();
        }
        let lists = self.ready.lock().close();
        drop(lists);
        // Items that a callback still holds keep the queue alive: its hooks are told now, not when it is freed.
        self.ready.pollers().wake(Events::IN);
        self.ready.pollers().retire();
    }
}
