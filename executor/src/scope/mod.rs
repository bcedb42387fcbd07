//! [`scope`](scope()): tasks that end before the code that spawned them goes on.
//!
//! ```text
//!             the body is ready         no future is left
//!   open ─────────────────────► waiting ─────────────────► over: the body's result
//!     │ a task's error or panic, the │ body's error or panic, the deadline, `cancel`
//!     ▼                              ▼
//!   ending: closed, the token cancelled, the body dropped ── the grace, or all have ended ──► all are aborted ──► no future is left: over
//!
//!   dropped in any state: closed, the token cancelled, all aborted; nobody waits
//! ```
//!
//! What is alive is counted by entries: the body has one, and each task's future, to its end. A scope inside of a body or a task finds that one's entry
//! through a thread-local, and each of its own entries keeps it: so a future that is alive keeps open every scope above it, also when
//! the scopes between were dropped without waiting.
//!
//! | field | lock |
//! |---|---|
//! | `State` of a scope | its mutex, a leaf; no user code runs under it |
//!
//! | room | what lives there |
//! |---|---|
//! | here | [`scope`](scope()), [`try_scope`] |
//! | `builder` | settings; running a scope from the body to its end |
//! | `handle` | [`Scope`]: spawning into it |
//! | `inner` | the state, the entries |
//! | `member` | the future around a task's, and around the body |
//! | `error` | [`ScopeError`] |

mod builder;
mod error;
mod handle;
mod inner;
mod member;

use std::{convert::Infallible, future::Future};

pub use {builder::ScopeBuilder, error::ScopeError, handle::Scope};

/// Runs `body` and all tasks that are spawned into its [`Scope`], until the last has ended.
///
/// The body gets a handle of the scope, which it may give to its tasks, so that they spawn, too. The result is the body's, once all is
/// over. The first task that panics ends the scope: the others, and the body, are cancelled, and the panic is the result. With
/// [`try_scope`] a task may also fail with an error of yours. [`Scope::builder`] has deadlines.
///
/// # What is guaranteed
///
/// - When this gives its result, the future of every task in it is gone, and that of every task of the scopes inside of it.
/// - If the body panics, the rest is cancelled in the same way, and then the panic goes on to the caller; unless something else had ended the scope before: a
///   body may just have unwrapped the error that its task's handle gave.
/// - When it is dropped before that, each task has been aborted by the time the
///   drop returns: none begins another poll (but one that another thread is just spawning may begin its first). One that another thread is polling goes on
///   to its next await; after that, soon, its future is dropped there.
///   A drop can't wait for that, but a scope around this one does.
/// - When it is leaked (`std::mem::forget`), the tasks go on. So they can't borrow from the body's surroundings as those of [`std::thread::scope`] may:
///   they are `Send + 'static`. The body itself may borrow, and needn't be `Send`.
///
/// A task that blocks, or never comes to an await, can't be ended, and keeps the scope waiting.
///
/// # Errors
///
/// [`ScopeError::Panicked`]; [`ScopeError::Cancelled`] after [`Scope::cancel`].
///
/// # Panics
///
/// Outside of a runtime; if the body does, when all is over.
///
/// # Cancel safety
///
/// Dropping it cancels all that is in it, as above.
///
/// ```
/// use egret_executor::task::scope;
/// use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
///
/// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// # runtime.block_on(async {
/// let sum = Arc::new(AtomicU32::new(0));
/// let word = scope(|scope| async move {
///     for n in 1..=10 {
///         let sum = sum.clone();
///         scope.spawn(async move { sum.fetch_add(n, Ordering::Relaxed) });
///     }
///     let first = scope.spawn(async { "an output" }).await;
///     (first.unwrap(), sum)
/// });
/// let (output, sum) = word.await.unwrap();
/// assert_eq!((output, sum.load(Ordering::Relaxed)), ("an output", 55));
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn scope<T, F, B>(body: F) -> Result<T, ScopeError>
where
    F: FnOnce(Scope) -> B,
    B: Future<Output = T>,
{
    Scope::builder().run(body).await
}

/// [`scope`](scope()) whose body and whose tasks may fail: the first error cancels all the rest, and is the result.
///
/// # Errors
///
/// [`ScopeError::Failed`] with the first error; and those of [`scope`](scope()).
///
/// # Panics
///
/// As [`scope`](scope()).
///
/// # Cancel safety
///
/// As [`scope`](scope()).
///
/// ```
/// use egret_executor::task::{ScopeError, try_scope};
///
/// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// # runtime.block_on(async {
/// let result = try_scope(|scope| async move {
///     scope.try_spawn(async { "7".parse::<u8>() });
///     scope.try_spawn(async { "seven".parse::<u8>() });
///     // Dropped where it stands.
///     std::future::pending::<Result<(), std::num::ParseIntError>>().await
/// });
/// assert!(matches!(result.await, Err(ScopeError::Failed(_))));
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn try_scope<T, E, F, B>(body: F) -> Result<T, ScopeError<E>>
where
    E: Send + 'static,
    F: FnOnce(Scope<E>) -> B,
    B: Future<Output = Result<T, E>>,
{
    Scope::<Infallible>::builder().try_run(body).await
}
