//! The set.

use std::{
    fmt,
    future::{Future, poll_fn},
    panic::{Location, RefUnwindSafe, UnwindSafe, resume_unwind},
    task::{Context, Poll, Wake, Waker},
};

use super::{Builder, ready::Ready};
use crate::{
    blocking, coop,
    runtime::Handle,
    sync::{Arc, Mutex},
    task::{
        AbortHandle, Id, JoinError, JoinHandle, LocalSet, local_set, quiet::quietly, spawn::spawn_abortable,
    },
};

/// Tasks with outputs of one type, awaited in the order in which they end.
///
/// **Dropping it aborts all tasks in it**; [`detach_all`](Self::detach_all) lets them go on.
///
/// Adding a task and taking out the next that has ended take constant time. A set belongs to no runtime: tasks of several may be in it.
///
/// ```
/// use egret_executor::task::JoinSet;
///
/// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// # runtime.block_on(async {
/// let mut squares = JoinSet::new();
/// for number in 0..10 {
///     squares.spawn(async move { number * number });
/// }
/// let mut sum = 0;
/// while let Some(square) = squares.join_next().await {
///     sum += square.expect("no task panics here");
/// }
/// assert_eq!(sum, 285);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "dropping a set aborts its tasks"]
pub struct JoinSet<T> {
    entries: Vec<Entry<T>>,
    /// The first free entry.
    free: Option<u32>,
    len: usize,
    ready: Arc<Ready>,
}

enum Entry<T> {
    Free {
        next: Option<u32>,
    },
    Waiting {
        handle: JoinHandle<T>,
        waker: Waker,
    },
    /// It had ended when it came in. The mutex makes the output, which may be only `Send`, shareable; nobody ever locks it.
    Ended {
        id: Id,
        result: Mutex<Result<T, JoinError>>,
    },
}

// A panic leaves at worst a task that nobody waits for.
impl<T> UnwindSafe for JoinSet<T> {}
impl<T> RefUnwindSafe for JoinSet<T> {}

/// What a task wakes when it ends.
struct Bell {
    ready: Arc<Ready>,
    number: u32,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(waiter) = self.ready.push(self.number) {
            // async-task, which calls this, doesn't stand a panic of a foreign waker.
            quietly(|| waiter.wake());
        }
    }
}

impl<T> JoinSet<T> {
    /// An empty set.
    pub fn new() -> Self {
        Self { entries: Vec::new(), free: None, len: 0, ready: Arc::default() }
    }

