//! A worker: the loop that polls tasks, and scheduling from inside of it.
//!
//! ```text
//!   ┌─► next task: the LIFO slot (at most 3 in a row), the deque, the injector      every 61st: the reactor, the injector
//!   │      │ none: look at the reactor without waiting, then search (victims' deques, the injector, victims' slots)
//!   │      ├── found ─► no longer a searcher (the last one wakes another if there is more) ─► poll it ─┐
//!   │      └── none ──► park: the books, one more look at all queues, wait (at most until the next deadline) ─► deliver
//!   └───────────────────────────────────────────────────────────────────────────────────────────────┴───────┘
//! ```
//!
//! Where a wake puts its task, on the worker's own thread:
//!
//! | when | where | who is told |
//! |---|---|---|
//! | while events and timers are delivered | the deque | one notification at the end, if more than one task waits |
//! | the task woke itself (a yield) | the back of the deque | a sleeper, unless nothing else waits here |
//! | by a running task | the LIFO slot; what it displaces goes to the deque | a sleeper, if something was displaced |
//!
//! From any other thread: the injector, and a sleeper is told (see `shared`).
//!
//! The reactor is looked at before other workers' queues: its look costs no system call, and the events it finds are for
//! tasks whose memory is warm here.

use std::{
    cell::Cell,
    hash::{BuildHasher, RandomState},
    io,
    time::{Duration, Instant},
};

use async_task::ScheduleInfo;
use egret_reactor::{Event, Woken};

use crate::{
    context::{self, Place},
    coop,
    idle::Settled,
    queue::{Local, Pointer},
    runtime::Handle,
    shared::{Seat, Shared},
    sync::Arc,
    task::{Task, quiet::quietly},
};

/// Polls between two looks at the reactor and the injector: tokio's and Go's value, a prime so that it doesn't fall in step
/// with anything.
const TICK: u32 = 61;

/// How many tasks in a row come from the LIFO slot while others wait: tokio's value. Two tasks that wake each other would
/// keep everybody else out.
const LIFO_RUN: u32 = 3;

/// Events taken at a time. tokio takes 1024 and found that to flood a queue of 256; a guess in between.
const EVENTS: usize = 256;

/// Waits that may fail in a row before the worker slows down; a guess.
const FAILED_WAITS: u32 = 64;

/// How slow: the bound on how late a task is noticed while the reactor can't be waited on; a guess.
const FAILED_WAIT_PAUSE: Duration = Duration::from_millis(1);

/// The part of a worker that wakes on its thread reach through the thread-local.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: usize,
    pub(crate) local: Local<Task>,
    /// Events and timers are being delivered.
    delivering: Cell<bool>,
}

impl Core {
    pub(crate) fn new(shared: Arc<Shared>, index: usize, local: Local<Task>) -> Self {
        Self { shared, index, local, delivering: Cell::new(false) }
    }

    /// Queues a task that was woken on this thread. See the module's table.
    pub(crate) fn schedule(&self, task: Task, info: ScheduleInfo) {
        if self.delivering.get() {
            self.local.push(task);
        } else if info.woken_while_running {
            let alone = self.local.is_empty();
            self.local.push(task);
            if !alone {
                self.shared.notify();
            }
        } else if let Some(displaced) = self.local.push_lifo(task) {
            self.local.push(displaced);
            self.shared.notify();
        }
    }
}

/// The body of a worker thread.
pub(crate) fn run(core: Core) {
    let shared = core.shared.clone();
    let _place = context::set_place(Place::Worker);
    let _entered = context::enter(&Handle { shared: shared.clone() });
    let leave = Leave { core };
    let _lane = shared.lanes[leave.core.index].enter();
    // SAFETY: `leave` stays where it is until its drop, which clears the pointer.
    unsafe { context::set_worker(&leave.core) };
    Worker::new(&leave.core).run();
}

/// The worker's way out, taken also if its loop should ever unwind.
struct Leave {
    core: Core,
}

