//! [`Clock`]: who wakes when a deadline passes. The counterpart of the kernel's timer interrupt.
//!
//! It is a thread, and not the timeout of somebody's `wait`: who has to hear of a timer may sleep in an instance that watches an
//! instance that watches the timer, or in several of them, or nobody may be waiting yet and the news has to be on the ready
//! list when somebody does. One thread serves the whole process, only while timers are set, and only brings the news:
//! how often a timer has expired is computed by whoever asks ([`super::setting`]).
//!
//! ```text
//!          enter: starts it                      nothing is due
//!   ABSENT ────────────────► AWAKE ─────────────────────────────────────► ASLEEP until the next deadline,
//!      ▲                      ▲ │ ▲ something is due: tells, unlocked         │   or the end of its keep-alive
//!      │                      │ └─┘                                           │
//!      │                      ├──── the time has come ────────────────────────┤
//!      │                      ├──── the last one that rested leaves ──────────┤ rings the bell
//!      │                      └──── enter or renew with an earlier deadline ──┘ rings the bell
//!      └── the keep-alive is over, and no timer is filed or resting
//! ```
//!
//! Why no deadline is slept over: the thread reads the schedule, decides how long to sleep and writes that into `thread` under one
//! hold of the lock, which it lets go of only inside the condition variable. A timer that is entered later takes the lock
//! when the thread is either inside, and then an earlier deadline rings; or on its way around the loop, and then it
//! reads the schedule again before it sleeps. The end is decided under the same hold: whoever enters after it finds
//! ABSENT and starts a new thread. A later deadline rings nothing: the thread comes too early, finds nothing due, and sleeps on.
//!
//! The lock is a leaf, taken under a timer's own lock and never held while a timer is told. The only long thing that is done under
//! it is to start the thread.

use super::schedule::{Place, Schedule};
use crate::fork::Birthplace;
use crate::sync::{Arc, Condvar, Mutex, OnceLock, Weak};
use std::io;
use std::mem::MaybeUninit;
use std::thread;
use std::time::{Duration, Instant};

/// How long the thread stays when no timer is set. A guess: longer than the pauses of a program that sets timers now and then,
/// short enough that one which has stopped doing so gets rid of the thread.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// A guess with a margin: a walk over the hooks of five nested instances, the deepest there can be, takes a few KiB.
const STACK: usize = 256 * 1024;

/// What is told when its deadline passes.
pub(super) trait Due: Send + Sync {
    /// The deadline `at`, under which it was filed, has passed. Called without a lock.
    fn announce(&self, at: Instant);
}

/// Where a timer goes.
pub(super) struct Entry {
    pub(super) place: Place,
    /// It has expired, and everybody knows: it rests.
    pub(super) announced: bool,
    pub(super) timer: Weak<dyn Due>,
}

/// See the module's text.
pub(super) struct Clock {
    inner: Mutex<Inner>,
    bell: Condvar,
    keep_alive: Duration,
    stack: usize,
    birthplace: Birthplace,
}

struct Inner {
    schedule: Schedule<Weak<dyn Due>>,
    thread: Thread,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    Absent,
    /// It will look at the schedule before it sleeps.
    Awake,
    /// Until then, or until it is rung.
    Asleep(Option<Instant>),
}

/// The process's clock.
///
/// # Errors
/// In a child that was forked after its parent's clock was made: the child has neither the thread nor, maybe, the lock.
pub(super) fn of_process() -> io::Result<&'static Arc<Clock>> {
    static CLOCK: OnceLock<Arc<Clock>> = OnceLock::new();
    let clock = CLOCK.get_or_init(|| Clock::new(KEEP_ALIVE, STACK));
    clock.birthplace.check()?;
    Ok(clock)
}

impl Clock {
    fn new(keep_alive: Duration, stack: usize) -> Arc<Self> {
        let inner = Mutex::new(Inner { schedule: Schedule::new(), thread: Thread::Absent });
        Arc::new(Self { inner, bell: Condvar::new(), keep_alive, stack, birthplace: Birthplace::here() })
    }

