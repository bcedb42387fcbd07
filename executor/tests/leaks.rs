//! Runtimes come and go without leaving threads or descriptors behind. Alone in its process, because it counts both.

mod support;

use std::future::pending;

use support::{LONG, Watchdog, eventually, runtime};

/// Threads: those that stay until somebody ends them, and those that wait for the end of one of aio's contexts in the kernel.
fn threads() -> (usize, usize) {
    let names = std::fs::read_dir("/proc/self/task").unwrap().map(|task| {
        // One that has ended meanwhile has no name.
        std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default()
    });
    let (ending, staying): (Vec<_>, Vec<_>) =
        names.filter(|name| !name.is_empty()).partition(|name| name == "egret-aio-end\n");
    (staying.len(), ending.len())
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_thousand_runtimes_leave_nothing_behind() {
    let _watchdog = Watchdog::start();
    let end = std::time::Instant::now() + LONG;
    // The test, its harness and the watchdog.
    let (alone, _) = threads();
    // Whatever the first one makes for good is not a leak.
    drop(runtime(2));
    // A thread has its name only a moment after it has begun.
    eventually("the first one's contexts end", || threads() == (alone, 0));
    let before = (threads().0, descriptors());
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
    eventually("the last threads end", || threads() == (before.0, 0));
    assert_eq!(descriptors(), before.1);
}
