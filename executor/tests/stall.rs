//! A task that blocks its worker delays nobody but itself.
//!
//! Each scene puts something into the hands of one worker, blocks that worker until the test is over, and waits for the
//! something: a runtime whose blocked worker's things wait for their owner fails by the bound, however fast the machine is.

mod support;

use std::{
    future::{Future, poll_fn},
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use egret_executor::{
    Builder, Runtime,
    io::{Direction, Registration},
    spawn,
    task::yield_now,
    time::sleep,
};
use egret_reactor::Events;
use support::{Blocker, Gate, LONG, Watched, eventually, runtime};

/// For what has to happen while a worker is blocked.
const SOON: Duration = Duration::from_secs(10);

/// How a task blocks its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// In the kernel, where a signal would wake it.
    Asleep,
    /// In user space, without a system call.
    Spinning,
}

/// What the other workers do meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// Nothing: they are parked.
    Idle,
    /// One task that yields for ever: they never park.
    Busy,
}

/// A runtime of two workers, one of which is put out of the way until the scene is set.
struct Scene {
    runtime: Watched,
    aside: Option<Blocker>,
    yields: Arc<AtomicBool>,
    busy: Arc<AtomicBool>,
}

impl Scene {
    fn new() -> Self {
        let runtime = runtime(2);
        let aside = Some(Blocker::occupy(&runtime));
        Self { runtime, aside, yields: Arc::default(), busy: Arc::default() }
    }

    /// Blocks the worker that runs everything so far, right after `last` was run on it, and lets the other one go.
    fn stall(&mut self, how: How, others: Others, last: impl FnOnce() + Send + 'static) -> Stalled {
        let (release, released) = mpsc::channel::<()>();
        let over = Arc::new(AtomicBool::new(false));
        let (stalls, has_stalled) = mpsc::channel();
        drop(self.runtime.spawn({
            let over = over.clone();
            async move {
                last();
                stalls.send(thread::current().id()).unwrap();
                match how {
                    How::Asleep => {
                        // An error is the sender's drop.
                        let _ = released.recv_timeout(LONG);
                    }
                    How::Spinning => {
                        let end = Instant::now() + LONG;
                        while !over.load(Ordering::Relaxed) && Instant::now() < end {
                            std::hint::spin_loop();
                        }
                    }
                }
            }
        }));
        let worker = has_stalled.recv_timeout(LONG).expect("it is run by the worker that is left");
        drop(self.aside.take());
        if others == Others::Busy {
            self.yields.store(true, Ordering::SeqCst);
            let (yields, busy) = (self.yields.clone(), self.busy.clone());
            drop(self.runtime.spawn(async move {
                while yields.load(Ordering::Relaxed) {
                    busy.store(true, Ordering::Relaxed);
                    yield_now().await;
                }
            }));
            eventually("the other worker is busy", || self.busy.load(Ordering::Relaxed));
        }
        Stalled { worker, over, _release: release }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.yields.store(false, Ordering::SeqCst);
    }
}

/// The worker is blocked until this is dropped.
struct Stalled {
    worker: ThreadId,
    over: Arc<AtomicBool>,
    _release: mpsc::Sender<()>,
}

