//! A worker: the loop that polls tasks, and scheduling from inside of it.
//!
//! ```text
//!   ┌─► next task: the LIFO slot (3 in a row, none if any is injected), deque, injector  every 61st: the reactor, the injector
//!   │      │ none: look at the reactor without waiting, then search (victims' deques, the injector, victims' slots)
//!   │      ├── found ─► no longer a searcher (the last one wakes another if there is more) ─► poll it ─┐
//!   │      └── none ──► park: the books, one more look at all queues, wait (at most until the next deadline) ─► deliver
//!   └───────────────────────────────────────────────────────────────────────────────────────────────┴───────┘
//! ```
//!
//! The reactor is looked at before other workers' queues: its look costs no system call, and the events it finds are for
//! tasks whose memory is warm here.
//!
//! Where wakes on its thread queue their tasks, and how these share turns with the injector, is in `turns`; how it sleeps, and what it
//! does for a worker that a task keeps from all this, in `park`. How a task that is going to block gives its worker's work away: `loan`.

mod loan;
mod park;
mod turns;

use std::{
    hash::{BuildHasher, RandomState},
    thread,
    time::{Duration, Instant},
};

use egret_reactor::Event;

pub use self::loan::block_in_place;
pub(crate) use self::turns::Core;

use self::park::Late;
use crate::{
    context::{self, Place},
    handover::Called,
    idle::Settled,
    processor::EVENTS_A_TURN,
    queue::Pointer,
    runtime::{Handle, TaskMeta},
    shared::{Seat, Shared},
    task::{Task, quiet::quietly},
};

/// Polls between two looks at the reactor and the injector: tokio's and Go's value, a prime so that it doesn't fall in step
/// with anything.
const TICK: u32 = 61;

/// How many tasks in a row come from the LIFO slot while others wait: tokio's value. Two tasks that wake each other would
/// keep everybody else out.
const LIFO_RUN: u32 = 3;

/// Events taken at a time: so many tasks run one after the other before the next are fetched. Measured with 512 connections on two processors: 256
/// and 128 cost the same processor time with a p99 1.1 times as long, 32 gives 0.8 of the p99 for 1.17 of the time.
const EVENTS: usize = 64;

/// The body of a worker thread.
pub(crate) fn run(core: Core) {
    let shared = core.shared.clone();
    shared.seats[core.index].signs.set_thread();
    let _place = context::set_place(Place::Worker);
    let _entered = context::enter(&Handle { shared: shared.clone() });
    let leave = Leave { core };
    let _lane = shared.lanes[leave.core.index].enter();
    // SAFETY: `leave` stays where it is until its drop, which clears the pointer.
    unsafe { context::set_worker(&leave.core) };
    Worker::new(&leave.core).run();
}

/// Makes this thread the worker that owns `core`, until the runtime ends or `main` says that it is done. `main` is called first, and whenever `called`
/// is found up.
pub(crate) fn drive(core: &Core, called: &Called, main: impl FnMut() -> bool) {
    /// Not a worker any more, also if `main` panics.
    struct Clear;
    impl Drop for Clear {
        fn drop(&mut self) {
            context::clear_worker();
        }
    }
    let shared = &core.shared;
    shared.seats[core.index].signs.set_thread();
    let _lane = shared.lanes[core.index].enter();
    let _clear = Clear;
    // SAFETY: `core` is borrowed until `_clear` is dropped, which clears the pointer.
    unsafe { context::set_worker(core) };
    Worker { called: Some(called), ..Worker::new(core) }.run_with(called, main);
}

/// The worker whose core this is doesn't come back. Whatever thread this is.
pub(crate) fn retire(core: Core) {
    let _entered = context::enter(&Handle { shared: core.shared.clone() });
    leave(&core);
}

fn leave(core: &Core) {
    let Core { shared, local, .. } = core;
    while let Some(task) = local.pop_lifo().or_else(|| local.pop()) {
        shared.injector.push(task);
    }
    shared.worker_left();
}

/// The worker's way out, taken also if its loop should ever unwind.
struct Leave {
    core: Core,
}

