//! How local sets are driven: their turns, several drivers, sets in sets, and which set is the current one.

mod support;

use std::{
    cell::Cell,
    future::{Future, pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use egret_executor::{
    Builder, Handle, JoinHandle, spawn,
    task::{JoinError, LocalEnterGuard, LocalSet, consume_budget, spawn_local, yield_now},
    time::sleep,
};
use support::{Gate, Watched, runtime};

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wakes {
    fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (wakes.clone(), Waker::from(wakes))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A task that never ends, never sleeps, and counts its polls.
fn busy(set: &LocalSet, polls: &Rc<Cell<usize>>) -> JoinHandle<()> {
    let polls = polls.clone();
    set.spawn_local(async move {
        loop {
            polls.set(polls.get() + 1);
            yield_now().await;
        }
    })
}

#[test]
fn a_turn_is_61_polls() {
    let runtime = runtime(1);
    let _entered = runtime.enter();
    let mut set = pin!(LocalSet::new());
    let polls = Rc::new(Cell::new(0));
    let _tasks: Vec<_> = (0..100).map(|_| busy(&set, &polls)).collect();
    let (wakes, waker) = Wakes::new();
    for turn in 1..=3 {
        assert!(set.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!((polls.get(), wakes.count()), (61 * turn, turn));
    }
}

#[test]
fn busy_tasks_leave_others_their_turn() {
    let runtime = runtime(1);
    let set = LocalSet::new();
    let polls = Rc::new(Cell::new(0));
    set.block_on(&runtime, async {
        let _tasks: Vec<_> = (0..100).map(|_| busy(&set, &polls)).collect();
        // The future itself, what it spawns, and what comes from elsewhere.
        for _ in 0..10 {
            yield_now().await;
        }
        assert!(polls.get() >= 9 * 61);
        spawn_local(yield_now()).await.unwrap();
        let gate = Gate::default();
        let opener = thread::spawn({
            let gate = gate.clone();
            move || gate.open()
        });
        spawn_local(gate).await.unwrap();
        opener.join().unwrap();
    });
}

/// A local task has a budget of its own, and leaves that of its driver alone.
#[test]
fn budgets_are_the_tasks_own() {
    let runtime = runtime(1);
    LocalSet::new().block_on(&runtime, async {
        let turns = Rc::new(Cell::new(0));
        let greedy = spawn_local(async {
            for _ in 0..1000 {
                consume_budget().await;
            }
        });
        let counter = spawn_local({
            let turns = turns.clone();
            async move {
                loop {
                    turns.set(turns.get() + 1);
                    yield_now().await;
                }
            }
        });
        greedy.await.unwrap();
        counter.abort();
        // 1000 units are more than seven budgets of 128.
        assert!(turns.get() >= 7);
    });
}

/// The thread that drives the set is the runtime's only one: both have their turns.
#[test]
fn a_set_on_a_current_thread_runtime() {
    let runtime = Watched::new(Builder::new_current_thread());
    let home = thread::current().id();
    let set = LocalSet::new();
    let polls = Rc::new(Cell::new(0));
    let sum = set.block_on(&runtime, async {
        let _busy = busy(&set, &polls);
        let local = spawn_local(async move {
            let not_send = Rc::new(1);
            sleep(Duration::from_millis(1)).await;
            let far = spawn(async { thread::current().id() });
            assert_eq!(far.await.unwrap(), home);
            *not_send
        });
        let gate = Gate::default();
        let opener = thread::spawn({
            let gate = gate.clone();
            move || gate.open()
        });
        let woken = spawn_local(gate);
        local.await.unwrap() + woken.await.map(|()| 1).unwrap() + opener.join().map(|()| 1).unwrap()
    });
    assert_eq!(sum, 3);
    assert!(polls.get() > 0);
}

/// Each of two drivers has its own waker; one goes while the other sleeps.
#[test]
fn a_driver_that_goes_leaves_the_set_to_the_others() {
    let runtime = runtime(1);
    let _entered = runtime.enter();
    let set = LocalSet::new();
    let gate = Gate::default();
    let task = set.spawn_local(gate.clone());
    let (wakes, waker) = Wakes::new();
    let mut staying = pin!(set.run_until(task));
    let mut staying_cx = Context::from_waker(&waker);
    {
        let mut going = pin!(set.run_until(pending::<()>()));
        assert!(staying.as_mut().poll(&mut staying_cx).is_pending());
        assert!(going.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(wakes.count(), 0);
        // Finds both asleep.
        gate.open();
        assert_eq!(wakes.count(), 1);
        assert!(staying.as_mut().poll(&mut staying_cx).is_pending());
    }
    assert!(wakes.count() >= 2);
    assert!(staying.as_mut().poll(&mut staying_cx).is_ready());
}

/// What one driver leaves of its turn is another one's as well: the first might never come back.
#[test]
fn a_driver_that_puts_work_off_tells_the_others() {
    let runtime = runtime(1);
    let _entered = runtime.enter();
    let set = LocalSet::new();
    let (wakes, waker) = Wakes::new();
    let mut sleeping = pin!(set.run_until(pending::<()>()));
    assert!(sleeping.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let polls = Rc::new(Cell::new(0));
    let mut other = pin!(set.run_until(async {
        let _busy = busy(&set, &polls);
        pending::<()>().await;
    }));
    assert!(other.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!((polls.get(), wakes.count()), (61, 1));
}

/// A task that is spawned, or woken here, while the set rests or sleeps, wakes its driver.
#[test]
fn what_comes_between_two_polls_wakes_the_driver() {
    let runtime = runtime(1);
    let _entered = runtime.enter();
    let set = LocalSet::new();
    let (wakes, waker) = Wakes::new();
    let cx = &mut Context::from_waker(&waker);
    let mut driver = pin!(set.run_until(pending::<()>()));
    assert!(driver.as_mut().poll(cx).is_pending());
    let gate = Gate::default();
    let task = set.spawn_local(gate.clone());
    assert_eq!(wakes.count(), 1);
    assert!(driver.as_mut().poll(cx).is_pending());
    {
        let _current = set.enter();
        gate.open();
    }
    assert_eq!(wakes.count(), 2);
    assert!(driver.as_mut().poll(cx).is_pending());
    assert!(task.is_finished());
}

#[test]
fn a_drivers_waker_that_panics_harms_nobody() {
    struct Broken;
    impl Wake for Broken {
        fn wake(self: Arc<Self>) {
            panic!("on purpose");
        }
    }
    let runtime = runtime(1);
    let _entered = runtime.enter();
    let set = LocalSet::new();
    let gate = Gate::default();
    let task = set.spawn_local(gate.clone());
    {
        let mut driver = pin!(set.run_until(pending::<()>()));
        let broken = Waker::from(Arc::new(Broken));
        assert!(driver.as_mut().poll(&mut Context::from_waker(&broken)).is_pending());
        thread::spawn(move || gate.open()).join().expect("it goes no further");
    }
    set.block_on(&runtime, task).unwrap();
}

#[test]
fn a_future_that_panics_leaves_the_set_as_it_was() {
    let runtime = runtime(1);
    let set = LocalSet::new();
    let panicked = catch_unwind(AssertUnwindSafe(|| set.block_on(&runtime, async { panic!("on purpose") })));
    assert!(panicked.is_err());
    assert!(catch_unwind(|| spawn_local(async {})).is_err(), "no set is current");
    assert_eq!(set.block_on(&runtime, async { spawn_local(async { 1 }).await }).unwrap(), 1);
}

/// It isn't polled again, and isn't dropped either.
#[test]
fn a_driver_that_panics_leaves_the_set_to_the_others() {
    let runtime = runtime(1);
    let _entered = runtime.enter();
    let set = LocalSet::new();
    let (wakes, waker) = Wakes::new();
    let mut staying = pin!(set.run_until(pending::<()>()));
    assert!(staying.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let mut broken = pin!(set.run_until(async { panic!("on purpose") }));
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let _: Poll<()> = broken.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }));
    assert!(polled.is_err());
    assert_eq!(wakes.count(), 1);
}

#[test]
fn sets_nest() {
    let runtime = runtime(1);
    let outer = LocalSet::new();
    let sum = outer.block_on(&runtime, async {
        let before = spawn_local(async { 1 });
        let inner = spawn_local(async {
            let set = LocalSet::new();
            let gate = Gate::default();
            // A task of the outer set that one of the inner set wakes.
            let woken = outer_task(gate.clone());
            set.run_until(async {
                spawn_local(async move { gate.open() }).await.unwrap();
                woken.await.unwrap() + spawn_local(async { 10 }).await.unwrap()
            })
            .await
        });
        before.await.unwrap() + inner.await.unwrap()
    });
    assert_eq!(sum, 111);
}

fn outer_task(gate: Gate) -> JoinHandle<i32> {
    spawn_local(async move {
        gate.await;
        100
    })
}

/// A task may drive the set that it is in.
#[test]
fn a_set_may_be_driven_by_its_own_task() {
    let runtime = runtime(1);
    let set = Rc::new(LocalSet::new());
    let output = set.block_on(&runtime, async {
        let own = set.clone();
        let gate = Gate::default();
        let opener = spawn_local({
            let gate = gate.clone();
            async move {
                yield_now().await;
                gate.open();
            }
        });
        let task = spawn_local(async move {
            own.run_until(async {
                gate.await;
                spawn_local(async { 3 }).await.unwrap()
            })
            .await
        });
        opener.await.unwrap();
        task.await.unwrap()
    });
    assert_eq!(output, 3);
}

#[test]
fn the_youngest_guard_that_is_left_says_which_set_is_current() {
    let runtime = runtime(1);
    let _entered = runtime.enter();
    let (one, other) = (LocalSet::new(), LocalSet::new());
    let tasks = || (format!("{one:?}"), format!("{other:?}"));
    let empty = tasks().0;
    let first = one.enter();
    let second = other.enter();
    let third = one.enter();
    drop(first);
    drop(third);
    spawn_local(pending::<()>());
    assert_eq!(tasks().0, empty);
    assert_ne!(tasks().1, empty);
    drop(second);
    assert!(catch_unwind(|| spawn_local(async {})).is_err());
}

/// A guard keeps what it needs of a set that is gone: nothing is taken.
#[test]
fn a_guard_may_outlive_its_set() {
    let runtime = runtime(1);
    let _entered = runtime.enter();
    let set = LocalSet::new();
    let guard = set.enter();
    drop(set);
    let task = spawn_local(async {});
    drop(guard);
    assert!(runtime.block_on(task).unwrap_err().is_cancelled());
}

#[test]
fn outside_of_a_set_it_says_so() {
    let panicked = catch_unwind(|| spawn_local(async {}));
    let payload = panicked.expect_err("a panic");
    assert_eq!(payload.downcast_ref(), Some(&"`spawn_local` called from outside of a `task::LocalSet`"));
}

/// As a server does that keeps a set beside its runtime, and spawns before it drives.
#[test]
fn outside_of_any_runtime_tasks_wait_for_one() {
    let set = LocalSet::new();
    assert!(Handle::try_current().is_err());
    let sleeping = set.spawn_local(async {
        sleep(Duration::from_millis(1)).await;
        Rc::new(Handle::try_current().is_ok())
    });
    let [waiting, queued] = [(); 2].map(|()| set.spawn_local(pending::<()>()));
    queued.abort();
    let first = runtime(1);
    assert!(*set.block_on(&first, sleeping).unwrap());
    thread::scope(|scope| drop(scope.spawn(|| waiting.abort())));
    for task in [waiting, queued] {
        assert!(set.block_on(&first, task).unwrap_err().is_cancelled());
    }
    // Now it has a home.
    let late = set.spawn_local(async {});
    drop(first);
    assert!(set.block_on(&runtime(1), late).unwrap_err().is_cancelled());
}

#[test]
fn a_spawn_says_where_it_was() {
    let runtime = runtime(1);
    LocalSet::new().block_on(&runtime, async {
        assert_eq!(spawn_local(async {}).spawned_at().line(), line!());
    });
    let _entered = runtime.enter();
    assert_eq!(LocalSet::new().spawn_local(async {}).spawned_at().line(), line!());
}

/// `Send` is for handles and wakers, not for sets and guards.
#[test]
fn what_may_leave_its_thread() {
    trait AmbiguousIfSend<Marker> {
        fn holds() {}
    }
    impl<T: ?Sized> AmbiguousIfSend<()> for T {}
    struct IsSend;
    impl<T: ?Sized + Send> AmbiguousIfSend<IsSend> for T {}
    <LocalSet as AmbiguousIfSend<_>>::holds();
    <LocalEnterGuard as AmbiguousIfSend<_>>::holds();
    <JoinHandle<Rc<()>> as AmbiguousIfSend<_>>::holds();

    fn may_leave<T: Send>() {}
    may_leave::<JoinHandle<()>>();
    may_leave::<Result<(), JoinError>>();
}

/// A wake while the set is polled leads to no wake of the driver beyond its own.
#[test]
fn wakes_within_a_turn_cost_no_wake_of_the_driver() {
    let runtime = runtime(1);
    let _entered = runtime.enter();
    let (wakes, waker) = Wakes::new();
    let set = LocalSet::new();
    let mut driver = pin!(set.run_until(async {
        for _ in 0..10 {
            spawn_local(yield_now());
        }
        poll_fn(|_| Poll::<()>::Pending).await;
    }));
    assert!(driver.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(wakes.count(), 0);
}
