//! [`Watch`]: the promise of the feeds that can't watch a level that is already up, as plain data.
//!
//! `poll(2)` and one-shot arms tell the level, and would tell it again at once. So a condition that was reported is not
//! watched any more until it was seen not to hold:
//!
//! ```text
//!              reported                        rearm (the source saw it fall)
//!   watched ──────────────► silent ──────────────────────────────────────────► watched
//!                             ├─── seen low by a later look (Fallen::Watched) ──► watched
//!                             └─── still high after LOOK_AGAIN (Fallen::Watched) ──► reported once more
//! ```
//!
//! What is promised is therefore "every change from not ready to ready", not "every arrival". For descriptors whose user
//! says when they went quiet (the runtime's sockets) it is told once. For others a fall may pass between two looks: so a
//! condition that is still (or again) high is told again after [`LOOK_AGAIN`], rather than once too few.

use super::Fallen;
use crate::events::Events;
use std::time::{Duration, Instant};

/// How late a change may be told if the fall before it went unnoticed. A guess between latency and idle work.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// One arm's conditions: which are watched, which are silent.
#[derive(Debug)]
pub(super) struct Watch {
    interest: Events,
    watched: Events,
    fallen: Fallen,
    /// When it was last reported.
    told: Option<Instant>,
}

impl Watch {
    pub(super) fn new(interest: Events, fallen: Fallen) -> Self {
        let interest = interest.conditions() | Events::ALWAYS;
        Self { interest, watched: interest, fallen, told: None }
    }

    /// The source saw these conditions not to hold. True if something is watched that wasn't.
    pub(super) fn rearm(&mut self, conditions: Events) -> bool {
        let mut fallen = conditions & self.interest;
        if self.fallen == Fallen::Told {
            // An error is used up by the call that met it: whoever saw a direction fall may see the next one.
            fallen |= Events::ERR;
        }
        let new = fallen - self.watched;
        self.watched |= new;
        !new.is_empty()
    }

    /// Whether there are silent conditions whose fall nobody tells: somebody has to look.
    pub(super) fn is_forgotten(&self) -> bool {
        self.fallen == Fallen::Watched && self.watched != self.interest
    }

    /// What to ask the kernel for, without ERR and HUP, which it tells unasked. None while one of these two is silent: the
    /// answer would come at once, again and again. Once reported, they take their descriptor out until somebody has seen
    /// a direction fall.
    pub(super) fn asked(&self) -> Option<Events> {
        self.watched.contains(Events::ALWAYS).then(|| self.watched - Events::ALWAYS)
    }

    /// What a look asks for.
    pub(super) fn interest(&self) -> Events {
        self.interest - Events::ALWAYS
    }

    /// These conditions hold. `looked`: no others of the interest do. True if it has to be reported.
    #[must_use]
    pub(super) fn take_in(&mut self, level: Events, looked: bool, now: impl Fn() -> Instant) -> bool {
        let looked = looked && self.fallen == Fallen::Watched;
        let again = looked
            && level.intersects(self.interest - self.watched)
            && self.told.is_some_and(|told| now().saturating_duration_since(told) >= LOOK_AGAIN);
        let report = again || level.intersects(self.watched);
        if report {
            self.watched -= level;
            if self.fallen == Fallen::Watched {
                self.told = Some(now());
            }
        }
        if looked {
            self.watched |= self.interest - level;
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUPLEX: Events = Events::IN.union(Events::OUT);

    #[test]
    fn a_level_that_stays_is_told_once_where_the_source_tells_its_fall() {
        let now = Instant::now();
        let mut watch = Watch::new(DUPLEX, Fallen::Told);
        assert!(watch.take_in(Events::IN, false, || now));
        assert_eq!(watch.asked(), Some(Events::OUT));
        for later in [0, 5, 500] {
            let later = now + Duration::from_millis(later);
            assert!(!watch.take_in(Events::IN, true, || later), "a look tells it nothing");
        }
        assert!(!watch.is_forgotten());
        assert!(watch.rearm(Events::IN));
        assert!(!watch.rearm(Events::IN), "nothing new");
        assert_eq!(watch.asked(), Some(DUPLEX));
        assert!(watch.take_in(Events::IN, false, || now));
    }

    #[test]
    fn a_level_whose_fall_nobody_tells_is_looked_at() {
        let now = Instant::now();
        let mut watch = Watch::new(Events::IN, Fallen::Watched);
        assert!(!watch.is_forgotten());
        assert!(watch.take_in(Events::IN, false, || now));
        assert!(watch.is_forgotten());
        assert!(!watch.take_in(Events::IN, true, || now + LOOK_AGAIN / 2), "too early to tell it again");
        assert!(watch.take_in(Events::IN, true, || now + LOOK_AGAIN), "it may have fallen in between");
        assert!(!watch.take_in(Events::IN, true, || now + LOOK_AGAIN * 3 / 2), "counted from the last time");
        assert!(!watch.take_in(Events::empty(), true, || now + LOOK_AGAIN), "seen low");
        assert!(!watch.is_forgotten());
        assert!(watch.take_in(Events::IN, false, || now + LOOK_AGAIN));
    }

    #[test]
    fn an_error_is_not_asked_for_again_until_something_fell() {
        let now = Instant::now();
        let mut watch = Watch::new(Events::IN, Fallen::Told);
        assert!(watch.take_in(Events::IN | Events::ERR, false, || now));
        assert_eq!(watch.asked(), None);
        assert!(watch.rearm(Events::IN));
        assert_eq!(watch.asked(), Some(Events::IN), "the error was used up");
        assert!(watch.take_in(Events::IN | Events::HUP, false, || now));
        watch.rearm(Events::IN);
        assert_eq!(watch.asked(), None, "the end is final");
    }

    #[test]
    fn conditions_outside_the_interest_are_nobodys_business() {
        let mut watch = Watch::new(Events::IN | Events::ET, Fallen::Watched);
        assert!(!watch.take_in(Events::OUT, false, Instant::now));
        assert!(!watch.rearm(Events::OUT));
        assert_eq!((watch.asked(), watch.interest()), (Some(Events::IN), Events::IN));
    }
}
