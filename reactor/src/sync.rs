//! The crate's only door to `std::sync`, so that loom can stand in under `--cfg egret_loom`.
//!
//! [`Mutex`] is std's without poisoning: a panic in a custom source's `poll` is carried to the caller by guards
//! that leave every list consistent, so there is nothing for poison to protect.
//!
//! Reference counts (`Arc`, `Weak`) are std's in both worlds: no protocol here hangs on their ordering.

pub(crate) use std::sync::{Arc, OnceLock, Weak};

#[cfg(egret_loom)]
use loom::sync as imp;
#[cfg(not(egret_loom))]
use std::sync as imp;

pub(crate) use imp::MutexGuard;
pub(crate) use imp::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use std::time::Duration;

/// Mutual exclusion without poisoning.
#[derive(Debug)]
pub(crate) struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// A condition variable for [`Mutex`].
#[derive(Debug)]
pub(crate) struct Condvar(imp::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(imp::Condvar::new())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits at most `timeout`; the flag says whether it passed.
    ///
    /// In a model time has no length: the timeout passes at once, and the scheduler's choice of when this is called
    /// stands for every possible moment.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> (MutexGuard<'a, T>, bool) {
        #[cfg(egret_loom)]
        {
            let _ = timeout;
            (guard, true)
        }
        #[cfg(not(egret_loom))]
        {
            let (guard, result) =
                self.0.wait_timeout(guard, timeout).unwrap_or_else(std::sync::PoisonError::into_inner);
            (guard, result.timed_out())
        }
    }
}
