//! Polls that don't come to an end: seeing them from outside, and telling somebody.
//!
//! A worker writes down which task it polls, and counts its polls (`Signs`). Whoever looks from time to time, and finds the same poll again, knows that
//! it has lasted at least since it was seen first: [`Polls`]. That is what [`Runtime::shutdown`](crate::Runtime::shutdown) does before it gives up on a worker, and what a thread of
//! its own does all the time if [`Builder::on_stuck_poll`](crate::Builder::on_stuck_poll) was called.
//!
//! ```text
//!   the thread:  wait a quarter of the limit ─► look at each worker ─► same poll as before, for the limit, not told yet: tell
//!                   ▲          │ the end: called │                                                                      │
//!                   │          ▼                 └──────────────────────────────────────────────────────────────────────┤
//!                   │        over                                                                                       │
//!                   └───────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::{
    fmt,
    panic::Location,
    time::{Duration, Instant},
};

use crate::{
    runtime::backtrace,
    shared::{Seat, Shared},
    sync::{Arc, Condvar, Mutex, lock},
    task::{Id, quiet::quietly},
};

/// How often it looks, in parts of the limit. A guess: so a poll is told of when it has lasted 1 to 1.25 times the limit.
const LOOKS: u32 = 4;

/// The shortest time between two looks: the limit is not one for a profiler.
const SHORTEST: Duration = Duration::from_millis(1);

/// A poll that lasts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StuckPoll {
    /// The task's id.
    pub id: Id,
    /// The task's name, if it has one.
    pub name: Option<Arc<str>>,
    /// Where the task was spawned.
    pub spawned_at: &'static Location<'static>,
    /// The number of the worker that polls it.
    pub worker: usize,
    /// How long it has lasted at least.
    pub lasted: Duration,
    /// What the worker's thread does: the names of functions, the innermost first. None without the feature `backtrace`, or if the thread
    /// didn't answer (it sleeps in the kernel, deaf to signals).
    pub backtrace: Option<String>,
}

impl fmt::Display for StuckPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}", self.id)?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        write!(
            f,
            ", spawned at {}, has kept worker {} for {:?} in one poll",
            self.spawned_at, self.worker, self.lasted
        )?;
        if let Some(backtrace) = &self.backtrace {
            write!(f, "\n{backtrace}")?;
        }
        Ok(())
    }
}

/// What was seen of a worker's poll.
struct Seen {
    id: u64,
    polls: u64,
    since: Instant,
    told: bool,
}

/// The workers' polls as they were seen at the last look.
pub(crate) struct Polls(Vec<Option<Seen>>);

impl Polls {
    pub(crate) fn of(seats: &[Seat]) -> Self {
        Self(seats.iter().map(|_| None).collect())
    }

    /// Looks at all workers.
    pub(crate) fn look(&mut self, seats: &[Seat], now: Instant) {
        for (seen, seat) in self.0.iter_mut().zip(seats) {
            let polls = seat.signs.counters.polls.get();
            match (seat.signs.running.get(), &seen) {
                (None, _) => *seen = None,
                (Some((id, _)), Some(seen)) if (seen.id, seen.polls) == (id, polls) => {}
                (Some((id, _)), _) => *seen = Some(Seen { id, polls, since: now, told: false }),
            }
        }
    }

    /// The polls that have lasted so long: each once.
    pub(crate) fn stuck(&mut self, shared: &Shared, now: Instant, limit: Duration) -> Vec<StuckPoll> {
        let mut stuck = Vec::new();
        for (worker, (seen, seat)) in self.0.iter_mut().zip(&shared.seats).enumerate() {
            let Some(seen) = seen else { continue };
            let lasted = now.saturating_duration_since(seen.since);
            if seen.told || lasted < limit {
                continue;
            }
            // Both words are of this poll, for it goes on.
            let Some((id, spawned_at)) = seat.signs.running.get().filter(|(id, _)| *id == seen.id) else {
                continue;
            };
            let Some(id) = Id::of_number(id) else { continue };
            seen.told = true;
            stuck.push(StuckPoll {
                id,
                name: shared.names.get(id),
                spawned_at,
                worker,
                lasted,
                backtrace: None,
            });
        }
        stuck
    }
}

/// What the builder was asked for.
#[derive(Clone)]
pub(crate) struct Wish {
    limit: Duration,
    tell: Arc<dyn Fn(&StuckPoll) + Send + Sync>,
}

impl Wish {
    pub(crate) fn new(limit: Duration, tell: impl Fn(&StuckPoll) + Send + Sync + 'static) -> Self {
        Self { limit, tell: Arc::new(tell) }
    }
}

impl fmt::Debug for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wish").field("limit", &self.limit).finish_non_exhaustive()
    }
}

// A panic doesn't pass through it.
impl std::panic::UnwindSafe for Wish {}
impl std::panic::RefUnwindSafe for Wish {}

/// The thread's part of the shared part.
pub(crate) struct Lookout {
    wish: Wish,
    ended: Mutex<bool>,
    called: Condvar,
}

impl Lookout {
    pub(crate) fn new(wish: Wish) -> Self {
        Self { wish, ended: Mutex::new(false), called: Condvar::new() }
    }

    /// The runtime ends.
    pub(crate) fn end(&self) {
        *lock(&self.ended) = true;
        self.called.notify_all();
    }

    /// Waits for the next look. False: it is over.
    fn rest(&self) -> bool {
        let pause = (self.wish.limit / LOOKS).max(SHORTEST);
        let waited = self.called.wait_timeout_while(lock(&self.ended), pause, |ended| !*ended);
        let (ended, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        !*ended
    }
}

/// The body of the thread.
pub(crate) fn keep(shared: &Shared) {
    let Some(lookout) = &shared.lookout else { return };
    let mut polls = Polls::of(&shared.seats);
    while lookout.rest() {
        let now = Instant::now();
        polls.look(&shared.seats, now);
        for mut poll in polls.stuck(shared, now, lookout.wish.limit) {
            poll.backtrace = backtrace::of_thread(shared.seats[poll.worker].signs.thread());
            quietly(|| (lookout.wish.tell)(&poll));
        }
    }
}
