//! The books of who is awake and who searches: they decide whether a new task wakes a worker, and whether the alarm of the watch
//! (see `stall`) has to be set.
//!
//! One word, two counts and a flag:
//!
//! | bits | name | meaning |
//! |---|---|---|
//! | 0..16 | searching | workers that look for tasks in other queues, plus the wake that is under way |
//! | 16..31 | unparked | workers that are not parked, plus the wake that is under way |
//! | 31 | armed | the alarm is set, or about to be |
//!
//! ```text
//!             try_search                     settle                              settle: the last searcher looks at
//!   Running ───────────────► Searching ───────────────► Running                  all queues again, and wakes one more
//!     │  ▲                     │    ▲                                            if something is left
//!     │  │ woken_by_event      │    │
//!     │  │                     │    │ resume_search (found work in the last look), or
//!     │  │        park(true)   ▼    │ the wait returned `notified`: the notifier has done the books
//!     └──┼─────────────────► Parked ┘
//!    park(false)   └───────────┘
//!
//!   a notifier:  push the task ─► claim_wake ── true ──► Eventpoll::notify_one
//!
//!              must_arm: a worker that has left Parked and finds the flag down
//!   Unarmed ─────────────────────────────────────────────────────────────────► Armed
//!      ▲                                                                         │
//!      └── try_disarm: nobody is unparked when the alarm has gone off, or a worker parks that expects a long rest ─┘
//! ```
//!
//! | transition | searching | unparked | done by |
//! |---|---|---|---|
//! | `try_search` | +1 if fewer than half search | | the worker that ran dry |
//! | `settle` | -1 | | the searcher that found a task, or is about to call wakers, which may block it |
//! | `park` | -1 if it searched | -1 | the worker that goes to wait |
//! | `resume_search` | +1 if fewer than half search | +1 | the same worker, before it waits |
//! | `woken_by_event` | | +1 | the worker whose wait returned without a notification |
//! | `claim_wake` | 0 → 1 | +1 if not all are | a notifier, on behalf of the worker it is about to wake |
//! | `give_back` | -1 | -1 | a running worker whose look at the reactor swallowed the notification |
//! | `must_arm` | | | a worker that was parked (`resume_search`, `woken_by_event`, a notification), before it does anything else |
//! | `try_disarm` | | if 0 | the watch, when the alarm has gone off; a worker that goes to wait |
//!
//! **At most one wake is under way**: it counts as a searcher until its worker has come out of `wait`, and nobody claims
//! another while anyone searches. If the sleeper it was meant for woke by itself, the reactor keeps the permit, and the
//! next worker that waits takes it at once.
//!
//! **No task is lost.** A notifier publishes its task, then reads the word; a worker that parks or settles writes the
//! word, then looks at the queues. Both put a sequentially consistent fence between the two, so at least one of them sees the
//! other: the notifier sees somebody asleep and nobody searching, or the worker sees the task. (A load alone, even a
//! sequentially consistent one, may be satisfied before the push is visible; tokio lost wakes to that.)
//!
//! **Nobody runs unwatched.** A worker counts itself as unparked (or is counted, by its notifier), then reads the flag; the watch
//! takes the flag down only in the same step in which it sees that nobody is counted. So either the worker finds the flag down, and
//! sets the alarm before it polls anything, or the flag stays up until the worker parks. While it is up the hot path
//! writes nothing for it. In books without a watch it is up from the start.
//!
//! Half of the workers as the limit of searchers is tokio's and Go's choice.

use crate::sync::{AtomicUsize, Ordering, fence};

const UNPARKED_SHIFT: u32 = 16;
const SEARCHING_MASK: usize = (1 << UNPARKED_SHIFT) - 1;
const UNPARKED_MASK: usize = (1 << 15) - 1;
const ARMED: usize = 1 << 31;
const ONE_SEARCHING: usize = 1;
const ONE_UNPARKED: usize = 1 << UNPARKED_SHIFT;

/// The most workers a runtime can have: both counts stay in their part of the word, also where it has 32 bits.
#[cfg(not(egret_loom))]
pub const MAX_WORKERS: usize = 1 << 14;

