//! Who has not come by: the signs of life of the workers, the round in which one of them looks at all, and the alarm that goes off
//! if nobody makes a round.
//!
//! A task that blocks its worker keeps three things from being served: the worker's lane (its sockets' events, and the arms and
//! closings that were left there), its timers, and its run queue. Any thread can serve each of them; what is missing is somebody who
//! knows that it has to.
//!
//! ```text
//!                 a worker comes by (before a wait, or every 61 polls) when a round is due
//!             ┌────────────────────────────────────────────────────────────────────────────┐
//!             ▼                                                                            │
//!   round: who is late? ── nobody: alarm in two intervals ── somebody: serve it, alarm in one
//!             ▲
//!             └── a parked worker, notified ◄── the alarm goes off: no worker has come by, all that run are late
//!                                                     │ all are parked
//!                                                     ▼
//!                                             it stays unset until the first of them wakes (`idle`: must_arm)
//! ```
//!
//! The alarm goes off once at the beginning of each rest, and that costs a wake. A worker whose last rest was long, and that is the
//! last to park again, expects another long one, and unsets the alarm itself, which costs less. At high rates, where
//! rests are shorter than the alarm, it stays set through all of them and nobody touches it for that.
//!
//! As long as the workers that run are well, they make the rounds themselves, one a millisecond, and put the alarm off: nobody is
//! woken. If they are all blocked, it goes off. (Or if their polls are so long that they are not at their 61st yet: then they make the
//! round after the poll they are in.) The thread that sleeps on it does nothing but wake a parked worker, which
//! makes the round in their place; user code and arms of sockets have no business on it.
//!
//! ```text
//!   a worker:  park ── sleep: odd ─┐                 a round: what it saw of each worker │ says
//!     ▲                            │                 ────────────────────────────────────┼──────────────────────────
//!     └── came by: even ◄──────────┘                 odd, or another number than before  │ it is well
//!           │    ▲                                   the same, even; polls have moved    │ late: lane and timers
//!           └────┘ a look at the reactor: + 2        the same, even; polls have not      │ blocked: its queue, too
//!                                                    even, no round for two intervals    │ blocked
//! ```
//!
//! Whoever serves rests for as long as it served, if that is longer than an interval: half a processor at most goes into it.
//!
//! A worker that is blocked right after it came by is found after two intervals at most, whether by the second round of one that is
//! well or by the alarm; from then on it is served each interval.
//!
//! | word | written by | ordering |
//! |---|---|---|
//! | `Heart` | its worker alone | relaxed: a late reading makes a worker look late, which costs a look at its things |
//! | `Watch::due` | whoever takes a round | acquire and release: it hands over `Seen` |
//! | `Seen` | the worker whose round it is | relaxed, see above |
//! | `Watch::ended` | by `shutdown`, once | sequentially consistent, with a fence before the alarm is moved or after it: see `move_alarm` |
//! | `Watch::rang` | up by the watch, down by the next round | relaxed: it comes with a notification, or a round later |

use std::{
    io,
    time::{Duration, Instant},
};

use egret_reactor::Alarm;

use crate::{
    idle::Idle,
    runtime::Counter,
    shared::{Shared, Signs},
    sync::{AtomicBool, AtomicU64, Ordering, Padded, fence},
};

/// How long a round is away from the next one, if nobody chose another interval. A guess with a frame: a fifth of what is asked for,
/// that a blocked worker delays its neighbours by 5 ms at most (two intervals to be found, one to be served, and room for a busy
/// machine); and what is done once an interval is far below what is felt: a round and a move of the alarm take one
/// (warm) to eight microseconds (cold, in a virtual machine), so less than a hundredth of a processor while workers are well; two wakes
/// of 20 us, so a twenty-fifth, while one is blocked.
pub(crate) const INTERVAL: Duration = Duration::from_millis(1);

/// The shortest interval that can be chosen: about what the two wakes cost. Below, they would be all that is done.
pub(crate) const SHORTEST: Duration = Duration::from_micros(100);

/// A worker's sign of life.
#[derive(Debug, Default)]
pub(crate) struct Heart(AtomicU64);

const ASLEEP: u64 = 1;

impl Heart {
    /// The worker looks at the reactor. Called by it alone, like the other two.
    pub(crate) fn beat(&self) {
        self.add(2);
    }

    pub(crate) fn fall_asleep(&self) {
        self.add(ASLEEP);
    }

    pub(crate) fn wake_up(&self) {
        self.add(ASLEEP);
    }

    /// Whether the worker waits in the reactor.
    pub(crate) fn is_asleep(&self) -> bool {
        self.0.load(Ordering::Relaxed) & ASLEEP != 0
    }

    fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }
}

/// What the last round saw of a worker.
#[derive(Debug, Default)]
struct Seen {
    beat: AtomicU64,
    polls: AtomicU64,
}

