//! Descriptors as sources, over every feed that can be had here: closing, edges, errors, wake-ups of the thread that blocks.
#![cfg(not(egret_loom))]

mod rules_common;

use egret_reactor::{CachedFd, Counter, Event, Eventpoll, Events, Fd, FeedChoice, FeedKind, Lanes};
use rules_common::*;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How long "nothing comes" is watched. Longer than the poll feed's period of looking again.
const A_WHILE: Option<Duration> = Some(Duration::from_millis(30));

const FOR_LIFE: Events =
    Events::IN.union(Events::OUT).union(Events::PRI).union(Events::RDHUP).union(Events::ET);

/// Edges of a descriptor that was ready before and stays so, counted over five waits. With uring there is none. The other
/// feeds can't know whether it fell in between, and tell it again: not more often than every 10 ms.
fn repeated(lanes: &Lanes, poll: &Eventpoll) -> bool {
    let start = Instant::now();
    let edges: usize = (0..5).map(|_| events_within(poll, A_WHILE).len()).sum();
    let allowed = match lanes.feed() {
        FeedKind::Aio | FeedKind::Poll => start.elapsed().as_millis() as usize / 10 + 1,
        _ => 0,
    };
    edges > allowed
}

/// Runs a test with each feed; one that the machine refuses is left out (uring in a container). Uring comes last: the end of a
/// ring may interrupt a call that its thread makes later.
fn each_feed(test: impl Fn(&Lanes) + Send + 'static) {
    bounded(move || {
        for choice in [FeedChoice::Poll, FeedChoice::Aio, FeedChoice::Uring] {
            match Lanes::new(choice) {
                Ok(lanes) => {
                    eprintln!("feed {choice}");
                    test(&lanes);
                }
                Err(error) => assert_ne!(choice, FeedChoice::Poll, "poll works everywhere: {error}"),
            }
        }
    });
}

fn events_within(poll: &Eventpoll, timeout: Option<Duration>) -> Vec<Event> {
    let mut events = [Event::default(); 8];
    let n = poll.wait(&mut events, timeout).unwrap();
    events[..n].to_vec()
}

/// A cached descriptor that is registered, writable, and has been heard: quiet.
fn quiet_cached(poll: &Eventpoll, io: UnixStream, number: u64) -> Arc<CachedFd> {
    io.set_nonblocking(true).unwrap();
    let source = CachedFd::new(io.into());
    poll.add(&source, 0, FOR_LIFE, number).unwrap();
    while !events_within(poll, A_WHILE).is_empty() {
        source.clear(source.readiness(), Events::IN);
    }
    source
}

#[test]
fn a_sleeper_in_the_feed_hears_every_notification() {
    each_feed(|lanes| {
        let poll = Eventpoll::with_lanes(lanes);
        for _ in 0..200 {
            Waiting::start(&poll, 1).dismiss();
        }
    });
}

/// Another thread harvests the same lane all the time: it must not swallow the wake-up of the one that sleeps in it.
#[test]
fn a_wake_up_is_not_stolen_by_another_harvester() {
    each_feed(|lanes| {
        let (poll, other) = (Eventpoll::with_lanes(lanes), Eventpoll::with_lanes(lanes));
        let stop = Arc::new(AtomicBool::new(false));
        let harvester = thread::spawn({
            let stop = stop.clone();
            move || {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(events_within(&other, NOW), []);
                }
            }
        });
        let heard = Arc::new(AtomicUsize::new(0));
        let sleeper = thread::spawn({
            let (poll, stop, heard) = (poll.clone(), stop.clone(), heard.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let woken = poll.wait_notified(&mut [Event::default(); 1], None).unwrap();
                    heard.fetch_add(usize::from(woken.notified), Ordering::SeqCst);
                }
            }
        });
        for round in 1..=500 {
            until("it sleeps", || waiters(&poll) == 1);
            for _ in 0..(round % 7) * 100 {
                std::hint::spin_loop();
            }
            poll.notify_one();
            until("the notification was heard", || heard.load(Ordering::SeqCst) == round);
        }
        stop.store(true, Ordering::Relaxed);
        harvester.join().unwrap();
        until("the sleeper left", || {
            poll.notify_one();
            sleeper.is_finished()
        });
    });
}

#[test]
fn closing_reaches_the_peer_while_a_thread_sleeps_in_the_feed() {
    each_feed(|lanes| {
        let poll = Eventpoll::with_lanes(lanes);
        for now in [false, true] {
            let (mut near, far) = UnixStream::pair().unwrap();
            let far = quiet_cached(&poll, far, 1);
            let waiting = Waiting::start(&poll, 4);
            if now {
                far.close_now();
            } else {
                far.close();
            }
            near.set_read_timeout(Some(BOUND / 4)).unwrap();
            assert_eq!(near.read_to_end(&mut Vec::new()).expect("the end of the stream"), 0);
            waiting.dismiss();
        }
    });
}

