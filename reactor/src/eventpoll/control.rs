//! ADD, MOD and DEL: the interest tree and what else the control lock protects.
//!
//! An ADD that has to do with the topology (an instance is added, or this instance is watched) takes that lock first and keeps it
//! until the interest is in the tree: check and insertion are one step as seen by other such ADDs. Whether this instance is
//! watched is known only under the control lock; an ADD that learns it there lets go and begins again from the outside:
//!
//! ```text
//!   nested ───────────────────────────────► topology ──► paths below ──► control ──► EEXIST, ENOSPC, verdict ──► hook, poll
//!   other ──► control ── not watched ──────────────────────────────────► EEXIST, ENOSPC ──► hook, poll
//!                └────── watched: let go ──► topology ──► control ──► EEXIST, ENOSPC ──► hook, poll ──► paths of this source
//! ```

use super::item::{Item, Key, Panic};
use super::ready::Ready;
use super::scan::rethrow;
use super::topology::{self, Graph};
use super::watches::Watch;
use super::{Inner, Instance, errno, paths};
use crate::events::Events;
use crate::parker::Wakes;
use crate::source::{Nested, Source};
use crate::sync::{Arc, MutexGuard};
use std::collections::{BTreeMap, VecDeque};
use std::io;

/// What the control lock protects.
#[derive(Default)]
pub(super) struct Control {
    pub(super) interests: BTreeMap<Key, Interest>,
    /// A scan's working lists, kept for their memory; empty between scans.
    pub(super) batch: VecDeque<Arc<Item>>,
    pub(super) requeue: Vec<Arc<Item>>,
    /// A panic of a source's `poll` that met a scan which had something to deliver: for the next one.
    pub(super) thrown: Option<Panic>,
    /// Somebody watches this instance, or did when it was last looked at: an ADD needs the topology.
    pub(super) watched: bool,
    /// This instance has been in the graph.
    pub(super) graphed: bool,
}

/// An interest in the tree.
pub(super) struct Interest {
    pub(super) item: Arc<Item>,
    /// Its source is an instance.
    pub(super) nested: bool,
    _watch: Watch,
}

/// An ADD's hold on the topology.
struct Admission {
    graph: MutexGuard<'static, Graph>,
    /// The edge that was entered, to be taken back if the ADD fails.
    edge: Option<(topology::Id, topology::Id)>,
    /// What the path check says; it is told only after errors that come before it.
    paths: io::Result<()>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some((outer, inner)) = self.edge {
            self.graph.disconnect(outer, inner);
        }
    }
}

