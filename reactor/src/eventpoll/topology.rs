//! The graph of instances that watch instances: who may watch whom, and how many ways lead up.
//!
//! A plain data structure without threads; the process has one, under the topology lock, which an ADD of a nested
//! instance holds from the check to the insertion, so that of two racing ADDs that would close a circle one sees the
//! other (fact 34). Edges are counted: two interests in one instance are two edges (fact 35).
//!
//! Only instances are in it, and only those that watch one or are watched. [`super::paths`] combines it with the sources at
//! the leaves.

use super::{Inner, Instance};
use crate::sync::{Mutex, MutexGuard, Weak};
use std::collections::{HashMap, HashSet};
use std::io;

/// Longest chain of edges, so at most five instances over a source (the kernel's `EP_MAX_NESTS`).
pub(super) const MAX_NESTS: usize = 4;

/// An instance's number: never used again.
pub(super) type Id = u64;

/// Ways from an instance up to those that nobody watches, by the number of edges. They saturate.
pub(super) type Ways = [usize; MAX_NESTS + 1];

#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<Id, Node>,
}

#[derive(Debug, Default)]
struct Node {
    instance: Weak<Inner>,
    watches: Vec<Id>,
    watched_by: Vec<Id>,
}

/// Takes the topology lock: the outermost of all.
#[cfg(not(egret_loom))]
pub(super) fn lock() -> MutexGuard<'static, Graph> {
    static GRAPH: std::sync::OnceLock<Mutex<Graph>> = std::sync::OnceLock::new();
    GRAPH.get_or_init(Mutex::default).lock()
}

/// The same in a model: one graph for each run of it.
#[cfg(egret_loom)]
pub(super) fn lock() -> MutexGuard<'static, Graph> {
    loom::lazy_static! {
        static ref GRAPH: Mutex<Graph> = Mutex::default();
    }
    GRAPH.lock()
}

