//! An allocator that counts, and turns that have to do without it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

struct Counting;

thread_local! {
    // Neither is lazily made nor has a destructor: may be used inside the allocator at any time.
    static BY_THIS_THREAD: Cell<u64> = const { Cell::new(0) };
}
static BY_ALL_THREADS: AtomicU64 = AtomicU64::new(0);

fn count() {
    BY_THIS_THREAD.set(BY_THIS_THREAD.get() + 1);
    BY_ALL_THREADS.fetch_add(1, Ordering::Relaxed);
}

// SAFETY: everything is passed on to `System` unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `realloc`'s contract, and the block came from `System`.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract, and the block came from `System`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Enough for every list to find its size.
pub const WARM_UP: usize = 100;
pub const TURNS: usize = 1_000;
pub const NEVER: Duration = Duration::from_secs(10);

/// Allocations by this thread: tests that run beside each other don't meet.
pub fn allocations(work: impl FnOnce()) -> u64 {
    let before = BY_THIS_THREAD.get();
    work();
    BY_THIS_THREAD.get() - before
}

/// Allocations by every thread of the process: for a test that is alone in its process.
pub fn allocations_by_all(work: impl FnOnce()) -> u64 {
    let before = BY_ALL_THREADS.load(Ordering::Relaxed);
    work();
    BY_ALL_THREADS.load(Ordering::Relaxed) - before
}

/// Turns that are like each other allocate nothing.
pub fn steady(what: &str, turns: usize, mut turn: impl FnMut()) {
    (0..WARM_UP).for_each(|_| turn());
    let allocated = allocations(|| (0..turns).for_each(|_| turn()));
    assert_eq!(allocated, 0, "{what}: allocations in {turns} turns");
}
