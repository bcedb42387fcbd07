//! [`JoinSet`]: many tasks of one type, awaited in the order in which they end.
//!
//! ```text
//!   entries:  0 handle ── waker 0 ─┐           the task ends: async-task wakes waker 0, which pushes 0
//!             1 result             ├──► Ready: 0, 3 ──► join_next pops 0, polls the handle, gives its result
//!             2 free               │           (and takes the entry out: O(1), however many there are)
//!             3 handle ── waker 3 ─┘
//! ```
//!
//! Each handle is polled once when it comes in, which leaves its waker with the task, and once when that waker was woken.
//!
//! | room | what lives there |
//! |---|---|
//! | here | the set |
//! | `ready` | which have ended, and who waits: plain, model-checked |
//! | `builder` | tasks with names, into a set |

#[cfg(not(egret_loom))]
mod builder;
pub(crate) mod ready;
#[cfg(not(egret_loom))]
mod set;

#[cfg(not(egret_loom))]
pub use {builder::Builder, set::JoinSet};
