//! [`Schedule`]: which timers the clock has to tell, and when. A plain data structure: no clock, no thread, no lock.
//!
//! ```text
//!                  file                    take_due: a timer that expires once
//!   unknown ─────────────────► filed ─────────────────────────────────────────► unknown
//!    │   ▲ ▲                  │  ▲ │ take_due: a periodic one
//!    │   │ └──── withdraw ────┘  │ ▼
//!    │   └────── withdraw ──── resting ── withdraw, file (it was read) ──► filed
//!    └── rest ───────────────────▲
//! ```
//!
//! A periodic timer that was told of rests until it is read, as the kernel's does: a period of a nanosecond costs nothing
//! until somebody asks for the count. Resting ones are only counted: as long as there are any the clock must be there for them.
//!
//! Whoever withdraws says under which deadline it filed; entries go at once, so setting a timer a million times leaves one.

use std::collections::BTreeMap;
use std::time::Instant;

/// How a timer stands in the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: Instant,
    pub(super) periodic: bool,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Schedule<T> {
    /// By deadline, then by the timer's number.
    filed: BTreeMap<(Instant, u64), (T, bool)>,
    resting: usize,
}

impl<T> Schedule<T> {
    pub(super) fn new() -> Self {
        Self { filed: BTreeMap::new(), resting: 0 }
    }

    /// The timer with this number is due at `place.at`. It must not be filed or resting.
    pub(super) fn file(&mut self, id: u64, place: Place, timer: T) {
        let before = self.filed.insert((place.at, id), (timer, place.periodic));
        debug_assert!(before.is_none(), "filed twice");
    }

    /// A periodic timer that has expired already, of which everybody knows.
    pub(super) fn rest(&mut self) {
        self.resting += 1;
    }

    /// Forgets the timer, wherever it is; does nothing if it was one that expires once and was taken. It comes back to the
    /// caller so that nothing is dropped under the caller's lock.
    #[must_use]
    pub(super) fn withdraw(&mut self, id: u64, place: Place) -> Option<T> {
        let withdrawn = self.filed.remove(&(place.at, id));
        if withdrawn.is_none() && place.periodic {
            self.resting -= 1;
        }
        withdrawn.map(|(timer, _)| timer)
    }

    /// Takes what is due at `now`, earliest first, with the deadlines.
    pub(super) fn take_due(&mut self, now: Instant, due: &mut Vec<(Instant, T)>) {
        while let Some(first) = self.filed.first_entry() {
            if first.key().0 > now {
                break;
            }
            let ((at, _), (timer, periodic)) = first.remove_entry();
            self.resting += usize::from(periodic);
            due.push((at, timer));
        }
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.filed.first_key_value().map(|((at, _), _)| *at)
    }

    /// Nothing will come, unless it is filed anew.
    pub(super) fn is_idle(&self) -> bool {
        self.filed.is_empty() && self.resting == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    fn once(at: Instant) -> Place {
        Place { at, periodic: false }
    }

    fn again(at: Instant) -> Place {
        Place { at, periodic: true }
    }

    fn due(schedule: &mut Schedule<char>, now: Instant) -> String {
        let mut due = Vec::new();
        schedule.take_due(now, &mut due);
        due.iter().map(|(_, timer)| timer).collect()
    }

    #[test]
    fn the_earliest_comes_first_and_none_comes_early() {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        schedule.file(1, once(start + 3 * MS), 'c');
        schedule.file(2, once(start + MS), 'a');
        schedule.file(3, once(start + MS), 'b');
        assert_eq!(schedule.next(), Some(start + MS));
        assert_eq!(due(&mut schedule, start + MS - Duration::from_nanos(1)), "");
        assert_eq!(due(&mut schedule, start + 2 * MS), "ab");
        assert_eq!(due(&mut schedule, start + 3 * MS), "c");
        assert!(schedule.is_idle());
    }

    #[test]
    fn a_periodic_one_rests_until_it_is_filed_anew() {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        schedule.file(1, again(start), 'a');
        assert_eq!(due(&mut schedule, start), "a");
        assert_eq!((schedule.next(), schedule.is_idle()), (None, false));
        assert_eq!(schedule.withdraw(1, again(start)), None);
        schedule.file(1, again(start + MS), 'a');
        assert_eq!(schedule.withdraw(1, again(start + MS)), Some('a'));
        assert!(schedule.is_idle());
        schedule.rest();
        assert!(!schedule.is_idle());
        assert_eq!(schedule.withdraw(1, again(start)), None);
        assert!(schedule.is_idle());
    }

    #[test]
    fn what_was_taken_can_still_be_withdrawn() {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        schedule.file(1, once(start), 'a');
        assert_eq!(due(&mut schedule, start), "a");
        assert_eq!(schedule.withdraw(1, once(start)), None);
        assert!(schedule.is_idle());
    }

    #[test]
    fn setting_again_and_again_leaves_one_entry() {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        let mut place = once(start + 3_600_000 * MS);
        schedule.file(1, place, 'a');
        for n in 0..1_000_000 {
            assert!(schedule.withdraw(1, place).is_some());
            place.at = start + n * MS;
            schedule.file(1, place, 'a');
        }
        assert_eq!(schedule.filed.len(), 1);
    }
}
