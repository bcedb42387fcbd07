//! The books against a real reactor: events, deadlines, interruptions, notifications and permits, all at once.

use crate::{
    Builder,
    io::{Direction, Registration},
    spawn,
    task::yield_now,
    time::{sleep, sleep_until},
    watchdog::Watchdog,
};
use std::{
    future::{Future, pending, poll_fn},
    io::{Read, Write},
    os::unix::net::UnixStream,
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// However slow the machine is: a wake that takes longer doesn't come.
const LONG: Duration = Duration::from_secs(30);

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::yield_now();
    }
}

/// A byte that goes round `laps` times between two sockets of the runtime, which arms, events and cached readiness carry.
async fn ping_pong(laps: usize) {
    let (a, b) = UnixStream::pair().unwrap();
    let ends = [a, b].map(|end| {
        end.set_nonblocking(true).unwrap();
        let stream = end.try_clone().unwrap();
        (Arc::new(stream), Registration::new(end.into()).unwrap())
    });
    let players = ends.map(|(stream, registration)| {
        spawn(async move {
            for _ in 0..laps {
                (&*stream).write_all(&[7]).unwrap();
                let mut byte = [0];
                let read = registration.async_io(Direction::Read, || (&*stream).read(&mut byte)).await;
                assert_eq!(read.unwrap(), 1);
                yield_now().await;
            }
        })
    });
    for player in players {
        player.await.unwrap();
    }
}

/// When everybody sleeps, nobody is counted as awake or searching: whoever was counted once too often or too seldom would keep
/// wakes from being claimed, or claim them for nobody, for ever after.
#[test]
fn the_books_are_straight_when_everybody_sleeps() {
    let _watchdog = Watchdog::start();
    for workers in [1, 2, 4] {
        let runtime = Builder::new_multi_thread().worker_threads(workers).build().unwrap();
        let idle = &runtime.handle().shared.idle;
        for round in 0..40u64 {
            std::thread::scope(|scope| {
                for n in 0..3 {
                    let runtime = &runtime;
                    scope.spawn(move || {
                        let tasks: Vec<_> = (0..20)
                            .map(|k| {
                                runtime.spawn(async move {
                                    match (n + k) % 4 {
                                        0 => ping_pong(10).await,
                                        1 => sleep(Duration::from_micros(k * 100)).await,
                                        2 => (0..70).map(|_| yield_now()).for_each(|turn| drop(spawn(turn))),
                                        _ => spawn(yield_now()).await.unwrap(),
                                    }
                                })
                            })
                            .collect();
                        runtime.block_on(async {
                            sleep(Duration::from_micros(round * 10)).await;
                            for task in tasks {
                                task.await.unwrap();
                            }
                        });
                    });
                }
            });
            wait_until(&format!("{workers} workers straight in round {round}"), || idle.counts() == (0, 0));
        }
    }
}

#[test]
fn what_a_task_displaces_from_the_slot_wakes_a_sleeper() {
    let _watchdog = Watchdog::start();
    let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let shared = runtime.handle().shared.clone();
    let task = runtime.spawn(async move {
        wait_until("the other worker sleeps", || shared.idle.counts() == (0, 1));
        let (ran, has_run) = mpsc::channel();
        for _ in 0..2 {
            let ran = ran.clone();
            drop(spawn(async move { ran.send(()) }));
        }
        // The second has displaced the first; this worker comes to neither.
        has_run.recv_timeout(LONG)
    });
    runtime.block_on(task).unwrap().unwrap();
}

/// Three timers of one worker are due together and each wakes a task that blocks until all three run: the delivery has to wake
/// a second worker, and that one, when it has found a task, a third.
#[test]
fn what_a_delivery_leaves_behind_wakes_one_sleeper_after_the_other() {
    let _watchdog = Watchdog::start();
    let runtime = Builder::new_multi_thread().worker_threads(3).build().unwrap();
    let (waits, who_waits) = mpsc::channel::<Waker>();
    let (came, all_came) = (Arc::new(Mutex::new(0)), Arc::new(std::sync::Condvar::new()));
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let (came, all_came) = (came.clone(), all_came.clone());
            let mut waits = Some(waits.clone());
            runtime.spawn(poll_fn(move |cx| {
                if let Some(waits) = waits.take() {
                    waits.send(cx.waker().clone()).unwrap();
                    return Poll::Pending;
                }
                let mut count = came.lock().unwrap();
                *count += 1;
                all_came.notify_all();
                let (count, _) = all_came.wait_timeout_while(count, LONG, |count| *count < 3).unwrap();
                Poll::Ready(*count)
            }))
        })
        .collect();
    let wakers: Vec<_> = (0..3).map(|_| who_waits.recv_timeout(LONG).unwrap()).collect();
    // One poll arms all three in the wheel of the worker that runs it, early enough for everybody to fall asleep again.
    let deadline = Instant::now() + Duration::from_millis(500);
    drop(runtime.spawn(async move {
        let mut sleeps = wakers.iter().map(|_| sleep_until(deadline)).collect::<Vec<_>>();
        for (sleep, waker) in sleeps.iter_mut().zip(&wakers) {
            let armed = Pin::new(sleep).poll(&mut Context::from_waker(waker));
            assert!(armed.is_pending());
        }
        pending::<()>().await;
    }));
    for task in tasks {
        assert_eq!(runtime.block_on(task).unwrap(), 3);
    }
}

#[test]
fn workers_have_the_slices_that_were_asked_for() {
    let _watchdog = Watchdog::start();
    let slice_of_a_worker = |builder: crate::Builder| {
        let runtime = builder.worker_threads(1).build().unwrap();
        let task = runtime.spawn(async { crate::processor::slice() });
        runtime.block_on(task).unwrap()
    };
    // Nothing, where the kernel is too old to say.
    let here = crate::processor::slice();
    let asked_for = |slice: Duration| here.map(|_| slice);
    let builder = crate::Builder::new_multi_thread;
    assert_eq!(slice_of_a_worker(builder()), asked_for(crate::processor::SLICE));
    let slice = Duration::from_micros(400);
    assert_eq!(slice_of_a_worker(builder().time_slice(Some(slice))), asked_for(slice));
    assert_eq!(slice_of_a_worker(builder().time_slice(None)), here);
}
