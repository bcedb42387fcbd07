//! The timing wheel: which timers are due, and when to look again. A plain data structure: no clock, no thread, no waker.
//!
//! Time is counted in ticks; [`super::clock`] converts. Six levels of 64 slots: a slot of level 0 spans one
//! tick, a slot of level `n` spans `64^n`. An entry lives on the level of the highest 6-bit group in which its due tick differs from
//! `elapsed`, so everything on a level is due before anything on the next one, and the first occupied slot of the lowest
//! occupied level is where to look.
//!
//! ```text
//!   free    ── insert ──► waiting  ── advance: due ──────────────────────────► fired ── release ──► free
//!   (Empty)               (Waits)  ── release ──► free, stays in its slot        (Empty)
//!
//!   place, of any entry:   loose ── insert, reset ──► in a slot ── the slot is reached ──┬─► loose: fired, or free
//!                                                        ▲  ▲                            └─► a nearer slot: due later
//!                                     to an earlier slot └──┘ reset, or insert into a free entry that is still in a slot
//! ```
//!
//! **An entry belongs to whoever inserted it until `release`**, fired or not: an index needs no generation, and can't meet a successor.
//!
//! **Later is free.** The due ticks lie apart from the entries, in blocks of atomics that the owners of the timers hold, too: to a later tick
//! an owner moves its timer by a store, without the wheel (and without whatever lock is around it). The entry stays in its slot, and is filed
//! anew when that slot is reached. Nobody else writes a due tick.
//!
//! **So is cancelling.** A released entry stays in its slot, and is the first to be used again. If its slot comes no later than its new due tick,
//! as it does for one timeout after another, nothing needs to be filed at all. Since free entries are always used before new ones are made,
//! there are never more than there were timers at once; a slot that is reached lets its free entries go.
//!
//! What a slot is made of: see [`super::slots`].
//!
//! Costs: `insert`, `reset` and `release` are O(1); an entry is moved at most once a level before it fires, and once more for each
//! time its slot is reached after a move to a later tick. `next_due` looks at one bitmap a level and at no more than [`LOOKAHEAD`] entries.

use super::slots::{Filed, LOOSE, SLOT_BITS, SLOT_MASK, SLOTS, Slots, TOP, home};
use crate::prefetch::prefetch;
use crate::sync::{Arc, AtomicU64, Ordering};

/// How many entries of the first slot `next_due` reads to tell the due tick exactly instead of the slot's start. A guess: enough that
/// an idle worker with a few timers isn't woken only to move one, too few to cost more than such a wake.
const LOOKAHEAD: usize = 8;

/// So many entries ahead of the one that is handed out or moved are being loaded. A guess: two misses each, about as many as a core has under way.
const AHEAD: usize = 8;

/// Cells in a block: 4 KiB, a guess between a worker with one timer and the number of blocks that a million take.
#[cfg(not(egret_loom))]
const BLOCK: usize = 256;
/// A model pays for each atomic.
#[cfg(egret_loom)]
const BLOCK: usize = 2;

/// The due tick of a timer that is never due.
pub(crate) const NEVER: u64 = u64::MAX;

/// No entry: the end of the list.
const NONE: u32 = u32::MAX;
/// In place of a link between free entries: it fired, and its owner hasn't released it yet.
const FIRED: u32 = u32::MAX - 1;

/// What [`Wheel::advance`] left undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Progress {
    /// Everything due was handed out.
    Done,
    /// The limit was reached; more may be due.
    More,
}

/// Names a timer. Whoever holds it owns the timer's entry, until it gives it back with [`Wheel::release`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Index(u32);

/// The due ticks of some neighbouring timers, and what else their owners want to reach through it.
pub(crate) struct Block<O> {
    pub(crate) owner: O,
    cells: [Cell; BLOCK],
}

/// What of an entry is looked at when a slot is reached.
struct Cell {
    /// When it is due; `NEVER` also for a free entry. May be later than its slot says: see the module's text.
    due: AtomicU64,
    /// Its [`Filed`] as a word. Only the wheel's: an atomic to lie beside the due tick.
    filed: AtomicU64,
}

