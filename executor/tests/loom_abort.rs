//! Models of abort and registration for loom: `RUSTFLAGS="--cfg egret_loom" cargo test --release --test loom_abort`.
//!
//! The bug they would catch: an abort (or the end of the runtime) that falls between a task's last look and its
//! registration, so that nobody ever wakes it.
#![cfg(egret_loom)]

use std::task::{Wake, Waker};

use egret_executor::model::{Abort, Closed, Publish, Registry, State};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

const TASK: u64 = 7;

/// Stands for a task's waker: counts its wakes.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[derive(Default)]
struct Model {
    state: State,
    registry: Option<Registry>,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self { registry: Some(Registry::new(1)), ..Self::default() })
    }

    fn registry(&self) -> &Registry {
        self.registry.as_ref().unwrap()
    }

    /// The task's first poll, as the harness does it: it looks at the bit, polls, registers. Whether it waits now.
    fn first_pending(&self, waker: &Waker) -> bool {
        if self.state.is_aborted() {
            return false;
        }
        match self.registry().insert(Some(0), TASK, waker.clone()) {
            Ok(key) => self.state.publish(key) == Publish::Published,
            Err(Closed) => false,
        }
    }

    fn abort(&self) -> Abort {
        let abort = self.state.abort();
        if let Abort::Wake(key) = abort {
            if let Some(waker) = self.registry().waker(key, TASK) {
                waker.wake();
            }
        }
        abort
    }

    /// The end of the task's future.
    fn end(&self) {
        if let Some(key) = self.state.withdraw() {
            drop(self.registry().remove(key, TASK));
        }
    }
}

fn wakes() -> (std::sync::Arc<Wakes>, Waker) {
    let wakes = std::sync::Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    (wakes, waker)
}

#[test]
fn abort_against_the_first_pending() {
    loom::model(|| {
        let model = Model::new();
        let (wakes, waker) = wakes();
        let aborter = thread::spawn({
            let model = model.clone();
            move || model.abort()
        });
        let waits = model.first_pending(&waker);
        assert_ne!(aborter.join().unwrap(), Abort::Already);
        assert_eq!(waits, wakes.0.load(Relaxed) == 1, "a waiting task is woken");
        model.end();
        assert_eq!(model.registry().len(), 0);
    });
}

#[test]
fn two_aborts_wake_once() {
    loom::model(|| {
        let model = Model::new();
        let (wakes, waker) = wakes();
        assert!(model.first_pending(&waker));
        let other = thread::spawn({
            let model = model.clone();
            move || model.abort()
        });
        let mine = model.abort();
        let other = other.join().unwrap();
        assert!((mine == Abort::Already) != (other == Abort::Already));
        assert_eq!(wakes.0.load(Relaxed), 1);
    });
}

/// The slot's next tenant is not woken for the last one's abort.
#[test]
fn abort_against_the_end_and_a_successor() {
    loom::model(|| {
        let model = Model::new();
        let (_, waker) = wakes();
        let (successor, next) = wakes();
        assert!(model.first_pending(&waker));
        let aborter = thread::spawn({
            let model = model.clone();
            move || {
                let _ = model.abort();
            }
        });
        model.end();
        assert!(model.registry().insert(Some(0), TASK + 1, next).is_ok());
        aborter.join().unwrap();
        assert_eq!(successor.0.load(Relaxed), 0);
    });
}

#[test]
fn the_end_of_the_runtime_against_the_first_pending() {
    loom::model(|| {
        let model = Model::new();
        let (wakes, waker) = wakes();
        let cleaner = thread::spawn({
            let model = model.clone();
            move || {
                for waker in model.registry().close_and_take() {
                    waker.wake();
                }
            }
        });
        let waits = model.first_pending(&waker);
        cleaner.join().unwrap();
        assert_eq!(waits, wakes.0.load(Relaxed) == 1);
        model.end();
        assert_eq!(model.registry().len(), 0);
    });
}
