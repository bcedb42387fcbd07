//! [`Waiters`]: the threads inside `wait` of one instance, as a plain list. It lives under the list lock.
//!
//! ```text
//!            enroll               wake_one                       withdraw: Woken
//!   (none) ─────────► Parked ─────────────────► Woken ─────────────────────────► (none)
//!                       │ └──── notify_one ───► Notified ──── withdraw: Notified ──► (none)
//!                       └────── withdraw (timeout, event, signal): Undisturbed ────► (none)
//! ```
//!
//! The most recently enrolled is woken first (fact 78). A waiter that was woken stays in the list, out of reach of
//! further wake-ups, until it withdraws and so learns about it: a wake-up that meets a timeout is not lost (fact 82).

use crate::parker::Parker;
use crate::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Parked,
    Woken,
    Notified,
}

/// What happened to a waiter while it was enrolled.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nobody woke it.
    Undisturbed,
    /// A callback, an ADD or MOD, or another waiter's cascade woke it: it has to look at the ready list.
    Woken,
    /// `notify_one` woke it: its wait has to return.
    Notified,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    state: State,
    parker: Arc<Parker>,
}

#[derive(Debug, Default)]
pub(crate) struct Waiters {
    list: Vec<Waiter>,
    next_ticket: u64,
}

impl Waiters {
    pub(crate) fn enroll(&mut self, parker: &Arc<Parker>) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.list.push(Waiter { ticket, state: State::Parked, parker: parker.clone() });
        ticket
    }

    pub(crate) fn outcome(&self, ticket: u64) -> Outcome {
        match self.list.iter().rev().find(|waiter| waiter.ticket == ticket).map(|waiter| waiter.state) {
            Some(State::Woken) => Outcome::Woken,
            Some(State::Notified) => Outcome::Notified,
            Some(State::Parked) | None => Outcome::Undisturbed,
        }
    }

    pub(crate) fn withdraw(&mut self, ticket: u64) -> Outcome {
        let outcome = self.outcome(ticket);
        self.list.retain(|waiter| waiter.ticket != ticket);
        outcome
    }

    /// Whether there is a thread to wake. Those that were woken and have not left yet do not count.
    pub(crate) fn anyone_parked(&self) -> bool {
        self.list.iter().any(|waiter| waiter.state == State::Parked)
    }

    #[must_use]
    pub(crate) fn wake_one(&mut self) -> Option<Arc<Parker>> {
        self.dequeue(State::Woken)
    }

    #[must_use]
    pub(crate) fn notify_one(&mut self) -> Option<Arc<Parker>> {
        self.dequeue(State::Notified)
    }

    fn dequeue(&mut self, state: State) -> Option<Arc<Parker>> {
        let waiter = self.list.iter_mut().rev().find(|waiter| waiter.state == State::Parked)?;
        waiter.state = state;
        Some(waiter.parker.clone())
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }
}
