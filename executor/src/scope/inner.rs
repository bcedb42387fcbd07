//! The state of a scope, and the entries of what is alive in it.

use std::{any::Any, cell::RefCell, collections::HashMap, mem, task::Waker};

use super::ScopeError;
use crate::{
    cancel::CancellationToken,
    runtime::Handle,
    sync::{Arc, Mutex, lock},
    task::{AbortHandle, Id, quiet::quietly},
};

/// An entry of a scope above, of whatever type its errors are; only kept.
pub(super) type Above = Arc<dyn Any + Send + Sync>;

thread_local! {
    /// The entry of the task or body that this thread polls.
    static CURRENT: RefCell<Option<Above>> = const { RefCell::new(None) };
}

/// Runs a poll of what has that entry.
pub(super) fn within<R>(entry: Above, poll: impl FnOnce() -> R) -> R {
    struct Outer(Option<Above>);
    impl Drop for Outer {
        fn drop(&mut self) {
            let outer = self.0.take();
            let _entry = CURRENT.try_with(|current| current.replace(outer));
        }
    }
    // A thread that is being torn down has none.
    let _outer = Outer(CURRENT.try_with(|current| current.replace(Some(entry))).ok().flatten());
    poll()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Takes tasks.
    Open,
    /// Takes no more.
    Closed,
    /// All are aborted.
    Aborting,
}

struct State<E> {
    phase: Phase,
    /// Entries that exist: futures, the body's included.
    alive: usize,
    /// By the ids of the tasks; None for one that is just being spawned.
    tasks: HashMap<Id, Option<AbortHandle>>,
    /// The first.
    failure: Option<ScopeError<E>>,
    /// Of the scope's future.
    waiter: Option<Waker>,
    /// What the scope is in. Kept by the entries, and here until there can't be any more: not by handles, which may go astray.
    above: Option<Above>,
}

/// One's panic is no other's.
fn wake(waiter: Option<Waker>) {
    if let Some(waiter) = waiter {
        quietly(|| waiter.wake());
    }
}

/// What the scope's future, its handles and its entries share.
pub(super) struct Inner<E> {
    pub(super) runtime: Handle,
    pub(super) token: CancellationToken,
    state: Mutex<State<E>>,
}

/// What there is to know at a look.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Alive,
    Failed,
    /// No future is left.
    Empty,
}

impl<E> Inner<E> {
    pub(super) fn new(runtime: Handle, token: CancellationToken) -> Arc<Self> {
        let above = CURRENT.try_with(|current| current.borrow().clone()).ok().flatten();
        let state =
            State { phase: Phase::Open, alive: 0, tasks: HashMap::new(), failure: None, waiter: None, above };
        Arc::new(Self { runtime, token, state: Mutex::new(state) })
    }

    /// An entry for the body, or for a task with that id. None: the scope takes no more.
    pub(super) fn admit(self: &Arc<Self>, id: Option<Id>) -> Option<Arc<Entry<E>>> {
        let mut state = lock(&self.state);
        if state.phase != Phase::Open {
            return None;
        }
        state.alive += 1;
        state.tasks.extend(id.map(|id| (id, None)));
        Some(Arc::new(Entry { inner: self.clone(), id, above: state.above.clone() }))
    }

    /// The task that was admitted can be aborted by this.
    pub(super) fn admitted(&self, id: Id, abort: AbortHandle) {
        let mut state = lock(&self.state);
        if state.phase != Phase::Aborting {
            // It may have ended.
            if let Some(place) = state.tasks.get_mut(&id) {
                *place = Some(abort);
            }
            return;
        }
        drop(state);
        abort.abort();
    }

    /// Something went wrong. Only the first counts.
    pub(super) fn fail(&self, error: ScopeError<E>) {
        let mut state = lock(&self.state);
        if state.failure.is_some() {
            drop(state);
            quietly(|| drop(error));
            return;
        }
        state.failure = Some(error);
        let waiter = state.waiter.take();
        drop(state);
        wake(waiter);
    }

    /// The scope's future wants to be woken by a failure and by the last end.
    pub(super) fn listen(&self, waker: &Waker) -> Look {
        let waker = waker.clone();
        let mut state = lock(&self.state);
        let old = state.waiter.replace(waker);
        let look = if state.failure.is_some() {
            Look::Failed
        } else if state.alive == 0 {
            Look::Empty
        } else {
            Look::Alive
        };
        drop(state);
        quietly(|| drop(old));
        look
    }

    pub(super) fn has_failed(&self) -> bool {
        lock(&self.state).failure.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.state).alive == 0
    }

    /// Closes it if it is empty: nobody can spawn into it any more. Whether it did.
    pub(super) fn close_if_empty(&self) -> bool {
        let mut state = lock(&self.state);
        if state.alive != 0 {
            return false;
        }
        state.phase = Phase::Closed;
        let above = state.above.take();
        drop(state);
        drop(above);
        true
    }

    /// Takes no more tasks.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        if state.phase == Phase::Open {
            state.phase = Phase::Closed;
        }
        let above = state.above.take();
        drop(state);
        drop(above);
    }

    /// Aborts all tasks.
    pub(super) fn abort_all(&self) {
        let mut state = lock(&self.state);
        state.phase = Phase::Aborting;
        let tasks: Vec<AbortHandle> = state.tasks.values_mut().filter_map(Option::take).collect();
        drop(state);
        tasks.iter().for_each(AbortHandle::abort);
    }

    pub(super) fn is_open(&self) -> bool {
        lock(&self.state).phase == Phase::Open
    }

    pub(super) fn tasks(&self) -> usize {
        lock(&self.state).tasks.len()
    }

    pub(super) fn take_failure(&self) -> Option<ScopeError<E>> {
        lock(&self.state).failure.take()
    }
}

/// Says that a future in the scope is alive. The future's, and kept by all entries below.
pub(super) struct Entry<E> {
    inner: Arc<Inner<E>>,
    id: Option<Id>,
    above: Option<Above>,
}

impl<E> Entry<E> {
    pub(super) fn fail(&self, error: ScopeError<E>) {
        self.inner.fail(error);
    }
}

impl<E> Drop for Entry<E> {
    fn drop(&mut self) {
        let mut state = lock(&self.inner.state);
        let abort = self.id.and_then(|id| state.tasks.remove(&id));
        state.alive -= 1;
        let waiter = if state.alive == 0 { state.waiter.take() } else { None };
        drop(state);
        drop(abort);
        wake(waiter);
        // Last of all: when the scope above sees its end, so does this one.
        drop(mem::take(&mut self.above));
    }
}