impl<O> Block<O> {
    fn new(owner: O) -> Self {
        let cell = |_| Cell { due: AtomicU64::new(NEVER), filed: AtomicU64::new(Filed::LOOSE.into_word()) };
        Self { owner, cells: std::array::from_fn(cell) }
    }

    /// Moves a timer to a later tick (or the same), whether it has fired or not. To an earlier one use [`Wheel::reset`].
    pub(crate) fn put_off(&self, index: &Index, due: u64) {
        self.cell(index.0).set_due(due);
    }

    fn cell(&self, index: u32) -> &Cell {
        &self.cells[index as usize % BLOCK]
    }
}

impl Cell {
    // Relaxed: a tick stands for nothing but itself, and an old one makes an owner only look too early. The place is the wheel's own.
    fn due(&self) -> u64 {
        self.due.load(Ordering::Relaxed)
    }

    fn set_due(&self, due: u64) {
        self.due.store(due, Ordering::Relaxed);
    }

    fn filed(&self) -> Filed {
        Filed::from_word(self.filed.load(Ordering::Relaxed))
    }

    fn set_filed(&self, filed: Filed) {
        self.filed.store(filed.into_word(), Ordering::Relaxed);
    }
}

enum Value<T> {
    /// What is handed out when the timer is due.
    Waits(T),
    /// `FIRED`, or the next free entry.
    Empty(u32),
}

/// See the module's text.
pub(crate) struct Wheel<T, O> {
    /// Everything due at or before this tick was handed out, but for entries of the slot of level 0 that it names.
    elapsed: u64,
    slots: Slots,
    /// The slot above level 0 that is being filed anew, when `advance` stopped in the middle of it. Its start is `elapsed`.
    cascading: Option<u16>,
    /// An entry is a value,
    values: Vec<Value<T>>,
    /// and a cell.
    blocks: Vec<Arc<Block<O>>>,
    free: u32,
}

impl<T, O> Wheel<T, O> {
    /// An empty wheel. It goes by ticks from `now` on.
    pub(crate) fn new(now: u64) -> Self {
        Self {
            elapsed: now,
            slots: Slots::new(),
            cascading: None,
            values: Vec::new(),
            blocks: Vec::new(),
            free: NONE,
        }
    }

    /// How many timers wait. Looks at all.
    pub(crate) fn len(&self) -> usize {
        self.values.iter().filter(|value| matches!(value, Value::Waits(_))).count()
    }

    /// Files a timer. One that is due already is handed out by the next `advance`.
    ///
    /// `now`, which may be a while ago, lets an empty wheel catch up with the clock, so that the new entry isn't filed farther out than it is.
    /// `owner` makes what is kept with a new block.
    pub(crate) fn insert(&mut self, now: u64, due: u64, value: T, owner: impl FnOnce() -> O) -> Index {
        if self.slots.filed() == 0 {
            self.elapsed = self.elapsed.max(now.min(due));
            // If its slot was being emptied nothing is left in there, and it no longer starts at `elapsed`.
            self.cascading = None;
        }
        let index = self.free;
        if index == NONE {
            return self.insert_new(due, value, owner);
        }
        if let Value::Empty(next) = std::mem::replace(&mut self.values[index as usize], Value::Waits(value)) {
            self.free = next;
        }
        self.move_to(index, due);
        Index(index)
    }

    fn insert_new(&mut self, due: u64, value: T, owner: impl FnOnce() -> O) -> Index {
        let index = u32::try_from(self.values.len()).unwrap_or(FIRED);
        assert!(index < FIRED, "more than 2^32 - 2 timers on one worker");
        if index as usize / BLOCK == self.blocks.len() {
            self.add_block(owner());
        }
        self.values.push(Value::Waits(value));
        self.move_to(index, due);
        Index(index)
    }

