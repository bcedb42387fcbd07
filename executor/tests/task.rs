//! Tasks and their handles: outputs, panics, aborts in every state, detachment.

mod support;

use std::{
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
};

use egret_executor::{Handle, JoinHandle, spawn, task::yield_now};
use support::{Blocker, Drops, Gate, LONG, OnDrop, bounded, eventually, runtime};

#[test]
fn a_handle_gives_the_output() {
    let runtime = runtime(2);
    assert_eq!(runtime.block_on(runtime.spawn(async { 7 })).unwrap(), 7);
    let late = runtime.block_on(async {
        let gate = Gate::default();
        let task = spawn({
            let gate = gate.clone();
            async move {
                gate.await;
                "late"
            }
        });
        yield_now().await;
        gate.open();
        task.await
    });
    assert_eq!(late.unwrap(), "late");
}

#[test]
fn a_large_future_and_a_large_output_survive() {
    let runtime = runtime(1);
    let big = [7u8; 10_000];
    let task = runtime.spawn(async move {
        yield_now().await;
        big
    });
    assert_eq!(runtime.block_on(task).unwrap()[9_999], 7);
}

#[test]
fn ids_differ_and_the_spawn_location_is_kept() {
    let runtime = runtime(1);
    let (a, b) = (runtime.spawn(async {}), runtime.spawn(async {}));
    assert_ne!(a.id(), b.id());
    assert!(a.spawned_at().file().ends_with("task.rs"));
    let inside = runtime.block_on(async { spawn(async {}).spawned_at().line() });
    assert_eq!(inside, line!() - 1);
    assert!(format!("{a:?}").contains("task.rs"));
}

#[test]
#[should_panic(expected = "polled after completion")]
fn a_handle_gives_its_result_once() {
    let runtime = runtime(1);
    let mut task = runtime.spawn(async {});
    runtime.block_on(&mut task).unwrap();
    let _ = runtime.block_on(&mut task);
}

#[test]
fn a_panic_is_the_error_and_the_worker_lives() {
    let runtime = runtime(1);
    for _ in 0..3 {
        let number = std::hint::black_box(1);
        let task = runtime.spawn(async move { panic!("oh {number}") });
        let id = task.id();
        let error = runtime.block_on(task).unwrap_err();
        assert!(error.is_panic() && !error.is_cancelled());
        assert_eq!(error.id(), id);
        assert_eq!(error.to_string(), format!("task {id} panicked with message \"oh 1\""));
        assert_eq!(error.into_panic().downcast_ref::<String>().unwrap(), "oh 1");
    }
    let task = runtime.spawn(async { std::panic::panic_any(5u8) });
    let error = runtime.block_on(task).unwrap_err();
    assert!(format!("{error:?}").starts_with("JoinError::Panic("));
    assert_eq!(*error.try_into_panic().unwrap().downcast::<u8>().unwrap(), 5);
    assert_eq!(runtime.block_on(runtime.spawn(async { 1 })).unwrap(), 1);
}

#[test]
fn a_panic_in_the_drop_of_a_future_is_the_error() {
    let runtime = runtime(1);
    let ready = runtime.spawn({
        let mut loud = Some(OnDrop::new(|| panic!("in drop")));
        poll_fn(move |_| {
            let _ = &mut loud;
            Poll::Ready(3)
        })
    });
    assert!(runtime.block_on(ready).unwrap_err().is_panic());

    let loud = OnDrop::new(|| panic!("in drop"));
    let aborted = runtime.spawn(async move {
        let _loud = loud;
        pending::<()>().await
    });
    aborted.abort();
    assert!(runtime.block_on(aborted).unwrap_err().is_panic());

    // The poll's own panic wins over that of the drop.
    let both = runtime.spawn({
        let mut loud = Some(OnDrop::new(|| panic!("second")));
        poll_fn(move |_| -> Poll<()> {
            let _ = &mut loud;
            panic!("first")
        })
    });
    let error = runtime.block_on(both).unwrap_err();
    assert_eq!(error.into_panic().downcast_ref::<&str>(), Some(&"first"));
    assert_eq!(runtime.block_on(runtime.spawn(async { 1 })).unwrap(), 1);
}

