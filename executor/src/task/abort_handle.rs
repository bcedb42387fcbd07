//! [`AbortHandle`]: the right to abort a task, and nothing else.
//!
//! | it was made | it holds | how it aborts |
//! |---|---|---|
//! | with the task (a `JoinSet`), or of one that waits | a waker of the task, which keeps its memory | as a `JoinHandle` does |
//! | of one that is queued, or in its first poll | the runtime, and the task's id | through the task's entry in `links` |
//! | of one that has ended | its id | it doesn't |

use std::{
    fmt,
    panic::{RefUnwindSafe, UnwindSafe},
    task::Waker,
};

use crate::{
    shared::Shared,
    sync::Arc,
    task::{Id, Meta, spawn::MetaPointer},
};

/// Aborts a task without waiting for it: [`JoinHandle::abort_handle`](super::JoinHandle::abort_handle) makes one.
///
/// It may be cloned, sent anywhere and kept for as long as one likes; dropping it does nothing. As long as it exists, the memory of a
/// task that it was made of may be kept too (without the task's future, once that has ended).
///
/// ```
/// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// # runtime.block_on(async {
/// let task = egret_executor::spawn(std::future::pending::<()>());
/// let abort = task.abort_handle();
/// abort.abort();
/// assert!(task.await.unwrap_err().is_cancelled());
/// assert!(abort.is_finished());
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct AbortHandle {
    id: Id,
    reach: Reach,
}

#[derive(Clone)]
enum Reach {
    Task {
        meta: MetaPointer,
        /// Keeps what `meta` points to.
        _keeps: Waker,
    },
    Link(Arc<Shared>, MetaPointer),
    Ended,
}

// It shows nothing of the task's.
impl UnwindSafe for AbortHandle {}
impl RefUnwindSafe for AbortHandle {}

impl AbortHandle {
    /// Of a task whose end is marked: it was made so, or it waits. The waker is one of its own.
    pub(crate) fn of_task(meta: &Meta, waker: Waker) -> Self {
        let reach = Reach::Task { meta: MetaPointer::new(meta), _keeps: waker };
        Self { id: meta.id, reach }
    }

    /// For the holder of the task's `JoinHandle`, which keeps the task's memory meanwhile.
    pub(crate) fn of_handle(meta: &Meta, finished: bool) -> Self {
        if finished {
            return Self { id: meta.id, reach: Reach::Ended };
        }
        let (shared, pointer) = (&meta.shared, MetaPointer::new(meta));
        if let Some(waker) = meta.state.key().and_then(|key| shared.registry.waker(key, pointer)) {
            return Self::of_task(meta, waker);
        }
        shared.links.make(meta.id.get(), &meta.state);
        Self { id: meta.id, reach: Reach::Link(shared.clone(), pointer) }
    }

    /// Asks the task to end, as [`JoinHandle::abort`](super::JoinHandle::abort) does.
    pub fn abort(&self) {
        match &self.reach {
            // SAFETY: the waker beside it is the task's own, which keeps its memory.
            Reach::Task { meta, .. } => unsafe { meta.get() }.abort(),
            Reach::Link(shared, pointer) => {
                let waker =
                    shared.links.ask(self.id.get()).and_then(|key| shared.registry.waker(key, *pointer));
                // None: it sees it by itself, or has ended.
                let Some(_waker) = waker else { return };
                // SAFETY: the waker is one that was registered with this pointer, so it keeps what lies there.
                let meta = unsafe { pointer.get() };
                // If the task has ended meanwhile, another's may lie at the same place.
                if meta.id == self.id {
                    meta.abort();
                }
            }
            Reach::Ended => {}
        }
    }

    /// Whether the task has ended, in whatever way: its future is gone, and its output, if it has one, is there or will be in a moment.
    ///
    /// A task that ends in the very moment in which this handle is made of it may count as unfinished until its
    /// [`JoinHandle`](super::JoinHandle) is gone.
    pub fn is_finished(&self) -> bool {
        match &self.reach {
            // SAFETY: the waker beside it is the task's own, which keeps its memory.
            Reach::Task { meta, .. } => unsafe { meta.get() }.state.is_ended(),
            Reach::Link(shared, _) => shared.links.is_ended(self.id.get()),
            Reach::Ended => true,
        }
    }

    /// The task's id.
    pub fn id(&self) -> Id {
        self.id
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle").field("id", &self.id).field("finished", &self.is_finished()).finish()
    }
}
