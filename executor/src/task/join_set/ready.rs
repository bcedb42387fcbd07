//! Which of a set's tasks have ended, in that order, and who waits for one.
//!
//! ```text
//!   a task's end:   push its number ─► take the waiter, if there is one ─► (after the lock) wake it
//!   the set:        pop a number ─► there is one: look at that task
//!                                └► none: leave a waker ─► Pending
//! ```
//!
//! Both happen under the same lock, so either the set finds the number or the end finds the waker. A waker is made before the lock and
//! dropped after it: cloning and dropping are user code.
//!
//! A number may be there for nothing: its place in the set may have been given to another task, since the handle of the first was taken out
//! of the set. That costs a look.

use std::{collections::VecDeque, task::Waker};

use crate::sync::{Mutex, lock};

#[derive(Default)]
struct Inner {
    ended: VecDeque<u32>,
    waiter: Option<Waker>,
}

/// The list. See the module's drawing.
#[derive(Default)]
pub struct Ready(Mutex<Inner>);

impl Ready {
    /// A task has ended. The waker is to be woken.
    #[must_use = "somebody may wait for it"]
    pub fn push(&self, number: u32) -> Option<Waker> {
        let mut inner = lock(&self.0);
        inner.ended.push_back(number);
        inner.waiter.take()
    }

    /// The first that has ended.
    pub fn pop(&self) -> Option<u32> {
        lock(&self.0).ended.pop_front()
    }

    /// The first that has ended; if there is none, the next one wakes `waker`. No other waker is woken from then on.
    pub fn pop_or_wait(&self, waker: &Waker) -> Option<u32> {
        // Before anything is cloned: mostly there is one, or the waker is there already.
        {
            let mut inner = lock(&self.0);
            if let Some(number) = inner.ended.pop_front() {
                return Some(number);
            }
            if inner.waiter.as_ref().is_some_and(|waiter| waiter.will_wake(waker)) {
                return None;
            }
        }
        let waker = waker.clone();
        let mut inner = lock(&self.0);
        if let Some(number) = inner.ended.pop_front() {
            drop(inner);
            return Some(number);
        }
        let _former = inner.waiter.replace(waker);
        drop(inner);
        None
    }
}
