//! Which of the public types may go to other threads, be shared, and be used after a panic: decided by compiling.

use std::panic::{RefUnwindSafe, UnwindSafe};

use egret_executor::{
    Builder, EnterGuard, Handle, JoinError, JoinHandle, Runtime, cancel, io, runtime, task, time,
};
use futures_core::Future;

fn send<T: Send>() {}
fn sync<T: Sync>() {}
fn unpin<T: Unpin>() {}
fn unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
fn static_<T: 'static>() {}

/// Send, Sync, Unpin, safe after a panic.
macro_rules! all {
    ($($type:ty),* $(,)?) => {
        $( send::<$type>(); sync::<$type>(); unpin::<$type>(); unwind_safe::<$type>(); static_::<$type>(); )*
    };
}

/// Tells which traits a value has without naming its type: a method of the wrapper if it has, of a trait if not.
macro_rules! lacks {
    ($name:ident: $trait:path; $($type:ty),* $(,)?) => {
        trait $name { const HAS: bool = false; }
        impl<T: ?Sized> $name for T {}
        struct Probe<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code)]
        impl<T: ?Sized + $trait> Probe<T> { const HAS: bool = true; }
        $( const { assert!(!Probe::<$type>::HAS, stringify!($type)) } )*
    };
}

/// What can be shared but not copied: a value that is `Send` and no more.
type OnlySend = std::cell::Cell<u8>;
type Neither = std::rc::Rc<u8>;

#[test]
fn handles_and_values_go_everywhere() {
    all! {
        Runtime, Handle, Builder, JoinError, JoinHandle<OnlySend>, JoinHandle<u8>,
        runtime::Metrics, runtime::WorkerMetrics, runtime::PollTimes, runtime::Dump, runtime::TaskDump, runtime::TaskState,
        runtime::WaitsFor, runtime::Report, runtime::TaskReport, runtime::StuckPoll, runtime::RuntimeFlavor,
        runtime::TryCurrentError, runtime::UnhandledPanic, runtime::FeedChoice, runtime::FeedKind,
        task::Id, task::AbortHandle, task::Builder<'static>, task::AccessError, task::YieldNow,
        task::LocalKey<u8>, task::JoinSet<OnlySend>,
        cancel::CancellationToken, cancel::DropGuard,
        time::Instant, time::error::Elapsed, time::Interval, time::MissedTickBehavior,
        io::Registration, io::Direction,
    }
}

#[test]
fn futures_go_where_their_parts_go() {
    fn is_send<F: Future + Send>(_: F) {}
    fn is_send_and_sync<F: Future + Send + Sync>(_: F) {}
    let runtime = Builder::new_current_thread().build().unwrap();
    let _guard = runtime.enter();
    is_send_and_sync(time::sleep(time::Duration::ZERO));
    is_send_and_sync(time::timeout(time::Duration::ZERO, async {}));
    is_send_and_sync(task::yield_now());
    is_send_and_sync(task::unconstrained(async {}));
    is_send(task::consume_budget());
    let token = cancel::CancellationToken::new();
    is_send_and_sync(token.cancelled());
    is_send_and_sync(token.clone().cancelled_owned());
    let mut set = task::JoinSet::<u8>::new();
    is_send(set.join_next());
    is_send(set.join_next_with_id());
    is_send(set.shutdown());
    is_send(set.join_all());
    let mut interval = time::interval(time::Duration::from_secs(1));
    is_send(interval.tick());
}

#[test]
fn what_belongs_to_its_thread_stays_there() {
    {
        lacks!(IsSend: Send; EnterGuard<'static>, task::LocalSet, JoinHandle<Neither>, task::JoinSet<Neither>);
    }
    {
        lacks!(IsSync: Sync; task::LocalSet);
    }
}