/// What a round says of a worker.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It has come by since the last round, or sleeps.
    Well,
    /// It polls its tasks but has not looked at the reactor since.
    Late,
    /// It has been in one poll since.
    Blocked,
}

/// The watch over the workers of one runtime.
pub(crate) struct Watch {
    interval: Duration,
    start: Instant,
    /// When the next round may be taken, in nanoseconds since `start`: 584 years fit.
    due: Padded<AtomicU64>,
    seen: Box<[Seen]>,
    alarm: Alarm,
    /// The alarm went off since the last round.
    rang: AtomicBool,
    ended: AtomicBool,
    pub(crate) alarms: Counter,
}

/// An errno of one of these says little to one who has never heard of the alarm. (One for something that has run out says it all.)
fn explain(error: io::Error) -> io::Error {
    if !matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) {
        return error;
    }
    io::Error::new(
        error.kind(),
        format!("no timerfd for the stall watch, which `Builder::stall_watch(None)` does without: {error}"),
    )
}

/// The body of the thread that sleeps on the alarm.
pub(crate) fn keep(shared: &Shared) {
    if let Some(watch) = &shared.watch {
        watch.keep(shared);
    }
}

/// One look at all workers. Only one exists at a time.
pub(crate) struct Round<'a> {
    watch: &'a Watch,
    /// Nobody came by for two intervals: whoever is awake is blocked.
    overdue: bool,
}

impl Watch {
    /// # Errors
    /// If no descriptor is left for the alarm, or a filter refuses it.
    pub(crate) fn new(workers: usize, interval: Duration) -> io::Result<Self> {
        Ok(Self {
            interval: interval.max(SHORTEST),
            start: Instant::now(),
            due: Padded::default(),
            seen: (0..workers).map(|_| Seen::default()).collect(),
            alarm: Alarm::new().map_err(explain)?,
            rang: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            alarms: Counter::default(),
        })
    }

    /// Whether the alarm went off since the last round: a worker that comes by need not wait for its turn to look.
    pub(crate) fn has_rung(&self) -> bool {
        self.rang.load(Ordering::Relaxed)
    }

    /// Sets the alarm: a worker runs, and none did before.
    pub(crate) fn arm(&self) {
        self.move_alarm(Some(self.interval.saturating_mul(2)));
    }

    /// The last word is the end's: either it comes after this move, or this sees it.
    fn move_alarm(&self, after: Option<Duration>) {
        match after {
            Some(after) => self.alarm.set(after),
            None => self.alarm.unset(),
        }
        fence(Ordering::SeqCst);
        if self.ended.load(Ordering::SeqCst) {
            self.alarm.set(Duration::ZERO);
        }
    }

    /// A worker parks, the last one as it seems, and expects a long rest: without an alarm at its beginning, if that can be.
    pub(crate) fn rest(&self, idle: &Idle) {
        // In this order: once the flag is down, whoever wakes sets the alarm.
        self.move_alarm(None);
        if !idle.try_disarm() {
            self.arm();
        }
    }

    /// Whether a worker that parked at `since` and is up `now` has had a long rest: the alarm has gone off meanwhile, or would have.
    pub(crate) fn was_long(&self, since: Instant, now: Instant) -> bool {
        now.saturating_duration_since(since) >= self.interval.saturating_mul(2)
    }