    /// Moves the timer from where it stands to where it shall stand, and sees to it that the thread is there.
    ///
    /// # Errors
    /// If the thread can't be started; then nothing has changed.
    pub(super) fn enter(self: &Arc<Self>, id: u64, old: Option<Place>, entry: Entry) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if inner.thread == Thread::Absent {
            self.start()?;
            inner.thread = Thread::Awake;
        }
        let withdrawn = old.and_then(|old| inner.schedule.withdraw(id, old));
        let ring = inner.enter(id, entry);
        drop(inner);
        drop(withdrawn);
        if ring {
            self.bell.notify_one();
        }
        Ok(())
    }

    /// The same for a timer that is filed or resting: the thread stays for it, so nothing can fail.
    pub(super) fn renew(&self, id: u64, old: Place, entry: Entry) {
        let mut inner = self.inner.lock();
        debug_assert_ne!(inner.thread, Thread::Absent, "the thread stays while a timer rests");
        let withdrawn = inner.schedule.withdraw(id, old);
        let ring = inner.enter(id, entry);
        drop(inner);
        drop(withdrawn);
        if ring {
            self.bell.notify_one();
        }
    }

    /// Forgets the timer. If it is being told just now, that goes on.
    pub(super) fn leave(&self, id: u64, old: Place) {
        let mut inner = self.inner.lock();
        let withdrawn = inner.schedule.withdraw(id, old);
        // It sleeps for the sake of one that rested, and without an end. From any other sleep it comes back by itself.
        let ring = inner.thread == Thread::Asleep(None) && inner.schedule.is_idle();
        if ring {
            inner.thread = Thread::Awake;
        }
        drop(inner);
        drop(withdrawn);
        if ring {
            self.bell.notify_one();
        }
    }

    fn start(self: &Arc<Self>) -> io::Result<()> {
        let clock = self.clone();
        let _quiet = NoSignals::here();
        let thread = thread::Builder::new().name("egret-clock".into()).stack_size(self.stack);
        // Nobody waits for it: it ends by itself, or with the process.
        thread.spawn(move || clock.run()).map(drop)
    }

    fn run(&self) {
        let mut due = Vec::new();
        let mut idle_until = None;
        let mut inner = self.inner.lock();
        loop {
            let now = Instant::now();
            inner.schedule.take_due(now, &mut due);
            if !due.is_empty() {
                drop(inner);
                for (at, timer) in due.drain(..) {
                    if let Some(timer) = timer.upgrade() {
                        timer.announce(at);
                    }
                }
                inner = self.inner.lock();
                continue;
            }
            let until = if inner.schedule.is_idle() {
                let end = *idle_until.get_or_insert_with(|| now + self.keep_alive);
                if end <= now {
                    inner.thread = Thread::Absent;
                    return;
                }
                Some(end)
            } else {
                idle_until = None;
                inner.schedule.next()
            };
            inner.thread = Thread::Asleep(until);
            inner = match until {
                None => self.bell.wait(inner),
                Some(until) => self.bell.wait_timeout(inner, until.saturating_duration_since(now)).0,
            };
            inner.thread = Thread::Awake;
        }
    }
}

impl Inner {
    /// Takes the timer in; true if the thread has to be rung.
    #[must_use]
    fn enter(&mut self, id: u64, entry: Entry) -> bool {
        if entry.announced {
            self.schedule.rest();
            return false;
        }
        self.schedule.file(id, entry.place, entry.timer);
        match self.thread {
            Thread::Asleep(until) if until.is_none_or(|until| entry.place.at < until) => {
                // Once is enough: until it has the lock again it counts as awake.
                self.thread = Thread::Awake;
                true
            }
            _ => false,
        }
    }
}

/// While it lives no signal is taken by this thread. A thread starts with its maker's mask, and a thread that nobody knows of
/// must not take the signals that were meant to interrupt somebody's `wait`.
struct NoSignals(libc::sigset_t);

