//! What became of the tasks when a runtime was shut down.

use std::{fmt, panic::Location, time::Duration};

use crate::{
    runtime::{StuckPoll, TaskDump},
    sync::Arc,
    task::{Id, Meta},
};

/// What [`Runtime::shutdown`](crate::Runtime::shutdown) has done.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// How many tasks have ended by themselves while they were waited for.
    pub finished: u64,
    /// The tasks that were dropped where they stood. If something is [stuck](Self::stuck), these are those that are known to be dropped once its worker comes back.
    pub cancelled: Vec<TaskReport>,
    /// Tasks that didn't come out of their poll. Their workers' threads are left behind.
    pub stuck: Vec<StuckPoll>,
    /// Blocking calls that still run. Their threads are left behind.
    pub blocking_calls: usize,
    /// Tasks whose future still exists: those that are stuck, blocking calls that run, and tasks of a [`LocalSet`](crate::task::LocalSet), which end with their set.
    pub left: usize,
    /// Whether the runtime has come to its end. If not, its last worker (or whoever is in `block_on` of a current-thread runtime) brings it about.
    pub has_ended: bool,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Whether all tasks, and with them the runtime, have ended by themselves.
    pub fn is_clean(&self) -> bool {
        self.has_ended
            && self.left == 0
            && self.cancelled.is_empty()
            && self.stuck.is_empty()
            && self.blocking_calls == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} tasks finished, {} cancelled, {} stuck, {} blocking calls left behind, {} left in all, in {:?}{}",
            self.finished,
            self.cancelled.len(),
            self.stuck.len(),
            self.blocking_calls,
            self.left,
            self.took,
            if self.has_ended { "" } else { ", and not at its end yet" }
        )?;
        self.cancelled.iter().try_for_each(|task| write!(f, "\ncancelled: {task}"))?;
        self.stuck.iter().try_for_each(|task| write!(f, "\nstuck: {task}"))
    }
}

/// A task in a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskReport {
    /// Its id.
    pub id: Id,
    /// Its name, if it had one.
    pub name: Option<Arc<str>>,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
}

impl TaskReport {
    pub(crate) fn of(meta: &Meta) -> Self {
        Self { id: meta.id, name: meta.shared.names.get(meta.id), spawned_at: meta.spawned_at }
    }
}

impl From<TaskDump> for TaskReport {
    fn from(TaskDump { id, name, spawned_at, .. }: TaskDump) -> Self {
        Self { id, name, spawned_at }
    }
}

impl fmt::Display for TaskReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}", self.id)?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        write!(f, ", spawned at {}", self.spawned_at)
    }
}
