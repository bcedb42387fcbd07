//! Settings of a runtime, and its start.

use std::{io, thread, time::Duration};

use egret_reactor::{FeedChoice, Lanes};

use crate::{
    blocking::{KEEP_ALIVE, MAX_THREADS, Pool, Settings},
    idle::MAX_WORKERS,
    processor::{self, SLICE},
    runtime::{
        Handle, Runtime, RuntimeFlavor, TaskMeta, UnhandledPanic,
        current_thread::CoreSlot,
        hooks::{AtEnd, Hook},
        observer::{Observer, TaskHook, Wishes},
        stuck::{self, Lookout, StuckPoll},
    },
    shared::{self, Options, Shared},
    stall::{self, INTERVAL, Watch},
    sync::Arc,
    worker::{self, Core},
};

/// Builds a [`Runtime`].
///
/// ```
/// use egret_executor::{Builder, runtime::FeedChoice};
///
/// let runtime = Builder::new_multi_thread()
///     .worker_threads(2)
///     .thread_name("fisher")
///     .feed(FeedChoice::Auto)
///     .build()?;
/// assert_eq!(runtime.workers(), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    flavor: RuntimeFlavor,
    workers: Option<usize>,
    thread_name: String,
    feed: FeedChoice,
    stall_watch: Option<Duration>,
    time_slice: Option<Duration>,
    on_thread_start: Option<Hook>,
    on_thread_stop: Option<Hook>,
    max_blocking_threads: usize,
    thread_keep_alive: Duration,
    wishes: Wishes,
    stuck_polls: Option<stuck::Wish>,
}

impl Builder {
    /// A runtime whose worker threads share the work.
    pub fn new_multi_thread() -> Self {
        Self {
            flavor: RuntimeFlavor::MultiThread,
            workers: None,
            thread_name: "egret-worker".to_owned(),
            feed: FeedChoice::default(),
            stall_watch: Some(INTERVAL),
            time_slice: Some(SLICE),
            on_thread_start: None,
            on_thread_stop: None,
            max_blocking_threads: MAX_THREADS,
            thread_keep_alive: KEEP_ALIVE,
            wishes: Wishes::default(),
            stuck_polls: None,
        }
    }

