//! Cancellation: [`CancellationToken`], a tree of them, and what waits for one. Depends on no runtime.
//!
//! ```text
//!   waiter:  store the waker (waiters' lock; refused if they were taken) ─► Pending
//!   cancel:  mark all below (tree's lock) ─► take the wakers of each (waiters' lock) ─► wake, with no lock
//! ```
//!
//! A waiter comes to its token's lock before the wakers are taken, and is woken, or after it, and is told. (Checked by loom, `tests/loom_cancel.rs`.)
//!
//! | lock | protects | below it |
//! |---|---|---|
//! | a tree's | the links, and the marking of tokens | nothing |
//! | a token's waiters' | the wakers | nothing |
//!
//! - `token`: the handle. `tree`: who is whose child. `waiters`: who waits. `wait`: the futures.
//!
//! tokio's names, from `tokio_util::sync`.

mod token;
mod tree;
mod wait;
mod waiters;

#[cfg(not(egret_loom))]
use crate::task::quiet::quietly;
pub use token::{CancellationToken, DropGuard};
pub use wait::{RunUntilCancelled, RunUntilCancelledOwned, WaitForCancellation, WaitForCancellationOwned};

/// A model's wakers don't panic.
#[cfg(egret_loom)]
fn quietly(f: impl FnOnce()) {
    f();
}

#[cfg(all(test, not(egret_loom)))]
mod tests;
