//! What a forked child does with the lanes it inherited, and feeds that have more arms than there may be descriptors.
#![cfg(not(egret_loom))]

#[path = "../../tests/support/watchdog.rs"]
mod watchdog;

use egret_reactor::{Event, Eventpoll, Events, Fd, FeedChoice, Lanes};
use std::io::{Read, Write};
use std::mem::ManuallyDrop;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use watchdog::Watchdog;

/// Longer than anything here takes on a loaded machine.
const BOUND: Duration = Duration::from_secs(20);
/// As many descriptors as a process may have in these tests.
const DESCRIPTORS: u64 = 256;

/// The exit status of a child that runs this; 0 if it says true.
fn in_a_child(run: impl FnOnce() -> bool) -> i32 {
    let _watchdog = Watchdog::start();
    // SAFETY: the child drops what it inherited, which is what is tested, and leaves without unwinding.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let good = run();
        // SAFETY: ends the child at once, without running anything of the parent's.
        unsafe { libc::_exit(i32::from(!good)) }
    }
    assert!(child > 0);
    let mut status = -1;
    // SAFETY: `status` is valid, and the child is ours.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status
}

/// A page of the child's own.
fn page() -> *mut u64 {
    let (rights, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, wherever there is room.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, rights, kind, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    page.cast()
}

/// A ring's memory is not inherited, so the child's next mappings take its place. The drop must leave them alone.
#[test]
fn dropping_inherited_lanes_leaves_the_childs_memory_alone() {
    for choice in [FeedChoice::Uring, FeedChoice::Aio, FeedChoice::Poll] {
        let Ok(lanes) = Lanes::new(choice) else { continue };
        let mut lanes = ManuallyDrop::new(lanes);
        let status = in_a_child(|| {
            let pages = [(); 64].map(|()| page());
            // SAFETY: dropped once in this process.
            unsafe { ManuallyDrop::drop(&mut lanes) };
            // SAFETY: mapped above, zeroed.
            pages.iter().all(|page| unsafe { page.read_volatile() } == 0)
        });
        assert_eq!(status, 0, "{choice:?}");
        drop(ManuallyDrop::into_inner(lanes));
    }
}

#[test]
fn a_child_may_leave_an_inherited_lane() {
    for choice in [FeedChoice::Uring, FeedChoice::Aio, FeedChoice::Poll] {
        let Ok(lanes) = Lanes::new(choice) else { continue };
        let lane = lanes.add_lane().unwrap();
        let mut guard = ManuallyDrop::new(lane.enter());
        let status = in_a_child(|| {
            // SAFETY: dropped once in this process.
            unsafe { ManuallyDrop::drop(&mut guard) };
            true
        });
        assert_eq!(status, 0, "{choice:?}");
        drop(ManuallyDrop::into_inner(guard));
    }
}

fn limit_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is valid for both calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = DESCRIPTORS.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
}

/// Waits until these rest: a feed that tells levels tells them again for a while.
fn let_rest(poll: &Eventpoll) {
    let end = Instant::now() + Duration::from_millis(200);
    while Instant::now() < end {
        poll.wait(&mut [Event::default(); 512], Some(Duration::from_millis(20))).unwrap();
    }
}

fn hears(poll: &Eventpoll, data: u64) {
    let mut events = [Event::default(); 512];
    let end = Instant::now() + BOUND;
    loop {
        assert!(Instant::now() < end, "lost");
        let n = poll.wait(&mut events, Some(Duration::from_millis(100))).unwrap();
        if events[..n].iter().any(|event| event.data == data && event.events.contains(Events::IN)) {
            return;
        }
    }
}

/// Both directions of a socket are two arms: poll(2) takes no more entries than there may be descriptors.
#[test]
fn more_arms_than_descriptors() {
    limit_descriptors();
    for choice in [FeedChoice::Uring, FeedChoice::Aio, FeedChoice::Poll] {
        let Ok(lanes) = Lanes::new(choice) else { continue };
        let poll = Eventpoll::with_lanes(&lanes);
        let mut ends = Vec::new();
        for _ in 0..80 {
            let (near, far) = UnixStream::pair().unwrap();
            for end in [near, far] {
                let end = Arc::new(Fd::new(end).unwrap());
                poll.add(&end, 0, Events::IN | Events::OUT | Events::ET, ends.len() as u64).unwrap();
                ends.push(end);
            }
        }
        let_rest(&poll);
        ends[1].get_ref().write_all(b"x").unwrap();
        hears(&poll, 0);
    }
}

/// Several sources over each pipe: more arms to be looked at than there may be descriptors. A pipe wakes its readers with no
/// more than IN, so once that was told only a look sees it fall.
#[test]
fn more_looks_than_descriptors() {
    limit_descriptors();
    for choice in [FeedChoice::Uring, FeedChoice::Aio, FeedChoice::Poll] {
        let Ok(lanes) = Lanes::new(choice) else { continue };
        let poll = Eventpoll::with_lanes(&lanes);
        let (mut pipes, mut sources) = (Vec::new(), Vec::new());
        for _ in 0..40 {
            let (reader, mut writer) = std::io::pipe().unwrap();
            writer.write_all(b"x").unwrap();
            let reader = Arc::new(reader);
            for _ in 0..8 {
                let source = Arc::new(Fd::new(reader.clone()).unwrap());
                poll.add(&source, 0, Events::IN | Events::ET, sources.len() as u64).unwrap();
                sources.push(source);
            }
            pipes.push((reader, writer));
        }
        let_rest(&poll);
        let (reader, writer) = &mut pipes[0];
        assert_eq!((&**reader).read(&mut [0; 8]).unwrap(), 1);
        let_rest(&poll);
        writer.write_all(b"y").unwrap();
        hears(&poll, 0);
    }
}
