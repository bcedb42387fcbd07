//! What a user wants to be told about tasks and their polls, and how long these take.
//!
//! A runtime of which nobody wants to know any of this has no [`Observer`]: a spawn, a poll and a task's end each cost one look at a null pointer.

use std::{
    fmt,
    ops::Range,
    panic::Location,
    time::{Duration, Instant},
};

use crate::{
    runtime::{Counter, hooks::Hook},
    shared::Shared,
    sync::Arc,
    task::{Id, Meta, quiet::quietly},
};

/// A task, as hooks are told of it.
#[derive(Clone, Copy)]
pub struct TaskMeta<'a> {
    id: Id,
    spawned_at: &'static Location<'static>,
    shared: &'a Shared,
}

impl<'a> TaskMeta<'a> {
    pub(crate) fn new(meta: &'a Meta) -> Self {
        Self::copied(meta, &meta.shared)
    }

    /// What doesn't need the task itself: it may be gone while this is used.
    pub(crate) fn copied(meta: &Meta, shared: &'a Shared) -> Self {
        Self { id: meta.id, spawned_at: meta.spawned_at, shared }
    }

    /// The task's id.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Where the task was spawned.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.spawned_at
    }

    /// The task's name, if it has one and its future still exists.
    pub fn name(&self) -> Option<Arc<str>> {
        self.shared.names.get(self.id)
    }
}

impl fmt::Debug for TaskMeta<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskMeta")
            .field("id", &self.id)
            .field("name", &self.name())
            .field("spawned_at", &format_args!("{}", self.spawned_at))
            .finish()
    }
}

/// A user's function that is told of a task.
#[derive(Clone)]
pub(crate) struct TaskHook(Arc<dyn Fn(&TaskMeta<'_>) + Send + Sync>);

impl TaskHook {
    pub(crate) fn new(f: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }

    /// Calls it. Its panic has been told by the panic hook, and goes no further.
    fn call(&self, task: &TaskMeta<'_>) {
        quietly(|| (self.0)(task));
    }
}

impl fmt::Debug for TaskHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskHook")
    }
}

// A panic doesn't pass through it.
impl std::panic::UnwindSafe for TaskHook {}
impl std::panic::RefUnwindSafe for TaskHook {}

/// What to do when a task panics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnhandledPanic {
    /// The panic is the task's result, and nothing else happens.
    #[default]
    Ignore,
    /// The runtime ends, as by [`Runtime::shutdown_background`](crate::Runtime::shutdown_background).
    ShutdownRuntime,
}

/// What a builder was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) on_spawn: Option<TaskHook>,
    pub(crate) on_terminate: Option<TaskHook>,
    pub(crate) on_panic: Option<TaskHook>,
    pub(crate) before_poll: Option<TaskHook>,
    pub(crate) after_poll: Option<TaskHook>,
    pub(crate) on_park: Option<Hook>,
    pub(crate) on_unpark: Option<Hook>,
    pub(crate) unhandled_panic: UnhandledPanic,
    pub(crate) poll_times: bool,
}

/// See the module's text.
pub(crate) struct Observer {
    wishes: Wishes,
    /// One per worker, or none.
    poll_times: Box<[Histogram]>,
}

impl Observer {
    /// None if there is nothing to be told.
    pub(crate) fn new(wishes: Wishes, workers: usize) -> Option<Box<Self>> {
        let any_hook = [&wishes.on_spawn, &wishes.on_terminate, &wishes.on_panic, &wishes.before_poll]
            .into_iter()
            .chain([&wishes.after_poll])
            .any(Option::is_some);
        let any = any_hook
            || wishes.on_park.is_some()
            || wishes.on_unpark.is_some()
            || wishes.unhandled_panic != UnhandledPanic::Ignore
            || wishes.poll_times;
        let histograms = if wishes.poll_times { workers } else { 0 };
        let poll_times = (0..histograms).map(|_| Histogram::default()).collect();
        any.then(|| Box::new(Self { wishes, poll_times }))
    }

    #[cold]
    pub(crate) fn spawned(&self, meta: &Meta) {
        if let Some(hook) = &self.wishes.on_spawn {
            hook.call(&TaskMeta::new(meta));
        }
    }

    #[cold]
    pub(crate) fn terminated(&self, meta: &Meta) {
        if let Some(hook) = &self.wishes.on_terminate {
            hook.call(&TaskMeta::new(meta));
        }
    }

    #[cold]
    pub(crate) fn panicked(&self, meta: &Meta) {
        if let Some(hook) = &self.wishes.on_panic {
            hook.call(&TaskMeta::new(meta));
        }
        if self.wishes.unhandled_panic == UnhandledPanic::ShutdownRuntime {
            meta.shared.shutdown();
        }
    }

    #[cold]
    pub(crate) fn parks(&self) {
        if let Some(hook) = &self.wishes.on_park {
            hook.call();
        }
    }

    #[cold]
    pub(crate) fn unparks(&self) {
        if let Some(hook) = &self.wishes.on_unpark {
            hook.call();
        }
    }

