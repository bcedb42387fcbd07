//! The feed alone: growing, full, files that the kernel takes no request for. Threads that block in it are in [`blocked`].

mod blocked;

use super::table::ByHand;
use super::*;
use crate::feed::level_of;
use crate::watchdog::Watchdog;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicU64;
use std::thread;

/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn counter() -> File {
    // SAFETY: eventfd takes no pointers, and the descriptor is new.
    let fd = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)) };
    File::from(fd)
}

/// A feed, and the descriptor that wakes it. None where the kernel has no such thing, or a filter refuses it.
fn feed(capacity: usize, limit: usize) -> Option<(Aio, File)> {
    let wake = counter();
    match Aio::with_capacity(wake.as_raw_fd(), capacity, limit) {
        Ok(feed) => Some((feed, wake)),
        Err(error) => {
            eprintln!("no aio here: {error}");
            None
        }
    }
}

fn harvest(feed: &Aio) -> Vec<Completion> {
    let mut completions = Vec::new();
    feed.harvest(&mut completions).unwrap();
    completions
}

/// Harvests until every token of the first `count` has told of a condition in `awaited`.
fn all_told(feed: &Aio, count: u64, awaited: Events) {
    let deadline = Instant::now() + PATIENCE;
    let mut missing: Vec<u64> = (0..count).collect();
    while !missing.is_empty() {
        for completion in harvest(feed) {
            if completion.level.is_ok_and(|level| level.intersects(awaited)) {
                missing.retain(|token| *token != completion.token.0);
            }
        }
        assert!(Instant::now() < deadline, "{awaited:?} never told: {missing:?}");
    }
}

fn pairs(count: usize) -> Vec<(UnixStream, UnixStream)> {
    (0..count)
        .map(|_| {
            let (near, far) = UnixStream::pair().unwrap();
            near.set_nonblocking(true).unwrap();
            far.set_nonblocking(true).unwrap();
            (near, far)
        })
        .collect()
}

fn fill(stream: &mut UnixStream) {
    while stream.write(&[0; 65536]).is_ok() {}
}

fn empty(stream: &mut UnixStream) {
    while stream.read(&mut [0; 65536]).is_ok_and(|n| n > 0) {}
}

