//! Scopes: no task outlives its scope, and the first thing that goes wrong is its result.

mod scope_support;
mod support;

use std::{
    cell::Cell,
    convert::Infallible,
    future::pending,
    panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use egret_executor::{
    spawn,
    task::{Scope, ScopeBuilder, ScopeError, scope, try_scope, yield_now},
    time::sleep,
};
use scope_support::{forever, forever_well, run};
use support::{Drops, Gate, OnDrop, runtime};

#[test]
fn it_waits_for_all_tasks() {
    let runtime = runtime(2);
    let drops = Drops::default();
    let (release, released) = (Gate::default(), Gate::default());
    let output = run(&runtime, async {
        let (drops, opener) = (drops.clone(), release.clone());
        spawn(async move {
            sleep(Duration::from_millis(2)).await;
            opener.open();
        });
        scope(|scope| async move {
            for _ in 0..10 {
                let (guard, release) = (drops.guard(), release.clone());
                scope.spawn(async move {
                    release.await;
                    drop(guard);
                });
            }
            drop(released);
            "the body's"
        })
        .await
    });
    assert_eq!((output.unwrap(), drops.count()), ("the body's", 10));
}

#[test]
fn the_body_may_borrow_and_needs_not_be_send() {
    let runtime = runtime(1);
    let kept = Cell::new(1);
    let kept = &kept;
    run(
        &runtime,
        scope(|scope| async move { kept.set(scope.spawn(async { 41 }).await.unwrap() + kept.get()) }),
    )
    .unwrap();
    assert_eq!(kept.get(), 42);
    run(&runtime, scope(|_| async {})).unwrap();
}

#[test]
fn a_scope_may_be_a_task_and_its_tasks_spawn_into_it() {
    let runtime = runtime(2);
    let count = Arc::new(AtomicUsize::new(0));
    fn tree(scope: &Scope, count: &Arc<AtomicUsize>, depth: usize) {
        let (inside, count) = (scope.clone(), count.clone());
        scope.spawn(async move {
            yield_now().await;
            count.fetch_add(1, Ordering::SeqCst);
            if depth > 0 {
                tree(&inside, &count, depth - 1);
                tree(&inside, &count, depth - 1);
            }
        });
    }
    let task = {
        let count = count.clone();
        runtime.spawn(async move { scope(|scope| async move { tree(&scope, &count, 5) }).await })
    };
    run(&runtime, task).unwrap().unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 63);
}

#[test]
fn the_first_error_cancels_the_rest_and_is_the_result() {
    let runtime = runtime(2);
    let drops = Drops::default();
    let result: Result<(), _> = run(
        &runtime,
        try_scope(|scope| {
            let drops = drops.clone();
            async move {
                let guard = drops.guard();
                scope.try_spawn(forever_well(&drops));
                scope.spawn(forever(&drops));
                scope.try_spawn(async {
                    sleep(Duration::from_millis(1)).await;
                    Err::<(), _>("first")
                });
                forever(&drops).await;
                drop(guard);
                Ok(())
            }
        }),
    );
    assert_eq!(result.unwrap_err().into_failed(), Some("first"));
    assert_eq!(drops.count(), 4);
}

#[test]
fn an_error_of_the_body_cancels_its_tasks() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let result: Result<(), _> = run(
        &runtime,
        try_scope(|scope| {
            let drops = drops.clone();
            async move {
                scope.try_spawn(forever_well(&drops));
                Err("the body's")
            }
        }),
    );
    assert!(matches!(result, Err(ScopeError::Failed("the body's"))));
    assert_eq!(drops.count(), 1);
}

