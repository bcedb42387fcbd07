//! What the stress tests share: numbered letters that must arrive once each, threads that wait for them, and a small source of
//! chance.
#![allow(dead_code)] // Each test binary uses its part.

pub use crate::rules_common::bounded;
use crate::rules_common::{NOW, ready, until, waiters};
use egret_reactor::{
    AsSource, Event, Eventpoll, Events, Fd, Lane, Lanes, PollTable, Source, WaitQueue, Woken,
};
use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Where numbered letters go in and come out.
pub trait Post: Send + Sync {
    fn send(&self, number: u32);
    fn receive(&self) -> Option<u32>;
    fn source(&self) -> Arc<dyn Source>;
}

/// Letters in memory.
pub struct Mailbox {
    letters: Mutex<VecDeque<u32>>,
    queue: WaitQueue,
}

struct InMemory(Arc<Mailbox>);

pub fn mailbox() -> Arc<dyn Post> {
    Arc::new(InMemory(Arc::new(Mailbox { letters: Mutex::default(), queue: WaitQueue::new() })))
}

impl Post for InMemory {
    fn send(&self, number: u32) {
        self.0.letters.lock().unwrap().push_back(number);
        self.0.queue.wake(Events::IN);
    }

    fn receive(&self) -> Option<u32> {
        self.0.letters.lock().unwrap().pop_front()
    }

    fn source(&self) -> Arc<dyn Source> {
        self.0.clone()
    }
}

impl Source for Mailbox {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        table.register(&self.queue);
        if self.letters.lock().unwrap().is_empty() { Events::empty() } else { Events::IN }
    }
}

/// Letters through the kernel: a datagram each, so that a read takes a whole one.
struct Wire {
    near: UnixDatagram,
    far: Arc<Fd<UnixDatagram>>,
}

pub fn wire() -> Arc<dyn Post> {
    let (near, far) = UnixDatagram::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    Arc::new(Wire { near, far: Arc::new(Fd::new(far).unwrap()) })
}

impl Post for Wire {
    /// Blocks while the socket is full: the readers go on without this thread.
    fn send(&self, number: u32) {
        while let Err(error) = self.near.send(&number.to_ne_bytes()) {
            assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        }
    }

    fn receive(&self) -> Option<u32> {
        let mut letter = [0; 4];
        loop {
            match self.far.get_ref().recv(&mut letter) {
                Ok(n) => {
                    assert_eq!(n, letter.len());
                    return Some(u32::from_ne_bytes(letter));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted),
            }
        }
    }

    fn source(&self) -> Arc<dyn Source> {
        self.far.clone()
    }
}

/// An `Arc<dyn Post>` can be given to `add` as it is.
pub struct Posted<'a>(pub &'a Arc<dyn Post>);

impl AsSource for Posted<'_> {
    fn as_source(&self) -> Arc<dyn Source> {
        self.0.source()
    }
}

/// Which letters came, by number.
pub struct Ledger {
    came: Vec<AtomicU8>,
    count: AtomicUsize,
}

impl Ledger {
    pub fn new(letters: usize) -> Arc<Self> {
        let came = (0..letters).map(|_| AtomicU8::new(0)).collect();
        Arc::new(Self { came, count: AtomicUsize::new(0) })
    }

