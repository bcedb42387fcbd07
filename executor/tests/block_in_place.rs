//! `block_in_place`: the worker's work goes on, whoever blocks, however often, and however it ends.

mod support;

use std::{
    future::{Future, pending},
    io::{Read, Write},
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::Context,
    thread,
    time::Duration,
};

use egret_executor::{
    Builder, Handle, Runtime,
    io::{Direction, Registration},
    spawn,
    task::{JoinSet, block_in_place, yield_now},
    time::sleep,
};
use support::{Drops, bounded, eventually};

fn one_worker() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).build().unwrap()
}

#[test]
fn the_only_workers_queue_timers_and_sockets_are_served() {
    bounded(|| {
        let runtime = one_worker();
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let (tell, told) = mpsc::channel();
        let task = runtime.spawn(async move {
            let worker = thread::current().id();
            // In the slot and in the deque of this worker, which is about to block.
            let (first, second) = (tell.clone(), tell.clone());
            drop(spawn(async move { first.send(thread::current().id()).unwrap() }));
            drop(spawn(async move {
                sleep(Duration::from_millis(1)).await;
                second.send(thread::current().id()).unwrap();
            }));
            drop(spawn(async move {
                let registration = Registration::new(near.try_clone().unwrap().into()).unwrap();
                registration.async_io(Direction::Read, || (&near).read(&mut [0])).await.unwrap();
                tell.send(thread::current().id()).unwrap();
            }));
            let others: Vec<_> = block_in_place(|| {
                let first: Vec<_> = told.iter().take(2).collect();
                far.write_all(b"x").unwrap();
                first.into_iter().chain(told.iter().take(1)).collect()
            });
            assert!(others.iter().all(|other| *other != worker), "somebody else did it");
            assert_eq!(thread::current().id(), worker);
            spawn(async {}).await.unwrap();
        });
        runtime.block_on(task).unwrap();
        assert_eq!(runtime.block_on(runtime.spawn(async { 5 })).unwrap(), 5);
    });
}

#[test]
fn two_that_wait_for_each_other_in_place_on_one_worker() {
    bounded(|| {
        let runtime = one_worker();
        let ((to_first, at_first), (to_second, at_second)) = (mpsc::channel(), mpsc::channel());
        let first = runtime.spawn(async move {
            for round in 0..100 {
                block_in_place(|| {
                    to_second.send(round).unwrap();
                    assert_eq!(at_first.recv().unwrap(), round);
                });
                if round % 7 == 0 {
                    yield_now().await;
                }
            }
        });
        let second = runtime.spawn(async move {
            for round in 0..100 {
                block_in_place(|| {
                    assert_eq!(at_second.recv().unwrap(), round);
                    to_first.send(round).unwrap();
                });
                if round % 5 == 0 {
                    yield_now().await;
                }
            }
        });
        runtime.block_on(first).unwrap();
        runtime.block_on(second).unwrap();
    });
}

#[test]
fn a_runtime_may_be_entered_inside() {
    fn nest(depth: usize) -> usize {
        if depth == 0 {
            return 0;
        }
        let inner = spawn(async move { block_in_place(|| nest(depth - 1)) });
        Handle::current().block_on(inner).unwrap() + 1
    }
    bounded(|| {
        let runtime = one_worker();
        let task = runtime.spawn(async {
            let depth = block_in_place(|| block_in_place(|| nest(10)));
            // Only inside.
            assert!(catch_unwind(|| Handle::current().block_on(async {})).is_err());
            depth
        });
        assert_eq!(runtime.block_on(task).unwrap(), 10);
        // In block_on there is no core to lend, but there, too, a runtime may be entered.
        let other = one_worker();
        let sum = runtime.block_on(async {
            block_in_place(|| {
                other.block_on(other.spawn(async { 3 })).unwrap() + Handle::current().block_on(async { 4 })
            })
        });
        assert_eq!(sum, 7);
        assert_eq!(block_in_place(|| 8), 8);
    });
}

#[test]
fn a_panic_inside_is_the_tasks() {
    bounded(|| {
        let runtime = one_worker();
        let task = runtime.spawn(async { block_in_place(|| panic!("on purpose")) });
        assert!(runtime.block_on(task).unwrap_err().is_panic());
        let caught = runtime.spawn(async {
            assert!(catch_unwind(|| block_in_place(|| panic!("on purpose"))).is_err());
            yield_now().await;
            6
        });
        assert_eq!(runtime.block_on(caught).unwrap(), 6);
    });
}

