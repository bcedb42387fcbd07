//! A local set in no runtime that ever waits for anything, so that Miri can run it, against the threads that wake, abort and let go of its tasks:
//! `MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks -Zmiri-many-seeds" cargo +nightly miri test --test local_set_alone`.
//! (What it leaks is the queue of a runtime in a static.)

use std::{
    future::{Future, pending},
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    thread,
};

use egret_executor::task::LocalSet;

/// A future that is never ready, and whose wakers are kept for others to use.
#[derive(Clone, Default)]
struct Hung(Arc<Mutex<Vec<Waker>>>);

impl Future for Hung {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.lock().unwrap().push(cx.waker().clone());
        Poll::Pending
    }
}

fn turn(set: &LocalSet) {
    let mut driver = pin!(set.run_until(pending::<()>()));
    assert!(driver.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

/// All that another thread may do to a task, while the set is driven, or rests, and then ends.
#[test]
fn other_threads_against_the_end_of_a_set() {
    for round in 0..8 {
        let (abort_it, drop_the_handle, drive) = (round & 1 != 0, round & 2 != 0, round & 4 != 0);
        let set = LocalSet::new();
        let (kept, hung) = (Rc::new(5), Hung::default());
        let hanging = set.spawn_local({
            let (kept, hung) = (kept.clone(), hung.clone());
            async move {
                hung.await;
                *kept
            }
        });
        let ending = set.spawn_local(async { vec![1, 2, 3] });
        let staying = set.spawn_local(async { Rc::new(3) });
        let never = set.spawn_local(pending::<()>());
        turn(&set);
        let abort = hanging.abort_handle();
        let wakers = std::mem::take(&mut *hung.0.lock().unwrap());
        let other = thread::spawn(move || {
            if abort_it {
                abort.abort();
            }
            wakers.into_iter().for_each(Waker::wake);
            drop(ending);
            never.abort();
            (!drop_the_handle).then_some((hanging, abort))
        });
        if drive {
            turn(&set);
        }
        drop(set);
        assert_eq!(Rc::strong_count(&kept), 1);
        // The last of the tasks' memory goes elsewhere, with what may.
        let left = other.join().unwrap();
        thread::spawn(move || drop(left)).join().unwrap();
        assert!(staying.is_finished());
    }
}