    pub fn enter(&self, number: u32) {
        let before = self.came[number as usize].fetch_add(1, Ordering::SeqCst);
        assert_eq!(before, 0, "letter {number} came twice");
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    pub fn is_complete(&self) -> bool {
        self.count() == self.came.len()
    }

    /// Receives until nothing is there.
    pub fn drain(&self, post: &dyn Post) {
        while let Some(number) = post.receive() {
            self.enter(number);
        }
    }
}

/// Runs `test` over each of these lanes, bounded.
pub fn on_each(lanes: Vec<Lanes>, test: fn(&Lanes)) {
    for lanes in lanes {
        bounded(move || test(&lanes));
    }
}

/// A wait in which a signal, or the end of a ring's work, is no event.
pub fn wait(poll: &Eventpoll, events: &mut [Event], timeout: Option<Duration>) -> Woken {
    loop {
        match poll.wait_notified(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.unwrap(),
        }
    }
}

/// Threads that run `serve` with every event of an instance until they are stopped.
pub struct Servers {
    poll: Eventpoll,
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Servers {
    /// Each of `threads` threads waits for ever, with room for `room` events.
    pub fn start(
        poll: &Eventpoll,
        threads: usize,
        room: usize,
        serve: impl Fn(Event) + Send + Sync + 'static,
    ) -> Self {
        Self::on(poll, (0..threads).map(|_| None).collect(), room, serve)
    }

    /// The same, and each owns a lane.
    pub fn owning(
        lanes: &Lanes,
        poll: &Eventpoll,
        threads: usize,
        room: usize,
        serve: impl Fn(Event) + Send + Sync + 'static,
    ) -> Self {
        Self::on(poll, (0..threads).map(|_| Some(lanes.add_lane().unwrap())).collect(), room, serve)
    }

    fn on(
        poll: &Eventpoll,
        lanes: Vec<Option<Lane>>,
        room: usize,
        serve: impl Fn(Event) + Send + Sync + 'static,
    ) -> Self {
        let (stop, serve) = (Arc::new(AtomicBool::new(false)), Arc::new(serve));
        let threads = lanes.into_iter().map(|lane| {
            let (poll, stop, serve) = (poll.clone(), stop.clone(), serve.clone());
            thread::spawn(move || {
                let _owner = lane.as_ref().map(Lane::enter);
                let mut events = vec![Event::default(); room];
                while !stop.load(Ordering::SeqCst) {
                    let woken = wait(&poll, &mut events, None);
                    events[..woken.events].iter().for_each(|event| serve(*event));
                }
            })
        });
        let threads = threads.collect();
        Self { poll: poll.clone(), stop, threads }
    }
}

/// Every wait ends: a test that got this far has nothing left to wait for.
impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if thread::panicking() {
            return;
        }
        until("the servers end", || {
            self.poll.notify_one();
            self.threads.iter().all(thread::JoinHandle::is_finished)
        });
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// A server that panicked is found out when it is stopped, or by what then never comes true; this says it at once.
pub fn until_or_dead(what: &str, servers: &[&Servers], condition: impl Fn() -> bool) {
    until(what, || {
        let dead = servers.iter().flat_map(|servers| &servers.threads).any(thread::JoinHandle::is_finished);
        assert!(!dead, "a thread died before this came true: {what}");
        condition()
    });
}

/// Chance that is the same in every run (xorshift64*, Vigna 2016).
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    pub fn micros(&mut self, bound: u64) -> Duration {
        Duration::from_micros(self.below(bound))
    }
}

/// One source of a storm.
pub struct Target {
    source: Arc<dyn Source>,
    mode: Events,
    /// Makes an event.
    stir: Box<dyn Fn() + Send + Sync>,
    /// A wait that starts when this is read must tell no smaller number.
    floor: AtomicU64,
    /// The largest number that was told.
    told: AtomicU64,
}

impl Target {
    /// The source is readable once it was stirred, and stays so.
    pub fn new(source: Arc<dyn Source>, mode: Events, stir: impl Fn() + Send + Sync + 'static) -> Self {
        stir();
        Self { source, mode, stir: Box::new(stir), floor: AtomicU64::new(0), told: AtomicU64::new(0) }
    }

    /// Adds, modifies and removes; the interest's data counts up with every change.
    fn control(&self, poll: &Eventpoll, whose: u64, rounds: u64) {
        let mut chance = Chance::new(whose);
        let mut number = 1;
        let data = |number| whose << 32 | number;
        for round in 0..rounds {
            poll.add(&self.source, 0, Events::IN | self.mode, data(number)).unwrap();
            for _ in 0..chance.below(4) {
                (self.stir)();
                number += 1;
                poll.modify(&self.source, 0, Events::IN | self.mode, data(number)).unwrap();
                self.floor.store(number, Ordering::SeqCst);
            }
            if round % 10 == 0 {
                until("the latest change is told", || self.told.load(Ordering::SeqCst) >= number);
            }
            poll.remove(&self.source, 0).unwrap();
            number += 1;
            self.floor.store(number, Ordering::SeqCst);
        }
    }
}

/// A controller for each target, for so many rounds, beside two threads that look all the time: none may tell what was over
/// when its wait began.
pub fn storm(poll: &Eventpoll, targets: Vec<Target>, rounds: u64) {
    let targets = Arc::new(targets);
    let stop = Arc::new(AtomicBool::new(false));
    let look = |seed| {
        let (poll, targets, stop) = (poll.clone(), targets.clone(), stop.clone());
        thread::spawn(move || {
            let mut chance = Chance::new(seed);
            let mut events = [Event::default(); 3];
            while !stop.load(Ordering::SeqCst) {
                let floors: Vec<_> =
                    targets.iter().map(|target| target.floor.load(Ordering::SeqCst)).collect();
                let woken = wait(&poll, &mut events, Some(chance.micros(200)));
                for event in &events[..woken.events] {
                    let (whose, number) = ((event.data >> 32) as usize, event.data & 0xffff_ffff);
                    assert!(number >= floors[whose], "{number} of {whose} was over at {}", floors[whose]);
                    targets[whose].told.fetch_max(number, Ordering::SeqCst);
                }
            }
        })
    };
    let lookers = [101, 102].map(look);
    let control = |whose: usize| {
        let (poll, targets) = (poll.clone(), targets.clone());
        thread::spawn(move || targets[whose].control(&poll, whose as u64, rounds))
    };
    let controllers: Vec<_> = (0..targets.len()).map(control).collect();
    until("the storm is over", || {
        assert!(!lookers.iter().any(thread::JoinHandle::is_finished), "a looker died");
        controllers.iter().all(thread::JoinHandle::is_finished)
    });
    controllers.into_iter().for_each(|controller| controller.join().unwrap());
    stop.store(true, Ordering::SeqCst);
    lookers.into_iter().for_each(|looker| looker.join().unwrap());
    assert_eq!(wait(poll, &mut [Event::default(); 3], NOW).events, 0);
    assert_eq!((ready(poll), waiters(poll)), (0, 0));
}
