//! Many threads over real descriptors, on every feed: nothing is lost, nothing is told twice. Every test is bounded in time by `bounded` and `until`, and in work by its counts.
#![cfg(not(egret_loom))]

mod feeds_support;
mod rules_common;
mod stress_support;

use egret_reactor::{Event, Eventpoll, Events, Fd, FeedKind, Lanes};
use feeds_support::{feeds, pair};
use rules_common::{NOW, waiters};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use stress_support::*;

/// Letters from two writers over twelve sockets to three threads; `serve` handles one event.
fn letters_over_wires(
    lanes: &Lanes,
    mode: Events,
    owners: bool,
    serve: impl Fn(&Eventpoll, &Arc<dyn Post>, u64, &Ledger) + Send + Sync + 'static,
) {
    let poll = Eventpoll::with_lanes(lanes);
    let posts: Arc<Vec<_>> = Arc::new((0..12).map(|_| wire()).collect());
    let letters = 1200;
    let ledger = Ledger::new(letters);
    let serve = {
        let (poll, posts, ledger) = (poll.clone(), posts.clone(), ledger.clone());
        move |event: Event| serve(&poll, &posts[event.data as usize], event.data, &ledger)
    };
    let servers =
        if owners { Servers::owning(lanes, &poll, 3, 4, serve) } else { Servers::start(&poll, 3, 4, serve) };
    for (post, data) in posts.iter().zip(0..) {
        poll.add(&Posted(post), 0, Events::IN | mode, data).unwrap();
    }
    let writers = [0, 1].map(|writer| {
        let posts = posts.clone();
        thread::spawn(move || {
            for number in (writer..letters).step_by(2) {
                posts[number / 2 % posts.len()].send(number as u32);
            }
        })
    });
    until_or_dead("every letter came", &[&servers], || ledger.is_complete());
    for writer in writers {
        writer.join().unwrap();
    }
}

#[test]
fn edges_of_sockets_lose_and_repeat_no_letter() {
    on_each(feeds(), |lanes| {
        for owners in [false, true] {
            letters_over_wires(lanes, Events::ET, owners, |_, post, _, ledger| ledger.drain(&**post));
        }
    });
}

#[test]
fn one_shot_sockets_are_handled_by_one_thread_at_a_time() {
    on_each(feeds(), |lanes| {
        for owners in [false, true] {
            let busy: Vec<_> = (0..12).map(|_| AtomicBool::new(false)).collect();
            letters_over_wires(lanes, Events::ONESHOT, owners, move |poll, post, data, ledger| {
                let busy = &busy[data as usize];
                assert!(!busy.swap(true, Ordering::SeqCst), "two threads have {data}");
                thread::yield_now(); // to whoever would wrongly have it too
                // A few at a time, so that what is left has to be told by the MOD.
                for letter in (0..3).map_while(|_| post.receive()) {
                    ledger.enter(letter);
                }
                busy.store(false, Ordering::SeqCst);
                poll.modify(&Posted(post), 0, Events::IN | Events::ONESHOT, data).unwrap();
            });
        }
    });
}

#[test]
fn levels_of_sockets_lose_and_repeat_no_letter() {
    on_each(feeds(), |lanes| {
        // One at a time: the rest is told again.
        letters_over_wires(lanes, Events::empty(), false, |_, post, _, ledger| {
            if let Some(letter) = post.receive() {
                ledger.enter(letter);
            }
        });
    });
}

#[test]
fn no_wait_tells_of_a_socket_what_was_modified_or_removed_before_it_began() {
    on_each(feeds(), |lanes| {
        let target = |mode| {
            let (near, far) = pair();
            // Full sooner or later: then it is readable all the same.
            let stir = move || drop((&near).write(b"x"));
            Target::new(Arc::new(Fd::new(far).unwrap()), mode, stir)
        };
        let targets = [Events::empty(), Events::ET, Events::ONESHOT].map(target);
        storm(&Eventpoll::with_lanes(lanes), targets.into(), 100);
    });
}

