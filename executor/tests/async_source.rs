//! Sources of the reactor, awaited in tasks.

mod support;

use egret_executor::{
    io::{AsyncSource, Direction},
    spawn,
    time::timeout,
};
use egret_reactor::{
    Counter, Event, Eventpoll, Events, PollTable, Source, Timer, TryRecvError, WaitQueue, channel,
};
use std::{
    future::poll_fn,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use support::{eventually, runtime};

const MS: Duration = Duration::from_millis(1);
/// Generous: the machines that run this are shared.
const LATE: Duration = Duration::from_secs(20);

/// A source of one's own: a flag.
#[derive(Default)]
struct Light {
    on: AtomicBool,
    queue: WaitQueue,
}

impl Light {
    fn switch(&self, on: bool) {
        self.on.store(on, Ordering::SeqCst);
        if on {
            self.queue.wake(Events::IN);
        }
    }
}

impl Source for Light {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        table.register(&self.queue);
        if self.on.load(Ordering::SeqCst) { Events::IN } else { Events::empty() }
    }
}

#[test]
fn a_source_of_ones_own_wakes_a_task() {
    runtime(2).block_on(async {
        let light = Arc::new(Light::default());
        let source = Arc::new(AsyncSource::new(light.clone()).unwrap());
        assert_eq!(source.level(Events::IN), Events::empty());
        let waiting = {
            let source = source.clone();
            spawn(async move { source.readable().await })
        };
        assert!(timeout(5 * MS, source.readable()).await.is_err(), "it is dark");
        thread::spawn(move || light.switch(true));
        assert_eq!(timeout(LATE, waiting).await.unwrap().unwrap().unwrap(), Events::IN);
        // A level stays: it is told at once, as often as it is asked for.
        for _ in 0..3 {
            assert_eq!(source.readable().await.unwrap(), Events::IN);
        }
        source.switch(false);
        assert!(timeout(5 * MS, source.readable()).await.is_err(), "dark again");
    });
}

#[test]
fn each_direction_is_waited_for_by_itself() {
    runtime(2).block_on(async {
        let counter = Arc::new(Counter::new(0));
        let source = AsyncSource::new(counter.clone()).unwrap();
        assert_eq!(source.writable().await.unwrap(), Events::OUT);
        assert_eq!(source.ready(Events::IN | Events::OUT).await.unwrap(), Events::OUT);
        let writer = thread::spawn(move || counter.write(7).unwrap());
        let read = source.async_io(Events::IN, |counter| counter.read()).await.unwrap();
        assert_eq!(read, 7);
        writer.join().unwrap();
        // Full: not writable until it is read.
        source.write(u64::MAX - 1).unwrap();
        assert!(timeout(5 * MS, source.writable()).await.is_err());
        let polled = poll_fn(|cx| source.poll_ready(cx, Direction::Read)).await.unwrap();
        assert_eq!(polled, Events::IN);
        assert_eq!(source.read().unwrap(), u64::MAX - 1);
        source.writable().await.unwrap();
    });
}

