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
//! with a name by which it can leave. Each direction has a place, and there is a list. The usual socket has one waiter a direction,
//! whatever its kind, and it sits in the place:
//!
//! | who comes | the place is free | a poll sits there | a named waiter sits there |
//! |---|---|---|---|
//! | a poll | takes it | replaces it | takes it; the named one moves to the list |
//! | a named waiter of that direction | takes it | goes to the list | goes to the list |
//!
//! Each place has a mark, which says who sits there:
//!
//! ```text
//!   bits 2 to 31: how many named waiters sat here so far │ bit 1 LISTED: the list isn't empty │ bit 0 NAMED: the one that sits here has a name
//! ```
//!
//! Marks are written under the lock, and read without it by a named waiter that leaves: while both say neither NAMED nor LISTED nobody has to be
//! taken out. It can't read that while it is still there: its arrival set a bit in one of them, whoever moves it to the list sets LISTED as NAMED
//! falls, in one store to the same mark, and LISTED falls when the list is empty.
//!
//! There is one of this for every socket, and every event touches it: with the slab's key it fills one cache line.

use super::{Direction, wake_batch::WakeBatch};
use crate::sync::{AtomicU32, Mutex, MutexGuard, Ordering, lock};
use egret_reactor::Events;
use std::task::Waker;

/// The wakers of one registration. `Default` is nobody waiting.
#[derive(Debug, Default)]
pub(crate) struct ScheduledIo {
    wakers: Mutex<Wakers>,
    read: Mark,
    write: Mark,
}

const _: () =
    assert!(cfg!(egret_loom) || size_of::<ScheduledIo>() <= 56, "with the key it is more than a line");

/// One a direction.
pub(crate) const PLACES: usize = 2;

#[derive(Debug, Default)]
struct Wakers {
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Boxed, because a socket seldom has any and there are many sockets. Once made it stays: it counts.
    listed: Option<Box<Listed>>,
}

#[derive(Debug, Default)]
struct Listed {
    waiters: Vec<Waiter>,
    /// How many came to the list without having sat in a place.
    count: u64,
}

#[derive(Debug)]
struct Waiter {
    name: Name,
    waker: Waker,
}

/// See the module's text.
#[derive(Debug, Default)]
struct Mark(AtomicU32);

const NAMED: u32 = 1;
const LISTED: u32 = 2;
const COUNT_SHIFT: u32 = 2;

impl Mark {
    #[inline]
    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// The lock makes it one writer at a time, so no read-modify-write is needed.
    #[inline]
    fn set(&self, _locked: &mut MutexGuard<'_, Wakers>, mark: u32) {
        self.0.store(mark, Ordering::Relaxed);
    }

    /// How many named waiters sat there so far.
    #[inline]
    fn count(&self) -> u32 {
        self.get() >> COUNT_SHIFT
    }

    fn has(&self, bit: u32) -> bool {
        self.get() & bit != 0
    }
}

/// The low 16 bits are the conditions that wake it; the rest is its number: how many had sat in its place when it came, or, with the highest bit,
/// how many had come to the list. Of one place the last 2^30 are told apart, of the list 2^47.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name(u64);

const NUMBER_SHIFT: u32 = 16;
const ON_THE_LIST: u64 = 1 << 63;

impl Name {
    fn placed(mask: Events, count: u32) -> Self {
        Self(u64::from(count) << NUMBER_SHIFT | u64::from(mask.bits() as u16))
    }

    fn listed(mask: Events, count: u64) -> Self {
        Self(ON_THE_LIST | count << NUMBER_SHIFT | u64::from(mask.bits() as u16))
    }

    /// Of one that is not among the waiters.
    pub(crate) fn unnumbered(mask: Events) -> Self {
        Self::placed(mask, 0)
    }

    /// Which events wake it.
    pub(crate) fn mask(self) -> Events {
        Events::from_bits_retain(u32::from(self.0 as u16))
    }

    /// The place it sat in first, if that wasn't the list, and its number there.
    fn place(self) -> Option<(Direction, u32)> {
        let direction = direction_of(self.mask()).filter(|_| self.0 & ON_THE_LIST == 0)?;
        Some((direction, (self.0 >> NUMBER_SHIFT) as u32))
    }
}