impl Drop for Leave {
    fn drop(&mut self) {
        context::clear_worker();
        let Core { shared, local, .. } = &self.core;
        while let Some(task) = local.pop_lifo().or_else(|| local.pop()) {
            shared.injector.push(task);
        }
        shared.worker_left();
    }
}

struct Worker<'a> {
    core: &'a Core,
    shared: &'a Shared,
    seat: &'a Seat,
    events: Vec<Event>,
    /// This worker is counted as a searcher.
    searching: bool,
    /// Polls since the last look at the reactor.
    ticks: u32,
    /// Tasks in a row from the LIFO slot.
    lifo_run: u32,
    /// Waits in a row that failed.
    failed_waits: u32,
    /// The number of polls when a notification last ended a wait: if it is still the same at the next wait, nothing was there.
    polls_when_notified: Option<u64>,
    random: Random,
}

impl<'a> Worker<'a> {
    fn new(core: &'a Core) -> Self {
        let shared = &*core.shared;
        Self {
            core,
            shared,
            seat: &shared.seats[core.index],
            events: vec![Event::default(); EVENTS],
            searching: false,
            ticks: 0,
            lifo_run: 0,
            failed_waits: 0,
            polls_when_notified: None,
            random: Random::new(),
        }
    }

    fn run(mut self) {
        while self.shared.is_running() {
            match self.next() {
                Some(task) => self.poll(task),
                None => self.park(),
            }
        }
    }

    fn poll(&mut self, task: Task) {
        if self.searching {
            self.searching = false;
            // Those who pushed while this one searched have notified nobody.
            if self.shared.idle.settle() == Settled::WasLast && self.shared.has_work() {
                self.shared.notify();
            }
        }
        self.ticks += 1;
        self.seat.counters.polls.add_one();
        let pointer = task.into_ptr();
        // A task's wakers carry the same pointer.
        context::set_polled(pointer.as_ptr());
        coop::reset();
        // SAFETY: out of `into_ptr` three lines above.
        let task = unsafe { Task::from_ptr(pointer) };
        // Doesn't unwind: the harness catches what its future throws.
        task.run();
        coop::end();
        context::set_polled(std::ptr::null());
    }

    fn next(&mut self) -> Option<Task> {
        if self.ticks >= TICK {
            self.look_at_reactor();
            if let Some(task) = self.shared.injector.pop() {
                // It goes before what waits here, what the look has just delivered included.
                if !self.core.local.is_empty() {
                    self.shared.notify();
                }
                return Some(task);
            }
        }
        if let Some(task) = self.next_queued() {
            return Some(task);
        }
        // If it has just waited, it has just looked.
        if self.ticks > 0 {
            self.look_at_reactor();
            if let Some(task) = self.next_queued() {
                return Some(task);
            }
        }
        self.search()
    }

    fn next_queued(&mut self) -> Option<Task> {
        self.next_local().or_else(|| self.next_injected())
    }

    fn next_injected(&self) -> Option<Task> {
        let takers = self.shared.seats.len();
        self.shared.injector.take_share(takers, &self.core.local)
    }

    fn next_local(&mut self) -> Option<Task> {
        let local = &self.core.local;
        if let Some(task) = local.pop_lifo() {
            if self.lifo_run < LIFO_RUN {
                self.lifo_run += 1;
                return Some(task);
            }
            let alone = local.is_empty();
            local.push(task);
            if !alone {
                self.shared.notify();
            }
        }
        self.lifo_run = 0;
        local.pop()
    }

    fn search(&mut self) -> Option<Task> {
        if !self.searching {
            if !self.shared.idle.try_search() {
                return None;
            }
            self.searching = true;
        }
        let seats = &self.shared.seats;
        let start = self.random.below(seats.len());
        let victims = || {
            (0..seats.len())
                .map(|offset| (start + offset) % seats.len())
                .filter(|&victim| victim != self.core.index)
                .map(|victim| &seats[victim].queue)
        };
        let local = &self.core.local;
        let stolen = victims()
            .find_map(|victim| victim.steal_batch(local))
            .or_else(|| self.next_injected())
            // Last, because its owner means to run it at once, on memory that is warm there.
            .or_else(|| victims().find_map(|victim| victim.steal_slot()));
        if stolen.is_some() {
            self.seat.counters.steals.add_one();
        }
        stolen
    }

