//! Names to addresses, off the workers: `getaddrinfo(3)` blocks for as long as a name server pleases.
//!
//! A process-wide queue and a few threads on demand. The states of a lookup:
//!
//! ```text
//!  start ──► queued ──► running (a thread is inside getaddrinfo) ──► answered ──► the future takes the answer
//!              │            │
//!              └─ drop ─────┴─► nobody's: a queued one leaves the queue at once, a running one is answered into the void
//! ```
//!
//! | lock | guards | held while |
//! |---|---|---|
//! | `Resolver::state` | the queue, the number of threads and of idle ones | pushing, popping; never while resolving, waking or dropping a waker |
//! | `Job::slot` | answer and waker of one lookup | storing or taking either |
//!
//! The two are never held together.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::sync::{Arc, Condvar, Mutex, lock};

/// How many lookups may block at the same time. A guess: enough that a few names with a dead server do not hold up the
/// others, few enough to cost nothing. More lookups wait in the queue.
const MAX_THREADS: usize = 8;

/// How long a thread waits for the next lookup before it ends. tokio's value for its blocking pool.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

static RESOLVER: Resolver = Resolver {
    state: Mutex::new(State { queue: VecDeque::new(), threads: 0, idle: 0 }),
    work: Condvar::new(),
};

#[derive(Debug)]
struct Resolver {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Arc<Job>>,
    /// Threads alive.
    threads: usize,
    /// Those of them that wait in `work`, the ones included that were woken and have not run yet: as long as the queue is
    /// not longer than this, somebody comes for every job in it.
    idle: usize,
}

#[derive(Debug)]
struct Job {
    host: String,
    port: u16,
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    answer: Option<io::Result<Vec<SocketAddr>>>,
    waker: Option<Waker>,
}

/// One name on its way to its addresses. Dropping it abandons the lookup.
#[derive(Debug)]
#[doc(hidden)]
pub struct Lookup {
    resolver: &'static Resolver,
    job: Arc<Job>,
}

impl Lookup {
    /// Queues the lookup and makes sure that a thread will come to it.
    pub(crate) fn start(host: &str, port: u16) -> io::Result<Self> {
        let job = Arc::new(Job { host: host.to_owned(), port, slot: Mutex::default() });
        RESOLVER.submit(&job, |body| {
            std::thread::Builder::new().name("egret-resolver".into()).spawn(body).map(drop)
        })?;
        Ok(Self { resolver: &RESOLVER, job })
    }
}

impl Future for Lookup {
    type Output = io::Result<Vec<SocketAddr>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Cloned before the lock and the old one dropped after it: a waker is foreign code.
        let fresh = cx.waker().clone();
        let mut slot = lock(&self.job.slot);
        if let Some(answer) = slot.answer.take() {
            drop(slot);
            return Poll::Ready(answer);
        }
        let stale = slot.waker.replace(fresh);
        drop(slot);
        drop(stale);
        Poll::Pending
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let mut state = lock(&self.resolver.state);
        let place = state.queue.iter().position(|queued| Arc::ptr_eq(queued, &self.job));
        let queued = place.and_then(|place| state.queue.remove(place));
        drop(state);
        drop(queued);
        let stale = lock(&self.job.slot).waker.take();
        drop(stale);
    }
}

