//! The members of a local set: a waker of each task whose future exists, by which the end of the set reaches it.

use std::task::Waker;

/// Places with wakers; a free one is used again.
#[derive(Default)]
pub(super) struct Members {
    /// None: free, or reserved and not filled, or taken.
    places: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Members {
    /// A place for a task that is about to be made.
    pub(super) fn reserve(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        })
    }

    pub(super) fn fill(&mut self, place: usize, waker: Waker) {
        self.places[place] = Some(waker);
    }

    /// A task's future is gone.
    #[must_use = "to be dropped after the borrow"]
    pub(super) fn remove(&mut self, place: usize) -> Option<Waker> {
        self.free.push(place);
        self.places[place].take()
    }

    /// The wakers of all, which stay members.
    #[must_use = "to be woken"]
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        self.places.iter_mut().filter_map(Option::take).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_and_counted_until_its_task_is_gone() {
        let mut members = Members::default();
        let (one, other) = (members.reserve(), members.reserve());
        members.fill(one, Waker::noop().clone());
        assert_eq!((one, other, members.len()), (0, 1, 2));
        assert_eq!(members.take_wakers().len(), 1);
        assert_eq!(members.len(), 2);
        assert!(members.remove(one).is_none());
        assert_eq!((members.len(), members.reserve()), (1, one));
        assert!(members.remove(one).is_none() && members.remove(other).is_none());
        assert_eq!(members.len(), 0);
    }
}
