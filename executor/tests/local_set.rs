//! Local sets: tasks that aren't `Send` stay on their thread, whatever is done to them from elsewhere.

mod support;

use std::{
    cell::{Cell, RefCell},
    future::{Future, pending},
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use egret_executor::{
    JoinHandle, spawn,
    task::{JoinSet, LocalSet, spawn_local, yield_now},
    time::{sleep, timeout},
};
use support::{Drops, Gate, LONG, OnDrop, eventually, runtime};

/// Says, by a panic of the test, that it was dropped on another thread than it was made on. It isn't `Send`.
struct Homebound {
    home: thread::ThreadId,
    drops: Option<support::DropGuard>,
    _not_send: Rc<()>,
}

impl Homebound {
    fn new(drops: &Drops) -> Self {
        Self { home: thread::current().id(), drops: Some(drops.guard()), _not_send: Rc::new(()) }
    }
}

impl Drop for Homebound {
    fn drop(&mut self) {
        if thread::current().id() == self.home {
            self.drops.take();
        } else {
            // Never counted, so that the test sees it even if the panic is caught.
            std::mem::forget(self.drops.take());
        }
    }
}

/// A future that is never ready, and whose wakers are kept for others to use.
#[derive(Clone, Default)]
struct Hung(Arc<Mutex<Vec<Waker>>>);

impl Hung {
    fn wakers(&self) -> Vec<Waker> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn waits(&self) -> bool {
        !self.0.lock().unwrap().is_empty()
    }
}

impl Future for Hung {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.lock().unwrap().push(cx.waker().clone());
        Poll::Pending
    }
}

/// A task of that set that hangs with something that must go on its own thread. The set is driven until it hangs.
fn hang(runtime: &support::Watched, set: &LocalSet, drops: &Drops) -> (Hung, JoinHandle<()>) {
    let hung = Hung::default();
    let _runtime = runtime.enter();
    let task = set.spawn_local({
        let (hung, homebound) = (hung.clone(), Homebound::new(drops));
        async move {
            hung.await;
            drop(homebound);
        }
    });
    set.block_on(runtime, async {
        while !hung.waits() {
            yield_now().await;
        }
    });
    (hung, task)
}

fn turn(runtime: &support::Watched, set: &LocalSet) {
    set.block_on(runtime, yield_now());
}

#[test]
fn tasks_share_what_is_not_send() {
    let runtime = runtime(1);
    let sum = Rc::new(RefCell::new(Vec::new()));
    LocalSet::new().block_on(&runtime, async {
        let tasks: Vec<_> = (0..200)
            .map(|n| {
                let sum = sum.clone();
                spawn_local(async move {
                    yield_now().await;
                    sum.borrow_mut().push(n);
                    spawn_local(async move { Rc::new(n) }).await.unwrap()
                })
            })
            .collect();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(*task.await.unwrap(), n);
        }
    });
    assert_eq!(*sum.borrow(), (0..200).collect::<Vec<_>>());
}

#[test]
fn a_set_is_a_future_that_ends_with_its_last_task() {
    let runtime = runtime(1);
    let ended = Rc::new(Cell::new(0));
    let _entered = runtime.enter();
    let set = LocalSet::new();
    for n in 0..3 {
        let ended = ended.clone();
        set.spawn_local(async move {
            sleep(Duration::from_millis(n)).await;
            spawn_local(async move { ended.set(ended.get() + 1) });
        });
    }
    runtime.block_on(set);
    assert_eq!(ended.get(), 3);
    runtime.block_on(LocalSet::default());
}

#[test]
fn local_tasks_sleep_and_spawn_on_the_workers_and_are_woken_by_them() {
    let runtime = runtime(2);
    let output = LocalSet::new().block_on(&runtime, async {
        let home = thread::current().id();
        spawn_local(async move {
            let not_send = Rc::new(5);
            let far = spawn(async {
                sleep(Duration::from_millis(1)).await;
                thread::current().id()
            });
            assert_ne!(far.await.unwrap(), home);
            timeout(Duration::from_millis(1), pending::<()>()).await.unwrap_err();
            assert_eq!(thread::current().id(), home);
            *not_send
        })
        .await
    });
    assert_eq!(output.unwrap(), 5);
}