    /// How many tasks are in it, those that have ended and were not taken out included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Waits for the next task that ends, and takes it out. None if the set is empty.
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe: a task is taken out only by a poll that gives its result.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        poll_fn(|cx| self.poll_join_next(cx)).await
    }

    /// [`join_next`](Self::join_next) that tells the task's id, too. (That of a task that failed is in its error.)
    ///
    /// # Cancel safety
    ///
    /// As of `join_next`.
    pub async fn join_next_with_id(&mut self) -> Option<Result<(Id, T), JoinError>> {
        poll_fn(|cx| self.poll_join_next_with_id(cx)).await
    }

    /// Takes out a task that has ended. None if there is none.
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.try_join_next_with_id().map(without_id)
    }

    /// [`try_join_next`](Self::try_join_next) that tells the task's id, too.
    pub fn try_join_next_with_id(&mut self) -> Option<Result<(Id, T), JoinError>> {
        loop {
            let number = self.ready.pop()?;
            if let Some(ended) = self.take(number) {
                return Some(ended);
            }
        }
    }

    /// Polls for the next task that ends, and takes it out. `Ready(None)` if the set is empty.
    ///
    /// Only the waker of the last call is woken.
    pub fn poll_join_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, JoinError>>> {
        self.poll_join_next_with_id(cx).map(|next| next.map(without_id))
    }

    /// [`poll_join_next`](Self::poll_join_next) that tells the task's id, too.
    pub fn poll_join_next_with_id(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Id, T), JoinError>>> {
        if self.is_empty() {
            return Poll::Ready(None);
        }
        let unit = std::task::ready!(coop::poll_proceed(cx));
        loop {
            let Some(number) = self.ready.pop_or_wait(cx.waker()) else { return Poll::Pending };
            if let Some(ended) = self.take(number) {
                unit.made_progress();
                return Poll::Ready(Some(ended));
            }
        }
    }

    /// Aborts all tasks. They stay in the set, and end, cancelled, at their next wake, which this brings about.
    pub fn abort_all(&mut self) {
        for entry in &self.entries {
            if let Entry::Waiting { handle, .. } = entry {
                handle.abort();
            }
        }
    }

    /// Takes all tasks out and lets them go on.
    pub fn detach_all(&mut self) {
        // In whatever order their outputs are dropped: the set is empty before.
        let entries = std::mem::take(&mut self.entries);
        (self.free, self.len) = (None, 0);
        // Bells of the old entries must not ring for new ones.
        self.ready = Arc::default();
        drop(entries);
    }

    /// Takes out what has this number if it has ended.
    fn take(&mut self, number: u32) -> Option<Result<(Id, T), JoinError>> {
        let entry = self.entries.get_mut(number as usize)?;
        let (id, result) = match entry {
            Entry::Free { .. } => return None,
            Entry::Waiting { handle, waker } => match handle.poll_with(waker) {
                Poll::Ready(result) => (handle.id(), result),
                Poll::Pending => return None,
            },
            Entry::Ended { .. } => {
                let Entry::Ended { id, result } = std::mem::replace(entry, Entry::Free { next: None }) else {
                    unreachable!("it was one a line above");
                };
                (id, result.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
            }
        };
        let _gone = std::mem::replace(entry, Entry::Free { next: self.free.replace(number) });
        self.len -= 1;
        Some(result.map(|output| (id, output)))
    }
}

fn without_id<T>(result: Result<(Id, T), JoinError>) -> Result<T, JoinError> {
    result.map(|(_, output)| output)
}

