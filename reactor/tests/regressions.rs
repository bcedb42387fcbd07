//! Bugs that the engine has had, and must not have again: each test shows one.
//!
//! The model: `RUSTFLAGS="--cfg egret_loom" cargo test -p egret-reactor --release --test regressions`

#[cfg(egret_loom)]
mod loom_common;

#[cfg(egret_loom)]
mod models {
    use super::loom_common::{Lamp, bounded_model, with};
    use egret_reactor::{Eventpoll, Events};

    /// The topology forgets a closing instance before its hooks are gone. An ADD in between closes a circle of hooks, and a
    /// walk around it meets the queue's lock that it holds.
    #[test]
    fn a_closing_instance_is_forgotten_before_its_hooks() {
        bounded_model(2, || {
            let [outer, middle, inner] = std::array::from_fn(|_| Eventpoll::new().unwrap());
            let lamp = Lamp::new(0);
            outer.add(&middle, 0, Events::IN, 1).unwrap();
            middle.add(&inner, 0, Events::IN, 2).unwrap();
            inner.add(&lamp, 0, Events::IN, 3).unwrap();
            let flash = with(&lamp, |lamp| lamp.flash());
            let add = with(&[inner.clone(), outer.clone()], |[inner, outer]| {
                // Refused as long as the way through `middle` is known.
                let _allowed = inner.add(&outer, 0, Events::IN, 4);
            });
            drop(middle);
            flash.join().unwrap();
            add.join().unwrap();
        });
    }
}

#[cfg(not(egret_loom))]
mod rules_common;

