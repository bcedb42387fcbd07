//! The executor of egret: tasks, work-stealing workers, timers, and the cached sockets that the network crate builds on.
//!
//! ```text
//!   spawn ──► task (async-task, one allocation) ──► a run queue: LIFO slot │ worker's deque │ injector
//!                                                                               │
//!   worker: run ─► every 61 polls look at the reactor ─► nothing to run: search ─► park in Eventpoll::wait_notified
//!                                                                               ▲                 │
//!                                          notify_one (there is a task) ────────┴── an event ─────┘
//! ```
//!
//! | room | what lives there |
//! |---|---|
//! | [`runtime`] | [`Builder`], [`Runtime`], [`Handle`], metrics: what a user holds |
//! | `shared` | what all threads of a runtime share; scheduling from outside; the end of a runtime |
//! | `worker` | the loop of a worker thread and scheduling from inside of it |
//! | `queue`, `idle` | the run queues and the books of who sleeps: plain, model-checked with loom |
//! | `handover` | how a worker's core changes hands: plain, model-checked |
//! | `blocking` | the threads that blocking calls run on |
//! | [`cancel`] | tokens that tell tasks to end |
//! | `scope` | tasks that end before the code that spawned them goes on |
//! | `stall` | who has not come by, and so has to be served by another |
//! | `processor` | how a worker shares its processor with other threads |
//! | `context`, `coop` | the thread-locals: which runtime, which worker, how much budget |
//! | [`task`] | what is in a task, its handle, the registry of live ones |
//! | [`time`], [`io`] | sleeps and timeouts; sockets' cached readiness |
//!
//! # Locks
//!
//! There is no order to keep: a shard of the task registry, a run queue's stand-in under loom, the timers of a worker, the
//! free list and the wakers of the registrations are all leaf locks, none is taken while another is held. One isn't a leaf:
//! a registration's arming lock is held while the engine takes its own. No user code (a wake, the drop of a waker, a future
//! or an output) runs under any of them.
//!
//! # Panics of user code
//!
//! A panic in a task's poll or in the drop of its future becomes its [`JoinError`]; one in the drop of an output that
//! nobody wants, or in a foreign waker, is caught and dropped. No panic of a task ends a worker.
//!
//! ```
//! let runtime = egret_executor::Builder::new_multi_thread().worker_threads(2).build()?;
//! let sum = runtime.block_on(async {
//!     let tasks: Vec<_> = (0..10u32).map(|n| egret_executor::spawn(async move { n * n })).collect();
//!     let mut sum = 0;
//!     for task in tasks {
//!         sum += task.await.expect("no task panics here");
//!     }
//!     sum
//! });
//! assert_eq!(sum, 285);
//! # Ok::<(), std::io::Error>(())
//! ```

#[cfg(not(egret_loom))]
mod blocking;
pub mod cancel;
mod handover;
mod idle;
mod prefetch;
mod queue;
mod sync;
pub mod task;

#[cfg(not(egret_loom))]
mod context;
#[cfg(not(egret_loom))]
mod coop;
#[cfg(not(egret_loom))]
pub mod io;
#[cfg(not(egret_loom))]
mod processor;
#[cfg(not(egret_loom))]
pub mod runtime;
#[cfg(not(egret_loom))]
mod scope;
#[cfg(not(egret_loom))]
mod shared;
#[cfg(not(egret_loom))]
mod stall;
#[cfg(not(egret_loom))]
pub mod time;
#[cfg(all(test, not(egret_loom)))]
#[path = "../../tests/support/watchdog.rs"]
mod watchdog;
#[cfg(not(egret_loom))]
mod worker;

#[cfg(not(egret_loom))]
pub use runtime::{Builder, EnterGuard, Handle, Runtime, spawn};
#[cfg(not(egret_loom))]
pub use task::{JoinError, JoinHandle};

/// The parts that the loom models in `tests/loom_*.rs` drive. Exists only under `cfg(egret_loom)`.
#[cfg(egret_loom)]
#[doc(hidden)]
pub mod model {
    pub use crate::cancel::CancellationToken;
    pub use crate::handover::{Afterwards, Called, CoreSlot, Exchange};
    pub use crate::idle::{Idle, Settled};
    pub use crate::queue::{Injector, Local, Pointer, Remote, local};
    pub use crate::task::join_set::ready::Ready;
    pub use crate::task::links::{Links, Published};
    pub use crate::task::local_set::inbox::{Inbox, Settle};
    pub use crate::task::registry::{Closed, Key, Registry};
    pub use crate::task::state::{Abort, Found, Left, Look, Publish, State};
}
