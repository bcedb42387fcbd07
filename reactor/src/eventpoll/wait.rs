//! Waiting: pump the feed, look, deliver, sleep.
//!
//! One turn of the loop:
//!
//! ```text
//!   pump the feed ──► step (list lock) ──► Scan ──► events or notified: return
//!        ▲                 │                └─ nothing (taken by another, or not true any more) ─┐
//!        │                 ├──► Park ──► sleep in the lane or behind its leader ──┐              │
//!        │                 └──► Leave: deadline passed, or signal: return         │              │
//!        └──────────────────────────────────────────────────────────────────────┴──────────────┘
//! ```
//!
//! A thread is enrolled as a waiter, under the list lock and with the ready list seen empty, *before* it sleeps; every
//! callback after that finds it there. It stays enrolled (and keeps its place) over wake-ups that were for the feed's
//! housekeeping. Whether it was woken or timed out is decided by the list, not by the clock.

use super::ready::{Intent, Ready, Step};
use super::{Eventpoll, Inner};
use crate::events::Event;
use crate::seat::Seat;
use crate::source::Source;
use crate::sync::Arc;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// What [`Eventpoll::wait_notified`] returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// How many events were written.
    pub events: usize,
    /// Whether an [`Eventpoll::notify_one`] was used up by this wait.
    pub notified: bool,
}

/// Leaves the list of waiters however the wait ends, and hands on a wake-up it didn't look at.
struct Enrollment<'a> {
    ready: &'a Ready,
    ticket: Option<u64>,
}

impl Drop for Enrollment<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.ready.abandon(ticket);
        }
    }
}

/// A source's panic goes through a wait that was notified: the notification is for the next one then.
struct Renotify<'a> {
    inner: &'a Inner,
    notified: bool,
}

impl Drop for Renotify<'_> {
    fn drop(&mut self) {
        if self.notified {
            self.inner.notify_one();
        }
    }
}

impl Eventpoll {
    /// Waits for events and writes them to the front of `events`; returns how many.
    ///
    /// * `timeout`: `None` waits for ever, zero looks once without blocking, anything else is turned into a deadline at
    ///   entry. The wait may end late (a timer tick) but never early. Deadlines beyond what the clock can say count as
    ///   "for ever".
    /// * Returns `Ok(0)` only if the timeout passed, or if the wait was ended by [`notify_one`](Eventpoll::notify_one) or, for the
    ///   owner of a lane, by [`Lane::interrupt`](crate::Lane::interrupt).
    ///
    /// Of several waiting threads the one that came last is woken first; each event is given to one of them, except that
    /// level-triggered interests come up again as long as they are ready.
    ///
    /// # Errors
    /// * `EINVAL` if `events` is empty.
    /// * `EINTR` ([`Interrupted`](io::ErrorKind::Interrupted)) if a signal handler ran in this thread and nothing was ready.
    ///   Of the threads that share a lane only the one that blocks in the feed is told; the others go on waiting. So does a thread
    ///   that is looking around ([`set_busy_poll`](Eventpoll::set_busy_poll)) when the handler runs.
    /// * In a child that was forked after the instance was made: it has to make its own.
    /// * Whatever the feed's system call returns, for example `ENOMEM`.
    ///
    /// # Panics
    /// With the panic of a custom source's [`poll`](crate::Source::poll); what was not delivered stays queued. If there
    /// were events to return, they are returned and the next wait panics.
    pub fn wait(&self, events: &mut [Event], timeout: Option<Duration>) -> io::Result<usize> {
        self.wait_notified(events, timeout).map(|woken| woken.events)
    }

    /// [`wait`](Eventpoll::wait) that also tells whether a [`notify_one`](Eventpoll::notify_one) ended it.
    ///
    /// # Errors
    /// As [`wait`](Eventpoll::wait). A notification is never lost to an error: it is passed on to another waiter or kept
    /// for the next wait.
    pub fn wait_notified(&self, events: &mut [Event], timeout: Option<Duration>) -> io::Result<Woken> {
        if events.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let seat = Seat::take(self.inner.ready())?;
        let mut graveyard = Seat::take_graveyard();
        let wait = AssertUnwindSafe(|| self.inner.wait_seated(&seat, events, timeout, &mut graveyard));
        let woken = catch_unwind(wait);
        // No lock is held here, and somebody else leads if anybody waits: sources whose last reference the scan held go now.
        drop(seat);
        graveyard.clear();
        Seat::give_back_graveyard(graveyard);
        woken.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Wakes the most recently parked waiter, whose wait then returns early; if nobody waits, the next wait does so
    /// without blocking. Notifications that meet no waiter do not add up.
    pub fn notify_one(&self) {
        self.inner.notify_one();
    }
}

impl Inner {
    fn wait_seated(
        &self,
        seat: &Seat,
        events: &mut [Event],
        timeout: Option<Duration>,
        graveyard: &mut Vec<Arc<dyn Source>>,
    ) -> io::Result<Woken> {
        let mut expired = timeout == Some(Duration::ZERO);
        let deadline = if expired { None } else { timeout.and_then(|t| Instant::now().checked_add(t)) };
        let mut interrupted = None;
        // A look around before lying down: cheaper than being woken, and often enough.
        let mut rested = !seat.rests();
        let busy = self.busy_poll();
        let busy_until = if busy.is_zero() { None } else { Instant::now().checked_add(busy) };
        if !busy.is_zero() {
            rested = false;
        }
        let mut enrollment = Enrollment { ready: self.ready(), ticket: None };
        let mut pumps = !seat.has_nothing_to_pump();
        loop {
            if pumps && let Err(error) = seat.pump(self.ready(), expired) {
                self.ready().hand_on();
                return Err(error);
            }
            // Who has slept in the feed takes what woke it, and who looks again may find the first arm.
            pumps = true;
            expired |= seat.take_interrupt();
            let last_look = expired || interrupted.is_some();
            let intent = match (last_look, rested) {
                (true, _) => Intent::LookOnce,
                (false, false) => Intent::LookAround,
                (false, true) => Intent::Sleep(seat.parker()),
            };
            match self.ready().step(&mut enrollment.ticket, intent) {
                Step::Scan { notified } => {
                    let renotify = Renotify { inner: self, notified };
                    let delivered = self.scan(events, graveyard);
                    std::mem::forget(renotify);
                    if delivered > 0 || notified {
                        return Ok(Woken { events: delivered, notified });
                    }
                    if last_look {
                        return interrupted.map_or(Ok(Woken::default()), Err);
                    }
                    // Sources that went away meanwhile must not wait for the end of this wait, nor their drop for one who leads.
                    if !graveyard.is_empty() {
                        seat.hand_over();
                        graveyard.clear();
                    }
                    expired |= expired_by(deadline);
                }
                Step::Park => {
                    match seat.park(deadline) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => interrupted = Some(error),
                        other => other?,
                    }
                    expired = expired_by(deadline);
                }
                Step::Leave if last_look => return interrupted.map_or(Ok(Woken::default()), Err),
                Step::Leave => {
                    seat.rest();
                    rested = busy.is_zero() || expired_by(busy_until);
                    expired |= !busy.is_zero() && expired_by(deadline);
                }
            }
        }
    }

    pub(super) fn notify_one(&self) {
        let mut wakes = crate::parker::Wakes::new(None);
        self.ready().lock().notify_one(&mut wakes);
    }
}

fn expired_by(deadline: Option<Instant>) -> bool {
    // In a model a timed wait may be over at any moment; it is over when it first asks.
    deadline.is_some_and(|deadline| cfg!(egret_loom) || Instant::now() >= deadline)
}
