//! The oracle: one script, run on the kernel's epoll and on egret. What holds on one has to hold on the other, and if the two
//! differ the kernel is right.
//!
//! [`Engine`] is the little that a script needs. [`Kernel`] is `epoll(7)` over eventfds; [`Egret`] is the engine, over counters
//! in memory or over the same eventfds. [`on_both!`] makes three tests of each script.
#![allow(dead_code)] // Each test binary uses its part.
#![allow(unused_macros, unused_imports)]

mod kernel;

pub use kernel::{Kernel, eventfd, file, wait_with_mask};

use crate::rules_common::{BOUND, Waiting};
use egret_reactor::{AsSource, Counter, Event, Eventpoll, Events, Fd, FeedChoice, FeedKind, Lanes, Source};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The number of an error, as epoll_ctl(2) would leave it in errno.
pub type Errno = i32;

pub trait Engine: Sized {
    /// An instance. Clones are handles of the same one.
    type Poll: Clone;
    /// Something to watch. Clones are the same source; when the last one goes, it is closed.
    type Source: Clone;
    type Sleeper: Sleeper;

    fn instance(&self) -> Self::Poll;

    /// A source that is readable above zero, and always writable.
    fn counter(&self, value: u64) -> Self::Source;
    fn write(&self, counter: &Self::Source);
    /// Takes everything.
    fn read(&self, counter: &Self::Source);

    /// An instance as something to watch.
    fn target(&self, poll: &Self::Poll) -> Self::Source;

    /// `tag` tells interests in one source apart: on the kernel's side a dup'ed descriptor for each.
    fn add(
        &self,
        poll: &Self::Poll,
        source: &Self::Source,
        tag: u64,
        mask: Events,
        data: u64,
    ) -> Result<(), Errno>;
    fn modify(
        &self,
        poll: &Self::Poll,
        source: &Self::Source,
        tag: u64,
        mask: Events,
        data: u64,
    ) -> Result<(), Errno>;
    fn remove(&self, poll: &Self::Poll, source: &Self::Source, tag: u64) -> Result<(), Errno>;

    fn wait(&self, poll: &Self::Poll, room: usize, timeout: Option<Duration>) -> Result<Vec<Event>, Errno>;

    /// A thread that waits for ever; returned when it is asleep.
    fn sleeper(&self, poll: &Self::Poll, room: usize) -> Self::Sleeper;

    /// The masks and numbers of all interests, as the instance shows them to whoever looks for a fault.
    fn stored(&self, poll: &Self::Poll) -> Vec<(Events, u64)>;

    /// Makes sure that this many descriptors can be open, if instances and sources are any.
    fn needs_descriptors(&self, _count: u64) {}

    /// Whether every arrival is an edge. (The `poll` and `aio` feeds promise less for descriptors.)
    fn is_exact(&self) -> bool {
        true
    }

    fn look(&self, poll: &Self::Poll) -> Vec<Event> {
        self.wait(poll, 64, Some(Duration::ZERO)).unwrap()
    }

    /// One pass with room for everything: only the data.
    fn data(&self, poll: &Self::Poll) -> Vec<u64> {
        numbers(&self.look(poll))
    }

    /// One pass with room for one.
    fn one(&self, poll: &Self::Poll) -> Option<u64> {
        numbers(&self.wait(poll, 1, Some(Duration::ZERO)).unwrap()).pop()
    }

    /// Watches another instance.
    fn nest(&self, outer: &Self::Poll, inner: &Self::Poll, mask: Events, data: u64) -> Result<(), Errno> {
        self.add(outer, &self.target(inner), 0, mask, data)
    }

    fn unnest(&self, outer: &Self::Poll, inner: &Self::Poll) -> Result<(), Errno> {
        self.remove(outer, &self.target(inner), 0)
    }

    /// A counter under watch.
    fn watched(&self, poll: &Self::Poll, value: u64, mask: Events, data: u64) -> Self::Source {
        let counter = self.counter(value);
        self.add(poll, &counter, 0, mask, data).unwrap();
        counter
    }
}

/// A thread inside `wait`.
pub trait Sleeper {
    /// What it brought; waits for that.
    fn data(&self) -> Vec<u64>;
    /// Has not come back so far.
    fn is_asleep(&self) -> bool;
    /// Ends one that has to be asleep, with nothing in its hands. Of several on one instance the last comer goes first.
    fn dismiss(self);
}

pub fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.data).collect()
}

/// egret, over counters in memory or over eventfds.
pub struct Egret {
    lanes: Lanes,
    descriptors: bool,
    /// A thread that blocks in the feed: see `sleeper`.
    leader: Mutex<Option<Waiting>>,
}

impl Egret {
    pub fn in_memory() -> Self {
        Self::new(false)
    }

    pub fn over_descriptors() -> Self {
        Self::new(true)
    }

    fn new(descriptors: bool) -> Self {
        let lanes = Lanes::new(FeedChoice::Auto).unwrap();
        Self { lanes, descriptors, leader: Mutex::new(None) }
    }
}