    /// A runtime without worker threads: its tasks run inside of [`block_on`](Runtime::block_on), on that thread, and nowhere else. In between, nothing moves.
    ///
    /// If several threads are in `block_on` at the same time, one of them runs the tasks; when it is through, another goes on. A task that blocks
    /// blocks everything: there is no [watch](Self::stall_watch). Settings that speak of workers ([`worker_threads`](Self::worker_threads), [`time_slice`](Self::time_slice),
    /// [`on_thread_start`](Self::on_thread_start), [`on_thread_stop`](Self::on_thread_stop)) have no effect. Dropping it drops its tasks, on that thread; if another thread
    /// is in `block_on` it is done there.
    ///
    /// ```
    /// let runtime = egret_executor::Builder::new_current_thread().build()?;
    /// let here = std::thread::current().id();
    /// let there = runtime.block_on(async {
    ///     egret_executor::spawn(async { std::thread::current().id() }).await.unwrap()
    /// });
    /// assert_eq!(here, there);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new_current_thread() -> Self {
        Self { flavor: RuntimeFlavor::CurrentThread, ..Self::new_multi_thread() }
    }

    /// tokio's switch for sockets and timers. Here both are always there: it does nothing.
    pub fn enable_all(self) -> Self {
        self
    }

    /// As [`enable_all`](Self::enable_all).
    pub fn enable_io(self) -> Self {
        self
    }

    /// As [`enable_all`](Self::enable_all).
    pub fn enable_time(self) -> Self {
        self
    }

    /// How many workers; as many as [`thread::available_parallelism`] says if this isn't called.
    pub fn worker_threads(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// What the threads' names begin with; a dash and the worker's number (or "watch") follow. Linux shows the first 15 bytes.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// What tells the workers which socket moved; the best there is if this isn't called.
    pub fn feed(mut self, feed: FeedChoice) -> Self {
        self.feed = feed;
        self
    }

    /// How often the workers look after each other; every millisecond if this isn't called, and never with `None`.
    ///
    /// A task that blocks its worker (a long computation, a blocking call) also blocks whatever that worker has in hand: sockets it
    /// waits for, its timers, tasks in its queue. The watch gives those to another worker. The workers that run look, once an
    /// interval, whether all have come by since the last look, and serve those that have not; if no worker comes by for two
    /// intervals while one runs, a parked one is woken to do it. A blocked worker's things are late by two intervals at first,
    /// then by one. When all workers are parked nobody looks, and nothing is spent.
    ///
    /// What a blocked worker has already taken up stays with it: the task itself, and if it was blocked by a foreign waker or by a
    /// waker's drop, in the middle of waking, those that it meant to wake next.
    ///
    /// It takes one more thread, which sleeps all the time but for the moments in which it wakes that parked worker.
    ///
    /// `None` is for measuring what the watch costs, and for programs that never block. An interval below 100 microseconds counts
    /// as that. A runtime with one worker has nobody to help it, and no watch; and one whose workers are all blocked is blocked.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let runtime = egret_executor::Builder::new_multi_thread()
    ///     .worker_threads(2)
    ///     .stall_watch(Some(Duration::from_millis(5)))
    ///     .build()?;
    /// let (done, is_done) = std::sync::mpsc::channel();
    /// let first = runtime.spawn(async move {
    ///     // Lies in this worker's hands until it is blocked.
    ///     egret_executor::spawn(async move { done.send(()) });
    ///     is_done.recv()
    /// });
    /// assert!(runtime.block_on(first).unwrap().is_ok());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stall_watch(mut self, interval: Option<Duration>) -> Self {
        self.stall_watch = interval;
        self
    }

    /// The time slice that the workers ask the kernel's scheduler for; 250 microseconds if this isn't called. With `None` they keep
    /// the one of the thread that builds the runtime.
    ///
    /// A thread with a short slice gets a processor sooner after it was woken, and gives it back sooner. The kernel makes it 100
    /// microseconds to 100 milliseconds; before Linux 6.12 it has no effect, nor where a filter refuses `sched_setattr(2)`. (Where a filter
    /// kills for it, choose `None`.) Threads and processes that tasks start inherit it. The thread's policy and nice value stay what they are.
    pub fn time_slice(mut self, slice: Option<Duration>) -> Self {
        self.time_slice = slice;
        self
    }

    /// Calls `f` on each worker thread, before it does any work. The last `f` that was given counts.
    ///
    /// The thread of the [watch](Self::stall_watch) isn't one of them. A panic of `f` is told by the panic hook and ends nothing.
    ///
    /// ```
    /// let runtime = egret_executor::Builder::new_multi_thread()
    ///     .worker_threads(1)
    ///     .on_thread_start(|| println!("a worker is there"))
    ///     .on_thread_stop(|| println!("it is gone"))
    ///     .build()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_thread_start(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_thread_start = Some(Hook::new(f));
        self
    }

    /// Calls `f` on each worker thread, after the last of its work. The last `f` that was given counts.
    ///
    /// When a drop of the runtime has waited for its threads, all of them have called it; the other ways to end a runtime may be over
    /// before. A panic of `f` is told by the panic hook and ends nothing.
    pub fn on_thread_stop(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_thread_stop = Some(Hook::new(f));
        self
    }

    /// Calls `f` on a worker's thread before it goes to wait in the reactor for lack of tasks. As for [`on_thread_unpark`](Self::on_thread_unpark), it should be short: sockets and
    /// timers wait for it. A panic of `f` is told by the panic hook and ends nothing.
    pub fn on_thread_park(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.wishes.on_park = Some(Hook::new(f));
        self
    }

    /// Calls `f` on a worker's thread when it comes back from there.
    pub fn on_thread_unpark(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.wishes.on_unpark = Some(Hook::new(f));
        self
    }

    /// Calls `f` for each task that is spawned, on the thread that spawns it, before its first poll.
    ///
    /// This and the other hooks of tasks run where tasks do: `f` may spawn, but not block. A panic of `f` is told by the
    /// panic hook and ends nothing. Without any of them they cost nothing that can be measured.
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
    ///
    /// let spawned = Arc::new(AtomicUsize::new(0));
    /// let runtime = egret_executor::Builder::new_multi_thread()
    ///     .worker_threads(1)
    ///     .on_task_spawn({
    ///         let spawned = spawned.clone();
    ///         move |task| {
    ///             println!("{} comes from {}", task.id(), task.spawned_at());
    ///             spawned.fetch_add(1, Ordering::Relaxed);
    ///         }
    ///     })
    ///     .build()?;
    /// runtime.block_on(runtime.spawn(async {})).unwrap();
    /// assert_eq!(spawned.load(Ordering::Relaxed), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_task_spawn(mut self, f: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.wishes.on_spawn = Some(TaskHook::new(f));
        self
    }

    /// Calls `f` for each task whose future is gone: it has ended, or was cancelled. Its output is not there yet.
    pub fn on_task_terminate(mut self, f: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.wishes.on_terminate = Some(TaskHook::new(f));
        self
    }

    /// Calls `f` for each task whose poll panics, when its future has been dropped.
    pub fn on_task_panic(mut self, f: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.wishes.on_panic = Some(TaskHook::new(f));
        self
    }

    /// Calls `f` before each poll of a task, on the worker that polls it. Not for blocking calls.
    pub fn on_before_task_poll(mut self, f: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.wishes.before_poll = Some(TaskHook::new(f));
        self
    }

    /// Calls `f` after each poll of a task, on the worker that has polled it. Not for blocking calls.
    pub fn on_after_task_poll(mut self, f: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.wishes.after_poll = Some(TaskHook::new(f));
        self
    }

    /// Calls `f` for each poll of a task that has lasted for `limit`: once, while it still lasts, on a thread of its own.
    ///
    /// Such a task keeps its worker from everything else. (The [watch](Self::stall_watch) sees to it that nothing else suffers.) What is told is the task's name, where it was
    /// spawned, and with the feature `backtrace` the functions that it is in. For that the worker's thread gets a signal, `SIGRTMIN + 11`, which may end a sleep or
    /// another system call of it with `EINTR`.
    ///
    /// Workers are looked at four times in `limit`, at most each millisecond; that is all it costs. A poll counts that lasts for 1 to 1.25 times the limit.
    /// Code that isn't a poll (a waker of another runtime, say) is not told of, nor are blocking calls.
    ///
    /// ```
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let (told, is_told) = mpsc::channel();
    /// let runtime = egret_executor::Builder::new_multi_thread()
    ///     .worker_threads(1)
    ///     .on_stuck_poll(Duration::from_millis(10), move |poll| {
    ///         eprintln!("{poll}");
    ///         let _nobody_asks = told.send(poll.spawned_at.file());
    ///     })
    ///     .build()?;
    /// // It doesn't come back before somebody was told.
    /// let task = runtime.spawn(async move { is_told.recv() });
    /// assert_eq!(runtime.block_on(task).unwrap(), Ok(file!()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_stuck_poll(mut self, limit: Duration, f: impl Fn(&StuckPoll) + Send + Sync + 'static) -> Self {
        self.stuck_polls = Some(stuck::Wish::new(limit, f));
        self
    }

    /// What to do when a task panics; nothing but to make it the task's result if this isn't called.
    ///
    /// ```
    /// use egret_executor::runtime::UnhandledPanic;
    ///
    /// # std::panic::set_hook(Box::new(|_| {}));
    /// let runtime = egret_executor::Builder::new_multi_thread()
    ///     .worker_threads(1)
    ///     .unhandled_panic(UnhandledPanic::ShutdownRuntime)
    ///     .build()?;
    /// let other = runtime.spawn(std::future::pending::<()>());
    /// drop(runtime.spawn(async { panic!("this ends it all") }));
    /// assert!(runtime.block_on(other).unwrap_err().is_cancelled());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn unhandled_panic(mut self, what: UnhandledPanic) -> Self {
        self.wishes.unhandled_panic = what;
        self
    }

    /// Measures how long each poll of a task takes, for [`WorkerMetrics::poll_times`](crate::runtime::WorkerMetrics::poll_times). It costs two looks at the clock a
    /// poll, about 50 ns.
    pub fn enable_metrics_poll_time_histogram(mut self) -> Self {
        self.wishes.poll_times = true;
        self
    }

    /// How many threads [`spawn_blocking`](crate::task::spawn_blocking) may have at the same time; 512 if this isn't called. The workers don't count.
    pub fn max_blocking_threads(mut self, threads: usize) -> Self {
        self.max_blocking_threads = threads;
        self
    }

    /// How long such a thread waits for another call before it ends; 10 seconds if this isn't called.
    pub fn thread_keep_alive(mut self, keep_alive: Duration) -> Self {
        self.thread_keep_alive = keep_alive;
        self
    }

    /// Starts the runtime.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if there are to be no workers, or more than 16384, or no blocking threads, or the name has a null byte in it; else whatever
    /// kept a lane or the watch's alarm from being made (a feed asked for by name that can't be had, descriptors running out) or a
    /// thread from being started. Nothing is left behind then.
    pub fn build(self) -> io::Result<Runtime> {
        let workers = match self.workers {
            _ if self.flavor == RuntimeFlavor::CurrentThread => 1,
            Some(workers) => workers,
            None => thread::available_parallelism()?.get().min(MAX_WORKERS),
        };
        if !(1..=MAX_WORKERS).contains(&workers) {
            return Err(invalid(format!(
                "worker_threads({workers}): a runtime has 1 to {MAX_WORKERS} workers"
            )));
        }
        if self.max_blocking_threads == 0 {
            return Err(invalid("max_blocking_threads(0): nobody could run a blocking call".to_owned()));
        }
        if self.thread_name.contains('\0') {
            return Err(invalid("thread_name: a null byte in it".to_owned()));
        }
        let lanes_of_runtime = Lanes::new(self.feed)?;
        let lanes = (0..workers).map(|_| lanes_of_runtime.add_lane()).collect::<io::Result<Vec<_>>>()?;
        let (locals, seats): (Vec<_>, Vec<_>) = (0..workers).map(|_| shared::seat()).unzip();
        // Nobody could help a lone worker.
        let watch = match self.stall_watch {
            Some(interval) if workers > 1 => Some(Watch::new(workers, interval)?),
            _ => None,
        };
        let blocking = Pool::new(Settings {
            max_threads: self.max_blocking_threads,
            keep_alive: self.thread_keep_alive,
            name: self.thread_name.clone(),
        });
        let options = Options {
            watch,
            observer: Observer::new(self.wishes.clone(), workers),
            lookout: self.stuck_polls.clone().map(Lookout::new),
            core_slot: (self.flavor == RuntimeFlavor::CurrentThread).then(CoreSlot::default),
        };
        let shared = Arc::new(Shared::new(lanes_of_runtime, lanes, seats.into(), blocking, options));
        // From here on the runtime's drop ends and joins what was started.
        let mut runtime = Runtime {
            handle: Handle { shared: shared.clone() },
            threads: Vec::with_capacity(workers + 1),
            process: std::process::id(),
        };
        for (index, local) in locals.into_iter().enumerate() {
            let core = Core::new(shared.clone(), index, local);
            if let Some(slot) = &shared.core_slot {
                slot.fill(core);
                break;
            }
            let slice = self.time_slice;
            let (on_start, on_stop) = (self.on_thread_start.clone(), self.on_thread_stop.clone());
            let body = move || {
                // Refused, it runs as any thread does: that costs latency, and nobody could do anything about it.
                let _granted = slice.map(processor::ask_for_slices);
                // Dropped also if the worker's loop should ever unwind.
                let _at_end = AtEnd(on_stop);
                if let Some(hook) = on_start {
                    hook.call();
                }
                worker::run(core);
            };
            match self.start(&index.to_string(), body) {
                Ok(thread) => runtime.threads.push(thread),
                Err(error) => {
                    shared.shutdown();
                    // Those that never came to be count as gone, so that the last one out knows that it is.
                    (index..workers).for_each(|_| shared.worker_left());
                    return Err(error);
                }
            }
        }
        if shared.watch.is_some() {
            let shared = shared.clone();
            runtime.threads.push(self.start("watch", move || stall::keep(&shared))?);
        }
        if shared.lookout.is_some() {
            runtime.threads.push(self.start("lookout", move || stuck::keep(&shared))?);
        }
        Ok(runtime)
    }

    fn start(&self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name(format!("{}-{name}", self.thread_name)).spawn(body)
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