    /// Apart, because a block is made on the stack: an insertion that makes none shall not have one in its frame.
    #[cold]
    #[inline(never)]
    fn add_block(&mut self, owner: O) {
        self.blocks.push(Arc::new(Block::new(owner)));
    }

    /// The block that a timer's due tick is in.
    pub(crate) fn block(&self, index: &Index) -> &Arc<Block<O>> {
        &self.blocks[index.0 as usize / BLOCK]
    }

    /// The value of a timer; none if it has fired.
    pub(crate) fn get_mut(&mut self, index: &Index) -> Option<&mut T> {
        match &mut self.values[index.0 as usize] {
            Value::Waits(value) => Some(value),
            Value::Empty(_) => None,
        }
    }

    /// Moves a timer; false if it has fired.
    #[must_use]
    pub(crate) fn reset(&mut self, index: &Index, due: u64) -> bool {
        let waits = self.get_mut(index).is_some();
        if waits {
            self.move_to(index.0, due);
        }
        waits
    }

    /// Takes a timer back; the value if it hasn't fired. The index means nothing any more.
    pub(crate) fn release(&mut self, index: &Index) -> Option<T> {
        self.cell(index.0).set_due(NEVER);
        let value = &mut self.values[index.0 as usize];
        let before = std::mem::replace(value, Value::Empty(self.free));
        self.free = index.0;
        match before {
            Value::Waits(value) => Some(value),
            Value::Empty(_) => None,
        }
    }

    /// Everything that is due at or before this tick has fired, but for what is about to.
    pub(crate) fn elapsed(&self) -> u64 {
        self.elapsed
    }

    /// Hands every timer due at or before `now` to `sink`, earlier ticks first (no order within a tick). Stops after `limit`
    /// entries were handed out or moved, so that a lock around the wheel is never held for long; call again for the rest.
    pub(crate) fn advance(&mut self, now: u64, mut limit: usize, sink: &mut impl FnMut(T)) -> Progress {
        loop {
            let home = match self.cascading.take() {
                Some(home) => home,
                None => match self.first_slot() {
                    Some((home, start)) if start <= now => {
                        self.elapsed = start;
                        home
                    }
                    _ => {
                        // No slot starts at or before `now`: `elapsed` can't jump over an entry.
                        self.elapsed = self.elapsed.max(now);
                        return Progress::Done;
                    }
                },
            };
            if self.empty_slot(home, &mut limit, sink) == Progress::More {
                self.cascading = (home as usize >= SLOTS).then_some(home);
                return Progress::More;
            }
        }
    }

    /// Hands out or files anew what is in a slot, whose start `elapsed` is.
    fn empty_slot(&mut self, home: u16, limit: &mut usize, sink: &mut impl FnMut(T)) -> Progress {
        for others in 0..AHEAD {
            self.prefetch(home, others);
        }
        // Ends: an entry that isn't handed out is due after `elapsed`, and then filed in another slot than this one.
        while !self.slots.is_empty(home) {
            if *limit == 0 {
                return Progress::More;
            }
            *limit -= 1;
            self.slots.prefetch_below(home);
            self.prefetch(home, AHEAD);
            let index = self.slots.pop(home);
            let due = self.cell(index).due();
            if due > self.elapsed {
                let place = self.place(due);
                self.push(index, place);
                continue;
            }
            self.cell(index).set_filed(Filed::LOOSE);
            let value = std::mem::replace(&mut self.values[index as usize], Value::Empty(FIRED));
            if let Value::Waits(value) = value {
                sink(value);
            }
        }
        Progress::Done
    }

    /// Begins to load the entry that comes after that many others of a slot.
    #[inline]
    fn prefetch(&self, home: u16, others: usize) {
        if !self.slots.is_empty(home)
            && let Some(index) = self.slots.ahead(home, others)
        {
            prefetch(&raw const self.values[index as usize]);
            prefetch(self.cell(index));
        }
    }

