//! Events that fall into the one moment in which they could be lost. A waker whose clone runs code of the test makes the moment last.

mod support;

use std::{
    io::Write,
    os::unix::net::UnixStream,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, RawWaker, RawWakerVTable, Waker},
};

use egret_executor::io::{Direction, Registration};
use egret_reactor::Events;
use support::{bounded, eventually, runtime};

/// Writes to the peer when its waker is cloned, and waits until the registration has heard of it.
struct Trap {
    registration: Registration,
    peer: UnixStream,
    set: AtomicBool,
}

const TRAP: RawWakerVTable = RawWakerVTable::new(
    |trap| {
        // SAFETY: the data is a leaked `Trap`, of which only shared references are made.
        let this = unsafe { &*trap.cast::<Trap>() };
        if this.set.swap(false, Ordering::SeqCst) {
            (&this.peer).write_all(b"!").unwrap();
            eventually("it is heard", || this.registration.readiness().events.contains(Events::IN));
        }
        RawWaker::new(trap, &TRAP)
    },
    |_| {},
    |_| {},
    |_| {},
);

#[test]
fn an_event_between_the_look_and_the_storing_of_the_waker_is_seen() {
    bounded(|| {
        let runtime = runtime(1);
        let (end, peer) = UnixStream::pair().unwrap();
        end.set_nonblocking(true).unwrap();
        let registration = Registration::new_in(end.into(), runtime.handle()).unwrap();
        let trap: &Trap = Box::leak(Box::new(Trap { registration, peer, set: AtomicBool::new(false) }));
        let registration = &trap.registration;

        // Armed, with its first answer told, and nothing to read.
        for direction in [Direction::Read, Direction::Write] {
            registration.clear(registration.readiness(), direction);
        }
        let noop = &mut Context::from_waker(Waker::noop());
        assert!(registration.poll_ready(noop, Direction::Read).is_pending());
        eventually("the first answer", || registration.readiness().events.contains(Events::OUT));

        trap.set.store(true, Ordering::SeqCst);
        // SAFETY: see TRAP; the trap is leaked, and its parts may be used on any thread.
        let waker = unsafe { Waker::from_raw(RawWaker::new(std::ptr::from_ref(trap).cast(), &TRAP)) };
        let polled = registration.poll_ready(&mut Context::from_waker(&waker), Direction::Read);
        assert!(!trap.set.load(Ordering::SeqCst), "the waker was stored");
        assert!(polled.is_ready(), "nobody would ever wake it");
    });
}
