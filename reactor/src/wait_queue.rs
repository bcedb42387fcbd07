//! [`WaitQueue`]: who wants to hear of a source.
//!
//! A hook is installed by ADD and stays until DEL or until its source goes away; a walk never takes one out. Plain hooks
//! stand at the head, newest first, and all are called; exclusive hooks stand at the tail, oldest first, and are called
//! until one consumes (epoll facts 98 to 103). Hooks are never rotated.
//!
//! ```text
//!   register (ADD) ──► hooked ──► unhook (DEL, close of the instance)
//!                        │
//!                        └──► gone: the queue was dropped (the kernel's POLLFREE);
//!                             each item is told, and takes itself out of its instance
//! ```
//!
//! The queue's lock is held during a walk; below it come only list locks (see the crate's lock order). No user code
//! runs in a walk, and threads that have to be woken are woken after it.

use crate::eventpoll::item::Item;
use crate::events::Events;
use crate::parker::Wakes;
use crate::sync::{Arc, Mutex};
use std::collections::VecDeque;
use std::fmt;

/// The hooks of everybody who watches a source.
///
/// A source owns one (or several), hands it to [`PollTable::register`](crate::PollTable::register) in its
/// [`poll`](crate::Source::poll), and calls [`wake`](WaitQueue::wake) whenever its readiness rises. Dropping the queue
/// takes the source out of every instance that watches it.
///
/// ```
/// use egret_reactor::{Event, Eventpoll, Events, PollTable, Source, WaitQueue};
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use std::{sync::Arc, time::Duration};
///
/// /// A light that can be switched on.
/// struct Light { on: AtomicBool, queue: WaitQueue }
///
/// impl Source for Light {
///     fn poll(&self, table: &mut PollTable<'_>) -> Events {
///         table.register(&self.queue);
///         if self.on.load(Ordering::SeqCst) { Events::IN } else { Events::empty() }
///     }
/// }
///
/// let light = Arc::new(Light { on: AtomicBool::new(false), queue: WaitQueue::new() });
/// let poll = Eventpoll::new()?;
/// poll.add(&light, 0, Events::IN, 1)?;
/// light.on.store(true, Ordering::SeqCst); // first the state,
/// light.queue.wake(Events::IN);           // then the news
/// let mut events = [Event::default(); 1];
/// assert_eq!(poll.wait(&mut events, Some(Duration::ZERO))?, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct WaitQueue {
    queue: Arc<Queue>,
}

/// The hooks themselves.
#[derive(Default)]
pub struct Queue {
    hooks: Mutex<Hooks>,
}

/// What holds a queue: items keep it alive to unhook themselves. A queue alone, or a source's own state with the queue in it,
/// which saves an allocation and a cache line on the way of an event.
pub trait Hooked: Send + Sync {
    /// The hooks.
    fn queue(&self) -> &Queue;
}

impl Hooked for Queue {
    fn queue(&self) -> &Queue {
        self
    }
}

#[derive(Default)]
struct Hooks {
    gone: bool,
    /// The head of the list, in place: most sources have one hook.
    head: Option<Hook>,
    /// The rest. Boxed, because a socket seldom has any and there are many sockets.
    tail: Option<Box<Tail>>,
}

#[derive(Default)]
struct Tail(VecDeque<Hook>);

impl Hooks {
    fn len(&self) -> usize {
        self.iter().count()
    }

    fn iter(&self) -> impl Iterator<Item = &Hook> {
        self.head.iter().chain(self.tail.iter().flat_map(|tail| &tail.0))
    }

    fn push_front(&mut self, hook: Hook) {
        if let Some(second) = self.head.replace(hook) {
            self.tail.get_or_insert_default().0.push_front(second);
        }
    }

    fn push_back(&mut self, hook: Hook) {
        match self.head {
            None => self.head = Some(hook),
            Some(_) => self.tail.get_or_insert_default().0.push_back(hook),
        }
    }

    fn remove(&mut self, item: &Arc<Item>) -> Option<Hook> {
        if self.head.as_ref().is_some_and(|hook| Arc::ptr_eq(&hook.item, item)) {
            let next = self.tail.as_mut().and_then(|tail| tail.0.pop_front());
            return std::mem::replace(&mut self.head, next);
        }
        let tail = &mut self.tail.as_mut()?.0;
        let at = tail.iter().position(|hook| Arc::ptr_eq(&hook.item, item))?;
        tail.remove(at)
    }
}