#[test]
fn more_arms_than_a_context_holds_move_to_a_larger_one() {
    let Some((feed, _wake)) = feed(16, usize::MAX) else { return };
    let mut pairs = pairs(200);
    for (token, (_, far)) in pairs.iter().enumerate() {
        feed.arm(Token(token as u64), far.as_raw_fd(), Events::IN, Fallen::Told).unwrap();
    }
    assert!(feed.lock().context.capacity() >= 200);
    assert!(harvest(&feed).is_empty());
    for _ in 0..3 {
        for (near, _) in &mut pairs {
            near.write_all(b"x").unwrap();
        }
        all_told(&feed, 200, Events::IN);
        for (token, (_, far)) in pairs.iter_mut().enumerate() {
            empty(far);
            feed.rearm(Token(token as u64), Events::IN);
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while feed.alive.load(Ordering::SeqCst) > 1 {
        assert!(Instant::now() < deadline, "the old contexts are never given back");
        thread::yield_now();
    }
}

#[test]
fn a_context_that_can_not_grow_refuses_an_arm_and_says_why() {
    let Some((feed, _wake)) = feed(16, 16) else { return };
    let pairs = pairs(16);
    let error = (0..16u64)
        .find_map(|token| {
            let fd = pairs[token as usize].1.as_raw_fd();
            feed.arm(Token(token), fd, Events::IN, Fallen::Told).err()
        })
        .expect("16 arms are too many for a context of 16");
    assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
    assert!(error.to_string().contains("fs.aio-max-nr"), "{error}");
    assert_eq!(feed.disarm(Token(0), None).unwrap(), Disarmed::Done, "not submitted yet");
    feed.arm(Token(0), pairs[0].1.as_raw_fd(), Events::IN, Fallen::Told).unwrap();
}

#[test]
fn requests_for_which_there_is_no_room_are_looked_after_by_hand() {
    // Slots for about 511 requests; three for each of 190 arms are more.
    let Some((feed, _wake)) = feed(200, 200) else { return };
    let mut pairs = pairs(190);
    for (token, (near, far)) in pairs.iter_mut().enumerate() {
        near.write_all(b"x").unwrap();
        let interest = Events::IN | Events::OUT | Events::RDHUP;
        feed.arm(Token(token as u64), far.as_raw_fd(), interest, Fallen::Told).unwrap();
    }
    all_told(&feed, 190, Events::OUT);
    feed.submit().unwrap();
    for conditions in [Events::IN, Events::OUT] {
        for (token, (_, far)) in pairs.iter_mut().enumerate() {
            if conditions == Events::IN {
                empty(far)
            } else {
                fill(far)
            }
            feed.rearm(Token(token as u64), conditions);
        }
        feed.submit().unwrap();
    }
    let by_hand = (0..190).filter(|token| {
        feed.lock().arms.get(Token(*token)).is_some_and(|arm| matches!(arm.by_hand, ByHand::Until(_)))
    });
    assert!(by_hand.count() > 0, "the context isn't full: what is this test about?");
    for (near, _) in &mut pairs {
        empty(near);
    }
    all_told(&feed, 190, Events::OUT);
    for (near, _) in &mut pairs {
        near.write_all(b"x").unwrap();
    }
    all_told(&feed, 190, Events::IN);
}

fn fifo() -> File {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("egret-aio-{}-{number}", std::process::id()));
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the name ends with a zero and lives through the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0, "{}", io::Error::last_os_error());
    let fifo = File::options().read(true).write(true).open(&path);
    std::fs::remove_file(&path).unwrap();
    fifo.unwrap()
}

/// A FIFO that is open for both directions has two wait queues, which the kernel's aio doesn't take.
#[test]
fn a_file_that_aio_can_not_watch_is_looked_at() {
    let Some((feed, _wake)) = feed(16, usize::MAX) else { return };
    let mut fifo = fifo();
    feed.arm(Token(0), fifo.as_raw_fd(), Events::IN, Fallen::Told).unwrap();
    feed.arm(Token(1), fifo.as_raw_fd(), Events::IN, Fallen::Watched).unwrap();
    for _ in 0..5 {
        assert!(harvest(&feed).is_empty());
        fifo.write_all(b"x").unwrap();
        feed.block(Some(PATIENCE)).unwrap();
        all_told(&feed, 2, Events::IN);
        fifo.read_exact(&mut [0; 1]).unwrap();
        feed.rearm(Token(0), Events::IN);
        assert!(harvest(&feed).is_empty(), "the fall is seen");
    }
}

#[test]
fn a_descriptor_that_is_none_ends_its_arm_and_no_other() {
    let Some((feed, _wake)) = feed(16, usize::MAX) else { return };
    let good = counter();
    let closed = 1 << 20;
    for (token, fd) in [(0, closed), (1, good.as_raw_fd()), (2, closed)] {
        feed.arm(Token(token), fd, Events::IN, Fallen::Told).unwrap();
    }
    let mut ended: Vec<u64> = harvest(&feed)
        .iter()
        .map(|completion| {
            assert!(completion.last && completion.level == Err(libc::EBADF), "{completion:?}");
            completion.token.0
        })
        .collect();
    ended.sort_unstable();
    assert_eq!(ended, [0, 2]);
    (&good).write_all(&1u64.to_ne_bytes()).unwrap();
    let told = harvest(&feed);
    assert!(told.len() == 1 && told[0].token == Token(1), "{told:?}");
}

