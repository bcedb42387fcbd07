//! The end of a runtime, from everywhere and in the middle of everything: it drops all tasks, ends all threads, never hangs.

mod support;

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::Waker,
    time::Duration,
};

use egret_executor::{Handle, JoinHandle, Runtime, spawn, task::yield_now};
use support::{Blocker, Drops, Gate, LONG, OnDrop, bounded, eventually, runtime};

/// Tasks in every state: waiting, queued and never polled, yielding for ever.
fn populate(runtime: &Runtime, drops: &Drops) -> usize {
    let gate = Gate::default();
    for _ in 0..10 {
        let (guard, gate) = (drops.guard(), gate.clone());
        drop(runtime.spawn(async move {
            let _guard = guard;
            gate.await;
        }));
        let guard = drops.guard();
        drop(runtime.spawn(async move {
            let _guard = guard;
            loop {
                yield_now().await;
            }
        }));
        let guard = drops.guard();
        drop(runtime.spawn(async move {
            let _guard = guard;
            let guard = &_guard;
            spawn(pending::<()>()).await.unwrap();
            let _ = guard;
        }));
    }
    30
}

#[test]
fn dropped_where_it_was_made() {
    bounded(|| {
        let (runtime, drops) = (runtime(2), Drops::default());
        let tasks = populate(&runtime, &drops);
        drop(runtime);
        assert_eq!(drops.count(), tasks);
    });
}

#[test]
fn dropped_at_once() {
    bounded(|| {
        for workers in 1..5 {
            drop(runtime(workers));
        }
    });
}

#[test]
fn dropped_on_another_thread() {
    bounded(|| {
        let (runtime, drops) = (runtime(2), Drops::default());
        let tasks = populate(&runtime, &drops);
        std::thread::spawn(move || drop(runtime)).join().unwrap();
        assert_eq!(drops.count(), tasks);
    });
}

#[test]
fn dropped_inside_of_anothers_block_on() {
    bounded(|| {
        let (outer, inner, drops) = (runtime(1), runtime(2), Drops::default());
        let tasks = populate(&inner, &drops);
        outer.block_on(async move { drop(inner) });
        assert_eq!(drops.count(), tasks);
    });
}

#[test]
fn dropped_in_a_task_of_another() {
    bounded(|| {
        let (outer, inner, drops) = (runtime(1), runtime(2), Drops::default());
        let tasks = populate(&inner, &drops);
        outer.block_on(outer.spawn(async move { drop(inner) })).unwrap();
        eventually("the rest happens in the background", || drops.count() == tasks);
    });
}

#[test]
fn dropped_in_its_own_task() {
    bounded(|| {
        for workers in [1, 3] {
            let (runtime, drops) = (runtime(workers), Drops::default());
            let tasks = populate(&runtime, &drops);
            let handle = runtime.handle().clone();
            let (dropped, is_dropped) = mpsc::channel();
            drop(handle.spawn(async move {
                drop(runtime);
                dropped.send(()).unwrap();
                // It is still current, but ends here.
                assert!(spawn(async {}).is_finished());
                yield_now().await;
                unreachable!("not polled again");
            }));
            is_dropped.recv_timeout(LONG).unwrap();
            eventually("all are dropped", || drops.count() == tasks);
        }
    });
}

#[test]
fn dropped_with_its_own_task() {
    bounded(|| {
        // The runtime is owned by one of its tasks, which is aborted; the future's drop ends the runtime.
        let runtime = runtime(2);
        let handle = runtime.handle().clone();
        let drops = Drops::default();
        let tasks = populate(&runtime, &drops);
        let owner = handle.spawn(async move {
            let _runtime = runtime;
            pending::<()>().await;
        });
        owner.abort();
        let _cancelled = handle.block_on(owner);
        eventually("all are dropped", || drops.count() == tasks);
    });
}

/// A worker's look at the reactor between two polls may use up the interruption: it must not lie down after that.
#[test]
fn the_end_meets_a_worker_on_its_way_to_sleep() {
    bounded(|| {
        for _ in 0..300 {
            let runtime = runtime(2);
            let handle = runtime.handle().clone();
            let waiting = handle.spawn(pending::<()>());
            // Keeps one worker busy until about the moment when the other ends the runtime.
            drop(handle.spawn(async {
                spawn(pending::<()>()).await.unwrap();
            }));
            drop(handle.spawn(async move { drop(runtime) }));
            assert!(handle.block_on(waiting).unwrap_err().is_cancelled());
        }
    });
}