impl<T: 'static> JoinSet<T> {
    /// Spawns a task on the current runtime, into the set. See [`spawn`](crate::spawn).
    ///
    /// # Panics
    ///
    /// Outside of a runtime; [`spawn_on`](Self::spawn_on) works everywhere.
    #[track_caller]
    pub fn spawn<F>(&mut self, future: F) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        self.spawn_on(future, &Handle::current())
    }

    /// Spawns a task on that runtime, into the set. If it has ended the task is cancelled at once.
    #[track_caller]
    pub fn spawn_on<F>(&mut self, future: F, handle: &Handle) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        let (task, abort) = spawn_abortable(&handle.shared, future, Location::caller(), Id::next());
        self.insert(task);
        abort
    }

    /// Spawns a task on the current [`LocalSet`](crate::task::LocalSet), into this set. See [`spawn_local`](crate::task::spawn_local).
    ///
    /// # Panics
    ///
    /// Without a current `LocalSet`.
    ///
    /// ```
    /// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// use egret_executor::task::{JoinSet, LocalSet};
    /// use std::rc::Rc;
    ///
    /// LocalSet::new().block_on(&runtime, async {
    ///     let mut set = JoinSet::new();
    ///     set.spawn_local(async { Rc::new(1) });
    ///     assert_eq!(*set.join_next().await.unwrap().unwrap(), 1);
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn spawn_local<F>(&mut self, future: F) -> AbortHandle
    where
        F: Future<Output = T> + 'static,
    {
        let task = local_set::spawn_local(future);
        let abort = task.abort_handle();
        self.insert(task);
        abort
    }

    /// Spawns a task on that `LocalSet`, into this set. See [`LocalSet::spawn_local`].
    ///
    /// # Panics
    ///
    /// As [`LocalSet::spawn_local`].
    #[track_caller]
    pub fn spawn_local_on<F>(&mut self, future: F, local_set: &LocalSet) -> AbortHandle
    where
        F: Future<Output = T> + 'static,
    {
        let task = local_set.spawn_local(future);
        let abort = task.abort_handle();
        self.insert(task);
        abort
    }

    /// Runs `f` on a thread where it may block, as a task of this set. See [`spawn_blocking`](crate::task::spawn_blocking).
    ///
    /// # Panics
    ///
    /// Outside of a runtime; [`spawn_blocking_on`](Self::spawn_blocking_on) works everywhere.
    #[track_caller]
    pub fn spawn_blocking<F>(&mut self, f: F) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send,
    {
        self.spawn_blocking_on(f, &Handle::current())
    }

    /// [`spawn_blocking`](Self::spawn_blocking) on that runtime's threads.
    #[track_caller]
    pub fn spawn_blocking_on<F>(&mut self, f: F, handle: &Handle) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send,
    {
        let task = blocking::spawn_on(handle, f);
        let abort = task.abort_handle();
        self.insert(task);
        abort
    }

    /// A builder of a task with a name, for this set.
    pub fn build_task(&mut self) -> Builder<'_, T> {
        Builder::new(self)
    }

    /// Adds a task by its handle.
    pub(crate) fn insert(&mut self, mut handle: JoinHandle<T>) {
        let number = match self.free {
            Some(number) => number,
            None => u32::try_from(self.entries.len()).expect("fewer than 2^32 tasks in a set"),
        };
        let waker = Waker::from(Arc::new(Bell { ready: self.ready.clone(), number }));
        let entry = match handle.poll_with(&waker) {
            Poll::Pending => Entry::Waiting { handle, waker },
            Poll::Ready(result) => {
                // Nobody waits: that would borrow the set.
                let _nobody = self.ready.push(number);
                Entry::Ended { id: handle.id(), result: Mutex::new(result) }
            }
        };
        match self.free {
            Some(_) => {
                let place = &mut self.entries[number as usize];
                let Entry::Free { next } = std::mem::replace(place, entry) else {
                    unreachable!("the free list links free entries");
                };
                self.free = next;
            }
            None => self.entries.push(entry),
        }
        self.len += 1;
    }

    /// Aborts all tasks and waits until they have ended. Their outputs and panics are dropped.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped before it is through, the tasks are aborted, and some may still be in the set.
    pub async fn shutdown(&mut self) {
        self.abort_all();
        while self.join_next().await.is_some() {}
    }

    /// Waits for all tasks; their outputs, in the order in which they ended.
    ///
    /// # Panics
    ///
    /// If a task panicked, with its panic, and if one was aborted. The other tasks are aborted then.
    ///
    /// # Cancel safety
    ///
    /// It owns the set: if it is dropped before it is through, the tasks are aborted, and outputs are lost.
    ///
    /// ```
    /// # use egret_executor::task::JoinSet;
    /// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// # runtime.block_on(async {
    /// let set: JoinSet<_> = (1..=3).map(|number| async move { number * 10 }).collect();
    /// let mut outputs = set.join_all().await;
    /// outputs.sort_unstable();
    /// assert_eq!(outputs, [10, 20, 30]);
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn join_all(mut self) -> Vec<T> {
        let mut outputs = Vec::with_capacity(self.len);
        while let Some(result) = self.join_next().await {
            match result {
                Ok(output) => outputs.push(output),
                Err(error) => match error.try_into_panic() {
                    Ok(payload) => resume_unwind(payload),
                    Err(cancelled) => panic!("JoinSet::join_all: {cancelled}"),
                },
            }
        }
        outputs
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.abort_all();
    }
}

impl<T> Default for JoinSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet").field("len", &self.len).finish()
    }
}

/// Spawns each future on the current runtime.
impl<T, F> FromIterator<F> for JoinSet<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    #[track_caller]
    fn from_iter<I: IntoIterator<Item = F>>(futures: I) -> Self {
        let mut set = Self::new();
        for future in futures {
            set.spawn(future);
        }
        set
    }
}
