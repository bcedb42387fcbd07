//! Lanes, over every feed: owners and leaders, closing, identity through the kernel, many threads.
#![cfg(not(egret_loom))]

mod feeds_support;
#[path = "../../tests/support/watchdog.rs"]
mod watchdog;

use egret_reactor::{CachedFd, Counter, Event, Eventpoll, Events, Fd, FeedChoice, Lanes};
use feeds_support::{NOW, PATIENCE, feeds, pair, tcp_pair, until, wait};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use watchdog::Watchdog;

type Order = Box<dyn FnOnce(&Eventpoll) + Send>;

/// A worker that owns a lane and runs what it is sent; between orders it waits on the instance.
struct Worker {
    orders: mpsc::Sender<Order>,
    poll: Eventpoll,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Worker {
    fn start(lanes: &Lanes, poll: &Eventpoll) -> Self {
        let (orders, inbox) = mpsc::channel::<Order>();
        let stop = Arc::new(AtomicBool::new(false));
        let lane = lanes.add_lane().unwrap();
        let thread = {
            let (poll, stop) = (poll.clone(), stop.clone());
            thread::spawn(move || {
                let _owner = lane.enter();
                let mut events = [Event::default(); 16];
                while !stop.load(Ordering::SeqCst) {
                    while let Ok(order) = inbox.try_recv() {
                        order(&poll);
                    }
                    poll.wait_notified(&mut events, None).unwrap();
                }
            })
        };
        Self { orders, poll: poll.clone(), stop, thread: Some(thread) }
    }

    fn run<R: Send + 'static>(&self, order: impl FnOnce(&Eventpoll) -> R + Send + 'static) -> R {
        let (answer, result) = mpsc::channel();
        self.orders.send(Box::new(move |poll| drop(answer.send(order(poll))))).unwrap();
        self.poll.notify_one();
        result.recv_timeout(PATIENCE).unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.poll.notify_one();
        // A test that has failed may have left it busy.
        if !thread::panicking() {
            self.thread.take().unwrap().join().unwrap();
        }
    }
}

fn listener() -> (u16, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    (listener.local_addr().unwrap().port(), listener.into())
}

const ALL: Events = Events::IN.union(Events::OUT).union(Events::PRI).union(Events::RDHUP).union(Events::ET);

#[test]
fn a_listener_frees_its_port_before_close_now_returns() {
    let _watchdog = Watchdog::start();
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let worker = Worker::start(&lanes, &poll);
        let (mut port, mut fd) = listener();
        for round in 0..100 {
            let cached = CachedFd::new(fd);
            let armed = cached.clone();
            worker.run(move |poll| poll.add(&armed, 0, ALL, 1).unwrap());
            match round % 3 {
                // By the thread that armed it, by another while that one blocks, and by another while that one computes.
                0 => worker.run(move |_| cached.close_now()),
                1 => cached.close_now(),
                _ => {
                    let (busy, done) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
                    let (flag, finished) = (busy.clone(), done.clone());
                    worker
                        .orders
                        .send(Box::new(move |_| {
                            finished.store(true, Ordering::SeqCst);
                            while flag.load(Ordering::Relaxed) {
                                std::hint::spin_loop();
                            }
                        }))
                        .unwrap();
                    poll.notify_one();
                    until("the worker computes", || done.load(Ordering::SeqCst));
                    cached.close_now();
                    let again = TcpListener::bind(("127.0.0.1", port));
                    busy.store(false, Ordering::Relaxed);
                    assert!(again.is_ok(), "round {round}: {again:?}");
                }
            }
            let again = TcpListener::bind(("127.0.0.1", port))
                .unwrap_or_else(|error| panic!("{} round {round}: {error}", lanes.feed()));
            again.set_nonblocking(true).unwrap();
            port = again.local_addr().unwrap().port();
            fd = again.into();
        }
    }
}

/// Whether the end of the stream comes, with patience. A thread that has submitted to a ring may be interrupted.
fn ends(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    loop {
        match stream.read(&mut [0; 1]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return matches!(result, Ok(0)),
        }
    }
}

