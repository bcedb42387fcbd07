//! Tasks with names, into a set.

use std::{future::Future, io};

use super::JoinSet;
use crate::{
    runtime::Handle,
    task::{self, AbortHandle},
};

/// Spawns a task with a name into a set: [`JoinSet::build_task`] makes one. See [`task::Builder`].
///
/// ```
/// # use egret_executor::task::JoinSet;
/// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// # runtime.block_on(async {
/// let mut set = JoinSet::new();
/// set.build_task().name("fisher").spawn(async { 7 })?;
/// assert_eq!(set.join_all().await, [7]);
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `spawn`"]
pub struct Builder<'a, T> {
    set: &'a mut JoinSet<T>,
    task: task::Builder<'a>,
}

impl<'a, T: 'static> Builder<'a, T> {
    pub(super) fn new(set: &'a mut JoinSet<T>) -> Self {
        Self { set, task: task::Builder::new() }
    }

    /// The task's name.
    pub fn name(self, name: &'a str) -> Self {
        Self { task: self.task.name(name), ..self }
    }

    /// Spawns the task on the current runtime.
    ///
    /// # Errors
    ///
    /// None today; the result is tokio's.
    ///
    /// # Panics
    ///
    /// Outside of a runtime; [`spawn_on`](Self::spawn_on) works everywhere.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> io::Result<AbortHandle>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        self.spawn_on(future, &Handle::current())
    }

    /// Spawns the task on that runtime.
    ///
    /// # Errors
    ///
    /// None today; the result is tokio's.
    #[track_caller]
    pub fn spawn_on<F>(self, future: F, handle: &Handle) -> io::Result<AbortHandle>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        let task = self.task.spawn_on(future, handle)?;
        let abort = task.abort_handle();
        self.set.insert(task);
        Ok(abort)
    }
}