/// The direction whose place a waiter for these conditions may take.
fn direction_of(mask: Events) -> Option<Direction> {
    [Direction::Read, Direction::Write].into_iter().find(|direction| direction.mask() == mask)
}

impl Waiter {
    fn hears(&self, events: Events) -> bool {
        self.name.mask().intersects(events)
    }
}

impl Wakers {
    fn place(&mut self, direction: Direction) -> &mut Option<Waker> {
        match direction {
            Direction::Read => &mut self.reader,
            Direction::Write => &mut self.writer,
        }
    }

    fn listed(&mut self) -> &mut [Waiter] {
        self.listed.as_mut().map_or(&mut [], |listed| &mut listed.waiters)
    }

    fn take_listed(&mut self, name: Name) -> Option<Waiter> {
        let waiters = &mut self.listed.as_mut()?.waiters;
        let at = waiters.iter().position(|waiter| waiter.name == name)?;
        Some(waiters.swap_remove(at))
    }

    /// The next on the list, from `at` on, that these events wake.
    fn next_listed(&mut self, events: Events, at: &mut usize) -> Option<Waiter> {
        let waiters = &mut self.listed.as_mut()?.waiters;
        *at += waiters[*at..].iter().position(|waiter| waiter.hears(events))?;
        Some(waiters.swap_remove(*at))
    }
}