impl NoSignals {
    fn here() -> Self {
        let mut all = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: both sets are valid for writing, and `sigfillset` initializes the one that `pthread_sigmask` reads; it
        // fails only for an unknown `how`, so `before` is initialized after it.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for NoSignals {
    fn drop(&mut self) {
        // SAFETY: the set is the one that `pthread_sigmask` wrote; a null pointer asks for nothing back.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const BOUND: Duration = Duration::from_secs(20);

    struct Recorder(Mutex<mpsc::Sender<(u64, Instant)>>, u64);

    impl Due for Recorder {
        fn announce(&self, at: Instant) {
            assert!(Instant::now() >= at, "never early");
            // A test that has failed listens no more.
            let _heard = self.0.lock().send((self.1, at));
        }
    }

    fn recorder(id: u64) -> (Arc<dyn Due>, mpsc::Receiver<(u64, Instant)>) {
        let (sender, told) = mpsc::channel();
        (Arc::new(Recorder(Mutex::new(sender), id)), told)
    }

    fn entry(timer: &Arc<dyn Due>, at: Instant, periodic: bool) -> Entry {
        Entry { place: Place { at, periodic }, announced: false, timer: Arc::downgrade(timer) }
    }

    fn until(what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + BOUND;
        while !condition() {
            assert!(Instant::now() < end, "never came true: {what}");
            thread::yield_now();
        }
    }

    fn hour() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[test]
    fn the_thread_comes_when_it_is_needed_and_goes_when_it_is_not() {
        let clock = Clock::new(Duration::from_millis(5), STACK);
        let (timer, told) = recorder(1);
        for _ in 0..5 {
            let at = Instant::now() + Duration::from_millis(2);
            clock.enter(1, None, entry(&timer, at, false)).unwrap();
            assert_eq!(told.recv_timeout(BOUND), Ok((1, at)));
            until("the thread has gone", || clock.inner.lock().thread == Thread::Absent);
        }
    }

    #[test]
    fn a_resting_timer_keeps_the_thread() {
        let clock = Clock::new(Duration::ZERO, STACK);
        let (timer, told) = recorder(1);
        let first = Instant::now();
        clock.enter(1, None, entry(&timer, first, true)).unwrap();
        assert_eq!(told.recv_timeout(BOUND), Ok((1, first)));
        until("it sleeps without an end", || clock.inner.lock().thread == Thread::Asleep(None));
        let second = Instant::now();
        clock.renew(1, Place { at: first, periodic: true }, entry(&timer, second, true));
        assert_eq!(told.recv_timeout(BOUND), Ok((1, second)));
        until("it sleeps without an end again", || clock.inner.lock().thread == Thread::Asleep(None));
        clock.leave(1, Place { at: second, periodic: true });
        until("nothing rests, so the thread has gone", || clock.inner.lock().thread == Thread::Absent);
        let at = Instant::now();
        clock.enter(1, None, entry(&timer, at, false)).unwrap();
        assert_eq!(told.recv_timeout(BOUND), Ok((1, at)));
        until("the thread has gone", || clock.inner.lock().thread == Thread::Absent);
    }

    #[test]
    fn an_earlier_deadline_ends_the_sleep_and_a_later_one_does_not() {
        let clock = Clock::new(Duration::ZERO, STACK);
        let (timer, told) = recorder(1);
        let asleep = |clock: &Clock, at| clock.inner.lock().thread == Thread::Asleep(Some(at));
        let far = hour();
        clock.enter(1, None, entry(&timer, far, false)).unwrap();
        until("it sleeps until the far one", || asleep(&clock, far));
        clock.enter(2, None, entry(&timer, far + Duration::from_secs(1), false)).unwrap();
        assert!(asleep(&clock, far), "nothing was rung");
        let near = Instant::now() + Duration::from_millis(1);
        clock.enter(3, None, entry(&timer, near, false)).unwrap();
        assert_eq!(told.recv_timeout(BOUND), Ok((1, near)));
        until("it sleeps until the far one again", || asleep(&clock, far));
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn a_timer_that_is_gone_is_passed_over() {
        let clock = Clock::new(Duration::ZERO, STACK);
        let (gone, silence) = recorder(1);
        let (timer, told) = recorder(2);
        let at = Instant::now() + Duration::from_millis(5);
        clock.enter(1, None, entry(&gone, at, false)).unwrap();
        clock.enter(2, None, entry(&timer, at + Duration::from_millis(1), false)).unwrap();
        drop(gone);
        told.recv_timeout(BOUND).unwrap();
        assert_eq!(silence.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }

    /// Every deadline is told once, whatever the sleeper is doing when it is entered.
    #[test]
    fn no_deadline_is_slept_over() {
        let clock = Clock::new(Duration::ZERO, STACK);
        thread::scope(|scope| {
            for id in 0..4 {
                let clock = &clock;
                scope.spawn(move || {
                    let (timer, told) = recorder(id);
                    for round in 0..500 {
                        let at = Instant::now() + Duration::from_micros((round * 37 + id * 11) % 300);
                        clock.enter(id, None, entry(&timer, at, false)).unwrap();
                        assert_eq!(told.recv_timeout(BOUND), Ok((id, at)));
                    }
                });
            }
        });
    }

    #[test]
    fn a_thread_that_cannot_be_started_is_an_error_and_changes_nothing() {
        let clock = Clock::new(Duration::ZERO, usize::MAX / 2);
        let (timer, _told) = recorder(1);
        clock.enter(1, None, entry(&timer, Instant::now(), true)).unwrap_err();
        let inner = clock.inner.lock();
        assert!(inner.schedule.is_idle() && inner.thread == Thread::Absent);
    }

    #[test]
    fn signals_are_left_to_others() {
        let mask = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("SigBlk:")).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        };
        let before = mask();
        let quiet = NoSignals::here();
        let usr1 = 1_u64 << (libc::SIGUSR1 - 1);
        assert_eq!(mask() & usr1, usr1);
        drop(quiet);
        assert_eq!(mask(), before);
    }
}
