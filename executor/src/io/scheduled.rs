//! Who waits for one socket. Only wakers live here; what the socket is ready for is the socket's own word (the engine's cached readiness).
//!
//! ```text
//!   waiter:  store waker (lock) ─► look at the readiness again ─► ready: go on │ not: Pending
//!   engine:  set readiness      ─► deliver the event ─► wake (lock: take the wakers; unlock; wake)
//! ```
//!
//! One of the two comes second to the lock. If it is the engine, it finds the waker; if it is the waiter, then the readiness was set
//! before that, and the second look sees it. (Checked by loom, `tests/io_loom.rs`.)
//!
//! Two kinds of waiter come: polls (`poll_ready`), of which each direction remembers the last, and `ready()` futures, any number of them, each
//! with a number by which it can leave. Each direction has a place, and there is a list. The usual socket has one waiter a direction,
//! whatever its kind, and it sits in the place:
//!
//! | who comes | the place is free | a poll sits there | a numbered waiter sits there |
//! |---|---|---|---|
//! | a poll | takes it | replaces it | takes it; the numbered one moves to the list |
//! | a numbered waiter of that direction | takes it | goes to the list | goes to the list |

use super::{
    Direction,
    wake_batch::{WakeBatch, wake},
};
use crate::sync::{AtomicUsize, Mutex, Ordering, lock};
use egret_reactor::Events;
use std::task::Waker;

/// The wakers of one registration. `Default` is nobody waiting.
#[derive(Debug, Default)]
pub(crate) struct ScheduledIo {
    wakers: Mutex<Wakers>,
    /// How many numbered waiters there are. Written under the lock. Read without it by one that leaves: as long as it is still there it
    /// can't read zero, for its own arrival counts.
    numbered: AtomicUsize,
}

#[derive(Debug, Default)]
struct Wakers {
    reader: Option<Waiter>,
    writer: Option<Waiter>,
    waiters: Vec<Waiter>,
    last_id: u64,
}

#[derive(Debug)]
struct Waiter {
    /// [`POLL`], or the number of a `ready()` future.
    id: u64,
    /// Which events wake it.
    mask: Events,
    waker: Waker,
}

/// The number of waiters that have none.
const POLL: u64 = 0;

impl Wakers {
    fn place(&mut self, direction: Direction) -> &mut Option<Waiter> {
        match direction {
            Direction::Read => &mut self.reader,
            Direction::Write => &mut self.writer,
        }
    }

    /// The place for a mask that names one direction.
    fn place_for(&mut self, mask: Events) -> Option<&mut Option<Waiter>> {
        [Direction::Read, Direction::Write]
            .into_iter()
            .find(|direction| direction.mask() == mask)
            .map(|direction| self.place(direction))
    }

    /// The numbered waiter, wherever it sits.
    fn find(&mut self, id: u64) -> Option<&mut Waiter> {
        let Self { reader, writer, waiters, .. } = self;
        [reader, writer].into_iter().flatten().chain(waiters).find(|waiter| waiter.id == id)
    }

    fn take(&mut self, id: u64) -> Option<Waiter> {
        for place in [&mut self.reader, &mut self.writer] {
            if place.as_ref().is_some_and(|waiter| waiter.id == id) {
                return place.take();
            }
        }
        let at = self.waiters.iter().position(|waiter| waiter.id == id)?;
        Some(self.waiters.swap_remove(at))
    }
}

impl ScheduledIo {
    /// Remembers the task that polls in this direction; the one that polled before is forgotten.
    pub(crate) fn set(&self, direction: Direction, waker: &Waker) {
        let is_there = |waiter: &Waiter| waiter.id == POLL && waiter.waker.will_wake(waker);
        if lock(&self.wakers).place(direction).as_ref().is_some_and(is_there) {
            return;
        }
        // Cloning and dropping wakers is user code: not under the lock.
        let waiter = Waiter { id: POLL, mask: direction.mask(), waker: waker.clone() };
        let old = {
            let mut wakers = lock(&self.wakers);
            match wakers.place(direction).replace(waiter) {
                Some(numbered) if numbered.id != POLL => {
                    wakers.waiters.push(numbered);
                    None
                }
                old => old,
            }
        };
        drop(old);
    }

    /// Adds a waiter. Its number is good for [`update`](Self::update) and [`remove`](Self::remove).
    pub(crate) fn add(&self, mask: Events, waker: &Waker) -> u64 {
        let waker = waker.clone();
        let mut wakers = lock(&self.wakers);
        wakers.last_id += 1;
        let id = wakers.last_id;
        let waiter = Waiter { id, mask, waker };
        self.numbered.fetch_add(1, Ordering::Relaxed);
        match wakers.place_for(mask) {
            Some(place @ None) => *place = Some(waiter),
            _ => wakers.waiters.push(waiter),
        }
        id
    }

    /// Gives a waiter another waker. False if it was woken, and thereby taken out, meanwhile.
    #[must_use]
    pub(crate) fn update(&self, id: u64, waker: &Waker) -> bool {
        match lock(&self.wakers).find(id) {
            None => return false,
            Some(waiter) if waiter.waker.will_wake(waker) => return true,
            Some(_) => {}
        }
        let mut waker = waker.clone();
        match lock(&self.wakers).find(id) {
            None => return false,
            Some(waiter) => std::mem::swap(&mut waiter.waker, &mut waker),
        }
        true
    }

    /// False if no numbered waiter is left to [`remove`](Self::remove).
    #[inline]
    pub(crate) fn any_numbered(&self) -> bool {
        self.numbered.load(Ordering::Relaxed) > 0
    }

    /// Takes a waiter out, if it still is there.
    pub(crate) fn remove(&self, id: u64) {
        let waiter = {
            let mut wakers = lock(&self.wakers);
            let waiter = wakers.take(id);
            self.count_out(waiter.as_ref());
            waiter
        };
        drop(waiter);
    }

    /// A waiter was taken out. Call it with the lock held.
    fn count_out(&self, waiter: Option<&Waiter>) {
        if waiter.is_some_and(|waiter| waiter.id != POLL) {
            self.numbered.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Wakes whoever waits for one of these events.
    pub(crate) fn wake(&self, events: Events) {
        let mut wakers = lock(&self.wakers);
        let reader = if events.intersects(Direction::Read.mask()) { wakers.reader.take() } else { None };
        let writer = if events.intersects(Direction::Write.mask()) { wakers.writer.take() } else { None };
        self.count_out(reader.as_ref());
        self.count_out(writer.as_ref());
        let listed = wakers.waiters.iter().any(|waiter| waiter.mask.intersects(events));
        drop(wakers);
        if let Some(waiter) = reader {
            wake(waiter.waker);
        }
        if let Some(waiter) = writer {
            wake(waiter.waker);
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
            self.numbered.store(0, Ordering::Relaxed);
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
                    let waiter = wakers.waiters.swap_remove(at);
                    self.count_out(Some(&waiter));
                    batch.push(waiter.waker);
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
