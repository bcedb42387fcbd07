//! A look without blocking sees what has happened, whichever thread armed the descriptor and whatever it is doing.
#![cfg(not(egret_loom))]

#[path = "../../tests/support/watchdog.rs"]
mod watchdog;

use egret_reactor::{Event, Eventpoll, Events, Fd, FeedChoice, Lanes};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use watchdog::Watchdog;

const ROUNDS: usize = 200;
/// How long a look waits for a thread that has a share in it and gets no processor (the `uring` feed's `SETTLING`).
const SETTLING: Duration = Duration::from_millis(20);
/// Longer than anything here takes on a loaded machine.
const BOUND: Duration = Duration::from_secs(20);

/// The next look sees what was written. Where the machine is so busy that the other thread had no turn meanwhile, it has waited for
/// that one, and a later look sees it.
fn sees(look: impl Fn() -> usize, feed: FeedChoice) {
    let begin = Instant::now();
    if look() == 1 {
        return;
    }
    assert!(begin.elapsed() >= SETTLING, "{feed}: nothing, after {:?}", begin.elapsed());
    while look() == 0 {
        assert!(begin.elapsed() < BOUND, "{feed}: lost");
        thread::yield_now();
    }
}

/// Runs `armed_by` with what adds the interest; then each write has to be seen by the next look of this thread.
fn every_look_is_right(
    armed_by: impl Fn(Box<dyn FnOnce() + Send>) -> Option<thread::JoinHandle<()>>,
    done: &AtomicBool,
) {
    for choice in [FeedChoice::Uring, FeedChoice::Aio, FeedChoice::Poll] {
        let Ok(lanes) = Lanes::new(choice) else { continue };
        done.store(false, Ordering::SeqCst);
        let poll = Eventpoll::with_lanes(&lanes);
        let (mut near, far) = UnixStream::pair().unwrap();
        let far = Arc::new(Fd::new(far).unwrap());
        let armer = {
            let (poll, far) = (poll.clone(), far.clone());
            armed_by(Box::new(move || poll.add(&far, 0, Events::IN, 1).unwrap()))
        };
        let look = || poll.wait(&mut [Event::default(); 4], Some(Duration::ZERO)).unwrap();
        for _ in 0..ROUNDS {
            near.write_all(b"x").unwrap();
            sees(look, choice);
            far.get_ref().read_exact(&mut [0]).unwrap();
            assert_eq!(look(), 0);
        }
        done.store(true, Ordering::SeqCst);
        if let Some(armer) = armer {
            armer.join().unwrap();
        }
    }
}

#[test]
fn the_thread_that_armed_computes() {
    let _watchdog = Watchdog::start();
    static DONE: AtomicBool = AtomicBool::new(false);
    let computes = |add: Box<dyn FnOnce() + Send>| {
        let added = Arc::new(AtomicBool::new(false));
        let thread = {
            let added = added.clone();
            thread::spawn(move || {
                add();
                added.store(true, Ordering::SeqCst);
                while !DONE.load(Ordering::SeqCst) {
                    std::hint::spin_loop();
                }
            })
        };
        while !added.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        Some(thread)
    };
    every_look_is_right(computes, &DONE);
}

#[test]
fn the_thread_that_armed_sleeps() {
    let _watchdog = Watchdog::start();
    static DONE: AtomicBool = AtomicBool::new(false);
    let sleeps = |add: Box<dyn FnOnce() + Send>| {
        let (sender, added) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            add();
            sender.send(()).unwrap();
            while !DONE.load(Ordering::SeqCst) {
                thread::park_timeout(Duration::from_millis(50));
            }
        });
        added.recv().unwrap();
        Some(thread)
    };
    every_look_is_right(sleeps, &DONE);
}

/// A ring tells the first arrival after the end of the thread that armed with the help of a kernel worker; from then on the
/// descriptor is armed by this thread.
#[test]
fn the_thread_that_armed_has_ended() {
    let _watchdog = Watchdog::start();
    for choice in [FeedChoice::Uring, FeedChoice::Aio, FeedChoice::Poll] {
        let Ok(lanes) = Lanes::new(choice) else { continue };
        let poll = Eventpoll::with_lanes(&lanes);
        let (mut near, far) = UnixStream::pair().unwrap();
        let far = Arc::new(Fd::new(far).unwrap());
        {
            let (poll, far) = (poll.clone(), far.clone());
            thread::spawn(move || poll.add(&far, 0, Events::IN, 1).unwrap()).join().unwrap();
        }
        let look = |timeout| poll.wait(&mut [Event::default(); 4], Some(timeout)).unwrap();
        near.write_all(b"x").unwrap();
        sees(|| look(Duration::ZERO), choice);
        for _ in 0..ROUNDS {
            far.get_ref().read_exact(&mut [0]).unwrap();
            assert_eq!(look(Duration::ZERO), 0);
            near.write_all(b"x").unwrap();
            assert_eq!(look(Duration::ZERO), 1, "{choice}");
        }
    }
}
