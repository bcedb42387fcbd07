//! Who runs when, and where: fairness on one worker, stealing between several, no lost wakes.

mod support;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use egret_executor::{JoinHandle, spawn, task::yield_now};
use support::{Blocker, Gate, LONG, bounded, eventually, runtime};

#[test]
fn tasks_that_yield_take_turns() {
    let runtime = runtime(1);
    let blocker = Blocker::occupy(&runtime);
    let turns = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..3)
        .map(|n| {
            let turns = turns.clone();
            runtime.spawn(async move {
                for _ in 0..5 {
                    turns.lock().unwrap().push(n);
                    yield_now().await;
                }
            })
        })
        .collect();
    blocker.release();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    let turns = turns.lock().unwrap();
    for round in turns.chunks(3) {
        let mut round = round.to_vec();
        round.sort_unstable();
        assert_eq!(round, [0, 1, 2], "{turns:?}");
    }
}

#[test]
fn a_task_that_yields_for_ever_does_not_keep_the_injector_out() {
    bounded(|| {
        let runtime = runtime(1);
        let stop = Arc::new(AtomicBool::new(false));
        let yielder = runtime.spawn({
            let stop = stop.clone();
            async move {
                while !stop.load(Ordering::Relaxed) {
                    yield_now().await;
                }
            }
        });
        for _ in 0..100 {
            runtime.block_on(runtime.spawn(async {})).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        runtime.block_on(yielder).unwrap();
    });
}

/// Spawns 100 tasks from a thread of its own while the caller keeps the worker; gives the number of those that have run.
fn inject_a_hundred(handle: &egret_executor::Handle) -> Arc<AtomicUsize> {
    let ran = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..100 {
                let ran = ran.clone();
                drop(handle.spawn(async move { ran.fetch_add(1, Ordering::Relaxed) }));
            }
        });
    });
    ran
}

/// With long polls, a task that goes before them again and again keeps them waiting for many times its poll.
#[test]
fn a_task_that_yields_goes_behind_what_others_have_injected() {
    bounded(|| {
        let runtime = runtime(1);
        let handle = runtime.handle().clone();
        let yielder = runtime.spawn(async move {
            let ran = inject_a_hundred(&handle);
            yield_now().await;
            ran.load(Ordering::Relaxed)
        });
        assert_eq!(runtime.block_on(yielder).unwrap(), 100);
    });
}

#[test]
fn a_chain_of_spawns_lets_what_others_have_injected_run() {
    bounded(|| {
        let runtime = runtime(1);
        let handle = runtime.handle().clone();
        let (done, is_done) = mpsc::channel();
        drop(runtime.spawn(async move {
            let ran = inject_a_hundred(&handle);
            // They don't get the slot.
            drop(spawn(async move {
                drop(spawn(async move { done.send(ran.load(Ordering::Relaxed)).unwrap() }));
            }));
        }));
        assert_eq!(is_done.recv_timeout(LONG).unwrap(), 100);
    });
}

/// The injector is never empty here, and yet those who yield have their turn.
#[test]
fn a_flood_from_outside_does_not_keep_a_task_that_yields_out() {
    bounded(|| {
        let runtime = runtime(1);
        let stop = Arc::new(AtomicBool::new(false));
        let yielder = runtime.spawn({
            let stop = stop.clone();
            async move {
                for _ in 0..50 {
                    yield_now().await;
                }
                stop.store(true, Ordering::Relaxed);
            }
        });
        let waiting = Arc::new(AtomicUsize::new(0));
        while !stop.load(Ordering::Relaxed) {
            if waiting.load(Ordering::Relaxed) >= 1_000 {
                std::thread::yield_now();
                continue;
            }
            waiting.fetch_add(1, Ordering::Relaxed);
            let waiting = waiting.clone();
            drop(runtime.spawn(async move {
                let start = Instant::now();
                while start.elapsed() < Duration::from_micros(10) {}
                waiting.fetch_sub(1, Ordering::Relaxed);
            }));
        }
        runtime.block_on(yielder).unwrap();
    });
}