#[test]
fn the_end_of_a_feed_in_a_forked_child_is_none_for_the_parent() {
    let _watchdog = Watchdog::start();
    let Some((feed, _wake)) = feed(16, usize::MAX) else { return };
    let counter = counter();
    feed.arm(Token(0), counter.as_raw_fd(), Events::IN, Fallen::Told).unwrap();
    assert!(harvest(&feed).is_empty());
    let feed = std::mem::ManuallyDrop::new(feed);
    // SAFETY: the child calls nothing but the drop (system calls, and an allocator that glibc makes usable) and _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(std::mem::ManuallyDrop::into_inner(feed));
        // SAFETY: the child ends here, without running the test harness's exit handlers.
        unsafe { libc::_exit(0) };
    }
    assert!(child > 0);
    let mut status = 0;
    // SAFETY: the status is written to a valid place.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child's end was no good one");
    (&counter).write_all(&1u64.to_ne_bytes()).unwrap();
    all_told(&feed, 1, Events::IN);
    drop(std::mem::ManuallyDrop::into_inner(feed));
}

#[test]
fn an_arm_that_ended_holds_its_file_no_longer() {
    let Some((feed, _wake)) = feed(16, usize::MAX) else { return };
    for round in 0..100u64 {
        let (near, far) = UnixStream::pair().unwrap();
        feed.arm(Token(0), far.as_raw_fd(), Events::IN, Fallen::Told).unwrap();
        assert!(harvest(&feed).is_empty());
        let how = feed.disarm_now(Token(0)).unwrap();
        assert_eq!(how, Disarmed::LastFollows);
        let deadline = Instant::now() + PATIENCE;
        let mut last = false;
        while !(last && feed.unpinned(Token(0), how)) {
            last |= harvest(&feed).iter().any(|completion| completion.last);
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        drop(far);
        let mut poll = libc::pollfd { fd: near.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry, and a zero timeout.
        unsafe { libc::poll(&raw mut poll, 1, 0) };
        assert!(level_of(&poll).contains(Events::HUP), "round {round}: not at once");
    }
}

/// An arm with nothing in flight: what still holds the file is the request of an arm before it, cancelled but not yet let go.
#[test]
fn an_arm_that_ends_waits_for_what_was_cancelled_before_it() {
    let Some((feed, _wake)) = feed(16, usize::MAX) else { return };
    for round in 0..100u64 {
        let (near, far) = UnixStream::pair().unwrap();
        let (first, second) = (Token(0), Token(1));
        feed.arm(first, far.as_raw_fd(), Events::IN, Fallen::Told).unwrap();
        assert!(harvest(&feed).is_empty());
        assert_eq!(feed.disarm(first, None).unwrap(), Disarmed::LastFollows);
        feed.arm(second, far.as_raw_fd(), Events::OUT, Fallen::Told).unwrap();
        feed.submit().unwrap();
        let mut awaited = vec![first, second];
        let mut told = false;
        let mut how = None;
        let deadline = Instant::now() + PATIENCE;
        while !awaited.is_empty() || !how.is_some_and(|how| feed.unpinned(second, how)) {
            for completion in harvest(&feed) {
                told |= completion.token == second && completion.level.is_ok();
                if completion.last {
                    awaited.retain(|token| *token != completion.token);
                }
            }
            if told && how.is_none() {
                how = Some(feed.disarm_now(second).unwrap());
                if how == Some(Disarmed::Done) {
                    // Nothing more will be said of it; and what is cancelled has to be let go all the same.
                    break;
                }
            }
            assert!(Instant::now() < deadline);
        }
        drop(far);
        let mut poll = libc::pollfd { fd: near.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry, and a zero timeout.
        unsafe { libc::poll(&raw mut poll, 1, 0) };
        assert!(level_of(&poll).contains(Events::HUP), "round {round}: not at once");
        let mut last = !awaited.contains(&first);
        while !last {
            last |= harvest(&feed).iter().any(|completion| completion.token == first && completion.last);
            assert!(Instant::now() < deadline);
        }
    }
}
