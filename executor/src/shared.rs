//! What all threads of one runtime share: scheduling from outside, and the end of a runtime.
//!
//! ```text
//!   Running ── shutdown() ──► Stopping ── the last worker has left and cleaned ──► Stopped
//!
//!   shutdown: the Runtime is dropped, on whatever thread
//!     1. phase = Stopping: spawn drops its task at once; every worker is interrupted, and each that leaves wakes another;
//!        the watch's alarm goes off for the last time; blocking calls that have not begun are dropped
//!     2. a worker finishes the poll it is in, moves its queue into the injector, leaves its lane, counts itself out
//!   clean: the last one out, all by itself
//!     3. timers and registrations end: whoever waits for them, on any thread, is woken: a socket gives an error,
//!        a sleep is over
//!     4. until nothing is left: the registry is closed, its wakers woken: the Runnables arrive in the injector;
//!        every Runnable is dropped, and the future with it. Such a drop may wake other tasks: hence the loop
//!     5. phase = Stopped, and the injector is emptied once more
//! ```
//!
//! Steps 3 and 4 run user code (drops, foreign wakers); it finds the runtime still current, so what it spawns is dropped at once.
//!
//! **Nothing stays in the injector.** Whoever pushes looks at the phase afterwards, the cleaner looks at the injector after
//! it has set the phase, and both put a fence between: one of them finds the task. A pusher that sees Stopped drops it.
//!
//! **No deadlock.** Threads are joined by whoever dropped the Runtime, unless that is a worker of any runtime: two workers
//! that drop each other's runtime would wait for each other. Nothing else waits for a thread.
//!
//! | field | written by |
//! |---|---|
//! | `phase` | Stopping by `shutdown`, Stopped by the cleaner |
//! | `remaining` | each worker once, when it leaves |
//! | `wait_failed` | the first worker whose wait fails |
//! | `ended` | the cleaner, when all is done, under its own lock, a leaf |

use std::{
    io::{self, Write},
    time::Duration,
};

use egret_reactor::{Event, Eventpoll, Lane, Lanes};

use crate::{
    blocking::Pool,
    cancel::CancellationToken,
    context,
    idle::Idle,
    io::Driver,
    queue::{Injector, Remote},
    runtime::{self, CoreSlot, Counter, Counters, Lookout, Observer, RemoteCounters, Running, TaskReport},
    stall::{Heart, Watch},
    sync::{
        Arc, AtomicBool, AtomicI32, AtomicU8, AtomicUsize, Condvar, Mutex, Ordering, Padded, fence, lock,
    },
    task::{Meta, MetaPointer, Names, Task, links::Links, quiet::quietly, registry::Registry},
    time::Timers,
    worker::Core,
};

const RUNNING: u8 = 0;
const STOPPING: u8 = 1;
const STOPPED: u8 = 2;

/// What others see of a worker.
pub(crate) struct Seat {
    pub(crate) queue: Remote<Task>,
    pub(crate) signs: Padded<Signs>,
}

/// What a worker writes about itself, as it goes, into lines of its own.
#[derive(Default)]
pub(crate) struct Signs {
    pub(crate) counters: Counters,
    pub(crate) heart: Heart,
    pub(crate) running: Running,
    thread: AtomicI32,
}

impl Signs {
    /// The worker's thread is this one.
    pub(crate) fn set_thread(&self) {
        // SAFETY: takes nothing, can't fail.
        self.thread.store(unsafe { libc::gettid() }, Ordering::Relaxed);
    }

    /// The number of the worker's thread; 0 before it has begun.
    pub(crate) fn thread(&self) -> i32 {
        self.thread.load(Ordering::Relaxed)
    }
}

/// What became of a task that was queued from outside.
#[must_use]
pub(crate) enum Injected {
    /// A worker will come to it.
    Queued,
    /// The runtime has stopped, and the caller has to call `drop_late`, where user code may run.
    Late,
}

// No user code runs under any of its locks, so no panic of a user leaves anything half done.
impl std::panic::UnwindSafe for Shared {}
impl std::panic::RefUnwindSafe for Shared {}

/// What not every runtime has.
pub(crate) struct Options {
    pub(crate) watch: Option<Watch>,
    pub(crate) observer: Option<Box<Observer>>,
    pub(crate) lookout: Option<Lookout>,
    pub(crate) core_slot: Option<CoreSlot>,
}

