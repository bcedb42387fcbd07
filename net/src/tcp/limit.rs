//! How many connections of one listener may live at the same time: [`Limit`] counts what is left, a [`Permit`] is one connection's share and goes
//! back when it is dropped, [`Take`] waits for one.
//!
//! ```text
//!                     a permit is free: takes it
//!   Take ────────────────────────────────────────────────► Permit ── drop: free += 1, wakes the place, and the first in the queue
//!    │ none is                                               ▲
//!    ▼                 its turn comes            polled      │
//!   QUEUED (waker) ──────────────────► WOKEN ────────────────┤ a permit is free
//!    │   ▲                               │  │                │
//!    │   └───────────────────────────────┼──┘ somebody was quicker: back to the front of the queue
//!    │ dropped: leaves the queue         │ dropped: passes the wake on, if a permit is free
//!    ▼                                   ▼
//! ```
//!
//! No wakeup is lost, because of what holds after each critical section: **if somebody is QUEUED, then at least as many are WOKEN as permits are
//! free.** A permit that comes back adds one to both; whoever is polled, WOKEN or not, takes a permit, or there is none; whoever is WOKEN and dropped
//! wakes the next in its stead; nobody joins the queue while a permit is free. So as long as there are permits, somebody is on the way to
//! each. Nobody else is woken.
//!
//! Besides the queue there is one place for polls that have no future of their own (`poll_accept`), which remembers the last one. A task that sits there
//! may long have turned to something else, so its wake counts for nothing, and the first in the queue is woken as well.
//!
//! | lock | guards | held while |
//! |---|---|---|
//! | `Limit::state` | the count, the queue, the place | looking and storing; never while a waker is cloned, woken or dropped |
//!
//! All of it happens under that lock, so the order of the operations is all there is to chance; the tests try every order.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::sync::{Arc, Mutex, lock};

/// The permits of one listener.
#[derive(Debug)]
pub(crate) struct Limit {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Those who are QUEUED, by name.
    queue: VecDeque<(u64, Waker)>,
    /// The last poll without a name that found nothing.
    place: Option<Waker>,
    /// So many names were given.
    names: u64,
}

/// Leave to keep one connection. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Limit>);

/// Waits for a permit, as one of any number of tasks. Dropping it takes nothing with it.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Take<'a> {
    limit: &'a Arc<Limit>,
    seat: Seat,
}

/// Where somebody waits.
#[derive(Debug)]
enum Seat {
    /// Nowhere yet.
    None,
    /// In the queue, or WOKEN, under this name.
    Named(u64),
    /// In the one place for those without a name.
    Place,
}

/// What came of taking.
#[must_use = "dropping a waker is foreign code: not under the lock"]
enum Taken {
    /// No permit was free.
    None,
    /// One was. The waker of the seat, if somebody sat there, is not needed any more.
    Permit {
        #[expect(dead_code, reason = "it is there to be dropped")]
        stale: Option<Waker>,
    },
}

impl Limit {
    pub(crate) fn new(permits: usize) -> Arc<Self> {
        let state = State { free: permits, queue: VecDeque::new(), place: None, names: 0 };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Waits for a permit.
    pub(crate) fn take(self: &Arc<Self>) -> Take<'_> {
        Take { limit: self, seat: Seat::None }
    }

    /// Waits for a permit in the one place for those without a name: the last task to ask is the one that is woken.
    pub(crate) fn poll_take(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        self.poll(cx, &mut Seat::Place)
    }

    /// Nobody waits in the place any more.
    pub(crate) fn leave_place(&self) {
        let stale = lock(&self.state).place.take();
        drop(stale);
    }

    /// Takes a permit and gives the seat up, or waits in it. Either is one critical section, the last one.
    fn poll(self: &Arc<Self>, cx: &mut Context<'_>, seat: &mut Seat) -> Poll<Permit> {
        let taken = lock(&self.state).take(seat);
        let taken = match taken {
            Taken::None => {
                let waker = cx.waker().clone();
                let mut state = lock(&self.state);
                // One may have come back while the waker was cloned.
                match state.take(seat) {
                    Taken::None => {
                        let stale = state.wait(seat, waker);
                        drop(state);
                        drop(stale);
                        return Poll::Pending;
                    }
                    taken => taken,
                }
            }
            taken => taken,
        };
        drop(taken);
        Poll::Ready(Permit(Arc::clone(self)))
    }

    fn give_back(&self) {
        let mut state = lock(&self.state);
        state.free += 1;
        let wakers = [state.next(), state.place.take()];
        drop(state);
        for waker in wakers.into_iter().flatten() {
            // A foreign one that panics must not keep the other from being woken, nor unwind out of a stream's drop.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                // Its drop could panic again.
                std::mem::forget(payload);
            }
        }
    }
}

impl State {
    /// Takes a permit if one is free, and leaves the seat then.
    fn take(&mut self, seat: &mut Seat) -> Taken {
        if self.free == 0 {
            return Taken::None;
        }
        self.free -= 1;
        Taken::Permit { stale: self.leave(seat) }
    }

    /// Sits down, or stays there with a new waker. Who comes for the first time goes to the end of the queue; who was WOKEN for nothing
    /// keeps its turn.
    fn wait(&mut self, seat: &mut Seat, waker: Waker) -> Option<Waker> {
        match *seat {
            Seat::Place => self.place.replace(waker),
            Seat::None => {
                self.names += 1;
                *seat = Seat::Named(self.names);
                self.queue.push_back((self.names, waker));
                None
            }
            Seat::Named(name) => match self.queue.iter_mut().find(|(queued, _)| *queued == name) {
                Some((_, there)) => Some(std::mem::replace(there, waker)),
                None => {
                    self.queue.push_front((name, waker));
                    None
                }
            },
        }
    }

    /// Gives the seat up. Answers the waker if it was QUEUED.
    fn leave(&mut self, seat: &mut Seat) -> Option<Waker> {
        match std::mem::replace(seat, Seat::None) {
            Seat::None => None,
            // Whoever asks there next may be somebody else: the seat stays what it is.
            Seat::Place => {
                *seat = Seat::Place;
                self.place.take()
            }
            Seat::Named(name) => {
                let at = self.queue.iter().position(|(queued, _)| *queued == name)?;
                self.queue.remove(at).map(|(_, waker)| waker)
            }
        }
    }

    /// QUEUED to WOKEN, for the first.
    fn next(&mut self) -> Option<Waker> {
        self.queue.pop_front().map(|(_, waker)| waker)
    }
}

impl Future for Take<'_> {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let Self { limit, seat } = &mut *self;
        limit.poll(cx, seat)
    }
}

impl Drop for Take<'_> {
    fn drop(&mut self) {
        if matches!(self.seat, Seat::None) {
            return;
        }
        let mut state = lock(&self.limit.state);
        let queued = state.leave(&mut self.seat);
        // It was WOKEN: the permit that it was woken for may still be there.
        let next = if queued.is_none() && state.free > 0 { state.next() } else { None };
        drop(state);
        drop(queued);
        if let Some(next) = next {
            next.wake();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

#[cfg(test)]
#[path = "limit_tests.rs"]
mod tests;
