//! Who is whose child: one lock a tree, links by index, so that neither a cancel nor a drop goes deep into the stack.
//!
//! ```text
//!   new ──► root ── child_token ──► node below it ── child_token ──► ...
//!
//!   a node ──┬── cancel: it and all below it leave the tree, each marked under the lock
//!            └── its last handle is dropped: it leaves, and its children become its parent's (or roots)
//! ```
//!
//! A node is in the tree exactly as long as its token is alive and not cancelled: both ways of leaving hold the lock, and the mark is set there.

use super::token::Inner;
use crate::sync::{Mutex, lock};
use std::sync::{Arc, Weak};

/// No node.
const NONE: u32 = u32::MAX;

/// The place of a token in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    /// Of a token that was born cancelled.
    pub(super) const NOWHERE: Self = Self(NONE);
}

#[derive(Default)]
pub(super) struct Tree(Mutex<Nodes>);

#[derive(Default)]
struct Nodes {
    nodes: Vec<Node>,
    /// Vacant nodes: the last to be left is the first to be taken.
    vacant: Vec<u32>,
}

struct Node {
    parent: u32,
    first_child: u32,
    /// Its neighbours among its parent's children.
    previous: u32,
    next: u32,
    /// Weak: a place in the tree keeps no token alive.
    token: Weak<Inner>,
}

impl Tree {
    /// A tree with one token, made by `make`.
    pub(super) fn plant(make: impl FnOnce(Arc<Tree>, Place) -> Inner) -> Arc<Inner> {
        let tree = Arc::new(Tree::default());
        let place = lock(&tree.0).add(NONE);
        let token = Arc::new(make(tree.clone(), place));
        lock(&tree.0).nodes[place.0 as usize].token = Arc::downgrade(&token);
        token
    }

    /// A child of `parent`, made by `make`; one that has no place, and shall be cancelled, if its parent is.
    pub(super) fn grow(&self, parent: &Inner, make: impl FnOnce(Place) -> Inner) -> Arc<Inner> {
        let mut nodes = lock(&self.0);
        let place = if parent.is_cancelled() { Place::NOWHERE } else { nodes.add(parent.place().0) };
        let token = Arc::new(make(place));
        if place != Place::NOWHERE {
            nodes.nodes[place.0 as usize].token = Arc::downgrade(&token);
        }
        token
    }

    /// Takes `top` and everything below it out, and marks all of it as cancelled. Returns whom to tell, once the lock is released; they are
    /// kept alive until then, because the drop of a token takes the lock.
    #[must_use = "they are waiting"]
    pub(super) fn cut(&self, top: &Inner) -> Vec<Arc<Inner>> {
        let mut cut = Vec::new();
        let mut nodes = lock(&self.0);
        if top.is_cancelled() {
            return cut;
        }
        nodes.unlink(top.place().0);
        let mut below = vec![top.place().0];
        while let Some(at) = below.pop() {
            let mut child = nodes.nodes[at as usize].first_child;
            while child != NONE {
                below.push(child);
                child = nodes.nodes[child as usize].next;
            }
            // None if its last handle is being dropped just now, which waits for the lock: then nobody waits for it.
            if let Some(token) = nodes.vacate(at).upgrade() {
                token.mark();
                cut.push(token);
            }
        }
        drop(nodes);
        cut
    }

    /// The last handle of a token is gone.
    pub(super) fn remove(&self, token: &Inner) {
        let mut nodes = lock(&self.0);
        let place = token.place();
        if token.is_cancelled() || !nodes.is_at(place, token) {
            return;
        }
        let parent = nodes.nodes[place.0 as usize].parent;
        let mut child = nodes.nodes[place.0 as usize].first_child;
        nodes.unlink(place.0);
        while child != NONE {
            let next = nodes.nodes[child as usize].next;
            nodes.link(child, parent);
            child = next;
        }
        let _itself = nodes.vacate(place.0);
    }

    /// How many tokens are in the tree.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let nodes = lock(&self.0);
        nodes.nodes.len() - nodes.vacant.len()
    }
}

impl Nodes {
    fn add(&mut self, parent: u32) -> Place {
        let node = Node { parent: NONE, first_child: NONE, previous: NONE, next: NONE, token: Weak::new() };
        let at = match self.vacant.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                let at = u32::try_from(self.nodes.len()).unwrap_or(NONE);
                assert!(at < NONE, "more than 2^32 - 2 tokens in a tree");
                self.nodes.push(node);
                at
            }
        };
        self.link(at, parent);
        Place(at)
    }

    /// Whether this token is there. It isn't when a cancel from above has met it as it was being dropped, and so could not mark it.
    fn is_at(&self, place: Place, token: &Inner) -> bool {
        self.nodes.get(place.0 as usize).is_some_and(|node| std::ptr::eq(node.token.as_ptr(), token))
    }

    /// Makes a node its parent's first child.
    fn link(&mut self, at: u32, parent: u32) {
        let next = if parent == NONE { NONE } else { self.nodes[parent as usize].first_child };
        let node = &mut self.nodes[at as usize];
        (node.parent, node.previous, node.next) = (parent, NONE, next);
        if next != NONE {
            self.nodes[next as usize].previous = at;
        }
        if parent != NONE {
            self.nodes[parent as usize].first_child = at;
        }
    }

    /// Takes a node from among its parent's children.
    fn unlink(&mut self, at: u32) {
        let Node { parent, previous, next, .. } = self.nodes[at as usize];
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        if previous != NONE {
            self.nodes[previous as usize].next = next;
        } else if parent != NONE {
            self.nodes[parent as usize].first_child = next;
        }
    }

    fn vacate(&mut self, at: u32) -> Weak<Inner> {
        self.vacant.push(at);
        std::mem::take(&mut self.nodes[at as usize].token)
    }
}
