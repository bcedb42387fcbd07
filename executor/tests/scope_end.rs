//! The end of scopes: dropped, cancelled, at their deadlines, one in another, and against those who spawn into them.

mod scope_support;
mod support;

use std::{
    future::{Future, pending},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use egret_executor::{
    cancel::CancellationToken,
    task::{Scope, ScopeError, scope, try_scope, yield_now},
    time::{sleep, timeout},
};
use scope_support::{forever, run};
use support::{Blocker, Drops, Gate, LONG, eventually, runtime};

/// Waits, in the scope's body, until all that was spawned has begun.
async fn begun(count: &AtomicUsize, wanted: usize) {
    while count.load(Ordering::SeqCst) < wanted {
        yield_now().await;
    }
}

#[test]
fn dropping_it_aborts_all_tasks() {
    let runtime = runtime(2);
    let drops = Drops::default();
    runtime.block_on(async {
        let drops = drops.clone();
        let scope = scope(|scope| async move {
            let begun_count = Arc::new(AtomicUsize::new(0));
            for _ in 0..4 {
                let (guard, begun) = (drops.guard(), begun_count.clone());
                scope.spawn(async move {
                    let _guard = guard;
                    begun.fetch_add(1, Ordering::SeqCst);
                    pending::<()>().await;
                });
                let guard = drops.guard();
                scope.spawn(async move {
                    let _guard = guard;
                    loop {
                        yield_now().await;
                    }
                });
            }
            begun(&begun_count, 4).await;
            pending::<()>().await;
        });
        assert!(timeout(Duration::from_millis(20), scope).await.is_err());
    });
    eventually("all are dropped", || drops.count() == 8);
}

/// The worker is kept busy until the drop has returned: the task, which is queued, isn't polled again.
#[test]
fn no_poll_begins_after_the_drop() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let gate = Gate::default();
    let polled = Arc::new(AtomicUsize::new(0));
    let _entered = runtime.enter();
    let blocker = {
        let mut scope = pin!(scope(|scope| {
            let (gate, guard, polled) = (gate.clone(), drops.guard(), polled.clone());
            async move {
                scope.spawn(async move {
                    let _guard = guard;
                    gate.await;
                    polled.fetch_add(1, Ordering::SeqCst);
                });
                pending::<()>().await;
            }
        }));
        assert!(scope.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        eventually("the task waits", || gate.was_polled());
        let blocker = Blocker::occupy(&runtime);
        gate.open();
        blocker
    };
    blocker.release();
    eventually("the task is dropped", || drops.count() == 1);
    assert_eq!(polled.load(Ordering::SeqCst), 0);
}

#[test]
fn a_deadline_says_so() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let began = Instant::now();
    let result = run(
        &runtime,
        Scope::builder().timeout(Duration::from_millis(5)).deadline(Instant::now() + LONG).run(|scope| {
            let drops = drops.clone();
            async move {
                scope.spawn(forever(&drops));
                forever(&drops).await;
            }
        }),
    );
    let error = result.unwrap_err();
    assert!(error.is_deadline());
    assert_eq!(error.to_string(), "a scope's deadline came before its end");
    assert!(began.elapsed() >= Duration::from_millis(5));
    assert_eq!(drops.count(), 2);
    // Also when the body is complete, but not its tasks; and not at all if all is over before.
    let late = Scope::builder().timeout(Duration::from_millis(1)).run(|scope| async move {
        scope.spawn(pending::<()>());
    });
    assert!(run(&runtime, late).unwrap_err().is_deadline());
    run(&runtime, Scope::builder().timeout(Duration::MAX).run(|_| async {})).unwrap();
}

#[test]
fn cancelling_from_within_and_from_above() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let within = scope(|scope| {
        let drops = drops.clone();
        async move {
            let inside = scope.clone();
            scope.spawn(async move { inside.cancel() });
            scope.spawn(forever(&drops));
            forever(&drops).await;
        }
    });
    assert!(run(&runtime, within).unwrap_err().is_cancelled());
    assert_eq!(drops.count(), 2);

    let token = CancellationToken::new();
    let canceller = token.clone();
    let from_above = Scope::builder().cancelled_by(&token).run(|scope| async move {
        canceller.cancel();
        assert!(scope.token().is_cancelled());
        pending::<()>().await;
    });
    assert!(run(&runtime, from_above).unwrap_err().is_cancelled());
    // The end of a scope is none of what is above.
    let above = CancellationToken::new();
    run(&runtime, Scope::builder().cancelled_by(&above).run(|scope| async move { scope.cancel() })).unwrap();
    assert!(!above.is_cancelled());
}

/// Polite tasks have the grace; the others are aborted after it.
#[test]
fn the_grace_is_for_those_who_look_at_the_token() {
    let runtime = runtime(2);
    let drops = Drops::default();
    let (done, is_done) = mpsc::channel();
    let began = Instant::now();
    let result = run(
        &runtime,
        Scope::builder().grace(LONG).run(|scope| async move {
            for _ in 0..3 {
                let (token, done) = (scope.token().clone(), done.clone());
                scope.spawn(async move {
                    token.cancelled().await;
                    sleep(Duration::from_millis(1)).await;
                    done.send(()).unwrap();
                });
            }
            scope.cancel();
        }),
    );
    result.unwrap();
    assert_eq!(is_done.try_iter().count(), 3);
    assert!(began.elapsed() < LONG);

    let began = Instant::now();
    let result = run(
        &runtime,
        Scope::builder().grace(Duration::from_millis(5)).run(|scope| {
            let drops = drops.clone();
            async move {
                scope.spawn(forever(&drops));
                scope.cancel();
            }
        }),
    );
    result.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(5));
    assert_eq!(drops.count(), 1);
}

