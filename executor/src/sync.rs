//! The crate's only door to std's synchronisation, so that loom can stand in for it.
//!
//! The modules that loom checks (`queue`, `idle`, `task::registry`, `task::state`) take everything from here; the rest
//! of the crate, which needs real threads and a real reactor, isn't compiled under `cfg(egret_loom)`, but uses the same
//! door so that it stays one.

#[cfg(egret_loom)]
#[allow(unused_imports)]
pub(crate) use loom::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{
        AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    },
};

#[cfg(not(egret_loom))]
#[allow(unused_imports)]
pub(crate) use std::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{
        AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    },
};

/// Locks a mutex whatever happened to an earlier holder.
///
/// No user code runs under a lock of this crate, so poison can only come from an allocation that failed; the data is
/// consistent at every point where that can happen.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Keeps its content on cache lines of its own.
///
/// 128 bytes: x86_64 prefetches lines in pairs, and aarch64 has parts with lines of that size (crossbeam's and tokio's
/// choice for both).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

impl<T> std::ops::Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
