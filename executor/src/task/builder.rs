//! Tasks with names.
//!
//! A name lies in a table of its runtime, by the task's id, from the spawn to the end of the task's future: a task without one has no
//! room for it, and never comes here.
//!
//! | field | lock |
//! |---|---|
//! | `Names` | its mutex, a leaf; no user code runs under it |

use std::{
    collections::HashMap,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::{
    runtime::Handle,
    sync::{Arc, Mutex, lock},
    task::{Id, JoinHandle, spawn::spawn_with_id},
};

/// The names of a runtime's live tasks that have one.
#[derive(Default)]
pub(crate) struct Names(Mutex<HashMap<u64, Arc<str>>>);

impl Names {
    pub(crate) fn get(&self, id: Id) -> Option<Arc<str>> {
        lock(&self.0).get(&id.get()).cloned()
    }
}

/// A task's entry in the table, taken out when it is dropped.
struct Entry {
    names: Arc<Names>,
    id: Id,
}

impl Entry {
    fn new(names: &Arc<Names>, id: Id, name: &str) -> Self {
        let name = Arc::from(name);
        lock(&names.0).insert(id.get(), name);
        Self { names: names.clone(), id }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.names.0).remove(&self.id.get());
    }
}

pin_project! {
    /// The user's future, and after it, in the order of drops, its name.
    struct Named<F> {
        #[pin]
        future: F,
        entry: Entry,
    }
}

impl<F: Future> Future for Named<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

/// Spawns a task with a name, which [`JoinHandle`]'s `Debug` shows as long as the task's future exists.
///
/// Names needn't differ. A task with one costs a lock of its runtime and an allocation more at its beginning, and the lock at its end.
///
/// ```
/// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// # runtime.block_on(async {
/// let task = egret_executor::task::Builder::new().name("fisher").spawn(std::future::pending::<()>())?;
/// assert!(format!("{task:?}").contains("fisher"));
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "a builder does nothing until `spawn`"]
pub struct Builder<'a> {
    name: Option<&'a str>,
}

impl<'a> Builder<'a> {
    /// For a task without a name, as [`spawn`](crate::spawn) makes it.
    pub fn new() -> Self {
        Self::default()
    }

    /// The task's name.
    pub fn name(self, name: &'a str) -> Self {
        Self { name: Some(name) }
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
    pub fn spawn<F>(self, future: F) -> io::Result<JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_on(future, &Handle::current())
    }

    /// Spawns the task on that runtime. Once it has ended the task is dropped at once.
    ///
    /// # Errors
    ///
    /// None today; the result is tokio's.
    ///
    /// ```
    /// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// let task = egret_executor::task::Builder::new().name("five").spawn_on(async { 5 }, runtime.handle())?;
    /// assert_eq!(runtime.block_on(task).unwrap(), 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn spawn_on<F>(self, future: F, handle: &Handle) -> io::Result<JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (shared, id) = (&handle.shared, Id::next());
        Ok(match self.name {
            Some(name) => {
                let entry = Entry::new(&shared.names, id, name);
                spawn_with_id(shared, Named { future, entry }, id)
            }
            None => spawn_with_id(shared, future, id),
        })
    }
}