#[test]
fn a_panic_in_the_drop_of_an_unwanted_output_ends_nothing() {
    let runtime = runtime(1);
    let gate = Gate::default();
    let task = runtime.spawn({
        let gate = gate.clone();
        async move {
            gate.await;
            OnDrop::new(|| panic!("unwanted"))
        }
    });
    drop(task);
    gate.open();
    assert_eq!(runtime.block_on(runtime.spawn(async { 1 })).unwrap(), 1);

    // And when the output is there before the handle goes.
    let task = runtime.spawn(async { OnDrop::new(|| panic!("unwanted")) });
    eventually("the task is finished", || task.is_finished());
    drop(task);
}

struct LoudWaker(AtomicUsize);

impl Wake for LoudWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("a waker that panics");
    }
}

#[test]
fn a_foreign_waker_that_panics_ends_nothing() {
    let runtime = runtime(1);
    let gate = Gate::default();
    let mut task = runtime.spawn(gate.clone());
    let loud = Arc::new(LoudWaker(AtomicUsize::new(0)));
    let waker = Waker::from(loud.clone());
    let polled = pin!(&mut task).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    gate.open();
    eventually("the waker was called", || loud.0.load(Ordering::SeqCst) == 1);
    assert!(runtime.block_on(task).is_ok());
    assert_eq!(runtime.block_on(runtime.spawn(async { 1 })).unwrap(), 1);
}

#[test]
fn dropping_a_handle_detaches_the_task() {
    let runtime = runtime(1);
    let (done, is_done) = mpsc::channel();
    let gate = Gate::default();
    drop(runtime.spawn({
        let gate = gate.clone();
        async move {
            gate.await;
            done.send(()).unwrap();
        }
    }));
    gate.open();
    is_done.recv_timeout(LONG).unwrap();
}

#[test]
fn abort_before_the_first_poll() {
    let runtime = runtime(1);
    let blocker = Blocker::occupy(&runtime);
    let drops = Drops::default();
    let guard = drops.guard();
    let polled = Arc::new(AtomicBool::new(false));
    let task = runtime.spawn({
        let polled = polled.clone();
        async move {
            let _guard = guard;
            polled.store(true, Ordering::SeqCst);
        }
    });
    task.abort();
    task.abort();
    assert_eq!(drops.count(), 0, "a worker drops it, not the aborter");
    blocker.release();
    let error = runtime.block_on(task).unwrap_err();
    assert!(error.is_cancelled() && !error.is_panic());
    assert!(error.to_string().ends_with("was cancelled"));
    assert!(error.try_into_panic().unwrap_err().is_cancelled());
    assert!(!polled.load(Ordering::SeqCst));
    assert_eq!(drops.count(), 1);
}

#[test]
fn abort_while_it_waits() {
    let runtime = runtime(2);
    let (gate, drops) = (Gate::default(), Drops::default());
    let guard = drops.guard();
    let task = runtime.spawn({
        let gate = gate.clone();
        async move {
            let _guard = guard;
            gate.await;
        }
    });
    eventually("it waits", || gate.was_polled());
    eventually("it is registered", || runtime.metrics().waiting_tasks == 1);
    task.abort();
    assert!(runtime.block_on(task).unwrap_err().is_cancelled());
    assert_eq!(drops.count(), 1, "the future is gone when the handle answers");
    assert_eq!(runtime.metrics().waiting_tasks, 0);
}

