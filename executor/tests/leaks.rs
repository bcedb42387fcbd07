//! Runtimes come and go without leaving threads or descriptors behind. Alone in its process, because it counts both.

mod support;

use std::future::pending;

use support::{LONG, eventually, runtime};

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_thousand_runtimes_leave_nothing_behind() {
    let end = std::time::Instant::now() + LONG;
    // Whatever the first one makes for good is not a leak.
    drop(runtime(2));
    let before = (threads(), descriptors());
    for round in 0..1_000 {
        assert!(std::time::Instant::now() < end, "it crawls: round {round}");
        let runtime = runtime(2);
        let waiting = runtime.spawn(pending::<()>());
        drop(runtime.spawn(async {
            egret_executor::spawn(pending::<()>()).await.unwrap();
        }));
        if round % 10 == 0 {
            // Ended by its own task: nobody joins the threads.
            let handle = runtime.handle().clone();
            drop(handle.spawn(async move { drop(runtime) }));
            assert!(handle.block_on(waiting).unwrap_err().is_cancelled());
        } else {
            drop(runtime);
            assert!(waiting.is_finished());
        }
    }
    eventually("the last threads end", || threads() == before.0);
    assert_eq!(descriptors(), before.1);
}
