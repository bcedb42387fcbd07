//! The current-thread flavour: who drives, who takes over, what wakes it, how it ends.

mod support;

use std::{
    cell::Cell,
    future::{pending, poll_fn},
    io::{Read, Write},
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use egret_executor::{
    Builder, Handle, Runtime,
    io::{Direction, Registration},
    runtime::{RuntimeFlavor, UnhandledPanic},
    spawn, task,
    time::sleep,
};
use support::{Drops, Gate, LONG, OnDrop, bounded, eventually};

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

#[test]
fn tasks_run_in_block_on_and_nowhere_else() {
    bounded(|| {
        let runtime = runtime();
        assert_eq!(runtime.handle().runtime_flavor(), RuntimeFlavor::CurrentThread);
        assert_eq!(runtime.workers(), 1);
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let ran = ran.clone();
            drop(runtime.spawn(async move {
                task::yield_now().await;
                ran.fetch_add(1, Ordering::Relaxed);
            }));
        }
        let here = thread::current().id();
        let there = runtime.spawn(async { thread::current().id() });
        assert_eq!(ran.load(Ordering::Relaxed), 0);
        assert_eq!(runtime.block_on(there).unwrap(), here);
        runtime.block_on(async {
            while ran.load(Ordering::Relaxed) < 100 {
                task::yield_now().await;
            }
        });
        // The main future needn't be Send, nor live for ever.
        let local = Rc::new(Cell::new(0));
        runtime.block_on(async {
            for _ in 0..10 {
                spawn(async {}).await.unwrap();
                local.set(local.get() + 1);
            }
        });
        assert_eq!(local.get(), 10);
        assert_eq!(runtime.metrics().alive_tasks, 0);
    });
}

#[test]
fn it_sleeps_and_is_woken_by_timers_sockets_and_other_threads() {
    bounded(|| {
        let runtime = runtime();
        let began = Instant::now();
        runtime.block_on(async {
            sleep(Duration::from_millis(5)).await;
            spawn(sleep(Duration::from_millis(5))).await.unwrap();
        });
        assert!(began.elapsed() >= Duration::from_millis(10));

        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let got = runtime.block_on(async {
            let registration = Registration::new(near.try_clone().unwrap().into()).unwrap();
            let reads = spawn(async move {
                let mut got = [0];
                let read = registration.async_io(Direction::Read, || (&near).read(&mut got)).await;
                read.map(|_| got[0])
            });
            let writer = spawn(async move { far.write_all(b"x").unwrap() });
            writer.await.unwrap();
            reads.await.unwrap().unwrap()
        });
        assert_eq!(got, b'x');

        let gate = Gate::default();
        let opener = thread::spawn({
            let gate = gate.clone();
            move || {
                eventually("it is polled", || gate.was_polled());
                gate.open();
            }
        });
        // It waits in the main future.
        runtime.block_on(gate);
        opener.join().unwrap();
        // And in a blocking call, whose task another thread wakes.
        assert_eq!(runtime.block_on(runtime.spawn_blocking(|| 7)).unwrap(), 7);
    });
}

#[test]
fn many_foreign_wakes_and_none_is_lost() {
    const WAKES: usize = 20_000;
    bounded(|| {
        let runtime = runtime();
        let (waker_out, waker_in) = mpsc::channel::<std::task::Waker>();
        let woken = Arc::new(AtomicUsize::new(0));
        let waking = thread::spawn({
            let woken = woken.clone();
            move || {
                for waker in waker_in {
                    woken.fetch_add(1, Ordering::SeqCst);
                    waker.wake();
                }
            }
        });
        let mut seen = 0;
        runtime.block_on(poll_fn(|cx| {
            // Each poll asks for one wake, and waits until it has come.
            if woken.load(Ordering::SeqCst) < seen {
                return Poll::Pending;
            }
            seen += 1;
            if seen > WAKES {
                return Poll::Ready(());
            }
            waker_out.send(cx.waker().clone()).unwrap();
            Poll::Pending
        }));
        drop(waker_out);
        waking.join().unwrap();
    });
}

#[test]
fn a_main_future_that_is_always_ready_to_go_on_starves_nobody() {
    bounded(|| {
        let runtime = runtime();
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.write_all(b"x").unwrap();
        runtime.block_on(async {
            let registration = Registration::new(near.try_clone().unwrap().into()).unwrap();
            let done = Arc::new(AtomicUsize::new(0));
            let (first, second) = (done.clone(), done.clone());
            drop(spawn(async move {
                registration.async_io(Direction::Read, || (&near).read(&mut [0])).await.unwrap();
                first.fetch_add(1, Ordering::Relaxed);
            }));
            drop(spawn(async move {
                sleep(Duration::from_millis(1)).await;
                second.fetch_add(1, Ordering::Relaxed);
            }));
            // Wakes itself in each poll.
            while done.load(Ordering::Relaxed) < 2 {
                task::yield_now().await;
            }
        });
    });
}