/// Aborts a task in the middle of a poll, which then gives `result`.
fn abort_in_poll(first_poll: bool, result: Poll<u8>) -> Result<u8, egret_executor::JoinError> {
    let runtime = runtime(2);
    let (running, is_running) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let mut polls = usize::from(first_poll);
    let task = runtime.spawn(poll_fn(move |cx| {
        polls += 1;
        if polls == 2 {
            running.send(()).unwrap();
            may_go_on.recv_timeout(LONG).unwrap();
            return result;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }));
    is_running.recv_timeout(LONG).unwrap();
    task.abort();
    assert!(!task.is_finished());
    go_on.send(()).unwrap();
    runtime.block_on(task)
}

#[test]
fn abort_while_it_runs() {
    for first in [true, false] {
        let aborted = abort_in_poll(first, Poll::Pending);
        assert!(aborted.unwrap_err().is_cancelled(), "first poll: {first}");
        assert_eq!(abort_in_poll(first, Poll::Ready(9)).unwrap(), 9);
    }
}

#[test]
fn abort_after_the_end_keeps_the_output() {
    let runtime = runtime(1);
    let task = runtime.spawn(async { 4 });
    eventually("it is finished", || task.is_finished());
    task.abort();
    assert_eq!(runtime.block_on(task).unwrap(), 4);
}

#[test]
fn abort_of_oneself() {
    let runtime = runtime(1);
    for polls_before in 0..3 {
        let (hand, handed) = mpsc::channel::<Arc<JoinHandle<()>>>();
        let task = Arc::new(runtime.spawn(async move {
            for _ in 0..polls_before {
                yield_now().await;
            }
            handed.recv_timeout(LONG).unwrap().abort();
            pending::<()>().await;
        }));
        hand.send(task.clone()).unwrap();
        // The task has aborted itself when it gives up its end of the handle and of the channel.
        eventually("the task lets go", || Arc::strong_count(&task) == 1);
        let task = Arc::into_inner(task).unwrap();
        let error = runtime.block_on(task).unwrap_err();
        assert!(error.is_cancelled(), "after {polls_before} polls");
    }
}

#[test]
fn abort_against_the_first_pending_is_never_lost() {
    bounded(|| {
        let runtime = runtime(2);
        for round in 0..2_000 {
            let task = runtime.spawn(pending::<()>());
            // Half of the rounds from a busy neighbour, half of them at once.
            if round % 2 == 0 {
                std::thread::yield_now();
            }
            task.abort();
            assert!(runtime.block_on(task).unwrap_err().is_cancelled());
        }
        assert_eq!(runtime.metrics().waiting_tasks, 0);
    });
}

#[test]
fn a_handle_can_be_awaited_by_another_task_and_moved() {
    let runtime = runtime(2);
    let sum = runtime.block_on(async {
        let first = spawn(async {
            yield_now().await;
            20
        });
        let second = spawn(async move { first.await.unwrap() + 1 });
        let third: Pin<Box<JoinHandle<i32>>> = Box::pin(spawn(async move { second.await.unwrap() * 2 }));
        third.await.unwrap()
    });
    assert_eq!(sum, 42);
}

#[test]
fn a_task_without_a_waker_is_not_lost_but_waits_for_the_end() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let guard = drops.guard();
    drop(runtime.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    }));
    eventually("it is registered", || runtime.metrics().waiting_tasks == 1);
    assert_eq!(drops.count(), 0);
    drop(runtime);
    assert_eq!(drops.count(), 1);
}

/// The drop of what can't be spawned is user code: it may enter a runtime, and spawn there.
#[test]
fn a_future_that_finds_no_runtime_is_dropped_in_peace() {
    let runtime = runtime(1);
    let handle = runtime.handle().clone();
    let (sent, received) = mpsc::channel();
    let last_will = OnDrop::new(move || {
        let _entered = handle.enter();
        let task = spawn(async { 7 });
        sent.send(task).unwrap();
    });
    let spawned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        spawn(async move {
            let _last_will = last_will;
            pending::<()>().await;
        })
    }));
    let message = *spawned.unwrap_err().downcast::<&str>().unwrap();
    assert!(message.starts_with("no egret runtime here"), "{message}");
    assert_eq!(runtime.block_on(received.recv().unwrap()).unwrap(), 7);
}

#[test]
#[should_panic(expected = "no egret runtime here")]
fn spawn_outside_of_a_runtime_panics() {
    drop(spawn(async {}));
}

#[test]
#[should_panic(expected = "no egret runtime here")]
fn current_outside_of_a_runtime_panics() {
    Handle::current();
}
