//! Path limits: in how many ways one source may reach the instances at the top (facts 24, 36 and 37).
//!
//! An arrival at a source walks up every chain of instances over it. The kernel bounds the number of these chains for each
//! length, and so do we, with its numbers. A chain of length one (an instance that watches the source and is itself not
//! watched) costs nothing above it and is not limited.
//!
//! The check runs at an ADD of an instance, for every source below it, and at an ADD of a source to an instance that is
//! watched; both hold the topology lock. Who watches a source is read from the hooks in its queues, as the kernel does; so
//! the check costs what the sources below and their hooks are, whatever else the process holds. (A source that hooks its
//! watchers into queues that have none in common, as an [`Fd`](crate::Fd) does with those that come through different
//! [`Lanes`](crate::Lanes), is counted for each alone.)
//!
//! `watched` in an instance's control block says that an ADD of a source has to be checked: it is set under that instance's
//! control lock when an ADD of an instance looks at it, so an ADD of a source either is seen by that look or sees the mark.

use super::control::Control;
use super::item::Item;
use super::topology::{Graph, Id, Ways};
use super::{Instance, errno};
use crate::sync::Arc;
use std::collections::{HashMap, HashSet};
use std::io;

/// How many chains of one, two, … instances over a source there may be (the kernel's `path_limits`; it does not
/// enforce the first).
const LIMITS: Ways = [usize::MAX, 500, 100, 50, 10];

/// Checks the sources below `inner`, which somebody has just begun to watch in `graph`. `guests` takes references to
/// instances, to be dropped after the topology lock.
///
/// # Errors
/// `EINVAL` if a source below it has too many paths.
pub(super) fn check_instance(graph: &Graph, inner: Id, guests: &mut Vec<Instance>) -> io::Result<()> {
    let mut known = HashMap::new();
    let mut seen = HashSet::new();
    for id in graph.below(inner) {
        let Some(instance) = graph.instance(id) else { continue };
        let leaves = instance.control.lock().leaves();
        guests.push(instance);
        for item in leaves {
            if seen.insert(item.key().source) {
                check(graph, &watchers(&item), &mut known)?;
            }
        }
    }
    Ok(())
}

/// Checks a source that an instance which is watched has just hooked into.
///
/// # Errors
/// `EINVAL` if the source has too many paths now.
pub(super) fn check_source(graph: &Graph, item: &Arc<Item>) -> io::Result<()> {
    check(graph, &watchers(item), &mut HashMap::new())
}

/// The instances that watch this item's source, once for each interest.
fn watchers(item: &Arc<Item>) -> Vec<Id> {
    let mut found = HashMap::new();
    item.each_neighbour(|other| {
        found.insert(Arc::as_ptr(other), other.ready().id());
    });
    found.into_values().collect()
}

fn check(graph: &Graph, over: &[Id], known: &mut HashMap<Id, Ways>) -> io::Result<()> {
    let mut paths = Ways::default();
    for id in over {
        let above = graph.ways_up(*id, known);
        for (paths, above) in paths.iter_mut().zip(above) {
            *paths = paths.saturating_add(above);
        }
    }
    let within = paths.iter().zip(LIMITS).all(|(paths, limit)| *paths <= limit);
    if within { Ok(()) } else { Err(errno(libc::EINVAL)) }
}

impl Control {
    /// The interests whose source is no instance; from here on this instance counts as watched.
    fn leaves(&mut self) -> Vec<Arc<Item>> {
        self.watched = true;
        self.graphed = true;
        self.interests
            .values()
            .filter(|interest| !interest.nested)
            .map(|interest| interest.item.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Weak;

    #[test]
    fn each_length_has_its_limit() {
        for (length, limit) in [(2, 500), (3, 100), (4, 50), (5, 10)] {
            // A chain of that many instances over the source, the lowest one last.
            let mut graph = Graph::default();
            for id in 1..length {
                graph.connect((id, &Weak::new()), (id + 1, &Weak::new()));
            }
            let over = vec![length; limit + 1];
            assert!(check(&graph, &over[..limit], &mut HashMap::new()).is_ok(), "{length}");
            let error = check(&graph, &over, &mut HashMap::new()).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{length}");
        }
        assert!(check(&Graph::default(), &[1; 100_000], &mut HashMap::new()).is_ok(), "length one");
    }
}
