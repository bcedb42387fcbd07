//! [`Timer`]: timerfd's semantics without a descriptor. [`setting`] computes, [`schedule`] files, [`clock`] tells.
//!
//! ```text
//!                set                     a deadline passes                    read, one-shot
//!   disarmed ───────────► armed ─────────────────────────────────► expired ─────────────────► disarmed
//!      ▲                   │ ▲                                       │ │
//!      └───── disarm ──────┘ └──── read, periodic: the next beat ────┘ └── disarm ──► disarmed
//! ```
//!
//! Being expired is a matter of time, not of being told: [`poll`](Source::poll) and `read` compute it. The clock's thread
//! brings the news to the hooks, once for each passage from armed to expired. If it is late, an interest that was added in between
//! and was told at once may be told again.
//!
//! | lock    | protects                                                    | taken below                            |
//! |---------|-------------------------------------------------------------|----------------------------------------|
//! | `state` | setting and place in the schedule, which change together    | control (`poll`)                       |
//! | clock   | the schedule                                                | `state`                                |
//!
//! The clock's thread takes them one after the other, never both; hooks are walked without either.

mod clock;
mod schedule;
mod setting;

use crate::events::Events;
use crate::source::{PollTable, Source};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, Weak};
use crate::wait_queue::WaitQueue;
use clock::{Due, Entry};
use schedule::Place;
use setting::Setting;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// A timer that is readable when it has expired: `timerfd(2)` in user space, on the monotonic clock.
///
/// It expires once, or again and again with a period. [`read`](Timer::read) says how often it has expired since it was set or
/// last read. It polls [`Events::IN`] while that is not zero. It never expires early; it may be told late, by what the
/// scheduler takes to run a thread.
///
/// * Each expiration is an edge, except that a periodic timer which has expired is not told of again until it is read
///   or asked for its [`remaining`](Timer::remaining) time: what it misses is counted, not announced. That is what a
///   timerfd does, and it makes the shortest period harmless.
/// * While timers are set, one thread of the process, `egret-clock`, sleeps until the earliest deadline and wakes whoever
///   watches. It starts with the first timer, takes no signals, and ends a second after the last deadline that it knew of:
///   a timer that is disarmed or dropped before it has expired doesn't wake it. Setting a timer calls the kernel only to
///   start that thread or to shorten its sleep.
/// * In a child forked after its parent has used a timer there is no such thread: there `set`, `set_at` and `read` return
///   an error, and a timer is never ready.
///
/// ```
/// use egret_reactor::{Event, Eventpoll, Events, Timer};
/// use std::{sync::Arc, time::Duration};
///
/// let poll = Eventpoll::new()?;
/// let timer = Arc::new(Timer::new());
/// poll.add(&timer, 0, Events::IN, 1)?;
/// timer.set(Duration::from_millis(5), Some(Duration::from_millis(10)))?;
/// let mut events = [Event::default(); 4];
/// for _ in 0..3 {
///     assert_eq!(poll.wait(&mut events, None)?, 1);
///     assert!(timer.read()? >= 1); // more than one if this thread was kept from running
/// }
/// timer.disarm();
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Timer {
    shared: Arc<Shared>,
}

/// What the clock knows of a timer.
struct Shared {
    state: Mutex<State>,
    queue: WaitQueue,
    /// Its name in the schedule.
    id: u64,
}

struct State {
    setting: Setting,
    /// Where it is filed or rests in the schedule.
    place: Option<Place>,
    /// Everybody knows that it has expired.
    announced: bool,
}

impl State {
    const DISARMED: State = State { setting: Setting::DISARMED, place: None, announced: false };
}