/// A share leaves something behind for the other worker; if that one doesn't come, this one takes it, too, before it goes on with its own.
#[test]
fn a_task_that_yields_goes_behind_one_share_of_the_injector_after_the_other() {
    bounded(|| {
        let runtime = runtime(2);
        let _blocker = Blocker::occupy(&runtime);
        let handle = runtime.handle().clone();
        let yielder = runtime.spawn(async move {
            // In one of these turns nobody else needs the processor for longer than the locals have patience.
            for _ in 0..1_000 {
                let ran = inject_a_hundred(&handle);
                yield_now().await;
                if ran.load(Ordering::Relaxed) == 100 {
                    return true;
                }
            }
            false
        });
        assert!(runtime.block_on(yielder).unwrap());
    });
}

/// Each of two tasks blocks its worker until the other has come: whoever keeps both for one worker never ends.
#[test]
fn two_tasks_that_take_long_run_side_by_side() {
    bounded(|| {
        let runtime = runtime(2);
        let meet = || {
            let barrier = Arc::new(std::sync::Barrier::new(2));
            [barrier.clone(), barrier].map(|barrier| async move { barrier.wait().is_leader() })
        };
        for _ in 0..100 {
            for task in meet().map(|task| runtime.spawn(task)) {
                runtime.block_on(task).unwrap();
            }
            let both = runtime.spawn(async move {
                for task in meet().map(spawn) {
                    task.await.unwrap();
                }
            });
            runtime.block_on(both).unwrap();
        }
    });
}

/// Each join of a finished task is an operation that is ready at once: only the budget makes such a task let others run.
#[test]
fn a_task_whose_leaves_are_always_ready_lets_its_neighbours_run() {
    bounded(|| {
        let runtime = runtime(1);
        let finished: Vec<JoinHandle<()>> = (0..1_000).map(|_| runtime.spawn(async {})).collect();
        eventually("all are finished", || finished.iter().all(JoinHandle::is_finished));
        let blocker = Blocker::occupy(&runtime);
        let joined = Arc::new(AtomicUsize::new(0));
        let busy = runtime.spawn({
            let joined = joined.clone();
            async move {
                for task in finished {
                    task.await.unwrap();
                    joined.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let neighbour = runtime.spawn({
            let joined = joined.clone();
            async move { joined.load(Ordering::Relaxed) }
        });
        blocker.release();
        assert_eq!(runtime.block_on(neighbour).unwrap(), 128);
        runtime.block_on(busy).unwrap();
        assert_eq!(joined.load(Ordering::Relaxed), 1_000);
    });
}

/// Two tasks that wake each other take the LIFO slot every time; a third one waits in the deque behind them.
#[test]
fn a_pair_that_plays_ping_pong_does_not_starve_the_rest() {
    bounded(|| {
        let runtime = runtime(1);
        let stop = Arc::new(AtomicBool::new(false));
        let wakers: Arc<[Mutex<Option<Waker>>; 2]> = Arc::default();
        let rounds = Arc::new(AtomicUsize::new(0));
        let player = |me: usize| {
            let (stop, wakers, rounds) = (stop.clone(), wakers.clone(), rounds.clone());
            poll_fn(move |cx| {
                let over = stop.load(Ordering::Relaxed);
                *wakers[me].lock().unwrap() = Some(cx.waker().clone());
                if me == 0 && rounds.fetch_add(1, Ordering::Relaxed) == 10 {
                    let stop = stop.clone();
                    // It takes the slot, and the wake that follows displaces it into the deque.
                    drop(spawn(async move { stop.store(true, Ordering::Relaxed) }));
                }
                let other = wakers[1 - me].lock().unwrap().clone();
                if let Some(other) = other {
                    other.wake();
                }
                if over { Poll::Ready(()) } else { Poll::Pending }
            })
        };
        let (ping, pong) = (runtime.spawn(player(0)), runtime.spawn(player(1)));
        runtime.block_on(ping).unwrap();
        runtime.block_on(pong).unwrap();
        assert!(rounds.load(Ordering::Relaxed) < 1_000, "it took long");
    });
}

#[test]
fn a_task_that_blocks_its_worker_leaves_its_queue_to_the_others() {
    bounded(|| {
        let runtime = runtime(2);
        let (done, is_done) = mpsc::channel();
        let blocked = runtime.spawn(async move {
            for _ in 0..10 {
                let done = done.clone();
                drop(spawn(async move { done.send(()).unwrap() }));
            }
            drop(done);
            // The last one sits in the slot, where a thief looks only while it is awake: it need not come.
            for _ in 0..9 {
                is_done.recv_timeout(LONG).unwrap();
            }
        });
        runtime.block_on(blocked).unwrap();
        let steals: u64 = runtime.metrics().workers.iter().map(|w| w.steals).sum();
        assert!(steals > 0);
    });
}

#[test]
fn a_blocked_worker_does_not_hold_up_what_comes_from_outside() {
    bounded(|| {
        let runtime = runtime(2);
        let blocker = Blocker::occupy(&runtime);
        for _ in 0..500 {
            runtime.block_on(runtime.spawn(yield_now())).unwrap();
        }
        blocker.release();
    });
}

fn spawn_recursively(depth: u32) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if depth == 0 {
            return 1;
        }
        let (a, b) = (spawn(spawn_recursively(depth - 1)), spawn(spawn_recursively(depth - 1)));
        a.await.unwrap() + b.await.unwrap()
    })
}

#[test]
fn storms_of_tasks_that_spawn_tasks() {
    bounded(|| {
        for workers in [1, 2, 4] {
            let runtime = runtime(workers);
            assert_eq!(runtime.block_on(spawn_recursively_on(13)), 1 << 13);
            assert_eq!(runtime.metrics().waiting_tasks, 0);
        }
    });
}

async fn spawn_recursively_on(depth: u32) -> u64 {
    spawn(spawn_recursively(depth)).await.unwrap()
}

#[test]
fn a_hundred_thousand_tasks_from_many_threads_all_run() {
    bounded(|| {
        let runtime = runtime(4);
        let ran = Arc::new(AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (runtime, ran) = (&runtime, &ran);
                scope.spawn(move || {
                    let tasks: Vec<_> = (0..25_000)
                        .map(|n| {
                            let ran = ran.clone();
                            runtime.spawn(async move {
                                if n % 3 == 0 {
                                    yield_now().await;
                                }
                                ran.fetch_add(1, Ordering::Relaxed);
                            })
                        })
                        .collect();
                    runtime.block_on(async {
                        for task in tasks {
                            task.await.unwrap();
                        }
                    });
                });
            }
        });
        assert_eq!(ran.load(Ordering::Relaxed), 100_000);
        assert_eq!(runtime.metrics().waiting_tasks, 0);
    });
}

