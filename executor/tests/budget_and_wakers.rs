//! What is left on a worker's thread after a poll, and wakers that look like the runtime's own.

mod support;

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::mpsc,
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
};

use egret_executor::JoinHandle;
use support::{Gate, LONG, OnDrop, bounded, eventually, runtime};

/// The end of a runtime drops futures outside of any poll: the budget of the last poll is no concern of theirs.
#[test]
fn a_spent_budget_does_not_outlive_its_poll() {
    bounded(|| {
        let runtime = runtime(1);
        let mut finished: Vec<JoinHandle<()>> = (0..129).map(|_| runtime.spawn(async {})).collect();
        eventually("all are finished", || finished.iter().all(JoinHandle::is_finished));
        let mut last = finished.pop().unwrap();
        let (tell, told) = mpsc::channel();
        let look = OnDrop::new(move || {
            let polled = Pin::new(&mut last).poll(&mut Context::from_waker(Waker::noop()));
            tell.send(polled.is_ready()).unwrap();
        });
        drop(runtime.spawn(async move {
            let _look = look;
            for task in finished {
                task.await.unwrap();
            }
            pending::<()>().await;
        }));
        eventually("it waits", || runtime.metrics().waiting_tasks == 1);
        drop(runtime);
        assert!(told.recv_timeout(LONG).unwrap(), "finished, but not polled for lack of budget");
    });
}

/// A waker without data is not what a thread that polls nothing takes for its own: async-task ends the process if it panics.
#[test]
fn a_foreign_waker_without_data_that_panics_ends_nothing() {
    const BROKEN: RawWakerVTable = RawWakerVTable::new(
        |_| RawWaker::new(std::ptr::null(), &BROKEN),
        |_| panic!("on purpose"),
        |_| panic!("on purpose"),
        |_| {},
    );
    bounded(|| {
        let runtime = runtime(1);
        let gate = Gate::default();
        let mut task = runtime.spawn(gate.clone());
        // SAFETY: no function of the table touches the data, and they may be called on any thread.
        let waker = unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &BROKEN)) };
        assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
        gate.open();
        eventually("it is finished", || task.is_finished());
        let polled = Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Ok(()))));
        runtime.block_on(runtime.spawn(async {})).unwrap();
    });
}