impl Timer {
    /// Makes a timer that is not set.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::new(Shared { state: Mutex::new(State::DISARMED), queue: WaitQueue::new(), id }) }
    }

    /// Sets the timer: it expires when `first` has passed and, if there is a `period`, each time that has passed again. What it was
    /// set to before, and expirations that were not read, are forgotten.
    ///
    /// A `first` of zero expires at once. (`timerfd_settime(2)` disarms there; that is [`disarm`](Timer::disarm).) A period of zero
    /// is none. A time that the clock can't say, as [`Duration::MAX`], means never.
    ///
    /// # Errors
    /// If no thread can be started (`EAGAIN`), or in a child that was forked after its parent has used a timer; the timer is
    /// then what it was before.
    pub fn set(&self, first: Duration, period: Option<Duration>) -> io::Result<()> {
        let now = Instant::now();
        self.set_to(now, Setting::new(now.checked_add(first), period))
    }

    /// [`set`](Timer::set) with a point in time for the first expiration. One that has passed expires at once, and with a period
    /// everything since then is counted.
    ///
    /// ```
    /// use egret_reactor::Timer;
    /// use std::time::{Duration, Instant};
    ///
    /// let timer = Timer::new();
    /// let Some(past) = Instant::now().checked_sub(Duration::from_millis(35)) else { return Ok(()) };
    /// timer.set_at(past, Some(Duration::from_millis(10)))?;
    /// assert!(timer.read()? >= 4); // 35, 25, 15 and 5 ms ago
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`set`](Timer::set).
    pub fn set_at(&self, first: Instant, period: Option<Duration>) -> io::Result<()> {
        self.set_to(Instant::now(), Setting::new(Some(first), period))
    }

    fn set_to(&self, now: Instant, setting: Setting) -> io::Result<()> {
        let clock = clock::of_process()?;
        let Shared { state, queue, id } = &*self.shared;
        let expired = setting.expirations(now) > 0;
        // One that expires only once and has, or never does, needs no clock. For a periodic one that has expired the clock has
        // to stand by: reading it must not fail.
        let place = setting.next(now).map(|at| Place { at, periodic: setting.is_periodic() });
        {
            let mut state = state.lock();
            match (place, state.place) {
                (Some(place), old) => clock.enter(*id, old, self.entry(place, expired))?,
                (None, Some(old)) => clock.leave(*id, old),
                (None, None) => {}
            }
            *state = State { setting, place, announced: expired };
        }
        if expired {
            queue.wake(Events::IN);
        }
        Ok(())
    }

    fn entry(&self, place: Place, announced: bool) -> Entry {
        let shared: Weak<Shared> = Arc::downgrade(&self.shared);
        Entry { place, announced, timer: shared }
    }

    /// Stops the timer and forgets expirations that were not read.
    pub fn disarm(&self) {
        // In a forked child there is nobody to tell.
        let Ok(clock) = clock::of_process() else { return };
        let mut state = self.shared.state.lock();
        if let Some(old) = state.place {
            clock.leave(self.shared.id, old);
        }
        *state = State::DISARMED;
    }

    /// How long until it expires next; [`Duration::MAX`] if that is never. `None` if it is not set, or was to expire only once and
    /// has.
    ///
    /// As with `timerfd_gettime(2)`, a periodic timer that has expired goes on from here: its next expiration is announced,
    /// read or not. Expirations stay counted.
    pub fn remaining(&self) -> Option<Duration> {
        let clock = clock::of_process().ok()?;
        let now = Instant::now();
        let mut state = self.shared.state.lock();
        if state.announced {
            self.go_on(&mut state, clock, now);
        }
        state.setting.remaining(now)
    }

    /// Takes the number of expirations since the timer was set or last read. A periodic timer is told of its next one again.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if it is zero; another in a child that was forked after its parent has used a
    /// timer.
    pub fn read(&self) -> io::Result<u64> {
        let clock = clock::of_process()?;
        let now = Instant::now();
        let mut state = self.shared.state.lock();
        let count = state.setting.take(now);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.go_on(&mut state, clock, now);
        Ok(count)
    }

    /// Files a timer that has expired for its next expiration, if it has one.
    fn go_on(&self, state: &mut State, clock: &clock::Clock, now: Instant) {
        state.announced = false;
        let Some(old) = state.place else { return };
        match state.setting.next(now) {
            Some(at) => {
                let place = Place { at, ..old };
                clock.renew(self.shared.id, old, self.entry(place, false));
                state.place = Some(place);
            }
            None => {
                clock.leave(self.shared.id, old);
                state.place = None;
            }
        }
    }
}

impl Due for Shared {
    fn announce(&self, at: Instant) {
        {
            let mut state = self.state.lock();
            match state.place {
                Some(place) if place.at == at => {
                    state.announced = true;
                    if !place.periodic {
                        state.place = None;
                    }
                }
                // It was set anew, read or disarmed meanwhile.
                _ => return,
            }
        }
        self.queue.wake(Events::IN);
    }
}

impl Source for Timer {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        table.register(&self.shared.queue);
        let expired =
            clock::of_process().is_ok() && self.shared.state.lock().setting.expirations(Instant::now()) > 0;
        if expired { Events::IN } else { Events::empty() }
    }
}

impl Default for Timer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting = self.shared.state.lock().setting;
        f.debug_struct("Timer").field("setting", &setting).field("queue", &self.shared.queue).finish()
    }
}

/// The clock may hold a reference for a moment: whoever watches is told here that the timer is gone.
impl Drop for Timer {
    fn drop(&mut self) {
        self.disarm();
        self.shared.queue.retire();
    }
}

/// What would take luck to meet from outside: the clock's thread comes late.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Eventpoll};

    const HOUR: Duration = Duration::from_secs(3600);

    fn watched() -> (Arc<Timer>, Eventpoll) {
        let (timer, poll) = (Arc::new(Timer::new()), Eventpoll::new().unwrap());
        poll.add(&timer, 0, Events::IN | Events::ET, 1).unwrap();
        (timer, poll)
    }

    fn edge(poll: &Eventpoll) -> bool {
        poll.wait(&mut [Event::default()], Some(Duration::ZERO)).unwrap() == 1
    }

    #[test]
    fn news_of_what_was_set_before_are_not_passed_on() {
        let (timer, poll) = watched();
        let old = Instant::now() + HOUR;
        timer.set_at(old, None).unwrap();
        timer.set(Duration::ZERO, Some(HOUR)).unwrap();
        assert!(edge(&poll));
        timer.shared.announce(old);
        assert!(!edge(&poll));
        timer.disarm();
        timer.shared.announce(old);
        assert!(timer.shared.state.lock().place.is_none());
    }

    #[test]
    fn asking_for_the_remaining_time_does_not_swallow_news_that_are_under_way() {
        let (timer, _poll) = watched();
        let period = Duration::from_millis(1);
        timer.set(Duration::ZERO, Some(period)).unwrap();
        let place = |timer: &Timer| timer.shared.state.lock().place.unwrap();
        let before = place(&timer);
        while Instant::now() <= before.at + period {
            std::thread::yield_now();
        }
        // As if nobody had been told yet.
        timer.shared.state.lock().announced = false;
        timer.remaining().unwrap();
        assert_eq!(place(&timer), before);
        timer.shared.state.lock().announced = true;
        timer.remaining().unwrap();
        assert_ne!(place(&timer), before, "now it goes on");
    }

    #[test]
    fn an_interest_goes_with_the_timer_while_the_clock_holds_on_to_it() {
        let (timer, poll) = watched();
        let held = timer.shared.clone();
        assert!(!held.queue.is_empty());
        drop(timer);
        assert!(held.queue.is_empty());
        held.announce(Instant::now());
        assert!(!edge(&poll));
    }
}
