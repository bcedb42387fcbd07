//! Counters. A worker's are written by that worker alone, with plain relaxed stores; everybody may read.

use std::sync::atomic::Ordering;

use egret_reactor::FeedKind;

use crate::{shared::Shared, sync::AtomicU64};

/// A counter with a single writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Called by the writer only: no read-modify-write is needed.
    pub(crate) fn add_one(&self) {
        self.0.store(self.get() + 1, Ordering::Relaxed);
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
}

/// A snapshot of a runtime's counters. The numbers are read one after another: they don't add up exactly while it works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Metrics {
    /// What tells the workers which socket moved.
    pub feed: FeedKind,
    /// Live tasks that have waited at least once. A task that is complete after its first poll is never counted.
    pub waiting_tasks: usize,
    /// How often the [watch](crate::Builder::stall_watch) had to wake a worker, because none that ran came by for two intervals.
    pub stall_alarms: u64,
    /// Tasks in the queue that all threads push to.
    pub injector_depth: usize,
    /// Threads for blocking calls, those that have nothing to do among them.
    pub blocking_threads: usize,
    /// Blocking calls that wait for a thread.
    pub blocking_queue_depth: usize,
    /// One for each worker.
    pub workers: Vec<WorkerMetrics>,
}

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
}

impl Metrics {
    pub(crate) fn of(shared: &Shared) -> Self {
        let (blocking_threads, blocking_queue_depth) = shared.blocking.size();
        Self {
            feed: shared.lanes_of_runtime.feed(),
            waiting_tasks: shared.registry.len(),
            stall_alarms: shared.watch.as_ref().map_or(0, |watch| watch.alarms.get()),
            injector_depth: shared.injector.len(),
            blocking_threads,
            blocking_queue_depth,
            workers: shared
                .seats
                .iter()
                .map(|seat| {
                    let counters = &seat.signs.counters;
                    WorkerMetrics {
                        polls: counters.polls.get(),
                        steals: counters.steals.get(),
                        parks: counters.parks.get(),
                        notified: counters.notified.get(),
                        idle_wakes: counters.idle_wakes.get(),
                        watch_rounds: counters.rounds.get(),
                        stalls_served: counters.served.get(),
                    }
                })
                .collect(),
        }
    }
}
