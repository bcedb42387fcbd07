//! What the feed keeps: [`Arms`] by token, and [`Flights`], the requests that were submitted for them. Plain data.
//!
//! ```text
//!   arm ──────────► due ── submit ──► in flight ── completion ──► told: silent ── rearm, or a look saw it low ──► due
//!                    ▲                    │                          └── conditions that were not told: due
//!                    │                    └── disarm: ending ── last completion ──► gone
//!                    └── the kernel takes no request for it: by hand, looked at with poll(2) ── later ──► due
//! ```
//!
//! An arm may have several requests in flight, none of which asks for what another one asks for: a condition that is watched
//! anew gets a request of its own, instead of a cancel of what is there.

use super::context::{Name, Request};
use crate::events::Events;
use crate::feed::watch::Watch;
use crate::feed::{Fallen, Token};
use std::os::fd::RawFd;
use std::time::Instant;

pub(super) struct Arm {
    pub(super) token: Token,
    pub(super) fd: RawFd,
    pub(super) watch: Watch,
    /// What its requests in flight ask for, together.
    asked: Events,
    pub(super) flights: Vec<u32>,
    /// It stands on the list of those that want to submit.
    pub(super) due: bool,
    /// It stands on the list of those that are looked at.
    pub(super) looked_at: bool,
    pub(super) by_hand: ByHand,
    /// The error of its last completion, which comes when no request is in flight any more.
    pub(super) ending: Option<i32>,
}

/// Whether the kernel takes no request for an arm, which is therefore looked at with `poll(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByHand {
    No,
    /// Not for now: the context was full, or there was no memory.
    Until(Instant),
    /// Not for this file: it has two wait queues (a terminal, a FIFO that is open for both) or none.
    Always,
}

impl Arm {
    pub(super) fn new(token: Token, fd: RawFd, interest: Events, fallen: Fallen) -> Self {
        Self {
            token,
            fd,
            watch: Watch::new(interest, fallen),
            asked: Events::empty(),
            flights: Vec::with_capacity(4),
            due: false,
            looked_at: false,
            by_hand: ByHand::No,
            ending: None,
        }
    }

    /// What its next request has to ask for, if it needs one. Even one that asks for nothing hears of errors.
    pub(super) fn wants(&self) -> Option<Events> {
        if self.ending.is_some() || self.by_hand != ByHand::No {
            return None;
        }
        let new = self.watch.asked()? - self.asked;
        (!new.is_empty() || self.flights.is_empty()).then_some(new)
    }

    pub(super) fn wants_looks(&self) -> bool {
        self.ending.is_none() && (self.watch.is_forgotten() || self.by_hand != ByHand::No)
    }

    pub(super) fn take_off(&mut self, flight: u32, asked: Events) {
        self.asked |= asked;
        self.flights.push(flight);
    }

    pub(super) fn land(&mut self, flight: u32, asked: Events) {
        self.asked -= asked;
        self.flights.retain(|other| *other != flight);
    }

    /// All requests are void.
    pub(super) fn ground(&mut self) {
        self.asked = Events::empty();
        self.flights.clear();
        self.due = false;
    }
}

/// Arms by the low half of their token; the high half is the generation.
#[derive(Default)]
pub(super) struct Arms {
    places: Vec<Option<Arm>>,
    len: usize,
}

impl Arms {
    /// The lane counts its arms from 0, and its wake-up's token ends in `u32::MAX`: that one comes first.
    fn place(token: Token) -> usize {
        (token.0 as u32).wrapping_add(1) as usize
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&mut self, token: Token) -> Option<&mut Arm> {
        self.places.get_mut(Self::place(token))?.as_mut().filter(|arm| arm.token == token)
    }

    pub(super) fn insert(&mut self, arm: Arm) {
        let place = Self::place(arm.token);
        if place >= self.places.len() {
            self.places.resize_with(place + 1, || None);
        }
        let previous = self.places[place].replace(arm);
        debug_assert!(previous.is_none(), "the lane uses a place again when its last answer has come");
        self.len += usize::from(previous.is_none());
    }

    pub(super) fn remove(&mut self, token: Token) {
        if self.get(token).is_some() {
            self.places[Self::place(token)] = None;
            self.len -= 1;
        }
    }

    pub(super) fn tokens(&self) -> Vec<Token> {
        self.places.iter().flatten().map(|arm| arm.token).collect()
    }
}

/// What a request was submitted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Poll {
        token: Token,
        asked: Events,
    },
    /// To see that the kernel is done with what came before it.
    Fence,
}

/// Requests in flight. Their completions carry the place here, which is not used again before they came.
#[derive(Default)]
pub(super) struct Flights {
    slots: Vec<(Request, Option<Purpose>)>,
    vacant: Vec<u32>,
}

impl Flights {
    /// Makes them now instead of when they are needed: an event shall not cost an allocation.
    pub(super) fn provide(&mut self, count: usize) {
        self.vacant.reserve(count);
        while self.slots.len() < count {
            self.vacant.push(self.slots.len() as u32);
            self.slots.push((Request::new(), None));
        }
    }

