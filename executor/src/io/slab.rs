//! Slots with numbered keys: what an event carries through the kernel and back is a number, and an answer for a socket that was
//! closed must not reach the one that came after it.
//!
//! ```text
//!   key = generation (high 32 bits) | index (low 32 bits)
//!
//!   shelf 0      shelf 1                shelf 2                           shelf n: 2^n pages of 64 slots; shelves and pages are
//!   index 0..64 │ 64..128 │ 128..192 │ 192..256 │ 256..320 │ ...          made when first needed, kept until the slab is dropped
//!
//!              acquire (free list)                    release: generation + 1
//!     (free) ──────────────────────► Taken (key live) ───────────────────────► (free; every older key is stale)
//! ```
//!
//! Pages never move and are never freed, so `get` takes no lock: it finds the page, compares the generation and lends the slot. The
//! values stay in their slots from use to use; whoever releases a slot leaves the value as a new one should be. A slot released
//! between the comparison and the use is lent nevertheless: it is free or its successor's, and what is done to it must be harmless
//! there. (Here: waking somebody for nothing.)

use crate::prefetch::prefetch;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};
use std::{io, sync::OnceLock};

/// Slots of a page. A guess: a small server's sockets, 4 KiB. (Pages that double instead would be empty by half.)
const PAGE: usize = 64;
/// Shelves double: with 26 of them every 32-bit index but the last 64 has its place.
const SHELVES: usize = 26;

/// One generation, in a key: the lowest bit above the index. It is set in the keys of taken slots.
const GENERATION: u64 = 1 << 32;

/// See the module's text.
pub(crate) struct Slab<T> {
    /// std's `OnceLock`, not the `sync` module's: it is the page's publication, and nothing here is checked by loom.
    shelves: [OnceLock<Shelf<T>>; SHELVES],
    free: Mutex<Free>,
}

type Shelf<T> = Box<[OnceLock<Page<T>>]>;
type Page<T> = Box<[Slot<T>]>;

/// Of sockets, a cache line.
#[repr(align(64))]
struct Slot<T> {
    /// The slot's key, if it is taken. Its generation is odd then, and even while the slot is free.
    key: AtomicU64,
    value: T,
}

struct Free {
    /// Slots that were released, the latest last: it is the warmest.
    released: Vec<u32>,
    /// All slots from here on were never taken.
    unused: u32,
}

impl<T: Default> Slab<T> {
    pub(crate) fn new() -> Self {
        Self {
            shelves: [const { OnceLock::new() }; SHELVES],
            free: Mutex::new(Free { released: Vec::new(), unused: 0 }),
        }
    }

    /// Takes a slot. Fails with `ENOMEM` when all indexes are taken.
    pub(crate) fn acquire(&self) -> io::Result<u64> {
        let index = {
            let mut free = lock(&self.free);
            match free.released.pop() {
                Some(index) => index,
                None => {
                    let index = free.unused;
                    if locate(index).shelf >= SHELVES {
                        return Err(io::ErrorKind::OutOfMemory.into());
                    }
                    free.unused += 1;
                    index
                }
            }
        };
        let at = locate(index);
        // This thread alone has the index: nobody else changes the word. Release: what earlier owners did to the value was ordered by
        // the lock, and goes on to whoever gets the new key.
        let slot = &self.page(at)[at.slot];
        let key = slot.key.load(Ordering::Relaxed).wrapping_add(GENERATION);
        slot.key.store(key, Ordering::Release);
        Ok(key)
    }

    /// The slot of a key that wasn't released. Takes no lock.
    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        let slot = self.slot(key)?;
        (is_taken(key) && slot.key.load(Ordering::Acquire) == key).then_some(&slot.value)
    }

    /// Begins to load the slot of a key.
    #[inline]
    pub(crate) fn prefetch(&self, key: u64) {
        if let Some(slot) = self.slot(key) {
            prefetch(slot);
        }
    }

    /// Gives a slot back; false if the key was stale already.
    pub(crate) fn release(&self, key: u64) -> bool {
        let Some(slot) = self.slot(key) else {
            return false;
        };
        if !is_taken(key) {
            return false;
        }
        // Who succeeds has the index for itself, until it is on the free list.
        let free = key.wrapping_add(GENERATION);
        if slot.key.compare_exchange(key, free, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        lock(&self.free).released.push(key as u32);
        true
    }

    /// Every slot of every page in use, taken or free.
    ///
    /// An index that was handed out before is among them, even if its owner has yet to make its page: both make it, one of them
    /// succeeds. (Passing over a page that isn't seen yet would pass over the waiter who doesn't see the shutdown yet.)
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.slots().map(|slot| &slot.value)
    }

    /// Those of [`all`](Self::all) that are taken, with their keys.
    pub(crate) fn all_with_keys(&self) -> impl Iterator<Item = (u64, &T)> {
        self.slots()
            .map(|slot| (slot.key.load(Ordering::Acquire), &slot.value))
            .filter(|(key, _)| is_taken(*key))
    }

    fn slots(&self) -> impl Iterator<Item = &Slot<T>> {
        let unused = lock(&self.free).unused;
        (0..unused).step_by(PAGE).flat_map(|first| self.page(locate(first)))
    }

    /// A page, made if this is the first time that it is needed.
    fn page(&self, at: Place) -> &[Slot<T>] {
        let shelf =
            self.shelves[at.shelf].get_or_init(|| (0..1 << at.shelf).map(|_| OnceLock::new()).collect());
        shelf[at.page].get_or_init(|| {
            let first = (((1 << at.shelf) - 1 + at.page) * PAGE) as u64;
            let slot = |offset| Slot { key: AtomicU64::new(first + offset), value: T::default() };
            (0..PAGE as u64).map(slot).collect()
        })
    }

    #[inline]
    fn slot(&self, key: u64) -> Option<&Slot<T>> {
        let at = locate(key as u32);
        self.shelves.get(at.shelf)?.get()?.get(at.page)?.get()?.get(at.slot)
    }
}

