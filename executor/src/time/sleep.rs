//! [`Sleep`]: a future that is ready at a deadline.
//!
//! It holds no place in a wheel before its first poll, and none after it was ready or dropped. In between it belongs to one worker's
//! timers, wherever it is polled; only its waker follows it.

use super::{
    driver::{Armed, Next, ShutDown, Timers},
    wheel::Key,
};
use crate::{context, coop};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

/// How far away a deadline is that no [`Instant`] can hold: 2^32 seconds, 136 years.
const FAR_FUTURE: Duration = Duration::from_secs(1 << 32);

/// Waits until `duration` has passed.
///
/// No earlier, and later by at most 131 us plus what it takes to wake and poll the task. Zero is ready at once; a duration too long
/// for the clock, like [`Duration::MAX`], never comes. Nothing is allocated and no timer is armed before the first poll.
///
/// # Panics
///
/// When it has to wait and is polled outside a runtime.
///
/// # Cancel safety
///
/// Dropping it disarms the timer.
///
/// # Examples
///
/// ```
/// use egret_executor::{Runtime, time::sleep};
/// use std::time::{Duration, Instant};
///
/// let runtime = Runtime::new()?;
/// let start = Instant::now();
/// runtime.block_on(sleep(Duration::from_millis(5)));
/// assert!(start.elapsed() >= Duration::from_millis(5));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(deadline_after(duration))
}

/// Waits until `deadline`. As [`sleep`] otherwise.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, state: State::Idle }
}

pub(super) fn deadline_after(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration).or_else(|| now.checked_add(FAR_FUTURE)).unwrap_or(now)
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// It may move between tasks, threads and runtimes' workers while it waits; the most recent poll's waker is woken. When the runtime
/// it waits in is shut down it is ready at once, whatever its deadline: nobody is left to wake it, and a task that can end is better than one
/// that hangs. Polled again after it was ready, it is ready again.
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Sleep {
    deadline: Instant,
    state: State,
}

enum State {
    /// Not in a wheel. A poll arms it, or finds the deadline past.
    Idle,
    /// In a wheel, unless it fired meanwhile.
    Armed(Timers, Key),
    /// It fired.
    Elapsed,
}

impl Sleep {
    /// When it is ready. For a duration that was too long for the clock: the far future.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the deadline has passed. The task may not have been woken for it yet.
    pub fn is_elapsed(&self) -> bool {
        matches!(self.state, State::Elapsed) || Instant::now() >= self.deadline
    }

    /// Moves the deadline, before or after it has passed. To a later time this is one write, cheap enough for every read of a connection.
    ///
    /// A sleep that waits goes on waiting for the new deadline, for the task that polled it last. One that has fired has to be
    /// polled again, as a new one.
    ///
    /// # Examples
    ///
    /// ```
    /// use egret_executor::{Runtime, time::sleep};
    /// use std::time::{Duration, Instant};
    ///
    /// Runtime::new()?.block_on(async {
    ///     let mut idle = sleep(Duration::from_secs(60));
    ///     idle.reset(Instant::now() + Duration::from_millis(1));
    ///     idle.await;
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn reset(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if let State::Armed(timers, key) = &self.state {
            match timers.reset(*key, deadline) {
                Some(Next::Unchanged) => return,
                Some(Next::Earlier) => {
                    if !on_owner(timers) {
                        timers.interrupt();
                    }
                    return;
                }
                None => {}
            }
        }
        self.state = State::Idle;
    }

    /// Polls without looking at the task's budget.
    pub(super) fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.state {
            State::Elapsed => return Poll::Ready(()),
            State::Armed(timers, key) => match timers.set_waker(*key, cx.waker()) {
                Armed::Yes => return Poll::Pending,
                Armed::Fired => {}
            },
            State::Idle => {
                let now = Instant::now();
                if now < self.deadline
                    && let Some(armed) = arm(now, self.deadline, cx)
                {
                    self.state = armed;
                    return Poll::Pending;
                }
            }
        }
        self.state = State::Elapsed;
        Poll::Ready(())
    }
}

/// Arms a timer in this worker's wheel, or in any worker's from a thread that isn't one. `None`: the runtime was shut down.
#[track_caller]
fn arm(now: Instant, deadline: Instant, cx: &Context<'_>) -> Option<State> {
    let current = context::with_current(|handle| {
        let shared = &*handle.shared;
        let own = context::worker_index(shared);
        let index = own.unwrap_or_else(|| {
            // Spread by the delays' microseconds: as good as a counter, and not shared.
            let micros = deadline.duration_since(now).subsec_nanos() >> 10;
            micros as usize % shared.timers.len()
        });
        shared.timers[index].set_lane(&shared.lanes[index]);
        (shared.timers[index].clone(), own.is_some())
    });
    let Some((timers, on_owner)) = current else {
        panic!("a timer was polled outside a runtime: there is nobody to fire it; see `Handle::enter`");
    };
    match timers.insert(now, deadline, cx.waker().clone()) {
        Ok((key, next)) => {
            if next == Next::Earlier && !on_owner {
                timers.interrupt();
            }
            Some(State::Armed(timers, key))
        }
        Err(ShutDown) => None,
    }
}

/// Whether this thread is the worker that fires these timers, and therefore isn't waiting.
fn on_owner(timers: &Timers) -> bool {
    let own = context::with_current(|handle| {
        let shared = &*handle.shared;
        context::worker_index(shared).is_some_and(|index| shared.timers[index].is(timers))
    });
    own.unwrap_or(false)
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let coop = ready!(coop::poll_proceed(cx));
        let poll = self.get_mut().poll_elapsed(cx);
        if poll.is_ready() {
            coop.made_progress();
        }
        poll
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let State::Armed(timers, key) = &self.state {
            timers.cancel(*key);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Idle => "idle",
            State::Armed(..) => "armed",
            State::Elapsed => "elapsed",
        };
        f.debug_struct("Sleep").field("deadline", &self.deadline).field("state", &state).finish()
    }
}
