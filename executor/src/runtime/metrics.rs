//! Counters. A worker's are written by that worker alone, with plain relaxed stores; everybody may read.

use std::{panic::Location, ptr, sync::atomic::Ordering, time::Duration};

use egret_reactor::FeedKind;

use crate::{
    runtime::PollTimes,
    shared::Shared,
    sync::{AtomicPtr, AtomicU64},
    task::Meta,
};

/// A counter with a single writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Called by the writer only: no read-modify-write is needed.
    #[inline]
    pub(crate) fn add_one(&self) {
        self.add(1);
    }

    /// As [`add_one`](Self::add_one).
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// For counters that several threads write: [`add_one`](Self::add_one) must not be called on them.
    pub(crate) fn add_one_shared(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A worker's counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) polls: Counter,
    pub(crate) steals: Counter,
    pub(crate) parks: Counter,
    pub(crate) notified: Counter,
    pub(crate) idle_wakes: Counter,
    pub(crate) rounds: Counter,
    pub(crate) served: Counter,
    pub(crate) spawned: Counter,
    pub(crate) ended: Counter,
    pub(crate) lifo: Counter,
    /// Nanoseconds.
    pub(crate) busy: Counter,
}

/// Which task a worker polls. The two words are written one after the other: whoever reads may see those of two tasks.
#[derive(Debug, Default)]
pub(crate) struct Running {
    /// Zero between two polls.
    id: AtomicU64,
    spawned_at: AtomicPtr<Location<'static>>,
}

impl Running {
    #[inline]
    pub(crate) fn begin(&self, meta: &Meta) {
        self.spawned_at.store(ptr::from_ref(meta.spawned_at).cast_mut(), Ordering::Relaxed);
        self.id.store(meta.id.get(), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn end(&self) {
        self.id.store(0, Ordering::Relaxed);
    }

    /// The task's number, and where it was spawned; none between two polls.
    pub(crate) fn get(&self) -> Option<(u64, &'static Location<'static>)> {
        let id = self.id.load(Ordering::Relaxed);
        let spawned_at = self.spawned_at.load(Ordering::Relaxed);
        // SAFETY: null, or made of a `&'static Location` in `begin`.
        let spawned_at = unsafe { spawned_at.as_ref() }?;
        (id != 0).then_some((id, spawned_at))
    }
}

/// What threads that are no workers write.
#[derive(Debug, Default)]
pub(crate) struct RemoteCounters {
    pub(crate) spawned: Counter,
    pub(crate) ended: Counter,
}

/// A snapshot of a runtime's counters. The numbers are read one after another: they don't add up exactly while it works.
///
/// tokio's getters are there beside the fields.
///
/// ```
/// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(2).build()?;
/// runtime.block_on(runtime.spawn(async {})).unwrap();
/// let metrics = runtime.metrics();
/// assert_eq!((metrics.num_workers(), metrics.num_alive_tasks()), (2, 0));
/// println!("busy for {:?}", metrics.worker_total_busy_duration(0));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Metrics {
    /// What tells the workers which socket moved.
    pub feed: FeedKind,
    /// Tasks whose future exists: queued, running or waiting. Blocking calls are among them.
    pub alive_tasks: usize,
    /// Tasks that were spawned, from the start of the runtime.
    pub spawned_tasks: u64,
    /// Live tasks that have waited at least once. A task that is complete after its first poll is never counted.
    pub waiting_tasks: usize,
    /// How often the [watch](crate::Builder::stall_watch) had to wake a worker, because none that ran came by for two intervals.
    pub stall_alarms: u64,
    /// Tasks in the queue that all threads push to.
    pub injector_depth: usize,
    /// Threads for blocking calls, those that have nothing to do among them.
    pub blocking_threads: usize,
    /// Of those, how many have nothing to do.
    pub idle_blocking_threads: usize,
    /// Blocking calls that wait for a thread.
    pub blocking_queue_depth: usize,
    /// One for each worker.
    pub workers: Vec<WorkerMetrics>,
}

/// The same under tokio's name.
pub type RuntimeMetrics = Metrics;

/// A snapshot of a worker's counters, all counted from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerMetrics {
    /// Polls of tasks.
    pub polls: u64,
    /// Successful raids on other queues.
    pub steals: u64,
    /// Waits in the reactor for lack of tasks.
    pub parks: u64,
    /// Waits that ended because somebody had a task.
    pub notified: u64,
    /// Of those, how many found none. Who is woken to watch over a busy worker (see
    /// [`Builder::stall_watch`](crate::Builder::stall_watch)) counts here, too.
    pub idle_wakes: u64,
    /// Looks at whether the other workers come by, in the course of the [watch](crate::Builder::stall_watch): at most one an interval
    /// by all workers together, and none while all are parked.
    pub watch_rounds: u64,
    /// How many workers those looks found kept from their sockets and timers by the task they run, and served in their place.
    /// One that is blocked for longer is counted at each look.
    pub stalls_served: u64,
    /// How long it was not parked, up to its last park.
    pub busy: Duration,
    /// Polls of tasks that were taken from the LIFO slot, where the task lies that the running one has woken last.
    pub lifo_polls: u64,
    /// Tasks in its queue.
    pub queue_depth: usize,
    /// Whether it is parked.
    pub parked: bool,
    /// Timers that were armed on it and wait.
    pub timers: usize,
    /// How often a descriptor was armed in its lane. A socket stays armed.
    pub feed_arms: u64,
    /// Answers of the kernel about its descriptors.
    pub feed_completions: u64,
    /// System calls that handed over what was put off, without blocking.
    pub feed_submits: u64,
    /// System calls in which it has blocked, and has handed over what was put off.
    pub feed_blocks: u64,
    /// How long polls took. None unless [`Builder::enable_metrics_poll_time_histogram`](crate::Builder::enable_metrics_poll_time_histogram) was called.
    pub poll_times: Option<PollTimes>,
}

