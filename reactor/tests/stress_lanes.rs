//! Threads outside a pool that share a lane, on every feed: however the one that leads leaves its wait, somebody leads after
//! it, and nobody's deadline passes early. Every test is bounded in time by `bounded` and `until`, and in work by its counts.
#![cfg(not(egret_loom))]

mod feeds_support;
mod rules_common;
mod stress_support;

use egret_reactor::{Event, Eventpoll, Events, Fd, Lanes, PollTable, Source, WaitQueue};
use feeds_support::{feeds, pair};
use rules_common::{until, waiters};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::thread::JoinHandleExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use stress_support::{Chance, on_each};

extern "C" fn no_op(_signal: libc::c_int) {}

/// SIGUSR1 does nothing from here on but interrupt.
fn ignore_sigusr1() {
    // SAFETY: a zeroed sigaction with a handler and no flags is valid, and the handler does nothing. Without SA_RESTART, which
    // a wait doesn't heed anyway.
    let installed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = no_op as extern "C" fn(libc::c_int) as usize;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut())
    };
    assert_eq!(installed, 0);
}

/// A source that can throw once from its `poll`.
struct Thrower {
    throws: AtomicBool,
    queue: WaitQueue,
}

impl Thrower {
    fn throw(&self) {
        self.throws.store(true, Ordering::SeqCst);
        self.queue.wake(Events::IN);
    }
}

impl Source for Thrower {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        table.register(&self.queue);
        if self.throws.swap(false, Ordering::SeqCst) {
            // Past the panic hook: nothing is printed.
            resume_unwind(Box::new("on purpose"));
        }
        Events::empty()
    }
}

/// How a leader leaves its wait, and doesn't come back.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Exit {
    Event,
    Timeout,
    Notification,
    Unwind,
}

/// A thread outside the pool that waits once, on an instance of its own with a socket and a source that throws.
struct Once {
    poll: Eventpoll,
    near: UnixStream,
    thrower: Arc<Thrower>,
    thread: thread::JoinHandle<usize>,
}

impl Once {
    /// Returns when it is among the waiters.
    fn start(lanes: &Lanes, timeout: Option<Duration>) -> Self {
        let poll = Eventpoll::with_lanes(lanes);
        let (near, far) = pair();
        let far = Arc::new(Fd::new(far).unwrap());
        let thrower = Arc::new(Thrower { throws: AtomicBool::new(false), queue: WaitQueue::new() });
        poll.add(&far, 0, Events::IN, 1).unwrap();
        poll.add(&thrower, 0, Events::IN, 2).unwrap();
        let thread = {
            let (poll, thrower) = (poll.clone(), thrower.clone());
            thread::spawn(move || {
                let _watched = (far, thrower);
                let wait = AssertUnwindSafe(|| poll.wait(&mut [Event::default(); 2], timeout));
                catch_unwind(wait).map_or(0, |result| result.unwrap_or(0))
            })
        };
        until("it waits, or has waited", || waiters(&poll) == 1 || thread.is_finished());
        Self { poll, near, thrower, thread }
    }

    fn leave(self, exit: Exit) {
        match exit {
            Exit::Event => (&self.near).write_all(b"x").unwrap(),
            Exit::Notification => self.poll.notify_one(),
            Exit::Unwind => self.thrower.throw(),
            Exit::Timeout => {}
        }
        until(&format!("it leaves by {exit:?}"), || self.thread.is_finished());
        assert_eq!(self.thread.join().unwrap(), usize::from(exit == Exit::Event), "{exit:?}");
    }
}

fn interrupt<T>(thread: &thread::JoinHandle<T>) {
    // SAFETY: the thread was not joined, so its handle is valid.
    let sent = unsafe { libc::pthread_kill(thread.as_pthread_t(), libc::SIGUSR1) };
    // A thread that has ended meanwhile is none (ESRCH), which older C libraries say.
    assert!(sent == 0 || sent == libc::ESRCH);
}

#[test]
fn a_leader_that_leaves_for_good_leaves_the_lead_to_those_who_wait() {
    on_each(feeds(), |lanes| {
        for round in 0..5 {
            for exit in [Exit::Event, Exit::Timeout, Exit::Notification, Exit::Unwind] {
                let timeout = (exit == Exit::Timeout).then_some(Duration::from_millis(round));
                let leader = Once::start(lanes, timeout);
                let followers = [(); 2].map(|()| Once::start(lanes, None));
                leader.leave(exit);
                // The first to be served may lead by now; then it leaves the lead to the other.
                for follower in followers {
                    follower.leave(Exit::Event);
                }
            }
        }
    });
}

