//! The timing wheel: which timers are due, and when to look again. A plain data structure: no clock, no thread, no waker.
//!
//! Time is counted in ticks since the wheel's start; [`super::driver`] converts. Six levels of 64 slots: a slot of level 0 spans one
//! tick, a slot of level `n` spans `64^n`. An entry lives on the level of the highest 6-bit group in which its due tick differs from
//! `elapsed`, so everything on a level is due before anything on the next one, and the first occupied slot of the lowest
//! occupied level is where to look.
//!
//! ```text
//!              insert                            its slot is reached, due <= elapsed
//!   (free) ──────────────► Filed(level, slot) ───────────────────────────────────────► value handed out, (free)
//!     ▲                     │  ▲   │   ▲                          remove: the same from any state
//!     │  due == NEVER       │  └───┘   │ its slot is reached, due > elapsed: filed anew, nearer
//!     └──────► Parked ◄─────┘          │ reset to an earlier tick: filed anew
//!                 └────────────────────┘ reset to a tick
//!
//!   reset to a later tick: only `due` is written. The entry stays in its slot, and is filed anew when that slot is reached.
//! ```
//!
//! Entries sit in one vector and are linked by index; a key is index and generation, so that a key whose timer fired or was
//! removed is told from its successor's. (A generation repeats after 2^32 uses of one slot: a key would have to outlive them.)
//!
//! Costs: `insert`, `reset` and `remove` are O(1); an entry is moved at most once a level before it fires, and once more for each
//! time its slot is reached after a reset. `next_due` looks at one bitmap a level and at no more than [`LOOKAHEAD`] entries.

/// log2 of the number of slots on a level: one machine word of occupancy a level.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_MASK: u64 = SLOTS as u64 - 1;
/// With ticks of 131 us six levels span 104 days; what is due later is filed in the last slot in reach and filed anew from there.
const LEVELS: usize = 6;
const TOP: usize = LEVELS - 1;

/// How many entries of the first slot `next_due` reads to tell the due tick exactly instead of the slot's start. A guess: enough that
/// an idle worker with a few timers isn't woken only to move one, too few to cost more than such a wake.
const LOOKAHEAD: usize = 8;

/// The due tick of a timer that is never due.
pub(crate) const NEVER: u64 = u64::MAX;

/// No entry: the end of a list.
const NONE: u32 = u32::MAX;
/// `home` of an entry that is never due and therefore in no slot.
const PARKED: u16 = u16::MAX;

/// Names one inserted timer until it has fired or was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

/// What [`Wheel::advance`] left undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Progress {
    /// Everything due was handed out.
    Done,
    /// The limit was reached; more may be due.
    More,
}

struct Entry<T> {
    /// When it is due. May be later than its slot says: see the module's text on `reset`.
    due: u64,
    /// Next in the slot's list, or in the free list.
    next: u32,
    /// Previous in the slot's list; `NONE` for the first.
    prev: u32,
    generation: u32,
    /// `level * 64 + slot`, or `PARKED`.
    home: u16,
    /// `None` in a free entry.
    value: Option<T>,
}

/// See the module's text.
pub(crate) struct Wheel<T> {
    /// Everything due at or before this tick was handed out, but for entries of the slot of level 0 that it names.
    elapsed: u64,
    /// One bit a slot: its list isn't empty.
    occupied: [u64; LEVELS],
    heads: [u32; SLOTS * LEVELS],
    /// The slot above level 0 that is being filed anew, when `advance` stopped in the middle of it. Its start is `elapsed`.
    cascading: Option<u16>,
    entries: Vec<Entry<T>>,
    free: u32,
    live: usize,
}

impl<T> Wheel<T> {
    pub(crate) fn new() -> Self {
        Self {
            elapsed: 0,
            occupied: [0; LEVELS],
            heads: [NONE; SLOTS * LEVELS],
            cascading: None,
            entries: Vec::new(),
            free: NONE,
            live: 0,
        }
    }

    /// How many timers wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Files a timer. One that is due already is handed out by the next `advance`.
    ///
    /// `now` lets an empty wheel catch up with the clock first, so that the new entry isn't filed farther out than it is.
    pub(crate) fn insert(&mut self, now: u64, due: u64, value: T) -> Key {
        if self.live == 0 {
            self.elapsed = self.elapsed.max(now.min(due));
            self.cascading = None;
        }
        self.live += 1;
        let index = if self.free == NONE {
            let index = u32::try_from(self.entries.len()).unwrap_or(NONE);
            assert!(index != NONE, "more than 2^32 - 1 timers on one worker");
            self.entries.push(Entry {
                due,
                next: NONE,
                prev: NONE,
                generation: 0,
                home: PARKED,
                value: Some(value),
            });
            index
        } else {
            let index = self.free;
            let entry = &mut self.entries[index as usize];
            self.free = entry.next;
            entry.due = due;
            entry.value = Some(value);
            index
        };
        self.link(index);
        Key { index, generation: self.entries[index as usize].generation }
    }

