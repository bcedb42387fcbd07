//! Tasks: what is in one, how it is made, how its wakes reach a run queue.
//!
//! ```text
//!   one allocation (async-task)                        who holds it
//!   ┌───────────────────────────────────────┐
//!   │ async-task's state, join waker        │◄──── Runnable: the right to poll it; in a run queue, or on a worker's stack
//!   │ Meta: runtime, id, place, State       │◄──── Wakers: in leaf futures; one in the registry once it has waited
//!   │ Harness { future } or the output      │◄──── JoinHandle: reads the output, aborts
//!   └───────────────────────────────────────┘
//!
//!   spawn ─► queued ─► running ─┬─► Ready or panic ─► future dropped ─► output kept for the handle
//!              ▲                ├─► Pending, first time ─► registered ─┐
//!              │                └─► Pending ───────────────────────────┤
//!              └──────────────────── woken ◄───────────────────────────┘
//!   abort: sets a bit and wakes; the next poll drops the future instead of polling it.
//!   end of the runtime: every Runnable is dropped, and with it the future; the handle gets `cancelled`.
//! ```
//!
//! | room | what lives there |
//! |---|---|
//! | `state`, `registry`, `links` | abortion and registration: plain, model-checked |
//! | `harness` | the future around the user's: catches panics, sees aborts, registers |
//! | `builder` | tasks with names |
//! | `local_key` | values that go with a task |
//! | [`join_set`] | many tasks, awaited as they end |
//! | `local_set` | tasks that stay on their thread |
//! | `trace` | tasks as spans of `tracing` |
//! | `join`, `abort_handle`, `error` | [`JoinHandle`], [`AbortHandle`], [`JoinError`] |

pub mod join_set;
pub(crate) mod links;
pub(crate) mod local_set;
pub(crate) mod registry;
pub(crate) mod state;

#[cfg(not(egret_loom))]
mod abort_handle;

#[cfg(not(egret_loom))]
mod builder;
#[cfg(not(egret_loom))]
mod error;
#[cfg(not(egret_loom))]
mod harness;
#[cfg(not(egret_loom))]
mod id;
#[cfg(not(egret_loom))]
mod join;
#[cfg(not(egret_loom))]
mod local_key;
#[cfg(not(egret_loom))]
pub(crate) mod quiet;
#[cfg(not(egret_loom))]
mod spawn;
#[cfg(not(egret_loom))]
mod trace;
#[cfg(not(egret_loom))]
mod yield_now;

#[cfg(not(egret_loom))]
pub use crate::{
    blocking::spawn_blocking,
    coop::{Unconstrained, consume_budget, unconstrained},
    scope::{Scope, ScopeBuilder, ScopeError, scope, try_scope},
    worker::block_in_place,
};
#[cfg(not(egret_loom))]
pub mod coop {
    //! The poll budget, under tokio's path: how many operations one poll of a task may complete before it has to let others run.

    pub use crate::coop::{Unconstrained, consume_budget, has_budget_remaining, unconstrained};
}
#[cfg(not(egret_loom))]
pub(crate) use builder::Names;
#[cfg(not(egret_loom))]
pub(crate) use spawn::{Meta, MetaPointer, Task, blocking, spawn, spawn_abortable, spawn_here};
#[cfg(not(egret_loom))]
pub use {
    abort_handle::AbortHandle,
    builder::Builder,
    error::JoinError,
    id::Id,
    join::JoinHandle,
    join_set::JoinSet,
    local_key::{AccessError, LocalKey, TaskLocalFuture},
    local_set::{LocalEnterGuard, LocalSet, spawn_local},
    yield_now::{YieldNow, yield_now},
};
