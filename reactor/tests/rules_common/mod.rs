//! What the `rules_*` tests share: bounded waiting, a source that does as it is told, and a look at an instance's lengths.
#![allow(dead_code)] // Each test binary uses its part.

#[path = "../../../tests/support/watchdog.rs"]
mod watchdog;

use egret_reactor::{Event, Eventpoll, Events, FeedChoice, Lanes, PollTable, Source, WaitQueue, Woken};
use std::any::Any;
use std::os::unix::thread::JoinHandleExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};
#[allow(unused_imports)] // as above
pub use watchdog::{Watchdog, bounded};

pub const NOW: Option<Duration> = Some(Duration::ZERO);

/// How long anything may take that has to happen at all. A guess: far above what a loaded machine needs.
pub const BOUND: Duration = Duration::from_secs(20);

thread_local! {
    static LANES: Lanes = Lanes::new(FeedChoice::Auto).unwrap();
}

/// An instance over lanes of this test alone. A waiter that comes back for its lane's housekeeping may take what was meant
/// for another (as in the kernel, whoever looks first has it); where a test is about who is woken, nobody else's
/// housekeeping must interfere.
pub fn instance() -> Eventpoll {
    LANES.with(Eventpoll::with_lanes)
}

pub fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + BOUND;
    while !condition() {
        assert!(Instant::now() < end, "never came true: {what}");
        thread::yield_now();
    }
}

fn field(poll: &Eventpoll, name: &str) -> usize {
    let text = format!("{poll:?}");
    let (_, rest) = text.split_once(&format!(" {name}: ")).expect("the field is there");
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

pub fn waiters(poll: &Eventpoll) -> usize {
    field(poll, "waiters")
}

pub fn ready(poll: &Eventpoll) -> usize {
    field(poll, "ready")
}

pub fn overflow(poll: &Eventpoll) -> usize {
    field(poll, "overflow")
}

/// One nonblocking pass with room for everything.
pub fn look(poll: &Eventpoll) -> Vec<Event> {
    let mut events = [Event::default(); 64];
    let n = poll.wait(&mut events, NOW).unwrap();
    events[..n].to_vec()
}

/// The same, only the data.
pub fn data(poll: &Eventpoll) -> Vec<u64> {
    look(poll).iter().map(|event| event.data).collect()
}

/// One nonblocking pass with room for one.
pub fn one(poll: &Eventpoll) -> Option<u64> {
    let mut events = [Event::default(); 1];
    (poll.wait(&mut events, NOW).unwrap() == 1).then(|| events[0].data)
}

/// A pass that is expected to panic.
pub fn thrown(poll: &Eventpoll) -> Box<dyn Any + Send> {
    let mut events = [Event::default(); 8];
    catch_unwind(AssertUnwindSafe(|| poll.wait(&mut events, NOW))).expect_err("the panic reaches the caller")
}

pub fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().expect("an errno")
}

/// A thread inside `wait`.
pub struct Waiting {
    poll: Eventpoll,
    result: mpsc::Receiver<(Vec<Event>, Woken)>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Waiting {
    /// Starts a thread that waits for ever, with room for `room` events, and returns when it is among the waiters.
    pub fn start(poll: &Eventpoll, room: usize) -> Self {
        let before = waiters(poll);
        let (sender, result) = mpsc::channel();
        let inside = poll.clone();
        let thread = thread::spawn(move || {
            let mut events = vec![Event::default(); room];
            let woken = inside.wait_notified(&mut events, None).unwrap();
            events.truncate(woken.events);
            // Whoever lost interest has failed already.
            let _ = sender.send((events, woken));
        });
        until("the thread waits", || waiters(poll) == before + 1);
        Self { poll: poll.clone(), result, thread: Some(thread) }
    }

    pub fn returned(&self) -> (Vec<Event>, Woken) {
        self.result.recv_timeout(BOUND).expect("the wait returns")
    }

    /// What it brought.
    pub fn data(&self) -> Vec<u64> {
        self.returned().0.iter().map(|event| event.data).collect()
    }

    pub fn is_asleep(&self) -> bool {
        self.result.try_recv().is_err()
    }

    /// For `pthread_kill`.
    pub fn pthread(&self) -> libc::pthread_t {
        self.thread.as_ref().unwrap().as_pthread_t()
    }

    /// Ends one that has to be asleep, with nothing in its hands.
    pub fn dismiss(self) {
        assert!(self.is_asleep());
        self.poll.notify_one();
        let (events, woken) = self.returned();
        assert!(events.is_empty() && woken.notified, "{events:?} {woken:?}");
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.thread.take().unwrap().join().unwrap();
        }
    }
}

/// Takes the lead in the lane of this test, so that whoever waits next sleeps behind it: where a signal ends no wait, and where
/// nobody comes back but who was woken.
pub fn leader() -> Waiting {
    Waiting::start(&instance(), 1)
}

type Meanwhile = Box<dyn FnMut() + Send>;

/// A source that polls what it was told to, counts its polls, and can run something in the middle of one.
pub struct Puppet {
    pub queue: WaitQueue,
    ready: AtomicU32,
    polls: AtomicUsize,
    meanwhile: Mutex<Option<Meanwhile>>,
    dropped: Arc<AtomicBool>,
}

impl Puppet {
    pub fn new(ready: Events) -> Arc<Self> {
        Arc::new(Self {
            queue: WaitQueue::new(),
            ready: AtomicU32::new(ready.bits()),
            polls: AtomicUsize::new(0),
            meanwhile: Mutex::new(None),
            dropped: Arc::default(),
        })
    }

    /// Changes the readiness, silently.
    pub fn set(&self, ready: Events) {
        self.ready.store(ready.bits(), Ordering::SeqCst);
    }

    pub fn fire(&self, key: Events) {
        self.queue.wake(key);
    }

    pub fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }

    /// Set when the source is dropped.
    pub fn tombstone(&self) -> Arc<AtomicBool> {
        self.dropped.clone()
    }

    /// From now on every poll runs this, before it answers.
    pub fn meanwhile(&self, run: impl FnMut() + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some(Box::new(run));
    }

    /// Only the next poll runs this.
    pub fn once(&self, run: impl FnOnce() + Send + 'static) {
        let mut run = Some(run);
        self.meanwhile(move || {
            if let Some(run) = run.take() {
                run();
            }
        });
    }
}

impl Source for Puppet {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        table.register(&self.queue);
        self.polls.fetch_add(1, Ordering::SeqCst);
        // The closure leaves the lock before it runs: it may panic.
        let run = self.meanwhile.lock().unwrap().take();
        if let Some(mut run) = run {
            run();
            *self.meanwhile.lock().unwrap() = Some(run);
        }
        Events::from_bits_retain(self.ready.load(Ordering::SeqCst))
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::SeqCst);
    }
}

/// Does `work` in another thread and waits for it: for what a source's `poll` must not do itself.
pub fn elsewhere(work: impl FnOnce() + Send + 'static) {
    thread::spawn(work).join().unwrap();
}