#[test]
fn dropping_the_source_reaches_the_peer_and_takes_the_interest_along() {
    each_feed(|lanes| {
        let poll = Eventpoll::with_lanes(lanes);
        let (mut near, far) = UnixStream::pair().unwrap();
        let far = quiet_cached(&poll, far, 1);
        let waiting = Waiting::start(&poll, 4);
        // The sleeper has looked at it once and sleeps again.
        near.write_all(b"x").unwrap();
        assert_eq!(waiting.data(), [1]);
        let waiting = Waiting::start(&poll, 4);
        drop(far);
        near.set_read_timeout(Some(BOUND / 4)).unwrap();
        // One byte was not read: a reset or an end, but not silence.
        let end = near.read(&mut [0; 1]);
        assert!(!matches!(&end, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock), "{end:?}");
        waiting.dismiss();
    });
}

/// Fact 104: the reader is gone and the error stays. One edge, not a stream of them.
#[test]
fn fact_104_an_error_that_stays_is_one_edge() {
    each_feed(|lanes| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let poll = Eventpoll::with_lanes(lanes);
        let writer = Arc::new(Fd::new(writer).unwrap());
        poll.add(&writer, 0, Events::OUT | Events::ET, 1).unwrap();
        let events = events_within(&poll, None);
        assert!(events[0].events.contains(Events::ERR), "{events:?}");
        assert!(!repeated(lanes, &poll));
    });
}

#[test]
fn fact_104_the_end_of_a_pipe_is_hup_without_in() {
    each_feed(|lanes| {
        let (reader, writer) = std::io::pipe().unwrap();
        let poll = Eventpoll::with_lanes(lanes);
        let reader = Arc::new(Fd::new(reader).unwrap());
        poll.add(&reader, 0, Events::IN | Events::ET, 1).unwrap();
        drop(writer);
        assert_eq!(events_within(&poll, None), [Event { events: Events::HUP, data: 1 }]);
        assert!(!repeated(lanes, &poll));
    });
}

/// Fact 61, for the thread that owns the lane and for one that doesn't.
#[test]
fn fact_61_a_descriptor_that_is_ready_at_add_is_one_edge() {
    each_feed(|lanes| {
        let lane = lanes.add_lane().unwrap();
        for owner in [false, true] {
            let _guard = owner.then(|| lane.enter());
            let poll = Eventpoll::with_lanes(lanes);
            let (mut near, far) = UnixStream::pair().unwrap();
            near.write_all(b"x").unwrap();
            let far = Arc::new(Fd::new(far).unwrap());
            poll.add(&far, 0, Events::IN | Events::ET, 1).unwrap();
            assert_eq!(events_within(&poll, None).len(), 1);
            assert!(!repeated(lanes, &poll), "owner of the lane: {owner}");
        }
    });
}

#[test]
fn fact_60_drained_and_filled_again_is_an_edge() {
    each_feed(|lanes| {
        let poll = Eventpoll::with_lanes(lanes);
        let (mut near, far) = UnixStream::pair().unwrap();
        let far = Arc::new(Fd::new(far).unwrap());
        poll.add(&far, 0, Events::IN | Events::ET, 1).unwrap();
        for _ in 0..20 {
            near.write_all(b"x").unwrap();
            assert_eq!(events_within(&poll, Some(BOUND / 4)).len(), 1);
            assert_eq!(far.get_ref().read(&mut [0; 8]).unwrap(), 1);
        }
    });
}

#[test]
fn a_lane_that_is_gone_swallows_no_descriptors() {
    each_feed(|lanes| {
        drop(lanes.add_lane().unwrap());
        let poll = Eventpoll::with_lanes(lanes);
        let (mut near, far) = UnixStream::pair().unwrap();
        let far = Arc::new(Fd::new(far).unwrap());
        poll.add(&far, 0, Events::IN, 1).unwrap();
        near.write_all(b"x").unwrap();
        assert_eq!(events_within(&poll, Some(BOUND / 4)).len(), 1);
    });
}