/// The shared part of a runtime. Handles, workers and tasks hold it.
pub(crate) struct Shared {
    pub(crate) eventpoll: Eventpoll,
    pub(crate) lanes_of_runtime: Lanes,
    /// One per worker.
    pub(crate) lanes: Vec<Lane>,
    pub(crate) io: Driver,
    /// One per worker.
    pub(crate) timers: Box<[Timers]>,
    /// One per worker.
    pub(crate) seats: Box<[Seat]>,
    pub(crate) injector: Padded<Injector<Task>>,
    pub(crate) idle: Padded<Idle>,
    /// Of the current-thread flavour.
    pub(crate) core_slot: Option<CoreSlot>,
    /// None if nobody watches.
    pub(crate) watch: Option<Watch>,
    pub(crate) registry: Registry<MetaPointer>,
    pub(crate) links: Links,
    pub(crate) names: Arc<Names>,
    pub(crate) blocking: Arc<Pool>,
    /// None if nobody wants to be told anything.
    pub(crate) observer: Option<Box<Observer>>,
    pub(crate) remote: Padded<RemoteCounters>,
    /// None if nobody wants to be told of stuck polls.
    pub(crate) lookout: Option<Lookout>,
    /// Cancelled when somebody begins to shut the runtime down and gives the tasks time to end.
    pub(crate) shutdown_token: CancellationToken,
    /// The tasks that the end has dropped, if somebody wants to know.
    cancelled: Mutex<Option<Vec<TaskReport>>>,
    phase: AtomicU8,
    remaining: AtomicUsize,
    wait_failed: AtomicBool,
    ended: Mutex<bool>,
    has_ended: Condvar,
}

