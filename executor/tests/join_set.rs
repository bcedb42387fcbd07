//! `JoinSet` and `AbortHandle`: order, panics, aborts, what a drop does.

use std::{
    future::{Future, pending},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
};

use egret_executor::{
    Runtime,
    task::{AbortHandle, JoinSet},
};

#[path = "../../tests/support/watchdog.rs"]
mod watchdog;
use watchdog::Watchdog;

fn runtime(workers: usize) -> Runtime {
    egret_executor::Builder::new_multi_thread().worker_threads(workers).build().unwrap()
}

/// Counts how often it was dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn tasks_come_in_the_order_in_which_they_end() {
    let _watchdog = Watchdog::start();
    let runtime = runtime(2);
    runtime.block_on(async {
        let mut set = JoinSet::new();
        let (senders, ids): (Vec<_>, Vec<_>) = (0..100)
            .map(|number| {
                let (send, receive) = async_channel(number);
                let abort = set.spawn(receive);
                (send, abort.id())
            })
            .unzip();
        assert_eq!(set.len(), 100);
        // From the middle outwards and in between: each end is awaited before the next one is let go.
        for index in (0..50).flat_map(|step| [50 + step, 49 - step]) {
            senders[index].send(()).unwrap();
            let (id, number) = set.join_next_with_id().await.unwrap().unwrap();
            assert_eq!((id, number), (ids[index], index));
        }
        assert!(set.is_empty());
        assert!(set.join_next().await.is_none());
        assert!(set.try_join_next().is_none());
    });
}

/// A sender, and a future that gives `output` once something was sent.
fn async_channel<T: Send + 'static>(output: T) -> (mpsc::Sender<()>, impl Future<Output = T> + Send) {
    let (send, receive) = mpsc::channel();
    let task = async move {
        let waited = egret_executor::task::spawn_blocking(move || receive.recv());
        let _sent = waited.await;
        output
    };
    (send, task)
}

#[test]
fn entries_are_used_again() {
    let _watchdog = Watchdog::start();
    let runtime = runtime(2);
    runtime.block_on(async {
        let mut set = JoinSet::new();
        let mut sum = 0;
        for round in 0..1000 {
            set.spawn(async move { round });
            set.spawn(async move {
                egret_executor::task::yield_now().await;
                round
            });
            if round % 3 == 0 {
                sum += set.join_next().await.unwrap().unwrap();
            }
        }
        while let Some(output) = set.join_next().await {
            sum += output.unwrap();
        }
        assert_eq!(sum, 2 * (0..1000).sum::<i32>());
    });
}

#[test]
fn a_panic_is_an_error_with_the_tasks_id() {
    let runtime = runtime(1);
    runtime.block_on(async {
        let mut set = JoinSet::new();
        let fine = set.spawn(async { 1 });
        let broken = set.spawn(async { panic!("on purpose") });
        let mut seen = Vec::new();
        while let Some(next) = set.join_next_with_id().await {
            seen.push(match next {
                Ok((id, output)) => (id, Some(output)),
                Err(error) => {
                    assert!(error.is_panic());
                    (error.id(), None)
                }
            });
        }
        seen.sort_by_key(|(_, output)| output.is_none());
        assert_eq!(seen, [(fine.id(), Some(1)), (broken.id(), None)]);
    });
}

#[test]
fn join_all_throws_a_tasks_panic_and_aborts_the_rest() {
    let _watchdog = Watchdog::start();
    let runtime = runtime(1);
    let dropped = Arc::new(AtomicUsize::new(0));
    let counted = Counted(dropped.clone());
    let mut others = Vec::new();
    let thrown = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let mut set = JoinSet::new();
            others.push(set.spawn(async move {
                let _counted = counted;
                pending().await
            }));
            set.spawn(async { panic!("on purpose") });
            let _never: Vec<()> = set.join_all().await;
        });
    }));
    assert_eq!(thrown.unwrap_err().downcast_ref(), Some(&"on purpose"));
    wait_until(&runtime, || others[0].is_finished());
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

/// Yields on the runtime until it is so. Its watchdog ends what never is.
fn wait_until(runtime: &Runtime, mut so: impl FnMut() -> bool) {
    runtime.block_on(async {
        while !so() {
            egret_executor::task::yield_now().await;
        }
    });
}

