//! No allocation for an event, once everything has been used a few times: writes, waits, changes of interest and wake-ups
//! live in memory that was there before.
//!
//! Each thread's allocations are counted by themselves, so tests that run beside each other don't meet.

#![cfg(not(egret_loom))]

#[allow(dead_code, reason = "another test needs the rest")]
mod allocations;
#[path = "../../tests/support/watchdog.rs"]
mod watchdog;

use allocations::{NEVER, TURNS, WARM_UP, allocations, steady};
use egret_reactor::{CachedFd, Counter, Event, Eventpoll, Events, Fd, FeedChoice, Lanes, channel};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use watchdog::Watchdog;

/// On lanes of its own: beside a test whose threads share a lane with others', these make the lane's tables grow while it counts.
fn alone() -> Eventpoll {
    Eventpoll::with_lanes(&Lanes::new(FeedChoice::Auto).unwrap())
}

fn look(poll: &Eventpoll, events: &mut [Event]) -> usize {
    poll.wait(events, Some(Duration::ZERO)).unwrap()
}

fn counters(poll: &Eventpoll, count: u64, interest: Events) -> Vec<Arc<Counter>> {
    (0..count)
        .map(|data| {
            let counter = Arc::new(Counter::new(0));
            poll.add(&counter, 0, interest, data).unwrap();
            counter
        })
        .collect()
}

#[test]
fn the_allocator_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(7)))), 1);
}

#[test]
fn edges() {
    let poll = Eventpoll::new().unwrap();
    let counters = counters(&poll, 16, Events::IN | Events::ET);
    let mut events = [Event::default(); 8];
    steady("edge-triggered", TURNS, || {
        counters[3].write(1).unwrap();
        assert_eq!(look(&poll, &mut events), 1);
        assert_eq!(look(&poll, &mut events), 0);
    });
}

#[test]
fn levels() {
    let poll = Eventpoll::new().unwrap();
    let counters = counters(&poll, 16, Events::IN);
    let mut events = [Event::default(); 8];
    steady("level-triggered", TURNS, || {
        counters[3].write(1).unwrap();
        assert_eq!(look(&poll, &mut events), 1);
        assert_eq!(look(&poll, &mut events), 1);
        assert_eq!(counters[3].read().unwrap(), 1);
        assert_eq!(look(&poll, &mut events), 0);
    });
}

#[test]
fn one_shots_armed_again() {
    let poll = Eventpoll::new().unwrap();
    let counters = counters(&poll, 16, Events::IN | Events::ONESHOT);
    let mut events = [Event::default(); 8];
    steady("one-shot and modify", TURNS, || {
        counters[3].write(1).unwrap();
        assert_eq!(look(&poll, &mut events), 1);
        assert_eq!(look(&poll, &mut events), 0);
        counters[3].read().unwrap();
        poll.modify(&counters[3], 0, Events::IN | Events::ONESHOT, 5).unwrap();
    });
}

#[test]
fn many_at_once_in_small_bites() {
    let poll = Eventpoll::new().unwrap();
    let counters = counters(&poll, 64, Events::IN | Events::ET);
    let level = self::counters(&poll, 64, Events::IN);
    let mut events = [Event::default(); 7];
    steady("128 ready at a time", TURNS / 10, || {
        counters.iter().chain(&level).for_each(|counter| counter.write(1).unwrap());
        let mut delivered = 0;
        while delivered < 256 {
            delivered += look(&poll, &mut events);
        }
        for counter in &level {
            counter.read().unwrap();
        }
        while look(&poll, &mut events) > 0 {}
    });
}

#[test]
fn both_ends_of_a_channel() {
    let poll = Eventpoll::new().unwrap();
    let (sender, receiver) = channel::<u64>(4);
    poll.add(&receiver, 0, Events::IN | Events::ET, 1).unwrap();
    poll.add(&sender, 0, Events::OUT | Events::ET, 2).unwrap();
    let mut events = [Event::default(); 8];
    steady("a channel", TURNS, || {
        for item in 0..4 {
            sender.try_send(item).unwrap();
        }
        assert!(look(&poll, &mut events) >= 1);
        for item in 0..4 {
            assert_eq!(receiver.try_recv().unwrap(), item);
        }
        assert!(look(&poll, &mut events) >= 1);
    });
}