#[test]
fn a_local_tasks_handle_may_be_awaited_on_a_worker() {
    let runtime = runtime(2);
    let output = LocalSet::new().block_on(&runtime, async {
        let local = spawn_local(async {
            let kept = Rc::new(9);
            sleep(Duration::from_millis(1)).await;
            *kept
        });
        spawn(local).await.unwrap()
    });
    assert_eq!(output.unwrap(), 9);
}

#[test]
fn a_panic_is_its_tasks_error() {
    let runtime = runtime(1);
    LocalSet::new().block_on(&runtime, async {
        let task = spawn_local(async { panic!("on purpose") });
        let other = spawn_local(async { 1 });
        assert_eq!(task.await.unwrap_err().into_panic().downcast_ref(), Some(&"on purpose"));
        assert_eq!(other.await.unwrap(), 1);
        assert!(spawn_local(async { panic!("at once") }).await.unwrap_err().is_panic());
    });
}

#[test]
fn dropping_the_set_drops_its_tasks_here_and_cancels_their_handles() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let set = LocalSet::new();
    let (hung, waiting) = hang(&runtime, &set, &drops);
    let homebound = Homebound::new(&drops);
    let queued = set.spawn_local(async move { drop(homebound) });
    assert_eq!(drops.count(), 0);
    drop(set);
    assert_eq!(drops.count(), 2);
    assert!(waiting.is_finished() && queued.is_finished());
    assert!(runtime.block_on(waiting).unwrap_err().is_cancelled());
    assert!(runtime.block_on(queued).unwrap_err().is_cancelled());
    assert_eq!(hung.wakers().len(), 1);
}

#[test]
fn a_wake_after_the_set_is_gone_is_harmless() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let set = LocalSet::new();
    let (hung, task) = hang(&runtime, &set, &drops);
    drop((set, task));
    let wakers = hung.wakers();
    thread::spawn(move || {
        for waker in wakers {
            waker.wake_by_ref();
            drop(waker.clone());
            waker.wake();
        }
    })
    .join()
    .unwrap();
    assert_eq!(drops.count(), 1);
}

#[test]
fn the_last_waker_may_die_elsewhere() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let set = LocalSet::new();
    let (hung, task) = hang(&runtime, &set, &drops);
    drop(task);
    let wakers = hung.wakers();
    thread::spawn(move || drop(wakers)).join().unwrap();
    turn(&runtime, &set);
    // It is the set's all the same: nobody may wake it, but the set may end it.
    assert_eq!(drops.count(), 0);
    drop(set);
    assert_eq!(drops.count(), 1);
}

#[test]
fn an_abort_from_elsewhere_drops_the_future_here() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let set = LocalSet::new();
    let (_hung, waiting) = hang(&runtime, &set, &drops);
    let homebound = Homebound::new(&drops);
    let queued = set.spawn_local(async move { drop(homebound) });
    let tasks = thread::spawn(move || {
        waiting.abort();
        queued.abort_handle().abort();
        [waiting, queued]
    });
    let tasks = tasks.join().unwrap();
    assert_eq!(drops.count(), 0);
    set.block_on(&runtime, async {
        for task in tasks {
            assert!(task.await.unwrap_err().is_cancelled());
        }
    });
    assert_eq!(drops.count(), 2);
}

