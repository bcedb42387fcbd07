//! The slots of the wheel: which entries are in which, by their indices alone.
//!
//! **A slot is a stack of pages** of indices, a cache line each, not a chain of entries: what a slot holds is known without touching it, so that the
//! misses of one entry don't wait for those of the one before. To file an entry anew reads and writes one cell.
//!
//! ```text
//!   slot ─► top page: 1 to 15 indices ─► full page ─► full page
//!   free pages ─► page ─► page
//! ```
//!
//! An entry knows where it is ([`Filed`]), and leaves from the middle of a slot by giving its place to the slot's last.

use crate::prefetch::prefetch;

/// log2 of the number of slots on a level: one machine word of occupancy a level.
pub(super) const SLOT_BITS: u32 = 6;
pub(super) const SLOTS: usize = 1 << SLOT_BITS;
pub(super) const SLOT_MASK: u64 = SLOTS as u64 - 1;
/// With ticks of 131 us six levels span 104 days; what is due later is filed in the last slot in reach and filed anew from there.
pub(super) const LEVELS: usize = 6;
pub(super) const TOP: usize = LEVELS - 1;

/// Indices in a page: with the link a cache line.
pub(super) const PAGE: usize = 15;

/// No page: the end of a list.
const NONE: u32 = u32::MAX;
/// In place of a slot: none.
pub(super) const LOOSE: u16 = u16::MAX;

/// Where an entry is.
#[derive(Clone, Copy)]
pub(super) struct Filed {
    /// See [`home`]; or `LOOSE`.
    pub(super) home: u16,
    page: u32,
    /// Within the page.
    at: u8,
}

impl Filed {
    pub(super) const LOOSE: Self = Self { home: LOOSE, page: NONE, at: 0 };

    pub(super) fn into_word(self) -> u64 {
        u64::from(self.page) | u64::from(self.home) << 32 | u64::from(self.at) << 48
    }

    pub(super) fn from_word(word: u64) -> Self {
        Self { home: (word >> 32) as u16, page: word as u32, at: (word >> 48) as u8 }
    }
}

/// The number of a slot.
pub(super) fn home(level: usize, slot: u64) -> u16 {
    (level * SLOTS) as u16 + slot as u16
}

/// Some of the entries in a slot.
#[repr(align(64))]
pub(super) struct Page {
    /// Next in the slot's stack, or in the free list. That one is full.
    next: u32,
    indices: [u32; PAGE],
}

/// The entries in a slot.
#[derive(Clone, Copy)]
struct Slot {
    /// The page on top of the stack, `NONE` if the slot is empty.
    top: u32,
    /// How many indices are in it: at least one.
    len: u8,
}

/// See the module's text.
pub(super) struct Slots {
    /// One bit a slot: it isn't empty.
    occupied: [u64; LEVELS],
    slots: [Slot; SLOTS * LEVELS],
    pages: Vec<Page>,
    free_page: u32,
    /// Entries in all slots.
    filed: usize,
}

impl Slots {
    pub(super) fn new() -> Self {
        Self {
            occupied: [0; LEVELS],
            slots: [Slot { top: NONE, len: 0 }; SLOTS * LEVELS],
            pages: Vec::new(),
            free_page: NONE,
            filed: 0,
        }
    }

    /// How many entries are in slots.
    #[inline]
    pub(super) fn filed(&self) -> usize {
        self.filed
    }

    /// One bit a slot of each level: it isn't empty.
    #[inline]
    pub(super) fn occupied(&self) -> &[u64; LEVELS] {
        &self.occupied
    }

    #[inline]
    pub(super) fn is_empty(&self, home: u16) -> bool {
        self.slots[home as usize].top == NONE
    }

    /// All that is in a slot, which isn't empty; none if that is more than a page.
    #[inline]
    pub(super) fn few(&self, home: u16) -> Option<&[u32]> {
        let Slot { top, len } = self.slots[home as usize];
        let page = &self.pages[top as usize];
        (page.next == NONE).then_some(&page.indices[..usize::from(len)])
    }

    /// The entry that `pop` takes after that many others, if it is in one of the upper two pages. To be called with slots that aren't empty and
    /// fewer than [`PAGE`] others.
    #[inline]
    pub(super) fn ahead(&self, home: u16, others: usize) -> Option<u32> {
        let Slot { top, len } = self.slots[home as usize];
        let page = &self.pages[top as usize];
        let len = usize::from(len);
        if others < len {
            return Some(page.indices[len - 1 - others]);
        }
        // What lies below the top is full.
        let below = self.pages.get(page.next as usize)?;
        Some(below.indices[PAGE + len - 1 - others])
    }

    /// Begins to load the page below the top one of a slot that isn't empty, when the top one is full.
    #[inline]
    pub(super) fn prefetch_below(&self, home: u16) {
        let Slot { top, len } = self.slots[home as usize];
        if usize::from(len) == PAGE
            && let Some(below) = self.pages.get(self.pages[top as usize].next as usize)
        {
            prefetch(below);
        }
    }

    /// Puts an entry that is in no slot into one. Says where it is now.
    #[inline]
    pub(super) fn push(&mut self, index: u32, home: u16) -> Filed {
        self.filed += 1;
        let Slot { mut top, mut len } = self.slots[home as usize];
        if top == NONE || usize::from(len) == PAGE {
            self.occupied[home as usize / SLOTS] |= 1 << (home as usize % SLOTS);
            top = self.new_page(top);
            len = 0;
        }
        self.pages[top as usize].indices[usize::from(len)] = index;
        self.slots[home as usize] = Slot { top, len: len + 1 };
        Filed { home, page: top, at: len }
    }

    /// Takes the last entry out of a slot that isn't empty.
    #[inline]
    pub(super) fn pop(&mut self, home: u16) -> u32 {
        self.filed -= 1;
        let Slot { top, len } = self.slots[home as usize];
        let page = &mut self.pages[top as usize];
        let index = page.indices[usize::from(len) - 1];
        if len > 1 {
            self.slots[home as usize].len = len - 1;
            return index;
        }
        let next = std::mem::replace(&mut page.next, self.free_page);
        self.free_page = top;
        self.slots[home as usize] = Slot { top: next, len: PAGE as u8 };
        if next == NONE {
            self.occupied[home as usize / SLOTS] &= !(1 << (home as usize % SLOTS));
        }
        index
    }

    /// Takes an entry out of its slot. The slot's last, which may be the same, takes its place: it is the one that is returned.
    #[inline]
    pub(super) fn take_out(&mut self, from: Filed) -> u32 {
        let last = self.pop(from.home);
        // If the last is the entry itself this writes into the room behind the stack's end.
        self.pages[from.page as usize].indices[usize::from(from.at)] = last;
        last
    }

    fn new_page(&mut self, next: u32) -> u32 {
        let page = self.free_page;
        if page == NONE {
            // There are fewer pages than entries.
            let page = self.pages.len() as u32;
            self.pages.push(Page { next, indices: [NONE; PAGE] });
            return page;
        }
        self.free_page = std::mem::replace(&mut self.pages[page as usize].next, next);
        page
    }
}
