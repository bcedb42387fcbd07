//! The lane over rings that are too small: nothing is lost when a queue overflows.

use super::arms::{Arm, Arms};
use super::*;
use crate::feed::uring::Uring;
use crate::{CachedFd, Event, Eventpoll, Events};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

fn small(submissions: u32, completions: u32) -> Option<(Lanes, Arc<LaneInner>)> {
    // SAFETY: eventfd takes no pointers, and the descriptor is new.
    let wake = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)) };
    let feed = match Uring::with_size(wake.as_raw_fd(), submissions, completions) {
        Ok(feed) => feed,
        Err(error) => {
            eprintln!("no io_uring here: {error}");
            return None;
        }
    };
    let lane = Arc::new(LaneInner::over(Box::new(feed), wake));
    Some((Lanes::over(FeedKind::Uring, None, lane.clone()), lane))
}

fn wait(poll: &Eventpoll) -> usize {
    poll.wait(&mut [Event::default(); 256], Some(Duration::ZERO)).unwrap()
}

#[test]
fn a_completion_queue_that_overflows_loses_nothing() {
    let Some((lanes, _lane)) = small(4, 8) else { return };
    let poll = Eventpoll::with_lanes(&lanes);
    let mut pairs: Vec<_> = (0..64)
        .map(|number| {
            let (near, far) = UnixStream::pair().unwrap();
            far.set_nonblocking(true).unwrap();
            let reader = far.try_clone().unwrap();
            let far = CachedFd::new(far.into());
            far.clear(far.readiness(), Events::IN);
            poll.add(&far, 0, Events::IN | Events::OUT | Events::ET, number).unwrap();
            (near, reader, far)
        })
        .collect();
    for round in 0..20 {
        // Several arrivals each, unharvested: many times what the queue holds.
        for _ in 0..4 {
            for (near, _, _) in &mut pairs {
                near.write_all(b"x").unwrap();
            }
        }
        for _ in 0..4 {
            wait(&poll);
        }
        for (number, (_, reader, far)) in pairs.iter_mut().enumerate() {
            let seen = far.readiness();
            assert!(seen.events.contains(Events::IN), "round {round}: {number} was lost");
            assert_eq!(reader.read(&mut [0; 16]).unwrap(), 4);
            far.clear(seen, Events::IN);
        }
    }
}

#[test]
fn more_arms_and_closes_than_the_submission_queue_holds() {
    let Some((lanes, lane)) = small(4, 8) else { return };
    let poll = Eventpoll::with_lanes(&lanes);
    let mut peers = Vec::new();
    let fds: Vec<_> = (0..100)
        .map(|number| {
            let (near, far) = UnixStream::pair().unwrap();
            let far = CachedFd::new(far.into());
            poll.add(&far, 0, Events::IN | Events::ET, number).unwrap();
            peers.push(near);
            far
        })
        .collect();
    for fd in &fds {
        fd.close();
    }
    wait(&poll);
    for mut peer in peers {
        assert_eq!(peer.read_to_end(&mut Vec::new()).unwrap(), 0, "closed");
    }
    for _ in 0..100 {
        wait(&poll);
    }
    let arms = lane.arms.lock();
    assert_eq!(arms.vacant.len(), arms.slots.len(), "every slot came back");
}

#[test]
fn a_token_of_an_earlier_generation_finds_nothing() {
    struct Nobody;
    impl Armed for Nobody {
        fn fire(&self, _: Events, _: &mut Wakes<'_>) {}
        fn lost(&self) {}
    }
    let armed = || Arm { target: Arc::new(Nobody), fd: 0, interest: Events::IN, fallen: Fallen::Told };
    let mut arms = Arms::default();
    let first = arms.insert(armed());
    arms.vacate(first);
    let second = arms.insert(armed());
    assert_eq!(first.0 as u32, second.0 as u32, "the slot is used again");
    assert!(arms.get(first).is_none() && arms.get(second).is_some());
    arms.vacate(first);
    assert!(arms.get(second).is_some(), "a late answer frees nothing");
}

/// A descriptor's arm that can't be had now: its user is told to try, doesn't spin, and hears again later.
#[test]
fn an_arm_that_ends_with_an_error_comes_back_when_its_user_finds_it_would_block() {
    let Some((lanes, lane)) = small(8, 16) else { return };
    let poll = Eventpoll::with_lanes(&lanes);
    let (mut near, far) = UnixStream::pair().unwrap();
    let fd = CachedFd::new(far.into());
    fd.clear(fd.readiness(), Events::IN | Events::OUT);
    poll.add(&fd, 0, Events::IN | Events::OUT | Events::ET, 1).unwrap();
    wait(&poll);
    let token = Token(0);
    let answer = |level| {
        let mut arms = lane.arms.lock();
        let mut wakes = Wakes::new(None);
        lane.publish(&mut arms, &Completion { token, level, last: true }, None, &mut wakes);
    };
    // The real arm goes first, so that the made-up answer below is the truth.
    lane.feed.disarm_now(token).map(drop).unwrap();
    let mut late = Vec::new();
    until_harvested(&lane, &mut late);
    answer(Err(libc::ENOMEM));
    let seen = fd.readiness();
    assert!(seen.events.contains(Events::IN | Events::OUT), "shall be tried");
    assert!(!seen.events.intersects(Events::HUP | Events::RDHUP), "nothing is final about it");
    fd.clear(seen, Events::IN | Events::OUT | Events::ERR);
    assert_eq!(fd.readiness().events, Events::empty(), "quiet");
    near.write_all(b"x").unwrap();
    wait(&poll);
    assert!(fd.readiness().events.contains(Events::IN), "armed again");
}

fn until_harvested(lane: &LaneInner, late: &mut Vec<Completion>) {
    for _ in 0..1000 {
        lane.feed.harvest(late).unwrap();
        if late.iter().any(|completion| completion.last && completion.level == Err(libc::ECANCELED)) {
            return;
        }
        std::thread::yield_now();
    }
    panic!("the cancelled arm never answered: {late:?}");
}