#[test]
fn an_abort_from_elsewhere_wakes_a_set_that_sleeps() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let set = LocalSet::new();
    let (_hung, task) = hang(&runtime, &set, &drops);
    let abort = task.abort_handle();
    let (driven, is_driven) = mpsc::channel();
    let aborter = thread::spawn(move || {
        is_driven.recv_timeout(LONG).unwrap();
        abort.abort();
        abort
    });
    let result = set.block_on(&runtime, async {
        driven.send(()).unwrap();
        timeout(LONG, task).await.expect("it ends")
    });
    assert!(result.unwrap_err().is_cancelled());
    assert!(aborter.join().unwrap().is_finished());
    assert_eq!(drops.count(), 1);
}

/// What keeps a task's memory may be the last of it, on any thread, after the set.
#[test]
fn a_tasks_memory_may_go_on_any_thread() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let set = LocalSet::new();
    let (hung, task) = hang(&runtime, &set, &drops);
    let (abort, wakers) = (task.abort_handle(), hung.wakers());
    let output = set.spawn_local(async { vec![1, 2] });
    turn(&runtime, &set);
    drop(set);
    thread::spawn(move || {
        abort.abort();
        drop((abort, task, wakers, output));
    })
    .join()
    .unwrap();
    assert_eq!(drops.count(), 1);
}

#[test]
fn a_dropped_handle_detaches() {
    let runtime = runtime(1);
    let ran = Rc::new(Cell::new(false));
    let set = LocalSet::new();
    set.block_on(&runtime, async {
        let ran = ran.clone();
        drop(spawn_local(async move {
            yield_now().await;
            ran.set(true);
        }));
    });
    runtime.block_on(set);
    assert!(ran.get());
}

/// Other threads wake tasks of a set as fast as they can, which sleeps in between.
#[test]
fn no_wake_from_elsewhere_is_lost() {
    const THREADS: usize = 3;
    const ROUNDS: usize = 500;
    let runtime = runtime(1);
    let set = LocalSet::new();
    let (gates, threads): (Vec<_>, Vec<_>) = (0..THREADS)
        .map(|_| {
            let (gates, new_gates) = mpsc::channel::<Gate>();
            (gates, thread::spawn(move || new_gates.iter().for_each(|gate| gate.open())))
        })
        .unzip();
    set.block_on(&runtime, async {
        let tasks: Vec<_> = gates
            .into_iter()
            .map(|gates| {
                spawn_local(async move {
                    for _ in 0..ROUNDS {
                        let gate = Gate::default();
                        gates.send(gate.clone()).unwrap();
                        gate.await;
                    }
                })
            })
            .collect();
        for task in tasks {
            timeout(LONG, task).await.expect("woken").unwrap();
        }
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// The set ends while another thread wakes its task, and lets go of the last waker: the task is on its way, and arrives.
#[test]
fn a_set_that_ends_waits_for_tasks_on_their_way() {
    let runtime = runtime(1);
    let drops = Drops::default();
    for round in 0..300 {
        let set = LocalSet::new();
        let (hung, task) = hang(&runtime, &set, &drops);
        let wakers = hung.wakers();
        let (ready, is_ready) = mpsc::channel();
        let waking = thread::spawn(move || {
            ready.send(()).unwrap();
            if round % 2 == 0 {
                task.abort();
            }
            wakers.into_iter().for_each(Waker::wake);
            task
        });
        is_ready.recv_timeout(LONG).unwrap();
        drop(set);
        assert_eq!(drops.count(), round + 1);
        assert!(runtime.block_on(waking.join().unwrap()).unwrap_err().is_cancelled());
    }
}

#[test]
fn the_end_of_the_runtime_cancels_at_the_sets_next_turn() {
    let drops = Drops::default();
    let set = LocalSet::new();
    let first = runtime(1);
    let (_hung, task) = hang(&first, &set, &drops);
    let handle = first.handle().clone();
    drop(first);
    assert_eq!(drops.count(), 0);
    let late = handle.block_on(set.run_until(async {
        assert!(task.await.unwrap_err().is_cancelled());
        spawn_local(async {}).await
    }));
    assert!(late.unwrap_err().is_cancelled());
    assert_eq!(drops.count(), 1);
    // In another runtime it begins anew.
    let second = runtime(1);
    assert_eq!(set.block_on(&second, async { spawn_local(async { 1 }).await }).unwrap(), 1);
}

#[test]
fn a_set_may_outlive_its_runtime() {
    let drops = Drops::default();
    let set = LocalSet::new();
    let first = runtime(1);
    let (hung, task) = hang(&first, &set, &drops);
    drop(first);
    assert_eq!(drops.count(), 0);
    drop(set);
    assert_eq!(drops.count(), 1);
    assert!(task.is_finished());
    hung.wakers().into_iter().for_each(Waker::wake);
}

#[test]
fn a_set_in_a_thread_local_goes_with_its_thread() {
    thread_local! {
        static SET: LocalSet = LocalSet::new();
    }
    let runtime = runtime(1);
    let drops = Drops::default();
    let hung = Hung::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            SET.with(|set| {
                let homebound = Homebound::new(&drops);
                let hung = hung.clone();
                set.block_on(&runtime, async {
                    spawn_local(async move {
                        hung.await;
                        drop(homebound);
                    });
                    yield_now().await;
                });
            });
        });
    });
    // A scope's end may come before the destructors of its threads' locals.
    eventually("the thread's local is dropped", || drops.count() == 1);
    hung.wakers().into_iter().for_each(Waker::wake);
}

