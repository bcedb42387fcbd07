//! The run queues: a worker's own (a FIFO deque and a LIFO slot) and the injector that everybody else pushes to.
//!
//! ```text
//!              owner only                               any thread
//!   push_lifo ──► [slot] ──displaced──► caller           steal_slot ◄── [slot]
//!   push ───────► [FIFO deque] ──► pop                   steal_batch ◄── [FIFO deque]   (half, at most 32)
//!                                                        Injector: push, pop, take_share, move_share
//! ```
//!
//! | word | written by |
//! |---|---|
//! | slot: null → item | the owner only (`push_lifo`) |
//! | slot: item → null | whoever swaps it out: the owner (`pop_lifo`, `push_lifo`) or one thief (`steal_slot`) |
//! | deque and injector | crossbeam-deque's own protocol |
//!
//! Every item is handed out exactly once: the slot by an atomic swap, the rest by crossbeam-deque, which no model checker
//! can look into; under `cfg(egret_loom)` a plain mutexed queue of the same shape stands in for it, so that what is built
//! on top can be checked.
//!
//! The deque grows and is never spilled into the injector: thieves take up to 32 of it at a time (crossbeam-deque's limit)
//! wherever it stands, it is first in, first out, and the injector has its own turn every 61st tick (and when tasks yield), so a long
//! local queue starves nobody; moving half of it would be 128 contended pushes to gain nothing. It shrinks again as it empties.

use std::{marker::PhantomData, ptr::NonNull};

use crate::sync::{Arc, AtomicPtr, Ordering, Padded};

/// The most that is taken from the injector at once. tokio takes up to 128; 256 was as good as 512 and better than 32 where
/// long polls lie between two takings.
const SHARE: usize = 256;

/// Something that can live in an atomic pointer.
///
/// # Safety
///
/// `into_ptr` gives up ownership and returns a pointer for which `from_ptr`, called once, on any thread, gives it back.
pub unsafe trait Pointer: Send {
    /// Turns ownership into a pointer.
    fn into_ptr(self) -> NonNull<()>;

    /// Takes ownership back.
    ///
    /// # Safety
    ///
    /// `pointer` came from `into_ptr` of the same type and was not given back before.
    unsafe fn from_ptr(pointer: NonNull<()>) -> Self;
}

// SAFETY: Box::into_raw and Box::from_raw are each other's inverse, and T may be moved to another thread.
unsafe impl<T: Send> Pointer for Box<T> {
    fn into_ptr(self) -> NonNull<()> {
        NonNull::from(Box::leak(self)).cast()
    }

    unsafe fn from_ptr(pointer: NonNull<()>) -> Self {
        // SAFETY: the caller hands in, once, what into_ptr leaked.
        unsafe { Box::from_raw(pointer.cast().as_ptr()) }
    }
}

/// The LIFO slot: at most one item, owned by whoever swaps it out.
struct Slot<T: Pointer> {
    item: AtomicPtr<()>,
    owns: PhantomData<T>,
}

impl<T: Pointer> Slot<T> {
    fn new() -> Self {
        Self { item: AtomicPtr::new(std::ptr::null_mut()), owns: PhantomData }
    }

    /// Puts `item` in (null to empty the slot) and takes ownership of what was there.
    fn swap(&self, item: *mut ()) -> Option<T> {
        // Release publishes the item to a thief, Acquire receives the one that was there.
        let old = NonNull::new(self.item.swap(item, Ordering::AcqRel))?;
        // SAFETY: only `push_lifo` puts pointers in, each fresh from `into_ptr`; the swap took this one out, so nobody
        // else can have it.
        Some(unsafe { T::from_ptr(old) })
    }

    fn is_empty(&self) -> bool {
        self.item.load(Ordering::Relaxed).is_null()
    }
}

impl<T: Pointer> Drop for Slot<T> {
    fn drop(&mut self) {
        drop(self.swap(std::ptr::null_mut()));
    }
}

