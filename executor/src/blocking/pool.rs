//! The threads that blocking calls run on.
//!
//! ```text
//!   push ──► queue ──► a thread takes it ──► runs it, without the lock ──► takes the next
//!             │                ▲                                            │ none: idle += 1, waits
//!             ├─ one is idle: idle -= 1, called += 1, notify ───────────────┤
//!             ├─ fewer than the limit: a new thread                         │ called: called -= 1, looks again
//!             └─ else it waits for one that is done                         │ keep-alive passed, not called: idle -= 1, ends
//!                                                                           └ the end: ends
//! ```
//!
//! Everything happens under one lock. A push calls an idle thread and takes it out of the count in the same breath, so no two pushes count on the same one;
//! a thread whose time has passed looks whether it was called before it goes. One that was called and finds nothing (another came by first) is
//! idle again. So whenever something is queued, a thread is on its way to it, or all that there may be are running, and look into the queue before they rest.

use super::Job;
use crate::{
    sync::{Arc, Condvar, Mutex, lock},
    task::Task,
};
use std::{collections::VecDeque, io, thread, time::Duration};

/// tokio's value.
pub(crate) const MAX_THREADS: usize = 512;
/// tokio's value.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What a builder says of it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) max_threads: usize,
    pub(crate) keep_alive: Duration,
    /// What the threads' names begin with.
    pub(crate) name: String,
}

pub(crate) struct Pool<J = Task> {
    settings: Settings,
    state: Mutex<State<J>>,
    called: Condvar,
}

struct State<J> {
    queue: VecDeque<J>,
    threads: usize,
    /// Those that are in a job.
    running: usize,
    /// Those that wait and were not called.
    idle: usize,
    /// Those that were called and have not looked yet.
    called: usize,
    ended: bool,
    /// For the names.
    started: usize,
}

impl<J> Default for State<J> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), threads: 0, running: 0, idle: 0, called: 0, ended: false, started: 0 }
    }
}

/// What a thread does when its wait is over.
#[derive(Debug, PartialEq, Eq)]
enum After {
    /// It was called: into the queue.
    Look,
    /// It woke for no reason.
    Wait,
    /// It is counted out.
    Go,
}

impl<J> State<J> {
    /// A call counts, whatever the time: who called relies on it.
    fn after_wait(&mut self, timed_out: bool) -> After {
        if self.called > 0 {
            self.called -= 1;
            return After::Look;
        }
        if !self.ended && !timed_out {
            return After::Wait;
        }
        self.idle -= 1;
        self.threads -= 1;
        After::Go
    }
}

