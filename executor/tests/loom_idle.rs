//! Models of the idle books for loom: `RUSTFLAGS="--cfg egret_loom" cargo test --release --test loom_idle`.
//!
//! The bug they would catch: a task that is pushed while the last searcher goes to sleep and lies there with everybody
//! parked. loom reports it as a deadlock.
#![cfg(egret_loom)]

use egret_executor::model::{Idle, Settled};
use loom::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// The reactor as far as the books can tell: waiters, and one permit that doesn't add up.
#[derive(Default)]
struct Reactor {
    state: Mutex<Waits>,
    changed: Condvar,
}

#[derive(Default)]
struct Waits {
    permit: bool,
    /// An event: one waiter returns without a notification.
    event: bool,
    stopped: bool,
}

impl Reactor {
    fn notify_one(&self) {
        self.state.lock().unwrap().permit = true;
        self.changed.notify_one();
    }

    fn event(&self) {
        self.state.lock().unwrap().event = true;
        self.changed.notify_one();
    }

    fn stop(&self) {
        self.state.lock().unwrap().stopped = true;
        self.changed.notify_all();
    }

    /// Whether it was notified; none when all is over.
    fn wait(&self) -> Option<bool> {
        let mut state = self.state.lock().unwrap();
        loop {
            if state.stopped {
                return None;
            }
            if std::mem::take(&mut state.permit) {
                return Some(true);
            }
            if std::mem::take(&mut state.event) {
                return Some(false);
            }
            state = self.changed.wait(state).unwrap();
        }
    }

    /// A look between two polls.
    fn look(&self) -> bool {
        std::mem::take(&mut self.state.lock().unwrap().permit)
    }
}

/// A runtime whose queue is a count of tasks. It orders nothing: only the books' own fences make a push visible.
struct Runtime {
    idle: Idle,
    reactor: Reactor,
    queued: AtomicUsize,
    left: AtomicUsize,
    /// The first task that runs blocks its worker until all others have run.
    first_blocks: bool,
    ran: Mutex<usize>,
    others_ran: Condvar,
}

impl Runtime {
    fn new(workers: usize, tasks: usize) -> Arc<Self> {
        Self::with(workers, tasks, false)
    }

    fn with(workers: usize, tasks: usize, first_blocks: bool) -> Arc<Self> {
        Arc::new(Self {
            idle: Idle::new(workers),
            reactor: Reactor::default(),
            queued: AtomicUsize::new(0),
            left: AtomicUsize::new(tasks),
            first_blocks,
            ran: Mutex::new(0),
            others_ran: Condvar::new(),
        })
    }

    /// Runs a task; whether it was the last.
    fn run(&self) -> bool {
        let mut ran = self.ran.lock().unwrap();
        *ran += 1;
        if *ran == 1 && self.first_blocks {
            while self.left.load(Ordering::Relaxed) > 1 {
                ran = self.others_ran.wait(ran).unwrap();
            }
        }
        let last = self.left.fetch_sub(1, Ordering::Relaxed) == 1;
        self.others_ran.notify_all();
        last
    }

    fn push(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
        self.notify();
    }

    fn notify(&self) {
        if self.idle.claim_wake() {
            self.reactor.notify_one();
        }
    }

    fn has_work(&self) -> bool {
        self.queued.load(Ordering::Relaxed) > 0
    }

    fn take(&self) -> bool {
        self.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
    }

    /// A worker's loop, in the order of `worker.rs`. `looks`: it looks at the reactor before each task.
    fn work(&self, looks: bool) {
        let mut searching = false;
        loop {
            let mut found = self.take();
            if !found {
                searching = searching || self.idle.try_search();
                found = searching && self.take();
            }
            if found {
                if searching {
                    searching = false;
                    if self.idle.settle() == Settled::WasLast && self.has_work() {
                        self.notify();
                    }
                }
                if looks && self.reactor.look() {
                    self.idle.give_back();
                    if self.has_work() {
                        self.notify();
                    }
                }
                if self.run() {
                    self.reactor.stop();
                    return;
                }
                continue;
            }
            self.idle.park(searching);
            searching = false;
            if self.has_work() && self.idle.resume_search() {
                searching = true;
                continue;
            }
            match self.reactor.wait() {
                None => return,
                Some(true) => searching = true,
                Some(false) => self.idle.woken_by_event(),
            }
        }
    }
}

fn model(preemptions: Option<usize>, f: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(f);
}

/// Exhaustive: a push against the only worker on its way to sleep.
#[test]
fn a_push_against_the_last_one_going_to_sleep() {
    model(None, || {
        let runtime = Runtime::new(1, 1);
        let worker = thread::spawn({
            let runtime = runtime.clone();
            move || runtime.work(false)
        });
        runtime.push();
        worker.join().unwrap();
    });
}

#[test]
fn two_pushers_against_one_worker() {
    model(Some(3), || {
        let runtime = Runtime::new(1, 2);
        let worker = thread::spawn({
            let runtime = runtime.clone();
            move || runtime.work(true)
        });
        let pusher = thread::spawn({
            let runtime = runtime.clone();
            move || runtime.push()
        });
        runtime.push();
        pusher.join().unwrap();
        worker.join().unwrap();
    });
}

/// Two workers, one of which may be the last searcher of the other's wake.
#[test]
fn two_workers_and_two_tasks() {
    model(Some(2), || {
        let runtime = Runtime::new(2, 2);
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let runtime = runtime.clone();
                thread::spawn(move || runtime.work(true))
            })
            .collect();
        runtime.push();
        runtime.push();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

/// A task is pushed while the last searcher finds another, which then blocks it: it has to wake somebody before.
#[test]
fn a_push_against_the_last_searcher_that_finds_a_task() {
    model(Some(2), || {
        let runtime = Runtime::with(2, 2, true);
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let runtime = runtime.clone();
                thread::spawn(move || runtime.work(false))
            })
            .collect();
        runtime.push();
        runtime.push();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

/// A worker that an event has woken swallows the notification that was meant for a sleeper, and is then blocked.
#[test]
fn a_push_against_a_look_that_swallows_the_notification() {
    model(Some(2), || {
        let runtime = Runtime::with(2, 2, true);
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let runtime = runtime.clone();
                thread::spawn(move || runtime.work(true))
            })
            .collect();
        runtime.reactor.event();
        runtime.push();
        runtime.push();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

/// An event wakes the sleeper that a notification is meant for: the permit must still find somebody.
#[test]
fn a_push_against_an_event() {
    model(Some(2), || {
        let runtime = Runtime::new(2, 1);
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let runtime = runtime.clone();
                thread::spawn(move || runtime.work(true))
            })
            .collect();
        runtime.reactor.event();
        runtime.push();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}
