//! [`interval()`]: ticks at a fixed pace.
//!
//! ```text
//!   tick(): wait for `due` ──► now ──┬─ not late, or late by no more than TOLERANCE ──► next = due + period
//!                                    └─ late: by the behaviour ──┬─ Burst ──► next = due + period
//!                                                                ├─ Delay ──► next = now + period
//!                                                                └─ Skip  ──► next = the first of due + n * period after now
//!   and returns `due`: when the tick should have been, not when it was
//! ```
//!
//! The next deadline is set as a tick is given, not when the next one is asked for: dropping a `tick()` that waits changes nothing.

use super::{
    clock::Moment,
    sleep::{Sleep, sleep_until},
};
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

/// A tick that is taken so much after its time is none that was missed. tokio's value.
const TOLERANCE: Duration = Duration::from_millis(5);

/// What an [`Interval`] does when a tick was missed: taken later than it was due (by more than 5 ms), because the task was busy with something else.
///
/// With a period of 50 ms, and 120 ms of work after the second tick, ticks come at
///
/// | behaviour | milliseconds | good for |
/// |---|---|---|
/// | `Burst` | 0, 50, 170, 170, 200, 250 | as many ticks as time has passed |
/// | `Delay` | 0, 50, 170, 220, 270 | a period between any two ticks at least |
/// | `Skip`  | 0, 50, 170, 200, 250 | ticks at whole multiples only |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTickBehavior {
    /// Ticks come as fast as they are asked for, until all that were missed are made up for.
    #[default]
    Burst,
    /// The pace begins anew with the tick that was late.
    Delay,
    /// What was missed is left out.
    Skip,
}

impl MissedTickBehavior {
    /// When the tick after the one that was `due` and is taken `now`, late, is due.
    fn next(self, due: Instant, now: Instant, period: Duration) -> Instant {
        match self {
            Self::Burst => later(due, period),
            Self::Delay => later(now, period),
            Self::Skip => {
                let over = now.saturating_duration_since(due).as_nanos() % period.as_nanos();
                // Less than a period, of which there are at most 2^64 seconds; and what is less than `now` is late by is within the clock.
                let over = Duration::new((over / 1_000_000_000) as u64, (over % 1_000_000_000) as u32);
                later(now, period - over)
            }
        }
    }
}

/// So much later; the far future if that is beyond the clock.
fn later(at: Instant, duration: Duration) -> Instant {
    at.checked_add(duration).unwrap_or_else(|| Moment::NEVER.instant())
}

/// Ticks at once, and then once in a `period`.
///
/// Each tick is due a period after the one before was *due*, however long the work in between takes: where `sleep` in a loop drifts, this doesn't.
/// What happens when the work takes longer than a period is up to the [`MissedTickBehavior`].
///
/// # Panics
///
/// If `period` is zero. Waiting for a tick panics as [`sleep`](super::sleep()) does: outside a runtime.
///
/// # Examples
///
/// ```
/// use egret_executor::{Runtime, time::interval};
/// use std::time::{Duration, Instant};
///
/// Runtime::new()?.block_on(async {
///     let start = Instant::now();
///     let mut interval = interval(Duration::from_millis(2));
///     interval.tick().await; // at once
///     interval.tick().await;
///     interval.tick().await;
///     assert!(start.elapsed() >= Duration::from_millis(4));
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// Ticks at `start`, and then once in a `period`. As [`interval()`] otherwise.
///
/// # Panics
///
/// As [`interval()`].
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval's period must be more than zero");
    Interval { delay: sleep_until(start), period, behavior: MissedTickBehavior::default() }
}

/// Ticks at a fixed pace. Made by [`interval()`] and [`interval_at`].
#[derive(Debug)]
pub struct Interval {
    /// Until the next tick.
    delay: Sleep,
    period: Duration,
    behavior: MissedTickBehavior,
}

impl Interval {
    /// Waits for the next tick, and returns when it was due.
    ///
    /// # Cancel safety
    ///
    /// No tick is lost: if it is dropped while it waits, the next call waits for the same one.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// [`tick`](Self::tick) for who has a context. The task that polled last is woken.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        ready!(Pin::new(&mut self.delay).poll(cx));
        let due = self.delay.deadline();
        let now = Instant::now();
        let next = if now.saturating_duration_since(due) > TOLERANCE {
            self.behavior.next(due, now, self.period)
        } else {
            later(due, self.period)
        };
        self.delay.reset(next);
        Poll::Ready(due)
    }

    /// The next tick comes a period from now.
    pub fn reset(&mut self) {
        self.reset_after(self.period);
    }

    /// The next tick comes at once.
    pub fn reset_immediately(&mut self) {
        self.reset_at(Instant::now());
    }

    /// The next tick comes so long from now.
    pub fn reset_after(&mut self, after: Duration) {
        self.reset_at(later(Instant::now(), after));
    }

    /// The next tick comes then; those after it a period apart.
    pub fn reset_at(&mut self, at: Instant) {
        self.delay.reset(at);
    }

    /// What happens when ticks are missed.
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.behavior
    }

    /// Says what happens when ticks are missed; [`MissedTickBehavior::Burst`] if this isn't called.
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.behavior = behavior;
    }

    /// From one tick to the next.
    pub fn period(&self) -> Duration {
        self.period
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// When the next tick is due, in milliseconds, of one that was due at 50 and is taken at `now`; the period is 50.
    fn next(behavior: MissedTickBehavior, now: u32) -> u128 {
        let start = Instant::now();
        (behavior.next(start + 50 * MS, start + now * MS, 50 * MS) - start).as_millis()
    }

    #[test]
    fn what_was_missed_is_made_up_for_put_off_or_left_out() {
        use MissedTickBehavior::{Burst, Delay, Skip};
        assert_eq!([Burst, Delay, Skip].map(|behavior| next(behavior, 170)), [100, 220, 200]);
        assert_eq!([Burst, Delay, Skip].map(|behavior| next(behavior, 60)), [100, 110, 100]);
        // A whole number of periods late: that very moment is past, the next one counts.
        assert_eq!([Burst, Delay, Skip].map(|behavior| next(behavior, 150)), [100, 200, 200]);
    }

    #[test]
    fn periods_that_no_clock_can_say_do_not_panic() {
        let now = Instant::now();
        let due = now.checked_sub(Duration::from_secs(3)).unwrap_or(now);
        for period in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_nanos(1)] {
            for behavior in [MissedTickBehavior::Burst, MissedTickBehavior::Delay, MissedTickBehavior::Skip] {
                assert!(behavior.next(due, now, period) >= due, "{behavior:?} {period:?}");
            }
        }
    }
}
