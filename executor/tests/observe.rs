//! What can be looked at: counters, hooks, dumps, stuck polls, the report of a shutdown.

mod support;

use std::{
    collections::HashMap,
    future::pending,
    io::{Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    panic::Location,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use egret_executor::{
    Builder, Runtime,
    io::{Direction, Registration},
    runtime::{TaskMeta, TaskState, UnhandledPanic, WaitsFor},
    spawn, task,
    time::sleep,
};
use support::{LONG, bounded, eventually};

fn one_worker() -> Builder {
    Builder::new_multi_thread().worker_threads(1)
}

/// Waits until the workers sleep.
fn settle(runtime: &Runtime) {
    eventually("all are parked", || runtime.metrics().workers.iter().all(|worker| worker.parked));
}

#[test]
fn alive_tasks_are_counted_from_spawn_to_end() {
    bounded(|| {
        let runtime = one_worker().build().unwrap();
        let metrics = || runtime.metrics();
        assert_eq!((metrics().num_alive_tasks(), metrics().spawned_tasks_count()), (0, 0));
        let waits = runtime.spawn(pending::<()>());
        let (go, gone) = mpsc::channel::<()>();
        let blocking = runtime.spawn_blocking(move || gone.recv().is_err());
        // Spawned on a worker.
        let spawner = runtime.spawn(async {
            let inner = spawn(pending::<()>());
            inner.abort_handle()
        });
        let inner = runtime.block_on(spawner).unwrap();
        eventually("the spawner has ended", || metrics().alive_tasks == 3);
        assert_eq!(metrics().spawned_tasks, 4);
        assert_eq!(metrics().num_blocking_threads(), 1);
        drop(go);
        assert!(runtime.block_on(blocking).unwrap());
        eventually("the call has ended", || metrics().alive_tasks == 2);
        waits.abort();
        inner.abort();
        eventually("all have ended", || metrics().alive_tasks == 0);
        assert_eq!(metrics().spawned_tasks, 4);
        let panics = runtime.spawn(async { panic!("on purpose") });
        assert!(runtime.block_on(panics).unwrap_err().is_panic());
        eventually("it has ended", || metrics().alive_tasks == 0);
        let handle = runtime.handle().clone();
        drop(runtime);
        drop(handle.spawn(async {}));
        assert_eq!((handle.metrics().alive_tasks, handle.metrics().spawned_tasks), (0, 6));
    });
}

#[test]
fn a_workers_counters_move_with_what_it_does() {
    bounded(|| {
        let runtime = one_worker().build().unwrap();
        settle(&runtime);
        let before = runtime.metrics().workers[0];
        let task = runtime.spawn(async {
            for _ in 0..100 {
                // Wakes it by the slot.
                spawn(async {}).await.unwrap();
            }
            let began = std::time::Instant::now();
            while began.elapsed() < Duration::from_millis(2) {
                std::hint::spin_loop();
            }
        });
        runtime.block_on(task).unwrap();
        settle(&runtime);
        let after = runtime.metrics().workers[0];
        assert!(after.polls >= before.polls + 200, "{before:?} {after:?}");
        assert!(after.lifo_polls > before.lifo_polls, "{before:?} {after:?}");
        assert!(after.parks > before.parks);
        assert!(after.busy >= before.busy + Duration::from_millis(2), "{before:?} {after:?}");
        eventually("it blocks again", || runtime.metrics().workers[0].feed_blocks > before.feed_blocks);
        assert_eq!(runtime.metrics().worker_park_unpark_count(0) % 2, 1, "it is parked");
        assert_eq!(after.poll_times, None);
    });
}

#[test]
fn the_feed_and_the_timers_are_counted() {
    bounded(|| {
        let runtime = one_worker().build().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let task = runtime.spawn(async move {
            let registration = Registration::new(near.try_clone().unwrap().into()).unwrap();
            registration.async_io(Direction::Read, || (&near).read(&mut [0])).await
        });
        let sleeper = runtime.spawn(sleep(LONG));
        eventually("both wait", || runtime.metrics().waiting_tasks == 2);
        let before = runtime.metrics().workers[0];
        assert_eq!(before.timers, 1);
        assert!(before.feed_arms >= 1, "{before:?}");
        far.write_all(b"x").unwrap();
        runtime.block_on(task).unwrap().unwrap();
        let after = runtime.metrics().workers[0];
        assert!(after.feed_completions > before.feed_completions, "{before:?} {after:?}");
        sleeper.abort();
        eventually("it has ended", || runtime.metrics().workers[0].timers == 0);
    });
}

/// What the hooks of tasks were told: by id, how often of each.
#[derive(Default)]
struct Told(Mutex<HashMap<task::Id, [usize; 5]>>);

impl Told {
    fn hook(self: &Arc<Self>, which: usize) -> impl Fn(&TaskMeta<'_>) + Send + Sync + 'static {
        let told = self.clone();
        move |task| told.0.lock().unwrap().entry(task.id()).or_default()[which] += 1
    }

    fn of(&self, id: task::Id) -> [usize; 5] {
        self.0.lock().unwrap()[&id]
    }
}

#[test]
fn hooks_hear_of_each_task() {
    bounded(|| {
        let told = Arc::new(Told::default());
        let parks = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let count = |which: usize| {
            let parks = parks.clone();
            move || {
                parks[which].fetch_add(1, Ordering::SeqCst);
            }
        };
        let runtime = one_worker()
            .on_task_spawn(told.hook(0))
            .on_task_terminate(told.hook(1))
            .on_task_panic(told.hook(2))
            .on_before_task_poll(told.hook(3))
            .on_after_task_poll(told.hook(4))
            .on_thread_park(count(0))
            .on_thread_unpark(count(1))
            .build()
            .unwrap();
        let quick = runtime.spawn(async {});
        let yields = runtime.spawn(task::yield_now());
        let panics = runtime.spawn(async { panic!("on purpose") });
        let blocking = runtime.spawn_blocking(|| {});
        let ids = [quick.id(), yields.id(), panics.id(), blocking.id()];
        runtime.block_on(async {
            quick.await.unwrap();
            yields.await.unwrap();
            panics.await.unwrap_err();
            blocking.await.unwrap();
        });
        let aborted = runtime.spawn(pending::<()>());
        let id = aborted.id();
        eventually("it waits", || runtime.metrics().waiting_tasks == 1);
        aborted.abort();
        assert!(runtime.block_on(aborted).unwrap_err().is_cancelled());
        settle(&runtime);
        assert_eq!(told.of(ids[0]), [1, 1, 0, 1, 1]);
        assert_eq!(told.of(ids[1]), [1, 1, 0, 2, 2]);
        assert_eq!(told.of(ids[2]), [1, 1, 1, 1, 1]);
        assert_eq!(told.of(ids[3]), [1, 1, 0, 0, 0], "a blocking call has no polls to tell of");
        assert_eq!(told.of(id), [1, 1, 0, 2, 2]);
        let ended = runtime.spawn(pending::<()>()).id();
        drop(runtime);
        let of_ended = told.of(ended);
        assert_eq!((of_ended[0], of_ended[1]), (1, 1), "dropped with the runtime");
        let [parks, unparks] = [&parks[0], &parks[1]].map(|count| count.load(Ordering::SeqCst));
        assert!(parks > 0 && parks == unparks, "{parks} {unparks}");
    });
}

#[test]
fn hooks_that_panic_disturb_nothing() {
    bounded(|| {
        fn broken(_: &TaskMeta<'_>) {
            panic!("on purpose");
        }
        let runtime = one_worker()
            .on_task_spawn(broken)
            .on_task_terminate(broken)
            .on_task_panic(broken)
            .on_before_task_poll(broken)
            .on_after_task_poll(broken)
            .on_thread_park(|| panic!("on purpose"))
            .on_thread_unpark(|| panic!("on purpose"))
            .build()
            .unwrap();
        assert_eq!(runtime.block_on(runtime.spawn(async { 5 })).unwrap(), 5);
        assert!(runtime.block_on(runtime.spawn(async { panic!("on purpose") })).unwrap_err().is_panic());
        settle(&runtime);
    });
}

#[test]
fn a_hook_may_enter_a_runtime_and_spawn() {
    bounded(|| {
        let other = one_worker().build().unwrap();
        let (handle, hooked) = (other.handle().clone(), Arc::new(AtomicUsize::new(0)));
        let calls = hooked.clone();
        let runtime = one_worker()
            .on_task_spawn(move |_| {
                let _entered = handle.enter();
                drop(spawn(async {}));
                calls.fetch_add(1, Ordering::SeqCst);
            })
            .build()
            .unwrap();
        runtime.block_on(async { spawn(async {}).await.unwrap() });
        assert_eq!((hooked.load(Ordering::SeqCst), other.metrics().spawned_tasks), (1, 1));
    });
}

#[test]
fn poll_times_are_measured_if_asked_for() {
    bounded(|| {
        let runtime = one_worker().enable_metrics_poll_time_histogram().build().unwrap();
        runtime.block_on(async {
            for _ in 0..9 {
                spawn(async {}).await.unwrap();
            }
            spawn(async { std::thread::sleep(Duration::from_millis(5)) }).await.unwrap();
        });
        settle(&runtime);
        let times = runtime.metrics().workers[0].poll_times.unwrap();
        assert_eq!(times.count(), 10);
        assert!(times.quantile(1.0) > Duration::from_millis(5), "{times:?}");
        assert!(times.quantile(0.5) < Duration::from_millis(5), "{times:?}");
    });
}

#[test]
fn a_runtime_may_end_with_the_first_panic() {
    bounded(|| {
        let runtime = one_worker().unhandled_panic(UnhandledPanic::ShutdownRuntime).build().unwrap();
        let other = runtime.spawn(pending::<()>());
        let panics = runtime.spawn(async { panic!("on purpose") });
        runtime.block_on(async {
            assert!(panics.await.unwrap_err().is_panic());
            assert!(other.await.unwrap_err().is_cancelled());
            assert!(spawn(async {}).await.unwrap_err().is_cancelled());
        });
    });
}

#[test]
fn a_dump_tells_what_each_task_does() {
    bounded(|| {
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (near, _far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let registered: OwnedFd = near.try_clone().unwrap().into();
        let name = format!("socket {}", registered.as_raw_fd());
        let line = line!() + 1;
        let reads = runtime.spawn(async move {
            let registration = Registration::new(registered).unwrap();
            registration.async_io(Direction::Read, || (&near).read(&mut [0])).await
        });
        let named = task::Builder::new().name("sleeper").spawn_on(sleep(LONG), runtime.handle()).unwrap();
        let other = runtime.spawn(pending::<()>());
        eventually("they wait", || runtime.metrics().waiting_tasks == 3);
        let (go, gone) = mpsc::channel::<()>();
        let (runs, is_running) = mpsc::channel();
        let running = runtime.spawn(async move {
            runs.send(()).unwrap();
            let _over = gone.recv();
        });
        is_running.recv().unwrap();
        let dump = runtime.handle().dump();
        let of = |id| dump.tasks.iter().find(|task| task.id == id).unwrap_or_else(|| panic!("{dump}"));
        let place: &Location<'_> = of(reads.id()).spawned_at;
        assert_eq!((place.file(), place.line()), (file!(), line));
        let TaskState::Waiting(waits) = &of(reads.id()).state else { panic!("{dump}") };
        let [WaitsFor::Source { source, read: true, write: false }] = &waits[..] else { panic!("{dump}") };
        assert_eq!(*source, name);
        let sleeper = of(named.id());
        assert_eq!(sleeper.name.as_deref(), Some("sleeper"));
        let TaskState::Waiting(waits) = &sleeper.state else { panic!("{dump}") };
        assert!(matches!(waits[..], [WaitsFor::Timer { left }] if left <= LONG && left > LONG / 2), "{dump}");
        assert_eq!(of(other.id()).state, TaskState::Waiting(Vec::new()));
        assert!(matches!(of(running.id()).state, TaskState::Running { .. }), "{dump}");
        assert_eq!((dump.tasks.len(), dump.fresh), (4, 0), "{dump}");
        let text = dump.to_string();
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(text.contains("\"sleeper\""), "{text}");
        drop(go);
        runtime.block_on(running).unwrap();
    });
}

#[test]
fn a_task_that_nobody_polls_yet_is_a_number_in_the_dump() {
    bounded(|| {
        let runtime = one_worker().build().unwrap();
        let (go, gone) = mpsc::channel::<()>();
        let (runs, is_running) = mpsc::channel();
        let running = runtime.spawn(async move {
            runs.send(()).unwrap();
            let _over = gone.recv();
        });
        is_running.recv().unwrap();
        let queued = runtime.spawn(async {});
        let dump = runtime.handle().dump();
        assert_eq!((dump.tasks.len(), dump.fresh), (1, 1), "{dump}");
        drop(go);
        runtime.block_on(running).unwrap();
        runtime.block_on(queued).unwrap();
    });
}

#[test]
fn a_stuck_poll_is_told_of_once_while_it_lasts() {
    #[inline(never)]
    fn gets_stuck(until: &mpsc::Receiver<()>) {
        let _over = until.recv();
    }
    bounded(|| {
        let (tell, told) = mpsc::channel();
        let limit = Duration::from_millis(20);
        let tell = Mutex::new(tell);
        let runtime = one_worker()
            .on_stuck_poll(limit, move |poll| {
                tell.lock().unwrap().send(poll.clone()).unwrap();
                panic!("on purpose");
            })
            .build()
            .unwrap();
        for _ in 0..2 {
            let (go, gone) = mpsc::channel::<()>();
            let stone = async move { gets_stuck(&gone) };
            let builder = task::Builder::new().name("stone");
            let line = line!() + 1;
            let task = builder.spawn_on(stone, runtime.handle()).unwrap();
            let poll = told.recv().unwrap();
            assert_eq!((poll.id, poll.name.as_deref(), poll.worker), (task.id(), Some("stone"), 0));
            assert_eq!((poll.spawned_at.file(), poll.spawned_at.line()), (file!(), line));
            assert!(poll.lasted >= limit, "{poll}");
            if cfg!(feature = "backtrace") {
                let backtrace = poll.backtrace.as_deref().unwrap();
                assert!(backtrace.contains("gets_stuck"), "{backtrace}");
            } else {
                assert_eq!(poll.backtrace, None);
            }
            // Not again, though it goes on for some looks more.
            assert!(told.recv_timeout(limit * 2).is_err());
            drop(go);
            runtime.block_on(task).unwrap();
        }
    });
}

#[test]
fn polls_below_the_limit_are_not_told_of() {
    bounded(|| {
        let told = Arc::new(AtomicUsize::new(0));
        let runtime = one_worker()
            .on_stuck_poll(LONG, {
                let told = told.clone();
                move |_| {
                    told.fetch_add(1, Ordering::SeqCst);
                }
            })
            .build()
            .unwrap();
        runtime.block_on(async {
            for _ in 0..1000 {
                spawn(task::yield_now()).await.unwrap();
            }
        });
        drop(runtime);
        assert_eq!(told.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_shutdown_gives_tasks_time_and_says_what_became_of_them() {
    bounded(|| {
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let token = runtime.handle().shutdown_token();
        let last_words: Vec<_> = (0..10)
            .map(|number| {
                let token = token.clone();
                runtime.spawn(async move {
                    token.cancelled().await;
                    // It may still spawn and wait.
                    spawn(task::yield_now()).await.unwrap();
                    number
                })
            })
            .collect();
        let waits: Vec<_> = (0..3).map(|_| runtime.spawn(pending::<()>())).collect();
        let named = task::Builder::new().name("last").spawn_on(sleep(LONG), runtime.handle()).unwrap();
        eventually("they wait", || runtime.metrics().waiting_tasks == 14);
        let handle = runtime.handle().clone();
        let grace = Duration::from_millis(500);
        let report = runtime.shutdown(grace);
        assert_eq!(report.finished, 20, "{report}");
        let mut ids: Vec<_> = report.cancelled.iter().map(|task| task.id.to_string()).collect();
        ids.sort();
        let mut expected: Vec<_> = waits.iter().map(|task| task.id().to_string()).collect();
        expected.push(named.id().to_string());
        expected.sort();
        assert_eq!(ids, expected, "{report}");
        let last = report.cancelled.iter().find(|task| task.id == named.id()).unwrap();
        assert_eq!(last.name.as_deref(), Some("last"));
        assert!(report.stuck.is_empty() && report.blocking_calls == 0 && !report.is_clean());
        assert!(report.took >= grace, "{report}");
        for (number, task) in last_words.into_iter().enumerate() {
            assert_eq!(egret_executor::Runtime::new().unwrap().block_on(task).unwrap(), number);
        }
        assert_eq!(handle.metrics().alive_tasks, 0);
    });
}

#[test]
fn a_shutdown_is_over_as_soon_as_there_is_nothing_left() {
    bounded(|| {
        let runtime = one_worker().build().unwrap();
        let token = runtime.handle().shutdown_token();
        drop(runtime.spawn(async move { token.cancelled().await }));
        let report = runtime.shutdown(Duration::MAX);
        assert!(report.is_clean() && report.finished == 1, "{report}");
        let report = one_worker().build().unwrap().shutdown(Duration::MAX);
        assert!(report.is_clean() && report.finished == 0, "{report}");
    });
}

#[test]
fn a_shutdown_leaves_what_is_stuck_behind_and_names_it() {
    bounded(|| {
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (go, gone) = mpsc::channel::<()>();
        let (runs, is_running) = mpsc::channel();
        let stuck = runtime.spawn(async move {
            runs.send(()).unwrap();
            let _over = gone.recv();
        });
        is_running.recv().unwrap();
        let waits = runtime.spawn(pending::<()>());
        let (call_go, call_gone) = mpsc::channel::<()>();
        let call = runtime.spawn_blocking(move || call_gone.recv().is_err());
        eventually("it waits", || runtime.metrics().waiting_tasks == 1);
        eventually("it is called", || runtime.metrics().blocking_queue_depth == 0);
        let report = runtime.shutdown(Duration::from_millis(10));
        assert_eq!(report.stuck.len(), 1, "{report}");
        assert_eq!(report.stuck[0].id, stuck.id());
        assert!(report.stuck[0].lasted >= Duration::from_millis(10), "{report}");
        assert!(report.cancelled.iter().any(|task| task.id == waits.id()), "{report}");
        assert_eq!(report.blocking_calls, 1, "{report}");
        drop((go, call_go));
        let other = one_worker().build().unwrap();
        other.block_on(stuck).unwrap();
        assert!(other.block_on(call).unwrap());
        assert!(other.block_on(waits).unwrap_err().is_cancelled());
    });
}

#[test]
fn a_blocking_call_that_never_began_is_cancelled() {
    bounded(|| {
        let runtime = one_worker().max_blocking_threads(1).build().unwrap();
        let (go, gone) = mpsc::channel::<()>();
        let (runs, is_running) = mpsc::channel();
        let running = runtime.spawn_blocking(move || {
            runs.send(()).unwrap();
            let _over = gone.recv();
        });
        is_running.recv().unwrap();
        let queued = runtime.spawn_blocking(|| ());
        let report = runtime.shutdown(Duration::from_millis(5));
        assert_eq!((report.cancelled.len(), report.blocking_calls, report.left), (1, 1, 1), "{report}");
        assert_eq!(report.cancelled[0].id, queued.id());
        assert!(report.has_ended && !report.is_clean(), "{report}");
        drop(go);
        one_worker().build().unwrap().block_on(running).unwrap();
    });
}

#[test]
fn a_local_task_is_left_to_its_set() {
    bounded(|| {
        let runtime = one_worker().build().unwrap();
        let set = task::LocalSet::new();
        let local =
            runtime.block_on(set.run_until(async { task::spawn_local(pending::<()>()).abort_handle() }));
        let report = runtime.shutdown(Duration::from_millis(5));
        assert_eq!((report.left, report.is_clean()), (1, false), "{report}");
        drop(set);
        assert!(local.is_finished());
    });
}

#[test]
fn a_shutdown_on_a_worker_does_not_wait() {
    bounded(|| {
        let outer = one_worker().build().unwrap();
        let inner = one_worker().build().unwrap();
        let waits = inner.spawn(pending::<()>());
        let report = outer.block_on(outer.spawn(async move { inner.shutdown(LONG) })).unwrap();
        assert!(report.took < LONG, "{report}");
        assert!(outer.block_on(waits).unwrap_err().is_cancelled());
    });
}