fn searching(state: usize) -> usize {
    state & SEARCHING_MASK
}

fn unparked(state: usize) -> usize {
    state >> UNPARKED_SHIFT & UNPARKED_MASK
}

/// What a searcher that found a task has to do next.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Settled {
    /// Others still search.
    OthersSearch,
    /// Pushers may have relied on this searcher: look at the queues again, wake one more if they hold anything.
    WasLast,
}

/// The idle books of one runtime.
pub struct Idle {
    state: AtomicUsize,
    workers: usize,
}

impl Idle {
    /// Books for `workers` workers, all of them running. `watch`: whether there is an alarm to be set.
    pub fn new(workers: usize, watch: bool) -> Self {
        let armed = if watch { 0 } else { ARMED };
        Self { state: AtomicUsize::new(workers << UNPARKED_SHIFT | armed), workers }
    }

    /// After a task was published: whether the caller has to call `notify_one`. The books then already count the
    /// woken worker as a searcher.
    #[must_use = "a claimed wake must be delivered"]
    pub fn claim_wake(&self) -> bool {
        // Between the caller's push and the look at the word; see the module's "no task is lost".
        fence(Ordering::SeqCst);
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if searching(state) != 0 || unparked(state) >= self.workers {
                return false;
            }
            match self.state.compare_exchange_weak(
                state,
                state + ONE_SEARCHING + ONE_UNPARKED,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    /// A worker that ran dry asks to search.
    #[must_use]
    pub fn try_search(&self) -> bool {
        self.add_searcher(0)
    }

    /// A worker that has parked in the books but found work in its last look comes back as a searcher. If enough others
    /// search it is refused and may wait: they will see that work.
    #[must_use]
    pub fn resume_search(&self) -> bool {
        self.add_searcher(ONE_UNPARKED)
    }

    fn add_searcher(&self, and: usize) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if 2 * searching(state) >= self.workers {
                return false;
            }
            match self.state.compare_exchange_weak(
                state,
                state + ONE_SEARCHING + and,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    /// A searcher has found a task.
    pub fn settle(&self) -> Settled {
        let old = self.state.fetch_sub(ONE_SEARCHING, Ordering::SeqCst);
        if searching(old) != 1 {
            return Settled::OthersSearch;
        }
        // Before the caller's look at the queues.
        fence(Ordering::SeqCst);
        Settled::WasLast
    }

    /// A worker is about to wait. It must look at all queues after this and before it waits.
    pub fn park(&self, searched: bool) {
        let and = if searched { ONE_SEARCHING } else { 0 };
        self.state.fetch_sub(ONE_UNPARKED + and, Ordering::SeqCst);
        // Before the caller's look at the queues.
        fence(Ordering::SeqCst);
    }

    /// A worker's wait returned on its own account: an event, a deadline, an interruption.
    pub fn woken_by_event(&self) {
        self.state.fetch_add(ONE_UNPARKED, Ordering::SeqCst);
    }

    /// A worker that was parked, or has just been started, is about to do something: whether it has to set the alarm first.
    #[must_use = "nobody else sets the alarm"]
    pub fn must_arm(&self) -> bool {
        // Relaxed: this worker is counted in whatever it reads, and what matters is the order of changes to this one word.
        if self.state.load(Ordering::Relaxed) & ARMED != 0 {
            return false;
        }
        self.state.fetch_or(ARMED, Ordering::SeqCst) & ARMED == 0
    }

    /// Whether all are parked as far as can be told now.
    pub fn all_parked(&self) -> bool {
        unparked(self.state.load(Ordering::Relaxed)) == 0
    }

    /// The alarm has gone off, or was unset *before* this call: whether all are parked, so that it need not be set again. Whoever
    /// leaves that state sets it.
    #[must_use = "otherwise it has to be set again"]
    pub fn try_disarm(&self) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if unparked(state) > 0 {
                return false;
            }
            let unarmed = state & !ARMED;
            match self.state.compare_exchange_weak(state, unarmed, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    /// A running worker came by the notification meant for a sleeper. It must look at all queues after this and notify
    /// again if they hold anything.
    pub fn give_back(&self) {
        self.state.fetch_sub(ONE_UNPARKED + ONE_SEARCHING, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }
}

#[cfg(all(test, not(egret_loom)))]
impl Idle {
    /// Searching and unparked.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state.load(Ordering::SeqCst);
        (searching(state), unparked(state))
    }
}

#[cfg(all(test, not(egret_loom)))]
mod tests {
    use super::*;

    fn counts(idle: &Idle) -> (usize, usize) {
        idle.counts()
    }

    #[test]
    fn nobody_is_woken_while_all_are_awake_or_one_searches() {
        let idle = Idle::new(2, false);
        assert!(!idle.claim_wake(), "all awake");
        idle.park(false);
        assert!(idle.claim_wake());
        assert_eq!(counts(&idle), (1, 2));
        idle.park(false);
        assert!(!idle.claim_wake(), "the woken one searches");
        assert_eq!(counts(&idle), (1, 1));
    }

    #[test]
    fn at_most_half_search() {
        let idle = Idle::new(4, false);
        assert!(idle.try_search());
        assert!(idle.try_search());
        assert!(!idle.try_search());
        assert_eq!(idle.settle(), Settled::OthersSearch);
        assert_eq!(idle.settle(), Settled::WasLast);
    }

    #[test]
    fn a_lone_worker_may_search() {
        let idle = Idle::new(1, false);
        assert!(idle.try_search());
        assert_eq!(idle.settle(), Settled::WasLast);
    }

    #[test]
    fn a_wake_whose_sleeper_woke_by_itself_leaves_the_books_straight() {
        let idle = Idle::new(2, false);
        idle.park(false);
        assert!(idle.claim_wake());
        idle.woken_by_event();
        assert_eq!(counts(&idle), (1, 3), "two awake and a permit");
        // One of them waits, takes the permit at once and has inherited the search.
        idle.park(false);
        assert_eq!(idle.settle(), Settled::WasLast);
        assert_eq!(counts(&idle), (0, 2));
    }

    #[test]
    fn a_swallowed_notification_is_given_back() {
        let idle = Idle::new(2, false);
        idle.park(false);
        assert!(idle.claim_wake());
        idle.give_back();
        assert_eq!(counts(&idle), (0, 1));
        assert!(idle.claim_wake());
    }

    #[test]
    fn a_parked_worker_that_sees_work_comes_back_unless_enough_search() {
        let idle = Idle::new(2, false);
        assert!(idle.try_search());
        idle.park(true);
        assert!(idle.resume_search());
        assert_eq!(counts(&idle), (1, 2));
        idle.park(false);
        assert!(!idle.resume_search());
    }

    #[test]
    fn the_alarm_is_set_once_by_the_first_to_leave_and_stays_set_while_anybody_runs() {
        let idle = Idle::new(2, true);
        assert!(idle.must_arm());
        assert!(!idle.must_arm(), "the other one, which starts, too");
        idle.park(false);
        assert!(!idle.try_disarm());
        idle.park(false);
        assert!(idle.try_disarm());
        idle.woken_by_event();
        assert!(idle.must_arm());
        assert!(!idle.try_disarm());
        assert_eq!(counts(&idle), (0, 1));
        assert!(idle.claim_wake());
        assert!(!idle.must_arm());
    }

    #[test]
    fn a_wake_under_way_keeps_the_alarm_set() {
        let idle = Idle::new(1, true);
        assert!(idle.must_arm());
        idle.park(false);
        assert!(idle.claim_wake());
        assert!(!idle.try_disarm(), "its worker will find the flag up");
    }

    #[test]
    fn books_without_a_watch_have_no_alarm() {
        let idle = Idle::new(MAX_WORKERS, false);
        assert!(!idle.must_arm());
        for _ in 0..MAX_WORKERS {
            idle.park(false);
        }
        idle.woken_by_event();
        assert!(!idle.must_arm());
        assert_eq!(counts(&idle), (0, 1));
    }
}
