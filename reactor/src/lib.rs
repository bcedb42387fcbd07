//! egret-reactor: epoll's semantics in user space.
//!
//! An [`Eventpoll`] holds interests in [`Source`]s and tells which of them are ready: level-triggered, edge-triggered,
//! one-shot or exclusive, with any number of threads waiting, and instances that watch instances. It behaves as Linux's
//! epoll does and never calls it. What it takes for a source needs no descriptor: a [`Counter`] (eventfd), a [`Timer`]
//! (timerfd) and the two ends of a [`channel()`] (a pipe) live in memory, and a [`WaitQueue`] with a `poll` method is all it takes
//! to write another: [`WaitQueue`] shows the smallest, [`examples/own_source.rs`][own] a whole program. Descriptors are sources
//! through [`Fd`] (exact) and [`CachedFd`] (for a runtime), fed by io_uring, Linux AIO
//! or `poll(2)` through [`Lanes`].
//!
//! [own]: https://github.com/egret-rs/egret/blob/main/reactor/examples/own_source.rs
//!
//! The crate is synchronous: no futures, no tasks, no protocols.
//!
//! ```
//! use egret_reactor::{Counter, Event, Eventpoll, Events};
//! use std::{sync::Arc, time::Duration};
//!
//! let poll = Eventpoll::new()?;
//! let a = Arc::new(Counter::new(0));
//! let b = Arc::new(Counter::new(1));
//! poll.add(&a, 0, Events::IN, 1)?;
//! poll.add(&b, 0, Events::IN | Events::ONESHOT, 2)?;
//!
//! let mut events = [Event::default(); 4];
//! assert_eq!(poll.wait(&mut events, None)?, 1); // b is ready,
//! assert_eq!(events[0].data, 2);
//! a.write(1)?;
//! assert_eq!(poll.wait(&mut events, None)?, 1); // now a; b fired once and is silent
//! assert_eq!(events[0].data, 1);
//! assert_eq!(poll.wait(&mut events, Some(Duration::ZERO))?, 1); // a again: level-triggered
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Locks
//!
//! Outermost first; a thread takes them only in this order:
//!
//! | lock       | where             | protects                                                         |
//! |------------|-------------------|------------------------------------------------------------------|
//! | topology   | `eventpoll::topology` | which instance watches which                                 |
//! | control    | `eventpoll`       | interest tree, delivery; an outer instance's before an inner one's |
//! | source     | a source's own    | its state: released before it wakes its queue                    |
//! | clock      | `timer::clock`    | which timers have to be told, and when                           |
//! | arm        | `fd`, `cached`    | where a descriptor is armed                                      |
//! | lane       | `lane`            | a lane's arms; held while completions are published              |
//! | wait queue | `wait_queue`      | the hooks of a source; an inner instance's before an outer one's |
//! | list       | `eventpoll::ready`| ready list, overflow list, waiters                               |
//! | feed       | `feed`            | the ends of a ring; the table of `aio` or `poll`                |
//!
//! `Source::poll` is the only user code that runs under a lock (control), as in the kernel. Wakers, and drops of what a user
//! gave us, run under none.

// In a model there are no descriptors: what serves only them is left out or unused.
#![cfg_attr(egret_loom, allow(dead_code, unused_imports))]

#[cfg(not(egret_loom))]
mod alarm;
#[cfg(not(egret_loom))]
mod cached;
mod channel;
mod counter;
mod eventpoll;
mod events;
#[cfg(not(egret_loom))]
mod fd;
#[cfg(not(egret_loom))]
mod feed;
#[cfg(not(egret_loom))]
mod fork;
#[cfg(not(egret_loom))]
mod lane;
mod parker;
#[cfg(not(egret_loom))]
mod prefetch;
mod seat;
mod source;
mod sync;
#[cfg(not(egret_loom))]
mod timer;
mod wait_queue;
#[cfg(all(test, not(egret_loom)))]
#[path = "../../tests/support/watchdog.rs"]
mod watchdog;

#[cfg(not(egret_loom))]
pub use alarm::Alarm;
#[cfg(not(egret_loom))]
pub use cached::{CachedFd, CachedReadiness, Readiness};
pub use channel::{Receiver, Sender, TryRecvError, TrySendError, channel};
pub use counter::Counter;
pub use eventpoll::{Dump, Eventpoll, InterestDump, Woken, max_watches, set_max_watches, watches};
pub use events::{Event, Events};
#[cfg(not(egret_loom))]
pub use fd::Fd;
#[cfg(not(egret_loom))]
pub use feed::{FeedChoice, FeedKind};
#[cfg(not(egret_loom))]
pub use lane::{Lane, LaneGuard, LaneStats, Lanes};
pub use source::{AsSource, PollTable, Source, level};
#[doc(hidden)]
pub use source::{Nested, Probe};
#[cfg(not(egret_loom))]
pub use timer::Timer;
pub use wait_queue::WaitQueue;
