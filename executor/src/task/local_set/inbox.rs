//! The inbox of a local set: what comes to it from elsewhere, and who is told.
//!
//! ```text
//!                  open: takes what is there                settle, and nothing came meanwhile
//!   a driver's poll ────────────────────────► awake ──────────────────────────────────────────► asleep
//!                                               ▲ settle, and something came: all drivers are woken │
//!                                               └───────────────────────────────────────────────────┘
//!                                                 push, notify: all drivers are woken, with no lock
//! ```
//!
//! A driver is a future that polls the set's tasks. Whoever finds the set awake wakes nobody: a driver is in its poll, and looks again before
//! it sleeps, or has been woken. As a driver may be dropped after it was woken, and there may be several, all are woken each time,
//! and those who stay behind are woken when one leaves. (One is the rule.)
//!
//! A push comes to the lock before `settle`, which sees what it brought, or after it, and wakes. (Checked by loom, `tests/loom_local.rs`.)
//!
//! | field | lock |
//! |---|---|
//! | all | the mutex, a leaf. Under it wakers are only moved and compared, tasks only moved |

use std::{collections::VecDeque, mem, task::Waker};

use crate::sync::{Condvar, Mutex, lock};
#[cfg(not(egret_loom))]
use crate::task::quiet::quietly;

/// A model's wakers don't panic.
#[cfg(egret_loom)]
fn quietly(f: impl FnOnce()) {
    f();
}

/// Which driver.
pub type Driver = u64;

/// What a driver that wants to sleep learns.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Settle {
    /// It will be woken when something comes.
    Asleep,
    /// Something came meanwhile. All the others are woken, itself excepted.
    Stirred,
}

struct State<T> {
    tasks: VecDeque<T>,
    awake: bool,
    /// The owner's thread is in `wait`.
    waiting: bool,
    drivers: Vec<(Driver, Waker)>,
}

/// See the module. `T` is a task that is to be polled.
pub struct Inbox<T> {
    state: Mutex<State<T>>,
    /// A task came while `waiting`.
    came: Condvar,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        let state = State { tasks: VecDeque::new(), awake: false, waiting: false, drivers: Vec::new() };
        Self { state: Mutex::new(state), came: Condvar::new() }
    }
}

impl<T> State<T> {
    /// Those that have to be woken by somebody who brings something.
    fn stir(&mut self) -> Vec<(Driver, Waker)> {
        if mem::replace(&mut self.awake, true) { Vec::new() } else { mem::take(&mut self.drivers) }
    }
}

fn wake(drivers: Vec<(Driver, Waker)>) {
    for (_, waker) in drivers {
        // One's panic must not cost the others their wake-up.
        quietly(|| waker.wake());
    }
}

impl<T> Inbox<T> {
    /// Brings a task, from any thread.
    pub fn push(&self, task: T) {
        let mut state = lock(&self.state);
        state.tasks.push_back(task);
        let drivers = state.stir();
        if state.waiting {
            self.came.notify_one();
        }
        drop(state);
        wake(drivers);
    }

    /// Something was brought to the owner's own queue while no driver was in its poll.
    pub fn notify(&self) {
        let drivers = lock(&self.state).stir();
        wake(drivers);
    }

    /// A driver begins its poll: from now on nobody is woken.
    pub fn open(&self, into: &mut VecDeque<T>) {
        let mut state = lock(&self.state);
        state.awake = true;
        into.append(&mut state.tasks);
    }

    /// A driver has found nothing more to do, and wants to be woken when something comes.
    pub fn settle(&self, driver: Driver, waker: Waker) -> Settle {
        let mut state = lock(&self.state);
        if !state.tasks.is_empty() {
            let others = mem::take(&mut state.drivers);
            drop(state);
            wake(others);
            return Settle::Stirred;
        }
        state.awake = false;
        let old = match state.drivers.iter_mut().find(|(other, _)| *other == driver) {
            Some((_, place)) => Some(mem::replace(place, waker)),
            None => {
                state.drivers.push((driver, waker));
                None
            }
        };
        drop(state);
        quietly(|| drop(old));
        Settle::Asleep
    }

    /// A driver has ended its poll and left the set awake: the others are told, it may never come back.
    pub fn pass_on(&self) {
        let others = mem::take(&mut lock(&self.state).drivers);
        wake(others);
    }

    /// A driver is gone. What it had been woken for is the others' now.
    pub fn leave(&self, driver: Driver) {
        let mut state = lock(&self.state);
        let place = state.drivers.iter().position(|(other, _)| *other == driver);
        let own = place.map(|place| state.drivers.swap_remove(place));
        let others = mem::take(&mut state.drivers);
        state.awake |= !others.is_empty();
        drop(state);
        quietly(|| drop(own));
        wake(others);
    }

    /// Waits for tasks, on the owner's thread.
    pub fn wait(&self, into: &mut VecDeque<T>) {
        let mut state = lock(&self.state);
        state.waiting = true;
        while state.tasks.is_empty() {
            state = self.came.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        state.waiting = false;
        into.append(&mut state.tasks);
    }

    /// The set is gone, with its tasks: nobody is woken any more.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.awake = true;
        let drivers = mem::take(&mut state.drivers);
        drop(state);
        for (_, waker) in drivers {
            quietly(|| drop(waker));
        }
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        // The set takes all before it goes. If it didn't, this may be another thread, where a task must not be dropped: better it is lost.
        for task in mem::take(&mut lock(&self.state).tasks) {
            mem::forget(task);
        }
    }
}