#[test]
fn a_closed_stream_says_so_to_its_peer() {
    let _watchdog = Watchdog::start();
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let worker = Worker::start(&lanes, &poll);
        for foreign in [false, true] {
            let (mut near, far) = tcp_pair();
            let cached = CachedFd::new(OwnedFd::from(far));
            let armed = cached.clone();
            worker.run(move |poll| poll.add(&armed, 0, ALL, 1).unwrap());
            if foreign {
                cached.close();
            } else {
                worker.run(move |_| cached.close());
            }
            assert!(ends(&mut near), "{} foreign={foreign}", lanes.feed());
        }
        // And when the worker is gone.
        let (mut near, far) = tcp_pair();
        let cached = CachedFd::new(OwnedFd::from(far));
        let armed = cached.clone();
        worker.run(move |poll| poll.add(&armed, 0, ALL, 1).unwrap());
        drop(worker);
        cached.close();
        assert!(ends(&mut near), "{} without a worker", lanes.feed());
    }
}

#[test]
fn into_fd_hands_back_an_open_descriptor_that_nobody_watches() {
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let (mut near, far) = pair();
        let cached = CachedFd::new(OwnedFd::from(far));
        poll.add(&cached, 0, ALL, 1).unwrap();
        wait(&poll, NOW);
        let fd = cached.into_fd().unwrap();
        assert_eq!(cached.into_fd().unwrap_err().raw_os_error(), Some(libc::EBADF));
        near.write_all(b"x").unwrap();
        assert!(wait(&poll, NOW).is_empty());
        UnixStream::from(fd).read_exact(&mut [0; 1]).unwrap();
    }
}

#[test]
fn an_answer_for_a_closed_descriptor_never_reaches_its_successor() {
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        for round in 0..200u64 {
            let (mut near, far) = pair();
            let number = far.as_raw_fd();
            let first = CachedFd::new(OwnedFd::from(far));
            poll.add(&first, 0, ALL, round).unwrap();
            wait(&poll, NOW);
            near.write_all(b"x").unwrap(); // its completion is there, unharvested
            first.close_now();
            let (_quiet, far) = pair();
            let second = CachedFd::new(OwnedFd::from(far));
            if second.as_raw_fd() == number {
                second.clear(second.readiness(), Events::IN);
            }
            second.clear(second.readiness(), Events::IN);
            poll.add(&second, 0, ALL, round).unwrap();
            wait(&poll, NOW);
            assert!(!second.readiness().events.contains(Events::IN), "{} round {round}", lanes.feed());
            second.close_now();
        }
    }
}

#[test]
fn arms_outlive_the_thread_that_made_them() {
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let (mut near, far) = pair();
        let far = Arc::new(Fd::new(far).unwrap());
        {
            // This thread submits the arm and ends: on uring the kernel cancels it.
            let (poll, far) = (poll.clone(), far.clone());
            thread::spawn(move || {
                poll.add(&far, 0, Events::IN | Events::ET, 1).unwrap();
                assert!(wait(&poll, NOW).is_empty());
            })
            .join()
            .unwrap();
        }
        for _ in 0..3 {
            near.write_all(b"x").unwrap();
            assert_eq!(wait(&poll, Some(PATIENCE)).len(), 1, "{}", lanes.feed());
            far.get_ref().read_exact(&mut [0; 1]).unwrap();
        }
    }
}

