//! What the tests of this directory share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

#[path = "../../../tests/support/watchdog.rs"]
mod watchdog;

use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use egret_executor::{Builder, Runtime};
#[allow(unused_imports)] // as above
pub use watchdog::{Watchdog, bounded};

/// No test waits longer than this for anything: the machine may be slow and shared, but a hang must end.
pub const LONG: Duration = Duration::from_secs(60);

/// A runtime under a watchdog: the process ends if it lives too long, which is what a hang in it, or in its drop, comes to.
pub struct Watched {
    runtime: Runtime,
    _watchdog: Watchdog,
}

impl Watched {
    #[track_caller]
    pub fn new(builder: Builder) -> Self {
        let _watchdog = Watchdog::start();
        Self { runtime: builder.build().expect("a runtime"), _watchdog }
    }
}

impl Deref for Watched {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        &self.runtime
    }
}

#[track_caller]
pub fn runtime(workers: usize) -> Watched {
    Watched::new(Builder::new_multi_thread().worker_threads(workers))
}

/// Waits until `condition` holds, for things that tell nobody (a thread's end).
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::yield_now();
    }
}

/// A future that is pending until it is opened, by any thread.
#[derive(Clone, Default)]
pub struct Gate(Arc<GateState>);

#[derive(Default)]
struct GateState {
    open: AtomicBool,
    polled: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Gate {
    pub fn open(&self) {
        self.0.open.store(true, Ordering::SeqCst);
        let wakers = std::mem::take(&mut *self.0.wakers.lock().unwrap());
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether anybody has waited.
    pub fn was_polled(&self) -> bool {
        self.0.polled.load(Ordering::SeqCst)
    }
}

impl Future for Gate {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.0.open.load(Ordering::SeqCst) {
            self.0.wakers.lock().unwrap().push(cx.waker().clone());
            self.0.polled.store(true, Ordering::SeqCst);
            if !self.0.open.load(Ordering::SeqCst) {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

/// Counts its drops.
#[derive(Clone, Default)]
pub struct Drops(Arc<AtomicUsize>);

impl Drops {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub fn guard(&self) -> DropGuard {
        DropGuard(self.0.clone())
    }
}

pub struct DropGuard(Arc<AtomicUsize>);

impl Drop for DropGuard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Runs a closure when it is dropped.
pub struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    pub fn new(f: F) -> Self {
        Self(Some(f))
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

/// Keeps a worker busy inside of a poll until `release` is called or dropped.
pub struct Blocker {
    release: mpsc::Sender<()>,
}

impl Blocker {
    /// Returns once a worker is blocked.
    pub fn occupy(runtime: &Runtime) -> Self {
        let (release, released) = mpsc::channel::<()>();
        let (running, is_running) = mpsc::channel();
        drop(runtime.spawn(async move {
            running.send(()).unwrap();
            // An error is the sender's drop.
            let _ = released.recv_timeout(LONG);
        }));
        is_running.recv_timeout(LONG).expect("a worker takes it");
        Self { release }
    }

    pub fn release(self) {
        drop(self.release);
    }
}