    /// The runtime ends: so does the thread that sleeps on the alarm.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.alarm.set(Duration::ZERO);
    }

    fn keep(&self, shared: &Shared) {
        loop {
            if let Err(error) = self.alarm.wait() {
                shared.report_failed_wait(&error);
                return;
            }
            if !shared.is_running() {
                return;
            }
            if shared.idle.try_disarm() {
                continue;
            }
            self.rang.store(true, Ordering::Relaxed);
            self.alarms.add_one();
            // Until a round sets it anew: it may find nobody to make one.
            self.move_alarm(Some(self.interval));
            shared.notify();
        }
    }

    /// The visits of a round that was taken at `began` are over. If they took longer than an interval (a feed that asks for each of ten
    /// thousand descriptors), the next round is due, and whoever serves would never come to rest: it is put off by as much again.
    pub(crate) fn visited(&self, began: Instant) {
        let now = Instant::now();
        let took = now.saturating_duration_since(began);
        if took < self.interval {
            return;
        }
        let next = nanos(now.saturating_duration_since(self.start)).saturating_add(nanos(took));
        self.due.fetch_max(next, Ordering::AcqRel);
        self.move_alarm(Some(took));
    }

    /// The round that is due at `now`, unless somebody else has taken it.
    pub(crate) fn take_round(&self, now: Instant) -> Option<Round<'_>> {
        let due = self.due.load(Ordering::Relaxed);
        let now = nanos(now.saturating_duration_since(self.start));
        if now < due {
            return None;
        }
        // Acquire and release: a round sees what the one before it wrote down. Nobody else can be in one: the interval would have to
        // pass within a dozen instructions; and if a thread is put aside there, two of them mix what they saw, see the ordering above.
        let next = now.saturating_add(nanos(self.interval));
        let taken = self.due.compare_exchange(due, next, Ordering::AcqRel, Ordering::Relaxed);
        taken.ok()?;
        // An overdue round without an alarm: all were parked.
        let overdue = self.rang.swap(false, Ordering::Relaxed) && now - due >= nanos(self.interval);
        Some(Round { watch: self, overdue })
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Round<'_> {
    /// Compares what worker `index` shows with what the last round saw.
    pub(crate) fn look(&self, index: usize, signs: &Signs) -> Sign {
        let Some(seen) = self.watch.seen.get(index) else { return Sign::Well };
        let beat = signs.heart.0.load(Ordering::Relaxed);
        let polls = signs.counters.polls.get();
        let polled = seen.polls.load(Ordering::Relaxed) != polls;
        seen.polls.store(polls, Ordering::Relaxed);
        let came_by = seen.beat.load(Ordering::Relaxed) != beat;
        seen.beat.store(beat, Ordering::Relaxed);
        if beat & ASLEEP != 0 {
            Sign::Well
        } else if self.overdue {
            Sign::Blocked
        } else if came_by {
            Sign::Well
        } else if polled {
            Sign::Late
        } else {
            Sign::Blocked
        }
    }

    /// The alarm is put off, by less if somebody was late.
    pub(crate) fn end(self, anyone_late: bool) {
        let interval = self.watch.interval;
        self.watch.move_alarm(Some(if anyone_late { interval } else { interval.saturating_mul(2) }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchdog::Watchdog;

    const MS: Duration = Duration::from_millis(1);

    fn watch() -> Watch {
        Watch::new(1, MS).unwrap()
    }

    #[test]
    fn a_round_is_taken_once_and_the_next_one_an_interval_later() {
        let watch = watch();
        let now = watch.start + MS * 5;
        assert!(watch.take_round(now).is_some());
        assert!(watch.take_round(now).is_none());
        assert!(watch.take_round(now + MS - Duration::from_nanos(1)).is_none());
        assert!(watch.take_round(now + MS).is_some());
    }

    #[test]
    fn the_interval_may_be_anything() {
        let watch = Watch::new(1, Duration::MAX).unwrap();
        watch.arm();
        let round = watch.take_round(watch.start).unwrap();
        round.end(false);
        assert!(watch.take_round(watch.start + MS).is_none());
        let watch = Watch::new(1, Duration::ZERO).unwrap();
        assert!(watch.take_round(watch.start).is_some());
        assert!(watch.take_round(watch.start + SHORTEST / 2).is_none());
    }

    #[test]
    fn after_long_visits_the_next_round_is_put_off_by_as_much() {
        let watch = watch();
        let began = Instant::now();
        assert!(watch.take_round(began).is_some());
        watch.visited(began.checked_add(MS * 1000).unwrap());
        assert!(watch.take_round(began + MS).is_some(), "short ones don't count");
        let began = Instant::now().checked_sub(MS * 100_000).unwrap();
        watch.visited(began);
        assert!(watch.take_round(Instant::now() + MS * 99_000).is_none());
        assert!(watch.take_round(Instant::now() + MS * 100_001).is_some());
    }

    /// Workers go on for a while after the end has begun: nothing they do may keep the watch's thread asleep.
    #[test]
    fn the_end_is_not_put_off() {
        let _watchdog = Watchdog::start();
        let watch = Watch::new(2, Duration::MAX).unwrap();
        watch.end();
        watch.arm();
        watch.alarm.wait().unwrap();
        watch.take_round(watch.start).unwrap().end(false);
        watch.alarm.wait().unwrap();
        let idle = Idle::new(2, true);
        watch.rest(&idle);
        watch.alarm.wait().unwrap();
        idle.park(false);
        idle.park(false);
        watch.rest(&idle);
        watch.alarm.wait().unwrap();
    }

    #[test]
    fn the_signs() {
        let watch = watch();
        let signs = Signs::default();
        let mut now = watch.start;
        let mut look = |rang: bool| {
            now += if rang { 2 * MS } else { MS };
            watch.rang.store(rang, Ordering::Relaxed);
            watch.take_round(now).expect("it is due").look(0, &signs)
        };
        signs.heart.beat();
        assert_eq!(look(false), Sign::Well);
        assert_eq!(look(false), Sign::Blocked);
        signs.counters.polls.add_one();
        assert_eq!(look(false), Sign::Late);
        assert_eq!(look(false), Sign::Blocked);
        signs.heart.fall_asleep();
        assert_eq!(look(false), Sign::Well);
        assert_eq!(look(true), Sign::Well);
        signs.heart.wake_up();
        assert_eq!(look(false), Sign::Well);
        signs.heart.beat();
        assert_eq!(look(true), Sign::Blocked, "the alarm went off meanwhile");
    }
}
