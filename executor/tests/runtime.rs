//! The builder, `block_on`, contexts, and what may cross threads.

mod support;

use std::{
    future::{pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    task::Poll,
};

use egret_executor::{
    Builder, Handle, JoinError, JoinHandle, Runtime,
    runtime::{FeedChoice, Metrics},
    spawn,
    task::{Id, YieldNow, yield_now},
};
use support::{LONG, Watched, bounded, eventually, runtime};

#[test]
fn what_may_cross_threads() {
    fn both<T: Send + Sync>() {}
    fn unpin<T: Unpin>() {}
    both::<Runtime>();
    both::<Handle>();
    both::<Builder>();
    both::<Metrics>();
    both::<JoinError>();
    both::<JoinHandle<std::cell::Cell<u8>>>();
    both::<Id>();
    both::<YieldNow>();
    unpin::<JoinHandle<std::marker::PhantomPinned>>();
    // Guards stay where they are: this would be ambiguous if they were Send.
    trait NotSend<A> {
        fn check() {}
    }
    struct Guards;
    impl<T: ?Sized> NotSend<()> for T {}
    impl<T: ?Sized + Send> NotSend<Guards> for T {}
    <egret_executor::EnterGuard<'static> as NotSend<_>>::check();
}

#[test]
fn the_builder_refuses_nonsense() {
    for workers in [0, 1 << 20] {
        let error = Builder::new_multi_thread().worker_threads(workers).build().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&workers.to_string()), "{error}");
    }
    let error = Builder::new_multi_thread().thread_name("a\0b").build();
    assert_eq!(error.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn the_builder_names_threads_and_tells_the_feed() {
    let builder = Builder::new_multi_thread().worker_threads(2).thread_name("fisher").feed(FeedChoice::Auto);
    let runtime = Watched::new(builder);
    assert_eq!(runtime.workers(), 2);
    assert_eq!(runtime.feed(), runtime.metrics().feed);
    let _reason: Option<&str> = runtime.feed_fallback();
    let name = runtime.spawn(async { std::thread::current().name().map(str::to_owned) });
    let name = runtime.block_on(name).unwrap().unwrap();
    assert!(["fisher-0", "fisher-1"].contains(&&*name), "{name}");
}

#[test]
fn block_on_runs_on_its_own_thread_and_takes_borrows() {
    let runtime = runtime(1);
    let text = String::from("borrowed");
    let here = std::thread::current().id();
    let length = runtime.block_on(async {
        assert_eq!(std::thread::current().id(), here);
        yield_now().await;
        text.len()
    });
    assert_eq!(length, 8);
}

#[test]
fn block_on_is_woken_from_another_thread() {
    bounded(|| {
        let runtime = runtime(1);
        for _ in 0..1_000 {
            let mut woken = false;
            runtime.block_on(poll_fn(|cx| {
                if std::mem::replace(&mut woken, true) {
                    return Poll::Ready(());
                }
                let waker = cx.waker().clone();
                drop(spawn(async move { waker.wake() }));
                Poll::Pending
            }));
        }
    });
}

#[test]
fn several_threads_block_on_one_runtime() {
    bounded(|| {
        let runtime = runtime(2);
        std::thread::scope(|scope| {
            for n in 0..4 {
                let runtime = &runtime;
                scope.spawn(move || {
                    for _ in 0..200 {
                        let task = async { spawn(async move { n }).await.unwrap() };
                        assert_eq!(runtime.block_on(task), n);
                    }
                });
            }
        });
    });
}

#[test]
fn block_on_inside_of_a_runtime_panics_and_leaves_things_in_order() {
    let (outer, inner) = (runtime(1), runtime(1));
    let nested = || catch_unwind(AssertUnwindSafe(|| inner.block_on(async {})));
    let message = outer.block_on(async { *nested().unwrap_err().downcast::<&str>().unwrap() });
    assert!(message.starts_with("Cannot start a runtime from within a runtime"));

    let handle = inner.handle().clone();
    let on_worker = outer.spawn(async move { handle.block_on(async {}) });
    assert!(outer.block_on(on_worker).unwrap_err().is_panic());

    assert!(nested().is_ok(), "outside again");
    let unwound = catch_unwind(AssertUnwindSafe(|| inner.block_on(async { panic!("through block_on") })));
    assert!(unwound.is_err());
    assert!(nested().is_ok());
    assert!(Handle::try_current().is_err());
}

#[test]
fn the_current_runtime_is_that_of_the_youngest_guard() {
    let (a, b) = (runtime(1), runtime(2));
    let workers = || Handle::current().metrics().workers.len();
    let in_a = a.enter();
    assert_eq!(workers(), 1);
    let in_b = b.handle().enter();
    assert_eq!(workers(), 2);
    // Out of order.
    drop(in_a);
    assert_eq!(workers(), 2);
    drop(in_b);
    assert!(Handle::try_current().is_err());
    let in_a = a.enter();
    b.block_on(async { assert_eq!(workers(), 2) });
    assert_eq!(workers(), 1);
    drop(in_a);
    let inside = b.spawn(async move { workers() });
    assert_eq!(a.block_on(inside).unwrap(), 2);
}

#[test]
fn a_handle_spawns_from_a_foreign_thread() {
    let runtime = runtime(2);
    let handle = runtime.handle().clone();
    let (done, is_done) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let task = handle.spawn(async move { done.send(()).unwrap() });
        handle.block_on(task).unwrap();
    });
    is_done.recv_timeout(LONG).unwrap();
    thread.join().unwrap();
}

#[test]
fn metrics_count() {
    let runtime = runtime(1);
    drop(runtime.spawn(pending::<()>()));
    eventually("it is registered", || runtime.metrics().waiting_tasks == 1);
    for _ in 0..10 {
        runtime.block_on(runtime.spawn(async {})).unwrap();
    }
    eventually("the worker parks", || {
        let metrics = runtime.metrics();
        metrics.injector_depth == 0 && metrics.workers[0].parks > 0
    });
    let metrics = runtime.metrics();
    assert_eq!(metrics.workers[0].polls, 11);
    assert!(metrics.workers[0].notified >= metrics.workers[0].idle_wakes);
}
