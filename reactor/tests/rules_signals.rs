//! Signals: what they do to a wait, and, since a handler can hold a thread still at any point, wake-ups whose order is chosen
//! instead of hoped for. Named after epoll facts.
#![cfg(not(egret_loom))]

mod oracle_common;
mod rules_common;

use egret_reactor::{Counter, Event, Eventpoll, Events, Fd};
use oracle_common::{Egret, Engine, Kernel, on_both};
use rules_common::*;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const OUTER: u64 = 100;

fn counter() -> Arc<Counter> {
    Arc::new(Counter::new(0))
}

fn on_signal(signal: i32, handler: extern "C" fn(i32), flags: i32) {
    // SAFETY: all zeroes is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = flags;
    // SAFETY: the action is valid, and its handler does only what a handler may.
    assert_eq!(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) }, 0);
}

fn send(thread: libc::pthread_t, signal: i32) {
    // SAFETY: the thread has not been joined.
    assert_eq!(unsafe { libc::pthread_kill(thread, signal) }, 0);
}

/// Two pipes that a handler talks through: "I am in it", and "go on".
struct Gate {
    entered: (io::PipeReader, io::PipeWriter),
    go: (io::PipeReader, io::PipeWriter),
}

static ENTERED: AtomicI32 = AtomicI32::new(-1);
static GO: AtomicI32 = AtomicI32::new(-1);

static GATE: LazyLock<Mutex<Gate>> = LazyLock::new(|| {
    let gate = Gate { entered: io::pipe().unwrap(), go: io::pipe().unwrap() };
    ENTERED.store(gate.entered.1.as_raw_fd(), Ordering::SeqCst);
    GO.store(gate.go.0.as_raw_fd(), Ordering::SeqCst);
    on_signal(libc::SIGUSR1, stand_still, libc::SA_RESTART);
    Mutex::new(gate)
});

extern "C" fn stand_still(_: i32) {
    let mut byte = [0u8; 1];
    // SAFETY: read and write are async-signal-safe, the buffer is valid, and errno is left as it was.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(ENTERED.load(Ordering::SeqCst), byte.as_ptr().cast(), 1);
        libc::read(GO.load(Ordering::SeqCst), byte.as_mut_ptr().cast(), 1);
        *libc::__errno_location() = errno;
    }
}

impl Gate {
    /// The tests that hold threads, one at a time.
    fn turn() -> MutexGuard<'static, Self> {
        GATE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That thread stands still in a signal handler until the returned value is dropped.
    fn hold(&self, thread: libc::pthread_t) -> Held<'_> {
        use std::io::Read;
        send(thread, libc::SIGUSR1);
        (&self.entered.0).read_exact(&mut [0; 1]).unwrap();
        Held(self)
    }
}

struct Held<'a>(&'a Gate);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        use std::io::Write;
        (&self.0.go.1).write_all(&[0]).unwrap();
    }
}

/// A callback wakes a waiter although its item is queued already, and its first waiter woken.
#[test]
fn fact_51_each_callback_wakes_one_also_for_an_item_that_is_queued() {
    bounded(|| {
        let gate = Gate::turn();
        let (leader, poll, source) = (leader(), instance(), counter());
        poll.add(&source, 0, Events::IN | Events::ET, 1).unwrap();
        let (other, last) = (Waiting::start(&poll, 4), Waiting::start(&poll, 4));
        let held = gate.hold(last.pthread());
        source.write(1).unwrap();
        assert_eq!(
            (ready(&poll), waiters(&poll)),
            (1, 2),
            "queued; the one that was woken does not get to it"
        );
        source.write(1).unwrap();
        assert_eq!(other.data(), [1]);
        drop(held);
        last.dismiss();
        leader.dismiss();
    });
}

#[test]
fn fact_83_a_look_from_the_outer_wakes_a_waiter_of_the_inner() {
    bounded(|| {
        let gate = Gate::turn();
        let (leader, outer, inner, source) = (leader(), instance(), instance(), counter());
        outer.add(&inner, 0, Events::IN, OUTER).unwrap();
        inner.add(&source, 0, Events::IN | Events::ET, 1).unwrap();
        let (other, last) = (Waiting::start(&inner, 4), Waiting::start(&inner, 4));
        let held = gate.hold(last.pthread());
        source.write(1).unwrap();
        assert_eq!((ready(&inner), waiters(&inner)), (1, 2));
        assert_eq!(data(&outer), [OUTER]);
        assert_eq!(other.data(), [1], "the cascade of that look");
        drop(held);
        last.dismiss();
        leader.dismiss();
    });
}

