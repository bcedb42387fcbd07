//! The graph of instances that watch instances: who may watch whom.
//!
//! A plain data structure without threads; the process has one, under the topology lock, which an ADD of a nested
//! instance holds from the check to the insertion, so that of two racing ADDs that would close a circle one sees the
//! other (fact 34). Edges are counted: two interests in one instance are two edges (fact 35).

use crate::source::Nested;
use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Longest chain of edges, so at most five instances over a source (the kernel's `EP_MAX_NESTS`).
const MAX_NESTS: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<Nested, Node>,
}

#[derive(Debug, Default)]
struct Node {
    watches: Vec<Nested>,
    watched_by: Vec<Nested>,
}

/// Takes the topology lock: the outermost of all.
pub(super) fn lock() -> MutexGuard<'static, Graph> {
    static GRAPH: OnceLock<Mutex<Graph>> = OnceLock::new();
    GRAPH.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

impl Graph {
    /// Whether `outer` may watch `inner`.
    ///
    /// # Errors
    /// `ELOOP` if that closes a circle or makes a chain of more than four edges (facts 31 to 33).
    pub(super) fn check(&self, outer: Nested, inner: Nested) -> io::Result<()> {
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

    pub(super) fn connect(&mut self, outer: Nested, inner: Nested) {
        self.nodes.entry(outer).or_default().watches.push(inner);
        self.nodes.entry(inner).or_default().watched_by.push(outer);
    }

    /// Takes one edge away.
    pub(super) fn disconnect(&mut self, outer: Nested, inner: Nested) {
        self.edit(outer, |node| remove_one(&mut node.watches, inner));
        self.edit(inner, |node| remove_one(&mut node.watched_by, outer));
    }

    /// An instance is gone, with all its edges.
    pub(super) fn remove(&mut self, gone: Nested) {
        let Some(node) = self.nodes.remove(&gone) else { return };
        for inner in node.watches {
            self.edit(inner, |node| node.watched_by.retain(|other| *other != gone));
        }
        for outer in node.watched_by {
            self.edit(outer, |node| node.watches.retain(|other| *other != gone));
        }
    }

    fn edit(&mut self, id: Nested, edit: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(&id) {
            edit(node);
            if node.watches.is_empty() && node.watched_by.is_empty() {
                self.nodes.remove(&id);
            }
        }
    }

    /// Chains are at most `MAX_NESTS` long, so the recursion is.
    fn reaches(&self, from: Nested, to: Nested) -> bool {
        self.nodes
            .get(&from)
            .is_some_and(|node| node.watches.iter().any(|next| *next == to || self.reaches(*next, to)))
    }

    fn depth(&self, from: Nested, next: fn(&Node) -> &Vec<Nested>) -> usize {
        self.nodes
            .get(&from)
            .map_or(0, |node| next(node).iter().map(|id| 1 + self.depth(*id, next)).max().unwrap_or(0))
    }
}

fn remove_one(list: &mut Vec<Nested>, id: Nested) {
    if let Some(at) = list.iter().position(|other| *other == id) {
        list.swap_remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(graph: &mut Graph, ids: &[u64]) {
        for pair in ids.windows(2) {
            graph.check(Nested(pair[0]), Nested(pair[1])).unwrap();
            graph.connect(Nested(pair[0]), Nested(pair[1]));
        }
    }

    fn refused(graph: &Graph, outer: u64, inner: u64) -> bool {
        graph.check(Nested(outer), Nested(inner)).is_err_and(|e| e.raw_os_error() == Some(libc::ELOOP))
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
        graph.connect(Nested(1), Nested(2));
        graph.disconnect(Nested(1), Nested(2));
        assert!(refused(&graph, 2, 1), "one edge is left");
        graph.disconnect(Nested(1), Nested(2));
        assert!(!refused(&graph, 2, 1));
        assert!(graph.nodes.is_empty());
    }

    #[test]
    fn a_closed_instance_leaves_no_edge() {
        let mut graph = Graph::default();
        chain(&mut graph, &[1, 2, 3]);
        graph.remove(Nested(2));
        assert!(graph.nodes.is_empty());
    }
}
