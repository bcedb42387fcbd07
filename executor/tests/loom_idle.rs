//! Models of the idle books for loom: `RUSTFLAGS="--cfg egret_loom" cargo test --release --test loom_idle`.
//!
//! The bugs they would catch: a task that is pushed while the last searcher goes to sleep and lies there with everybody parked;
//! a task that blocks its worker while the watch's alarm isn't set. loom reports both as a deadlock.
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
    /// For the alarm, and for those whom it frees.
    alarmed: Condvar,
}

#[derive(Default)]
struct Waits {
    permit: bool,
    /// An event: one waiter returns without a notification.
    event: bool,
    stopped: bool,
    /// The alarm is set.
    alarm: bool,
    /// How often the alarm may go off although nobody is blocked: time passes as it likes, but not for ever.
    idle_alarms: usize,
    /// A task blocks its worker, until the watch has seen to that.
    blocked: bool,
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

    fn set_alarm(&self) {
        self.state.lock().unwrap().alarm = true;
        self.alarmed.notify_all();
    }

    fn unset_alarm(&self) {
        self.state.lock().unwrap().alarm = false;
    }

    /// Whether the alarm has gone off; if not, all is over.
    fn wait_for_alarm(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        while !state.stopped {
            if state.alarm && (state.blocked || state.idle_alarms > 0) {
                state.alarm = false;
                state.idle_alarms = state.idle_alarms.saturating_sub(1);
                return true;
            }
            state = self.alarmed.wait(state).unwrap();
        }
        false
    }

    /// A task that doesn't end before somebody has come to the rescue.
    fn block(&self) {
        let mut state = self.state.lock().unwrap();
        state.blocked = true;
        self.alarmed.notify_all();
        while state.blocked {
            state = self.alarmed.wait(state).unwrap();
        }
    }

    fn rescue(&self) {
        self.state.lock().unwrap().blocked = false;
        self.alarmed.notify_all();
    }

    fn stop(&self) {
        self.state.lock().unwrap().stopped = true;
        self.changed.notify_all();
        self.alarmed.notify_all();
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
    /// Every task blocks its worker until the alarm goes off.
    watched: bool,
    ran: Mutex<usize>,
    others_ran: Condvar,
}

impl Runtime {
    fn new(workers: usize, tasks: usize) -> Arc<Self> {
        Self::with(workers, tasks, false)
    }

    fn with(workers: usize, tasks: usize, first_blocks: bool) -> Arc<Self> {
        Arc::new(Self::make(workers, tasks, first_blocks, false))
    }

    /// Every task blocks its worker until the alarm goes off, which may go off `idle_alarms` times before.
    fn watched(workers: usize, tasks: usize, idle_alarms: usize) -> Arc<Self> {
        let runtime = Self::make(workers, tasks, false, true);
        runtime.reactor.state.lock().unwrap().idle_alarms = idle_alarms;
        Arc::new(runtime)
    }

    fn make(workers: usize, tasks: usize, first_blocks: bool, watched: bool) -> Self {
        Self {
            idle: Idle::new(workers, watched),
            reactor: Reactor::default(),
            queued: AtomicUsize::new(0),
            left: AtomicUsize::new(tasks),
            first_blocks,
            watched,
            ran: Mutex::new(0),
            others_ran: Condvar::new(),
        }
    }

    /// The watch's thread.
    fn keep_watch(&self) {
        while self.reactor.wait_for_alarm() {
            if self.idle.try_disarm() {
                continue;
            }
            self.reactor.set_alarm();
            self.reactor.rescue();
        }
    }

    fn is_up(&self) {
        if self.idle.must_arm() {
            self.reactor.set_alarm();
        }
    }

    /// Runs a task; whether it was the last.
    fn run(&self) -> bool {
        if self.watched {
            self.reactor.block();
        }
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

    /// An event that wakes a task: whoever wakes finds it in its own queue, so nobody is told.
    fn event_with_task(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
        self.reactor.event();
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
        self.is_up();
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
                self.is_up();
                continue;
            }
            if self.watched && self.idle.all_parked() {
                self.reactor.unset_alarm();
                if !self.idle.try_disarm() {
                    self.reactor.set_alarm();
                }
            }
            match self.reactor.wait() {
                None => return,
                Some(true) => searching = true,
                Some(false) => self.idle.woken_by_event(),
            }
            self.is_up();
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

/// Runs a model with a watch beside `then`.
fn watch(
    preemptions: usize,
    workers: usize,
    tasks: usize,
    idle_alarms: usize,
    looks: bool,
    then: fn(&Runtime),
) {
    model(Some(preemptions), move || {
        let runtime = Runtime::watched(workers, tasks, idle_alarms);
        let mut threads: Vec<_> = (0..workers)
            .map(|_| {
                let runtime = runtime.clone();
                thread::spawn(move || runtime.work(looks))
            })
            .collect();
        threads.push(thread::spawn({
            let runtime = runtime.clone();
            move || runtime.keep_watch()
        }));
        then(&runtime);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// The alarm goes off while the worker lies down, or is down, or comes up again with a task that blocks it.
#[test]
fn an_alarm_against_a_worker_woken_by_an_event() {
    watch(3, 1, 2, 1, false, |runtime| {
        runtime.event_with_task();
        runtime.push();
    });
}

#[test]
fn an_alarm_against_two_notified_workers() {
    watch(1, 2, 1, 1, false, Runtime::push);
}

#[test]
fn an_alarm_against_a_look_that_swallows_the_notification() {
    watch(1, 2, 1, 1, true, |runtime| {
        runtime.reactor.event();
        runtime.push();
    });
}