/// Whether it is exclusive its item says.
struct Hook {
    item: Arc<Item>,
}

impl WaitQueue {
    /// Makes an empty queue.
    pub fn new() -> Self {
        Self { queue: Arc::default() }
    }

    /// Tells everybody who watches that the conditions in `key` came true; an empty key means "something did".
    ///
    /// Call it after the source's state has changed, so that whoever is woken sees the new state. It may be called from
    /// any thread and never blocks for longer than a walk over the hooks takes; it must not be called from within
    /// [`Source::poll`](crate::Source::poll).
    pub fn wake(&self, key: Events) {
        self.wake_with(key, &mut Wakes::new(None));
    }

    /// [`wake`](WaitQueue::wake) for what concerns everybody, as the end of a stream: exclusive hooks don't end the walk.
    pub fn wake_all(&self, key: Events) {
        self.wake_all_with(key, &mut Wakes::new(None));
    }

    pub(crate) fn wake_with(&self, key: Events, wakes: &mut Wakes<'_>) {
        self.queue.wake_with(key, wakes);
    }

    /// [`wake_all`](Self::wake_all) with the caller's wakes.
    pub(crate) fn wake_all_with(&self, key: Events, wakes: &mut Wakes<'_>) {
        self.queue.wake_all(key, wakes);
    }

    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.queue.hooks.lock().head.is_none()
    }

    /// How many hooks there are.
    #[cfg(not(egret_loom))]
    pub(crate) fn len(&self) -> usize {
        self.queue.hooks.lock().len()
    }

    pub(crate) fn shared(&self) -> Arc<dyn Hooked> {
        self.queue.clone()
    }

    /// See [`Queue::retire`].
    pub(crate) fn retire(&self) {
        self.queue.retire();
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitQueue").field("hooks", &self.queue.hooks.lock().len()).finish()
    }
}

impl Drop for WaitQueue {
    fn drop(&mut self) {
        self.queue.retire();
    }
}

impl Queue {
    pub(crate) fn wake_with(&self, key: Events, wakes: &mut Wakes<'_>) {
        let hooks = self.hooks.lock();
        let Some(head) = &hooks.head else { return };
        // True if the walk ends here.
        let mut call = |hook: &Hook| Item::ready_callback(&hook.item, key, wakes);
        if !call(head)
            && let Some(tail) = &hooks.tail
        {
            tail.0.iter().any(call);
        }
    }

    /// The walk that ignores exclusivity (fact 103).
    fn wake_all(&self, key: Events, wakes: &mut Wakes<'_>) {
        let hooks = self.hooks.lock();
        for hook in hooks.iter() {
            Item::ready_callback(&hook.item, key, wakes);
        }
    }

    /// The source goes away (the kernel's POLLFREE): every hook is let go of and its item told; no hook is taken any more.
    pub(crate) fn retire(&self) {
        let (head, tail) = {
            let mut hooks = self.hooks.lock();
            hooks.gone = true;
            (hooks.head.take(), hooks.tail.take())
        };
        for hook in head.into_iter().chain(tail.into_iter().flat_map(|tail| tail.0)) {
            Item::source_gone(&hook.item);
        }
    }

    /// Calls `found` with the item of every hook, under the queue's lock.
    pub(crate) fn each_item(&self, mut found: impl FnMut(&Arc<Item>)) {
        let hooks = self.hooks.lock();
        for hook in hooks.iter() {
            found(&hook.item);
        }
    }

    /// Installs a hook; false if the queue's source is already gone.
    pub(crate) fn hook(&self, item: &Arc<Item>) -> bool {
        let mut hooks = self.hooks.lock();
        if hooks.gone {
            return false;
        }
        let hook = Hook { item: item.clone() };
        if item.exclusive {
            hooks.push_back(hook);
        } else {
            hooks.push_front(hook);
        }
        true
    }

    /// Takes the item's hooks out. After it returns no callback of that item runs from this queue.
    pub(crate) fn unhook(&self, item: &Arc<Item>) {
        let taken = self.hooks.lock().remove(item);
        drop(taken);
    }
}