#[test]
fn a_current_thread_runtime_refuses() {
    bounded(|| {
        let runtime = Builder::new_current_thread().build().unwrap();
        let thrown = runtime.block_on(async { catch_unwind(AssertUnwindSafe(|| block_in_place(|| ()))) });
        assert!(thrown.is_err());
        let task = runtime.spawn(async { block_in_place(|| ()) });
        assert!(runtime.block_on(task).unwrap_err().is_panic());
    });
}

#[test]
fn many_short_ones_among_others() {
    bounded(|| {
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let done = Arc::new(AtomicUsize::new(0));
        runtime.block_on(async {
            let mut set = JoinSet::new();
            for number in 0..300 {
                let done = done.clone();
                set.spawn(async move {
                    if number % 3 == 0 {
                        sleep(Duration::from_micros(number * 7)).await;
                    }
                    block_in_place(|| {
                        if number % 5 == 0 {
                            thread::sleep(Duration::from_micros(200));
                        }
                    });
                    spawn(yield_now()).await.unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                });
            }
            set.join_all().await;
        });
        assert_eq!(done.load(Ordering::Relaxed), 300);
        drop(runtime);
    });
}

#[test]
fn with_no_thread_to_take_over_it_is_done_afterwards() {
    bounded(|| {
        let runtime = Builder::new_multi_thread().worker_threads(1).max_blocking_threads(1).build().unwrap();
        let (go, gone) = mpsc::channel::<()>();
        let (runs, is_running) = mpsc::channel();
        let call = runtime.spawn_blocking(move || {
            runs.send(()).unwrap();
            let _over = gone.recv();
        });
        is_running.recv().unwrap();
        let task = runtime.spawn(async {
            let other = spawn(async { 3 });
            block_in_place(|| ());
            other.await.unwrap()
        });
        assert_eq!(runtime.block_on(task).unwrap(), 3);
        drop(go);
        runtime.block_on(call).unwrap();
    });
}

/// Hooks and foreign wakers run on a worker in the middle of what it does with its core.
#[test]
fn outside_of_a_poll_nothing_is_lent() {
    struct Blocks(AtomicUsize);
    impl std::task::Wake for Blocks {
        fn wake(self: Arc<Self>) {
            block_in_place(|| self.0.fetch_add(1, Ordering::SeqCst));
        }
    }
    bounded(|| {
        let hooks = Arc::new(AtomicUsize::new(0));
        let count = || {
            let hooks = hooks.clone();
            move || {
                block_in_place(|| hooks.fetch_add(1, Ordering::SeqCst));
            }
        };
        let (before, after) = (count(), count());
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .on_thread_park(count())
            .on_thread_unpark(count())
            .on_before_task_poll(move |_| before())
            .on_after_task_poll(move |_| after())
            .build()
            .unwrap();
        let waker = Arc::new(Blocks(AtomicUsize::new(0)));
        let woken = waker.clone();
        let task = runtime.spawn(async move {
            let mut fires = Box::pin(sleep(Duration::from_millis(1)));
            let waker = woken.clone().into();
            assert!(fires.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            while woken.0.load(Ordering::SeqCst) == 0 {
                yield_now().await;
            }
        });
        runtime.block_on(task).unwrap();
        assert_eq!(waker.0.load(Ordering::SeqCst), 1);
        assert!(hooks.load(Ordering::SeqCst) >= 4);
        assert_eq!(runtime.metrics().blocking_threads, 0, "nobody was asked to take over");
    });
}

#[test]
fn the_runtime_may_end_meanwhile() {
    bounded(|| {
        for drops_it_inside in [false, true] {
            let runtime = one_worker();
            let drops = Drops::default();
            let guard = drops.guard();
            drop(runtime.spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            }));
            eventually("it waits", || runtime.metrics().waiting_tasks == 1);
            let (go, gone) = mpsc::channel::<Runtime>();
            let (runs, is_running) = mpsc::channel();
            let task = runtime.spawn(async move {
                block_in_place(|| {
                    runs.send(()).unwrap();
                    drop(gone.recv());
                });
                9
            });
            is_running.recv().unwrap();
            let handle = runtime.handle().clone();
            if drops_it_inside {
                go.send(runtime).unwrap();
            } else {
                // The other thread, which is the worker, sees the end; the first one gives up when it comes back.
                runtime.shutdown_background();
                eventually("it ends", || !handle.is_running_for_tests());
                drop(go);
            }
            eventually("its tasks are dropped", || drops.count() == 1);
            assert_eq!(handle.block_on(task).unwrap(), 9);
        }
    });
}

trait IsRunning {
    fn is_running_for_tests(&self) -> bool;
}

impl IsRunning for Handle {
    fn is_running_for_tests(&self) -> bool {
        !self.spawn(pending::<()>()).is_finished()
    }
}