#[test]
fn a_task_that_always_goes_on_does_not_keep_the_main_future_from_its_end() {
    bounded(|| {
        let runtime = runtime();
        runtime.block_on(async {
            drop(spawn(async {
                loop {
                    task::yield_now().await;
                }
            }));
            sleep(Duration::from_millis(1)).await;
            spawn(async {}).await.unwrap();
        });
    });
}

#[test]
fn another_thread_takes_over() {
    bounded(|| {
        let runtime = Arc::new(runtime());
        let drops = Drops::default();
        let gate = Gate::default();
        let (tell, told) = mpsc::channel();
        let first = thread::spawn({
            let (runtime, gate) = (runtime.clone(), gate.clone());
            move || runtime.block_on(gate)
        });
        eventually("the first drives", || gate.was_polled());
        // Waits for a task, which somebody has to run.
        let second = thread::spawn({
            let runtime = runtime.clone();
            let guard = drops.guard();
            move || {
                runtime.block_on(async move {
                    let _guard = guard;
                    let task = spawn(async { thread::current().id() });
                    let by_first = task.await.unwrap();
                    tell.send(by_first).unwrap();
                    // When the first is through this one drives: nobody else could fire the timers.
                    for _ in 0..3 {
                        sleep(Duration::from_millis(5)).await;
                    }
                    spawn(async { thread::current().id() }).await.unwrap()
                })
            }
        });
        let first_id = first.thread().id();
        assert_eq!(told.recv().unwrap(), first_id);
        gate.open();
        first.join().unwrap();
        let second_id = second.thread().id();
        assert_eq!(second.join().unwrap(), second_id);
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn many_threads_at_once() {
    bounded(|| {
        let runtime = Arc::new(runtime());
        let start = Arc::new(Barrier::new(8));
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let (runtime, start) = (runtime.clone(), start.clone());
                thread::spawn(move || {
                    start.wait();
                    for round in 0..50 {
                        let got = runtime.block_on(async move {
                            let task = spawn(async move {
                                task::yield_now().await;
                                number * 1000 + round
                            });
                            if round % 10 == 0 {
                                sleep(Duration::from_micros(200)).await;
                            }
                            task.await.unwrap()
                        });
                        assert_eq!(got, number * 1000 + round);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(runtime.metrics().alive_tasks, 0);
    });
}

#[test]
fn a_panic_in_the_main_future_leaves_everything_usable() {
    bounded(|| {
        let runtime = runtime();
        let waits = runtime.spawn(sleep(Duration::from_millis(2)));
        for _ in 0..3 {
            let thrown = catch_unwind(AssertUnwindSafe(|| {
                runtime.block_on(async {
                    task::yield_now().await;
                    panic!("on purpose");
                })
            }));
            assert!(thrown.is_err());
        }
        runtime.block_on(waits).unwrap();
        assert!(runtime.block_on(runtime.spawn(async { panic!("on purpose") })).unwrap_err().is_panic());
        assert_eq!(runtime.block_on(runtime.spawn(async { 3 })).unwrap(), 3);
    });
}

#[test]
fn dropping_it_drops_its_tasks_here() {
    bounded(|| {
        let runtime = runtime();
        let handle = runtime.handle().clone();
        let drops = Drops::default();
        let here = thread::current().id();
        let (queued, waiting) = (drops.guard(), drops.guard());
        let where_dropped = OnDrop::new(move || assert_eq!(thread::current().id(), here));
        let waits = runtime.spawn(async move {
            let _held = (waiting, where_dropped);
            sleep(LONG).await;
        });
        runtime.block_on(task::yield_now());
        let never = runtime.spawn(async move {
            let _queued = queued;
            unreachable!("nobody is in block_on any more");
        });
        drop(runtime);
        assert_eq!(drops.count(), 2);
        let cancelled = handle.block_on(async { (waits.await.unwrap_err(), never.await.map(|(): ()| ())) });
        assert!(cancelled.0.is_cancelled() && cancelled.1.unwrap_err().is_cancelled());
        assert!(handle.block_on(handle.spawn(async {})).unwrap_err().is_cancelled());
    });
}

#[test]
fn a_task_may_drop_the_runtime_it_runs_on() {
    bounded(|| {
        let runtime = runtime();
        let handle = runtime.handle().clone();
        let drops = Drops::default();
        let guard = drops.guard();
        let other = handle.spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        let (tell, told) = mpsc::channel();
        handle.block_on(async move {
            let dropper = spawn(async move {
                drop(runtime);
                // Its poll goes on.
                tell.send(()).unwrap();
            });
            dropper.await.unwrap();
            assert!(other.await.unwrap_err().is_cancelled());
        });
        told.recv().unwrap();
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn a_worker_of_another_runtime_may_drop_it_and_goes_on() {
    bounded(|| {
        let outer = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let inner = runtime();
        let drops = Drops::default();
        let guard = drops.guard();
        drop(inner.spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        }));
        inner.block_on(task::yield_now());
        outer.block_on(async {
            let dropper = spawn(async move {
                drop(inner);
                // Still a worker: what it spawns lies in its own hands.
                spawn(async {}).await.unwrap();
            });
            dropper.await.unwrap();
        });
        assert_eq!(drops.count(), 1);
        assert!(outer.metrics().workers[0].lifo_polls >= 1);
    });
}

#[test]
fn others_in_block_on_learn_of_the_end() {
    bounded(|| {
        let runtime = runtime();
        let handle = runtime.handle().clone();
        let gate = Gate::default();
        let driver = thread::spawn({
            let (handle, gate) = (handle.clone(), gate.clone());
            move || {
                handle.block_on(async move {
                    gate.await;
                    Handle::current().block_on_is_refused()
                })
            }
        });
        eventually("it drives", || gate.was_polled());
        let waits = Arc::new(AtomicBool::new(false));
        let waiter = thread::spawn({
            let (handle, waits) = (handle.clone(), waits.clone());
            move || {
                handle.block_on(async move {
                    waits.store(true, Ordering::Release);
                    sleep(LONG).await;
                })
            }
        });
        eventually("the other waits", || waits.load(Ordering::Acquire));
        drop(runtime);
        // Its sleep is over with the runtime.
        waiter.join().unwrap();
        gate.open();
        assert!(driver.join().unwrap());
    });
}

trait Refused {
    fn block_on_is_refused(&self) -> bool;
}

impl Refused for Handle {
    fn block_on_is_refused(&self) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.block_on(async {}))).is_err()
    }
}

#[test]
fn a_graceful_shutdown_runs_what_is_left() {
    bounded(|| {
        let runtime = runtime();
        let token = runtime.handle().shutdown_token();
        let last = runtime.spawn(async move {
            token.cancelled().await;
            sleep(Duration::from_millis(2)).await;
            5
        });
        let waits = runtime.spawn(pending::<()>());
        let report = runtime.shutdown(Duration::from_millis(500));
        assert_eq!((report.finished, report.cancelled.len()), (1, 1), "{report}");
        assert_eq!(report.cancelled[0].id, waits.id());
        assert!(report.stuck.is_empty());
        assert!(last.is_finished());
    });
}

#[test]
fn a_graceful_shutdown_does_not_wait_for_another_thread_that_is_stuck() {
    bounded(|| {
        let runtime = runtime();
        let handle = runtime.handle().clone();
        let (go, gone) = mpsc::channel::<()>();
        let (runs, is_running) = mpsc::channel();
        let driver = thread::spawn(move || {
            handle.block_on(async move {
                runs.send(()).unwrap();
                let _over = gone.recv();
            })
        });
        is_running.recv().unwrap();
        let waits = runtime.spawn(pending::<()>());
        let report = runtime.shutdown(Duration::from_millis(10));
        assert!(report.took < LONG && !report.has_ended && !report.is_clean(), "{report}");
        assert_eq!(report.left, 1, "{report}");
        drop(go);
        driver.join().unwrap();
        // The driver has brought the end about when it came back.
        assert!(waits.is_finished());
    });
}

#[test]
fn it_may_end_with_the_first_panic() {
    bounded(|| {
        let runtime =
            Builder::new_current_thread().unhandled_panic(UnhandledPanic::ShutdownRuntime).build().unwrap();
        let other = runtime.spawn(pending::<()>());
        runtime.block_on(async {
            drop(spawn(async { panic!("on purpose") }));
            assert!(other.await.unwrap_err().is_cancelled());
        });
    });
}

#[test]
fn a_stuck_poll_is_told_of() {
    bounded(|| {
        let (tell, told) = mpsc::channel();
        let tell = std::sync::Mutex::new(tell);
        let runtime = Builder::new_current_thread()
            .on_stuck_poll(Duration::from_millis(10), move |poll| {
                tell.lock().unwrap().send(poll.id).unwrap();
            })
            .build()
            .unwrap();
        let task = runtime.spawn(async move { told.recv().unwrap() });
        let id = task.id();
        assert_eq!(runtime.block_on(task).unwrap(), id);
    });
}
