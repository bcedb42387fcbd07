//! Ends and failures: registrations that are rolled back, sources and instances that go away. Named after epoll facts.
#![cfg(not(egret_loom))]

mod oracle_common;
mod rules_common;

use egret_reactor::{CachedFd, Counter, Event, Eventpoll, Events, PollTable, Source, WaitQueue};
use oracle_common::{Engine, Kernel};
use rules_common::*;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

const IN: Events = Events::IN;
const ET: Events = Events::ET;

fn hooks(queue: &WaitQueue) -> String {
    format!("{queue:?}")
}

/// Ready; refuses ADD and MOD, after it has taken the hook, as long as `refusing` holds a number.
struct Refusing {
    queue: WaitQueue,
    refusing: AtomicI32,
}

impl Source for Refusing {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        table.register(&self.queue);
        match self.refusing.load(Ordering::SeqCst) {
            0 => {}
            errno => table.refuse(io::Error::from_raw_os_error(errno)),
        }
        Events::IN
    }
}

#[test]
fn fact_23_a_late_failure_of_add_leaves_nothing() {
    let (poll, outer) = (instance(), instance());
    outer.add(&poll, 0, IN | ET, 100).unwrap();
    let source = Arc::new(Refusing { queue: WaitQueue::new(), refusing: AtomicI32::new(libc::ENOMEM) });
    assert_eq!(errno(poll.add(&source, 0, IN, 1)), libc::ENOMEM);
    assert_eq!(hooks(&source.queue), "WaitQueue { hooks: 0 }");
    assert_eq!((ready(&poll), poll.dump().interests.len()), (0, 0));
    assert_eq!(errno(poll.modify(&source, 0, IN, 1)), libc::ENOENT);
    source.queue.wake(IN);
    assert_eq!((data(&poll), data(&outer)), (vec![], vec![]), "nothing came in, and nobody was told");
    source.refusing.store(0, Ordering::SeqCst);
    poll.add(&source, 0, IN, 2).unwrap();
    assert_eq!((data(&outer), data(&poll)), (vec![100], vec![2]));
}

/// Not a fact of epoll's, whose MOD doesn't fail late: the interest stays, with its new mask.
#[test]
fn a_late_failure_of_modify_leaves_the_interest() {
    let poll = instance();
    let source = Arc::new(Refusing { queue: WaitQueue::new(), refusing: AtomicI32::new(0) });
    poll.add(&source, 0, IN | Events::ONESHOT, 1).unwrap();
    assert_eq!(data(&poll), [1]);
    source.refusing.store(libc::ENOMEM, Ordering::SeqCst);
    assert_eq!(errno(poll.modify(&source, 0, IN, 2)), libc::ENOMEM);
    assert_eq!(hooks(&source.queue), "WaitQueue { hooks: 1 }");
    assert_eq!(data(&poll), [2]);
    poll.remove(&source, 0).unwrap();
    assert_eq!(hooks(&source.queue), "WaitQueue { hooks: 0 }");
}

#[test]
fn fact_10_a_closed_descriptor_is_refused() {
    let poll = instance();
    let (reader, _writer) = io::pipe().unwrap();
    let source = CachedFd::new(reader.into());
    source.close();
    assert_eq!(errno(poll.add(&source, 0, IN | ET, 1)), libc::EBADF);
    assert_eq!(errno(poll.remove(&source, 0)), libc::ENOENT);
    assert!(poll.dump().interests.is_empty());
}

/// The queue goes, the source stays: the interest ends and the source may be added anew.
#[test]
fn fact_54_a_source_can_tear_its_queue_down() {
    struct Torn {
        queue: Mutex<WaitQueue>,
    }
    impl Source for Torn {
        fn poll(&self, table: &mut PollTable<'_>) -> Events {
            table.register(&self.queue.lock().unwrap());
            Events::IN
        }
    }
    let (poll, outer) = (instance(), instance());
    outer.add(&poll, 0, IN, 100).unwrap();
    let source = Arc::new(Torn { queue: Mutex::default() });
    for round in 1..=3 {
        poll.add(&source, 0, IN, round).unwrap();
        assert_eq!((data(&outer), data(&poll)), (vec![100], vec![round]));
        let old = std::mem::take(&mut *source.queue.lock().unwrap());
        assert_eq!(hooks(&old), "WaitQueue { hooks: 1 }");
        drop(old);
        assert_eq!((data(&poll), data(&outer)), (vec![], vec![]), "queued, and gone");
        assert_eq!(errno(poll.modify(&source, 0, IN, 9)), libc::ENOENT);
        assert_eq!(hooks(&source.queue.lock().unwrap()), "WaitQueue { hooks: 0 }");
    }
}

