//! Slots with numbered keys: what an event carries through the kernel and back is a number, and an answer for a socket that was
//! closed must not reach the one that came after it.
//!
//! ```text
//!   key = generation (high 32 bits) | index (low 32 bits)
//!
//!   index 0..64 │ 64..192 │ 192..448 │ ...     pages of 64 << n slots, made when first needed, kept until the slab is dropped
//!
//!              acquire (free list)                    release: generation + 1
//!     (free) ──────────────────────► Taken (key live) ───────────────────────► (free; every older key is stale)
//! ```
//!
//! Pages never move and are never freed, so `get` takes no lock: it finds the page, compares the generation and lends the slot. The
//! values stay in their slots from use to use; whoever releases a slot leaves the value as a new one should be. A slot released
//! between the comparison and the use is lent nevertheless: it is free or its successor's, and what is done to it must be harmless
//! there. (Here: waking somebody for nothing.)

use crate::sync::{AtomicU64, Mutex, Ordering, lock};
use std::{io, sync::OnceLock};

/// Slots of the first page. A guess: a small server's sockets, 5 KiB.
const FIRST_PAGE: usize = 64;
/// Pages double: with 26 of them every 32-bit index but the last 64 has its place.
const PAGES: usize = 26;

/// One generation, in a key: the lowest bit above the index. It is set in the keys of taken slots.
const GENERATION: u64 = 1 << 32;

/// See the module's text.
pub(crate) struct Slab<T> {
    /// std's `OnceLock`, not the `sync` module's: it is the page's publication, and nothing here is checked by loom.
    pages: [OnceLock<Box<[Slot<T>]>>; PAGES],
    free: Mutex<Free>,
}

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
            pages: [const { OnceLock::new() }; PAGES],
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
                    if locate(index).0 >= PAGES {
                        return Err(io::ErrorKind::OutOfMemory.into());
                    }
                    free.unused += 1;
                    index
                }
            }
        };
        let (page, offset) = locate(index);
        // This thread alone has the index: nobody else changes the word. Release: what earlier owners did to the value was ordered by
        // the lock, and goes on to whoever gets the new key.
        let slot = &self.page(page)[offset];
        let key = slot.key.load(Ordering::Relaxed).wrapping_add(GENERATION);
        slot.key.store(key, Ordering::Release);
        Ok(key)
    }

    /// The slot of a key that wasn't released. Takes no lock.
    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        let slot = self.slot(key)?;
        (is_taken(key) && slot.key.load(Ordering::Acquire) == key).then_some(&slot.value)
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
        let unused = lock(&self.free).unused;
        let pages = unused.checked_sub(1).map_or(0, |last| locate(last).0 + 1);
        (0..pages).flat_map(|page| self.page(page)).map(|slot| &slot.value)
    }

    /// A page, made if this is the first time that it is needed.
    fn page(&self, page: usize) -> &[Slot<T>] {
        self.pages[page].get_or_init(|| {
            let size = (FIRST_PAGE << page) as u64;
            let first = size - FIRST_PAGE as u64;
            let slot = |offset| Slot { key: AtomicU64::new(first + offset), value: T::default() };
            (0..size).map(slot).collect()
        })
    }

    fn slot(&self, key: u64) -> Option<&Slot<T>> {
        let (page, offset) = locate(key as u32);
        self.pages.get(page)?.get()?.get(offset)
    }
}

/// Whether a key is one that `acquire` gives out, and not what a free slot holds.
fn is_taken(key: u64) -> bool {
    key & GENERATION != 0
}

/// Page and offset of an index. Shifted by the first page's size, page `n` is the indexes with their highest bit at `6 + n`.
fn locate(index: u32) -> (usize, usize) {
    let shifted = u64::from(index) + FIRST_PAGE as u64;
    let page = (shifted.ilog2() - FIRST_PAGE.ilog2()) as usize;
    (page, (shifted - ((FIRST_PAGE as u64) << page)) as usize)
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
        assert_eq!(locate(0), (0, 0));
        assert_eq!(locate(63), (0, 63));
        assert_eq!(locate(64), (1, 0));
        assert_eq!(locate(191), (1, 127));
        assert_eq!(locate(192), (2, 0));
        assert_eq!(locate(u32::MAX - 64), (PAGES - 1, (FIRST_PAGE << (PAGES - 1)) - 1));
        assert_eq!(locate(u32::MAX - 63).0, PAGES);
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
        assert_eq!(slab.all().count(), 64 + 128);
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
        assert_eq!(slab.all().count(), 64 + 128 + 256 + 512 + 1_024);
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
            stop.store(true, Ordering::Relaxed);
        });
        assert!(lock(&slab.free).released.len() <= 4, "more slots than there ever were owners");
    }
}