#[test]
fn an_instance_in_an_instance() {
    let (inner, outer) = (Eventpoll::new().unwrap(), Eventpoll::new().unwrap());
    outer.add(&inner, 0, Events::IN, 9).unwrap();
    let counters = counters(&inner, 4, Events::IN | Events::ET);
    let mut events = [Event::default(); 8];
    steady("nested", TURNS, || {
        counters[0].write(1).unwrap();
        assert_eq!(look(&outer, &mut events), 1);
        assert_eq!(look(&inner, &mut events), 1);
        assert_eq!(look(&outer, &mut events), 0);
    });
}

#[test]
fn exclusive_interests() {
    let polls = [Eventpoll::new().unwrap(), Eventpoll::new().unwrap()];
    let counter = Arc::new(Counter::new(0));
    for poll in &polls {
        poll.add(&counter, 0, Events::IN | Events::ET | Events::EXCLUSIVE, 1).unwrap();
    }
    let mut events = [Event::default(); 8];
    steady("exclusive", TURNS, || {
        counter.write(1).unwrap();
        let delivered: usize = polls.iter().map(|poll| look(poll, &mut events)).sum();
        assert!(delivered >= 1);
    });
}

#[test]
fn notifications_and_timeouts() {
    let poll = alone();
    let mut events = [Event::default(); 8];
    steady("notify_one", TURNS, || {
        poll.notify_one();
        let woken = poll.wait_notified(&mut events, Some(NEVER)).unwrap();
        assert_eq!((woken.events, woken.notified), (0, true));
    });
    steady("a wait that times out", 20, || {
        assert_eq!(poll.wait(&mut events, Some(Duration::from_micros(50))).unwrap(), 0);
    });
}

/// Two threads that wake each other, each parked while the other works.
#[test]
fn parked_threads() {
    let _watchdog = Watchdog::start();
    let sides: [(Eventpoll, Arc<Counter>); 2] = std::array::from_fn(|_| {
        let poll = alone();
        let counter = Arc::new(Counter::new(0));
        poll.add(&counter, 0, Events::IN | Events::ET, 0).unwrap();
        (poll, counter)
    });
    let [here, there] = sides;
    thread::scope(|scope| {
        let other = scope.spawn({
            let (here, there) = (&here, &there);
            move || {
                let mut events = [Event::default(); 4];
                steady("the thread that answers", TURNS, || {
                    assert_eq!(there.0.wait(&mut events, Some(NEVER)).unwrap(), 1);
                    here.1.write(1).unwrap();
                });
            }
        });
        let mut events = [Event::default(); 4];
        steady("the thread that asks", TURNS, || {
            there.1.write(1).unwrap();
            assert_eq!(here.0.wait(&mut events, Some(NEVER)).unwrap(), 1);
        });
        other.join().unwrap();
    });
}

/// The feeds that can be had here, each as a pool's owner uses it and as threads outside a pool do.
fn on_each_feed(mut work: impl FnMut(FeedChoice, &str, &Lanes)) {
    for feed in [FeedChoice::Uring, FeedChoice::Aio, FeedChoice::Poll] {
        let lanes = || Lanes::new(feed);
        match (lanes(), lanes()) {
            (Ok(owned), Ok(shared)) => {
                let lane = owned.add_lane().unwrap();
                let owner = lane.enter();
                work(feed, &format!("{feed}, owned lane"), &owned);
                drop(owner);
                work(feed, &format!("{feed}, shared lane"), &shared);
            }
            (Err(error), _) | (_, Err(error)) => {
                assert_ne!(feed, FeedChoice::Poll, "poll(2) is everywhere: {error}");
                println!("{feed} can't be had: {error}");
            }
        }
    }
}

fn pair() -> (UnixStream, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    (near, far)
}

#[test]
fn sockets_asked_at_delivery() {
    let _watchdog = Watchdog::start();
    on_each_feed(|feed, label, lanes| {
        for (trigger, name) in [(Events::empty(), "level"), (Events::ET, "edge")] {
            // Other feeds tell an edge up to 10 ms late if nobody saw the fall before it.
            let turns = if feed == FeedChoice::Uring || trigger.is_empty() { TURNS } else { WARM_UP };
            let poll = Eventpoll::with_lanes(lanes);
            let (mut near, far) = pair();
            let far = Arc::new(Fd::new(far).unwrap());
            poll.add(&far, 0, Events::IN | trigger, 1).unwrap();
            let mut events = [Event::default(); 8];
            steady(&format!("Fd, {label}, {name}"), turns, || {
                near.write_all(b"x").unwrap();
                assert_eq!(poll.wait(&mut events, Some(NEVER)).unwrap(), 1);
                assert_eq!(far.get_ref().read(&mut [0; 8]).unwrap(), 1);
                if trigger.is_empty() {
                    assert_eq!(look(&poll, &mut events), 0);
                }
            });
        }
    });
}

