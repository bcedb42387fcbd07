//! How a worker sleeps, and how it looks after those that don't come by.
//!
//! ```text
//!   park: round? ─► the books ─► look at all queues ─► wait (at most until the next deadline) ─► the books ─► alarm ─► deliver
//!           │ somebody is late                                                                                           │
//!           ▼                                                                                         round, if it has rung
//!         look at the reactor, deliver: with what the round has found ◄───── somebody is late ───────────────────────────┘
//! ```
//!
//! A worker reads the clock for the others' sake before it waits (when it has time), every 61 polls, and after the alarm; if a round is
//! due and nobody else has taken it, it looks who hasn't come by (see `stall`). What a round does at once is to visit the lanes of
//! those who are late: their events are there at this worker's next look at the reactor. The rest (their timers, and their tasks if
//! they are blocked) is done by the delivery after that look.

use std::{
    io,
    time::{Duration, Instant},
};

use egret_reactor::Woken;

use super::{TICK, Worker};
use crate::{
    stall::{Sign, Watch, nanos},
    task::quiet::quietly,
};

/// Waits that may fail in a row before the worker slows down; a guess.
const FAILED_WAITS: u32 = 64;

/// How slow: the bound on how late a task is noticed while the reactor can't be waited on; a guess.
const FAILED_WAIT_PAUSE: Duration = Duration::from_millis(1);

/// A worker that a round found late.
pub(super) struct Late {
    worker: usize,
    /// In one poll all the time: it doesn't come to its queue either.
    blocked: bool,
}