#[test]
fn dropping_a_set_aborts_and_detaching_does_not() {
    let _watchdog = Watchdog::start();
    let runtime = runtime(2);
    let dropped = Arc::new(AtomicUsize::new(0));
    let (send, receive) = mpsc::channel();
    runtime.block_on(async {
        let mut set = JoinSet::new();
        let handles: Vec<AbortHandle> = (0..10)
            .map(|_| {
                let counted = Counted(dropped.clone());
                set.spawn(async move {
                    let _counted = counted;
                    pending::<()>().await;
                })
            })
            .collect();
        drop(set);
        while !handles.iter().all(AbortHandle::is_finished) {
            egret_executor::task::yield_now().await;
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 10);

        let mut set = JoinSet::new();
        let (go, detached) = async_channel(());
        let send = send.clone();
        set.spawn(async move {
            detached.await;
            send.send(7).unwrap();
        });
        set.detach_all();
        assert!(set.is_empty() && set.join_next().await.is_none());
        set.spawn(async {});
        drop(set);
        go.send(()).unwrap();
    });
    assert_eq!(receive.recv().unwrap(), 7);
}

#[test]
fn shutdown_waits_until_all_are_gone() {
    let _watchdog = Watchdog::start();
    let runtime = runtime(2);
    let dropped = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let mut set = JoinSet::new();
        for _ in 0..50 {
            let counted = Counted(dropped.clone());
            set.spawn(async move {
                let _counted = counted;
                pending::<()>().await;
            });
        }
        set.shutdown().await;
        assert!(set.is_empty());
        assert_eq!(dropped.load(Ordering::Relaxed), 50);
    });
}

#[test]
fn a_set_of_an_ended_runtime_has_cancelled_tasks_at_once() {
    let ended = runtime(1);
    let handle = ended.handle().clone();
    drop(ended);
    let mut set = JoinSet::new();
    let abort = set.spawn_on(async { 1 }, &handle);
    assert!(abort.is_finished());
    assert!(set.try_join_next().unwrap().unwrap_err().is_cancelled());
    assert!(set.is_empty());
    let blocking = set.spawn_blocking_on(|| 2, &handle);
    assert!(set.try_join_next().unwrap().unwrap_err().is_cancelled());
    assert!(blocking.is_finished());
}

#[test]
fn a_set_belongs_to_no_runtime_and_blocking_calls_are_tasks() {
    let _watchdog = Watchdog::start();
    let (first, second) = (runtime(1), runtime(1));
    let mut set = JoinSet::new();
    set.spawn_on(async { 1 }, first.handle());
    set.spawn_on(async { 10 }, second.handle());
    set.spawn_blocking_on(|| 100, second.handle());
    set.build_task().name("thousand").spawn_on(async { 1000 }, first.handle()).unwrap();
    let sum: i32 = first.block_on(set.join_all()).into_iter().sum();
    assert_eq!(sum, 1111);
}

#[test]
fn a_pending_poll_leaves_its_waker_and_only_the_last_one_counts() {
    struct Count(AtomicUsize);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Release);
        }
    }
    let _watchdog = Watchdog::start();
    let runtime = runtime(1);
    let mut set = JoinSet::new();
    let (go, task) = async_channel(5);
    set.spawn_on(task, runtime.handle());
    let (old, new) = (Arc::new(Count(AtomicUsize::new(0))), Arc::new(Count(AtomicUsize::new(0))));
    for count in [&old, &new] {
        let waker = Waker::from(count.clone());
        assert!(set.poll_join_next(&mut Context::from_waker(&waker)).is_pending());
    }
    go.send(()).unwrap();
    while new.0.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    assert_eq!((old.0.load(Ordering::Acquire), new.0.load(Ordering::Acquire)), (0, 1));
    let next = set.poll_join_next(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(next, Poll::Ready(Some(Ok(5)))));
}