#[derive(Clone)]
pub enum Thing {
    Counter(Arc<Counter>),
    Eventfd(Arc<Fd<OwnedFd>>),
    Instance(Eventpoll),
}

impl AsSource for Thing {
    fn as_source(&self) -> Arc<dyn Source> {
        match self {
            Thing::Counter(counter) => counter.as_source(),
            Thing::Eventfd(fd) => fd.as_source(),
            Thing::Instance(poll) => poll.as_source(),
        }
    }
}

fn errno<T>(result: io::Result<T>) -> Result<T, Errno> {
    result.map_err(|error| error.raw_os_error().expect("an errno"))
}

impl Engine for Egret {
    type Poll = Eventpoll;
    type Source = Thing;
    type Sleeper = Waiting;

    fn instance(&self) -> Eventpoll {
        Eventpoll::with_lanes(&self.lanes)
    }

    fn counter(&self, value: u64) -> Thing {
        if self.descriptors {
            Thing::Eventfd(Arc::new(Fd::new(kernel::eventfd(value)).unwrap()))
        } else {
            Thing::Counter(Arc::new(Counter::new(value)))
        }
    }

    fn write(&self, counter: &Thing) {
        match counter {
            Thing::Counter(counter) => counter.write(1).unwrap(),
            Thing::Eventfd(fd) => kernel::write_one(fd.get_ref()),
            Thing::Instance(_) => panic!("not a counter"),
        }
    }

    fn read(&self, counter: &Thing) {
        match counter {
            Thing::Counter(counter) => assert!(counter.read().unwrap() > 0),
            Thing::Eventfd(fd) => kernel::read_all(fd.get_ref()),
            Thing::Instance(_) => panic!("not a counter"),
        }
    }

    fn target(&self, poll: &Eventpoll) -> Thing {
        Thing::Instance(poll.clone())
    }

    fn add(&self, poll: &Eventpoll, source: &Thing, tag: u64, mask: Events, data: u64) -> Result<(), Errno> {
        errno(poll.add(source, tag, mask, data))
    }

    fn modify(
        &self,
        poll: &Eventpoll,
        source: &Thing,
        tag: u64,
        mask: Events,
        data: u64,
    ) -> Result<(), Errno> {
        errno(poll.modify(source, tag, mask, data))
    }

    fn remove(&self, poll: &Eventpoll, source: &Thing, tag: u64) -> Result<(), Errno> {
        errno(poll.remove(source, tag))
    }

    fn wait(&self, poll: &Eventpoll, room: usize, timeout: Option<Duration>) -> Result<Vec<Event>, Errno> {
        let mut events = vec![Event::default(); room];
        let n = errno(poll.wait(&mut events, timeout))?;
        events.truncate(n);
        Ok(events)
    }

    fn sleeper(&self, poll: &Eventpoll, room: usize) -> Waiting {
        // The thread that blocks in the feed hears of descriptors before the others, and with `aio` it comes back now and then
        // for the feed's own sake. Here somebody else blocks, so that who is woken is the list of waiters' to say.
        if self.descriptors || self.lanes.feed() == FeedKind::Aio {
            self.leader.lock().unwrap().get_or_insert_with(|| Waiting::start(&self.instance(), 1));
        }
        Waiting::start(poll, room)
    }

    fn stored(&self, poll: &Eventpoll) -> Vec<(Events, u64)> {
        poll.dump().interests.iter().map(|interest| (interest.events, interest.data)).collect()
    }

    fn is_exact(&self) -> bool {
        !self.descriptors || self.lanes.feed() == FeedKind::Uring
    }
}

impl Sleeper for Waiting {
    fn data(&self) -> Vec<u64> {
        Waiting::data(self)
    }

    fn is_asleep(&self) -> bool {
        Waiting::is_asleep(self)
    }

    fn dismiss(self) {
        Waiting::dismiss(self);
    }
}

impl Drop for Egret {
    fn drop(&mut self) {
        let leader = self.leader.get_mut().unwrap().take();
        if let Some(leader) = leader.filter(|_| !std::thread::panicking()) {
            leader.dismiss();
        }
    }
}

/// Three tests of each script: `kernel::`, `in_memory::` and `over_descriptors::`. One that hangs fails.
macro_rules! on_both {
    ($($script:ident)*) => {
        crate::oracle_common::on_both! { mod kernel: super::Kernel; $($script)* }
        crate::oracle_common::on_both! { mod in_memory: super::Egret::in_memory(); $($script)* }
        crate::oracle_common::on_both! { mod over_descriptors: super::Egret::over_descriptors(); $($script)* }
    };
    (mod $name:ident: $engine:expr; $($script:ident)*) => {
        mod $name {
            $(#[test]
            fn $script() {
                crate::rules_common::bounded(|| super::$script(&$engine));
            })*
        }
    };
}
pub(crate) use on_both;