#[test]
fn what_is_spawned_into_a_scope_that_ends_is_dropped() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let mut stray = None;
    run(
        &runtime,
        scope(|scope| {
            stray = Some(scope);
            async {}
        }),
    )
    .unwrap();
    let scope = stray.unwrap();
    assert!(!scope.is_open() && scope.token().is_cancelled());
    let task = scope.spawn(forever(&drops));
    assert_eq!(drops.count(), 1);
    assert!(run(&runtime, task).unwrap_err().is_cancelled());
}

/// Many threads spawn into a scope that is dropped meanwhile: nobody is forgotten.
#[test]
fn spawns_that_race_with_the_end_are_ended() {
    let runtime = runtime(2);
    for _ in 0..50 {
        let drops = Drops::default();
        let (handles, handle) = mpsc::channel();
        let spawners = {
            let _entered = runtime.enter();
            let mut scope = pin!(scope(|scope| {
                handles.send(scope).unwrap();
                pending::<()>()
            }));
            assert!(scope.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            let scope = handle.recv().unwrap();
            let (ready, is_ready) = mpsc::channel();
            let spawners: Vec<_> = (0..2)
                .map(|_| {
                    let (scope, drops, ready) = (scope.clone(), drops.clone(), ready.clone());
                    thread::spawn(move || {
                        ready.send(()).unwrap();
                        (0..20).map(|_| scope.spawn(forever(&drops))).collect::<Vec<_>>()
                    })
                })
                .collect();
            spawners.iter().for_each(|_| is_ready.recv_timeout(LONG).unwrap());
            spawners
        };
        for task in spawners.into_iter().flat_map(|spawner| spawner.join().unwrap()) {
            assert!(run(&runtime, task).unwrap_err().is_cancelled());
        }
        assert_eq!(drops.count(), 40);
    }
}

#[test]
fn an_aborted_task_is_no_failure() {
    let runtime = runtime(1);
    let result = run(
        &runtime,
        scope(|scope| async move {
            let task = scope.spawn(pending::<()>());
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            5
        }),
    );
    assert_eq!(result.unwrap(), 5);
}

/// The inner scope is dropped with the task that it is in, and can't wait for its own: the outer one does.
#[test]
fn an_outer_scope_outlives_what_an_inner_one_leaves() {
    let runtime = runtime(2);
    for in_body in [false, true] {
        let drops = Drops::default();
        let (busy, is_busy) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let blocked = drops.guard();
        let inner = scope(move |scope| async move {
            scope.spawn(async move {
                let _guard = blocked;
                busy.send(()).unwrap();
                // In its poll, when all is aborted.
                let _released = released.recv_timeout(LONG);
                pending::<()>().await;
            });
            pending::<()>().await;
        });
        let (over, is_over) = mpsc::channel();
        let watched = drops.clone();
        let outer = runtime.spawn(async move {
            let result = scope(|scope| async move {
                let canceller = scope.clone();
                scope.spawn(async move {
                    is_busy_soon(is_busy).await;
                    canceller.cancel();
                });
                if in_body {
                    inner.await.unwrap();
                } else {
                    scope.spawn(inner);
                    pending::<()>().await;
                }
            })
            .await;
            over.send((result.unwrap_err().is_cancelled(), watched.count())).unwrap();
        });
        // As far as it can come without the one that is in its poll.
        assert!(is_over.recv_timeout(Duration::from_millis(30)).is_err());
        release.send(()).unwrap();
        assert_eq!(is_over.recv_timeout(LONG).unwrap(), (true, 1));
        run(&runtime, outer).unwrap();
    }
}

async fn is_busy_soon(busy: mpsc::Receiver<()>) {
    while busy.try_recv().is_err() {
        yield_now().await;
    }
}

#[test]
fn inner_scopes_have_errors_and_deadlines_of_their_own() {
    let runtime = runtime(2);
    let result: Result<_, ScopeError<&str>> = run(
        &runtime,
        try_scope(|outer| async move {
            let inner = Scope::builder().timeout(Duration::from_millis(1)).run(|inner| async move {
                inner.spawn(pending::<()>());
            });
            assert!(inner.await.unwrap_err().is_deadline());
            let failed = outer.spawn(async {
                try_scope(|inner| async move {
                    inner.try_spawn(async { Err::<(), _>(3) });
                    Ok(())
                })
                .await
            });
            assert_eq!(failed.await.unwrap().unwrap_err().into_failed(), Some(3));
            Ok("the outer one's")
        }),
    );
    assert_eq!(result.unwrap(), "the outer one's");
}

#[test]
fn the_end_of_the_runtime_ends_its_tasks() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let handle = runtime.handle().clone();
    let mut ended = pin!(scope(|scope| {
        let drops = drops.clone();
        async move {
            scope.spawn(forever(&drops));
        }
    }));
    {
        let _entered = handle.enter();
        assert!(ended.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    drop(runtime);
    assert_eq!(drops.count(), 1);
    assert!(matches!(ended.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(()))));
}
