//! Models of abort and registration for loom: `RUSTFLAGS="--cfg egret_loom" cargo test --release --test loom_abort`.
//!
//! The bug they would catch: an abort (or the end of the runtime) that falls between a task's last look and its
//! registration, so that nobody ever wakes it.
#![cfg(egret_loom)]

use std::task::{Wake, Waker};

use egret_executor::model::{Abort, Closed, Links, Look, Publish, Published, Ready, Registry, State};
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
    links: Links,
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
        let to_end = match self.state.look() {
            Look::Go => false,
            Look::Aborted => true,
            Look::AskLinks => self.links.is_asked(TASK),
        };
        if to_end {
            return false;
        }
        match self.registry().insert(Some(0), TASK, waker.clone()) {
            Ok(key) => match self.state.publish(key) {
                Publish::Published => true,
                Publish::Linked => self.links.published(TASK, key) == Published::Waits,
                Publish::Aborted => false,
            },
            Err(Closed) => false,
        }
    }

    /// What an abort handle does that has nothing but the task's id.
    fn ask(&self) {
        let waker = self.links.ask(TASK).and_then(|key| self.registry().waker(key, TASK));
        // The waker keeps the task's memory: its state may be touched.
        if let Some(_waker) = waker {
            let _already_or_woken = self.abort();
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
        let left = self.state.withdraw();
        if left.linked {
            self.links.end(TASK);
        }
        if let Some(key) = left.key {
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

/// The link is made, and used, while the task comes to its first Pending.
#[test]
fn a_link_against_the_first_pending() {
    loom::model(|| {
        let model = Model::new();
        let (wakes, waker) = wakes();
        let aborter = thread::spawn({
            let model = model.clone();
            move || {
                model.links.make(TASK, &model.state);
                model.ask();
            }
        });
        let waits = model.first_pending(&waker);
        aborter.join().unwrap();
        assert_eq!(waits, wakes.0.load(Relaxed) == 1, "a waiting task is woken");
        // If it waits, its next look says why it was woken.
        assert!(!waits || model.state.look() == Look::Aborted);
        model.end();
        assert!(model.links.is_ended(TASK));
        assert_eq!(model.registry().len(), 0);
    });
}

/// Two links, one of them used by each of two threads.
#[test]
fn two_asks_against_the_first_pending() {
    loom::model(|| {
        let model = Model::new();
        let (wakes, waker) = wakes();
        model.links.make(TASK, &model.state);
        let other = thread::spawn({
            let model = model.clone();
            move || model.ask()
        });
        let waits = model.first_pending(&waker);
        model.ask();
        other.join().unwrap();
        assert_eq!(waits, wakes.0.load(Relaxed) == 1, "woken once, if it waits");
        model.end();
    });
}

/// A link that comes when the task waits already, or has ended.
#[test]
fn a_link_against_the_end() {
    loom::model(|| {
        let model = Model::new();
        let (_, waker) = wakes();
        let (successor, next) = wakes();
        assert!(model.first_pending(&waker));
        let aborter = thread::spawn({
            let model = model.clone();
            move || {
                model.links.make(TASK, &model.state);
                model.ask();
            }
        });
        model.end();
        assert!(model.registry().insert(Some(0), TASK + 1, next).is_ok());
        aborter.join().unwrap();
        assert_eq!(successor.0.load(Relaxed), 0);
        assert!(model.links.is_ended(TASK), "whoever came second has told the entry");
        model.links.forget(TASK);
        assert_eq!(model.links.len(), 0);
    });
}

/// A set's waiter and two tasks' ends.
#[test]
fn ends_of_a_sets_tasks_against_its_waiter() {
    loom::model(|| {
        let ready = Arc::new(Ready::default());
        let (wakes, waker) = wakes();
        let ends: Vec<_> = (0..2)
            .map(|number| {
                let ready = ready.clone();
                thread::spawn(move || {
                    if let Some(waiter) = ready.push(number) {
                        waiter.wake();
                    }
                })
            })
            .collect();
        let mut got = Vec::new();
        // Polls as often as it finds something, then waits.
        while let Some(number) = ready.pop_or_wait(&waker) {
            got.push(number);
        }
        for end in ends {
            end.join().unwrap();
        }
        let left: Vec<_> = std::iter::from_fn(|| ready.pop()).collect();
        assert!(left.is_empty() || wakes.0.load(Relaxed) == 1, "what came after it waits has woken it");
        got.extend(left);
        got.sort_unstable();
        assert_eq!(got, [0, 1]);
    });
}