/// The owner's end of a worker's queue.
pub struct Local<T: Pointer> {
    deque: deque::Worker<T>,
    slot: Arc<Padded<Slot<T>>>,
}

/// The thieves' end of a worker's queue.
pub struct Remote<T: Pointer> {
    stealer: deque::Stealer<T>,
    slot: Arc<Padded<Slot<T>>>,
}

/// Makes the two ends of one worker's queue.
pub fn local<T: Pointer>() -> (Local<T>, Remote<T>) {
    let deque = deque::Worker::new_fifo();
    let stealer = deque.stealer();
    let slot = Arc::new(Padded(Slot::new()));
    (Local { deque, slot: slot.clone() }, Remote { stealer, slot })
}

impl<T: Pointer> Local<T> {
    /// Appends to the deque.
    pub fn push(&self, item: T) {
        self.deque.push(item);
    }

    /// Takes the oldest of the deque.
    pub fn pop(&self) -> Option<T> {
        self.deque.pop()
    }

    /// Puts `item` into the slot and returns the one it displaces.
    #[must_use = "the displaced item must be queued"]
    pub fn push_lifo(&self, item: T) -> Option<T> {
        // Only the owner fills the slot: one that is seen empty stays empty, and a store costs less than a swap.
        if self.slot.is_empty() {
            // Release publishes the item to a thief.
            self.slot.item.store(item.into_ptr().as_ptr(), Ordering::Release);
            return None;
        }
        self.slot.swap(item.into_ptr().as_ptr())
    }

    /// Takes the slot's item.
    pub fn pop_lifo(&self) -> Option<T> {
        // Only the owner fills the slot, so an empty one stays empty and needs no swap.
        if self.slot.is_empty() {
            return None;
        }
        self.slot.swap(std::ptr::null_mut())
    }

    /// How many items wait here, the slot's included.
    pub fn len(&self) -> usize {
        self.deque.len() + usize::from(!self.slot.is_empty())
    }

    /// Whether neither the deque nor the slot holds anything.
    pub fn is_empty(&self) -> bool {
        self.deque.is_empty() && self.slot.is_empty()
    }
}

impl<T: Pointer> Remote<T> {
    /// Moves up to half of the deque into `into`, and one more of it to the caller.
    pub fn steal_batch(&self, into: &Local<T>) -> Option<T> {
        deque::settle(|| self.stealer.steal_batch_and_pop(&into.deque))
    }

    /// Takes the slot's item from its owner.
    pub fn steal_slot(&self) -> Option<T> {
        // A look first: the swap would take the line away from an owner that uses the slot for every wake.
        if self.slot.is_empty() {
            return None;
        }
        self.slot.swap(std::ptr::null_mut())
    }

    /// How many items wait here, the slot's included; a snapshot.
    pub fn len(&self) -> usize {
        self.stealer.len() + usize::from(!self.slot.is_empty())
    }

    /// Whether the deque holds nothing. The slot doesn't count: its owner is awake and comes to it next.
    pub fn is_empty(&self) -> bool {
        self.stealer.is_empty()
    }
}

/// The queue that threads other than the owner of a local queue push to.
pub struct Injector<T>(deque::Injector<T>);

impl<T: Send> Default for Injector<T> {
    fn default() -> Self {
        Self(deque::Injector::new())
    }
}

impl<T: Pointer> Injector<T> {
    /// Appends, from any thread.
    pub fn push(&self, item: T) {
        self.0.push(item);
    }

    /// Takes the oldest.
    pub fn pop(&self) -> Option<T> {
        deque::settle(|| self.0.steal())
    }

    /// Moves one of `takers`' share of the items into `into`, the oldest of them to the caller.
    ///
    /// What is left behind by a worker that stays busy waits for its next turn, so a lone worker takes all.
    pub fn take_share(&self, takers: usize, into: &Local<T>) -> Option<T> {
        let share = self.share(takers);
        let before = into.deque.len();
        let first = deque::settle(|| self.0.steal_batch_with_limit_and_pop(&into.deque, share))?;
        self.move_up_to(share - 1, before, into);
        Some(first)
    }