#[cfg(not(egret_loom))]
mod found {
    use super::rules_common::{BOUND, Waiting, Watchdog, bounded, instance, until, waiters};
    use egret_reactor::{Event, Eventpoll, Events, Fd, FeedChoice, Lanes, PollTable, Source, WaitQueue};
    use std::collections::BTreeSet;
    use std::io::Write;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, mpsc};
    use std::thread;
    use std::time::{Duration, Instant};

    fn pipe() -> (OwnedFd, OwnedFd) {
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors; the result is checked.
        assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) }, 0);
        // SAFETY: they are new and nobody else's.
        unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) }
    }

    fn fill(end: &OwnedFd) {
        let block = [0u8; 4096];
        // SAFETY: the buffer is as long as said.
        while unsafe { libc::write(end.as_raw_fd(), block.as_ptr().cast(), block.len()) } > 0 {}
    }

    /// From outside a pool descriptors are dealt to the workers' lanes in turn: with two lanes each serves half.
    #[test]
    fn descriptors_are_dealt_to_both_of_two_lanes() {
        bounded(|| {
            let lanes = Lanes::new(FeedChoice::Auto).unwrap();
            let [first, second] = [lanes.add_lane().unwrap(), lanes.add_lane().unwrap()];
            let poll = Eventpoll::with_lanes(&lanes);
            let pairs: Vec<_> = (0..8).map(|_| UnixStream::pair().unwrap()).collect();
            let fds: Vec<_> =
                pairs.iter().map(|(near, _)| Arc::new(Fd::new(near.try_clone().unwrap()).unwrap())).collect();
            for (data, fd) in fds.iter().enumerate() {
                poll.add(fd, 0, Events::IN | Events::ET, data as u64).unwrap();
            }
            for (_, far) in &pairs {
                (&*far).write_all(b"x").unwrap();
            }
            let mut served = Vec::new();
            for lane in [&first, &second] {
                let _owner = lane.enter();
                // A set, since feeds that tell levels may tell one again.
                let mut heard = BTreeSet::new();
                let hear = |heard: &mut BTreeSet<u64>| {
                    let mut events = [Event::default(); 16];
                    let count = poll.wait(&mut events, Some(Duration::from_millis(20))).unwrap();
                    heard.extend(events[..count].iter().map(|event| event.data));
                };
                let end = Instant::now() + BOUND;
                while heard.len() < 4 && Instant::now() < end {
                    hear(&mut heard);
                }
                // And of no others.
                (0..5).for_each(|_| hear(&mut heard));
                served.push(heard.len());
            }
            assert_eq!(served, [4, 4]);
        });
    }

    /// The arms of a full pipe's writer: the one that hears OUT was submitted by a thread that computes, so its answer is late;
    /// meanwhile an interest in IN makes an arm that from now on speaks for everybody, and has swallowed the error as what it
    /// started with.
    #[test]
    fn an_error_is_heard_by_who_was_there_when_a_new_arm_takes_over_speaking() {
        bounded(|| {
            for round in 0..40 {
                let lanes = Lanes::new(FeedChoice::Auto).unwrap();
                let poll = Eventpoll::with_lanes(&lanes);
                let (reader, writer) = pipe();
                fill(&writer);
                let writer = Arc::new(Fd::new(writer).unwrap());
                let (armed, is_armed) = mpsc::channel();
                let stop = Arc::new(AtomicBool::new(false));
                let arms = {
                    let (poll, writer, stop) = (poll.clone(), writer.clone(), stop.clone());
                    thread::spawn(move || {
                        poll.add(&writer, 0, Events::OUT, 1).unwrap();
                        armed.send(()).unwrap();
                        while !stop.load(Ordering::Relaxed) {
                            std::hint::spin_loop();
                        }
                    })
                };
                is_armed.recv().unwrap();
                drop(reader);
                poll.add(&writer, 1, Events::IN, 2).unwrap();
                let mut seen = Vec::new();
                let end = Instant::now() + BOUND / 2;
                while Instant::now() < end && !seen.contains(&1) {
                    let mut events = [Event::default(); 8];
                    let n = poll.wait(&mut events, Some(Duration::ZERO)).unwrap();
                    seen.extend(events[..n].iter().map(|event| event.data));
                }
                stop.store(true, Ordering::Relaxed);
                arms.join().unwrap();
                assert!(seen.contains(&1), "lost in round {round}: {seen:?}");
            }
        });
    }

    /// A hang-up concerns everybody: the kernel's walk (`sock_def_wakeup`) is one that exclusive hooks don't end.
    #[test]
    fn a_hang_up_reaches_every_exclusive_waiter() {
        let (near, far) = UnixStream::pair().unwrap();
        let near = Arc::new(Fd::new(near).unwrap());
        let [a, b] = [instance(), instance()];
        a.add(&near, 0, Events::IN | Events::EXCLUSIVE, 1).unwrap();
        b.add(&near, 0, Events::IN | Events::EXCLUSIVE, 2).unwrap();
        let _waiting = [Waiting::start(&a, 1), Waiting::start(&b, 1)];
        drop(far);
        let end = Instant::now() + BOUND;
        while Instant::now() < end && waiters(&a) + waiters(&b) > 0 {
            thread::yield_now();
        }
        let asleep = [waiters(&a), waiters(&b)];
        a.notify_one();
        b.notify_one();
        assert_eq!(asleep, [0, 0]);
    }

    /// The kernel's answer to the same question.
    #[test]
    fn the_kernel_wakes_every_exclusive_waiter_at_a_hang_up() {
        let (near, far) = UnixStream::pair().unwrap();
        let waits: Vec<_> = (0..2)
            .map(|_| {
                // SAFETY: no memory of ours but one event, which outlives the call; results are checked.
                unsafe {
                    let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
                    let events = (libc::EPOLLIN | libc::EPOLLEXCLUSIVE) as u32;
                    let mut event = libc::epoll_event { events, u64: 0 };
                    assert_eq!(libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, near.as_raw_fd(), &mut event), 0);
                    thread::spawn(move || {
                        let mut event = libc::epoll_event { events: 0, u64: 0 };
                        libc::epoll_wait(epoll, &mut event, 1, BOUND.as_millis() as i32)
                    })
                }
            })
            .collect();
        thread::sleep(Duration::from_millis(100));
        drop(far);
        let woken: Vec<_> = waits.into_iter().map(|wait| wait.join().unwrap()).collect();
        assert_eq!(woken, [1, 1]);
    }

    /// The drop of a source that a wait kept alive runs before the thread has handed on the lead: a follower that the drop
    /// waits for sleeps behind nobody.
    #[test]
    fn the_lead_is_handed_on_before_a_users_drop_runs() {
        let _watchdog = Watchdog::start();
        struct Last {
            queue: WaitQueue,
            polls: AtomicUsize,
            /// The second poll, the delivery's, lets go of what it finds here.
            held: Arc<Mutex<Option<Arc<Last>>>>,
            far: UnixStream,
            follower: Eventpoll,
            told: mpsc::Sender<bool>,
        }
        impl Source for Last {
            fn poll(&self, table: &mut PollTable<'_>) -> Events {
                table.register(&self.queue);
                if self.polls.fetch_add(1, Ordering::SeqCst) == 1 {
                    let held = self.held.lock().unwrap().take();
                    drop(held);
                }
                Events::IN
            }
        }
        impl Drop for Last {
            fn drop(&mut self) {
                (&self.far).write_all(b"x").unwrap();
                let end = Instant::now() + BOUND / 2;
                while waiters(&self.follower) > 0 && Instant::now() < end {
                    thread::sleep(Duration::from_millis(5));
                }
                self.told.send(waiters(&self.follower) == 0).unwrap();
            }
        }
        let lanes = Lanes::new(FeedChoice::Auto).unwrap();
        let [a, b] = [Eventpoll::with_lanes(&lanes), Eventpoll::with_lanes(&lanes)];
        let (near, far) = UnixStream::pair().unwrap();
        let near = Arc::new(Fd::new(near).unwrap());
        b.add(&near, 0, Events::IN, 9).unwrap();
        let leader = Waiting::start(&a, 4);
        thread::sleep(Duration::from_millis(20));
        let follower = Waiting::start(&b, 4);
        thread::sleep(Duration::from_millis(20));
        let (told, awake) = mpsc::channel();
        let held = Arc::new(Mutex::new(None));
        let (queue, polls) = (WaitQueue::new(), AtomicUsize::new(0));
        let last = Arc::new(Last { queue, polls, held: held.clone(), far, follower: b.clone(), told });
        *held.lock().unwrap() = Some(last.clone());
        let weak = Arc::downgrade(&last);
        let adding = last.clone();
        drop(last);
        // Only the reference in `held` must be left when the delivery lets go of it: the lists are shown ready by ADD, and
        // the leader's poll is kept out until ADD has let go of its own.
        a.add(&adding, 0, Events::IN | Events::ET, 1).unwrap();
        drop(adding);
        let awake = awake.recv_timeout(BOUND).unwrap();
        assert_eq!(weak.strong_count(), 0);
        assert_eq!(leader.data(), [1]);
        assert_eq!(follower.data(), [9]);
        assert!(awake, "the follower slept on, though its descriptor was readable");
    }

    /// An `Fd` keeps the rings of lanes that nobody else has any more.
    #[test]
    fn an_fd_lets_go_of_lanes_that_are_gone() {
        let (near, _far) = UnixStream::pair().unwrap();
        let near = Arc::new(Fd::new(near).unwrap());
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let round = || {
            let lanes = Lanes::new(FeedChoice::Auto).unwrap();
            let poll = Eventpoll::with_lanes(&lanes);
            poll.add(&near, 0, Events::IN, 1).unwrap();
            poll.remove(&near, 0).unwrap();
        };
        round();
        let before = open();
        for _ in 0..40 {
            round();
        }
        // Tests beside this one open some, too, and close them again.
        until("the rings are closed", || open() < before + 30);
    }

    /// After DEL nobody asks for the descriptor any more: what arrives there wakes no thread.
    #[test]
    fn what_arrives_at_a_removed_interest_wakes_nobody() {
        let _watchdog = Watchdog::start();
        fn switches(task: &str) -> u64 {
            let status = std::fs::read_to_string(format!("/proc/self/task/{task}/status")).unwrap();
            let (_, rest) = status.split_once("\nvoluntary_ctxt_switches:").unwrap();
            rest.lines().next().unwrap().trim().parse().unwrap()
        }
        let lanes = Lanes::new(FeedChoice::Auto).unwrap();
        let poll = Eventpoll::with_lanes(&lanes);
        let (near, far) = UnixStream::pair().unwrap();
        let near = Arc::new(Fd::new(near).unwrap());
        poll.add(&near, 0, Events::IN, 1).unwrap();
        poll.remove(&near, 0).unwrap();
        let (say, heard) = mpsc::channel();
        let waiting = {
            let poll = poll.clone();
            thread::spawn(move || {
                // SAFETY: takes nothing, can't fail.
                say.send(unsafe { libc::gettid() }.to_string()).unwrap();
                poll.wait(&mut [Event::default(); 1], None).unwrap()
            })
        };
        let task = heard.recv().unwrap();
        until("waits", || waiters(&poll) == 1);
        thread::sleep(Duration::from_millis(20));
        let before = switches(&task);
        for _ in 0..50 {
            (&far).write_all(b"x").unwrap();
            thread::sleep(Duration::from_millis(2));
        }
        let woken = switches(&task) - before;
        poll.notify_one();
        assert_eq!(waiting.join().unwrap(), 0);
        assert!(woken < 10, "woken {woken} times for 50 arrivals that nobody asked for");
    }

    /// Chains are looked at once for each parallel edge: a fourth power, under the process's topology lock.
    #[test]
    fn parallel_edges_do_not_multiply_the_loop_check() {
        let chain: Vec<_> = (0..5).map(|_| instance()).collect();
        // Of this thread alone: others may want the processor, too.
        let worked = || {
            let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: `time` is valid and may be written.
            assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
            Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
        };
        let mut took = Vec::new();
        for pair in chain.windows(2).rev() {
            let begin = worked();
            for tag in 0..30 {
                pair[0].add(&pair[1], tag, Events::IN, 0).unwrap();
            }
            took.push(worked() - begin);
        }
        // The same work but for the look: from the second to the third link and on it may grow with the length of the chain.
        assert!(took[3] < took[1] * 20 + Duration::from_millis(20), "{took:?}");
    }

    /// A child makes its own instances: the process's default lanes are the parent's.
    #[test]
    fn a_child_gets_default_lanes_of_its_own() {
        let _watchdog = Watchdog::start();
        let _parents = Eventpoll::new().unwrap();
        // SAFETY: the child makes system calls and allocates; it ends with `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let made = Eventpoll::new();
            let works = made.and_then(|poll| poll.wait(&mut [Event::default(); 1], Some(Duration::ZERO)));
            if let Err(error) = &works {
                eprintln!("in the child: {error}");
            }
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(works.is_err())) };
        }
        assert!(child > 0);
        let mut status = 0;
        // SAFETY: waits for our child.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "as the error advises");
    }
}