/// The leader's wait unwinds: a follower has to take its place in the feed.
#[test]
fn leadership_passes_on_when_the_leader_panics() {
    each_feed(|lanes| {
        let poll = Eventpoll::with_lanes(lanes);
        let own = Eventpoll::with_lanes(lanes);
        let (mut near, far) = UnixStream::pair().unwrap();
        let far = Arc::new(Fd::new(far).unwrap());
        poll.add(&far, 0, Events::IN | Events::ET, 1).unwrap();
        let bad = Puppet::new(Events::empty());
        own.add(&bad, 0, Events::IN, 2).unwrap();
        let (report, caught) = mpsc::channel();
        let leader = thread::spawn({
            let own = own.clone();
            move || {
                let wait = AssertUnwindSafe(|| own.wait(&mut [Event::default(); 1], None));
                report.send(catch_unwind(wait).is_err()).unwrap();
            }
        });
        until("the leader waits", || waiters(&own) == 1);
        let follower = Waiting::start(&poll, 4);
        bad.once(|| panic!("in poll, on purpose"));
        bad.set(Events::IN);
        bad.fire(Events::IN);
        assert!(caught.recv().unwrap());
        leader.join().unwrap();
        near.write_all(b"x").unwrap();
        assert_eq!(follower.data(), [1]);
    });
}

/// The thread that submitted an arm ends, and the arm with it; the sleeper's lane arms again.
#[test]
fn an_arm_outlives_the_thread_that_made_it() {
    each_feed(|lanes| {
        let poll = Eventpoll::with_lanes(lanes);
        let (mut near, far) = UnixStream::pair().unwrap();
        let far = Arc::new(Fd::new(far).unwrap());
        for round in 0..20 {
            let waiting = (round % 2 == 0).then(|| Waiting::start(&poll, 1));
            let (inside, source) = (poll.clone(), far.clone());
            elsewhere(move || {
                inside.add(&source, round, Events::IN | Events::ET, round).unwrap();
                // Submits the arm from this thread.
                assert_eq!(events_within(&inside, NOW), []);
            });
            near.write_all(b"x").unwrap();
            match waiting {
                Some(waiting) => assert_eq!(waiting.data(), [round]),
                None => assert_eq!(events_within(&poll, Some(BOUND / 4)).len(), 1),
            }
            assert_eq!(far.get_ref().read(&mut [0; 8]).unwrap(), 1);
            poll.remove(&far, round).unwrap();
        }
    });
}

/// Contract C6: what was heard of a closed descriptor never reaches the next one with its number.
#[test]
fn an_answer_for_a_closed_descriptor_does_not_reach_its_successor() {
    each_feed(|lanes| {
        let poll = Eventpoll::with_lanes(lanes);
        let mut numbers = std::collections::HashSet::new();
        let mut reused = 0;
        for round in 0..200 {
            let (mut near, far) = UnixStream::pair().unwrap();
            far.set_nonblocking(true).unwrap();
            let far = CachedFd::new(far.into());
            reused += usize::from(!numbers.insert(far.as_raw_fd()));
            poll.add(&far, 0, FOR_LIFE, round).unwrap();
            for event in events_within(&poll, NOW) {
                assert_eq!(event.data, round);
            }
            far.clear(far.readiness(), Events::IN);
            assert!(!far.readiness().events.contains(Events::IN), "nothing was written to this one");
            // An answer is under way when the descriptor is closed.
            near.write_all(b"late").unwrap();
            far.close();
        }
        assert!(reused > 0, "the test saw numbers come back");
    });
}

/// Contract C12, where we differ from fact 96: the parent's ring and threads are not the child's.
#[test]
fn fact_96_after_fork_the_child_gets_an_error() {
    each_feed(|lanes| {
        let poll = Eventpoll::with_lanes(lanes);
        let (old, new) = (Arc::new(Counter::new(1)), Arc::new(Counter::new(1)));
        poll.add(&old, 0, Events::IN, 1).unwrap();
        assert_eq!(events_within(&poll, NOW).len(), 1);
        // SAFETY: the child touches only this test's instance and leaves without unwinding.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let answers = [
                poll.wait(&mut [Event::default(); 1], NOW).is_ok(),
                poll.add(&new, 0, Events::IN, 2).is_ok(),
                poll.modify(&old, 0, Events::IN, 2).is_ok(),
                poll.remove(&old, 0).is_ok(),
            ];
            let status = answers.iter().fold(0, |status, ok| status << 1 | i32::from(*ok));
            // SAFETY: ends the child at once, without running anything of the parent's.
            unsafe { libc::_exit(status) }
        }
        assert!(child > 0);
        let mut status = -1;
        // SAFETY: `status` is valid, and the child is ours.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0, "errors, no answer and no crash");
        assert_eq!(events_within(&poll, NOW), [Event { events: Events::IN, data: 1 }], "the parent goes on");
    });
}