impl<J: Job> Pool<J> {
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self { settings, state: Mutex::new(State::default()), called: Condvar::new() })
    }

    /// How many threads there are, how many jobs wait for one, and how many threads for a job.
    pub(crate) fn size(&self) -> (usize, usize, usize) {
        let state = lock(&self.state);
        (state.threads, state.queue.len(), state.idle)
    }

    /// How many jobs run.
    pub(crate) fn running(&self) -> usize {
        lock(&self.state).running
    }

    /// Queues a job. It is cancelled if the runtime has ended, refused if it needs a thread and none can be had.
    pub(crate) fn push(self: &Arc<Self>, job: J) {
        let number = {
            let mut state = lock(&self.state);
            if state.ended {
                drop(state);
                job.cancel();
                return;
            }
            state.queue.push_back(job);
            if state.idle > 0 {
                state.idle -= 1;
                state.called += 1;
                self.called.notify_one();
                return;
            }
            if state.threads == self.settings.max_threads {
                return;
            }
            state.threads += 1;
            state.started += 1;
            state.started
        };
        if let Err(error) = self.start(number) {
            self.is_refused(&error);
        }
    }

    fn start(self: &Arc<Self>, number: usize) -> io::Result<()> {
        let pool = self.clone();
        let name = format!("{}-blocking-{number}", self.settings.name);
        thread::Builder::new().name(name).spawn(move || pool.serve()).map(drop)
    }

    /// A thread can't be had. If there are others they come to what is queued; if not, nobody ever does.
    #[cold]
    fn is_refused(&self, error: &io::Error) {
        let refused = {
            let mut state = lock(&self.state);
            state.threads -= 1;
            if state.threads > 0 { VecDeque::new() } else { std::mem::take(&mut state.queue) }
        };
        for job in refused {
            job.refuse(error);
        }
    }

    /// A thread's life.
    fn serve(&self) {
        let mut state = lock(&self.state);
        loop {
            while let Some(job) = state.queue.pop_front() {
                state.running += 1;
                drop(state);
                job.run();
                state = lock(&self.state);
                state.running -= 1;
            }
            if state.ended {
                break;
            }
            state.idle += 1;
            loop {
                let waited = self.called.wait_timeout(state, self.settings.keep_alive);
                let (again, timeout) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
                state = again;
                match state.after_wait(timeout.timed_out()) {
                    After::Look => break,
                    After::Wait => {}
                    After::Go => return,
                }
            }
        }
        state.threads -= 1;
    }

    /// The runtime ends: what has not begun is cancelled, idle threads go, the others when they are done.
    pub(crate) fn end(&self) {
        let queue = {
            let mut state = lock(&self.state);
            state.ended = true;
            self.called.notify_all();
            std::mem::take(&mut state.queue)
        };
        for job in queue {
            job.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Told {
        ran: AtomicUsize,
        refused: AtomicUsize,
    }

    impl Job for Arc<Told> {
        fn run(self) {
            self.ran.fetch_add(1, Ordering::SeqCst);
        }

        fn cancel(self) {}

        fn refuse(self, error: &io::Error) {
            assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
            self.refused.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What a push does whose thread the system refuses, with as many others as `threads`.
    fn refused(threads: usize) -> (Arc<Pool<Arc<Told>>>, Arc<Told>) {
        let settings = Settings { max_threads: 8, keep_alive: Duration::ZERO, name: "x".into() };
        let (pool, told) = (Pool::new(settings), Arc::new(Told::default()));
        {
            let mut state = lock(&pool.state);
            state.threads = threads + 1;
            (0..2).for_each(|_| state.queue.push_back(told.clone()));
        }
        pool.is_refused(&io::Error::from_raw_os_error(libc::EAGAIN));
        (pool, told)
    }

    #[test]
    fn who_was_called_looks_even_if_its_time_is_over() {
        let mut state = State { threads: 2, idle: 1, called: 1, ..State::<Arc<Told>>::default() };
        assert_eq!(state.after_wait(true), After::Look);
        assert_eq!((state.threads, state.idle, state.called), (2, 1, 0));
        // The other one was not.
        assert_eq!(state.after_wait(false), After::Wait);
        assert_eq!(state.after_wait(true), After::Go);
        assert_eq!((state.threads, state.idle, state.called), (1, 0, 0));
        let mut state =
            State { threads: 2, idle: 1, called: 1, ended: true, ..State::<Arc<Told>>::default() };
        assert_eq!([state.after_wait(false), state.after_wait(false)], [After::Look, After::Go]);
    }

    #[test]
    fn without_any_thread_all_that_wait_are_told() {
        let (pool, told) = refused(0);
        assert_eq!((told.refused.load(Ordering::SeqCst), pool.size()), (2, (0, 0, 0)));
    }

    #[test]
    fn with_another_thread_they_wait_for_it() {
        let (pool, told) = refused(1);
        assert_eq!((told.refused.load(Ordering::SeqCst), pool.size()), (0, (1, 2, 0)));
        // That one comes back from what it did, runs both, and goes, for it keeps alive no time at all.
        pool.serve();
        assert_eq!((told.ran.load(Ordering::SeqCst), pool.size()), (2, (0, 0, 0)));
    }
}