#[test]
fn leadership_passes_on_at_every_exit() {
    let _watchdog = Watchdog::start();
    for lanes in feeds() {
        // Threads outside a pool, each on an instance of its own, share one lane. Whoever leads leaves by timeout, by event
        // or by notification; the others must still hear.
        let threads = 6;
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicUsize::new(0));
        let mut handles = Vec::new();
        let mut ends = Vec::new();
        for number in 0..threads {
            let poll = Eventpoll::with_lanes(&lanes);
            let (near, far) = pair();
            let far = Arc::new(Fd::new(far).unwrap());
            poll.add(&far, 0, Events::IN, number).unwrap();
            let (stop, served, handle) = (stop.clone(), served.clone(), poll.clone());
            ends.push((near, handle));
            handles.push(thread::spawn(move || {
                let mut turn = number;
                while !stop.load(Ordering::SeqCst) {
                    turn += 1;
                    let timeout = match turn % 3 {
                        0 => None,
                        1 => Some(Duration::from_millis(turn % 7)),
                        _ => Some(PATIENCE),
                    };
                    for _event in wait(&poll, timeout) {
                        far.get_ref().read_exact(&mut [0; 1]).unwrap();
                        served.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }));
        }
        let rounds = 200;
        for round in 0..rounds {
            let (near, poll) = &mut ends[round % threads as usize];
            near.write_all(b"x").unwrap();
            if round % 5 == 0 {
                poll.notify_one();
            }
            until("the byte is read", || served.load(Ordering::SeqCst) == round + 1);
        }
        stop.store(true, Ordering::SeqCst);
        for (_, poll) in &ends {
            poll.notify_one();
        }
        for handle in handles {
            handle.join().unwrap();
        }
    }
}

#[test]
fn a_waiter_in_a_feed_hears_of_sources_without_descriptor() {
    let _watchdog = Watchdog::start();
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let worker = Worker::start(&lanes, &poll);
        let counter = Arc::new(Counter::new(0));
        let other = Eventpoll::with_lanes(&lanes);
        other.add(&counter, 0, Events::IN | Events::ET, 1).unwrap();
        let read = Arc::new(AtomicUsize::new(0));
        let writer = {
            let (counter, read) = (counter.clone(), read.clone());
            thread::spawn(move || {
                for round in 0..100 {
                    counter.write(1).unwrap();
                    until("it is read", || read.load(Ordering::SeqCst) > round);
                }
            })
        };
        for _ in 0..100 {
            assert_eq!(wait(&other, Some(PATIENCE)).len(), 1);
            assert_eq!(counter.read().unwrap(), 1);
            read.fetch_add(1, Ordering::SeqCst);
        }
        writer.join().unwrap();
        drop(worker);
    }
}

#[test]
fn an_interrupt_ends_the_owners_wait_now_or_next() {
    let _watchdog = Watchdog::start();
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let lane = lanes.add_lane().unwrap();
        let owner = {
            let (poll, lane) = (poll.clone(), lane.clone());
            thread::spawn(move || {
                let _owner = lane.enter();
                for _ in 0..50 {
                    let woken = poll.wait_notified(&mut [Event::default(); 4], None).unwrap();
                    assert!(!woken.notified);
                }
            })
        };
        let deadline = Instant::now() + PATIENCE;
        while !owner.is_finished() {
            lane.interrupt();
            thread::yield_now();
            assert!(Instant::now() < deadline);
        }
        owner.join().unwrap();
    }
}

#[test]
fn many_descriptors_many_threads_nothing_lost_under_et() {
    let _watchdog = Watchdog::start();
    for lanes in feeds() {
        let poll = Eventpoll::with_lanes(&lanes);
        let pairs: Vec<_> = (0..40).map(|_| pair()).collect();
        let mut nears = Vec::new();
        let mut fars = Vec::new();
        for (number, (near, far)) in pairs.into_iter().enumerate() {
            let far = Arc::new(Fd::new(far).unwrap());
            poll.add(&far, 0, Events::IN | Events::ONESHOT, number as u64).unwrap();
            nears.push(near);
            fars.push(far);
        }
        let fars = Arc::new(fars);
        let read = Arc::new(AtomicUsize::new(0));
        let total = 40 * 100;
        let handles: Vec<_> = (0..4)
            .map(|_| {
                let (poll, fars, read) = (poll.clone(), fars.clone(), read.clone());
                thread::spawn(move || {
                    while read.load(Ordering::SeqCst) < total {
                        for event in wait(&poll, Some(Duration::from_millis(100))) {
                            let far = &fars[event.data as usize];
                            let mut buffer = [0; 7];
                            match far.get_ref().read(&mut buffer) {
                                Ok(n) => {
                                    read.fetch_add(n, Ordering::SeqCst);
                                }
                                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                            }
                            poll.modify(far, 0, Events::IN | Events::ONESHOT, event.data).unwrap();
                        }
                    }
                })
            })
            .collect();
        for _ in 0..100 {
            for near in &mut nears {
                near.write_all(b"x").unwrap();
            }
        }
        until("everything is read", || read.load(Ordering::SeqCst) == total);
        for handle in handles {
            handle.join().unwrap();
        }
    }
}

#[test]
fn a_feed_that_does_not_exist_is_an_error_that_names_it() {
    assert!("uring2".parse::<FeedChoice>().unwrap_err().to_string().contains("uring2"));
}