#[test]
fn two_that_drop_each_other() {
    bounded(|| {
        for _ in 0..20 {
            let (a, b) = (runtime(1), runtime(1));
            let (of_a, of_b) = (a.handle().clone(), b.handle().clone());
            let barrier = Arc::new(std::sync::Barrier::new(2));
            let (done, is_done) = mpsc::channel();
            for (on, victim) in [(of_a, b), (of_b, a)] {
                let (barrier, done) = (barrier.clone(), done.clone());
                drop(on.spawn(async move {
                    barrier.wait();
                    drop(victim);
                    done.send(()).unwrap();
                }));
            }
            for _ in 0..2 {
                is_done.recv_timeout(LONG).expect("a deadlock");
            }
        }
    });
}

#[test]
fn a_running_task_finishes_its_poll() {
    bounded(|| {
        let runtime = runtime(2);
        let blocker = Blocker::occupy(&runtime);
        let finished = Arc::new(AtomicBool::new(false));
        let (running, is_running) = mpsc::channel();
        let task = runtime.spawn({
            let finished = finished.clone();
            async move {
                running.send(()).unwrap();
                blocker.release();
                finished.store(true, Ordering::SeqCst);
                5
            }
        });
        is_running.recv_timeout(LONG).unwrap();
        let handle = runtime.handle().clone();
        drop(runtime);
        assert!(finished.load(Ordering::SeqCst));
        assert_eq!(handle.block_on(task).unwrap(), 5);
    });
}

#[test]
fn handles_answer_after_the_end() {
    bounded(|| {
        let runtime = runtime(1);
        let handle = runtime.handle().clone();
        let finished = runtime.spawn(async { 3 });
        eventually("it is finished", || finished.is_finished());
        let waiting = runtime.spawn(pending::<()>());
        eventually("it waits", || runtime.metrics().waiting_tasks == 1);
        let awaited = std::thread::spawn({
            let handle = handle.clone();
            let other = runtime.spawn(pending::<()>());
            move || handle.block_on(other)
        });
        let blocker = Blocker::occupy(&runtime);
        let queued = runtime.spawn(async {});
        std::thread::spawn(move || {
            // Not before the drop below has begun, if it's quick; right in either case.
            std::thread::yield_now();
            blocker.release();
        });
        drop(runtime);
        assert_eq!(handle.block_on(finished).unwrap(), 3);
        assert!(handle.block_on(waiting).unwrap_err().is_cancelled());
        assert!(awaited.join().unwrap().unwrap_err().is_cancelled());
        // Either it was dropped or the worker still came to it.
        let queued = handle.block_on(queued);
        assert!(queued.is_ok() || queued.unwrap_err().is_cancelled());
    });
}

#[test]
fn spawn_after_the_end_drops_the_task_at_once() {
    bounded(|| {
        let runtime = runtime(1);
        let (handle, drops) = (runtime.handle().clone(), Drops::default());
        drop(runtime);
        let guard = drops.guard();
        let task = handle.spawn(async move { drop(guard) });
        assert_eq!(drops.count(), 1);
        assert!(task.is_finished());
        task.abort();
        assert!(handle.block_on(task).unwrap_err().is_cancelled());
        let _guard = handle.enter();
        assert!(handle.block_on(spawn(async {})).unwrap_err().is_cancelled());
    });
}

/// The drop of the refused future is user code: it may stand in another runtime, and spawn there.
#[test]
fn a_future_refused_after_the_end_may_enter_a_runtime_as_it_goes() {
    bounded(|| {
        let (ended, other) = (runtime(1), runtime(1));
        let (ended_handle, handle) = (ended.handle().clone(), other.handle().clone());
        drop(ended);
        let (sender, receiver) = mpsc::channel();
        let spawns = OnDrop::new(move || {
            let _guard = handle.enter();
            drop(spawn(async move { sender.send(()).unwrap() }));
        });
        let _guard = ended_handle.enter();
        drop(spawn(async move { drop(spawns) }));
        receiver.recv_timeout(LONG).expect("it was spawned");
    });
}

#[test]
fn wake_after_the_end_does_nothing() {
    bounded(|| {
        let runtime = runtime(1);
        let (send, receive) = mpsc::channel::<Waker>();
        let task = runtime.spawn(std::future::poll_fn(move |cx| {
            send.send(cx.waker().clone()).unwrap();
            std::task::Poll::<()>::Pending
        }));
        let waker = receive.recv_timeout(LONG).unwrap();
        drop(runtime);
        waker.wake_by_ref();
        let second = waker.clone();
        second.wake();
        task.abort();
        drop(task);
        waker.wake();
    });
}

/// A drop that opens the gate of another task, which waits (or is dropped already).
#[test]
fn tasks_whose_drop_wakes_others() {
    bounded(|| {
        for _ in 0..50 {
            let (runtime, drops) = (runtime(2), Drops::default());
            let gates: Vec<Gate> = (0..20).map(|_| Gate::default()).collect();
            for n in 0..20 {
                let (guard, mine) = (drops.guard(), gates[n].clone());
                let others = (gates[(n + 1) % 20].clone(), gates[(n + 7) % 20].clone());
                let wake = OnDrop::new(move || {
                    others.0.open();
                    others.1.open();
                });
                drop(runtime.spawn(async move {
                    let _both = (guard, wake);
                    mine.await;
                    pending::<()>().await;
                }));
            }
            drop(runtime);
            assert_eq!(drops.count(), 20);
        }
    });
}

