//! Who waits for one token: wakers by key, so that coming and leaving costs the same however many there are.

use crate::sync::{Mutex, lock};
use std::task::Waker;

/// Names a waiter, until it leaves.
pub(super) type Key = usize;

#[derive(Default)]
pub(super) struct Waiters(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// They were taken: no key means anything any more.
    taken: bool,
    places: Vec<Place>,
    /// The first vacant place.
    vacant: Option<Key>,
}

enum Place {
    Vacant { next: Option<Key> },
    Waiter(Waker),
}

/// They were taken, and who comes now need not wait.
pub(super) struct Taken;

impl Waiters {
    /// Waits on with `waker`, under `key` if there is one.
    pub(super) fn wait(&self, key: &mut Option<Key>, waker: &Waker) -> Result<(), Taken> {
        if let Some(key) = *key {
            let table = lock(&self.0);
            if table.taken {
                return Err(Taken);
            }
            if matches!(&table.places[key], Place::Waiter(there) if there.will_wake(waker)) {
                return Ok(());
            }
        }
        // Cloning and dropping wakers is user code: not under the lock.
        let waker = waker.clone();
        let old = {
            let mut table = lock(&self.0);
            if table.taken {
                drop(table);
                drop(waker);
                return Err(Taken);
            }
            match *key {
                Some(key) => Some(std::mem::replace(&mut table.places[key], Place::Waiter(waker))),
                None => {
                    *key = Some(table.insert(waker));
                    None
                }
            }
        };
        drop(old);
        Ok(())
    }

    /// Leaves.
    pub(super) fn leave(&self, key: Key) {
        let waiter = {
            let mut table = lock(&self.0);
            if table.taken {
                return;
            }
            let vacant = Place::Vacant { next: table.vacant };
            table.vacant = Some(key);
            std::mem::replace(&mut table.places[key], vacant)
        };
        drop(waiter);
    }

    /// All of them, to be woken. Nobody waits here from now on.
    #[must_use = "to be woken"]
    pub(super) fn take(&self) -> impl Iterator<Item = Waker> {
        let places = {
            let mut table = lock(&self.0);
            table.taken = true;
            std::mem::take(&mut table.places)
        };
        places.into_iter().filter_map(|place| match place {
            Place::Waiter(waker) => Some(waker),
            Place::Vacant { .. } => None,
        })
    }
}

impl Table {
    fn insert(&mut self, waker: Waker) -> Key {
        let Some(key) = self.vacant else {
            self.places.push(Place::Waiter(waker));
            return self.places.len() - 1;
        };
        if let Place::Vacant { next } = std::mem::replace(&mut self.places[key], Place::Waiter(waker)) {
            self.vacant = next;
        }
        key
    }
}