impl Metrics {
    pub(crate) fn of(shared: &Shared) -> Self {
        let (blocking_threads, blocking_queue_depth, idle_blocking_threads) = shared.blocking.size();
        let (alive_tasks, spawned_tasks) = shared.tasks();
        Self {
            feed: shared.lanes_of_runtime.feed(),
            alive_tasks,
            spawned_tasks,
            waiting_tasks: shared.registry.len(),
            stall_alarms: shared.watch.as_ref().map_or(0, |watch| watch.alarms.get()),
            injector_depth: shared.injector.len(),
            blocking_threads,
            idle_blocking_threads,
            blocking_queue_depth,
            workers: (0..shared.seats.len()).map(|index| WorkerMetrics::of(shared, index)).collect(),
        }
    }

    fn worker(&self, worker: usize) -> &WorkerMetrics {
        &self.workers[worker]
    }

    /// How many workers there are.
    pub fn num_workers(&self) -> usize {
        self.workers.len()
    }

    /// [`alive_tasks`](Self::alive_tasks).
    pub fn num_alive_tasks(&self) -> usize {
        self.alive_tasks
    }

    /// [`spawned_tasks`](Self::spawned_tasks).
    pub fn spawned_tasks_count(&self) -> u64 {
        self.spawned_tasks
    }

    /// [`injector_depth`](Self::injector_depth).
    pub fn global_queue_depth(&self) -> usize {
        self.injector_depth
    }

    /// [`blocking_threads`](Self::blocking_threads).
    pub fn num_blocking_threads(&self) -> usize {
        self.blocking_threads
    }

    /// [`idle_blocking_threads`](Self::idle_blocking_threads).
    pub fn num_idle_blocking_threads(&self) -> usize {
        self.idle_blocking_threads
    }

    /// [`blocking_queue_depth`](Self::blocking_queue_depth), under tokio's name.
    pub fn blocking_queue_depth(&self) -> usize {
        self.blocking_queue_depth
    }

    /// [`WorkerMetrics::busy`] of that worker.
    ///
    /// # Panics
    ///
    /// This one, and all the others that take a worker's number, if there is no such worker.
    pub fn worker_total_busy_duration(&self, worker: usize) -> Duration {
        self.worker(worker).busy
    }

    /// [`WorkerMetrics::parks`] of that worker.
    pub fn worker_park_count(&self, worker: usize) -> u64 {
        self.worker(worker).parks
    }

    /// How often that worker has parked, and how often it has come back: even when it runs.
    pub fn worker_park_unpark_count(&self, worker: usize) -> u64 {
        let WorkerMetrics { parks, parked, .. } = self.worker(worker);
        (2 * parks).saturating_sub(u64::from(*parked))
    }

    /// [`WorkerMetrics::idle_wakes`] of that worker.
    pub fn worker_noop_count(&self, worker: usize) -> u64 {
        self.worker(worker).idle_wakes
    }

    /// [`WorkerMetrics::steals`] of that worker.
    pub fn worker_steal_operations(&self, worker: usize) -> u64 {
        self.worker(worker).steals
    }

    /// [`WorkerMetrics::polls`] of that worker.
    pub fn worker_poll_count(&self, worker: usize) -> u64 {
        self.worker(worker).polls
    }

    /// [`WorkerMetrics::queue_depth`] of that worker.
    pub fn worker_local_queue_depth(&self, worker: usize) -> usize {
        self.worker(worker).queue_depth
    }
}

impl WorkerMetrics {
    fn of(shared: &Shared, index: usize) -> Self {
        let seat = &shared.seats[index];
        let counters = &seat.signs.counters;
        let lane = shared.lanes[index].stats();
        Self {
            polls: counters.polls.get(),
            steals: counters.steals.get(),
            parks: counters.parks.get(),
            notified: counters.notified.get(),
            idle_wakes: counters.idle_wakes.get(),
            watch_rounds: counters.rounds.get(),
            stalls_served: counters.served.get(),
            busy: Duration::from_nanos(counters.busy.get()),
            lifo_polls: counters.lifo.get(),
            queue_depth: seat.queue.len(),
            parked: seat.signs.heart.is_asleep(),
            timers: shared.timers[index].len(),
            feed_arms: lane.arms,
            feed_completions: lane.completions,
            feed_submits: lane.submits,
            feed_blocks: lane.blocks,
            poll_times: shared.observer.as_ref().and_then(|observer| observer.poll_times(index)),
        }
    }
}