fn spawns_in_drop(depth: u32, drops: Drops) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let guard = drops.guard();
    let heir = OnDrop::new(move || {
        if depth > 0 {
            let task = spawn(spawns_in_drop(depth - 1, drops));
            assert!(task.is_finished());
        }
    });
    Box::pin(async move {
        let _both = (guard, heir);
        pending::<()>().await;
    })
}

#[test]
fn tasks_whose_drop_spawns_others() {
    bounded(|| {
        let (runtime, drops) = (runtime(2), Drops::default());
        for _ in 0..10 {
            drop(runtime.spawn(spawns_in_drop(5, drops.clone())));
        }
        eventually("they wait", || runtime.metrics().waiting_tasks == 10);
        drop(runtime);
        assert_eq!(drops.count(), 60);
    });
}

#[test]
fn tasks_whose_drop_panics_or_aborts_others() {
    bounded(|| {
        let (runtime, drops) = (runtime(2), Drops::default());
        let handles: Arc<Mutex<Vec<JoinHandle<()>>>> = Arc::default();
        for n in 0..20 {
            let (guard, handles_too) = (drops.guard(), handles.clone());
            let loud = OnDrop::new(move || {
                for task in handles_too.lock().unwrap().iter() {
                    task.abort();
                }
                assert!(n % 2 == 0, "every second drop panics");
            });
            let task = runtime.spawn(async move {
                // Dropped in reverse: the guard last, in spite of the panic.
                let _guard = guard;
                let _loud = loud;
                pending::<()>().await;
            });
            handles.lock().unwrap().push(task);
        }
        eventually("they wait", || runtime.metrics().waiting_tasks == 20);
        let handle = runtime.handle().clone();
        drop(runtime);
        assert_eq!(drops.count(), 20);
        let handles = std::mem::take(&mut *handles.lock().unwrap());
        for task in handles {
            assert!(handle.block_on(task).is_err());
        }
    });
}

#[test]
fn a_runtime_owned_by_a_task_of_another_goes_with_it() {
    bounded(|| {
        let (outer, inner, drops) = (runtime(1), runtime(1), Drops::default());
        let tasks = populate(&inner, &drops);
        drop(outer.spawn(async move {
            let _inner = inner;
            pending::<()>().await;
        }));
        eventually("it waits", || outer.metrics().waiting_tasks == 1);
        drop(outer);
        eventually("all are dropped", || drops.count() == tasks);
    });
}

/// Foreign threads spawn and wake while the runtime ends: every handle gets an answer, every future is dropped.
#[test]
fn spawns_and_wakes_that_race_with_the_end() {
    bounded(|| {
        for round in 0..200u64 {
            let (runtime, drops) = (runtime(2), Drops::default());
            let spawned = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (handle, drops) = (runtime.handle().clone(), drops.clone());
                    let spawned = spawned.clone();
                    std::thread::spawn(move || {
                        let mut last: Option<JoinHandle<()>> = None;
                        let gate = Gate::default();
                        for _ in 0..100 {
                            let (guard, gate) = (drops.guard(), gate.clone());
                            let task = handle.spawn(async move {
                                let _guard = guard;
                                gate.await;
                                pending::<()>().await;
                            });
                            spawned.fetch_add(1, Ordering::SeqCst);
                            if let Some(last) = last.replace(task) {
                                last.abort();
                            }
                        }
                        gate.open();
                        handle.block_on(last.take().unwrap()).unwrap_err()
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_micros(round * 3));
            drop(runtime);
            for thread in threads {
                assert!(thread.join().unwrap().is_cancelled());
            }
            assert_eq!(drops.count(), spawned.load(Ordering::SeqCst));
        }
    });
}

#[test]
fn the_dropped_futures_find_their_runtime_current() {
    bounded(|| {
        let runtime = runtime(1);
        let (tell, told) = mpsc::channel();
        let nosy = OnDrop::new(move || tell.send(Handle::try_current().is_ok()).unwrap());
        drop(runtime.spawn(async move {
            let _nosy = nosy;
            pending::<()>().await;
        }));
        drop(runtime);
        assert!(told.recv_timeout(LONG).unwrap());
    });
}

#[test]
fn a_forked_child_that_drops_it_neither_hangs_nor_disturbs_the_parent() {
    bounded(|| {
        let mut runtime = Some(runtime(2));
        // SAFETY: the child drops the runtime, which takes no lock there, and ends without running anything else.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(runtime.take())));
            // SAFETY: takes no pointers.
            unsafe { libc::_exit(i32::from(dropped.is_err())) };
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
