//! Descriptors as sources, over every feed: modes, edges, ends.
#![cfg(not(egret_loom))]

mod feeds_support;
#[path = "../../tests/support/watchdog.rs"]
mod watchdog;

use egret_reactor::{CachedFd, Event, Eventpoll, Events, Fd, FeedKind};
use feeds_support::{NOW, PATIENCE, feeds, pair, tcp_pair, wait};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use watchdog::Watchdog;

fn events_of(events: &[Event]) -> Vec<(u64, Events)> {
    events.iter().map(|event| (event.data, event.events)).collect()
}

#[test]
fn a_level_is_told_until_it_falls() {
    let _watchdog = Watchdog::start();
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let (mut near, far) = pair();
        let far = Arc::new(Fd::new(far).unwrap());
        poll.add(&far, 0, Events::IN, 1).unwrap();
        assert!(wait(&poll, NOW).is_empty());
        near.write_all(b"ab").unwrap();
        for _ in 0..3 {
            assert_eq!(events_of(&wait(&poll, None)), [(1, Events::IN)]);
        }
        far.get_ref().read_exact(&mut [0; 2]).unwrap();
        assert!(wait(&poll, NOW).is_empty());
        near.write_all(b"c").unwrap();
        assert_eq!(events_of(&wait(&poll, None)), [(1, Events::IN)]);
    }
}

#[test]
fn an_edge_is_told_once_and_again_after_a_drain() {
    let _watchdog = Watchdog::start();
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let (mut near, far) = pair();
        let far = Arc::new(Fd::new(far).unwrap());
        near.write_all(b"0").unwrap();
        poll.add(&far, 0, Events::IN | Events::ET, 1).unwrap();
        assert_eq!(wait(&poll, NOW).len(), 1, "ready at ADD: delivered once (fact 61)");
        if lanes.feed() == FeedKind::Uring {
            // `poll` may repeat what stays ready.
            assert!(wait(&poll, NOW).is_empty());
        }
        far.get_ref().read_exact(&mut [0; 1]).unwrap();
        for _ in 0..50 {
            assert!(wait(&poll, NOW).is_empty());
            near.write_all(b"x").unwrap();
            assert_eq!(wait(&poll, None).len(), 1);
            far.get_ref().read_exact(&mut [0; 1]).unwrap();
        }
    }
}

#[test]
fn a_drain_between_two_looks_loses_no_edge() {
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let (mut near, far) = pair();
        let far = Arc::new(Fd::new(far).unwrap());
        poll.add(&far, 0, Events::IN | Events::ET, 1).unwrap();
        for _ in 0..20 {
            near.write_all(b"x").unwrap();
            assert_eq!(wait(&poll, Some(PATIENCE)).len(), 1, "{}", lanes.feed());
            far.get_ref().read_exact(&mut [0; 1]).unwrap();
        }
    }
}

#[test]
fn every_arrival_is_an_edge_on_uring() {
    let _watchdog = Watchdog::start();
    for lanes in feeds().into_iter().filter(|lanes| lanes.feed() == FeedKind::Uring) {
        let poll = Eventpoll::with_lanes(&lanes);
        let (mut near, far) = pair();
        let far = Arc::new(Fd::new(far).unwrap());
        poll.add(&far, 0, Events::IN | Events::ET, 1).unwrap();
        for _ in 0..50 {
            near.write_all(b"x").unwrap(); // never drained
            assert_eq!(wait(&poll, None).len(), 1);
            assert!(wait(&poll, NOW).is_empty());
        }
    }
}

#[test]
fn one_shot_is_silent_until_modified() {
    let _watchdog = Watchdog::start();
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let (mut near, far) = pair();
        let far = Arc::new(Fd::new(far).unwrap());
        poll.add(&far, 0, Events::IN | Events::ONESHOT, 1).unwrap();
        near.write_all(b"x").unwrap();
        assert_eq!(wait(&poll, None).len(), 1);
        near.write_all(b"y").unwrap();
        assert!(wait(&poll, NOW).is_empty());
        drop(near);
        assert!(wait(&poll, NOW).is_empty(), "not even HUP");
        poll.modify(&far, 0, Events::IN | Events::RDHUP | Events::ONESHOT, 2).unwrap();
        assert_eq!(events_of(&wait(&poll, NOW)), [(2, Events::IN | Events::RDHUP | Events::HUP)]);
    }
}

