//! [`CancellationToken`] and its guard.

use super::quietly;
use super::tree::{Place, Tree};
use super::wait::{RunUntilCancelled, RunUntilCancelledOwned, WaitForCancellation, WaitForCancellationOwned};
use super::waiters::Waiters;
use crate::sync::{AtomicBool, Ordering};
use std::fmt;
use std::future::Future;
use std::sync::Arc;

/// Tells any number of tasks that it is time to end.
///
/// Clones are the same token. A [child](Self::child_token) is cancelled with its parent, and can be cancelled by itself: a server has a token, each
/// connection a child of it, each request a child of that.
///
/// Nothing is aborted: tasks wait for [`cancelled`](Self::cancelled) beside what else they do, and end in good order. A token needs no runtime, and
/// works across several.
///
/// # Examples
///
/// ```
/// use egret_executor::{Runtime, cancel::CancellationToken, spawn};
/// use std::future::pending;
///
/// Runtime::new()?.block_on(async {
///     let server = CancellationToken::new();
///     let connection = server.child_token();
///     let task = spawn(async move {
///         // Some work that takes for ever; None because it was cancelled.
///         connection.run_until_cancelled(pending::<()>()).await
///     });
///     server.cancel();
///     assert_eq!(task.await.unwrap(), None);
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct CancellationToken {
    pub(super) inner: Arc<Inner>,
}

/// A token. Alive as long as there are handles.
pub(super) struct Inner {
    tree: Arc<Tree>,
    place: Place,
    /// Set under the tree's lock, and never cleared.
    cancelled: AtomicBool,
    pub(super) waiters: Waiters,
}

impl Inner {
    fn new(tree: Arc<Tree>, place: Place) -> Self {
        // Without a place because its parent is cancelled: then so is it.
        let cancelled = AtomicBool::new(place == Place::NOWHERE);
        Self { tree, place, cancelled, waiters: Waiters::default() }
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    #[inline]
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// For the tree, under its lock.
    pub(super) fn mark(&self) {
        self.cancelled.store(true, Ordering::Release);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tree.remove(self);
    }
}

impl CancellationToken {
    /// Makes a token that has no parent.
    pub fn new() -> Self {
        Self { inner: Tree::plant(Inner::new) }
    }

    /// Makes a token that is cancelled when this one is. Cancelling the child leaves the parent alone.
    ///
    /// Of a cancelled token the child is cancelled, too. When a token's last clone is dropped without having been cancelled, its children become
    /// children of its parent. All tokens of a tree share a lock, which this, [`cancel`](Self::cancel) and the last drop take for a moment.
    ///
    /// # Panics
    ///
    /// With 2^32 tokens alive in a tree.
    pub fn child_token(&self) -> Self {
        let tree = &self.inner.tree;
        Self { inner: tree.grow(&self.inner, |place| Inner::new(tree.clone(), place)) }
    }

    /// Cancels this token and all below it, and wakes everybody who waits for one of them. Once it returns all of them say that they are
    /// cancelled. The second time it does nothing.
    pub fn cancel(&self) {
        for token in self.inner.tree.cut(&self.inner) {
            for waker in token.waiters.take() {
                // Another one's panic isn't this caller's, nor must it cost the others their wake-up.
                quietly(|| waker.wake());
            }
        }
    }

    /// Whether it is cancelled. Costs an atomic load.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.inner.is_cancelled()
    }

    /// Waits until it is cancelled; ready at once if it is.
    ///
    /// # Cancel safety
    ///
    /// It has nothing to lose.
    pub fn cancelled(&self) -> WaitForCancellation<'_> {
        WaitForCancellation::new(self)
    }

    /// [`cancelled`](Self::cancelled) that keeps the token, for tasks and structs.
    pub fn cancelled_owned(self) -> WaitForCancellationOwned {
        WaitForCancellationOwned::new(self)
    }

    /// Runs `future` unless the token is cancelled before it is ready: None then, and it is dropped where it stands (with the returned future).
    ///
    /// If both are so at the same time it is None.
    ///
    /// # Cancel safety
    ///
    /// That of `future`.
    pub fn run_until_cancelled<F: Future>(&self, future: F) -> RunUntilCancelled<'_, F> {
        RunUntilCancelled::new(self.cancelled(), future)
    }

    /// [`run_until_cancelled`](Self::run_until_cancelled) that keeps the token.
    pub fn run_until_cancelled_owned<F: Future>(self, future: F) -> RunUntilCancelledOwned<F> {
        RunUntilCancelledOwned::new(self.cancelled_owned(), future)
    }

    /// A guard that cancels the token when it is dropped.
    ///
    /// ```
    /// use egret_executor::cancel::CancellationToken;
    ///
    /// let token = CancellationToken::new();
    /// let guard = token.clone().drop_guard();
    /// assert!(!token.is_cancelled());
    /// drop(guard);
    /// assert!(token.is_cancelled());
    /// ```
    pub fn drop_guard(self) -> DropGuard {
        DropGuard { token: Some(self) }
    }

    /// How many tokens there are in this one's tree.
    #[cfg(test)]
    pub(super) fn in_tree(&self) -> usize {
        self.inner.tree.len()
    }
}

impl Default for CancellationToken {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CancellationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancellationToken").field("is_cancelled", &self.is_cancelled()).finish()
    }
}

/// Cancels its token when it is dropped. Made by [`CancellationToken::drop_guard`].
#[derive(Debug)]
#[must_use = "dropped at once it cancels at once"]
pub struct DropGuard {
    token: Option<CancellationToken>,
}

impl DropGuard {
    /// Gives the token back, uncancelled.
    pub fn disarm(mut self) -> CancellationToken {
        self.token.take().expect("it is there until this or the drop")
    }
}

impl Drop for DropGuard {
    fn drop(&mut self) {
        if let Some(token) = &self.token {
            token.cancel();
        }
    }
}