    /// Moves one of `takers`' share of the items into `into`, behind what waits there, in their order.
    pub fn move_share(&self, takers: usize, into: &Local<T>) {
        if !self.is_empty() {
            self.move_up_to(self.share(takers), into.deque.len(), into);
        }
    }

    fn share(&self, takers: usize) -> usize {
        self.0.len().div_ceil(takers).clamp(1, SHARE)
    }

    /// Moves items into `into`, which had `before` of its own, until `most` of them are there.
    fn move_up_to(&self, most: usize, before: usize, into: &Local<T>) {
        let into = &into.deque;
        // crossbeam-deque hands out at most half at a time. Thieves may have taken of it meanwhile, and of what was there before.
        loop {
            let taken = into.len().saturating_sub(before);
            if taken >= most || deque::settle(|| self.0.steal_batch_with_limit(into, most - taken)).is_none()
            {
                return;
            }
        }
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many items are queued; a snapshot.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(not(egret_loom))]
mod deque {
    pub(super) use crossbeam_deque::{Injector, Stealer, Worker};

    use crossbeam_deque::Steal;

    /// Repeats a steal that lost a race: somebody else made progress then, so this ends.
    pub(super) fn settle<T>(mut steal: impl FnMut() -> Steal<T>) -> Option<T> {
        loop {
            match steal() {
                Steal::Success(item) => return Some(item),
                Steal::Empty => return None,
                Steal::Retry => std::hint::spin_loop(),
            }
        }
    }
}

#[cfg(egret_loom)]
mod deque {
    //! crossbeam-deque's stand-in: the same operations over a mutexed queue.
    use std::collections::VecDeque;

    use crate::sync::{Arc, Mutex, lock};

    type Queue<T> = Mutex<VecDeque<T>>;

    pub(super) struct Worker<T>(Arc<Queue<T>>);
    pub(super) struct Stealer<T>(Arc<Queue<T>>);
    pub(super) struct Injector<T>(Queue<T>);

    impl<T> Worker<T> {
        pub(super) fn new_fifo() -> Self {
            Self(Arc::new(Mutex::new(VecDeque::new())))
        }

        pub(super) fn stealer(&self) -> Stealer<T> {
            Stealer(self.0.clone())
        }

        pub(super) fn push(&self, item: T) {
            lock(&self.0).push_back(item);
        }

        pub(super) fn pop(&self) -> Option<T> {
            lock(&self.0).pop_front()
        }

        pub(super) fn len(&self) -> usize {
            lock(&self.0).len()
        }

        pub(super) fn is_empty(&self) -> bool {
            lock(&self.0).is_empty()
        }
    }

    /// Takes half (rounded up) out under the victim's lock, then stores it under the thief's: never both at once.
    fn move_half<T>(from: &Queue<T>, into: &Worker<T>, limit: usize) -> Option<T> {
        let mut batch: VecDeque<T> = {
            let mut queue = lock(from);
            let half = queue.len().div_ceil(2).min(limit);
            queue.drain(..half).collect()
        };
        let first = batch.pop_front();
        for item in batch {
            into.push(item);
        }
        first
    }

    impl<T> Stealer<T> {
        pub(super) fn steal_batch_and_pop(&self, into: &Worker<T>) -> Option<T> {
            move_half(&self.0, into, usize::MAX)
        }

        pub(super) fn len(&self) -> usize {
            lock(&self.0).len()
        }

        pub(super) fn is_empty(&self) -> bool {
            lock(&self.0).is_empty()
        }
    }

    impl<T> Injector<T> {
        pub(super) fn new() -> Self {
            Self(Mutex::new(VecDeque::new()))
        }

        pub(super) fn push(&self, item: T) {
            lock(&self.0).push_back(item);
        }

        pub(super) fn steal(&self) -> Option<T> {
            lock(&self.0).pop_front()
        }

