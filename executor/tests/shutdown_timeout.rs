//! Ends of a runtime that don't wait for ever, and tasks with names on their way through it.

mod support;

use std::{
    future::pending,
    sync::mpsc,
    time::{Duration, Instant},
};

use egret_executor::{Builder, Handle, JoinHandle, Runtime, task};
use support::{Blocker, Drops, LONG, bounded, eventually};

fn runtime(workers: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(workers).build().unwrap()
}

fn waiting(handle: &Handle, drops: &Drops) -> JoinHandle<()> {
    let guard = drops.guard();
    handle.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    })
}

#[test]
fn an_end_in_time_has_dropped_all_tasks() {
    bounded(|| {
        let (runtime, drops) = (runtime(2), Drops::default());
        let tasks: Vec<_> = (0..10).map(|_| waiting(runtime.handle(), &drops)).collect();
        let started = Instant::now();
        runtime.shutdown_timeout(LONG);
        assert!(started.elapsed() < LONG, "it returns at the end, not at the timeout");
        assert_eq!(drops.count(), 10);
        assert!(tasks.iter().all(JoinHandle::is_finished));
    });
}

#[test]
fn a_blocked_worker_is_left_behind_and_cleans_when_it_comes_back() {
    bounded(|| {
        let (runtime, drops) = (runtime(1), Drops::default());
        let blocker = Blocker::occupy(&runtime);
        let task = waiting(runtime.handle(), &drops);
        let timeout = Duration::from_millis(20);
        let started = Instant::now();
        runtime.shutdown_timeout(timeout);
        assert!(started.elapsed() >= timeout);
        assert_eq!(drops.count(), 0, "its worker is still blocked");
        blocker.release();
        eventually("the worker has come back", || drops.count() == 1 && task.is_finished());
    });
}

#[test]
fn in_the_background_a_blocked_worker_keeps_nobody_waiting() {
    bounded(|| {
        let (runtime, drops) = (runtime(2), Drops::default());
        let blocker = Blocker::occupy(&runtime);
        let _task = waiting(runtime.handle(), &drops);
        let start = Instant::now();
        runtime.shutdown_background();
        assert!(start.elapsed() < LONG / 2, "it waited until the blocker gave up by itself");
        blocker.release();
        eventually("all are dropped", || drops.count() == 1);
    });
}

#[test]
fn in_its_own_task_it_does_not_wait_for_itself() {
    bounded(|| {
        let runtime = runtime(1);
        let handle = runtime.handle().clone();
        let (done, is_done) = mpsc::channel();
        drop(handle.spawn(async move {
            runtime.shutdown_timeout(Duration::MAX);
            done.send(()).unwrap();
        }));
        is_done.recv_timeout(LONG).unwrap();
    });
}

#[test]
fn a_timeout_without_end_is_one() {
    bounded(|| runtime(2).shutdown_timeout(Duration::MAX));
}

#[test]
fn a_forked_child_does_not_wait_for_its_parents_threads() {
    bounded(|| {
        let mut runtime = Some(runtime(2));
        // SAFETY: the child ends the runtime, which takes no lock there, and ends without running anything else.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            if let Some(runtime) = runtime.take() {
                runtime.shutdown_timeout(Duration::MAX);
            }
            // SAFETY: takes no pointers.
            unsafe { libc::_exit(0) };
        }
        let mut status = -1;
        eventually("the child ends", || {
            // SAFETY: the status is valid for writing.
            unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) == child }
        });
        assert_eq!(status, 0);
        let runtime = runtime.take().unwrap();
        assert_eq!(runtime.block_on(runtime.spawn(async { 7 })).unwrap(), 7);
    });
}

#[test]
fn a_name_is_shown_until_the_future_is_gone() {
    bounded(|| {
        let runtime = runtime(1);
        let builder = task::Builder::new().name("fisher");
        let named = builder.spawn_on(pending::<()>(), runtime.handle()).unwrap();
        let plain = runtime.spawn(pending::<()>());
        assert!(format!("{named:?}").contains("name: \"fisher\""), "{named:?}");
        assert!(format!("{named:?}").contains(file!()), "the place is the caller's: {named:?}");
        assert!(!format!("{plain:?}").contains("name"), "{plain:?}");
        let handle = runtime.handle().clone();
        drop(runtime);
        assert!(!format!("{named:?}").contains("fisher"), "{named:?}");
        // Refused, and its name with it.
        let late = builder.spawn_on(async {}, &handle).unwrap();
        assert!(late.is_finished() && !format!("{late:?}").contains("fisher"), "{late:?}");
    });
}

#[test]
fn inside_of_a_runtime_a_name_needs_no_handle() {
    bounded(|| {
        let runtime = runtime(1);
        let output =
            runtime.block_on(async { task::Builder::new().name("five").spawn(async { 5 }).unwrap().await });
        assert_eq!(output.unwrap(), 5);
    });
}
