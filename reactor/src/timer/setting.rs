//! [`Setting`]: what a timer is set to, and what that means at a given moment. Plain arithmetic: no clock, no lock.
//!
//! Expirations are not counted as they happen; they follow from the first one that was not taken yet, the period and the time.

use std::time::{Duration, Instant};

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    due: Due,
    /// Not zero.
    period: Option<Duration>,
}

/// The first expiration that nobody has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Disarmed,
    /// Later than an `Instant` can say.
    Never,
    /// Passed or to come.
    At(Instant),
}

impl Setting {
    pub(super) const DISARMED: Setting = Setting { due: Due::Disarmed, period: None };

    /// Expires at `first` (never, if that is beyond the clock) and then every `period`; a period of zero is none.
    pub(super) fn new(first: Option<Instant>, period: Option<Duration>) -> Self {
        Self { due: first.map_or(Due::Never, Due::At), period: period.filter(|period| !period.is_zero()) }
    }

    pub(super) fn is_periodic(&self) -> bool {
        self.period.is_some()
    }

    /// How often it has expired by `now` since it was set or taken from.
    pub(super) fn expirations(&self, now: Instant) -> u64 {
        let Due::At(due) = self.due else { return 0 };
        let Some(past) = now.checked_duration_since(due) else { return 0 };
        let periods = self.period.map_or(0, |period| past.as_nanos() / period.as_nanos());
        u64::try_from(periods).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Takes the expirations up to `now`: what comes next is later than `now`, or nothing.
    pub(super) fn take(&mut self, now: Instant) -> u64 {
        let count = self.expirations(now);
        if count > 0 {
            self.due = self.after(count);
        }
        count
    }

    /// When it expires next after `now`, if that can be said.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        match self.after(self.expirations(now)) {
            Due::At(next) => Some(next),
            Due::Disarmed | Due::Never => None,
        }
    }

    /// How long until it expires next after `now`; the longest time there is if that is never; nothing if it is disarmed or was
    /// to expire only once and did.
    pub(super) fn remaining(&self, now: Instant) -> Option<Duration> {
        match self.after(self.expirations(now)) {
            Due::At(next) => Some(next.saturating_duration_since(now)),
            Due::Never => Some(Duration::MAX),
            Due::Disarmed => None,
        }
    }

    /// What is due when `count` expirations have gone by.
    fn after(&self, count: u64) -> Due {
        match (self.due, self.period) {
            (due, _) if count == 0 => due,
            (Due::At(due), Some(period)) => {
                times(period, count).and_then(|ahead| due.checked_add(ahead)).map_or(Due::Never, Due::At)
            }
            (Due::At(_), None) => Due::Disarmed,
            (due, _) => due,
        }
    }
}

/// `period * count`, if there is such a duration.
fn times(period: Duration, count: u64) -> Option<Duration> {
    let nanos = period.as_nanos().checked_mul(u128::from(count))?;
    let second = Duration::from_secs(1).as_nanos();
    let seconds = u64::try_from(nanos / second).ok()?;
    let rest = u32::try_from(nanos % second).ok()?;
    Some(Duration::new(seconds, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const NS: Duration = Duration::from_nanos(1);

    #[test]
    fn a_disarmed_one_says_nothing() {
        let now = Instant::now();
        let mut setting = Setting::DISARMED;
        assert_eq!((setting.expirations(now), setting.take(now)), (0, 0));
        assert_eq!((setting.next(now), setting.remaining(now)), (None, None));
    }

    #[test]
    fn one_shot_expires_once_and_not_early() {
        let start = Instant::now();
        let mut setting = Setting::new(Some(start + 5 * MS), None);
        let before = start + 5 * MS - NS;
        assert_eq!((setting.expirations(before), setting.remaining(before)), (0, Some(NS)));
        assert_eq!(setting.expirations(start + 5 * MS), 1);
        assert_eq!(setting.remaining(start + 5 * MS), None);
        assert_eq!(setting.expirations(start + 500 * MS), 1);
        assert_eq!(setting.take(start + 500 * MS), 1);
        assert_eq!(setting, Setting::DISARMED);
    }

    #[test]
    fn a_periodic_one_counts_what_was_missed_and_keeps_its_beat() {
        let start = Instant::now();
        let mut setting = Setting::new(Some(start + 5 * MS), Some(2 * MS));
        assert_eq!(setting.take(start + 4 * MS), 0);
        assert_eq!(setting.take(start + 5 * MS), 1);
        assert_eq!(setting.take(start + 5 * MS), 0);
        assert_eq!(setting.next(start + 5 * MS), Some(start + 7 * MS));
        assert_eq!(setting.expirations(start + 14 * MS), 4); // 7, 9, 11, 13
        assert_eq!(setting.remaining(start + 14 * MS), Some(MS));
        assert_eq!(setting.take(start + 14 * MS), 4);
        assert_eq!(setting.next(start + 14 * MS), Some(start + 15 * MS));
    }

    #[test]
    fn no_number_is_too_large() {
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        let mut never = Setting::new(now.checked_add(Duration::MAX), Some(Duration::MAX));
        assert_eq!((never.take(now + hour), never.remaining(now)), (0, Some(Duration::MAX)));
        let mut once_then_never = Setting::new(Some(now), Some(Duration::MAX));
        assert_eq!(once_then_never.take(now + hour), 1);
        assert_eq!((once_then_never.next(now), once_then_never.remaining(now)), (None, Some(Duration::MAX)));
        let mut short = Setting::new(Some(now), Some(NS));
        assert_eq!(short.take(now + hour), 3_600_000_000_001);
        assert_eq!(short.next(now + hour), Some(now + hour + NS));
        assert_eq!(times(Duration::MAX, u64::MAX), None);
    }

    #[test]
    fn a_period_of_zero_is_none() {
        let now = Instant::now();
        let mut setting = Setting::new(Some(now), Some(Duration::ZERO));
        assert!(!setting.is_periodic());
        assert_eq!((setting.take(now + MS), setting.take(now + MS)), (1, 0));
    }
}