impl ScheduledIo {
    fn mark(&self, direction: Direction) -> &Mark {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    /// Whether it is this waiter that sits in the place it took.
    fn sits(&self, name: Name) -> Option<Direction> {
        let (direction, number) = name.place()?;
        let mark = self.mark(direction);
        (mark.has(NAMED) && mark.count() == number).then_some(direction)
    }

    /// Remembers the task that polls in this direction; the one that polled before is forgotten.
    pub(crate) fn set(&self, direction: Direction, waker: &Waker) {
        let mark = self.mark(direction);
        {
            let mut wakers = lock(&self.wakers);
            let there = wakers.place(direction).as_ref();
            if !mark.has(NAMED) && there.is_some_and(|there| there.will_wake(waker)) {
                return;
            }
        }
        // Cloning and dropping wakers is user code: not under the lock.
        let waker = waker.clone();
        let old = {
            let mut wakers = lock(&self.wakers);
            let old = wakers.place(direction).replace(waker);
            match old {
                Some(waker) if mark.has(NAMED) => {
                    let name = Name::placed(direction.mask(), mark.count());
                    wakers.listed.get_or_insert_default().waiters.push(Waiter { name, waker });
                    mark.set(&mut wakers, mark.get() & !NAMED | LISTED);
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
        if let Some(direction) = direction_of(mask)
            && wakers.place(direction).is_none()
        {
            *wakers.place(direction) = Some(waker);
            let mark = self.mark(direction);
            let counted = (mark.get() & !NAMED).wrapping_add(1 << COUNT_SHIFT);
            mark.set(&mut wakers, counted | NAMED);
            return Name::placed(mask, mark.count());
        }
        let listed = wakers.listed.get_or_insert_default();
        listed.count += 1;
        let name = Name::listed(mask, listed.count);
        listed.waiters.push(Waiter { name, waker });
        self.read.set(&mut wakers, self.read.get() | LISTED);
        name
    }

    /// Gives a waiter another waker. False if it was woken, and thereby taken out, meanwhile.
    #[must_use]
    pub(crate) fn update(&self, name: Name, waker: &Waker) -> bool {
        match self.find(&mut lock(&self.wakers), name) {
            None => return false,
            Some(there) if there.will_wake(waker) => return true,
            Some(_) => {}
        }
        let mut waker = waker.clone();
        match self.find(&mut lock(&self.wakers), name) {
            None => return false,
            Some(there) => std::mem::swap(there, &mut waker),
        }
        true
    }

    /// The waker of a named waiter, wherever it is.
    fn find<'a>(&self, wakers: &'a mut MutexGuard<'_, Wakers>, name: Name) -> Option<&'a mut Waker> {
        match self.sits(name) {
            Some(direction) => wakers.place(direction).as_mut(),
            None => {
                wakers.listed().iter_mut().find(|waiter| waiter.name == name).map(|waiter| &mut waiter.waker)
            }
        }
    }

    /// False if no named waiter is left to [`remove`](Self::remove). Doesn't take the lock.
    #[inline]
    pub(crate) fn any_named(&self) -> bool {
        (self.read.get() | self.write.get()) & (NAMED | LISTED) != 0
    }

    /// Takes a waiter out, if it still is there.
    pub(crate) fn remove(&self, name: Name) {
        let waker = {
            let mut wakers = lock(&self.wakers);
            match self.sits(name) {
                Some(direction) => self.take(&mut wakers, direction),
                None => {
                    let waiter = wakers.take_listed(name);
                    self.look_at_list(&mut wakers);
                    waiter.map(|waiter| waiter.waker)
                }
            }
        };
        drop(waker);
    }

    /// Empties a place.
    fn take(&self, wakers: &mut MutexGuard<'_, Wakers>, direction: Direction) -> Option<Waker> {
        let mark = self.mark(direction);
        if mark.has(NAMED) {
            mark.set(wakers, mark.get() & !NAMED);
        }
        wakers.place(direction).take()
    }

    /// Some were taken off the list.
    fn look_at_list(&self, wakers: &mut MutexGuard<'_, Wakers>) {
        if wakers.listed().is_empty() {
            for mark in [&self.read, &self.write] {
                mark.set(wakers, mark.get() & !LISTED);
            }
        }
    }

    /// Wakes whoever waits for one of these events.
    pub(crate) fn wake(&self, events: Events) {
        let mut batch = WakeBatch::new();
        self.gather(events, &mut batch);
        batch.wake();
    }

    /// Takes the wakers of those who wait for one of these events into `batch`, which has room for [`PLACES`]; those on the list are woken here.
    #[inline]
    pub(crate) fn gather(&self, events: Events, batch: &mut WakeBatch) {
        let mut wakers = lock(&self.wakers);
        for direction in [Direction::Read, Direction::Write] {
            if events.intersects(direction.mask())
                && let Some(waker) = self.take(&mut wakers, direction)
            {
                batch.push(waker);
            }
        }
        let listed = wakers.listed().iter().any(|waiter| waiter.hears(events));
        drop(wakers);
        if listed {
            self.wake_listed(events);
        }
    }

    /// Wakes everybody, whatever they wait for.
    pub(crate) fn wake_all(&self) {
        self.wake(Events::all());
    }

    /// Shows the pointers of all wakers, and what they wait for: reading, writing.
    pub(crate) fn for_each_waiter(&self, mut f: impl FnMut(*const (), bool, bool)) {
        let mut wakers = lock(&self.wakers);
        for direction in [Direction::Read, Direction::Write] {
            if let Some(waker) = wakers.place(direction) {
                f(waker.data(), direction == Direction::Read, direction == Direction::Write);
            }
        }
        for waiter in wakers.listed() {
            let [read, write] = [Direction::Read, Direction::Write].map(|side| waiter.hears(side.mask()));
            f(waiter.waker.data(), read, write);
        }
    }

    /// Forgets everybody, unwoken.
    pub(crate) fn clear(&self) {
        let (reader, writer, listed) = {
            let mut wakers = lock(&self.wakers);
            let reader = self.take(&mut wakers, Direction::Read);
            let writer = self.take(&mut wakers, Direction::Write);
            let listed = wakers.listed.take();
            self.look_at_list(&mut wakers);
            (reader, writer, listed)
        };
        drop((reader, writer, listed));
    }

    fn wake_listed(&self, events: Events) {
        loop {
            let mut batch = WakeBatch::new();
            let mut wakers = lock(&self.wakers);
            let mut at = 0;
            while !batch.is_full()
                && let Some(waiter) = wakers.next_listed(events, &mut at)
            {
                batch.push(waiter.waker);
            }
            self.look_at_list(&mut wakers);
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
