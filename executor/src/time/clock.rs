//! The clock of the timers: a point in time as one word, and the ticks that wheels count in.
//!
//! **The clock is read as seldom as can be**: a reading costs more than all the rest of setting a timer. Each reading is kept for its
//! thread; since time only goes forward it stays a lower bound of the present. That is enough to arm a timer whose deadline is clearly
//! ahead, and never enough to say that a deadline has passed that hasn't.
//!
//! | cell | holds | written by |
//! |---|---|---|
//! | `LAST` | this thread's latest reading | [`Moment::now`], [`Moment::seen`] |

use std::{
    cell::Cell,
    sync::LazyLock,
    time::{Duration, Instant},
};

/// log2 of a tick in nanoseconds: 131 us, a power of two so that no division is needed. Below the 1 ms of the peers, and about what a
/// wake costs jitter anyway on a loaded machine; finer would only mean more wakes.
pub(crate) const TICK_SHIFT: u32 = 17;

/// How long before the first use the count begins: 136 years, so that deadlines in the past keep their values, too. As many nanoseconds are
/// left for 448 years to come.
const BEFORE: Duration = Duration::from_secs(1 << 32);

/// More seconds than this aren't converted to nanoseconds: 544 years, little less than what a word of nanoseconds holds.
const MOST_SECONDS: u64 = 1 << 34;

const SECOND: u64 = 1_000_000_000;

/// Moment 0. A std type also under loom: it isn't part of any protocol.
static EPOCH: LazyLock<Instant> = LazyLock::new(|| {
    let now = Instant::now();
    now.checked_sub(BEFORE).unwrap_or(now)
});

thread_local! {
    static LAST: Cell<u64> = const { Cell::new(0) };
}

/// A point in time: nanoseconds since the epoch of this process's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    /// Never comes.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Reads the clock.
    pub(crate) fn now() -> Self {
        Self::seen(Instant::now())
    }

    /// A reading of the clock that somebody else has made on this thread.
    pub(crate) fn seen(now: Instant) -> Self {
        let now = Self::from(now);
        LAST.set(now.0);
        now
    }

    /// This thread's latest reading: not after the present. None if it never read the clock.
    pub(crate) fn last() -> Option<Self> {
        match LAST.get() {
            0 => None,
            last => Some(Self(last)),
        }
    }

    /// So much later; `NEVER` if that is beyond the count.
    pub(crate) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// The same as an [`Instant`].
    pub(crate) fn instant(self) -> Instant {
        // A count of nanoseconds is nothing to a count of seconds as wide.
        *EPOCH + Duration::from_nanos(self.0)
    }

    /// Whole units of about a microsecond, for what wants to be spread.
    pub(crate) fn micros(self) -> usize {
        (self.0 >> 10) as usize
    }

    /// The first tick that isn't before this moment: for deadlines, rounded up, never early.
    pub(crate) fn tick_not_before(self) -> u64 {
        if self == Self::NEVER {
            return super::wheel::NEVER;
        }
        (self.0 >> TICK_SHIFT) + u64::from(self.0 & ((1 << TICK_SHIFT) - 1) != 0)
    }

    /// The last tick that isn't after this moment: for the present.
    pub(crate) fn tick_not_after(self) -> u64 {
        self.0 >> TICK_SHIFT
    }

    /// When a tick begins; none if it is beyond the count.
    pub(crate) fn of_tick(tick: u64) -> Option<Self> {
        (tick <= u64::MAX >> TICK_SHIFT).then_some(Self(tick << TICK_SHIFT))
    }
}

impl From<Instant> for Moment {
    fn from(at: Instant) -> Self {
        // Before the epoch is the epoch: long past in any case.
        Self(nanos(at.saturating_duration_since(*EPOCH)))
    }
}

fn nanos(duration: Duration) -> u64 {
    if duration.as_secs() > MOST_SECONDS {
        return u64::MAX;
    }
    duration.as_secs() * SECOND + u64::from(duration.subsec_nanos())
}

#[cfg(all(test, not(egret_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_instant_survives_the_word() {
        let now = Instant::now();
        let year = Duration::from_secs(86_400 * 365);
        for at in [now, now - 100 * year, now + 400 * year, now + Duration::from_nanos(1)] {
            assert_eq!(Moment::from(at).instant(), at);
        }
        assert!(Moment::from(now) < Moment::from(now + Duration::from_nanos(1)));
    }

    #[test]
    fn what_is_beyond_the_count_is_never() {
        let now = Moment::now();
        assert_eq!(now.after(Duration::MAX), Moment::NEVER);
        assert_eq!(now.after(Duration::from_secs(1 << 34)), Moment::NEVER);
        assert!(now.after(Duration::from_secs(1 << 33)) < Moment::NEVER);
        assert!(Moment::NEVER.instant() > Instant::now() + Duration::from_secs(1 << 33));
        assert_eq!(Moment::NEVER.tick_not_before(), super::super::wheel::NEVER);
    }

    #[test]
    fn ticks_round_up_for_deadlines_and_down_for_the_present() {
        let tick = 12_345;
        let start = Moment::of_tick(tick).unwrap();
        let later = start.after(Duration::from_nanos(1));
        assert_eq!((start.tick_not_after(), start.tick_not_before()), (tick, tick));
        assert_eq!((later.tick_not_after(), later.tick_not_before()), (tick, tick + 1));
        assert_eq!(Moment::of_tick(super::super::wheel::NEVER), None);
    }

    #[test]
    fn the_last_reading_is_not_after_the_present() {
        let now = Moment::now();
        assert_eq!(Moment::last(), Some(now));
        assert!(now <= Moment::from(Instant::now()));
        std::thread::spawn(|| assert_eq!(Moment::last(), None)).join().unwrap();
    }
}