    /// A worker is about to poll a task. When that was, if somebody wants to know how long it takes.
    #[cold]
    pub(crate) fn before_poll(&self, task: &TaskMeta<'_>) -> Option<Instant> {
        if let Some(hook) = &self.wishes.before_poll {
            hook.call(task);
        }
        self.wishes.poll_times.then(Instant::now)
    }

    /// It has polled it, and the task may be gone.
    #[cold]
    pub(crate) fn after_poll(&self, worker: usize, task: &TaskMeta<'_>, began: Option<Instant>) {
        if let (Some(times), Some(began)) = (self.poll_times.get(worker), began) {
            times.add(began.elapsed());
        }
        if let Some(hook) = &self.wishes.after_poll {
            hook.call(task);
        }
    }

    pub(crate) fn poll_times(&self, worker: usize) -> Option<PollTimes> {
        self.poll_times.get(worker).map(Histogram::snapshot)
    }
}

/// Buckets: below a microsecond, then doubling; the last one begins at 4.2 seconds and has no end.
const BUCKETS: usize = 24;

/// Written by one worker.
#[derive(Debug, Default)]
struct Histogram([Counter; BUCKETS]);

impl Histogram {
    fn add(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        self.0[bucket.min(BUCKETS - 1)].add_one();
    }

    fn snapshot(&self) -> PollTimes {
        PollTimes { counts: std::array::from_fn(|bucket| self.0[bucket].get()) }
    }
}

/// How long a worker's polls took: how many in each range of times. The ranges double, from a microsecond on.
///
/// ```
/// let runtime =
///     egret_executor::Builder::new_multi_thread().worker_threads(1).enable_metrics_poll_time_histogram().build()?;
/// runtime.block_on(runtime.spawn(async {})).unwrap();
/// let times = runtime.metrics().workers[0].poll_times.unwrap();
/// assert_eq!(times.count(), 1);
/// println!("half of them took less than {:?}", times.quantile(0.5));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollTimes {
    counts: [u64; BUCKETS],
}

impl PollTimes {
    /// The ranges of times, each with the number of polls that took so long. The last one ends at [`Duration::MAX`].
    pub fn buckets(&self) -> impl Iterator<Item = (Range<Duration>, u64)> + '_ {
        self.counts.iter().enumerate().map(|(bucket, count)| (bounds(bucket), *count))
    }

    /// How many polls there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// A time that so large a part of the polls (0.99 for 99 of 100) stayed below: the end of the range in which it lies. Zero without
    /// polls.
    pub fn quantile(&self, part: f64) -> Duration {
        let count = self.count();
        if count == 0 {
            return Duration::ZERO;
        }
        // Numbers of polls that a double doesn't hold exactly are far beyond what it is about.
        let rank = ((count as f64 * part.clamp(0.0, 1.0)).ceil() as u64).clamp(1, count);
        let mut below = 0;
        let bucket = self.counts.iter().position(|count| {
            below += count;
            below >= rank
        });
        bounds(bucket.unwrap_or(BUCKETS - 1)).end
    }
}

fn bounds(bucket: usize) -> Range<Duration> {
    let start = if bucket == 0 { Duration::ZERO } else { Duration::from_micros(1 << (bucket - 1)) };
    let end = if bucket == BUCKETS - 1 { Duration::MAX } else { Duration::from_micros(1 << bucket) };
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_their_ranges() {
        let histogram = Histogram::default();
        let times = [
            Duration::ZERO,
            Duration::from_nanos(999),
            Duration::from_micros(1),
            Duration::from_nanos(3_999),
            Duration::from_micros(4),
            Duration::from_secs(4),
            Duration::from_secs(5),
            Duration::MAX,
        ];
        for time in times {
            histogram.add(time);
            let found = histogram.snapshot();
            let (range, _) = found
                .buckets()
                .find(|(range, count)| *count > 0 && (range.contains(&time) || time == range.end))
                .unwrap_or_else(|| panic!("{time:?} is nowhere"));
            assert!(range.start <= time);
        }
        let found = histogram.snapshot();
        assert_eq!(found.count(), times.len() as u64);
        assert_eq!(found.buckets().map(|(_, count)| count).sum::<u64>(), times.len() as u64);
        let all: Vec<_> = found.buckets().map(|(range, _)| range).collect();
        assert!(all.windows(2).all(|pair| pair[0].end == pair[1].start));
    }

    #[test]
    fn quantiles_are_the_ends_of_ranges() {
        let histogram = Histogram::default();
        assert_eq!(histogram.snapshot().quantile(0.5), Duration::ZERO);
        (0..99).for_each(|_| histogram.add(Duration::from_micros(3)));
        histogram.add(Duration::from_millis(3));
        let found = histogram.snapshot();
        assert_eq!(found.quantile(0.0), Duration::from_micros(4));
        assert_eq!(found.quantile(0.99), Duration::from_micros(4));
        assert_eq!(found.quantile(0.991), Duration::from_micros(4096));
        assert_eq!(found.quantile(1.0), Duration::from_micros(4096));
    }
}