#[test]
fn one_shot_sockets_armed_again() {
    let _watchdog = Watchdog::start();
    on_each_feed(|_, label, lanes| {
        let poll = Eventpoll::with_lanes(lanes);
        let (mut near, far) = pair();
        let far = Arc::new(Fd::new(far).unwrap());
        poll.add(&far, 0, Events::IN | Events::ONESHOT, 1).unwrap();
        let mut events = [Event::default(); 8];
        steady(&format!("Fd, {label}, one-shot and modify"), TURNS, || {
            near.write_all(b"x").unwrap();
            assert_eq!(poll.wait(&mut events, Some(NEVER)).unwrap(), 1);
            assert_eq!(far.get_ref().read(&mut [0; 8]).unwrap(), 1);
            poll.modify(&far, 0, Events::IN | Events::ONESHOT, 1).unwrap();
        });
    });
}

#[test]
fn sockets_whose_readiness_is_remembered() {
    let _watchdog = Watchdog::start();
    on_each_feed(|_, label, lanes| {
        let poll = Eventpoll::with_lanes(lanes);
        let (mut near, far) = pair();
        let mut reader = far.try_clone().unwrap();
        let far = CachedFd::new(far.into());
        poll.add(&far, 0, Events::IN | Events::OUT | Events::RDHUP | Events::ET, 1).unwrap();
        let mut events = [Event::default(); 8];
        let mut buffer = [0; 8];
        // What it believes at first.
        let seen = far.readiness();
        far.clear(seen, Events::IN);
        steady(&format!("CachedFd, {label}"), TURNS, || {
            near.write_all(b"x").unwrap();
            while !far.readiness().events.contains(Events::IN) {
                poll.wait(&mut events, Some(NEVER)).unwrap();
            }
            let seen = far.readiness();
            assert_eq!(reader.read(&mut buffer).unwrap(), 1);
            far.clear(seen, Events::IN);
        });
    });
}

/// A socket that another thread serves: what is told crosses threads.
#[test]
fn a_parked_thread_and_a_socket() {
    let _watchdog = Watchdog::start();
    on_each_feed(|_, label, lanes| {
        let poll = Eventpoll::with_lanes(lanes);
        let (mut near, far) = pair();
        let far = Arc::new(Fd::new(far).unwrap());
        poll.add(&far, 0, Events::IN, 1).unwrap();
        let mut events = [Event::default(); 8];
        // Whether a turn parks is a matter of luck. The first one that does makes the list of waiters.
        assert_eq!(poll.wait(&mut events, Some(Duration::from_millis(1))).unwrap(), 0);
        // No channel: one that blocks its sender may allocate.
        let (asked, over) = (AtomicUsize::new(1), AtomicBool::new(false));
        let (asked, over) = (&asked, &over);
        thread::scope(|scope| {
            let writer = scope.spawn(move || {
                let mut written = 0;
                while !over.load(Ordering::SeqCst) {
                    if written == asked.load(Ordering::SeqCst) {
                        thread::park();
                        continue;
                    }
                    near.write_all(b"x").unwrap();
                    written += 1;
                }
            });
            // Also when an assertion fails: the scope waits for it.
            let _end = End { over, writer: writer.thread().clone() };
            steady(&format!("Fd and a thread that writes, {label}"), TURNS, || {
                assert_eq!(poll.wait(&mut events, Some(NEVER)).unwrap(), 1);
                assert_eq!(far.get_ref().read(&mut [0; 8]).unwrap(), 1);
                asked.fetch_add(1, Ordering::SeqCst);
                writer.thread().unpark();
            });
        });
    });
}

/// Ends a thread that writes when it is asked to.
struct End<'a> {
    over: &'a AtomicBool,
    writer: thread::Thread,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.writer.unpark();
    }
}