    /// A tick at which to call `advance` next: never after the earliest due tick, and after `elapsed` unless something is due
    /// now. It may be early, when entries have to be filed anew or were reset or released. `None`: nothing will be due.
    pub(crate) fn next_due(&self) -> Option<u64> {
        if self.cascading.is_some() {
            return Some(self.elapsed);
        }
        let (home, start) = self.first_slot()?;
        let level = home as usize / SLOTS;
        if level == 0 {
            return Some(start);
        }
        // The next slot starts where this one ends, whatever the entries of this one were reset to.
        let mut earliest = start + (1 << (SLOT_BITS * level as u32));
        let Some(indices) = self.slots.few(home).filter(|indices| indices.len() <= LOOKAHEAD) else {
            return Some(start);
        };
        for index in indices {
            earliest = earliest.min(self.cell(*index).due());
        }
        Some(earliest)
    }

    /// All timers that wait, and when they are due, in no order.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (&T, u64)> {
        self.values.iter().enumerate().filter_map(|(index, value)| match value {
            Value::Waits(value) => Some((value, self.cell(index as u32).due())),
            Value::Empty(_) => None,
        })
    }

    /// The values of all timers that wait, in no order.
    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        self.values.into_iter().filter_map(|value| match value {
            Value::Waits(value) => Some(value),
            Value::Empty(_) => None,
        })
    }

    /// The first occupied slot, and the tick at which it starts.
    fn first_slot(&self) -> Option<(u16, u64)> {
        let level = self.slots.occupied().iter().position(|&slots| slots != 0)?;
        let shift = SLOT_BITS * level as u32;
        let current = self.elapsed >> shift;
        // Only on the top level slots wrap around; below it they are all ahead.
        let ahead = self.slots.occupied()[level].rotate_right((current & SLOT_MASK) as u32).trailing_zeros();
        let position = current + u64::from(ahead);
        Some((home(level, position & SLOT_MASK), position << shift))
    }

    /// The slot an entry that is due then belongs in; `LOOSE` if it is never due.
    fn place(&self, due: u64) -> u16 {
        if due == NEVER {
            return LOOSE;
        }
        let due = due.max(self.elapsed);
        let differing = (self.elapsed ^ due) | SLOT_MASK;
        let level = (differing.ilog2() / SLOT_BITS) as usize;
        if level < TOP {
            return home(level, (due >> (SLOT_BITS * level as u32)) & SLOT_MASK);
        }
        let shift = SLOT_BITS * TOP as u32;
        let current = self.elapsed >> shift;
        let ahead = ((due >> shift) - current).min(SLOT_MASK);
        home(TOP, (current + ahead) & SLOT_MASK)
    }

    /// Makes an entry due then, and sees to it that it is in a slot that is reached in time.
    fn move_to(&mut self, index: u32, due: u64) {
        let place = self.place(due);
        let cell = self.cell(index);
        cell.set_due(due);
        let filed = cell.filed();
        // Slots are numbered in the order in which they are reached, but for those of the top level, where the count wraps around. `LOOSE`
        // is beyond them all: what is never due may stay where it is.
        let in_time = filed.home == place || (usize::from(filed.home) < TOP * SLOTS && filed.home < place);
        if !in_time {
            if filed.home != LOOSE {
                let last = self.slots.take_out(filed);
                self.cell(last).set_filed(filed);
            }
            // After that, for it may itself have been the last.
            self.push(index, place);
        }
    }

    /// Puts an entry that is in no slot into one; in none, if `home` is `LOOSE`.
    fn push(&mut self, index: u32, home: u16) {
        if home == LOOSE {
            self.cell(index).set_filed(Filed::LOOSE);
            return;
        }
        let filed = self.slots.push(index, home);
        self.cell(index).set_filed(filed);
    }

    fn cell(&self, index: u32) -> &Cell {
        self.blocks[index as usize / BLOCK].cell(index)
    }
}

#[cfg(all(test, not(egret_loom)))]
#[path = "wheel_tests.rs"]
mod tests;