impl Worker<'_> {
    pub(super) fn park(&mut self) {
        if self.look_after_others() {
            self.look_at_reactor();
            return;
        }
        let idle = &self.shared.idle;
        idle.park(self.searching);
        self.searching = false;
        // Pushers from here on see a sleeper; what was pushed before is visible now. If enough others search to refuse this
        // one, they will see it too.
        if self.shared.has_work() && idle.resume_search() {
            self.searching = true;
            self.is_up();
            return;
        }
        // A look at the reactor since the loop's check may have used up the interruption that announces the end.
        if !self.shared.is_running() {
            return;
        }
        // The same may have happened to the interruption that comes with a call.
        if self.is_called() {
            idle.woken_by_event();
            self.is_up();
            return;
        }
        let counters = &self.seat.signs.counters;
        if self.polls_when_notified.take() == Some(counters.polls.get()) {
            counters.idle_wakes.add_one();
        }
        counters.parks.add_one();
        self.events_of_turn = 0;
        let deadline = self.shared.timers[self.core.index].next_deadline();
        let now = Instant::now();
        counters.busy.add(nanos(now.saturating_duration_since(self.up_since)));
        let timeout = deadline.map(|at| at.saturating_duration_since(now));
        if self.rested
            && idle.all_parked()
            && let Some(watch) = &self.shared.watch
        {
            watch.rest(idle);
        }
        if let Some(observer) = &self.shared.observer {
            observer.parks();
        }
        self.seat.signs.heart.fall_asleep();
        let woken = self.wait(timeout);
        self.seat.signs.heart.wake_up();
        self.up_since = Instant::now();
        if let Some(observer) = &self.shared.observer {
            observer.unparks();
        }
        // The books before anything is delivered: a notification must not find this worker asleep.
        if woken.notified {
            self.searching = true;
            let counters = &self.seat.signs.counters;
            counters.notified.add_one();
            self.polls_when_notified = Some(counters.polls.get());
        } else {
            idle.woken_by_event();
        }
        self.is_up();
        self.deliver(woken.events);
        if self.has_rung() && self.look_after_others() {
            self.look_at_reactor();
        }
    }

    /// In the books, this worker is not parked any more. Before it runs anything that may block it, the alarm has to be set.
    pub(super) fn is_up(&mut self) {
        self.rested = false;
        if let Some(watch) = &self.shared.watch
            && self.shared.idle.must_arm()
        {
            watch.arm();
            self.rested = watch.was_long(self.parked, Instant::now());
        }
    }

    /// Whether the alarm has gone off since the last round.
    pub(super) fn has_rung(&self) -> bool {
        self.shared.watch.as_ref().is_some_and(Watch::has_rung)
    }

    /// Takes the round that is due, if this worker has run for so long that one may be. The caller looks at the reactor next.
    pub(super) fn look_after_others_in_passing(&mut self) {
        self.polls_without_clock += self.ticks;
        if self.polls_without_clock >= TICK || self.has_rung() {
            // Whatever it finds, a look at the reactor follows.
            let _late = self.look_after_others();
        }
    }

    /// If a round is due, looks who hasn't come by, and visits their lanes. True if somebody hasn't: then this worker has to look
    /// at the reactor next.
    fn look_after_others(&mut self) -> bool {
        self.polls_without_clock = 0;
        let Some(watch) = &self.shared.watch else { return false };
        self.parked = Instant::now();
        let Some(round) = watch.take_round(self.parked) else { return false };
        let Self { core, shared, late, .. } = self;
        self.seat.signs.counters.rounds.add_one();
        for (worker, seat) in shared.seats.iter().enumerate() {
            let sign = round.look(worker, &seat.signs);
            if worker != core.index && matches!(sign, Sign::Late | Sign::Blocked) {
                self.seat.signs.counters.served.add_one();
                late.push(Late { worker, blocked: sign == Sign::Blocked });
            }
        }
        round.end(!late.is_empty());
        if late.is_empty() {
            return false;
        }
        // This one's, too: arms that a blocked worker has submitted here wait for its thread.
        let lanes =
            || late.iter().map(|late| late.worker).chain([core.index]).map(|worker| &shared.lanes[worker]);
        let mut all_answer = true;
        for lane in lanes() {
            match lane.visit(&shared.eventpoll) {
                Ok(answered) => all_answer &= answered,
                Err(error) => shared.report_failed_wait(&error),
            }
        }
        if !all_answer {
            // Who sleeps in the kernel, deaf to everything (a slow disk), has arms that will say nothing for so long.
            for lane in lanes() {
                if let Err(error) = lane.ask(&shared.eventpoll) {
                    shared.report_failed_wait(&error);
                }
            }
        }
        watch.visited(self.parked);
        true
    }

    /// Fires the timers and takes the tasks of those who were found late.
    pub(super) fn serve_late(&mut self) {
        let Self { core, shared, .. } = *self;
        let now = Instant::now();
        for Late { worker, blocked } in self.late.drain(..) {
            let timers = &shared.timers[worker];
            if timers.next_deadline().is_some_and(|deadline| deadline <= now) {
                quietly(|| timers.fire(now));
            }
            if blocked {
                let queue = &shared.seats[worker].queue;
                let before = core.local.len();
                // All of it: others take their share from here. If the worker comes back meanwhile, so does it.
                while let Some(task) = queue.steal_batch(&core.local) {
                    core.local.push(task);
                }
                if let Some(task) = queue.steal_slot() {
                    core.local.push(task);
                }
                if core.local.len() > before {
                    self.seat.signs.counters.steals.add_one();
                }
            }
        }
    }

    /// Waits in the reactor, the only place where a worker sleeps.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Woken {
        self.ticks = 0;
        match self.shared.eventpoll.wait_notified(&mut self.events, timeout) {
            Ok(woken) => {
                self.failed_waits = 0;
                return woken;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                self.shared.report_failed_wait(&error);
                self.pause_after_failure();
            }
        }
        Woken { events: 0, notified: false }
    }

    /// A lane that can't be waited on is a defect, or memory has run out. Its tasks still have to run, so the worker goes
    /// round and tries again, without a pause at first, then with one that keeps a lasting failure from burning the
    /// processor.
    fn pause_after_failure(&mut self) {
        self.failed_waits += 1;
        if self.failed_waits > FAILED_WAITS {
            std::thread::sleep(FAILED_WAIT_PAUSE);
        } else {
            std::thread::yield_now();
        }
    }
}
