//! Path limits: in how many ways one source may reach the instances at the top (facts 24, 36 and 37).
//!
//! An arrival at a source walks up every chain of instances over it. The kernel bounds the number of these chains for each
//! length, and so do we, with its numbers. A chain of length one (an instance that watches the source and is itself not
//! watched) costs nothing above it and is not limited.
//!
//! The check runs at an ADD of an instance, for every source below it, and at an ADD of a source to an instance that is
//! watched; both hold the topology lock. `watched` in an instance's control block says that the second kind has to: it is
//! set under that instance's control lock when the check of the first kind looks at it, so an ADD of a source either is
//! seen by that look or sees the mark.

use super::item::Key;
use super::topology::{Graph, Id, Ways};
use super::{Instance, errno};
use crate::sync::Weak;
use std::collections::HashMap;
use std::io;

/// How many chains of one, two, … instances over a source there may be (the kernel's `path_limits`; it does not
/// enforce the first).
const LIMITS: Ways = [usize::MAX, 500, 100, 50, 10];

/// A source and the instances over it that are watched, once for each interest.
type Leaves = HashMap<usize, Vec<Id>>;

/// Checks the sources below `inner`, which somebody has just begun to watch in `graph`. `guests` takes references to
/// instances, to be dropped after the topology lock.
///
/// # Errors
/// `EINVAL` if a source below it has too many paths.
pub(super) fn check_instance(graph: &Graph, inner: Id, guests: &mut Vec<Instance>) -> io::Result<()> {
    let below = graph.below(inner);
    let mut leaves = Leaves::new();
    let mut elsewhere = Leaves::new();
    for (id, instance) in graph.watched() {
        let Some(instance) = instance.upgrade() else { continue };
        let leaves = if below.contains(&id) { &mut leaves } else { &mut elsewhere };
        instance.leaves(|source| leaves.entry(source).or_default().push(id));
        guests.push(instance);
    }
    let mut known = HashMap::new();
    for (source, mut over) in leaves {
        over.extend(elsewhere.remove(&source).into_iter().flatten());
        check(graph, &over, &mut known)?;
    }
    Ok(())
}

/// Checks a source that `outer`, which is watched, is about to watch once more.
///
/// # Errors
/// `EINVAL` if the source has too many paths then.
pub(super) fn check_source(
    graph: &Graph,
    outer: Id,
    source: usize,
    guests: &mut Vec<Instance>,
) -> io::Result<()> {
    let mut over = vec![outer];
    for (id, instance) in graph.watched() {
        let Some(instance) = Weak::upgrade(instance) else { continue };
        over.extend(std::iter::repeat_n(id, instance.interests_in(source)));
        guests.push(instance);
    }
    check(graph, &over, &mut HashMap::new())
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

impl super::Inner {
    /// Names the source of every interest, by address, that is no instance; from here on this one counts as watched.
    fn leaves(&self, mut name: impl FnMut(usize)) {
        let mut control = self.control.lock();
        control.watched = true;
        control.graphed = true;
        for (key, interest) in &control.interests {
            if !interest.nested {
                name(key.source);
            }
        }
    }

    fn interests_in(&self, source: usize) -> usize {
        let of_source = Key { source, tag: 0 }..=Key { source, tag: u64::MAX };
        self.control.lock().interests.range(of_source).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
