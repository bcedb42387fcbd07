//! A user's functions around the lives of the worker threads.

mod support;

use std::{
    panic::{RefUnwindSafe, UnwindSafe},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use egret_executor::{Builder, Handle, Runtime, task};
use support::bounded;

#[test]
fn each_worker_starts_before_its_work_and_stops_before_the_drop_is_over() {
    bounded(|| {
        let (started, stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let hook = |threads: &Arc<Mutex<Vec<_>>>| {
            let threads = threads.clone();
            move || threads.lock().unwrap().push(thread::current().id())
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .on_thread_start(hook(&started))
            .on_thread_stop(hook(&stopped))
            .build()
            .unwrap();
        let worker = runtime.block_on(runtime.spawn(async { thread::current().id() })).unwrap();
        assert!(started.lock().unwrap().contains(&worker));
        assert!(stopped.lock().unwrap().is_empty());
        drop(runtime);
        let (started, stopped) = (started.lock().unwrap(), stopped.lock().unwrap());
        assert_eq!((started.len(), stopped.len()), (2, 2));
        assert!(stopped.iter().all(|thread| started.contains(thread)));
    });
}

#[test]
fn hooks_that_panic_end_no_worker() {
    bounded(|| {
        let calls = Arc::new(AtomicUsize::new(0));
        let hook = || {
            let calls = calls.clone();
            move || {
                calls.fetch_add(1, Ordering::SeqCst);
                panic!("on purpose");
            }
        };
        let builder = Builder::new_multi_thread().worker_threads(1);
        let runtime = builder.on_thread_start(hook()).on_thread_stop(hook()).build().unwrap();
        assert_eq!(runtime.block_on(runtime.spawn(async { 5 })).unwrap(), 5);
        drop(runtime);
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    });
}

const _: fn() = || {
    fn goes_everywhere<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    goes_everywhere::<Builder>();
    goes_everywhere::<task::Builder<'static>>();
    fn shared_by_threads<T: Send + Sync>() {}
    shared_by_threads::<Handle>();
    shared_by_threads::<Runtime>();
};
