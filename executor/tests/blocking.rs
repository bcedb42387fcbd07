//! Blocking calls on threads of their own.

mod support;

use egret_executor::{
    Builder, Handle, Runtime,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use std::{
    collections::HashSet,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};
use support::{Drops, LONG, bounded, eventually};

const MS: Duration = Duration::from_millis(1);

fn builder() -> Builder {
    Builder::new_multi_thread().worker_threads(1).thread_name("pool")
}

fn runtime() -> Runtime {
    builder().build().unwrap()
}

#[test]
fn outputs_and_panics_come_back() {
    bounded(|| {
        let runtime = runtime();
        runtime.block_on(async {
            let worker = egret_executor::spawn(async { thread::current().id() }).await.unwrap();
            let there =
                spawn_blocking(|| (thread::current().id(), thread::current().name().unwrap().to_owned()));
            let (id, name) = there.await.unwrap();
            assert!(id != worker && id != thread::current().id());
            assert!(name.starts_with("pool-blocking-"), "{name}");
            let error = spawn_blocking(|| -> u8 { panic!("on purpose") }).await.unwrap_err();
            assert_eq!(error.into_panic().downcast_ref(), Some(&"on purpose"));
            assert_eq!(spawn_blocking(|| 1).await.unwrap(), 1, "the pool goes on");
        });
    });
}

#[test]
fn the_runtime_is_current_there_and_may_be_blocked_on() {
    bounded(|| {
        let runtime = runtime();
        let task = runtime.spawn_blocking(|| {
            let inner = egret_executor::spawn(async {
                sleep(MS).await;
                7
            });
            Handle::current().block_on(inner).unwrap()
        });
        assert_eq!(runtime.block_on(task).unwrap(), 7);
    });
}

/// As many threads as calls at the same time, up to the limit; the others wait, and nobody is forgotten.
#[test]
fn no_more_threads_than_the_limit_and_none_for_nothing() {
    bounded(|| {
        let runtime = builder().max_blocking_threads(3).build().unwrap();
        let barrier = Arc::new(Barrier::new(3));
        let together: Vec<_> = (0..3)
            .map(|_| {
                let barrier = barrier.clone();
                runtime.spawn_blocking(move || {
                    barrier.wait();
                    thread::current().id()
                })
            })
            .collect();
        let ids: HashSet<_> = together.into_iter().map(|task| runtime.block_on(task).unwrap()).collect();
        assert_eq!(ids.len(), 3, "three at the same time need three");
        assert_eq!(runtime.metrics().blocking_threads, 3);
        // All busy: what comes now waits.
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(std::sync::Mutex::new(released));
        let busy: Vec<_> = (0..3)
            .map(|_| {
                let released = released.clone();
                runtime.spawn_blocking(move || released.lock().unwrap().recv())
            })
            .collect();
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let waiting: Vec<_> = (0..50)
            .map(|number| {
                let order = order.clone();
                runtime.spawn_blocking(move || order.lock().unwrap().push(number))
            })
            .collect();
        eventually("fifty wait", || runtime.metrics().blocking_queue_depth == 50);
        drop(release);
        for task in waiting {
            runtime.block_on(task).unwrap();
        }
        for task in busy {
            assert!(runtime.block_on(task).unwrap().is_err());
        }
        let mut order = order.lock().unwrap().clone();
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
        assert_eq!(runtime.metrics().blocking_threads, 3);
    });
}

#[test]
fn idle_threads_end_and_come_back() {
    bounded(|| {
        let runtime = builder().thread_keep_alive(20 * MS).build().unwrap();
        for round in 0..3 {
            assert_eq!(runtime.block_on(runtime.spawn_blocking(move || round)).unwrap(), round);
            eventually("it has ended", || runtime.metrics().blocking_threads == 0);
        }
    });
}

/// Calls that come just as the threads' time is over: none is left lying.
#[test]
fn no_call_is_forgotten_as_a_thread_goes() {
    bounded(|| {
        let runtime =
            builder().thread_keep_alive(Duration::from_micros(50)).max_blocking_threads(2).build().unwrap();
        for round in 0..5_000u64 {
            let calls: Vec<_> = (0..round % 4).map(|_| runtime.spawn_blocking(move || round)).collect();
            for call in calls {
                assert_eq!(runtime.block_on(call).unwrap(), round);
            }
            thread::sleep(Duration::from_micros(round % 120));
        }
    });
}

/// Aborted while it is queued, and with its only worker busy: it doesn't begin.
#[test]
fn what_has_not_begun_never_does_once_it_is_aborted() {
    bounded(|| {
        let runtime = builder().max_blocking_threads(1).build().unwrap();
        let blocker = support::Blocker::occupy(&runtime);
        let (release, released) = mpsc::channel::<()>();
        let (runs, is_running) = mpsc::channel();
        let drops = Drops::default();
        let first = runtime.spawn_blocking(move || {
            runs.send(()).unwrap();
            released.recv()
        });
        is_running.recv_timeout(LONG).unwrap();
        let guard = drops.guard();
        let second = runtime.spawn_blocking(move || {
            drop(guard);
            panic!("it was aborted before it began");
        });
        second.abort();
        // One that runs can't be aborted: its output is there.
        first.abort();
        release.send(()).unwrap();
        assert_eq!(runtime.block_on(first).unwrap(), Ok(()));
        assert!(runtime.block_on(second).unwrap_err().is_cancelled());
        assert_eq!(drops.count(), 1, "its captures are gone");
        // All of that without a worker.
        assert_eq!(runtime.block_on(runtime.spawn_blocking(|| 5)).unwrap(), 5);
        blocker.release();
    });
}

#[test]
fn the_end_of_the_runtime_cancels_what_waits_and_waits_for_nothing() {
    bounded(|| {
        let runtime = builder().max_blocking_threads(1).build().unwrap();
        let handle = runtime.handle().clone();
        let (release, released) = mpsc::channel::<()>();
        let (runs, is_running) = mpsc::channel();
        let (drops, output) = (Drops::default(), Drops::default());
        let result = output.guard();
        let first = runtime.spawn_blocking(move || {
            runs.send(()).unwrap();
            let _ended = released.recv();
            result
        });
        is_running.recv_timeout(LONG).unwrap();
        let guard = drops.guard();
        let second = runtime.spawn_blocking(move || drop(guard));
        // Returns although a call blocks.
        drop(runtime);
        assert_eq!(drops.count(), 1);
        let other = self::runtime();
        assert!(other.block_on(second).unwrap_err().is_cancelled());
        assert!(other.block_on(handle.spawn_blocking(|| 1)).unwrap_err().is_cancelled(), "nobody runs it");
        drop(release);
        assert!(other.block_on(first).is_ok(), "it has begun, and comes to its end");
        eventually("its output has been dropped", || output.count() == 1);
    });
}

#[test]
fn many_calls_from_many_tasks() {
    bounded(|| {
        let runtime = Builder::new_multi_thread().worker_threads(2).max_blocking_threads(8).build().unwrap();
        let sum = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let sum = sum.clone();
                runtime.spawn(async move {
                    for _ in 0..100 {
                        let sum = sum.clone();
                        spawn_blocking(move || sum.fetch_add(1, Ordering::Relaxed)).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
        assert_eq!(sum.load(Ordering::Relaxed), 2_000);
        assert!(runtime.metrics().blocking_threads <= 8);
    });
}

#[test]
fn waiting_for_a_call_can_be_given_up() {
    bounded(|| {
        let runtime = runtime();
        let (release, released) = mpsc::channel::<()>();
        runtime.block_on(async {
            let mut call = spawn_blocking(move || released.recv());
            assert!(timeout(MS, &mut call).await.is_err());
            drop(release);
            assert!(call.await.unwrap().is_err(), "and taken up again");
        });
    });
}

#[test]
fn none_at_all_is_refused() {
    let error = builder().max_blocking_threads(0).build().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}