/// It happens after the body, while the scope waits.
#[test]
fn a_late_error_is_the_result_too() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let gate = Gate::default();
    let result = run(
        &runtime,
        try_scope(|scope| {
            let (drops, gate) = (drops.clone(), gate.clone());
            async move {
                scope.try_spawn(forever_well(&drops));
                scope.try_spawn({
                    let gate = gate.clone();
                    async move {
                        gate.await;
                        Err::<(), _>("late")
                    }
                });
                gate.open();
                Ok("forgotten")
            }
        }),
    );
    assert_eq!(result.unwrap_err().into_failed(), Some("late"));
    assert_eq!(drops.count(), 1);
}

#[test]
fn a_panic_cancels_the_rest_and_its_message_is_in_both_places() {
    let runtime = runtime(2);
    let drops = Drops::default();
    let (handles, handle) = mpsc::channel();
    let error = run(
        &runtime,
        scope(|scope| {
            let drops = drops.clone();
            async move {
                scope.spawn(forever(&drops));
                let panics = scope.spawn(async {
                    sleep(Duration::from_millis(1)).await;
                    panic!("number {}", std::hint::black_box(7))
                });
                handles.send(panics).unwrap();
                forever(&drops).await;
            }
        }),
    )
    .unwrap_err();
    assert!(error.is_panic() && !error.is_cancelled());
    let ScopeError::Panicked(error) = error else { unreachable!() };
    assert_eq!(error.into_panic().downcast_ref::<String>().unwrap(), "number 7");
    let error = run(&runtime, handle.recv().unwrap()).unwrap_err();
    assert_eq!(error.into_panic().downcast_ref::<String>().unwrap(), "number 7");
    assert_eq!(drops.count(), 2);
}

/// The body may see, through the handle, what is about to end it.
#[test]
fn a_body_that_panics_because_its_task_did_is_not_what_is_told() {
    let runtime = runtime(2);
    for _ in 0..100 {
        let error = run(
            &runtime,
            scope(|scope| async move {
                let handle = scope.spawn(async { std::panic::resume_unwind(Box::new("on purpose")) });
                let _: () = handle.await.unwrap();
            }),
        );
        assert!(error.unwrap_err().is_panic());
    }
}

#[test]
fn a_panic_in_the_drop_of_an_aborted_task_counts() {
    let runtime = runtime(1);
    let error = run(
        &runtime,
        scope(|scope| async move {
            let loud = OnDrop::new(|| panic!("on purpose"));
            scope.spawn(async move {
                let _loud = loud;
                pending::<()>().await;
            });
            yield_now().await;
            scope.cancel();
        }),
    );
    assert!(error.unwrap_err().is_panic());
}

#[test]
fn a_panic_of_the_body_ends_its_tasks_and_goes_on() {
    let runtime = runtime(1);
    let drops = Drops::default();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let drops = drops.clone();
        run(
            &runtime,
            scope(|scope| async move {
                scope.spawn(forever(&drops));
                panic!("the body's")
            }),
        )
    }));
    let Err(payload) = panicked.map(|result: Result<Infallible, ScopeError>| result.is_ok()) else {
        panic!("it goes on")
    };
    assert_eq!(payload.downcast_ref(), Some(&"the body's"));
    assert_eq!(drops.count(), 1);
    // Also one of what makes the body, and one of its drop.
    for in_drop in [false, true] {
        let inner_drops = drops.clone();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            run(
                &runtime,
                scope(|scope| {
                    scope.spawn(forever(&inner_drops));
                    assert!(in_drop, "on purpose");
                    let loud = OnDrop::new(|| panic!("on purpose"));
                    scope.cancel();
                    async move {
                        let _loud = loud;
                        pending::<()>().await;
                    }
                }),
            )
        }));
        assert!(panicked.is_err());
    }
    assert_eq!(drops.count(), 3);
}

/// Handles of a scope go where its errors may go.
#[test]
fn what_scopes_are_made_of_goes_everywhere() {
    fn everywhere<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + 'static>() {}
    everywhere::<Scope>();
    everywhere::<Scope<Cell<u8>>>();
    everywhere::<ScopeBuilder>();
    everywhere::<ScopeError<String>>();
}