/// Only the thread that leads is told of a signal, so whoever leaves first was that one.
#[test]
fn a_leader_that_a_signal_ends_leaves_the_lead_to_those_who_wait() {
    ignore_sigusr1();
    on_each(feeds(), |lanes| {
        for _ in 0..10 {
            let threads = [(); 3].map(|()| Once::start(lanes, None));
            let turn = AtomicUsize::new(0);
            until("one leaves", || {
                interrupt(&threads[turn.fetch_add(1, Ordering::SeqCst) % 3].thread);
                threads.iter().any(|once| once.thread.is_finished())
            });
            for once in threads {
                if let Err(error) = (&once.near).write_all(b"x") {
                    // The one that left, or one whose turn came before that was seen.
                    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
                }
                until("it is served", || once.thread.is_finished());
                assert!(once.thread.join().unwrap() <= 1);
            }
        }
    });
}

/// A thread outside the pool with an instance, a socket and a source that throws.
struct Outsider {
    poll: Eventpoll,
    near: UnixStream,
    thrower: Arc<Thrower>,
    served: Arc<AtomicUsize>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Outsider {
    fn start(lanes: &Lanes, number: u64, stop: &Arc<AtomicBool>) -> Self {
        let poll = Eventpoll::with_lanes(lanes);
        let (near, far) = pair();
        let far = Arc::new(Fd::new(far).unwrap());
        let thrower = Arc::new(Thrower { throws: AtomicBool::new(false), queue: WaitQueue::new() });
        poll.add(&far, 0, Events::IN, 1).unwrap();
        poll.add(&thrower, 0, Events::IN, 2).unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let thread = {
            let (poll, served, stop) = (poll.clone(), served.clone(), stop.clone());
            thread::spawn(move || {
                let mut chance = Chance::new(number);
                while !stop.load(Ordering::SeqCst) {
                    let timeout = (chance.below(3) > 0).then(|| chance.micros(3000));
                    wait_once(&poll, &far, timeout, &served);
                }
            })
        };
        Self { poll, near, thrower, served, thread: Some(thread) }
    }
}

fn wait_once(poll: &Eventpoll, far: &Fd<UnixStream>, timeout: Option<Duration>, served: &AtomicUsize) {
    let begin = Instant::now();
    let mut events = [Event::default(); 2];
    let result = catch_unwind(AssertUnwindSafe(|| poll.wait_notified(&mut events, timeout)));
    let elapsed = begin.elapsed();
    match result {
        Err(_thrown) => {}
        Ok(Err(error)) => assert_eq!(error.kind(), io::ErrorKind::Interrupted),
        Ok(Ok(woken)) if woken.events > 0 => {
            assert_eq!((woken.events, events[0].data), (1, 1));
            far.get_ref().read_exact(&mut [0; 1]).unwrap();
            served.fetch_add(1, Ordering::SeqCst);
        }
        Ok(Ok(woken)) if woken.notified => {}
        Ok(Ok(_)) => {
            let timeout = timeout.expect("a wait without a deadline doesn't time out");
            assert!(elapsed >= timeout, "{elapsed:?} of {timeout:?}: early");
        }
    }
}

#[test]
fn the_lead_of_a_shared_lane_passes_on_at_every_kind_of_exit() {
    ignore_sigusr1();
    on_each(feeds(), |lanes| {
        let stop = Arc::new(AtomicBool::new(false));
        let mut outsiders: Vec<_> = (0..5).map(|number| Outsider::start(lanes, number, &stop)).collect();
        let mut chance = Chance::new(3);
        for round in 0..200 {
            // A disturbance for one thread, and a byte for another: it has to be served whatever the first one does.
            let disturbed = &outsiders[chance.below(5) as usize];
            match round % 4 {
                0 => disturbed.poll.notify_one(),
                1 => disturbed.thrower.throw(),
                2 => interrupt(disturbed.thread.as_ref().unwrap()),
                _ => {}
            }
            let to = &outsiders[chance.below(5) as usize];
            let before = to.served.load(Ordering::SeqCst);
            (&to.near).write_all(b"x").unwrap();
            until("the byte is served", || to.served.load(Ordering::SeqCst) > before);
        }
        stop.store(true, Ordering::SeqCst);
        for outsider in &mut outsiders {
            outsider.poll.notify_one();
            outsider.thread.take().unwrap().join().unwrap();
        }
        let served = outsiders.iter().map(|outsider| outsider.served.load(Ordering::SeqCst));
        assert_eq!(served.sum::<usize>(), 200);
    });
}