/// Woken at a time when its deadline has passed and it hasn't noticed yet: the event is its own.
#[test]
fn fact_82_a_wake_up_that_meets_the_end_of_a_wait_is_not_lost() {
    bounded(|| {
        let gate = Gate::turn();
        for late in [false, true] {
            let (leader, poll, source) = (leader(), instance(), counter());
            poll.add(&source, 0, Events::IN | Events::ET, 1).unwrap();
            let other = Waiting::start(&poll, 4);
            let inside = poll.clone();
            let timeout = Duration::from_millis(300);
            let timed =
                thread::spawn(move || inside.wait(&mut [Event::default(); 4], Some(timeout)).unwrap());
            until("both wait", || waiters(&poll) == 2);
            let deadline = Instant::now() + timeout;
            let held = gate.hold(timed.as_pthread_t());
            let pass = || until("the deadline has passed", || Instant::now() > deadline);
            if late {
                pass();
            }
            source.write(1).unwrap();
            pass();
            drop(held);
            assert_eq!(timed.join().unwrap(), 1);
            other.dismiss();
            leader.dismiss();
        }
    });
}

/// The waiter below is slow: the one above sees the event, and leaves it where it is.
#[test]
fn fact_44_an_edge_reaches_both_storeys_if_the_upper_one_looks_first() {
    bounded(|| {
        let gate = Gate::turn();
        let (leader, outer, inner, source) = (leader(), instance(), instance(), counter());
        outer.add(&inner, 0, Events::IN, OUTER).unwrap();
        inner.add(&source, 0, Events::IN | Events::ET, 1).unwrap();
        let (above, below) = (Waiting::start(&outer, 4), Waiting::start(&inner, 4));
        let held = gate.hold(below.pthread());
        source.write(1).unwrap();
        assert_eq!(above.data(), [OUTER]);
        drop(held);
        assert_eq!(below.data(), [1]);
        leader.dismiss();
    });
}

/// The waiter above is slow: the one below has taken the edge, and there is nothing left to report.
#[test]
fn fact_44_an_edge_that_was_taken_below_leaves_the_upper_storey_asleep() {
    bounded(|| {
        let gate = Gate::turn();
        let (leader, outer, inner, source) = (leader(), instance(), instance(), counter());
        outer.add(&inner, 0, Events::IN, OUTER).unwrap();
        inner.add(&source, 0, Events::IN | Events::ET, 1).unwrap();
        let (above, below) = (Waiting::start(&outer, 4), Waiting::start(&inner, 4));
        let held = gate.hold(above.pthread());
        source.write(1).unwrap();
        assert_eq!(below.data(), [1]);
        drop(held);
        above.dismiss();
        leader.dismiss();
    });
}

static HANDLED: AtomicUsize = AtomicUsize::new(0);
static BELL: AtomicI32 = AtomicI32::new(-1);

/// Counts, and rings an eventfd if there is one.
extern "C" fn ring(_: i32) {
    let one = 1u64.to_ne_bytes();
    let bell: RawFd = BELL.load(Ordering::SeqCst);
    // SAFETY: write is async-signal-safe, the buffer is valid, and errno is left as it was.
    unsafe {
        let errno = *libc::__errno_location();
        if bell >= 0 {
            libc::write(bell, one.as_ptr().cast(), one.len());
        }
        *libc::__errno_location() = errno;
    }
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

/// The tests that use `ring`, one at a time.
fn ringing() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    BELL.store(-1, Ordering::SeqCst);
    on_signal(libc::SIGUSR2, ring, libc::SA_RESTART);
    turn
}

on_both! {
    fact_88_a_signal_ends_a_wait_also_with_sa_restart
}

