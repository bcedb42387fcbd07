//! [`Driver`]: the runtime's end of the engine. From an event's number to the tasks that wait for it.

use super::{
    scheduled::{PLACES, ScheduledIo},
    slab::Slab,
    wake_batch::WakeBatch,
};
use crate::{
    sync::{AtomicBool, Ordering},
    task::quiet::quietly,
};
use egret_reactor::Event;
use std::io;

/// So many events ahead of the one that is handed out slots are being loaded. A guess: about as many misses as a core has under way.
const AHEAD: usize = 8;

/// All registrations of a runtime.
pub(crate) struct Driver {
    slots: Slab<ScheduledIo>,
    /// Set once, before the last wake of every waiter. A waiter stores its waker and then looks here: either the flag is seen or the
    /// waker is found, since one of the two comes second to the lock around the wakers.
    shut_down: AtomicBool,
}

impl Driver {
    pub(crate) fn new() -> Self {
        Self { slots: Slab::new(), shut_down: AtomicBool::new(false) }
    }

    /// Wakes the tasks that wait for these events. An event for a registration that is gone finds nobody.
    pub(crate) fn dispatch(&self, events: &[Event]) {
        let mut batch = WakeBatch::new();
        for event in events.iter().take(AHEAD) {
            self.slots.prefetch(event.data);
        }
        for (at, event) in events.iter().enumerate() {
            if let Some(ahead) = events.get(at + AHEAD) {
                self.slots.prefetch(ahead.data);
            }
            if let Some(scheduled) = self.slots.get(event.data) {
                if batch.room() < PLACES {
                    std::mem::replace(&mut batch, WakeBatch::new()).wake();
                }
                scheduled.gather(event.events, &mut batch);
            }
        }
        batch.wake();
    }

    /// Who waits: the registration's number, the waker's pointer, and whether for reading and for writing.
    pub(crate) fn waiters(&self) -> Vec<(u64, *const (), bool, bool)> {
        let mut all = Vec::new();
        for (key, scheduled) in self.slots.all_with_keys() {
            scheduled.for_each_waiter(|waker, read, write| all.push((key, waker, read, write)));
        }
        all
    }

    /// Wakes every waiter; each finds an error. New registrations and new waits get the same error.
    pub(crate) fn shutdown(&self) {
        self.shut_down.store(true, Ordering::Release);
        for scheduled in self.slots.all() {
            scheduled.wake_all();
        }
    }

    /// Fails after [`shutdown`](Self::shutdown).
    pub(super) fn check(&self) -> io::Result<()> {
        if self.shut_down.load(Ordering::Acquire) {
            return Err(io::Error::other("the egret runtime that this belongs to has been shut down"));
        }
        Ok(())
    }

    /// A place for a registration's wakers.
    pub(super) fn register(&self) -> io::Result<u64> {
        self.check()?;
        self.slots.acquire()
    }

    /// The wakers of a live registration.
    pub(super) fn scheduled(&self, key: u64) -> Option<&ScheduledIo> {
        self.slots.get(key)
    }

    /// Gives the place back; its wakers are dropped, unwoken.
    pub(super) fn deregister(&self, key: u64) {
        if let Some(scheduled) = self.slots.get(key) {
            // A foreign waker whose drop panics must not keep the place.
            quietly(|| scheduled.clear());
        }
        let live = self.slots.release(key);
        debug_assert!(live, "a registration was released twice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Direction;
    use std::{
        sync::Arc,
        task::{Wake, Waker},
    };

    #[test]
    fn a_waker_whose_drop_panics_does_not_keep_the_place() {
        struct Loud;
        impl Wake for Loud {
            fn wake(self: Arc<Self>) {}
        }
        impl Drop for Loud {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        let driver = Driver::new();
        let key = driver.register().unwrap();
        let waker = Waker::from(Arc::new(Loud));
        driver.scheduled(key).unwrap().set(Direction::Read, &waker);
        // The driver's is the last one.
        drop(waker);
        driver.deregister(key);
        assert!(driver.scheduled(key).is_none());
        assert_eq!(driver.register().unwrap() as u32, key as u32);
    }
}