impl Drop for Stalled {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

/// Runs a scene in all its variants.
fn everywhere(scene: impl Fn(How, Others)) {
    for how in [How::Asleep, How::Spinning] {
        for others in [Others::Idle, Others::Busy] {
            println!("{how:?}, others {others:?}");
            scene(how, others);
        }
    }
}

/// A socket of the runtime.
struct Socket {
    stream: UnixStream,
    registration: Registration,
}

/// A socket of the current runtime and its blocking peer.
fn pair() -> (Socket, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_read_timeout(Some(SOON)).unwrap();
    let registration = Registration::new(OwnedFd::from(near.try_clone().unwrap())).unwrap();
    (Socket { stream: near, registration }, far)
}

impl Socket {
    /// Sends back each byte; tells on which thread, and counts how often it has found none. Ends with the peer.
    async fn echo(self, threads: mpsc::Sender<ThreadId>, blocks: Arc<AtomicUsize>) {
        loop {
            let mut byte = [0];
            let read = self.registration.async_io(Direction::Read, || {
                let read = (&self.stream).read(&mut byte);
                if read.is_err() {
                    blocks.fetch_add(1, Ordering::SeqCst);
                }
                read
            });
            if read.await.unwrap() == 0 {
                return;
            }
            // Before the answer; nobody listens at the end of a test.
            let _ = threads.send(thread::current().id());
            (&self.stream).write_all(&byte).unwrap();
        }
    }
}

fn ask(far: &mut UnixStream) {
    far.write_all(&[7]).unwrap();
    let mut byte = [0];
    far.read_exact(&mut byte).expect("it answers while the worker is blocked");
}

/// Asks when the other side has come to wait again, so that it takes an event to answer. When the question was asked.
fn ask_one_that_waits(far: &mut UnixStream, blocks: &AtomicUsize) -> Instant {
    let before = blocks.swap(0, Ordering::SeqCst);
    if before == 0 {
        eventually("it waits", || blocks.swap(0, Ordering::SeqCst) > 0);
    }
    let begin = Instant::now();
    ask(far);
    begin
}

/// Half of thirty answers come within 20 ms. A machine that is busy elsewhere may need several tries.
fn answers_come_soon(mut ask: impl FnMut() -> Duration) {
    let end = Instant::now() + LONG / 2;
    loop {
        let mut times: Vec<Duration> = (0..30).map(|_| ask()).collect();
        times.sort_unstable();
        println!("  median {:?}, worst {:?}", times[times.len() / 2], times[times.len() - 1]);
        if times[times.len() / 2] < Duration::from_millis(20) {
            return;
        }
        assert!(Instant::now() < end, "{times:?}");
    }
}

#[test]
fn a_socket_in_the_lane_of_a_blocked_worker_is_served() {
    everywhere(|how, others| {
        let mut scene = Scene::new();
        let (send, threads) = mpsc::channel();
        let (socket, mut far) = {
            let _entered = scene.runtime.enter();
            pair()
        };
        let blocks = Arc::<AtomicUsize>::default();
        drop(scene.runtime.spawn(socket.echo(send, blocks.clone())));
        // Armed by the worker that has waited with it: in its lane.
        ask(&mut far);
        let armed_by = threads.recv_timeout(LONG).unwrap();
        let stalled = scene.stall(how, others, || {});
        assert_eq!(stalled.worker, armed_by);
        answers_come_soon(|| {
            let begin = ask_one_that_waits(&mut far, &blocks);
            assert_ne!(threads.recv_timeout(LONG).unwrap(), stalled.worker);
            begin.elapsed()
        });
    });
}

/// Set when it is dropped, also by a failed assertion.
#[derive(Default)]
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The other worker has events of its own all the time: it neither stays parked nor runs for long.
#[test]
fn a_worker_with_events_of_its_own_serves_a_blocked_one() {
    for how in [How::Asleep, How::Spinning] {
        let mut scene = Scene::new();
        let (send, threads) = mpsc::channel();
        let (socket, mut far) = {
            let _entered = scene.runtime.enter();
            pair()
        };
        let blocks = Arc::<AtomicUsize>::default();
        drop(scene.runtime.spawn(socket.echo(send, blocks.clone())));
        ask(&mut far);
        let armed_by = threads.recv_timeout(LONG).unwrap();
        let stalled = scene.stall(how, Others::Idle, || {});
        assert_eq!(stalled.worker, armed_by);
        let (send, _threads) = mpsc::channel();
        let over = Over::default();
        thread::scope(|scope| {
            let task = {
                let _entered = scene.runtime.enter();
                let (busy, mut busy_far) = pair();
                let flag = over.0.clone();
                scope.spawn(move || {
                    while !flag.load(Ordering::Relaxed) {
                        ask(&mut busy_far);
                    }
                });
                busy.echo(send, Arc::default())
            };
            drop(scene.runtime.spawn(task));
            let over = over;
            println!("{how:?}");
            answers_come_soon(|| ask_one_that_waits(&mut far, &blocks).elapsed());
            drop(over);
        });
        drop(stalled);
    }
}

/// Sources that are first needed outside the pool are dealt to the workers' lanes in turn, the blocked one's too.
#[test]
fn a_socket_that_is_armed_in_the_lane_of_a_blocked_worker_is_served() {
    everywhere(|how, others| {
        let mut scene = Scene::new();
        let _stalled = scene.stall(how, others, || {});
        let (tell, told) = mpsc::channel();
        let handle = scene.runtime.handle().clone();
        thread::spawn(move || {
            for _ in 0..2 {
                let (socket, mut far) = {
                    let _entered = handle.enter();
                    pair()
                };
                handle.block_on(async {
                    let mut ready = pin!(socket.registration.ready(Events::IN));
                    poll_fn(|cx| {
                        let poll = ready.as_mut().poll(cx);
                        if poll.is_pending() {
                            // Armed, by this thread. Only now there is something to be told.
                            far.write_all(&[7]).unwrap();
                        }
                        poll
                    })
                    .await
                    .unwrap();
                });
                tell.send(()).unwrap();
            }
        });
        for _ in 0..2 {
            told.recv_timeout(SOON).expect("both are told of while the worker is blocked");
        }
    });
}

#[test]
fn a_timer_of_a_blocked_worker_fires() {
    everywhere(|how, others| {
        let mut scene = Scene::new();
        let (fires, fired) = mpsc::channel();
        let (arms, armed) = mpsc::channel();
        drop(scene.runtime.spawn(async move {
            let begin = Instant::now();
            arms.send(thread::current().id()).unwrap();
            sleep(Duration::from_millis(30)).await;
            fires.send((begin.elapsed(), thread::current().id())).unwrap();
        }));
        let armed_by = armed.recv_timeout(LONG).unwrap();
        let stalled = scene.stall(how, others, || {});
        assert_eq!(stalled.worker, armed_by);
        let (late, worker) = fired.recv_timeout(SOON).expect("it fires while the worker is blocked");
        println!("  {late:?} after it was set to 30 ms");
        assert_ne!(worker, stalled.worker);
    });
}

/// From outside the pool timers are spread over the workers' wheels; an interruption of the blocked one is in vain.
#[test]
fn a_timer_that_is_set_for_a_blocked_worker_fires() {
    everywhere(|how, others| {
        let mut scene = Scene::new();
        let _stalled = scene.stall(how, others, || {});
        let (fires, fired) = mpsc::channel();
        let handle = scene.runtime.handle().clone();
        thread::spawn(move || {
            for n in 0..8u64 {
                handle.block_on(sleep(Duration::from_micros(2_000 + n * 1_024)));
                fires.send(()).unwrap();
            }
        });
        for _ in 0..8 {
            fired.recv_timeout(SOON).expect("it fires while the worker is blocked");
        }
    });
}

#[test]
fn a_task_in_the_slot_of_a_blocked_worker_runs() {
    everywhere(|how, others| {
        let mut scene = Scene::new();
        let gate = Gate::default();
        let (runs, ran) = mpsc::channel();
        drop(scene.runtime.spawn({
            let gate = gate.clone();
            async move {
                gate.await;
                runs.send(thread::current().id()).unwrap();
            }
        }));
        eventually("it waits", || gate.was_polled());
        let stalled = scene.stall(how, others, move || gate.open());
        let worker = ran.recv_timeout(SOON).expect("it runs while the worker is blocked");
        assert_ne!(worker, stalled.worker);
    });
}

#[test]
fn tasks_in_the_deque_of_a_blocked_worker_run() {
    everywhere(|how, others| {
        let mut scene = Scene::new();
        let gates: Vec<Gate> = (0..100).map(|_| Gate::default()).collect();
        let ran = Arc::new(AtomicUsize::new(0));
        for gate in gates.clone() {
            let ran = ran.clone();
            drop(scene.runtime.spawn(async move {
                gate.await;
                ran.fetch_add(1, Ordering::SeqCst);
            }));
        }
        eventually("all wait", || gates.iter().all(Gate::was_polled));
        let _stalled = scene.stall(how, others, move || gates.iter().for_each(Gate::open));
        let end = Instant::now() + SOON;
        while ran.load(Ordering::SeqCst) < 100 {
            assert!(
                Instant::now() < end,
                "{} have run while the worker is blocked",
                ran.load(Ordering::SeqCst)
            );
            thread::yield_now();
        }
    });
}

#[test]
fn tasks_spawned_from_outside_run_beside_a_blocked_worker() {
    everywhere(|how, others| {
        let mut scene = Scene::new();
        let _stalled = scene.stall(how, others, || {});
        let (runs, ran) = mpsc::channel();
        for _ in 0..100 {
            let runs = runs.clone();
            drop(scene.runtime.spawn(async move { runs.send(()).unwrap() }));
            ran.recv_timeout(SOON).expect("it runs while the worker is blocked");
        }
    });
}

/// All but one of four are blocked, one after the other, each with a task in its slot.
#[test]
fn the_last_free_worker_serves_three_blocked_ones() {
    let runtime = runtime(4);
    let (runs, ran) = mpsc::channel();
    let blockers: Vec<_> = (0..3)
        .map(|_| {
            let (release, released) = mpsc::channel::<()>();
            let (stalls, has_stalled) = mpsc::channel();
            let runs = runs.clone();
            drop(runtime.spawn(async move {
                drop(spawn(async move { runs.send(()).unwrap() }));
                stalls.send(()).unwrap();
                // An error is the sender's drop.
                let _ = released.recv_timeout(LONG);
            }));
            has_stalled.recv_timeout(LONG).unwrap();
            ran.recv_timeout(SOON).expect("it runs while its spawner's worker is blocked");
            release
        })
        .collect();
    for n in 0..50u64 {
        let (runs, ran) = mpsc::channel();
        drop(runtime.spawn(async move {
            sleep(Duration::from_micros(n * 100)).await;
            runs.send(()).unwrap();
        }));
        ran.recv_timeout(SOON).expect("it runs while three workers are blocked");
    }
    drop(blockers);
}

/// What the watch has cost so far: rounds, waits of all workers, alarms.
fn spent(runtime: &Runtime) -> (u64, u64, u64) {
    let metrics = runtime.metrics();
    let workers = metrics.workers.iter();
    let (rounds, parks) =
        workers.fold((0, 0), |(rounds, parks), w| (rounds + w.watch_rounds, parks + w.parks));
    (rounds, parks, metrics.stall_alarms)
}

#[test]
fn nothing_is_spent_while_all_are_parked() {
    let runtime = runtime(3);
    for _ in 0..3 {
        // Long enough for rounds.
        let blocker = Blocker::occupy(&runtime);
        let before = spent(&runtime);
        eventually("rounds are made while a worker runs", || spent(&runtime).0 > before.0 + 2);
        assert!(spent(&runtime).2 > before.2);
        blocker.release();
        // All park, and the alarm goes off once more at most. A machine that is busy elsewhere may stretch that.
        let end = Instant::now() + LONG;
        let mut before = spent(&runtime);
        loop {
            thread::sleep(Duration::from_millis(200));
            let now = spent(&runtime);
            if now == before {
                break;
            }
            assert!(Instant::now() < end, "rounds or waits go on: {before:?}, {now:?}");
            before = now;
        }
    }
}

#[test]
fn a_blocked_worker_is_counted_as_served() {
    let runtime = runtime(2);
    let served = || runtime.metrics().workers.iter().map(|worker| worker.stalls_served).sum::<u64>();
    let _blocker = Blocker::occupy(&runtime);
    eventually("it is served", || served() > 2);
}

#[test]
fn the_watch_can_be_turned_off_and_slowed_down() {
    let off = Watched::new(Builder::new_multi_thread().worker_threads(2).stall_watch(None));
    let slow = Watched::new(Builder::new_multi_thread().worker_threads(2).stall_watch(Some(LONG)));
    let on = runtime(2);
    let blockers = [&off, &slow, &on].map(|runtime| Blocker::occupy(runtime));
    eventually("three rounds are made", || spent(&on).0 >= 3);
    assert_eq!((spent(&off).0, spent(&off).2), (0, 0));
    // The first one is due when the runtime starts.
    assert!(spent(&slow).0 <= 1);
    drop(blockers);
}

#[test]
fn any_interval_will_do() {
    for interval in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let runtime = Watched::new(Builder::new_multi_thread().worker_threads(2).stall_watch(Some(interval)));
        let _blocker = Blocker::occupy(&runtime);
        let (runs, ran) = mpsc::channel();
        drop(runtime.spawn(async move {
            sleep(Duration::from_millis(1)).await;
            runs.send(()).unwrap();
        }));
        ran.recv_timeout(SOON).unwrap();
    }
}

