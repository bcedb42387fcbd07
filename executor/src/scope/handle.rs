//! [`Scope`]: spawning into a scope.

use std::{convert::Infallible, fmt, future::Future, panic::Location};

use super::{ScopeBuilder, ScopeError, inner::Inner, member::Member};
use crate::{
    cancel::CancellationToken,
    sync::Arc,
    task::{Id, JoinHandle, spawn_abortable},
};

/// A handle of a scope, to spawn into it. The body of [`scope`](super::scope()) gets it, and may clone it for its tasks.
///
/// It doesn't keep the scope open. Once the scope is ending, what is spawned into it is dropped at once.
///
/// ```
/// use egret_executor::task::scope;
///
/// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// # runtime.block_on(async {
/// let (sender, receiver) = std::sync::mpsc::channel();
/// scope(|scope| async move {
///     let inside = scope.clone();
///     scope.spawn(async move {
///         // A task spawns another one, and doesn't wait for it. The scope does.
///         inside.spawn(async move { sender.send("grandchild") });
///     });
/// })
/// .await
/// .unwrap();
/// assert_eq!(receiver.try_recv(), Ok("grandchild"));
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Scope<E = Infallible> {
    inner: Arc<Inner<E>>,
}

impl<E> Clone for Scope<E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl Scope {
    /// A scope with a deadline, a grace, or a token above it.
    pub fn builder() -> ScopeBuilder {
        ScopeBuilder::default()
    }
}

impl<E: Send + 'static> Scope<E> {
    pub(super) fn new(inner: Arc<Inner<E>>) -> Self {
        Self { inner }
    }

    /// Spawns a task into the scope, on the scope's runtime. If it panics the scope ends.
    ///
    /// The handle may be dropped, the scope waits all the same. A task that is aborted by its handle has ended, and that's no failure.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (id, spawned_at) = (Id::next(), Location::caller());
        let shared = &self.inner.runtime.shared;
        match self.inner.admit(Some(id)) {
            Some(entry) => {
                let member = Member::new(id, entry, future);
                let (handle, abort) = spawn_abortable(shared, member, spawned_at, id);
                self.inner.admitted(id, abort);
                handle
            }
            None => {
                drop(future);
                let (handle, abort) = spawn_abortable(shared, Member::<E, F>::refused(id), spawned_at, id);
                abort.abort();
                handle
            }
        }
    }

    /// Spawns a task that may fail: its error, if it is the first, ends the scope and is the scope's result.
    ///
    /// The handle's output is what was in the `Ok`; None after an `Err`, which the scope has.
    ///
    /// ```
    /// use egret_executor::task::{ScopeError, try_scope};
    ///
    /// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// # runtime.block_on(async {
    /// let sum = try_scope(|scope| async move {
    ///     let numbers = ["1", "2"].map(|text| scope.try_spawn(async { text.parse::<i32>() }));
    ///     let mut sum = 0;
    ///     for number in numbers {
    ///         // Never None here: a failure drops this body before it sees that.
    ///         sum += number.await.unwrap().unwrap();
    ///     }
    ///     Ok(sum)
    /// });
    /// assert_eq!(sum.await.unwrap(), 3);
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn try_spawn<F, T>(&self, future: F) -> JoinHandle<Option<T>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        let inner = self.inner.clone();
        self.spawn(async move {
            match future.await {
                Ok(output) => Some(output),
                Err(error) => {
                    inner.fail(ScopeError::Failed(error));
                    None
                }
            }
        })
    }

    /// Ends the scope: what is in it is cancelled, after the builder's grace if it has one.
    ///
    /// If the body isn't complete it is dropped at its next await, and the result is [`ScopeError::Cancelled`]. So a body that has all it wants
    /// cancels, and returns at once, to be rid of its tasks.
    ///
    /// ```
    /// use egret_executor::task::scope;
    ///
    /// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// # runtime.block_on(async {
    /// let result = scope(|scope| async move {
    ///     scope.spawn(std::future::pending::<()>());
    ///     scope.cancel();
    ///     "the body's"
    /// });
    /// assert_eq!(result.await.unwrap(), "the body's");
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn cancel(&self) {
        self.inner.token.cancel();
    }

    /// The scope's token, for tasks that want to end in good order. It is cancelled when the scope begins to end, whatever the reason;
    /// cancelling it ends the scope, as [`cancel`](Self::cancel) does.
    pub fn token(&self) -> &CancellationToken {
        &self.inner.token
    }

    /// Whether the scope still takes tasks.
    pub fn is_open(&self) -> bool {
        self.inner.is_open()
    }
}

impl<E> fmt::Debug for Scope<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("tasks", &self.inner.tasks())
            .field("open", &self.inner.is_open())
            .finish_non_exhaustive()
    }
}