/// Queues that are torn down while others register, look and wake: no hook stays, and nobody hangs.
#[test]
fn fact_54_a_queue_goes_while_it_is_used() {
    bounded(|| {
        let poll = instance();
        let stop = Arc::new(AtomicBool::new(false));
        let looker = thread::spawn({
            let (poll, stop) = (poll.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::SeqCst) {
                    data(&poll);
                }
            }
        });
        for round in 0..2000 {
            let source = Puppet::new(IN);
            poll.add(&source, 0, IN | ET, round).unwrap();
            let waker = source.clone();
            let dropped = source.tombstone();
            drop(source);
            waker.fire(IN);
            drop(waker);
            // The looker may hold the last reference.
            until("the source is gone", || dropped.load(Ordering::SeqCst));
        }
        stop.store(true, Ordering::SeqCst);
        looker.join().unwrap();
        assert_eq!(data(&poll), []);
        assert!(poll.dump().interests.is_empty());
    });
}

/// In its own drop the source is ready still and its interest is queued: it polls as nothing.
#[test]
fn fact_94_a_source_in_teardown_polls_as_nothing() {
    struct Leaving {
        queue: WaitQueue,
        poll: Eventpoll,
        seen: Arc<Mutex<Option<Vec<Event>>>>,
    }
    impl Source for Leaving {
        fn poll(&self, table: &mut PollTable<'_>) -> Events {
            table.register(&self.queue);
            Events::IN | Events::ERR | Events::HUP
        }
    }
    impl Drop for Leaving {
        fn drop(&mut self) {
            assert_eq!(self.poll.dump().interests.len(), 1, "its interest has not ended yet");
            self.queue.wake(Events::IN | Events::ERR);
            *self.seen.lock().unwrap() = Some(look(&self.poll));
        }
    }
    let poll = instance();
    let seen: Arc<Mutex<_>> = Arc::default();
    let source = Arc::new(Leaving { queue: WaitQueue::new(), poll: poll.clone(), seen: seen.clone() });
    poll.add(&source, 0, IN, 1).unwrap();
    assert_eq!(data(&poll), [1]);
    drop(source);
    assert_eq!(seen.lock().unwrap().take(), Some(vec![]), "neither IN nor an error");
    assert!(poll.dump().interests.is_empty());
}

/// The last handle that anybody else has goes while a thread waits.
#[test]
fn fact_95_a_wait_keeps_its_instance() {
    bounded(|| {
        let (poll, source) = (instance(), Puppet::new(Events::empty()));
        poll.add(&source, 0, IN, 1).unwrap();
        let (hello, inside) = mpsc::channel();
        let waiting = thread::spawn({
            let poll = poll.clone();
            move || {
                hello.send(()).unwrap();
                let mut events = [Event::default(); 4];
                let n = poll.wait(&mut events, None).unwrap();
                (n, events[0].data)
            }
        });
        inside.recv().unwrap();
        until("it waits", || waiters(&poll) == 1);
        drop(poll);
        assert_eq!(hooks(&source.queue), "WaitQueue { hooks: 1 }");
        source.set(IN);
        source.fire(IN);
        assert_eq!(waiting.join().unwrap(), (1, 1));
        assert_eq!(hooks(&source.queue), "WaitQueue { hooks: 0 }", "and its end is the instance's");
    });
}

/// The kernel's own: the number is closed under a thread that waits on it.
#[test]
fn fact_95_the_kernel_keeps_what_is_waited_on() {
    bounded(|| {
        let poll = Kernel.instance();
        let source = Kernel.watched(&poll, 0, IN, 1);
        let sleeper = Kernel.sleeper_on_a_number(&poll, 4);
        drop(poll);
        Kernel.write(&source);
        assert_eq!(oracle_common::Sleeper::data(&sleeper), [1]);
    });
}

/// A scan asks a source while its last owner lets go of it: the source goes after the scan, outside of all locks.
#[test]
fn fact_97_a_source_that_goes_during_a_scan_waits_for_it() {
    let poll = instance();
    let source = Puppet::new(IN);
    poll.add(&source, 0, IN, 1).unwrap();
    let gone = source.tombstone();
    let owner = Arc::new(Mutex::new(None));
    let (inside, meanwhile) = (owner.clone(), gone.clone());
    source.once(move || {
        elsewhere(move || {
            let last: Option<Arc<Puppet>> = inside.lock().unwrap().take();
            drop(last.expect("the owner's reference"));
            assert!(!meanwhile.load(Ordering::SeqCst), "the scan is not through with it");
        });
    });
    *owner.lock().unwrap() = Some(source);
    assert_eq!(data(&poll), [1], "it was ready when it was asked");
    assert!(gone.load(Ordering::SeqCst));
    assert_eq!((data(&poll), poll.dump().interests.len()), (vec![], 0));
}

/// The same against a change: the interest's end waits for the ADD that is under way.
#[test]
fn fact_97_a_queue_that_goes_during_add_takes_the_interest_along() {
    let poll = instance();
    let source = Arc::new(Counter::new(1));
    poll.add(&source, 0, IN, 1).unwrap();
    let slow = Puppet::new(IN);
    let other = Arc::new(Mutex::new(Some(source)));
    slow.once(move || elsewhere(move || drop(other.lock().unwrap().take())));
    // The other source ends while this ADD holds the interest tree.
    poll.add(&slow, 0, IN, 2).unwrap();
    assert_eq!(data(&poll), [2]);
    assert_eq!(poll.dump().interests.len(), 1);
}