    /// A look at the reactor between two polls.
    fn look_at_reactor(&mut self) {
        let woken = self.wait(Some(Duration::ZERO));
        if woken.notified {
            // It was meant for a sleeper that woke by itself meanwhile. Whoever counted on it may have pushed anywhere.
            self.shared.idle.give_back();
            if self.shared.has_work() {
                self.shared.notify();
            }
        }
        self.deliver(woken.events);
    }

    fn park(&mut self) {
        let idle = &self.shared.idle;
        idle.park(self.searching);
        self.searching = false;
        // Pushers from here on see a sleeper; what was pushed before is visible now. If enough others search to refuse this
        // one, they will see it too.
        if self.shared.has_work() && idle.resume_search() {
            self.searching = true;
            return;
        }
        // A look at the reactor since the loop's check may have used up the interruption that announces the end.
        if !self.shared.is_running() {
            return;
        }
        let counters = &self.seat.counters;
        if self.polls_when_notified.take() == Some(counters.polls.get()) {
            counters.idle_wakes.add_one();
        }
        counters.parks.add_one();
        let deadline = self.shared.timers[self.core.index].next_deadline();
        let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let woken = self.wait(timeout);
        // The books before anything is delivered: a notification must not find this worker asleep.
        if woken.notified {
            self.searching = true;
            let counters = &self.seat.counters;
            counters.notified.add_one();
            self.polls_when_notified = Some(counters.polls.get());
        } else {
            self.shared.idle.woken_by_event();
        }
        self.deliver(woken.events);
    }

    /// Waits in the reactor, the only place where a worker sleeps.
    fn wait(&mut self, timeout: Option<Duration>) -> Woken {
        self.ticks = 0;
        match self.shared.eventpoll.wait_notified(&mut self.events, timeout) {
            Ok(woken) => {
                self.failed_waits = 0;
                return woken;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                self.shared.report_failed_wait(&error);
                self.pause_after_failure();
            }
        }
        Woken { events: 0, notified: false }
    }

    /// A lane that can't be waited on is a defect, or memory has run out. Its tasks still have to run, so the worker goes
    /// round and tries again, without a pause at first, then with one that keeps a lasting failure from burning the
    /// processor.
    fn pause_after_failure(&mut self) {
        self.failed_waits += 1;
        if self.failed_waits > FAILED_WAITS {
            std::thread::sleep(FAILED_WAIT_PAUSE);
        } else {
            std::thread::yield_now();
        }
    }

    /// Wakes the tasks of the first `events` events and of the timers that are due. They all go to the deque, and one
    /// sleeper is told if there is more than this worker takes up right away.
    fn deliver(&mut self, events: usize) {
        let Self { core, shared, .. } = *self;
        let before = core.local.len();
        core.delivering.set(true);
        if events > 0 {
            // Foreign wakers (of a block_on, of a FuturesUnordered) run here too.
            quietly(|| shared.io.dispatch(&self.events[..events]));
        }
        let timers = &shared.timers[core.index];
        if let Some(deadline) = timers.next_deadline() {
            let now = Instant::now();
            if deadline <= now {
                quietly(|| timers.fire(now));
            }
        }
        core.delivering.set(false);
        let after = core.local.len();
        if after > before && after > 1 {
            shared.notify();
        }
    }
}

/// xorshift64: any victim is as good as any other, thieves should just not all begin at the same one.
struct Random(u64);

impl Random {
    fn new() -> Self {
        Self(RandomState::new().hash_one(0u8) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) as usize) % bound
    }
}

#[cfg(all(test, not(egret_loom)))]
#[path = "worker_tests.rs"]
mod tests;