impl Shared {
    pub(crate) fn new(
        lanes_of_runtime: Lanes,
        lanes: Vec<Lane>,
        seats: Box<[Seat]>,
        blocking: Arc<Pool>,
        options: Options,
    ) -> Self {
        let Options { watch, observer, lookout, core_slot } = options;
        let workers = seats.len();
        Self {
            eventpoll: Eventpoll::with_lanes(&lanes_of_runtime),
            lanes_of_runtime,
            lanes,
            io: Driver::new(),
            timers: (0..workers).map(|_| Timers::new()).collect(),
            seats,
            injector: Padded::default(),
            core_slot,
            idle: Padded(Idle::new(workers, watch.is_some())),
            watch,
            registry: Registry::new(workers),
            links: Links::default(),
            names: Arc::default(),
            blocking,
            observer,
            remote: Padded::default(),
            lookout,
            shutdown_token: CancellationToken::new(),
            cancelled: Mutex::new(None),
            phase: AtomicU8::new(RUNNING),
            remaining: AtomicUsize::new(workers),
            wait_failed: AtomicBool::new(false),
            ended: Mutex::new(false),
            has_ended: Condvar::new(),
        }
    }

    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        self.phase.load(Ordering::Acquire) == RUNNING
    }

    /// How many tasks have a future, and how many were ever spawned.
    pub(crate) fn tasks(&self) -> (usize, u64) {
        let sum = |of: fn(&Counters) -> &Counter, remote: &Counter| {
            let workers = self.seats.iter().map(|seat| of(&seat.signs.counters).get());
            workers.fold(remote.get(), u64::wrapping_add)
        };
        // In this order: one that is spawned and ends in between counts as alive. With the other it could be fewer than none.
        let ended = sum(|counters| &counters.ended, &self.remote.ended);
        let spawned = sum(|counters| &counters.spawned, &self.remote.spawned);
        (usize::try_from(spawned.saturating_sub(ended)).unwrap_or(usize::MAX), spawned)
    }

    /// Counts a task that was spawned here.
    #[inline]
    pub(crate) fn count_spawned(&self, core: Option<&Core>) {
        match core {
            Some(core) => self.seats[core.index].signs.counters.spawned.add_one(),
            None => self.remote.spawned.add_one_shared(),
        }
    }

    /// Counts a task whose future is gone.
    #[inline]
    pub(crate) fn count_ended(&self) {
        match context::worker_index(self) {
            Some(index) => self.seats[index].signs.counters.ended.add_one(),
            None => self.remote.ended.add_one_shared(),
        }
    }

    /// Queues a task from a thread that isn't a worker of this runtime.
    pub(crate) fn schedule(&self, task: Task) {
        match self.inject(task) {
            Injected::Queued => {}
            Injected::Late => self.drop_late(),
        }
    }

    /// `schedule` without its user code.
    pub(crate) fn inject(&self, task: Task) -> Injected {
        self.injector.push(task);
        // Its fence also stands between the push and the look at the phase.
        self.notify();
        if self.phase.load(Ordering::Relaxed) == STOPPED { Injected::Late } else { Injected::Queued }
    }

    /// Drops what was queued after the runtime had stopped.
    #[cold]
    pub(crate) fn drop_late(&self) {
        self.drop_injected();
    }

    /// After a task was queued: wakes a worker if one sleeps and none is looking around.
    pub(crate) fn notify(&self) {
        if self.idle.claim_wake() {
            self.eventpoll.notify_one();
        }
    }

    /// Whether a searcher would find a task. LIFO slots don't count, their owners are awake.
    pub(crate) fn has_work(&self) -> bool {
        !self.injector.is_empty() || self.seats.iter().any(|seat| !seat.queue.is_empty())
    }

    /// Says once, on stderr, that the lanes don't work: there is nobody to return this error to.
    pub(crate) fn report_failed_wait(&self, error: &io::Error) {
        if !self.wait_failed.swap(true, Ordering::Relaxed) {
            // Not `eprintln`, which would panic, and end a worker, if stderr can't be written to.
            let _unsaid = writeln!(
                io::stderr(),
                "egret: waiting for events failed ({} feed): {error}; workers go on and try again",
                self.lanes_of_runtime.feed()
            );
        }
    }

    /// Begins the end of the runtime. Doesn't wait for it.
    pub(crate) fn shutdown(&self) {
        let begun = self.phase.compare_exchange(RUNNING, STOPPING, Ordering::SeqCst, Ordering::Relaxed);
        if begun.is_err() {
            return;
        }
        for lane in &self.lanes {
            lane.interrupt();
        }
        if let Some(watch) = &self.watch {
            watch.end();
        }
        if let Some(lookout) = &self.lookout {
            lookout.end();
        }
        self.blocking.end();
        if let Some(slot) = &self.core_slot {
            runtime::afterwards(slot.end());
        }
        // Past the books of `idle`: nobody decides by them any more.
        self.eventpoll.notify_one();
    }

    /// A worker (or one that never came to be) is gone. The last one cleans.
    pub(crate) fn worker_left(&self) {
        // One permit wakes one worker, so each that leaves passes it on.
        self.eventpoll.notify_one();
        if self.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.clean();
            *lock(&self.ended) = true;
            self.has_ended.notify_all();
        }
    }

    /// Waits until the last worker has cleaned, at most so long. Whether it has.
    pub(crate) fn wait_for_end(&self, timeout: Duration) -> bool {
        let waited = self.has_ended.wait_timeout_while(lock(&self.ended), timeout, |ended| !*ended);
        let (ended, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        *ended
    }

    /// From now on the tasks that the end drops are noted down.
    pub(crate) fn note_cancelled(&self) {
        *lock(&self.cancelled) = Some(Vec::new());
    }

    /// The task is about to be dropped.
    pub(crate) fn note(&self, meta: &Meta) {
        if let Some(cancelled) = &mut *lock(&self.cancelled) {
            cancelled.push(TaskReport::of(meta));
        }
    }

    /// Those that were noted down.
    pub(crate) fn take_cancelled(&self) -> Vec<TaskReport> {
        lock(&self.cancelled).take().unwrap_or_default()
    }

    fn clean(&self) {
        for timers in &self.timers {
            quietly(|| timers.shutdown());
        }
        quietly(|| self.io.shutdown());
        loop {
            let wakers = self.registry.close_and_take();
            let found = !wakers.is_empty();
            for waker in wakers {
                waker.wake();
            }
            if !self.drop_injected() && !found {
                break;
            }
        }
        self.phase.store(STOPPED, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.drop_injected();
        self.flush_lanes();
    }

    /// Drops all queued tasks; whether there were any.
    fn drop_injected(&self) -> bool {
        let mut any = false;
        while let Some(task) = self.injector.pop() {
            any = true;
            self.note(task.metadata());
            drop(task);
        }
        any
    }

    /// What was dropped meanwhile has left its closing with some lane. The owners are gone: wait once in the place of each.
    fn flush_lanes(&self) {
        let mut events = [Event::default(); 16];
        for lane in &self.lanes {
            let _owner = lane.enter();
            // Whatever events it gives are for sockets that are gone.
            match self.eventpoll.wait_notified(&mut events, Some(Duration::ZERO)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.report_failed_wait(&error),
            }
        }
    }
}

/// A worker's end of a new queue, and the seat that shows it to the others.
pub(crate) fn seat() -> (crate::queue::Local<Task>, Seat) {
    let (local, queue) = crate::queue::local();
    let seat = Seat { queue, signs: Padded::default() };
    (local, seat)
}

/// Handles go to every thread.
const _: fn() = || {
    fn shared_by_threads<T: Send + Sync>() {}
    shared_by_threads::<Arc<Shared>>();
};
