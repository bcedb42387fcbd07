//! Many threads, sources in memory: nothing is lost, nothing is told twice, whatever is added, modified, removed or dropped
//! beside it. Every test is bounded in time by `bounded` and `until`, and in work by its counts.
#![cfg(not(egret_loom))]

mod rules_common;
mod stress_support;

use egret_reactor::{AsSource, Counter, Event, Eventpoll, Events, PollTable, Source, WaitQueue};
use rules_common::{NOW, instance, ready, until, waiters};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use stress_support::*;

const ET: Events = Events::IN.union(Events::ET);

/// Numbers `letters` letters through, from `writers` threads to all of `posts`.
fn write_all(posts: &[Arc<dyn Post>], writers: usize, letters: usize) -> Vec<thread::JoinHandle<()>> {
    let each = letters / writers;
    let threads = (0..writers).map(|writer| {
        let posts = posts.to_vec();
        thread::spawn(move || {
            for number in writer * each..(writer + 1) * each {
                posts[number % posts.len()].send(number as u32);
            }
        })
    });
    threads.collect()
}

#[test]
fn edges_from_many_writers_to_many_waiters_lose_and_repeat_no_letter() {
    bounded(|| {
        for room in [1, 8] {
            let poll = instance();
            let posts: Vec<_> = (0..16).map(|_| mailbox()).collect();
            for (post, data) in posts.iter().zip(0..) {
                poll.add(&Posted(post), 0, ET, data).unwrap();
            }
            let letters = 4200;
            let ledger = Ledger::new(letters);
            let servers = Servers::start(&poll, 3, room, {
                let (posts, ledger) = (posts.clone(), ledger.clone());
                move |event| ledger.drain(&*posts[event.data as usize])
            });
            let writers = write_all(&posts, 3, letters);
            until_or_dead("every letter came", &[&servers], || ledger.is_complete());
            writers.into_iter().for_each(|writer| writer.join().unwrap());
        }
    });
}

#[test]
fn one_edge_goes_to_one_of_many_waiters() {
    bounded(|| {
        let poll = instance();
        let counters: Vec<_> = (0..4).map(|_| Arc::new(Counter::new(0))).collect();
        for (counter, data) in counters.iter().zip(0..) {
            poll.add(counter, 0, ET, data).unwrap();
        }
        let told = Arc::new(AtomicUsize::new(0));
        let servers = Servers::start(&poll, 4, 4, {
            let told = told.clone();
            move |_| {
                told.fetch_add(1, Ordering::SeqCst);
            }
        });
        for round in 0..1000 {
            counters[round % 4].write(1).unwrap(); // never read
            until_or_dead("it is told", &[&servers], || told.load(Ordering::SeqCst) > round);
        }
        drop(servers);
        assert_eq!(told.load(Ordering::SeqCst), 1000, "each edge is told once");
    });
}

