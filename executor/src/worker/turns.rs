//! The part of a worker that wakes on its thread reach: where they queue a task, and whose turn it is, those who wait here or those
//! in the injector.
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
//! ```text
//!             8 pops, or as many as wait here                     nothing there
//!   locals ───────────────────────────────────► look at the injector ───────────► locals
//!     ▲                                           ▲      │ some: a share of them goes before those who wait here
//!     │ so it has gone for PATIENCE:              │      ▼
//!     │ all who wait here have one turn           └── share: as many pops as it has tasks
//!     └────────────────────────────────────────── look
//! ```
//!
//! Tasks that yield, or spawn their successors, are here again at once: with polls of 10 us, four of them between two looks keep everybody
//! in the injector waiting for forty, though these may be hundreds that take fifty nanoseconds each. So a share goes before them (it is
//! appended, and they are put behind it, in their order), and at its end the worker looks again, as long as there is more and the
//! locals can bear it. A share leaves something behind for the other workers; one that looks again soon takes that, too, if
//! they don't come.
//!
//! Nobody is starved: the injector by a short queue, because it is asked once in 8 pops; by a long one, because each 61st poll
//! takes the oldest that was injected; the locals, because a share is at most 256 tasks, and after `PATIENCE` they have a turn.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use async_task::ScheduleInfo;

use crate::{processor::SLICE, queue::Local, shared::Shared, sync::Arc, task::Task};

/// The most pops of locals between two looks at the injector. A guess: a look reads two words that seldom change.
const POPS: usize = 8;

/// Those who wait here are put behind a share only if they are fewer. A guess: to move one costs about 10 ns.
const FEW: usize = 32;

/// How long shares of the injector may go before those who wait here: about as long as another thread keeps the whole worker off its processor.
/// Measured with spawn_many_remote_busy2: 100 us to 1 ms are the same, 256 tasks instead of a time took 1.2 times as long.
const PATIENCE: Duration = SLICE;

/// What is reached through the thread-local.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: usize,
    pub(crate) local: Local<Task>,
    /// Events and timers are being delivered.
    pub(super) delivering: Cell<bool>,
    /// Pops of the deque until the injector is asked again.
    pops_left: Cell<usize>,
    /// They are of a share. If thieves have taken of it, some are not.
    in_share: Cell<bool>,
    /// Since when shares have gone before those who wait here.
    since: Cell<Option<Instant>>,
}

impl Core {
    pub(crate) fn new(shared: Arc<Shared>, index: usize, local: Local<Task>) -> Self {
        Self {
            shared,
            index,
            local,
            delivering: Cell::new(false),
            pops_left: Cell::new(0),
            in_share: Cell::new(false),
            since: Cell::new(None),
        }
    }

    /// Queues a task that was woken on this thread. See the module's table.
    pub(crate) fn schedule(&self, task: Task, info: ScheduleInfo) {
        if self.delivering.get() {
            self.local.push(task);
        } else if info.woken_while_running {
            self.push_back(task);
        } else {
            self.push_front(task);
        }
    }

    /// Queues a task that was spawned on this thread.
    pub(crate) fn schedule_new(&self, task: Task) {
        if self.delivering.get() {
            self.local.push(task);
        } else {
            self.push_front(task);
        }
    }

    fn push_front(&self, task: Task) {
        if let Some(displaced) = self.local.push_lifo(task) {
            self.local.push(displaced);
            self.shared.notify();
        }
    }

    /// Queues a task behind everybody who waits here. (Not in the injector: there those that yield would all go round,
    /// through one queue for all workers, and never leave it.)
    pub(super) fn push_back(&self, task: Task) {
        let alone = self.local.is_empty();
        self.local.push(task);
        if !alone {
            self.shared.notify();
        }
    }

    /// The next of the deque, or of the injector if it is their turn.
    #[inline]
    pub(super) fn pop(&self) -> Option<Task> {
        let task = self.local.pop()?;
        match self.pops_left.get() {
            0 => self.look(task),
            left => {
                self.pops_left.set(left - 1);
                Some(task)
            }
        }
    }

    /// Decides between `task`, which has been taken out of the deque, and those in the injector.
    fn look(&self, task: Task) -> Option<Task> {
        let injector = &self.shared.injector;
        let others = self.local.len();
        self.in_share.set(false);
        if injector.is_empty() {
            self.since.set(None);
            self.pops_left.set(others.min(POPS));
            return Some(task);
        }
        if others >= FEW {
            // They take their turn in line.
            self.move_share();
            self.pops_left.set(POPS);
            return Some(task);
        }
        let now = Instant::now();
        let since = self.since.get().unwrap_or(now);
        if now.saturating_duration_since(since) >= PATIENCE {
            self.since.set(None);
            self.pops_left.set(others);
            return Some(task);
        }
        self.since.set(Some(since));
        let share = self.move_share();
        if share == 0 {
            return Some(task);
        }
        // The others, the share: the share, the task, the others.
        self.local.push(task);
        for _ in 0..others {
            let Some(other) = self.local.pop() else { break };
            self.local.push(other);
        }
        self.in_share.set(true);
        self.pops_left.set(share - 1);
        self.local.pop()
    }

    /// Appends a share of the injector to the deque; how many they are, less what thieves have taken meanwhile.
    fn move_share(&self) -> usize {
        let before = self.local.len();
        self.shared.injector.move_share(self.shared.seats.len(), &self.local);
        let moved = self.local.len().saturating_sub(before);
        if moved > 0 {
            self.shared.notify();
        }
        moved
    }

    /// The oldest of the injector, and a share of the rest behind those who wait here.
    pub(super) fn take_injected(&self) -> Option<Task> {
        let alone = self.local.is_empty();
        let task = self.shared.injector.take_share(self.shared.seats.len(), &self.local)?;
        if alone {
            self.in_share.set(true);
            self.pops_left.set(self.local.len());
        }
        Some(task)
    }

    /// The same out of turn, from time to time, for the sake of those who wait behind a long queue.
    pub(super) fn take_injected_in_passing(&self) -> Option<Task> {
        if self.in_share.get() {
            // They have their turn. If thieves have taken of the share, it ends sooner than was thought.
            self.pops_left.set(self.pops_left.get().min(self.local.len()));
            return None;
        }
        self.take_injected()
    }
}
