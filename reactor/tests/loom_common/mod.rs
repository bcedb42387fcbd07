//! What the models share: how they are run, waiting, and a source whose state is ordered by nothing but the engine's own
//! locks.
#![allow(dead_code)] // Each test binary uses its part.

use egret_reactor::{Event, Eventpoll, Events, PollTable, Source, WaitQueue};
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread::JoinHandle;
use std::sync::Arc;
use std::time::Duration;

/// In a model a timed wait may be over at any moment.
pub const SOON: Option<Duration> = Some(Duration::from_secs(1));
pub const NOW: Option<Duration> = Some(Duration::ZERO);
pub const ET: Events = Events::IN.union(Events::ET);

/// Every interleaving. What hangs, loom reports as a deadlock.
pub fn model(f: impl Fn() + Send + Sync + 'static) {
    check(None, f);
}

/// Every interleaving with at most so many preemptions, where all are too many.
pub fn bounded_model(preemptions: usize, f: impl Fn() + Send + Sync + 'static) {
    check(Some(preemptions), f);
}

fn check(preemptions: Option<usize>, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    // loom's default is too few for the nested ones.
    builder.max_branches = 10_000;
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let runs = count.clone();
    builder.check(move || {
        runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        f();
    });
    // Shown with `--nocapture`.
    println!("{} interleavings", count.load(std::sync::atomic::Ordering::Relaxed));
}

pub fn wait(poll: &Eventpoll, timeout: Option<Duration>) -> usize {
    poll.wait(&mut [Event::default(); 4], timeout).unwrap()
}

/// A wait with room for one.
pub fn take_one(poll: &Eventpoll, timeout: Option<Duration>) -> usize {
    poll.wait(&mut [Event::default(); 1], timeout).unwrap()
}

/// Does `work` with a handle of its own, in another thread.
pub fn with<T: Clone + 'static, R: 'static>(
    shared: &T,
    work: impl FnOnce(T) -> R + 'static,
) -> JoinHandle<R> {
    let shared = shared.clone();
    loom::thread::spawn(move || work(shared))
}

pub fn waiter(poll: &Eventpoll, timeout: Option<Duration>) -> JoinHandle<usize> {
    with(poll, move |poll| wait(&poll, timeout))
}

/// A light that counts how often it was switched on, and remembers what the latest poll saw. Its state is relaxed: whoever
/// is told of it sees it only by the order that the engine's locks make.
pub struct Lamp {
    flashes: AtomicU32,
    /// Not loom's: it belongs to the test and must add no order.
    seen: std::sync::atomic::AtomicU32,
    queue: WaitQueue,
}

impl Lamp {
    pub fn new(flashes: u32) -> Arc<Self> {
        Arc::new(Self { flashes: AtomicU32::new(flashes), seen: Default::default(), queue: WaitQueue::new() })
    }

    pub fn flash(&self) {
        self.flashes.fetch_add(1, Ordering::Relaxed);
        self.queue.wake(Events::IN);
    }

    /// Lets go of a reference. loom doesn't see reference counts; touching what `poll` touches makes it try each place for
    /// this, also the middle of a poll.
    pub fn let_go(self: Arc<Self>) {
        self.flashes.fetch_add(0, Ordering::Relaxed);
        drop(self);
    }

    /// How many flashes the latest poll saw.
    pub fn seen(&self) -> u32 {
        self.seen.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Source for Lamp {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        table.register(&self.queue);
        let flashes = self.flashes.load(Ordering::Relaxed);
        self.seen.store(flashes, std::sync::atomic::Ordering::SeqCst);
        if flashes > 0 { Events::IN } else { Events::empty() }
    }
}

/// A source, always readable, that can let go of its queue while it lives: the kernel's POLLFREE.
pub struct Mortal {
    queue: Mutex<Option<WaitQueue>>,
}

impl Mortal {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { queue: Mutex::new(Some(WaitQueue::new())) })
    }

    pub fn tear_down(&self) {
        let queue = self.queue.lock().unwrap().take();
        drop(queue);
    }
}

impl Source for Mortal {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        if let Some(queue) = &*self.queue.lock().unwrap() {
            table.register(queue);
        }
        Events::IN
    }
}

/// Lets go of a handle. As with [`Lamp::let_go`], touching the instance's lists makes loom try each place for it.
pub fn let_go(poll: Eventpoll) {
    let _touched = format!("{poll:?}");
    drop(poll);
}

/// No interest in the source is left anywhere, not even as a tombstone in a list: an item holds a weak reference.
pub fn forgotten<T>(source: &Arc<T>) -> bool {
    Arc::weak_count(source) == 0
}