impl Resolver {
    /// Puts `job` in the queue; starts a thread with `spawn` if none is free and there may be one more.
    ///
    /// An error only if no thread can be had and there is none at all: otherwise one of the living will come to it.
    fn submit(
        &'static self,
        job: &Arc<Job>,
        spawn: impl FnOnce(Box<dyn FnOnce() + Send>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.queue.push_back(Arc::clone(job));
        if state.queue.len() <= state.idle || state.threads == MAX_THREADS {
            drop(state);
            self.work.notify_one();
            return Ok(());
        }
        state.threads += 1;
        drop(state);
        let Err(error) = spawn(Box::new(move || self.run())) else { return Ok(()) };

        let mut state = lock(&self.state);
        state.threads -= 1;
        if state.threads > 0 {
            return Ok(());
        }
        // Nobody will come for anything in the queue: who counted on the thread that could not start learns of it, too.
        let orphans = std::mem::take(&mut state.queue);
        drop(state);
        let failure = |job: &Job| {
            let text = format!("cannot start a thread to resolve the host name {:?}: {error}", job.host);
            io::Error::new(error.kind(), text)
        };
        for orphan in orphans.iter().filter(|orphan| !Arc::ptr_eq(orphan, job)) {
            // As in `run`: a waker that panics must not cost the others their answer.
            let _ = catch_unwind(AssertUnwindSafe(|| orphan.settle(Err(failure(orphan)))));
        }
        Err(failure(job))
    }

    /// The life of one resolver thread.
    fn run(&self) {
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                // A resolver that panics, or a waker that does, must cost neither the thread nor its place in the count.
                let _ = catch_unwind(AssertUnwindSafe(|| job.run()));
                drop(job);
                state = lock(&self.state);
                continue;
            }
            state.idle += 1;
            let (guard, waited) =
                self.work.wait_timeout(state, KEEP_ALIVE).unwrap_or_else(|poisoned| poisoned.into_inner());
            state = guard;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

impl Job {
    fn run(&self) {
        let answer = catch_unwind(|| {
            (self.host.as_str(), self.port).to_socket_addrs().map(Iterator::collect::<Vec<_>>)
        });
        let answer = answer.unwrap_or_else(|_| Err(io::Error::other("the system's resolver panicked")));
        let answer = answer.map_err(|error| {
            let text = format!("cannot resolve the host name {:?}: {error}", self.host);
            io::Error::new(error.kind(), text)
        });
        self.settle(answer);
    }

    /// Stores the answer and wakes whoever waits for it.
    fn settle(&self, answer: io::Result<Vec<SocketAddr>>) {
        let mut slot = lock(&self.slot);
        slot.answer = Some(answer);
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::Wake;
    use std::time::Instant;

    use super::*;

    /// Wakes by sending on a channel, so that a test can wait for it with a bound.
    struct Bell(mpsc::Sender<()>);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }

    fn leak() -> &'static Resolver {
        Box::leak(Box::new(Resolver {
            state: Mutex::new(State { queue: VecDeque::new(), threads: 0, idle: 0 }),
            work: Condvar::new(),
        }))
    }

    fn job(host: &str) -> Arc<Job> {
        Arc::new(Job { host: host.to_owned(), port: 80, slot: Mutex::default() })
    }

    #[test]
    fn localhost_is_found_and_the_waker_is_called() {
        let (bell, rung) = mpsc::channel();
        let waker = Waker::from(Arc::new(Bell(bell)));
        let mut cx = Context::from_waker(&waker);
        let mut lookup = Lookup::start("localhost", 4242).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let found = loop {
            if let Poll::Ready(found) = Pin::new(&mut lookup).poll(&mut cx) {
                break found.unwrap();
            }
            rung.recv_timeout(deadline.saturating_duration_since(Instant::now()))
                .expect("the lookup never ended");
        };
        assert!(!found.is_empty());
        assert!(
            found.iter().all(|address| address.ip().is_loopback() && address.port() == 4242),
            "{found:?}"
        );
    }

    #[test]
    fn a_host_name_that_cannot_be_is_an_error_that_names_it() {
        let job = job("a\0b");
        job.run();
        let answer = lock(&job.slot).answer.take().unwrap();
        assert!(answer.unwrap_err().to_string().contains("a\\0b"));
    }

    #[test]
    fn no_thread_at_all_is_an_error_and_leaves_nothing_behind() {
        let resolver = leak();
        let refused = resolver.submit(&job("x"), |_| Err(io::Error::from(io::ErrorKind::WouldBlock)));
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(error.to_string().contains("thread"), "{error}");
        let state = lock(&resolver.state);
        assert_eq!((state.queue.len(), state.threads, state.idle), (0, 0, 0));
    }

    #[test]
    fn threads_are_bounded_and_one_that_cannot_start_leaves_the_job_to_the_others() {
        let resolver = leak();
        let mut bodies = Vec::new();
        for _ in 0..MAX_THREADS + 3 {
            // Nothing runs: every thread is as good as stuck in getaddrinfo.
            let keep = |body| {
                bodies.push(body);
                Ok(())
            };
            resolver.submit(&job("x"), keep).unwrap();
        }
        assert_eq!(bodies.len(), MAX_THREADS);
        lock(&resolver.state).threads -= 1;
        resolver.submit(&job("x"), |_| Err(io::Error::from(io::ErrorKind::WouldBlock))).unwrap();
        let state = lock(&resolver.state);
        assert_eq!((state.queue.len(), state.threads), (MAX_THREADS + 4, MAX_THREADS - 1));
    }

    #[test]
    fn a_job_that_counted_on_a_thread_that_could_not_start_is_answered() {
        let resolver = leak();
        let (first, second) = (job("first"), job("second"));
        let none = || Err(io::Error::from(io::ErrorKind::WouldBlock));
        let refused = resolver.submit(&first, |_| {
            // Comes while the only thread is being started, and has none of its own.
            resolver.submit(&second, |_| none()).unwrap();
            none()
        });
        assert!(refused.unwrap_err().to_string().contains("first"));
        let answer = lock(&second.slot).answer.take().expect("an answer");
        assert!(answer.unwrap_err().to_string().contains("second"));
        assert!(lock(&resolver.state).queue.is_empty());
    }

    #[test]
    fn an_abandoned_lookup_that_nobody_began_leaves_the_queue() {
        let resolver = leak();
        let job = job("never-asked");
        resolver.submit(&job, |_| Ok(())).unwrap();
        drop(Lookup { resolver, job: Arc::clone(&job) });
        assert!(lock(&resolver.state).queue.is_empty());
        assert_eq!(Arc::strong_count(&job), 1);
    }
}
