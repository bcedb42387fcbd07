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
    /// Boxed, because a socket seldom has any and there are many sockets.
    listed: Option<Box<Listed>>,
    last_id: u64,
}

#[derive(Debug, Default)]
struct Listed(Vec<Waiter>);

/// Three words.
#[derive(Debug)]
struct Waiter {
    name: Name,
    waker: Waker,
}

/// The low 16 bits are the conditions that wake it, the rest is its number: [`POLL`], or that of a `ready()` future. Of the
/// futures of one socket the first 2^48 are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name(u64);

/// The number of waiters that have none.
const POLL: u64 = 0;

impl Name {
    fn new(id: u64, mask: Events) -> Self {
        Self(id << 16 | u64::from(mask.bits() as u16))
    }

    /// Of one that is not among the waiters.
    pub(crate) fn unnumbered(mask: Events) -> Self {
        Self::new(POLL, mask)
    }

    /// Which events wake it.
    pub(crate) fn mask(self) -> Events {
        Events::from_bits_retain(u32::from(self.0 as u16))
    }

    fn is_numbered(self) -> bool {
        self.0 >> 16 != POLL
    }
}

impl Waiter {
    fn hears(&self, events: Events) -> bool {
        self.name.mask().intersects(events)
    }
}

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
    fn find(&mut self, name: Name) -> Option<&mut Waiter> {
        let Self { reader, writer, listed, .. } = self;
        let listed = listed.iter_mut().flat_map(|listed| &mut listed.0);
        [reader, writer].into_iter().flatten().chain(listed).find(|waiter| waiter.name == name)
    }

    fn take(&mut self, name: Name) -> Option<Waiter> {
        for place in [&mut self.reader, &mut self.writer] {
            if place.as_ref().is_some_and(|waiter| waiter.name == name) {
                return place.take();
            }
        }
        let listed = &mut self.listed.as_mut()?.0;
        let at = listed.iter().position(|waiter| waiter.name == name)?;
        Some(listed.swap_remove(at))
    }

    /// The next on the list, from `at` on, that these events wake.
    fn take_listed(&mut self, events: Events, at: &mut usize) -> Option<Waiter> {
        let listed = &mut self.listed.as_mut()?.0;
        *at += listed[*at..].iter().position(|waiter| waiter.hears(events))?;
        Some(listed.swap_remove(*at))
    }

    fn list(&mut self, waiter: Waiter) {
        self.listed.get_or_insert_default().0.push(waiter);
    }
}

impl ScheduledIo {
    /// Remembers the task that polls in this direction; the one that polled before is forgotten.
    pub(crate) fn set(&self, direction: Direction, waker: &Waker) {
        let is_there = |waiter: &Waiter| !waiter.name.is_numbered() && waiter.waker.will_wake(waker);
        if lock(&self.wakers).place(direction).as_ref().is_some_and(is_there) {
            return;
        }
        // Cloning and dropping wakers is user code: not under the lock.
        let waiter = Waiter { name: Name::unnumbered(direction.mask()), waker: waker.clone() };
        let old = {
            let mut wakers = lock(&self.wakers);
            match wakers.place(direction).replace(waiter) {
                Some(numbered) if numbered.name.is_numbered() => {
                    wakers.list(numbered);
                    None
                }
                old => old,
            }
        };
        drop(old);
    }

    /// Adds a waiter. Its name is good for [`update`](Self::update) and [`remove`](Self::remove).
    pub(crate) fn add(&self, mask: Events, waker: &Waker) -> Name {
        let waker = waker.clone();
        let mut wakers = lock(&self.wakers);
        wakers.last_id += 1;
        let name = Name::new(wakers.last_id, mask);
        let waiter = Waiter { name, waker };
        self.count(&mut wakers, 1);
        match wakers.place_for(mask) {
            Some(place @ None) => *place = Some(waiter),
            _ => wakers.list(waiter),
        }
        name
    }

    /// Gives a waiter another waker. False if it was woken, and thereby taken out, meanwhile.
    #[must_use]
    pub(crate) fn update(&self, name: Name, waker: &Waker) -> bool {
        match lock(&self.wakers).find(name) {
            None => return false,
            Some(waiter) if waiter.waker.will_wake(waker) => return true,
            Some(_) => {}
        }
        let mut waker = waker.clone();
        match lock(&self.wakers).find(name) {
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
    pub(crate) fn remove(&self, name: Name) {
        let waiter = {
            let mut wakers = lock(&self.wakers);
            let waiter = wakers.take(name);
            self.count_out(&mut wakers, waiter.as_ref());
            waiter
        };
        drop(waiter);
    }

    /// A waiter was taken out.
    fn count_out(&self, wakers: &mut Wakers, waiter: Option<&Waiter>) {
        if waiter.is_some_and(|waiter| waiter.name.is_numbered()) {
            self.count(wakers, -1);
        }
    }

    /// Adds to the number of numbered waiters. The lock makes it one writer at a time, so no read-modify-write is needed.
    fn count(&self, _locked: &mut Wakers, change: isize) {
        let now = self.numbered.load(Ordering::Relaxed);
        self.numbered.store(now.wrapping_add_signed(change), Ordering::Relaxed);
    }

    /// Wakes whoever waits for one of these events.
    pub(crate) fn wake(&self, events: Events) {
        let mut wakers = lock(&self.wakers);
        let reader = if events.intersects(Direction::Read.mask()) { wakers.reader.take() } else { None };
        let writer = if events.intersects(Direction::Write.mask()) { wakers.writer.take() } else { None };
        self.count_out(&mut wakers, reader.as_ref());
        self.count_out(&mut wakers, writer.as_ref());
        let listed = wakers.listed.iter().flat_map(|listed| &listed.0).any(|waiter| waiter.hears(events));
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
        let (reader, writer, listed) = {
            let mut wakers = lock(&self.wakers);
            self.numbered.store(0, Ordering::Relaxed);
            (wakers.reader.take(), wakers.writer.take(), wakers.listed.take())
        };
        drop((reader, writer, listed));
    }

    fn wake_listed(&self, events: Events) {
        loop {
            let mut batch = WakeBatch::new();
            let mut wakers = lock(&self.wakers);
            let mut at = 0;
            while !batch.is_full()
                && let Some(waiter) = wakers.take_listed(events, &mut at)
            {
                self.count_out(&mut wakers, Some(&waiter));
                batch.push(waiter.waker);
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
