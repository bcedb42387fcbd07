//! [`Sleep`]: a future that is ready at a deadline.
//!
//! It holds no place in a wheel before its first poll, and none after it was ready or dropped. In between it belongs to one worker's
//! timers, wherever it is polled; only its waker follows it.

use super::{
    clock::Moment,
    driver::{Block, Next, Polled, ShutDown, Timers},
    wheel::Index,
};
use crate::{context, coop, shared::Shared, sync::Arc};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

/// A deadline that is no farther away than this from the last reading of the clock has the clock read again before a timer is armed: a
/// guess, about what a turn of a busy worker takes. One that is farther away and has passed all the same is found by the worker's
/// next look at its timers.
const NEAR: Duration = Duration::from_micros(50);

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
    Sleep::until(Moment::now().after(duration))
}

/// Waits until `deadline`. As [`sleep`] otherwise.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::until(Moment::from(deadline))
}

/// So long from now; the far future if that is beyond the clock.
pub(super) fn deadline_after(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration).unwrap_or_else(|| Moment::NEVER.instant())
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// It may move between tasks, threads and runtimes' workers while it waits; the most recent poll's waker is woken. When the runtime
/// it waits in is shut down it is ready at once, whatever its deadline: nobody is left to wake it, and a task that can end is better than one
/// that hangs. Polled again after it was ready, it is ready again.
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Sleep {
    deadline: Moment,
    state: State,
}

enum State {
    /// Not in a wheel. A poll arms it, or finds the deadline past.
    Idle,
    /// In a wheel, unless it fired meanwhile.
    Armed { block: Arc<Block>, index: Index },
    /// It fired.
    Elapsed,
}

impl Sleep {
    pub(super) fn until(deadline: Moment) -> Self {
        Self { deadline, state: State::Idle }
    }

    /// When it is ready. For a duration that was too long for the clock: the far future.
    pub fn deadline(&self) -> Instant {
        self.deadline.instant()
    }

    /// Whether the deadline has passed. The task may not have been woken for it yet.
    pub fn is_elapsed(&self) -> bool {
        matches!(self.state, State::Elapsed) || Moment::now() >= self.deadline
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
        let before = self.deadline;
        self.deadline = Moment::from(deadline);
        if let State::Armed { block, index } = &self.state {
            if self.deadline >= before {
                // If it has fired, or is firing just now, the next poll finds out.
                block.put_off(index, self.deadline.tick_not_before());
                return;
            }
            match block.reset(index, self.deadline) {
                Some(Next::Unchanged) => return,
                Some(Next::Earlier) => {
                    if !on_owner(&block.owner) {
                        block.owner.interrupt();
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
            State::Armed { block, index } => match block.poll(index, self.deadline, cx.waker()) {
                Polled::Waits => return Poll::Pending,
                Polled::Elapsed => self.state = State::Elapsed,
                Polled::TooEarly => {
                    // Before anything can unwind: the index is gone.
                    self.state = State::Idle;
                    self.state = self.start(cx);
                }
            },
            State::Idle => self.state = self.start(cx),
        }
        if matches!(self.state, State::Elapsed) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Arms a timer, unless the deadline has passed.
    #[track_caller]
    fn start(&self, cx: &Context<'_>) -> State {
        let now = match Moment::last() {
            Some(last) if last.after(NEAR) < self.deadline => last,
            _ => Moment::now(),
        };
        if self.deadline <= now { State::Elapsed } else { arm(now, self.deadline, cx) }
    }
}

/// Arms a timer in this worker's wheel, or in any worker's from a thread that isn't one.
#[track_caller]
fn arm(now: Moment, deadline: Moment, cx: &Context<'_>) -> State {
    let waker = cx.waker().clone();
    // A worker's own timers, whatever runtime was entered on top: they are fired by this very thread.
    let own = context::with_worker(|core| match core {
        Some(core) => Ok(timers_of(&core.shared, core.index).insert(now, deadline, waker)),
        None => Err(waker),
    });
    let inserted = own.unwrap_or_else(|waker| {
        let timers = context::with_current(|handle| {
            // Spread by the deadlines' microseconds: as good as a counter, and not shared.
            let index = deadline.micros() % handle.shared.timers.len();
            timers_of(&handle.shared, index).clone()
        });
        let Some(timers) = timers else { no_runtime() };
        let inserted = timers.insert(now, deadline, waker);
        if let Ok((.., Next::Earlier)) = inserted {
            timers.interrupt();
        }
        inserted
    });
    match inserted {
        Ok((block, index, _)) => State::Armed { block, index },
        Err(ShutDown) => State::Elapsed,
    }
}

/// A worker's timers, able to interrupt it.
fn timers_of(shared: &Shared, index: usize) -> &Timers {
    let timers = &shared.timers[index];
    timers.set_lane(&shared.lanes[index]);
    timers
}

#[cold]
#[track_caller]
fn no_runtime() -> ! {
    panic!("a timer was polled outside a runtime: there is nobody to fire it; see `Handle::enter`")
}

/// Whether this thread is the worker that fires these timers, and therefore isn't waiting.
fn on_owner(timers: &Timers) -> bool {
    context::with_worker(|core| core.is_some_and(|core| core.shared.timers[core.index].is(timers)))
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
        if let State::Armed { block, index } = &self.state {
            block.cancel(index);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Idle => "idle",
            State::Armed { .. } => "armed",
            State::Elapsed => "elapsed",
        };
        f.debug_struct("Sleep").field("deadline", &self.deadline()).field("state", &state).finish()
    }
}