fn fact_88_a_signal_ends_a_wait_also_with_sa_restart<E: Engine + Sync>(engine: &E)
where
    E::Poll: Send + Sync,
{
    let _turn = ringing();
    let poll = engine.instance();
    let source = engine.watched(&poll, 0, Events::IN, 1);
    thread::scope(|scope| {
        let (hello, born) = mpsc::channel();
        let (engine, poll) = (engine, &poll);
        let waiting = scope.spawn(move || {
            // SAFETY: no arguments, and it always succeeds.
            hello.send(unsafe { libc::pthread_self() }).unwrap();
            engine.wait(poll, 4, None)
        });
        let thread = born.recv().unwrap();
        // A signal that comes before the wait says nothing.
        until("the wait ends", || {
            send(thread, libc::SIGUSR2);
            thread::yield_now();
            waiting.is_finished()
        });
        assert_eq!(waiting.join().unwrap(), Err(libc::EINTR));
    });
    engine.write(&source);
    // Not at once: the thread that armed the descriptor, if it is one, has ended.
    assert_eq!(engine.wait(&poll, 4, Some(BOUND)).unwrap().len(), 1, "and does no harm");
}

/// What differs from the kernel: of the threads that share a lane only the one that blocks in the feed is told.
#[test]
fn fact_88_a_thread_that_sleeps_behind_another_is_not_told() {
    bounded(|| {
        let _turn = ringing();
        let (leader, poll) = (leader(), instance());
        let waiting = Waiting::start(&poll, 4);
        let before = HANDLED.load(Ordering::SeqCst);
        send(waiting.pthread(), libc::SIGUSR2);
        until("the handler ran", || HANDLED.load(Ordering::SeqCst) > before);
        waiting.dismiss();
        leader.dismiss();
    });
}

/// The handler itself makes the event. The kernel's wait is over before the handler runs; ours looks once more after it.
#[test]
fn fact_75_an_event_beats_the_signal_that_came_with_it() {
    bounded(|| {
        let _turn = ringing();
        let (poll, bell) = (instance(), Arc::new(Fd::new(oracle_common::eventfd(0)).unwrap()));
        BELL.store(bell.get_ref().as_raw_fd(), Ordering::SeqCst);
        let inside = poll.clone();
        let waiting = thread::spawn(move || {
            // With `uring` it is the thread that armed a descriptor which hears of it.
            inside.add(&bell, 0, Events::IN, 1).unwrap();
            inside.wait(&mut [Event::default(); 4], None).unwrap()
        });
        until("it waits", || waiters(&poll) == 1);
        send(waiting.as_pthread_t(), libc::SIGUSR2);
        assert_eq!(waiting.join().unwrap(), 1);
    });
}

/// How the kernel does it: a signal that is pending when the wait begins, and an event that is there.
#[test]
fn fact_75_the_kernel_prefers_the_event_too() {
    bounded(|| {
        let _turn = ringing();
        let poll = Kernel.instance();
        let source = Kernel.watched(&poll, 1, Events::IN, 1);
        // SAFETY: the sets are valid; the signal goes to this thread, which has it blocked.
        let none = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            let none = set;
            libc::sigaddset(&mut set, libc::SIGUSR2);
            assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()), 0);
            send(libc::pthread_self(), libc::SIGUSR2);
            none
        };
        let before = HANDLED.load(Ordering::SeqCst);
        assert_eq!(oracle_common::wait_with_mask(&poll, &none), Ok(1));
        assert_eq!(HANDLED.load(Ordering::SeqCst), before, "still pending");
        Kernel.read(&source);
        assert_eq!(oracle_common::wait_with_mask(&poll, &none), Err(libc::EINTR));
        assert_eq!(HANDLED.load(Ordering::SeqCst), before + 1);
    });
}

#[test]
fn an_interrupted_wait_leaves_nothing_behind() {
    bounded(|| {
        let _turn = ringing();
        let poll: Eventpoll = instance();
        let source = counter();
        poll.add(&source, 0, Events::IN | Events::ET, 1).unwrap();
        let inside = poll.clone();
        let waiting = thread::spawn(move || inside.wait(&mut [Event::default(); 1], None));
        until("the wait ends", || {
            send(waiting.as_pthread_t(), libc::SIGUSR2);
            thread::yield_now();
            waiting.is_finished()
        });
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), io::ErrorKind::Interrupted);
        assert_eq!(waiters(&poll), 0);
        let next = Waiting::start(&poll, 1);
        source.write(1).unwrap();
        assert_eq!(next.data(), [1]);
    });
}
