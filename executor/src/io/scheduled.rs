//! Who waits for one socket. Only wakers live here; what the socket is ready for is the socket's own word (the engine's cached readiness).
//!
//! ```text
//!   waiter:  store waker (lock) ─► look at the readiness again ─► ready: go on │ not: Pending
//!   engine:  set readiness      ─► deliver the event ─► wake (lock: take the wakers; unlock; wake)
//! ```
//!
//! One of the two comes second to the lock. If it is the engine, it finds the waker; if it is the waiter, then the readiness was set
//! before that, and the second look sees it. (Checked by loom at the end of this file.)
//!
//! Three places, because three kinds of waiter come: the one task that reads and the one that writes have a fixed place each, whose waker
//! is replaced by every poll; `ready()` futures have a list, each entry numbered, so that any number of them may wait and leave.

use super::{
    Direction,
    wake_batch::{WakeBatch, wake},
};
use crate::sync::{Mutex, lock};
use egret_reactor::Events;
use std::task::Waker;

/// The wakers of one registration. `Default` is nobody waiting.
#[derive(Default)]
pub(crate) struct ScheduledIo {
    wakers: Mutex<Wakers>,
}

#[derive(Default)]
struct Wakers {
    reader: Option<Waker>,
    writer: Option<Waker>,
    waiters: Vec<Waiter>,
    last_id: u64,
}

struct Waiter {
    id: u64,
    /// Which events wake it.
    mask: Events,
    waker: Waker,
}

impl Wakers {
    fn fixed(&mut self, direction: Direction) -> &mut Option<Waker> {
        match direction {
            Direction::Read => &mut self.reader,
            Direction::Write => &mut self.writer,
        }
    }
}

impl ScheduledIo {
    /// Puts a waker in the direction's fixed place; whoever was there is forgotten.
    pub(crate) fn set(&self, direction: Direction, waker: &Waker) {
        if lock(&self.wakers).fixed(direction).as_ref().is_some_and(|current| current.will_wake(waker)) {
            return;
        }
        // Cloning and dropping wakers is user code: not under the lock.
        let waker = waker.clone();
        let old = lock(&self.wakers).fixed(direction).replace(waker);
        drop(old);
    }

    /// Adds a waiter to the list. Its number is good for [`update`](Self::update) and [`remove`](Self::remove).
    pub(crate) fn add(&self, mask: Events, waker: &Waker) -> u64 {
        let waker = waker.clone();
        let mut wakers = lock(&self.wakers);
        wakers.last_id += 1;
        let id = wakers.last_id;
        wakers.waiters.push(Waiter { id, mask, waker });
        id
    }

    /// Gives a waiter another waker. False if it was woken, and thereby taken off the list, meanwhile.
    #[must_use]
    pub(crate) fn update(&self, id: u64, waker: &Waker) -> bool {
        match lock(&self.wakers).waiters.iter().find(|waiter| waiter.id == id) {
            None => return false,
            Some(waiter) if waiter.waker.will_wake(waker) => return true,
            Some(_) => {}
        }
        let mut waker = waker.clone();
        match lock(&self.wakers).waiters.iter_mut().find(|waiter| waiter.id == id) {
            None => return false,
            Some(waiter) => std::mem::swap(&mut waiter.waker, &mut waker),
        }
        true
    }

    /// Takes a waiter off the list, if it still is there.
    pub(crate) fn remove(&self, id: u64) {
        let waiter = {
            let mut wakers = lock(&self.wakers);
            let at = wakers.waiters.iter().position(|waiter| waiter.id == id);
            at.map(|at| wakers.waiters.swap_remove(at))
        };
        drop(waiter);
    }

    /// Wakes whoever waits for one of these events.
    pub(crate) fn wake(&self, events: Events) {
        let mut wakers = lock(&self.wakers);
        let reader = if events.intersects(Direction::Read.mask()) { wakers.reader.take() } else { None };
        let writer = if events.intersects(Direction::Write.mask()) { wakers.writer.take() } else { None };
        let listed = wakers.waiters.iter().any(|waiter| waiter.mask.intersects(events));
        drop(wakers);
        if let Some(waker) = reader {
            wake(waker);
        }
        if let Some(waker) = writer {
            wake(waker);
        }
        if listed {
            self.wake_listed(events);
        }
    }

    /// Wakes everybody, whatever they wait for.
    pub(crate) fn wake_all(&self) {
        self.wake(Events::all());
    }

    /// Forgets everybody, unwoken.
    pub(crate) fn clear(&self) {
        let (reader, writer, waiters) = {
            let mut wakers = lock(&self.wakers);
            (wakers.reader.take(), wakers.writer.take(), std::mem::take(&mut wakers.waiters))
        };
        drop((reader, writer, waiters));
    }

    fn wake_listed(&self, events: Events) {
        loop {
            let mut batch = WakeBatch::new();
            let mut wakers = lock(&self.wakers);
            let mut at = 0;
            while at < wakers.waiters.len() && !batch.is_full() {
                if wakers.waiters[at].mask.intersects(events) {
                    batch.push(wakers.waiters.swap_remove(at).waker);
                } else {
                    at += 1;
                }
            }
            let more = batch.is_full();
            drop(wakers);
            batch.wake();
            if !more {
                return;
            }
        }
    }
}

#[cfg(all(test, not(egret_loom)))]
#[path = "scheduled_tests.rs"]
mod tests;