/// A worker is blocked while the runtime ends; it is joined when it is let go, and the watch doesn't outlive it.
#[test]
fn a_runtime_ends_while_a_worker_is_blocked() {
    let runtime = runtime(2);
    let blocker = Blocker::occupy(&runtime);
    eventually("it is watched", || spent(&runtime).0 > 2);
    let (ended, has_ended) = mpsc::channel();
    let ending = thread::spawn(move || {
        drop(runtime);
        ended.send(()).unwrap();
    });
    assert!(has_ended.recv_timeout(Duration::from_millis(50)).is_err(), "it waits for its worker");
    blocker.release();
    has_ended.recv_timeout(SOON).expect("the runtime ends");
    ending.join().unwrap();
}

/// What the workers do to the alarm on their way out must not keep the runtime from ending.
#[test]
fn a_runtime_ends_whatever_the_interval() {
    for round in 0..200u64 {
        let interval = [Duration::MAX, Duration::from_millis(1), LONG, Duration::ZERO][round as usize % 4];
        let runtime = Watched::new(Builder::new_multi_thread().worker_threads(2).stall_watch(Some(interval)));
        let (ended, has_ended) = mpsc::channel();
        for _ in 0..4 {
            drop(runtime.spawn(async move {
                loop {
                    sleep(Duration::from_micros(round * 10)).await;
                    yield_now().await;
                }
            }));
        }
        thread::spawn(move || {
            drop(runtime);
            ended.send(()).unwrap();
        });
        has_ended.recv_timeout(SOON).expect("the runtime ends");
    }
}

