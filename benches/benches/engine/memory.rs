//! Sources that live in memory, beside the nearest thing that the kernel has: an eventfd.

use crate::entry::{Entry, Group, Ratio};
use crate::kernel::{Epoll, EventFd, NO_EVENT};
use egret::reactor::{Counter, Event, Eventpoll, Events};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// How many interests an instance has besides the one that comes and goes.
const OTHERS: usize = 1_000;

/// An interest is made and taken away again, in an empty instance and in one with others.
pub(crate) fn add_remove() -> Group {
    Group {
        name: "add_remove",
        entries: vec![
            add_remove_egret("egret", OTHERS),
            add_remove_kernel("kernel", OTHERS),
            add_remove_egret("egret_alone", 0),
            add_remove_kernel("kernel_alone", 0),
        ],
        ratios: vec![
            Ratio::new("add_remove kernel/egret", "kernel", "egret"),
            Ratio::new("add_remove_alone kernel/egret", "kernel_alone", "egret_alone"),
        ],
    }
}

fn add_remove_egret(name: &'static str, others: usize) -> Entry {
    Entry::timed(name, move || {
        let (poll, counters) = counters(others);
        let source = Arc::new(Counter::new(0));
        move || {
            // The entry owns them.
            let _others = &counters;
            poll.add(&source, 0, Events::IN | Events::ET, 1).expect("add");
            poll.remove(&source, 0).expect("remove");
        }
    })
}

fn add_remove_kernel(name: &'static str, others: usize) -> Entry {
    Entry::timed(name, move || {
        let epoll = Epoll::new();
        let event_fds: Vec<EventFd> = (0..others).map(|_| EventFd::new()).collect();
        for (event_fd, data) in event_fds.iter().zip(0..) {
            epoll.add(event_fd.as_fd(), libc::EPOLLIN | libc::EPOLLET, data);
        }
        let source = EventFd::new();
        move || {
            let _others = &event_fds;
            epoll.add(source.as_fd(), libc::EPOLLIN | libc::EPOLLET, 1);
            epoll.remove(source.as_fd());
        }
    })
}

/// A source becomes ready and its event is taken. Edge-triggered it is never read: each write is an edge (and a count of
/// 64 bits does not overflow here). Level-triggered it is read after each event.
pub(crate) fn wake_deliver() -> Group {
    Group {
        name: "wake_deliver",
        entries: vec![
            wake_deliver_egret("egret", Events::ET),
            wake_deliver_kernel("kernel", libc::EPOLLET),
            wake_deliver_egret("egret_level", Events::empty()),
            wake_deliver_kernel("kernel_level", 0),
        ],
        ratios: vec![
            Ratio::new("wake_deliver kernel/egret", "kernel", "egret"),
            Ratio::new("wake_deliver_level kernel/egret", "kernel_level", "egret_level"),
        ],
    }
}

fn wake_deliver_egret(name: &'static str, trigger: Events) -> Entry {
    Entry::timed(name, move || {
        let poll = instance();
        let source = Arc::new(Counter::new(0));
        poll.add(&source, 0, Events::IN | trigger, 7).expect("add");
        let mut events = [Event::default(); 16];
        move || {
            source.write(1).expect("write");
            assert_eq!(poll.wait(&mut events, Some(Duration::ZERO)).expect("wait"), 1);
            if trigger.is_empty() {
                source.read().expect("read");
            }
        }
    })
}

fn wake_deliver_kernel(name: &'static str, trigger: i32) -> Entry {
    Entry::timed(name, move || {
        let epoll = Epoll::new();
        let source = EventFd::new();
        epoll.add(source.as_fd(), libc::EPOLLIN | trigger, 7);
        let mut events = [NO_EVENT; 16];
        move || {
            source.write(1);
            assert_eq!(epoll.wait(&mut events, false), 1);
            if trigger == 0 {
                source.read();
            }
        }
    })
}

/// One ready source of many: always the same, or any of them (then the memory's caches don't have it).
pub(crate) fn wait() -> Group {
    Group {
        name: "wait",
        entries: vec![
            wait_same("same_of_16", 16),
            wait_same("same_of_1000", 1_000),
            wait_same("same_of_100000", 100_000),
            wait_any("any_of_16", 16),
            wait_any("any_of_1000", 1_000),
            wait_any("any_of_100000", 100_000),
        ],
        ratios: vec![
            Ratio::new("wait_100000/16", "same_of_100000", "same_of_16"),
            Ratio::new("wait_1000/16", "same_of_1000", "same_of_16"),
            Ratio::new("wait_any_100000/16", "any_of_100000", "any_of_16"),
        ],
    }
}

fn wait_same(name: &'static str, registered: usize) -> Entry {
    wait_for(name, registered, move || registered / 2)
}

fn wait_any(name: &'static str, registered: usize) -> Entry {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    wait_for(name, registered, move || {
        // xorshift64 (Marsaglia 2003).
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % registered as u64) as usize
    })
}

fn wait_for(name: &'static str, registered: usize, mut choose: impl FnMut() -> usize + 'static) -> Entry {
    Entry::timed(name, move || {
        let (poll, counters) = counters(registered);
        let mut events = [Event::default(); 16];
        move || {
            counters[choose()].write(1).expect("write");
            assert_eq!(poll.wait(&mut events, Some(Duration::ZERO)).expect("wait"), 1);
        }
    })
}

fn instance() -> Eventpoll {
    Eventpoll::new().expect("an instance")
}

/// An instance with so many idle, edge-triggered counters.
fn counters(count: usize) -> (Eventpoll, Vec<Arc<Counter>>) {
    let poll = instance();
    let counters: Vec<_> = (0..count).map(|_| Arc::new(Counter::new(0))).collect();
    for (counter, data) in counters.iter().zip(0..) {
        poll.add(counter, 0, Events::IN | Events::ET, data).expect("add");
    }
    (poll, counters)
}