/// Threads that know nothing of tasks on one side, tasks on the other: nothing is lost, and nobody sleeps over an item.
#[test]
fn nothing_that_threads_send_is_slept_over() {
    const THREADS: usize = 3;
    const ITEMS: usize = 20_000;
    let runtime = runtime(2);
    let (sender, receiver) = channel(8);
    let received = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let receiver = Arc::new(AsyncSource::with_interest(receiver, Events::IN).unwrap());
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let (receiver, received) = (receiver.clone(), received.clone());
                spawn(async move {
                    loop {
                        match receiver.try_recv() {
                            Ok(_item) => received.fetch_add(1, Ordering::Relaxed),
                            Err(TryRecvError::Disconnected) => return,
                            Err(_empty) => {
                                receiver.readable().await.unwrap();
                                continue;
                            }
                        };
                    }
                })
            })
            .collect();
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let sender = sender.clone();
                thread::spawn(move || {
                    let mut sent = 0;
                    while sent < ITEMS {
                        match sender.try_send(sent) {
                            Ok(()) => sent += 1,
                            Err(_full) => thread::yield_now(),
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        for task in tasks {
            task.await.unwrap();
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
    assert_eq!(received.load(Ordering::Relaxed), THREADS * ITEMS);
}

/// The change comes, and its event is delivered, after a waiter has looked and before it has stored its waker: the second look finds it.
#[test]
fn a_change_between_the_look_and_the_waker_is_not_lost() {
    type Gate = Box<dyn FnOnce() + Send>;

    #[derive(Default)]
    struct Gated {
        light: Light,
        gate: Mutex<Option<Gate>>,
    }
    impl Source for Gated {
        fn poll(&self, table: &mut PollTable<'_>) -> Events {
            let level = self.light.poll(table);
            let gate = self.gate.lock().unwrap().take();
            if let Some(gate) = gate {
                gate();
            }
            level
        }
    }

    let runtime = runtime(2);
    let gated = Arc::new(Gated::default());
    let source = || AsyncSource::new_in(gated.clone(), Events::IN, runtime.handle()).unwrap();
    // Registered first, so its event is delivered first.
    let (waits, observes) = (source(), source());
    let (seen, is_seen) = std::sync::mpsc::channel();
    let observer = runtime.spawn(async move {
        observes.readable().await.unwrap();
        seen.send(()).unwrap();
    });
    eventually("the observer waits", || runtime.metrics().waiting_tasks == 1);
    let task = runtime.spawn({
        let gated = gated.clone();
        async move {
            let change = gated.clone();
            // Runs in the first look of `readable`, after it has seen darkness.
            *gated.gate.lock().unwrap() = Some(Box::new(move || {
                thread::spawn(move || change.light.switch(true)).join().unwrap();
                is_seen.recv_timeout(LATE).expect("the other worker delivers");
            }));
            waits.readable().await.unwrap()
        }
    });
    let level = runtime.block_on(async { timeout(LATE, task).await.expect("the change was lost").unwrap() });
    assert_eq!(level, Events::IN);
    runtime.block_on(observer).unwrap();
}

#[test]
fn a_timer_and_a_whole_instance_are_sources() {
    runtime(2).block_on(async {
        let timer = Arc::new(Timer::new());
        let inner = Eventpoll::new().unwrap();
        inner.add(&timer, 0, Events::IN | Events::ET, 42).unwrap();
        let source = AsyncSource::new(inner).unwrap();
        timer.set(3 * MS, None).unwrap();
        timeout(LATE, source.readable()).await.unwrap().unwrap();
        let mut events = [Event::default(); 4];
        assert_eq!(source.wait(&mut events, Some(Duration::ZERO)).unwrap(), 1);
        assert_eq!(events[0].data, 42);
        // Delivered, and edge-triggered in there: nothing until it goes off again.
        assert!(timeout(5 * MS, source.readable()).await.is_err());
    });
}

#[test]
fn one_source_may_be_taken_in_several_times() {
    let (one, other) = (runtime(1), runtime(1));
    let light = Arc::new(Light::default());
    let sources: Vec<_> = [one.handle(), one.handle(), other.handle()]
        .map(|handle| AsyncSource::new_in(light.clone(), Events::IN, handle).unwrap())
        .into_iter()
        .collect();
    light.switch(true);
    for (source, runtime) in sources.iter().zip([&one, &one, &other]) {
        runtime.block_on(async { timeout(LATE, source.readable()).await.unwrap().unwrap() });
    }
}

#[test]
fn a_future_that_is_dropped_takes_its_waker_along_and_a_source_its_slot() {
    let runtime = runtime(1);
    runtime.block_on(async {
        let source = AsyncSource::new(Arc::new(Light::default())).unwrap();
        for _ in 0..1_000 {
            assert!(timeout(Duration::ZERO, source.readable()).await.is_err());
        }
        let light = source.into_inner();
        assert_eq!(Arc::strong_count(&light), 1, "the runtime keeps nothing of it");
        for _ in 0..1_000 {
            drop(AsyncSource::new(light.clone()).unwrap());
        }
        assert_eq!(Arc::strong_count(&light), 1);
    });
}

#[test]
fn the_end_of_the_runtime_is_an_error_for_who_waits() {
    let runtime = runtime(2);
    let source =
        Arc::new(AsyncSource::new_in(Arc::new(Light::default()), Events::IN, runtime.handle()).unwrap());
    let (result, waits) = std::sync::mpsc::channel();
    let other = self::runtime(1);
    let task = {
        let source = source.clone();
        other.spawn(async move {
            let error = source.readable().await.unwrap_err();
            result.send(error.kind()).unwrap();
        })
    };
    eventually("the task waits", || other.metrics().waiting_tasks == 1);
    drop(runtime);
    assert_eq!(waits.recv_timeout(LATE).unwrap(), io::ErrorKind::Other);
    other.block_on(task).unwrap();
    let error = other.block_on(async { source.readable().await.unwrap_err() });
    assert_eq!(error.kind(), io::ErrorKind::Other);
    assert!(AsyncSource::new(Arc::new(Light::default())).is_err(), "outside of a runtime");
}

#[test]
fn what_was_interrupted_is_done_again() {
    runtime(1).block_on(async {
        let counter = AsyncSource::new(Arc::new(Counter::new(7))).unwrap();
        let mut signals = 2;
        let mut interrupted = |counter: &Arc<Counter>| {
            if signals > 0 {
                signals -= 1;
                return Err(io::ErrorKind::Interrupted.into());
            }
            counter.read()
        };
        let read = timeout(LATE, counter.async_io(Events::IN, &mut interrupted)).await.unwrap();
        assert_eq!(read.unwrap(), 7);
        counter.write(8).unwrap();
        signals = 2;
        let tried = counter.try_io(Events::IN, |counter| {
            if signals > 0 {
                signals -= 1;
                return Err(io::ErrorKind::Interrupted.into());
            }
            counter.read()
        });
        assert_eq!(tried.unwrap(), 8);
        assert_eq!(signals, 0);
    });
}

#[test]
fn trying_makes_the_call_only_if_the_source_is_ready() {
    runtime(1).block_on(async {
        let light = AsyncSource::new(Arc::new(Light::default())).unwrap();
        let mut calls = 0;
        let dark = light.try_io(Events::IN, |_| -> io::Result<()> {
            calls += 1;
            Ok(())
        });
        assert_eq!(dark.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        light.switch(true);
        light
            .try_io(Events::IN, |_| {
                calls += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(calls, 1);
    });
}

/// What a user's `poll` throws reaches whoever asked, and leaves nothing behind.
#[test]
fn a_source_that_panics_is_its_callers_problem() {
    struct Broken;
    impl Source for Broken {
        fn poll(&self, _: &mut PollTable<'_>) -> Events {
            panic!("on purpose");
        }
    }
    let runtime = runtime(1);
    let _entered = runtime.enter();
    let broken = Arc::new(Broken);
    assert!(catch_unwind(AssertUnwindSafe(|| AsyncSource::new(broken.clone()))).is_err());
    assert_eq!(Arc::strong_count(&broken), 1);
    assert_eq!(runtime.block_on(runtime.spawn(async { 1 })).unwrap(), 1);
}

#[test]
fn many_sources_in_one_runtime() {
    let runtime = runtime(2);
    let sum = Arc::new(AtomicUsize::new(0));
    let lights: Vec<_> = (0..500).map(|_| Arc::new(Light::default())).collect();
    for light in &lights {
        let (source, sum) =
            (AsyncSource::new_in(light.clone(), Events::IN, runtime.handle()).unwrap(), sum.clone());
        drop(runtime.spawn(async move {
            source.readable().await.unwrap();
            sum.fetch_add(1, Ordering::Relaxed);
        }));
    }
    for light in &lights {
        light.switch(true);
    }
    eventually("all lights were seen", || sum.load(Ordering::Relaxed) == lights.len());
}

#[test]
fn it_goes_to_any_thread() {
    fn to_any_thread<T: Send + Sync>() {}
    to_any_thread::<AsyncSource<Arc<Counter>>>();
    to_any_thread::<AsyncSource<Arc<dyn Source>>>();
    to_any_thread::<egret_executor::io::SourceReady<'static, Eventpoll>>();
}