/// Whether a key is one that `acquire` gives out, and not what a free slot holds.
fn is_taken(key: u64) -> bool {
    key & GENERATION != 0
}

/// Where an index has its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    shelf: usize,
    /// On the shelf.
    page: usize,
    /// In the page.
    slot: usize,
}

/// Counted from one, a page's shelf is its number's highest bit, and its place there the rest of the number.
#[inline]
fn locate(index: u32) -> Place {
    let page = index as usize / PAGE + 1;
    let shelf = page.ilog2() as usize;
    Place { shelf, page: page - (1 << shelf), slot: index as usize % PAGE }
}

#[cfg(all(test, not(egret_loom)))]
mod tests {
    use super::*;
    use std::{
        collections::HashSet,
        sync::atomic::{AtomicBool, AtomicU64},
        thread,
    };

    #[test]
    fn every_index_has_its_place() {
        let place = |shelf, page, slot| Place { shelf, page, slot };
        assert_eq!(locate(0), place(0, 0, 0));
        assert_eq!(locate(63), place(0, 0, 63));
        assert_eq!(locate(64), place(1, 0, 0));
        assert_eq!(locate(191), place(1, 1, 63));
        assert_eq!(locate(192), place(2, 0, 0));
        assert_eq!(locate(u32::MAX - 64), place(SHELVES - 1, (1 << (SHELVES - 1)) - 1, 63));
        assert_eq!(locate(u32::MAX - 63).shelf, SHELVES);
    }

    #[test]
    fn a_stale_key_finds_nothing() {
        let slab = Slab::<AtomicU64>::new();
        let old = slab.acquire().unwrap();
        assert!(slab.get(old).is_some());
        assert!(slab.release(old));
        assert!(slab.get(old).is_none(), "a free slot");
        let new = slab.acquire().unwrap();
        assert_eq!(old as u32, new as u32, "the slot is used again");
        assert!(slab.get(old).is_none(), "a successor's slot");
        assert!(!slab.release(old));
        assert!(slab.get(new).is_some());
        assert!(slab.get(0).is_none() && slab.get(u64::MAX).is_none() && slab.get(1 << 20).is_none());
        assert!(!slab.release(u64::MAX));
    }

    #[test]
    fn a_page_that_is_still_to_be_made_is_among_all() {
        let slab = Slab::<AtomicU64>::new();
        assert_eq!(slab.all().count(), 0);
        // Where an owner stands between its index and its page.
        lock(&slab.free).unused = 65;
        assert_eq!(slab.all().count(), 2 * 64);
        let key = slab.acquire().unwrap();
        assert_eq!(key as u32, 65);
        slab.get(key).unwrap().store(7, Ordering::Relaxed);
        assert_eq!(slab.all().nth(65).unwrap().load(Ordering::Relaxed), 7);
    }

    #[test]
    fn a_free_slots_generation_is_not_a_key() {
        let slab = Slab::<AtomicU64>::new();
        let key = slab.acquire().unwrap();
        assert!(slab.release(key));
        // What the free slot holds now.
        let forged = key + GENERATION;
        assert!(slab.get(forged).is_none());
        assert!(!slab.release(forged));
    }

    #[test]
    fn keys_are_distinct_across_pages_and_values_keep_their_place() {
        let slab = Slab::<AtomicU64>::new();
        let keys: Vec<_> = (0..1_000).map(|_| slab.acquire().unwrap()).collect();
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
        let address = std::ptr::from_ref(slab.get(keys[0]).unwrap());
        for &key in &keys {
            slab.get(key).unwrap().store(key, Ordering::Relaxed);
        }
        for &key in &keys {
            assert_eq!(slab.get(key).unwrap().load(Ordering::Relaxed), key);
        }
        assert_eq!(std::ptr::from_ref(slab.get(keys[0]).unwrap()), address);
        assert_eq!(slab.all().count(), 16 * 64);
    }

    /// Set when it is dropped, also by a failed assertion: a scope waits for its threads.
    struct Stop<'a>(&'a AtomicBool);

    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Owners that take and release slots while others use keys, live and stale: a key whose owner still holds it always finds the
    /// value its owner wrote, and two owners never share a slot.
    #[test]
    fn stress_get_against_release() {
        let slab = Slab::<AtomicU64>::new();
        let stop = AtomicBool::new(false);
        let published = [const { AtomicU64::new(0) }; 4];
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        for key in &published {
                            if let Some(value) = slab.get(key.load(Ordering::Acquire)) {
                                std::hint::black_box(value.load(Ordering::Relaxed));
                            }
                        }
                    }
                });
            }
            let _stop = Stop(&stop);
            let owners: Vec<_> = published
                .iter()
                .map(|place| {
                    let slab = &slab;
                    scope.spawn(move || {
                        for _ in 0..5_000 {
                            let key = slab.acquire().unwrap();
                            slab.get(key).unwrap().store(key, Ordering::Relaxed);
                            place.store(key, Ordering::Release);
                            assert_eq!(slab.get(key).unwrap().load(Ordering::Relaxed), key);
                            assert!(slab.release(key));
                            assert!(slab.get(key).is_none());
                        }
                    })
                })
                .collect();
            for owner in owners {
                owner.join().unwrap();
            }
        });
        assert!(lock(&slab.free).released.len() <= 4, "more slots than there ever were owners");
    }
}