/// One task at a time, with a pause of changing length before it, so that its push meets workers at every step of
/// their way to sleep.
#[test]
fn a_push_that_meets_a_worker_on_its_way_to_sleep_is_not_lost() {
    bounded(|| {
        const ENOUGH: Duration = Duration::from_secs(20);
        // With one worker nobody else makes up for it.
        for workers in [1, 4] {
            let runtime = runtime(workers);
            let begin = Instant::now();
            for round in 0..20_000u32 {
                // On a loaded machine each round waits for others' time slices.
                if begin.elapsed() > ENOUGH {
                    break;
                }
                for _ in 0..round % 211 {
                    std::hint::spin_loop();
                }
                let task = runtime.spawn(async {
                    spawn(yield_now()).await.unwrap();
                });
                runtime.block_on(task).unwrap();
            }
        }
    });
}

/// Wakes from outside, from tasks and from both at once, of tasks that are anywhere between running and asleep.
#[test]
fn wakes_are_not_lost() {
    bounded(|| {
        let runtime = runtime(4);
        let handle = runtime.handle().clone();
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let handle = handle.clone();
                runtime.spawn(async move {
                    for round in 0..1_000 {
                        let gate = Gate::default();
                        let opener = gate.clone();
                        let opening = handle.spawn(async move {
                            if (n + round) % 2 == 0 {
                                yield_now().await;
                            }
                            opener.open();
                        });
                        gate.await;
                        opening.await.unwrap();
                    }
                })
            })
            .collect();
        let foreign = std::thread::spawn(move || {
            for _ in 0..2_000 {
                let gate = Gate::default();
                let waiting = handle.spawn(gate.clone());
                gate.open();
                handle.block_on(waiting).unwrap();
            }
        });
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
        foreign.join().unwrap();
    });
}
