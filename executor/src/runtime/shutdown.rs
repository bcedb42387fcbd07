//! The end of a runtime, in other ways than by its drop.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    context::{self, Place},
    runtime::{Dump, Report, Runtime, TaskReport, backtrace, block_on, stuck::Polls},
    shared::Shared,
    task::Id,
    time,
};

/// How often [`Runtime::shutdown`] looks whether it is through. A guess: far below what anybody notices at the end of a program.
const LOOK: Duration = Duration::from_millis(1);

/// How long it waits for workers to come out of their polls. A guess: what takes longer blocks its worker.
const LEAVE: Duration = Duration::from_millis(100);

impl Runtime {
    /// Ends it as its drop does, but waits for the end no longer than `timeout`.
    ///
    /// A task that blocks its worker for longer than that is left behind with its thread. If it ever comes back, its worker leaves,
    /// and the last worker to leave drops the tasks that are left: until then their handles give no answer. Threads on their
    /// last steps, with nothing of any task, may outlive the call.
    ///
    /// On a worker thread (of this or any other runtime), and in a forked child, it doesn't wait, as the drop doesn't.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// let (release, released) = std::sync::mpsc::channel::<()>();
    /// drop(runtime.spawn(async move { released.recv() }));
    /// runtime.shutdown_timeout(Duration::from_millis(10));
    /// drop(release);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown_timeout(mut self, timeout: Duration) {
        if self.process != std::process::id() {
            return;
        }
        let shared = &self.handle.shared;
        shared.shutdown();
        if may_wait(shared) && !timeout.is_zero() {
            shared.wait_for_end(timeout);
        }
        // The drop that follows finds nothing to join.
        self.threads.clear();
    }

    /// Ends it gracefully, and tells what became of its tasks.
    ///
    /// 1. The [token](crate::Handle::shutdown_token) that tasks may listen to is cancelled.
    /// 2. For `grace` at most, tasks are left to end by themselves; when there are none left it goes on at once. They may spawn others.
    /// 3. The rest is ended as by the drop: what waits or is queued is dropped where it stands.
    /// 4. Workers that don't come out of their poll within another 100 ms are left behind, with their threads. So are blocking calls that still run.
    ///
    /// On a worker thread (of this or any other runtime), and in a forked child, it doesn't wait, and the report is of what it has seen. A
    /// [current-thread](crate::Builder::new_current_thread) runtime runs its tasks here meanwhile; inside of a `block_on`, where it can't, it doesn't wait either.
    ///
    /// ```
    /// use std::time::Duration;
    /// use egret_executor::time::sleep;
    ///
    /// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// let token = runtime.handle().shutdown_token();
    /// let server = runtime.spawn(async move {
    ///     // accept connections until...
    ///     token.cancelled().await;
    ///     "the last words"
    /// });
    /// let forever = runtime.spawn(sleep(Duration::MAX));
    /// let report = runtime.shutdown(Duration::from_millis(200));
    /// println!("{report}");
    /// assert_eq!((report.finished, report.cancelled.len()), (1, 1));
    /// assert_eq!(report.cancelled[0].id, forever.id());
    /// assert!(server.is_finished());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(mut self, grace: Duration) -> Report {
        if self.process != std::process::id() {
            return Report::default();
        }
        let shared = self.handle.shared.clone();
        let began = Instant::now();
        let may_wait = may_wait(&shared);
        let ended = |(alive, spawned): (usize, u64)| spawned.saturating_sub(alive as u64);
        let ended_before = ended(shared.tasks());
        shared.shutdown_token.cancel();
        let mut polls = Polls::of(&shared.seats);
        let rest = |polls: &mut Polls, until: Instant| {
            let now = Instant::now();
            polls.look(&shared.seats, now);
            thread::sleep(LOOK.min(until.saturating_duration_since(now)));
            now < until
        };
        let until = began.checked_add(grace);
        // Nobody is told when the last task ends: that would cost each of them something.
        let there_is_time = || until.is_none_or(|until| Instant::now() < until);
        match shared.core_slot {
            None => {
                while may_wait && shared.tasks().0 > 0 && there_is_time() {
                    rest(&mut polls, until.unwrap_or_else(|| Instant::now() + LOOK));
                }
            }
            // Somebody has to run them. If another thread does, it may be stuck.
            Some(_) if context::place() == Place::Outside => {
                while shared.tasks().0 > 0 && there_is_time() {
                    let drove = block_on::try_block_on(&self.handle, async {
                        while shared.tasks().0 > 0 && there_is_time() {
                            time::sleep(LOOK).await;
                        }
                    });
                    if !drove {
                        rest(&mut polls, until.unwrap_or_else(|| Instant::now() + LOOK));
                    }
                }
            }
            Some(_) => {}
        }
        let finished = ended(shared.tasks()).saturating_sub(ended_before);
        let left = Dump::of(&shared);
        shared.note_cancelled();
        shared.shutdown();
        let leave_by = Instant::now() + LEAVE;
        let mut has_ended = may_wait && shared.wait_for_end(Duration::ZERO);
        while may_wait && !has_ended && rest(&mut polls, leave_by) {
            has_ended = shared.wait_for_end(Duration::ZERO);
        }
        let mut cancelled = shared.take_cancelled();
        let mut stuck = Vec::new();
        if !has_ended {
            let now = Instant::now();
            if may_wait {
                polls.look(&shared.seats, now);
                stuck = polls.stuck(&shared, now, Duration::ZERO);
            }
            for poll in &mut stuck {
                poll.backtrace = backtrace::of_thread(shared.seats[poll.worker].signs.thread());
            }
            let known: std::collections::HashSet<Id> =
                cancelled.iter().map(|task| task.id).chain(stuck.iter().map(|poll| poll.id)).collect();
            let others = left.tasks.into_iter().filter(|task| !known.contains(&task.id));
            cancelled.extend(others.map(TaskReport::from));
            // The drop that follows finds nothing to join.
            self.threads.clear();
        }
        let left = shared.tasks().0;
        Report {
            finished,
            cancelled,
            stuck,
            // One that has just ended still counts as running.
            blocking_calls: shared.blocking.running().min(left),
            left,
            has_ended,
            took: began.elapsed(),
        }
    }

    /// Ends it without waiting: [`shutdown_timeout`](Self::shutdown_timeout) with no time at all.
    pub fn shutdown_background(self) {
        self.shutdown_timeout(Duration::ZERO);
    }
}

/// Whether this thread may wait for the end of that runtime: not a worker's, for two could wait for each other, nor the one that its tasks run on.
fn may_wait(shared: &Shared) -> bool {
    !context::is_worker_thread() && context::worker_index(shared).is_none()
}