#[test]
fn modify_widens_and_narrows_what_is_heard() {
    let _watchdog = Watchdog::start();
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let (mut near, far) = pair();
        let far = Arc::new(Fd::new(far).unwrap());
        poll.add(&far, 0, Events::OUT, 1).unwrap();
        assert_eq!(events_of(&wait(&poll, NOW)), [(1, Events::OUT)]);
        poll.modify(&far, 0, Events::IN | Events::ET, 2).unwrap();
        assert!(wait(&poll, NOW).is_empty());
        near.write_all(b"x").unwrap();
        assert_eq!(events_of(&wait(&poll, None)), [(2, Events::IN)]);
        poll.modify(&far, 0, Events::empty(), 3).unwrap();
        near.write_all(b"x").unwrap();
        assert!(wait(&poll, NOW).is_empty());
        drop(near);
        assert_eq!(events_of(&wait(&poll, None)), [(3, Events::HUP)]);
    }
}

#[test]
fn the_ends_of_a_stream_are_told_apart() {
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let (mut near, far) = tcp_pair();
        let far = Arc::new(Fd::new(far).unwrap());
        poll.add(&far, 0, Events::IN | Events::RDHUP | Events::ET, 1).unwrap();
        near.write_all(b"last words").unwrap();
        near.shutdown(std::net::Shutdown::Write).unwrap();
        let mut seen = Events::empty();
        while !seen.contains(Events::IN | Events::RDHUP) {
            for event in wait(&poll, Some(PATIENCE)) {
                seen |= event.events;
            }
        }
        assert!(!seen.contains(Events::HUP), "half of it is open (fact 104)");
        far.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
        while !seen.contains(Events::HUP) {
            let events = wait(&poll, Some(PATIENCE));
            assert!(!events.is_empty());
            seen |= events[0].events;
        }
    }
}

#[test]
fn two_interests_on_one_descriptor_with_different_masks() {
    let _watchdog = Watchdog::start();
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let (mut near, far) = pair();
        let far = Arc::new(Fd::new(far).unwrap());
        poll.add(&far, 1, Events::IN | Events::ET, 1).unwrap();
        poll.add(&far, 2, Events::OUT | Events::ET, 2).unwrap();
        assert_eq!(events_of(&wait(&poll, NOW)), [(2, Events::OUT)]);
        near.write_all(b"x").unwrap();
        assert_eq!(events_of(&wait(&poll, None)), [(1, Events::IN)], "no edge of the other's");
        poll.remove(&far, 1).unwrap();
        near.write_all(b"x").unwrap();
        assert!(wait(&poll, NOW).is_empty());
    }
}

#[test]
fn what_can_not_be_polled_is_refused() {
    let dir = std::env::current_dir().unwrap();
    let error = Fd::new(std::fs::File::open(dir).unwrap()).map(|_| ()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    let exe = std::env::current_exe().unwrap();
    let error = Fd::new(std::fs::File::open(exe).unwrap()).map(|_| ()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
}

#[test]
fn dropping_a_descriptor_closes_it_at_once_and_ends_the_interest() {
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let (near, far) = pair();
        let far = Arc::new(Fd::new(far).unwrap());
        poll.add(&far, 0, Events::IN, 1).unwrap();
        assert!(wait(&poll, NOW).is_empty());
        drop(far);
        assert_eq!(
            (&near).read_to_end(&mut Vec::new()).unwrap(),
            0,
            "the peer sees the end without anybody waiting"
        );
        assert!(wait(&poll, NOW).is_empty());
    }
}

#[test]
fn cached_readiness_keeps_what_is_newer_than_the_look() {
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let (mut near, far) = pair();
        let mut reader = far.try_clone().unwrap();
        let far = CachedFd::new(OwnedFd::from(far));
        assert_eq!(far.readiness().events, Events::IN | Events::OUT, "tried first");
        far.clear(far.readiness(), Events::IN);
        poll.add(&far, 0, Events::IN | Events::OUT | Events::RDHUP | Events::PRI | Events::ET, 1).unwrap();
        wait(&poll, NOW);
        assert_eq!(far.readiness().events, Events::OUT);

        near.write_all(b"x").unwrap();
        let stale = far.readiness();
        while !far.readiness().events.contains(Events::IN) {
            wait(&poll, Some(PATIENCE));
        }
        far.clear(stale, Events::IN);
        assert!(far.readiness().events.contains(Events::IN), "a late `would block` erases nothing");
        let seen = far.readiness();
        reader.read_exact(&mut [0; 1]).unwrap();
        far.clear(seen, Events::IN);
        assert!(!far.readiness().events.contains(Events::IN));

        near.write_all(b"bye").unwrap();
        drop(near);
        while !far.readiness().events.contains(Events::IN | Events::RDHUP) {
            wait(&poll, Some(PATIENCE));
        }
        far.clear(far.readiness(), Events::IN | Events::RDHUP | Events::HUP);
        assert!(far.readiness().events.contains(Events::RDHUP), "an end is final");
    }
}

