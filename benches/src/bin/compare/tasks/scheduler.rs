//! The jobs of tokio's `rt_multi_threaded` benches. What runs on the main thread there does so here, the waiting on a std channel
//! inside of `block_on` included: "local" is what those benches call spawning from inside of `block_on`.

use crate::work::{Runtime, Settings, repeat};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Tasks of the `spawn_many` jobs; `busy2` has a tenth.
const SPAWNS: usize = 10_000;

/// The busy runtimes' load, as with the four workers there.
const BUSY1_TASKS: usize = 8;
const BUSY2_TASKS: usize = 4;
const STALL: Duration = Duration::from_micros(10);

const YIELDING_TASKS: usize = 200;
const YIELDS: usize = 1_000;
const PINGS: usize = 1_000;
const CHAIN: usize = 1_000;

/// Who comes last says so.
struct Countdown {
    left: AtomicUsize,
    done: SyncSender<()>,
}

impl Countdown {
    fn new() -> (Arc<Self>, Receiver<()>) {
        let (done, receiver) = sync_channel(1_000);
        (Arc::new(Countdown { left: AtomicUsize::new(0), done }), receiver)
    }

    fn arrive(&self) {
        if self.left.fetch_sub(1, Relaxed) == 1 {
            self.done.send(()).expect("the iteration waits for this");
        }
    }

    /// Waits for the last one; errs if more have arrived than there are.
    fn wait(&self, receiver: &Receiver<()>) -> Result<(), String> {
        receiver.recv().map_err(|error| error.to_string())?;
        match self.left.load(Relaxed) {
            0 => Ok(()),
            left => Err(format!("a task ran twice: {left} are left")),
        }
    }
}

pub(super) fn spawn_many_local<R: Runtime>(runtime: &R, settings: &Settings) -> Result<f64, String> {
    let (countdown, done) = Countdown::new();
    repeat(settings, SPAWNS, || {
        countdown.left.store(SPAWNS, Relaxed);
        runtime.block_on(async {
            for _ in 0..SPAWNS {
                let countdown = Arc::clone(&countdown);
                R::forget(R::spawn(async move { countdown.arrive() }));
            }
            countdown.wait(&done)
        })
    })
}

/// Spawns `count` tasks from outside, again and again, and waits for the end of each.
fn spawn_and_join<R: Runtime>(runtime: &R, count: usize, settings: &Settings) -> Result<f64, String> {
    let mut tasks = Vec::with_capacity(count);
    repeat(settings, count, || {
        for _ in 0..count {
            tasks.push(runtime.spawn_from_outside(async {}));
        }
        runtime.block_on(async {
            for task in tasks.drain(..) {
                task.await;
            }
        });
        Ok(())
    })
}

pub(super) fn spawn_many_remote_idle<R: Runtime>(runtime: &R, settings: &Settings) -> Result<f64, String> {
    spawn_and_join(runtime, SPAWNS, settings)
}

/// Busy with tasks that take their time and yield.
pub(super) fn spawn_many_remote_busy1<R: Runtime>(runtime: &R, settings: &Settings) -> Result<f64, String> {
    let busy = Arc::new(AtomicBool::new(true));
    for _ in 0..BUSY1_TASKS {
        let busy = Arc::clone(&busy);
        R::forget(runtime.spawn_from_outside(async move {
            while busy.load(Relaxed) {
                R::yield_now().await;
                stall();
            }
        }));
    }
    let time = spawn_and_join(runtime, SPAWNS, settings);
    busy.store(false, Relaxed);
    time
}

/// Busy with tasks that take their time and spawn their successor.
pub(super) fn spawn_many_remote_busy2<R: Runtime>(runtime: &R, settings: &Settings) -> Result<f64, String> {
    fn succeed<R: Runtime>(busy: Arc<AtomicBool>) {
        R::forget(R::spawn(async move {
            if busy.load(Relaxed) {
                stall();
                succeed::<R>(busy);
            }
        }));
    }
    let busy = Arc::new(AtomicBool::new(true));
    for _ in 0..BUSY2_TASKS {
        let busy = Arc::clone(&busy);
        R::forget(runtime.spawn_from_outside(async move { succeed::<R>(busy) }));
    }
    let time = spawn_and_join(runtime, SPAWNS / 10, settings);
    busy.store(false, Relaxed);
    time
}

/// Keeps a worker, but not the processor: with fewer processors than threads somebody else may go on.
fn stall() {
    let start = Instant::now();
    while start.elapsed() < STALL {
        thread::yield_now();
    }
}

pub(super) fn yield_many<R: Runtime>(runtime: &R, settings: &Settings) -> Result<f64, String> {
    let (sender, receiver) = sync_channel(YIELDING_TASKS);
    repeat(settings, YIELDING_TASKS * YIELDS, || {
        for _ in 0..YIELDING_TASKS {
            let sender = sender.clone();
            R::forget(runtime.spawn_from_outside(async move {
                for _ in 0..YIELDS {
                    R::yield_now().await;
                }
                sender.send(()).expect("the iteration waits for this");
            }));
        }
        for _ in 0..YIELDING_TASKS {
            receiver.recv().map_err(|error| error.to_string())?;
        }
        Ok(())
    })
}

pub(super) fn ping_pong<R: Runtime>(runtime: &R, settings: &Settings) -> Result<f64, String> {
    async fn pair<R: Runtime>(countdown: Arc<Countdown>) {
        let (ping, pinged) = oneshot::channel();
        let (pong, ponged) = oneshot::channel();
        R::forget(R::spawn(async move {
            pinged.await.expect("the ping was sent");
            pong.send(()).expect("it is waited for");
        }));
        ping.send(()).expect("it is waited for");
        ponged.await.expect("the pong was sent");
        countdown.arrive();
    }
    let (countdown, done) = Countdown::new();
    repeat(settings, PINGS, || {
        countdown.left.store(PINGS, Relaxed);
        runtime.block_on(async {
            let pairs = Arc::clone(&countdown);
            R::forget(R::spawn(async move {
                for _ in 0..PINGS {
                    R::forget(R::spawn(pair::<R>(Arc::clone(&pairs))));
                }
            }));
            countdown.wait(&done)
        })
    })
}

pub(super) fn chained_spawn<R: Runtime>(runtime: &R, settings: &Settings) -> Result<f64, String> {
    fn link<R: Runtime>(done: SyncSender<()>, left: usize) {
        if left == 0 {
            done.send(()).expect("the iteration waits for this");
        } else {
            R::forget(R::spawn(async move { link::<R>(done, left - 1) }));
        }
    }
    let (done, last) = sync_channel(1);
    repeat(settings, CHAIN, || {
        runtime.block_on(async {
            let done = done.clone();
            R::forget(R::spawn(async move { link::<R>(done, CHAIN) }));
            last.recv().map_err(|error| error.to_string())
        })
    })
}