#[test]
fn one_shot_sources_are_handled_by_one_thread_at_a_time() {
    bounded(|| {
        let poll = instance();
        let posts: Vec<_> = (0..6).map(|_| mailbox()).collect();
        for (post, data) in posts.iter().zip(0..) {
            poll.add(&Posted(post), 0, Events::IN | Events::ONESHOT, data).unwrap();
        }
        let letters = 3000;
        let ledger = Ledger::new(letters);
        let servers = Servers::start(&poll, 4, 2, {
            let (poll, posts, ledger) = (poll.clone(), posts.clone(), ledger.clone());
            let busy: Vec<_> = posts.iter().map(|_| AtomicBool::new(false)).collect();
            move |event| {
                let number = event.data as usize;
                assert!(!busy[number].swap(true, Ordering::SeqCst), "two threads have {number}");
                thread::yield_now(); // to whoever would wrongly have it too
                // A few at a time, so that what is left has to be told by the MOD.
                for letter in (0..3).map_while(|_| posts[number].receive()) {
                    ledger.enter(letter);
                }
                busy[number].store(false, Ordering::SeqCst);
                poll.modify(&Posted(&posts[number]), 0, Events::IN | Events::ONESHOT, event.data).unwrap();
            }
        });
        let writers = write_all(&posts, 2, letters);
        until_or_dead("every letter came", &[&servers], || ledger.is_complete());
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
}

#[test]
fn no_wait_tells_what_was_modified_or_removed_before_it_began() {
    bounded(|| {
        let counter = |mode| {
            let counter = Arc::new(Counter::new(0));
            let stirred = counter.clone();
            Target::new(counter, mode, move || stirred.write(1).unwrap())
        };
        let targets = [Events::empty(), Events::ET, Events::ONESHOT].map(counter);
        storm(&instance(), targets.into(), 400);
    });
}

/// A source that says when it was dropped, and cannot be asked after that.
struct Brittle {
    alive: AtomicBool,
    dropped: Arc<AtomicUsize>,
    queue: WaitQueue,
}

impl Source for Brittle {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        assert!(self.alive.load(Ordering::SeqCst), "asked after its end");
        table.register(&self.queue);
        Events::IN
    }
}

impl Drop for Brittle {
    fn drop(&mut self) {
        self.alive.store(false, Ordering::SeqCst);
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn sources_that_go_away_while_they_are_queued_scanned_and_fired_vanish() {
    bounded(|| {
        let poll = instance();
        let lookers = Servers::start(&poll, 2, 3, |_| {});
        let dropped = Arc::new(AtomicUsize::new(0));
        let rounds = 1000u64;
        let (hand_over, taken) = std::sync::mpsc::sync_channel::<Arc<Brittle>>(4);
        // Fires each once more, and perhaps holds the last reference.
        let firing = thread::spawn(move || {
            for source in taken {
                source.queue.wake(Events::IN);
            }
        });
        for number in 1..=rounds {
            let source = Arc::new(Brittle {
                alive: AtomicBool::new(true),
                dropped: dropped.clone(),
                queue: WaitQueue::new(),
            });
            let mode = [Events::empty(), Events::ET, Events::ONESHOT][number as usize % 3];
            poll.add(&source, 0, Events::IN | mode, number).unwrap();
            hand_over.send(source).unwrap();
        }
        drop(hand_over);
        firing.join().unwrap();
        until_or_dead("all are gone", &[&lookers], || dropped.load(Ordering::SeqCst) == rounds as usize);
        drop(lookers);
        assert_eq!(wait(&poll, &mut [Event::default(); 3], NOW).events, 0);
        assert_eq!((ready(&poll), waiters(&poll)), (0, 0));
        let (twin, none) = (Arc::new(Counter::new(0)), Events::empty());
        poll.add(&twin, 0, none, 0).unwrap();
        assert_eq!(poll.dump().interests.len(), 1, "no interest but the one just added is left");
    });
}

#[test]
fn instances_closed_while_others_wait_on_them_and_on_their_watchers_end_no_wait() {
    bounded(|| {
        let outer = instance();
        let above = Servers::start(&outer, 1, 3, |_| {});
        for _ in 0..100 {
            let inner = instance();
            let counter = Arc::new(Counter::new(0));
            inner.add(&counter, 0, Events::IN, 1).unwrap();
            outer.add(&inner, 0, Events::IN, 2).unwrap();
            let waiter = {
                let inner = inner.clone();
                thread::spawn(move || wait(&inner, &mut [Event::default(); 1], None).events)
            };
            // The waiter's is the last handle, or will be: it still hears.
            drop(inner);
            counter.write(1).unwrap();
            until_or_dead("it returns", &[&above], || waiter.is_finished());
            assert_eq!(waiter.join().unwrap(), 1);
            // With the instance its interest went.
            until_or_dead("nobody holds the counter", &[&above], || Arc::weak_count(&counter) == 0);
        }
        drop(above);
        assert_eq!(wait(&outer, &mut [Event::default(); 3], NOW).events, 0);
        assert_eq!(ready(&outer), 0);
    });
}

/// Three instances with their sources under one. Threads wait at both storeys, or only above.
fn tower(storeys: &[bool], upper: Events, letters: usize, storm: bool) {
    let outer = instance();
    let inner: Vec<_> = (0..3).map(|_| instance()).collect();
    let posts: Vec<_> = (0..12).map(|_| mailbox()).collect();
    for (number, post) in posts.iter().enumerate() {
        inner[number % 3].add(&Posted(post), 0, ET, number as u64).unwrap();
    }
    for (inner, data) in inner.iter().zip(0..) {
        outer.add(inner, 0, Events::IN | upper, data).unwrap();
    }
    let ledger = Ledger::new(letters);
    let deliver = {
        let (posts, ledger) = (posts.clone(), ledger.clone());
        move |event: Event| ledger.drain(&*posts[event.data as usize])
    };
    let mut servers = Vec::new();
    if storeys[0] {
        for inner in &inner {
            servers.push(Servers::start(inner, 1, 2, deliver.clone()));
        }
    }
    if storeys[1] {
        servers.push(Servers::start(&outer, 2, 2, {
            let (inner, deliver) = (inner.clone(), deliver.clone());
            move |event| {
                let mut events = [Event::default(); 2];
                loop {
                    let woken = wait(&inner[event.data as usize], &mut events, NOW);
                    events[..woken.events].iter().for_each(|event| deliver(*event));
                    // Nothing in it, or the edge of what it took is used up.
                    if woken.events == 0 {
                        break;
                    }
                }
            }
        }));
    }
    let writers = write_all(&posts, 2, letters);
    let mut turns = 0;
    while storm && turns < 600 {
        let number = turns % 3;
        outer.remove(&inner[number], 0).unwrap();
        outer.add(&inner[number], 0, Events::IN | upper, number as u64).unwrap();
        turns += 1;
    }
    let all: Vec<_> = servers.iter().collect();
    until_or_dead("every letter came", &all, || ledger.is_complete());
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

#[test]
fn a_tower_with_waiters_at_both_storeys_loses_and_repeats_no_letter() {
    bounded(|| {
        for upper in [Events::empty(), Events::ET] {
            tower(&[true, true], upper, 1200, false);
        }
    });
}

#[test]
fn a_tower_with_waiters_above_loses_and_repeats_no_letter() {
    bounded(|| {
        for upper in [Events::empty(), Events::ET] {
            tower(&[false, true], upper, 1200, false);
        }
    });
}

/// What rises while an inner instance is not watched is told when it is added again.
#[test]
fn a_tower_whose_storeys_come_and_go_loses_and_repeats_no_letter() {
    bounded(|| {
        for upper in [Events::empty(), Events::ET] {
            tower(&[false, true], upper, 1200, true);
            tower(&[true, true], upper, 1200, true);
        }
    });
}

/// Starts a thread on each of four instances that watch `source` exclusively.
fn crew(
    source: &impl AsSource,
    serve: impl Fn() + Send + Sync + Clone + 'static,
) -> ([Eventpoll; 4], [Servers; 4]) {
    let polls = [(); 4].map(|()| instance());
    let servers = polls.each_ref().map(|poll| {
        poll.add(source, 0, ET | Events::EXCLUSIVE, 1).unwrap();
        let serve = serve.clone();
        Servers::start(poll, 1, 1, move |_| serve())
    });
    (polls, servers)
}

#[test]
fn an_exclusive_edge_wakes_exactly_one_of_the_sleepers() {
    bounded(|| {
        let counter = Arc::new(Counter::new(0));
        let told = Arc::new(AtomicUsize::new(0));
        let (polls, servers) = crew(&counter, {
            let told = told.clone();
            move || {
                told.fetch_add(1, Ordering::SeqCst);
            }
        });
        let servers: Vec<_> = servers.iter().collect();
        let all_sleep = || polls.iter().all(|poll| waiters(poll) == 1);
        for round in 0..300 {
            until_or_dead("all sleep", &servers, all_sleep);
            counter.write(1).unwrap(); // never read: whoever was woken would find it
            until_or_dead("it is told", &servers, || told.load(Ordering::SeqCst) > round);
        }
        until_or_dead("all sleep again", &servers, all_sleep);
        assert_eq!(told.load(Ordering::SeqCst), 300, "each edge is told to one");
    });
}

#[test]
fn exclusive_letters_are_not_lost_between_the_busy_and_the_sleeping() {
    bounded(|| {
        let post = mailbox();
        let ledger = Ledger::new(2000);
        let (_polls, servers) = crew(&Posted(&post), {
            let (post, ledger) = (post.clone(), ledger.clone());
            move || ledger.drain(&*post)
        });
        let writers = write_all(std::slice::from_ref(&post), 2, 2000);
        let servers: Vec<_> = servers.iter().collect();
        until_or_dead("every letter came", &servers, || ledger.is_complete());
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
}

/// A wait that times out must not take an exclusive event with it: either it tells of it, or the walk went on.
#[test]
fn exclusive_letters_are_not_lost_to_waits_that_time_out() {
    bounded(|| {
        let post = mailbox();
        let rounds = 500;
        let ledger = Ledger::new(rounds);
        let (hasty, patient) = (instance(), instance());
        for poll in [&hasty, &patient] {
            poll.add(&Posted(&post), 0, ET | Events::EXCLUSIVE, 1).unwrap();
        }
        let servers = Servers::start(&patient, 1, 1, {
            let (post, ledger) = (post.clone(), ledger.clone());
            move |_| ledger.drain(&*post)
        });
        let sent = Arc::new(AtomicUsize::new(0));
        let comes_and_goes = {
            let (post, ledger, sent) = (post.clone(), ledger.clone(), sent.clone());
            thread::spawn(move || {
                let mut chance = Chance::new(7);
                while !ledger.is_complete() {
                    // Every other time it only looks.
                    let timeout = if chance.below(2) == 0 { NOW } else { Some(chance.micros(120)) };
                    if wait(&hasty, &mut [Event::default(); 1], timeout).events == 1 {
                        ledger.drain(&*post);
                    }
                    // Others may run: the next letter, perhaps. It doesn't look again before that has come: it is the other's.
                    thread::yield_now();
                    until("the letter came", || ledger.count() >= sent.load(Ordering::SeqCst));
                }
            })
        };
        for round in 0..rounds {
            sent.store(round + 1, Ordering::SeqCst);
            post.send(round as u32);
            until_or_dead("the letter came", &[&servers], || ledger.count() > round);
        }
        comes_and_goes.join().unwrap();
    });
}