impl Drop for Leave {
    fn drop(&mut self) {
        context::clear_worker();
        leave(&self.core);
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
    /// Polls since the last look at the clock for the others' sake.
    polls_without_clock: u32,
    /// When it came to park last, and whether that rest was a long one.
    parked: Instant,
    /// Since when it is not parked.
    up_since: Instant,
    rested: bool,
    /// Who is to be served with the next delivery.
    late: Vec<Late>,
    /// Events since it last slept, or gave up the processor.
    events_of_turn: usize,
    /// Waits in a row that failed.
    failed_waits: u32,
    /// The number of polls when a notification last ended a wait: if it is still the same at the next wait, nothing was there.
    polls_when_notified: Option<u64>,
    random: Random,
    /// Of a worker that has something else to do than tasks: up if it is to come and do it.
    called: Option<&'a Called>,
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
            polls_without_clock: 0,
            parked: Instant::now(),
            up_since: Instant::now(),
            rested: false,
            late: Vec::with_capacity(shared.seats.len()),
            events_of_turn: 0,
            failed_waits: 0,
            polls_when_notified: None,
            random: Random::new(),
            called: None,
        }
    }

    fn run(mut self) {
        self.is_up();
        while self.shared.is_running() {
            match self.next() {
                Some(task) => self.poll(task),
                None => self.park(),
            }
        }
    }

    /// [`run`](Self::run), with something else to do beside the tasks.
    fn run_with(mut self, called: &Called, mut main: impl FnMut() -> bool) {
        while self.shared.is_running() {
            if called.take() {
                self.settle();
                self.ticks += 1;
                if main() {
                    break;
                }
            }
            match self.next() {
                Some(task) => self.poll(task),
                None => self.park(),
            }
        }
        self.settle();
    }

    fn is_called(&self) -> bool {
        self.called.is_some_and(Called::is_up)
    }

    /// Before whatever may block this worker: nobody is woken while one is counted as a searcher.
    fn settle(&mut self) {
        if self.searching {
            self.searching = false;
            // Those who pushed while this one searched have notified nobody.
            if self.shared.idle.settle() == Settled::WasLast && self.shared.has_work() {
                self.shared.notify();
            }
        }
    }

    #[inline(always)]
    fn poll(&mut self, task: Task) {
        self.settle();
        self.ticks += 1;
        self.seat.signs.counters.polls.add_one();
        let pointer = task.into_ptr();
        // SAFETY: out of `into_ptr` the line above.
        let task = unsafe { Task::from_ptr(pointer) };
        let signs = &self.seat.signs;
        signs.running.begin(task.metadata());
        let told = self.shared.observer.as_ref().map(|observer| {
            let meta = TaskMeta::copied(task.metadata(), self.shared);
            (observer, meta, observer.before_poll(&meta))
        });
        // A task's wakers carry the same pointer. It doesn't unwind: the harness catches what its future throws.
        let lent = context::poll_task(pointer.as_ptr(), || {
            task.run();
        });
        if lent {
            loan::reclaim(self.core);
            self.up_since = Instant::now();
        }
        if let Some((observer, meta, began)) = told {
            observer.after_poll(self.core.index, &meta, began);
        }
        signs.running.end();
    }

    #[inline(always)]
    fn next(&mut self) -> Option<Task> {
        if self.ticks >= TICK || self.has_rung() {
            self.look_at_reactor();
            if let Some(task) = self.core.take_injected_in_passing() {
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
        self.next_local().or_else(|| self.core.take_injected())
    }

    fn next_local(&mut self) -> Option<Task> {
        let local = &self.core.local;
        if let Some(task) = local.pop_lifo() {
            // Not while somebody waits in the injector: a chain of spawns would go before them.
            if self.lifo_run < LIFO_RUN && self.shared.injector.is_empty() {
                self.lifo_run += 1;
                self.seat.signs.counters.lifo.add_one();
                return Some(task);
            }
            self.core.push_back(task);
        }
        self.lifo_run = 0;
        self.core.pop()
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
            .or_else(|| self.core.take_injected())
            // Last, because its owner means to run it at once, on memory that is warm there.
            .or_else(|| victims().find_map(|victim| victim.steal_slot()));
        if stolen.is_some() {
            self.seat.signs.counters.steals.add_one();
        }
        stolen
    }

    /// A look at the reactor between two polls.
    fn look_at_reactor(&mut self) {
        self.seat.signs.heart.beat();
        if self.events_of_turn >= EVENTS_A_TURN {
            self.events_of_turn = 0;
            thread::yield_now();
        }
        self.look_after_others_in_passing();
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

    /// Wakes the tasks of the first `events` events and of the timers that are due. They all go to the deque, and one
    /// sleeper is told if there is more than this worker takes up right away.
    fn deliver(&mut self, events: usize) {
        self.events_of_turn += events;
        let Self { core, shared, .. } = *self;
        let before = core.local.len();
        core.delivering.set(true);
        if events > 0 {
            // Foreign wakers (of a block_on, of a FuturesUnordered) run here too.
            self.settle();
            quietly(|| shared.io.dispatch(&self.events[..events]));
        }
        let timers = &shared.timers[core.index];
        if let Some(deadline) = timers.next_deadline() {
            let now = Instant::now();
            if deadline <= now {
                self.settle();
                quietly(|| timers.fire(now));
            }
        }
        if !self.late.is_empty() {
            self.settle();
            self.serve_late();
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
