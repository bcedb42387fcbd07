//! Values that go with a task, and budgets.

mod support;

use egret_executor::{
    spawn,
    task::{LocalKey, TaskLocalFuture, consume_budget, unconstrained, yield_now},
    task_local,
};
use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};
use support::runtime;

task_local! {
    static NUMBER: u32;
    /// With a doc.
    pub(crate) static TEXT: String
}

#[test]
fn a_value_goes_with_its_task_and_scopes_nest() {
    let runtime = runtime(2);
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            runtime.spawn(NUMBER.scope(number, async move {
                for _ in 0..100 {
                    assert_eq!(NUMBER.get(), number);
                    // Others run here, and this one may go on elsewhere.
                    yield_now().await;
                    NUMBER.scope(number + 1_000, async { assert_eq!(NUMBER.get() % 1_000, number) }).await;
                    assert_eq!(NUMBER.sync_scope(7, || NUMBER.get()), 7);
                }
                assert!(
                    spawn(async { NUMBER.try_with(|_| ()).is_err() }).await.unwrap(),
                    "not with what it spawns"
                );
                NUMBER.get()
            }))
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(runtime.block_on(task).unwrap() as usize, number);
    }
    assert!(NUMBER.try_with(|_| ()).is_err());
    assert_eq!(TEXT.sync_scope("x".into(), || TEXT.with(String::len)), 1);
}

#[test]
fn what_is_dropped_in_a_scope_sees_its_value() {
    struct Sees(Arc<AtomicBool>);
    impl Drop for Sees {
        fn drop(&mut self) {
            self.0.store(NUMBER.try_with(|number| *number == 5) == Ok(true), Ordering::SeqCst);
        }
    }
    for polls in [0, 1] {
        let saw = Arc::new(AtomicBool::new(false));
        let guard = Sees(saw.clone());
        let mut future = Box::pin(NUMBER.scope(5, async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        }));
        for _ in 0..polls {
            assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        drop(future);
        assert!(saw.load(Ordering::SeqCst), "{polls} polls");
    }
}

#[test]
fn a_panic_leaves_no_value_behind() {
    let mut future = pin!(NUMBER.scope(5, async { panic!("on purpose") }));
    let polled = || future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
    assert!(catch_unwind(AssertUnwindSafe(polled)).is_err());
    assert!(NUMBER.try_with(|_| ()).is_err());
    assert!(catch_unwind(|| NUMBER.sync_scope(5, || panic!("on purpose"))).is_err());
    assert!(NUMBER.try_with(|_| ()).is_err());
    // No scope of a key begins inside of its own `with`: the value is borrowed.
    let inside = || NUMBER.sync_scope(5, || NUMBER.with(|_| NUMBER.sync_scope(6, || ())));
    assert!(catch_unwind(inside).is_err());
    assert!(catch_unwind(|| NUMBER.with(|_| ())).is_err());
}

/// How often the future is polled until it is ready.
fn polls(future: impl Future<Output = ()>) -> usize {
    let mut future = pin!(future);
    let mut polls = 0;
    runtime(1).block_on(poll_fn(|cx| {
        polls += 1;
        future.as_mut().poll(cx)
    }));
    polls
}

#[test]
fn a_budget_is_spent_and_one_without_gives_no_way() {
    async fn work() {
        for _ in 0..1_000 {
            consume_budget().await;
        }
    }
    assert_eq!(polls(work()), 1_000_usize.div_ceil(128));
    assert_eq!(polls(unconstrained(work())), 1);
    assert_eq!(
        polls(async {
            unconstrained(work()).await;
            work().await;
        }),
        8,
        "the budget is what it was"
    );
    // Outside of a task there is none.
    assert_eq!(pin!(work()).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()));
}

#[test]
fn they_go_where_their_parts_go() {
    fn to_any_thread<T: Send + Sync>() {}
    to_any_thread::<LocalKey<String>>();
    to_any_thread::<TaskLocalFuture<String, std::future::Ready<()>>>();
}
