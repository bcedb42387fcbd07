//! [`LocalSet`]: tasks that stay on their thread.
//!
//! ```text
//!                 wake on the set's thread, the set being current               a turn: at most 61
//!   spawn_local ──────────────────────────────────────────────► queue ─────────────────────────────► poll ─► ended
//!                 wake from elsewhere                             ▲                                    │
//!            ┌──────────────────────────────► inbox ──────────────┘ a driver's poll begins             │ Pending
//!            └──────────────────────────────────────────────────────────────────────── waits ◄─────────┘
//!
//!   the set:   rests ◄──────────────────► driven: awake ◄──────► asleep (see `inbox`)
//!                │  run_until, block_on, await
//!                └──► closed: every task's Runnable is brought here, and dropped; what is spawned from now on is dropped at once
//! ```
//!
//! A local task is an ordinary one (see the module above this one) but for its schedule function, which holds the inbox, and for a member's entry beside its
//! future. It registers with its runtime as others do, so aborts and the end of the runtime wake it as they wake others.
//!
//! # A future is polled and dropped on its own thread only
//!
//! async-task polls and drops a future through a Runnable, and only through one. Other threads make Runnables, by waking; all that the schedule
//! function does with one there is to move it into the inbox. Both queues are emptied by the set's `Context` alone, which is
//! an `Rc` of its thread. That it is so also when
//!
//! - **the set is dropped**: `close` wakes each member, which makes a Runnable unless there is one. Those that there are lie in a queue, or are on their
//!   way from a thread that is just waking: `close` waits until no member is left. (None runs: who polls a set borrows it.)
//! - **a task is aborted from elsewhere**: an abort sets a bit and wakes. The poll that follows drops the future.
//! - **the last waker dies elsewhere**: async-task then schedules the task once more, for its drop: it comes into the inbox. (In fact a member's
//!   entry keeps a waker as long as there is a future, so that isn't the last one.)
//! - **the runtime ends**: it wakes what is registered, which comes into the inbox; the set's next turn, or its drop, drops it. Nothing of a
//!   local task is ever in the runtime's own queues.
//! - **the set is leaked**: so is its inbox, with all that is in it. An inbox that goes in spite of all this forgets its tasks.
//! - **the thread ends**: a set in a thread-local is dropped there and then, as anywhere. (Then no set is current: all wakes go through the inbox.)
//!
//! The memory of a task, without its future, may go on any thread. Its output goes with the handle, which is `Send` if the output is, or, without a
//! handle, with the Runnable.
//!
//! After the set is gone no task has a future, and async-task schedules none: a wake does nothing.
//!
//! | room | what lives there |
//! |---|---|
//! | `set` | [`LocalSet`], [`spawn_local`], the drivers |
//! | `context` | what lives on the set's thread: queue, members, the current set |
//! | `inbox` | what comes from elsewhere, and who is woken: plain, model-checked |
//! | `members` | a waker of each task whose future exists |

#[cfg(not(egret_loom))]
mod context;
pub(crate) mod inbox;
#[cfg(not(egret_loom))]
mod members;
#[cfg(not(egret_loom))]
mod set;

#[cfg(not(egret_loom))]
pub use set::{LocalEnterGuard, LocalSet, spawn_local};