#[test]
fn an_armed_descriptor_that_hung_up_costs_nothing_while_others_wait() {
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let (near, far) = pair();
        let far = CachedFd::new(OwnedFd::from(far));
        poll.add(&far, 0, Events::IN | Events::OUT | Events::RDHUP | Events::PRI | Events::ET, 1).unwrap();
        drop(near);
        while !far.readiness().events.contains(Events::HUP) {
            wait(&poll, Some(PATIENCE));
        }
        while !wait(&poll, NOW).is_empty() {}
        let before = cpu_time();
        assert!(wait(&poll, Some(Duration::from_millis(300))).is_empty());
        assert!(cpu_time() - before < Duration::from_millis(100), "it spins on the hang-up");
    }
}

#[test]
fn a_level_that_nobody_takes_is_told_once_and_costs_nothing_while_others_wait() {
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let (mut near, far) = pair();
        let far = CachedFd::new(OwnedFd::from(far));
        poll.add(&far, 0, Events::IN | Events::OUT | Events::RDHUP | Events::ET, 1).unwrap();
        near.write_all(b"never read").unwrap();
        let until = Instant::now() + Duration::from_millis(100);
        while Instant::now() < until {
            wait(&poll, Some(Duration::from_millis(20)));
        }
        let before = cpu_time();
        assert!(wait(&poll, Some(Duration::from_millis(300))).is_empty(), "{}", lanes.feed());
        assert!(cpu_time() - before < Duration::from_millis(100), "{}: it spins", lanes.feed());
        near.shutdown(std::net::Shutdown::Write).unwrap();
        while !far.readiness().events.contains(Events::RDHUP) {
            assert!(
                !wait(&poll, Some(PATIENCE)).is_empty(),
                "{}: the end is heard all the same",
                lanes.feed()
            );
        }
    }
}

#[test]
fn a_reset_is_told_with_all_that_it_means() {
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let (near, far) = tcp_pair();
        let far = CachedFd::new(OwnedFd::from(far));
        poll.add(&far, 0, Events::IN | Events::OUT | Events::RDHUP | Events::ET, 1).unwrap();
        far.clear(far.readiness(), Events::IN | Events::OUT);
        wait(&poll, NOW);
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: setsockopt(2) reads the `linger`, which lives through the call; the socket is open.
        let outcome = unsafe {
            libc::setsockopt(
                near.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of_val(&linger) as libc::socklen_t,
            )
        };
        assert_eq!(outcome, 0);
        drop(near);
        let all = Events::IN | Events::ERR | Events::HUP | Events::RDHUP;
        while !far.readiness().events.contains(all) {
            let told = wait(&poll, Some(PATIENCE));
            assert!(!told.is_empty(), "{}: only {:?}", lanes.feed(), far.readiness());
        }
    }
}

/// A terminal has two wait queues, which not every feed takes.
#[test]
fn a_terminal_is_heard() {
    for lanes in feeds() {
        let (mut master, mut slave) = terminal();
        let reader = Arc::new(Fd::new(slave.try_clone().unwrap()).unwrap());
        let poll = Eventpoll::with_lanes(&lanes);
        poll.add(&reader, 0, Events::IN | Events::ET, 1).unwrap();
        for _ in 0..5 {
            assert!(wait(&poll, NOW).is_empty(), "{}", lanes.feed());
            master.write_all(b"x\n").unwrap();
            assert_eq!(wait(&poll, Some(PATIENCE)).len(), 1, "{}", lanes.feed());
            assert_eq!(slave.read(&mut [0; 8]).unwrap(), 2);
        }
    }
}

fn terminal() -> (File, File) {
    let (mut master, mut slave) = (0, 0);
    // SAFETY: the descriptors are written to valid places; no name, no settings, no size are given.
    let outcome = unsafe {
        libc::openpty(
            &mut master,
            &mut slave,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both descriptors are new and nobody else's.
    unsafe { (File::from_raw_fd(master), File::from_raw_fd(slave)) }
}

/// Processor time of this thread.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the timespec is valid for the call.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
