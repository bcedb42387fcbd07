//! What there is: every task of a runtime, and what each waits for.
//!
//! Nothing is noted down while tasks run, but the one that each worker polls. A dump puts together what lies there anyway: the registry has a waker of each task that has waited; sockets and timers have
//! the wakers of those who wait for them; a task's wakers all carry the same pointer. So what holds a waker with a task's pointer is what that task
//! waits for. A future that brings wakers of its own (`FuturesUnordered`) hides what it waits for; so do channels, locks and
//! handles of tasks, of which the runtime doesn't know who waits.

use std::{
    collections::HashMap,
    fmt,
    panic::Location,
    time::{Duration, Instant},
};

use crate::{
    shared::Shared,
    sync::Arc,
    task::{Id, Meta},
};

/// What [`Handle::dump`](crate::Handle::dump) saw. Its `Display` shows it, a line for each task.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dump {
    /// The tasks that have waited at least once, and those that a worker polls, by their ids.
    pub tasks: Vec<TaskDump>,
    /// Tasks that have not waited yet and that no worker polls, so that nothing but their number is known.
    pub fresh: usize,
}

/// A task in a [`Dump`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskDump {
    /// Its id.
    pub id: Id,
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// What it does.
    pub state: TaskState,
}

/// What a task does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskState {
    /// The worker with this number polls it.
    Running {
        /// The worker's number.
        worker: usize,
    },
    /// It waits, or was woken and is queued. What it is known to wait for: nothing if it is something that the runtime doesn't know of, or if it was woken.
    Waiting(Vec<WaitsFor>),
}

/// Something that a task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitsFor {
    /// A socket, or another source of the reactor.
    Source {
        /// What it says of itself: for a descriptor, its kind and number.
        source: String,
        /// For something to be read.
        read: bool,
        /// For room to be written to.
        write: bool,
    },
    /// A timer.
    Timer {
        /// How long it has to go. Zero if it is due.
        left: Duration,
    },
}

impl Dump {
    pub(crate) fn of(shared: &Shared) -> Self {
        // The clones keep what the pointers point to.
        let registered = shared.registry.snapshot();
        let mut waits = leaves(shared);
        let mut running: HashMap<u64, (usize, &'static Location<'static>)> = HashMap::new();
        for (worker, seat) in shared.seats.iter().enumerate() {
            if let Some((id, spawned_at)) = seat.signs.running.get() {
                running.insert(id, (worker, spawned_at));
            }
        }
        let mut tasks: Vec<_> = registered
            .iter()
            .map(|(pointer, waker)| {
                // SAFETY: the waker beside it was registered with it, so it keeps what lies there.
                let meta: &Meta = unsafe { pointer.get() };
                let state = match running.remove(&meta.id.get()) {
                    Some((worker, _)) => TaskState::Running { worker },
                    None => TaskState::Waiting(waits.remove(&waker.data()).unwrap_or_default()),
                };
                let (id, spawned_at) = (meta.id, meta.spawned_at);
                TaskDump { id, name: shared.names.get(id), spawned_at, state }
            })
            .collect();
        let alive = shared.tasks().0;
        // In their first poll.
        for (id, (worker, spawned_at)) in running {
            let Some(id) = Id::of_number(id) else { continue };
            tasks.push(TaskDump {
                id,
                name: shared.names.get(id),
                spawned_at,
                state: TaskState::Running { worker },
            });
        }
        tasks.sort_by_key(|task| task.id.get());
        Self { fresh: alive.saturating_sub(tasks.len()), tasks }
    }
}

/// What waits, by the pointers of the wakers. They are only compared: with those of tasks that are kept meanwhile.
fn leaves(shared: &Shared) -> HashMap<*const (), Vec<WaitsFor>> {
    let mut waits: HashMap<*const (), Vec<WaitsFor>> = HashMap::new();
    let mut add = |waker: *const (), what: WaitsFor| waits.entry(waker).or_default().push(what);
    let sources: HashMap<u64, String> = shared
        .eventpoll
        .dump()
        .interests
        .into_iter()
        .map(|interest| (interest.data, interest.source))
        .collect();
    for (key, waker, read, write) in shared.io.waiters() {
        let source = sources.get(&key).cloned().unwrap_or_default();
        add(waker, WaitsFor::Source { source, read, write });
    }
    let now = Instant::now();
    for timers in &shared.timers {
        for (waker, deadline) in timers.waiters() {
            add(waker, WaitsFor::Timer { left: deadline.saturating_duration_since(now) });
        }
    }
    waits
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} tasks, and {} that have not waited yet", self.tasks.len(), self.fresh)?;
        self.tasks.iter().try_for_each(|task| writeln!(f, "{task}"))
    }
}

impl fmt::Display for TaskDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}", self.id)?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        write!(f, ", spawned at {}: {}", self.spawned_at, self.state)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running { worker } => write!(f, "runs on worker {worker}"),
            Self::Waiting(what) if what.is_empty() => {
                f.write_str("waits for a channel, a lock, a task, or its turn")
            }
            Self::Waiting(what) => {
                f.write_str("waits for ")?;
                for (at, what) in what.iter().enumerate() {
                    write!(f, "{}{what}", if at == 0 { "" } else { " and " })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { source, read, write } => {
                let what = match (read, write) {
                    (true, true) => "input or room",
                    (false, true) => "room",
                    _ => "input",
                };
                write!(f, "{what} of {source}")
            }
            Self::Timer { left } => write!(f, "a timer in {left:?}"),
        }
    }
}