impl Graph {
    /// Whether `outer` may watch `inner`.
    ///
    /// # Errors
    /// `ELOOP` if that closes a circle or makes a chain of more than four edges (facts 31 to 33).
    pub(super) fn check(&self, outer: Id, inner: Id) -> io::Result<()> {
        if outer == inner || self.reaches(inner, outer) {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let below = self.depth(inner, |node| &node.watches);
        let above = self.depth(outer, |node| &node.watched_by);
        if below + 1 + above > MAX_NESTS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        Ok(())
    }

    /// An edge between two instances, each given with its number.
    pub(super) fn connect(&mut self, outer: (Id, &Weak<Inner>), inner: (Id, &Weak<Inner>)) {
        self.node(outer).watches.push(inner.0);
        self.node(inner).watched_by.push(outer.0);
    }

    fn node(&mut self, (id, instance): (Id, &Weak<Inner>)) -> &mut Node {
        self.nodes.entry(id).or_insert_with(|| Node { instance: instance.clone(), ..Node::default() })
    }

    /// Takes one edge away.
    pub(super) fn disconnect(&mut self, outer: Id, inner: Id) {
        self.edit(outer, |node| remove_one(&mut node.watches, inner));
        self.edit(inner, |node| remove_one(&mut node.watched_by, outer));
    }

    /// An instance is gone, with all its edges.
    pub(super) fn remove(&mut self, gone: Id) {
        let Some(node) = self.nodes.remove(&gone) else { return };
        for inner in node.watches {
            self.edit(inner, |node| node.watched_by.retain(|other| *other != gone));
        }
        for outer in node.watched_by {
            self.edit(outer, |node| node.watches.retain(|other| *other != gone));
        }
    }

    fn edit(&mut self, id: Id, edit: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(&id) {
            edit(node);
            if node.watches.is_empty() && node.watched_by.is_empty() {
                self.nodes.remove(&id);
            }
        }
    }

    fn reaches(&self, from: Id, to: Id) -> bool {
        self.below(from).contains(&to)
    }

    /// Level by level, each instance once a level: parallel edges don't multiply. Chains are at most `MAX_NESTS` long.
    fn depth(&self, from: Id, next: fn(&Node) -> &Vec<Id>) -> usize {
        let mut level = vec![from];
        for depth in 0.. {
            let mut further: Vec<Id> = level
                .iter()
                .filter_map(|id| self.nodes.get(id))
                .flat_map(|node| next(node).iter().copied())
                .collect();
            if further.is_empty() {
                return depth;
            }
            further.sort_unstable();
            further.dedup();
            level = further;
        }
        unreachable!("the graph has no circles")
    }

    /// This instance and all that can be reached downwards from it.
    pub(super) fn below(&self, from: Id) -> HashSet<Id> {
        let mut found = HashSet::from([from]);
        let mut open = vec![from];
        while let Some(id) = open.pop() {
            let inner = self.nodes.get(&id).into_iter().flat_map(|node| &node.watches);
            open.extend(inner.copied().filter(|inner| found.insert(*inner)));
        }
        found
    }

    pub(super) fn instance(&self, id: Id) -> Option<Instance> {
        self.nodes.get(&id)?.instance.upgrade()
    }

    pub(super) fn is_watched(&self, id: Id) -> bool {
        self.nodes.get(&id).is_some_and(|node| !node.watched_by.is_empty())
    }

    /// In how many ways one can get from here up to an instance that nobody watches.
    pub(super) fn ways_up(&self, from: Id, known: &mut HashMap<Id, Ways>) -> Ways {
        if let Some(ways) = known.get(&from) {
            return *ways;
        }
        let mut ways = Ways::default();
        match self.nodes.get(&from).filter(|_| self.is_watched(from)) {
            None => ways[0] = 1,
            Some(node) => {
                for outer in &node.watched_by {
                    let above = self.ways_up(*outer, known);
                    for (here, there) in ways[1..].iter_mut().zip(above) {
                        *here = here.saturating_add(there);
                    }
                }
            }
        }
        known.insert(from, ways);
        ways
    }
}

fn remove_one(list: &mut Vec<Id>, id: Id) {
    if let Some(at) = list.iter().position(|other| *other == id) {
        list.swap_remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(graph: &mut Graph, outer: Id, inner: Id) {
        graph.connect((outer, &Weak::new()), (inner, &Weak::new()));
    }

    fn chain(graph: &mut Graph, ids: &[Id]) {
        for pair in ids.windows(2) {
            graph.check(pair[0], pair[1]).unwrap();
            edge(graph, pair[0], pair[1]);
        }
    }

    fn refused(graph: &Graph, outer: Id, inner: Id) -> bool {
        graph.check(outer, inner).is_err_and(|e| e.raw_os_error() == Some(libc::ELOOP))
    }

    #[test]
    fn circles_are_refused() {
        let mut graph = Graph::default();
        assert!(refused(&graph, 1, 1));
        chain(&mut graph, &[1, 2, 3]);
        assert!(refused(&graph, 2, 1));
        assert!(refused(&graph, 3, 1));
        assert!(!refused(&graph, 1, 3));
    }

    #[test]
    fn depth_counts_in_both_directions() {
        let mut graph = Graph::default();
        chain(&mut graph, &[1, 2, 3, 4, 5]);
        assert!(refused(&graph, 0, 1), "a sixth on top");
        assert!(refused(&graph, 5, 6), "a sixth below");
        let mut graph = Graph::default();
        chain(&mut graph, &[1, 2, 3]);
        chain(&mut graph, &[11, 12, 13]);
        assert!(refused(&graph, 3, 11), "two edges above, two below and the new one are five");
        assert!(!refused(&graph, 3, 12));
    }

    #[test]
    fn parallel_edges_are_counted() {
        let mut graph = Graph::default();
        chain(&mut graph, &[1, 2]);
        edge(&mut graph, 1, 2);
        graph.disconnect(1, 2);
        assert!(refused(&graph, 2, 1), "one edge is left");
        graph.disconnect(1, 2);
        assert!(!refused(&graph, 2, 1));
        assert!(graph.nodes.is_empty());
    }

    #[test]
    fn a_closed_instance_leaves_no_edge() {
        let mut graph = Graph::default();
        chain(&mut graph, &[1, 2, 3]);
        graph.remove(2);
        assert!(graph.nodes.is_empty());
    }

    #[test]
    fn ways_up_are_counted_by_length_and_with_parallel_edges() {
        let mut graph = Graph::default();
        // 1 and 2 watch 3, 1 with two interests; 3 and 2 watch 4.
        for (outer, inner) in [(1, 3), (1, 3), (2, 3), (3, 4), (2, 4)] {
            edge(&mut graph, outer, inner);
        }
        let mut known = HashMap::new();
        assert_eq!(graph.ways_up(1, &mut known), [1, 0, 0, 0, 0], "nobody watches it");
        assert_eq!(graph.ways_up(3, &mut known), [0, 3, 0, 0, 0]);
        assert_eq!(graph.ways_up(4, &mut known), [0, 1, 3, 0, 0]);
        assert_eq!(graph.below(2), HashSet::from([2, 3, 4]));
        assert!(graph.is_watched(3) && !graph.is_watched(1));
    }
}