#[test]
fn a_leaked_set_leaks_its_tasks() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let set = LocalSet::new();
    let (hung, task) = hang(&runtime, &set, &drops);
    std::mem::forget(set);
    thread::spawn(move || {
        task.abort();
        hung.wakers().into_iter().for_each(Waker::wake);
    })
    .join()
    .unwrap();
    drop(runtime);
    assert_eq!(drops.count(), 0);
}

/// A task that is dropped may spawn another one, and wake its own and others.
#[test]
fn what_is_spawned_while_the_set_ends_is_dropped() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let (handles, late) = mpsc::channel();
    let set = LocalSet::new();
    set.block_on(&runtime, async {
        let homebound = Homebound::new(&drops);
        let drops = drops.clone();
        let (hung, other) = (Hung::default(), Hung::default());
        let on_drop = OnDrop::new({
            let (hung, other) = (hung.clone(), other.clone());
            move || {
                other.wakers().into_iter().for_each(Waker::wake);
                hung.wakers().into_iter().for_each(Waker::wake);
                let second = Homebound::new(&drops);
                handles.send(spawn_local(async move { drop(second) })).unwrap();
                panic!("on purpose");
            }
        });
        spawn_local(async move {
            hung.await;
            drop((on_drop, homebound));
        });
        spawn_local(other);
        yield_now().await;
    });
    drop(set);
    assert_eq!(drops.count(), 2);
    assert!(runtime.block_on(late.recv().unwrap()).unwrap_err().is_cancelled());
}

/// A `JoinSet` of local tasks, with outputs that stay here, too.
#[test]
fn a_join_set_of_local_tasks() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let set = LocalSet::new();
    let mut tasks = JoinSet::new();
    set.block_on(&runtime, async {
        for n in 0..3 {
            tasks.spawn_local(async move {
                yield_now().await;
                Rc::new(n)
            });
        }
        let homebound = Homebound::new(&drops);
        let hanging = tasks.spawn_local_on(
            async move {
                let _homebound = homebound;
                pending().await
            },
            &set,
        );
        let mut sum = 0;
        for _ in 0..3 {
            sum += *tasks.join_next().await.unwrap().unwrap();
        }
        assert_eq!(sum, 3);
        thread::spawn(move || hanging.abort()).join().unwrap();
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
        assert!(tasks.join_next().await.is_none());
    });
    assert_eq!(drops.count(), 1);
    let homebound = Homebound::new(&drops);
    let late = async move {
        drop(homebound);
        Rc::new(0)
    };
    tasks.spawn_local_on(late, &set);
    drop(tasks);
    drop(set);
    assert_eq!(drops.count(), 2);
}