    /// The value of a timer that neither fired nor was removed.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation == key.generation { entry.value.as_mut() } else { None }
    }

    /// Moves a timer; false if it fired or was removed. A move to a later tick writes one word.
    #[must_use]
    pub(crate) fn reset(&mut self, key: Key, due: u64) -> bool {
        if self.get_mut(key).is_none() {
            return false;
        }
        let place = self.place(due);
        let entry = &mut self.entries[key.index as usize];
        let stays = if entry.home == PARKED { due == NEVER } else { due >= entry.due || entry.home == place };
        entry.due = due;
        if !stays {
            self.unlink(key.index);
            self.link(key.index);
        }
        true
    }

    /// Takes a timer out; `None` if it fired or was removed.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get_mut(key)?;
        self.unlink(key.index);
        self.release(key.index)
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
            // Ends: an entry that isn't handed out is due after `elapsed`, and then filed in another slot than this one.
            while self.heads[home as usize] != NONE {
                if limit == 0 {
                    self.cascading = (home as usize >= SLOTS).then_some(home);
                    return Progress::More;
                }
                limit -= 1;
                let index = self.heads[home as usize];
                self.unlink(index);
                if self.entries[index as usize].due <= self.elapsed {
                    if let Some(value) = self.release(index) {
                        sink(value);
                    }
                } else {
                    self.link(index);
                }
            }
        }
    }

    /// A tick at which to call `advance` next: never after the earliest due tick, and after `elapsed` unless something is due
    /// now. It may be early, when entries have to be filed anew or were reset or removed. `None`: nothing will be due.
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
        let mut index = self.heads[home as usize];
        for _ in 0..LOOKAHEAD {
            let entry = &self.entries[index as usize];
            earliest = earliest.min(entry.due);
            index = entry.next;
            if index == NONE {
                return Some(earliest);
            }
        }
        Some(start)
    }

    /// The values of all timers that wait, in no order.
    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        self.entries.into_iter().filter_map(|entry| entry.value)
    }

    /// The first occupied slot, and the tick at which it starts.
    fn first_slot(&self) -> Option<(u16, u64)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let shift = SLOT_BITS * level as u32;
        let current = self.elapsed >> shift;
        // Only on the top level slots wrap around; below it they are all ahead.
        let ahead = self.occupied[level].rotate_right((current & SLOT_MASK) as u32).trailing_zeros();
        let position = current + u64::from(ahead);
        Some((home(level, position & SLOT_MASK), position << shift))
    }

    /// The slot an entry that is due then belongs in.
    fn place(&self, due: u64) -> u16 {
        if due == NEVER {
            return PARKED;
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

    fn link(&mut self, index: u32) {
        let place = self.place(self.entries[index as usize].due);
        let mut next = NONE;
        if place != PARKED {
            next = std::mem::replace(&mut self.heads[place as usize], index);
            self.occupied[place as usize / SLOTS] |= 1 << (place as usize % SLOTS);
            if next != NONE {
                self.entries[next as usize].prev = index;
            }
        }
        let entry = &mut self.entries[index as usize];
        entry.home = place;
        entry.prev = NONE;
        entry.next = next;
    }

    fn unlink(&mut self, index: u32) {
        let Entry { home, prev, next, .. } = self.entries[index as usize];
        if home == PARKED {
            return;
        }
        if next != NONE {
            self.entries[next as usize].prev = prev;
        }
        if prev != NONE {
            self.entries[prev as usize].next = next;
            return;
        }
        self.heads[home as usize] = next;
        if next == NONE {
            self.occupied[home as usize / SLOTS] &= !(1 << (home as usize % SLOTS));
        }
    }

    /// Frees an unlinked entry and outdates its keys.
    fn release(&mut self, index: u32) -> Option<T> {
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = std::mem::replace(&mut self.free, index);
        self.live -= 1;
        entry.value.take()
    }
}

fn home(level: usize, slot: u64) -> u16 {
    (level * SLOTS) as u16 + slot as u16
}

#[cfg(all(test, not(egret_loom)))]
#[path = "wheel_tests.rs"]
mod tests;