    pub(super) fn take_off(&mut self, purpose: Purpose, fd: RawFd) -> u32 {
        if self.vacant.is_empty() {
            self.provide(self.slots.len() + 1);
        }
        let slot = self.vacant.pop().expect("one was made");
        let asked = match purpose {
            Purpose::Poll { asked, .. } => asked,
            Purpose::Fence => Events::empty(),
        };
        let (request, place) = &mut self.slots[slot as usize];
        request.aim(u64::from(slot), fd, asked);
        *place = Some(purpose);
        slot
    }

    pub(super) fn land(&mut self, slot: u64) -> Option<(u32, Purpose)> {
        let (_, place) = self.slots.get_mut(usize::try_from(slot).ok()?)?;
        let purpose = place.take()?;
        self.vacant.push(slot as u32);
        Some((slot as u32, purpose))
    }

    pub(super) fn name(&self, slot: u32) -> Name {
        self.request(slot).name()
    }

    pub(super) fn request(&self, slot: u32) -> &Request {
        &self.slots[slot as usize].0
    }

    /// All of them are void.
    pub(super) fn ground(&mut self) {
        self.vacant.clear();
        for (slot, (_, place)) in self.slots.iter_mut().enumerate() {
            *place = None;
            self.vacant.push(slot as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUPLEX: Events = Events::IN.union(Events::OUT);

    fn arm(token: u64) -> Arm {
        Arm::new(Token(token), 0, DUPLEX, Fallen::Told)
    }

    #[test]
    fn a_request_asks_for_what_no_other_asks_for() {
        let mut arm = arm(0);
        assert_eq!(arm.wants(), Some(DUPLEX));
        arm.take_off(0, DUPLEX);
        assert_eq!(arm.wants(), None);
        arm.land(0, DUPLEX);
        assert!(arm.watch.take_in(Events::OUT, false, Instant::now));
        assert_eq!(arm.wants(), Some(Events::IN), "OUT would complete at once");
        arm.take_off(1, Events::IN);
        assert!(arm.watch.rearm(Events::OUT));
        assert_eq!(arm.wants(), Some(Events::OUT), "the other one stays in flight");
        arm.take_off(2, Events::OUT);
        arm.land(1, Events::IN);
        assert!(arm.watch.take_in(Events::IN, false, Instant::now));
        assert_eq!(arm.wants(), None, "the one that is left hears of errors, too");
        arm.land(2, Events::OUT);
        assert!(arm.watch.take_in(Events::OUT, false, Instant::now));
        assert_eq!(arm.wants(), Some(Events::empty()), "for errors alone");
        arm.take_off(3, Events::empty());
        arm.land(3, Events::empty());
        assert!(arm.watch.take_in(Events::HUP, false, Instant::now));
        assert_eq!(arm.wants(), None, "it would complete at once");
    }

    #[test]
    fn an_arm_that_ends_or_is_looked_at_asks_for_nothing() {
        let (mut ending, mut by_hand) = (arm(0), arm(1));
        ending.ending = Some(libc::ECANCELED);
        by_hand.by_hand = ByHand::Always;
        assert_eq!((ending.wants(), by_hand.wants()), (None, None));
        assert_eq!((ending.wants_looks(), by_hand.wants_looks()), (false, true));
    }

    #[test]
    fn an_arm_is_found_by_its_own_token_only() {
        let mut arms = Arms::default();
        let wake = Arm::new(Token::WAKE, 0, Events::IN, Fallen::Told);
        arms.insert(wake);
        arms.insert(arm(3 << 32 | 7));
        assert!(arms.get(Token(3 << 32 | 7)).is_some() && arms.get(Token::WAKE).is_some());
        assert!(arms.get(Token(2 << 32 | 7)).is_none(), "an earlier generation");
        assert!(arms.get(Token(6)).is_none() && arms.get(Token::NONE).is_none());
        arms.remove(Token(2 << 32 | 7));
        assert_eq!(arms.len(), 2);
        arms.remove(Token(3 << 32 | 7));
        assert_eq!((arms.len(), arms.tokens()), (1, vec![Token::WAKE]));
    }

    #[test]
    fn a_request_in_flight_keeps_its_place_and_its_address() {
        let mut flights = Flights::default();
        let purpose = |token| Purpose::Poll { token: Token(token), asked: Events::IN };
        let first = flights.take_off(purpose(1), 0);
        let address = flights.name(first).address();
        let others: Vec<u32> = (0..100).map(|token| flights.take_off(purpose(token), 0)).collect();
        assert!(!others.contains(&first));
        assert_eq!(flights.name(first).address(), address);
        assert_eq!(flights.land(u64::from(first)), Some((first, purpose(1))));
        assert_eq!(flights.land(u64::from(first)), None, "landed already");
        assert_eq!(flights.land(u64::MAX), None, "nobody's");
        assert_eq!(flights.take_off(Purpose::Fence, 0), first, "used again");
        flights.ground();
        assert_eq!(flights.land(u64::from(first)), None);
    }
}