/// Blocks whoever wakes it, until the other end of `end` is dropped.
struct BlockingWaker {
    called: mpsc::Sender<()>,
    end: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl std::task::Wake for BlockingWaker {
    fn wake(self: Arc<Self>) {
        self.called.send(()).unwrap();
        let end = self.end.lock().unwrap();
        let _ended = end.recv_timeout(LONG);
    }
}

/// The alarm wakes a second worker, as a searcher. It serves the first, and a waker of the first one's timer blocks it, too. The third
/// has to hear of a new task all the same.
#[test]
fn a_worker_that_is_blocked_by_a_waker_while_it_serves_another_keeps_nobody_asleep() {
    let runtime = runtime(3);
    let (called, was_called) = mpsc::channel();
    let (let_go, end) = mpsc::channel();
    let (let_first_go, first_end) = mpsc::channel::<()>();
    let waker = Arc::new(BlockingWaker { called, end: std::sync::Mutex::new(end) }).into();
    drop(runtime.spawn(async move {
        let mut late = pin!(sleep(Duration::from_millis(20)));
        assert!(late.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        let _ended = first_end.recv_timeout(LONG);
    }));
    was_called.recv_timeout(SOON).expect("the timer fires while its worker is blocked");
    let (ran, has_run) = mpsc::channel();
    drop(runtime.spawn(async move { ran.send(()) }));
    let result = has_run.recv_timeout(SOON);
    drop::<mpsc::Sender<()>>(let_go);
    drop(let_first_go);
    result.expect("the third worker is free");
}