#[test]
fn a_waiter_whose_waker_panics_harms_nobody() {
    struct Broken(AtomicUsize);
    impl std::task::Wake for Broken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Release);
            panic!("on purpose");
        }
    }
    let _watchdog = Watchdog::start();
    let runtime = runtime(1);
    let mut set = JoinSet::new();
    let (go, task) = async_channel(());
    set.spawn_on(task, runtime.handle());
    let broken = Arc::new(Broken(AtomicUsize::new(0)));
    let waker = Waker::from(broken.clone());
    assert!(set.poll_join_next(&mut Context::from_waker(&waker)).is_pending());
    go.send(()).unwrap();
    while broken.0.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    assert!(runtime.block_on(set.join_next()).unwrap().is_ok());
}

/// A task that nobody can wake yet: it is queued behind one that keeps the only worker.
#[test]
fn an_abort_handle_of_a_queued_task_keeps_it_from_its_first_poll() {
    let _watchdog = Watchdog::start();
    let runtime = runtime(1);
    let (release, released) = mpsc::channel::<()>();
    let (blocks, is_blocked) = mpsc::channel();
    let blocker = runtime.spawn(async move {
        blocks.send(()).unwrap();
        let _over = released.recv();
    });
    is_blocked.recv().unwrap();
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Counted(polls.clone());
    let task = runtime.spawn(async move {
        let _counted = counted;
        unreachable!("it was aborted before")
    });
    let abort = task.abort_handle();
    let second = task.abort_handle();
    assert!(!abort.is_finished());
    abort.abort();
    abort.clone().abort();
    drop(release);
    let error: egret_executor::JoinError = runtime.block_on(task).map(|(): ()| ()).unwrap_err();
    assert!(error.is_cancelled());
    assert!(abort.is_finished() && second.is_finished());
    assert_eq!(polls.load(Ordering::Relaxed), 1);
    runtime.block_on(blocker).unwrap();
    // The task's memory is gone: nothing happens.
    abort.abort();
}

#[test]
fn an_abort_handle_made_before_the_first_poll_aborts_the_waiting_task() {
    let _watchdog = Watchdog::start();
    let runtime = runtime(1);
    let (release, released) = mpsc::channel::<()>();
    let (blocks, is_blocked) = mpsc::channel();
    let blocker = runtime.spawn(async move {
        blocks.send(()).unwrap();
        let _over = released.recv();
    });
    is_blocked.recv().unwrap();
    let task = runtime.spawn(pending::<()>());
    let abort = task.abort_handle();
    drop(release);
    runtime.block_on(blocker).unwrap();
    wait_until(&runtime, || runtime.metrics().waiting_tasks == 1);
    // Detached: the abort handle is all there is.
    drop(task);
    assert!(!abort.is_finished());
    abort.abort();
    wait_until(&runtime, || abort.is_finished());
    assert_eq!(runtime.metrics().waiting_tasks, 0);
}

#[test]
fn an_abort_handle_of_a_waiting_or_ended_task() {
    let _watchdog = Watchdog::start();
    let runtime = runtime(1);
    let task = runtime.spawn(pending::<()>());
    wait_until(&runtime, || runtime.metrics().waiting_tasks == 1);
    let abort = task.abort_handle();
    assert!(!abort.is_finished());
    std::thread::spawn({
        let abort = abort.clone();
        move || abort.abort()
    })
    .join()
    .unwrap();
    assert!(runtime.block_on(task).unwrap_err().is_cancelled());
    assert!(abort.is_finished());

    let ended = runtime.spawn(async { 3 });
    wait_until(&runtime, || ended.is_finished());
    let abort = ended.abort_handle();
    assert!(abort.is_finished());
    abort.abort();
    assert_eq!(runtime.block_on(ended).unwrap(), 3);
    assert_eq!(format!("{abort:?}"), format!("AbortHandle {{ id: {:?}, finished: true }}", abort.id()));
}

#[test]
fn abort_handles_outlive_their_runtime() {
    let _watchdog = Watchdog::start();
    let runtime = runtime(2);
    let dropped = Arc::new(AtomicUsize::new(0));
    let spawn = || {
        let counted = Counted(dropped.clone());
        runtime.spawn(async move {
            let _counted = counted;
            pending::<()>().await;
        })
    };
    let waits = spawn();
    wait_until(&runtime, || runtime.metrics().waiting_tasks == 1);
    let handles = [waits.abort_handle(), spawn().abort_handle()];
    drop(waits);
    drop(runtime);
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
    for handle in handles {
        assert!(handle.is_finished());
        handle.abort();
    }
}