impl Inner {
    pub(super) fn add(
        &self,
        source: &Arc<dyn Source>,
        tag: u64,
        interest: Events,
        data: u64,
    ) -> io::Result<()> {
        self.ready.check_process()?;
        let nested = source.nested();
        if self.is(nested.as_ref()) {
            return Err(errno(libc::EINVAL));
        }
        if interest.contains(Events::EXCLUSIVE)
            && (nested.is_some() || !Events::EXCLUSIVE_OK.contains(interest))
        {
            return Err(errno(libc::EINVAL));
        }
        self.catch_up(source);
        let key = Key::new(source, tag);
        let mut graveyard = Vec::new();
        let mut panic = None;
        let result = {
            // Instances that the path check has looked at: a last reference must not go under the topology lock.
            let mut guests = Vec::new();
            let mut wakes = Wakes::new(None);
            let mut admission = match &nested {
                Some(inner) => Some(self.admit_instance(inner, &mut guests)?),
                None => None,
            };
            let mut control = self.control.lock();
            if control.watched && admission.is_none() {
                drop(control);
                admission = Some(self.admit_source());
                control = self.control.lock();
            }
            control.reap(&self.ready);
            if control.interests.contains_key(&key) {
                return Err(errno(libc::EEXIST));
            }
            let watch = Watch::take()?;
            if let Some(admission) = &mut admission {
                std::mem::replace(&mut admission.paths, Ok(()))?;
            }
            control.graphed |= nested.is_some();
            let item = Arc::new(Item::new(key.tag, source, self.ready.clone(), interest, data));
            let nested = nested.is_some();
            control.interests.insert(key, Interest { item: item.clone(), nested, _watch: watch });
            let result = match item.poll_with(source, false, &mut graveyard) {
                Ok((now, None)) => {
                    // The hooks say who watches the source; those of instances were checked beforehand, from below.
                    let checked = match &admission {
                        Some(admission) if !nested => paths::check_source(&admission.graph, &item),
                        _ => Ok(()),
                    };
                    if checked.is_ok() && !now.is_empty() {
                        self.ready.link(&item, &mut wakes);
                    }
                    checked
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
            } else if let Some(admission) = &mut admission {
                admission.edge = None;
            }
            // In this order: locks from the inside out, then who is to be woken, then the guests.
            drop(control);
            drop(admission);
            result
        };
        if result.is_err() || panic.is_some() {
            self.unwatched(source);
        }
        rethrow(panic, &mut graveyard);
        result
    }

    /// Whether an operation is about this instance itself: no such interest can be, and that is told first (fact 13).
    fn is(&self, nested: Option<&Nested>) -> bool {
        nested.is_some_and(|nested| nested.id == self.id())
    }

    /// What has happened before an interest changes is told under the old one: its event stands where it came, and none is
    /// told of a source that was not watched yet.
    fn catch_up(&self, source: &Arc<dyn Source>) {
        #[cfg(not(egret_loom))]
        source.catch_up(self.ready.lanes());
        #[cfg(egret_loom)]
        let _no_feed = source;
    }

    /// # Errors
    /// `ELOOP`, if `inner` may not be watched by this instance.
    fn admit_instance(&self, inner: &Nested, guests: &mut Vec<Instance>) -> io::Result<Admission> {
        let mut graph = topology::lock();
        graph.check(self.id(), inner.id)?;
        graph.connect((self.id(), &self.ready.instance()), (inner.id, &inner.instance));
        let paths = paths::check_instance(&graph, inner.id, guests);
        Ok(Admission { graph, edge: Some((self.id(), inner.id)), paths })
    }

    /// This instance is watched, or was.
    fn admit_source(&self) -> Admission {
        let graph = topology::lock();
        if !graph.is_watched(self.id()) {
            // Nobody can begin to watch while the topology is locked.
            self.control.lock().watched = false;
        }
        Admission { graph, edge: None, paths: Ok(()) }
    }

    pub(super) fn modify(
        &self,
        source: &Arc<dyn Source>,
        tag: u64,
        interest: Events,
        data: u64,
    ) -> io::Result<()> {
        self.ready.check_process()?;
        if interest.contains(Events::EXCLUSIVE) || self.is(source.nested().as_ref()) {
            return Err(errno(libc::EINVAL));
        }
        self.catch_up(source);
        let mut graveyard = Vec::new();
        let mut wakes = Wakes::new(None);
        let mut panic = None;
        let result = {
            let mut control = self.control.lock();
            control.reap(&self.ready);
            let found = control.interests.get(&Key::new(source, tag));
            let item = &found.ok_or_else(|| errno(libc::ENOENT))?.item;
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

    pub(super) fn remove(&self, source: &Arc<dyn Source>, tag: u64) -> io::Result<()> {
        self.ready.check_process()?;
        let nested = source.nested();
        if self.is(nested.as_ref()) {
            return Err(errno(libc::EINVAL));
        }
        self.catch_up(source);
        let mut topology = nested.map(|inner| (inner, topology::lock()));
        {
            let mut control = self.control.lock();
            control.reap(&self.ready);
            let found = control.interests.remove(&Key::new(source, tag));
            let interest = found.ok_or_else(|| errno(libc::ENOENT))?;
            self.detach(&interest.item);
        }
        if let Some((inner, graph)) = &mut topology {
            graph.disconnect(self.id(), inner.id);
        }
        drop(topology);
        self.unwatched(source);
        Ok(())
    }

    /// No locks are held: the source may let go of what it kept for this interest.
    pub(super) fn unwatched(&self, source: &Arc<dyn Source>) {
        #[cfg(not(egret_loom))]
        source.unwatched(self.ready.lanes());
        #[cfg(egret_loom)]
        let _no_feed = source;
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
    pub(super) fn reap(&mut self, ready: &Ready) {
        let gone = ready.lock().take_buried();
        forget_gone(&mut self.interests, gone);
    }
}

/// Takes items whose source went away out of the interest tree.
pub(super) fn forget_gone(interests: &mut BTreeMap<Key, Interest>, gone: Vec<Arc<Item>>) {
    for item in gone {
        if interests.get(&item.key()).is_some_and(|other| Arc::ptr_eq(&other.item, &item)) {
            interests.remove(&item.key());
        }
        // A source may have several queues, and not all of them need be gone.
        item.unhook();
    }
}