        pub(super) fn steal_batch_with_limit_and_pop(&self, into: &Worker<T>, limit: usize) -> Option<T> {
            move_half(&self.0, into, limit)
        }

        pub(super) fn steal_batch_with_limit(&self, into: &Worker<T>, limit: usize) -> Option<()> {
            move_half(&self.0, into, limit).map(|first| into.push(first))
        }

        pub(super) fn len(&self) -> usize {
            lock(&self.0).len()
        }

        pub(super) fn is_empty(&self) -> bool {
            lock(&self.0).is_empty()
        }
    }

    pub(super) fn settle<T>(mut steal: impl FnMut() -> Option<T>) -> Option<T> {
        steal()
    }
}

#[cfg(all(test, not(egret_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_slot_hands_back_what_it_displaces() {
        let (local, remote) = local::<Box<u32>>();
        assert!(local.push_lifo(Box::new(1)).is_none());
        assert_eq!(local.push_lifo(Box::new(2)), Some(Box::new(1)));
        assert_eq!(local.len(), 1);
        assert!(remote.is_empty(), "the slot is not the deque");
        assert_eq!(remote.steal_slot(), Some(Box::new(2)));
        assert!(local.pop_lifo().is_none());
        assert!(local.is_empty());
    }

    #[test]
    fn the_deque_is_first_in_first_out_and_a_thief_takes_half() {
        let (victim, remote) = local::<Box<u32>>();
        let (thief, _remote) = local::<Box<u32>>();
        for n in 0..10 {
            victim.push(Box::new(n));
        }
        assert_eq!(remote.steal_batch(&thief), Some(Box::new(0)));
        assert_eq!(thief.len() + 1, 5);
        assert_eq!(victim.pop(), Some(Box::new(5)));
        assert_eq!(thief.pop(), Some(Box::new(1)));
    }

    #[test]
    fn what_is_left_in_a_slot_is_dropped_with_it() {
        let item = std::sync::Arc::new(());
        let (local, remote) = local::<Box<std::sync::Arc<()>>>();
        assert!(local.push_lifo(Box::new(item.clone())).is_none());
        local.push(Box::new(item.clone()));
        drop((local, remote));
        assert_eq!(std::sync::Arc::strong_count(&item), 1);
    }

    #[test]
    fn the_injector_is_first_in_first_out() {
        let injector = Injector::<Box<u32>>::default();
        for n in 0..3 {
            injector.push(Box::new(n));
        }
        assert_eq!(injector.len(), 3);
        assert_eq!(injector.pop(), Some(Box::new(0)));
        assert!(!injector.is_empty());
    }

    #[test]
    fn everybody_takes_a_share_of_the_injector() {
        for (queued, takers, share) in
            [(1, 1, 1), (10, 1, 10), (10, 2, 5), (10, 3, 4), (100, 2, 50), (1000, 2, 256)]
        {
            let injector = Injector::<Box<u32>>::default();
            let (local, _remote) = local();
            assert!(injector.take_share(takers, &local).is_none());
            for n in 0..queued {
                injector.push(Box::new(n));
            }
            assert_eq!(injector.take_share(takers, &local), Some(Box::new(0)));
            assert_eq!((local.len() + 1, takers), (share, takers), "of {queued}");
            for n in 1..share as u32 {
                assert_eq!(local.pop(), Some(Box::new(n)));
            }
        }
    }

    #[test]
    fn a_share_that_is_moved_keeps_its_order() {
        let injector = Injector::<Box<u32>>::default();
        let (local, _remote) = local();
        injector.move_share(1, &local);
        assert!(local.is_empty());
        for n in 0..100 {
            injector.push(Box::new(n));
        }
        injector.move_share(2, &local);
        injector.move_share(1, &local);
        assert!(injector.is_empty());
        assert_eq!(
            std::iter::from_fn(|| local.pop()).map(|n| *n).collect::<Vec<_>>(),
            Vec::from_iter(0..100)
        );
    }
}
