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

/// The shared part: items keep it alive to unhook themselves.
pub(crate) struct Queue {
    hooks: Mutex<Hooks>,
}

struct Hooks {
    gone: bool,
    list: VecDeque<Hook>,
}

struct Hook {
    item: Arc<Item>,
    exclusive: bool,
}

impl WaitQueue {
    /// Makes an empty queue.
    pub fn new() -> Self {
        Self { queue: Arc::new(Queue { hooks: Mutex::new(Hooks { gone: false, list: VecDeque::new() }) }) }
    }

    /// Tells everybody who watches that the conditions in `key` came true; an empty key means "something did".
    ///
    /// Call it after the source's state has changed, so that whoever is woken sees the new state. It may be called from
    /// any thread and never blocks for longer than a walk over the hooks takes; it must not be called from within
    /// [`Source::poll`](crate::Source::poll).
    pub fn wake(&self, key: Events) {
        self.wake_with(key, &mut Wakes::new(None));
    }

    pub(crate) fn wake_with(&self, key: Events, wakes: &mut Wakes<'_>) {
        let hooks = self.queue.hooks.lock();
        for hook in &hooks.list {
            let consumed = Item::ready_callback(&hook.item, key, wakes);
            if hook.exclusive && consumed {
                break;
            }
        }
    }

    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.queue.hooks.lock().list.is_empty()
    }

    pub(crate) fn shared(&self) -> &Arc<Queue> {
        &self.queue
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitQueue").field("hooks", &self.queue.hooks.lock().list.len()).finish()
    }
}

impl Drop for WaitQueue {
    fn drop(&mut self) {
        self.retire();
    }
}

impl WaitQueue {
    /// The source goes away (the kernel's POLLFREE): every hook is let go of and its item told; no hook is taken any more.
    pub(crate) fn retire(&self) {
        let list = {
            let mut hooks = self.queue.hooks.lock();
            hooks.gone = true;
            std::mem::take(&mut hooks.list)
        };
        for hook in list {
            Item::source_gone(&hook.item);
        }
    }
}

impl Queue {
    /// Installs a hook; false if the queue's source is already gone.
    pub(crate) fn hook(&self, item: &Arc<Item>, exclusive: bool) -> bool {
        let mut hooks = self.hooks.lock();
        if hooks.gone {
            return false;
        }
        let hook = Hook { item: item.clone(), exclusive };
        if exclusive {
            hooks.list.push_back(hook);
        } else {
            hooks.list.push_front(hook);
        }
        true
    }

    /// Takes the item's hooks out. After it returns no callback of that item runs from this queue.
    pub(crate) fn unhook(&self, item: &Arc<Item>) {
        let mut taken = None;
        {
            let mut hooks = self.hooks.lock();
            if let Some(at) = hooks.list.iter().position(|hook| Arc::ptr_eq(&hook.item, item)) {
                taken = hooks.list.remove(at);
            }
        }
        drop(taken);
    }
}