#[test]
fn sockets_dropped_while_they_are_armed_queued_and_scanned_vanish() {
    on_each(feeds(), |lanes| {
        let poll = Eventpoll::with_lanes(lanes);
        let lookers = Servers::start(&poll, 2, 3, |_| {});
        for number in 0..90u64 {
            let (mut near, far) = pair();
            let far = Arc::new(Fd::new(far).unwrap());
            let mode = [Events::empty(), Events::ET, Events::ONESHOT][number as usize % 3];
            if number % 2 == 0 {
                near.write_all(b"x").unwrap();
            }
            poll.add(&far, 0, Events::IN | mode, number).unwrap();
            if number % 2 == 1 {
                near.write_all(b"x").unwrap();
            }
            drop(far);
            // The peer sees the end: neither a looker nor an arm keeps the socket.
            near.set_nonblocking(true).unwrap();
            until_or_dead("its peer sees the end", &[&lookers], || (&near).write(b"y").is_err());
        }
        drop(lookers);
        assert_eq!(wait(&poll, &mut [Event::default(); 3], NOW).events, 0);
    });
}

/// Threads whose instances watch one socket exclusively: each letter is one thread's.
#[test]
fn exclusive_sockets_lose_and_repeat_no_letter() {
    on_each(feeds(), |lanes| {
        for owners in [false, true] {
            let post = wire();
            let letters = 600;
            let ledger = Ledger::new(letters);
            let polls = [(); 3].map(|()| Eventpoll::with_lanes(lanes));
            let servers = polls.each_ref().map(|poll| {
                let (post, ledger) = (post.clone(), ledger.clone());
                let serve = move |_| ledger.drain(&*post);
                if owners {
                    Servers::owning(lanes, poll, 1, 1, serve)
                } else {
                    Servers::start(poll, 1, 1, serve)
                }
            });
            for poll in &polls {
                poll.add(&Posted(&post), 0, Events::IN | Events::ET | Events::EXCLUSIVE, 1).unwrap();
            }
            let all: Vec<_> = servers.iter().collect();
            for number in 0..letters {
                // Now and then everybody sleeps.
                if number % 50 == 0 {
                    until_or_dead("all is read", &all, || ledger.count() == number);
                    until_or_dead("all sleep", &all, || polls.iter().all(|poll| waiters(poll) == 1));
                }
                post.send(number as u32);
            }
            until_or_dead("every letter came", &all, || ledger.is_complete());
        }
    });
}

/// Facts 98 to 102 through a feed that counts edges exactly.
#[test]
fn an_exclusive_edge_of_a_socket_wakes_exactly_one_of_the_sleepers() {
    on_each(feeds(), |lanes| {
        if lanes.feed() != FeedKind::Uring {
            return; // The others may tell again what stays up.
        }
        let (mut near, far) = pair();
        let far = Arc::new(Fd::new(far).unwrap());
        let told = Arc::new(AtomicUsize::new(0));
        let polls = [(); 3].map(|()| Eventpoll::with_lanes(lanes));
        let servers = polls.each_ref().map(|poll| {
            poll.add(&far, 0, Events::IN | Events::ET | Events::EXCLUSIVE, 1).unwrap();
            let told = told.clone();
            Servers::start(poll, 1, 1, move |_| {
                told.fetch_add(1, Ordering::SeqCst);
            })
        });
        let all: Vec<_> = servers.iter().collect();
        let all_sleep = || polls.iter().all(|poll| waiters(poll) == 1);
        for round in 0..150 {
            until_or_dead("all sleep", &all, all_sleep);
            near.write_all(b"x").unwrap(); // never read: whoever was woken would find it
            until_or_dead("it is told", &all, || told.load(Ordering::SeqCst) > round);
        }
        until_or_dead("all sleep again", &all, all_sleep);
        assert_eq!(told.load(Ordering::SeqCst), 150, "each edge is told to one");
    });
}
