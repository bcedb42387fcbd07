//! What keeps a worker, where, and what that may cost the others: the corners that `stall` doesn't go into.

mod support;

use std::{
    collections::VecDeque,
    future::{Future, pending, poll_fn},
    io::{self, Read},
    os::{fd::OwnedFd, unix::net::UnixStream},
    pin::{Pin, pin},
    sync::mpsc,
    thread,
    time::Duration,
};

use egret_executor::{
    Builder, Runtime,
    io::{Direction, Registration},
    runtime::FeedChoice,
    spawn,
    task::yield_now,
    time::sleep,
};
use support::{Blocker, LONG, Watched, eventually, runtime};

/// For what has to happen while a worker is blocked.
const SOON: Duration = Duration::from_secs(10);

/// One after the other, 63 of 64 are blocked, each with one task in its slot and another in its wheel.
#[test]
fn the_last_free_worker_serves_sixty_three_blocked_ones() {
    let runtime = runtime(64);
    let blocked: Vec<_> = (0..63)
        .map(|_| {
            let (release, released) = mpsc::channel::<()>();
            let (runs, ran) = mpsc::channel();
            drop(runtime.spawn(async move {
                let late = runs.clone();
                drop(spawn(async move {
                    sleep(Duration::from_micros(500)).await;
                    late.send(()).unwrap();
                }));
                drop(spawn(async move { runs.send(()).unwrap() }));
                // An error is the sender's drop.
                let _ = released.recv_timeout(LONG);
            }));
            for _ in 0..2 {
                ran.recv_timeout(SOON).expect("they run while their spawner's worker is blocked");
            }
            release
        })
        .collect();
    drop(blocked);
}

/// A task that leaves the next one in the slot, tells, and blocks until the other end of what it told is dropped.
fn link(left: usize, tell: mpsc::Sender<mpsc::Sender<()>>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        if left > 0 {
            drop(spawn(link(left - 1, tell.clone())));
        }
        let (release, released) = mpsc::channel();
        tell.send(release).unwrap();
        // An error is the sender's drop.
        let _ = released.recv_timeout(LONG);
    })
}

/// What a blocked worker has in its slot blocks the one that takes it, and so on, until all are blocked. Each that comes back
/// is enough for the next.
#[test]
fn blocked_workers_infect_all_others_and_each_that_comes_back_goes_on() {
    for workers in [2, 3, 8] {
        let runtime = runtime(workers);
        let (tell, told) = mpsc::channel();
        drop(runtime.spawn(link(2 * workers - 1, tell)));
        let mut blocked: VecDeque<_> =
            (0..workers).map(|_| told.recv_timeout(SOON).expect("a free worker takes it")).collect();
        for _ in 0..workers {
            assert!(told.try_recv().is_err(), "there are no more workers");
            drop(blocked.pop_front());
            blocked.push_back(told.recv_timeout(SOON).expect("the one that came back takes it"));
        }
    }
}

/// Blocks whoever drops it, until the other end is dropped.
struct BlockingDrop {
    called: mpsc::Sender<()>,
    end: mpsc::Receiver<()>,
}

impl Drop for BlockingDrop {
    fn drop(&mut self) {
        // Nobody listens any more when the test has failed.
        let _ = self.called.send(());
        let _ = self.end.recv_timeout(LONG);
    }
}

#[test]
fn a_worker_that_is_blocked_by_the_drop_of_a_task_is_served() {
    let runtime = runtime(2);
    let aside = Blocker::occupy(&runtime);
    let (called, was_called) = mpsc::channel();
    let (let_go, end) = mpsc::channel::<()>();
    let (runs, ran) = mpsc::channel();
    let blocks = BlockingDrop { called, end };
    let victim = runtime.spawn(async move {
        let _blocks = blocks;
        pending::<()>().await;
    });
    eventually("it waits", || runtime.metrics().waiting_tasks > 0);
    drop(runtime.spawn(async move {
        let late = runs.clone();
        drop(spawn(async move {
            sleep(Duration::from_millis(20)).await;
            late.send(()).unwrap();
        }));
        // Its timer is armed in this worker's wheel.
        yield_now().await;
        victim.abort();
        drop(victim);
        yield_now().await;
        runs.send(()).unwrap();
    }));
    was_called.recv_timeout(SOON).expect("the worker that is left drops it");
    drop(aside);
    let results = [ran.recv_timeout(SOON), ran.recv_timeout(SOON)];
    drop(let_go);
    for result in results {
        result.expect("the timer and the queue of the blocked worker are served");
    }
}

/// Rounds of the watch and waits of all workers so far.
fn rounds_and_parks(runtime: &Runtime) -> (u64, u64) {
    let metrics = runtime.metrics();
    let workers = metrics.workers.iter();
    workers.fold((0, 0), |(rounds, parks), w| (rounds + w.watch_rounds, parks + w.parks))
}

/// With the `poll` feed each visit asks for all of a lane's descriptors, which takes longer than the shortest interval.
#[test]
fn who_serves_a_lane_for_longer_than_an_interval_comes_to_rest_in_between() {
    const SOCKETS: usize = 2000;
    let builder = Builder::new_multi_thread().worker_threads(2).feed(FeedChoice::Poll);
    let runtime = Watched::new(builder.stall_watch(Some(Duration::ZERO)));
    // The other one has to arm them all.
    let aside = Blocker::occupy(&runtime);
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let (arms, armed) = mpsc::channel();
    for _ in 0..SOCKETS {
        // One file under many descriptors: they are all asked for.
        let (stream, arms) = (near.try_clone().unwrap(), arms.clone());
        drop(runtime.spawn(async move {
            let registration = Registration::new(OwnedFd::from(stream.try_clone().unwrap())).unwrap();
            let mut read = pin!(registration.async_io(Direction::Read, || (&stream).read(&mut [0])));
            poll_fn(|cx| {
                let poll = read.as_mut().poll(cx);
                if poll.is_pending() {
                    arms.send(()).unwrap();
                }
                poll.map(drop)
            })
            .await;
        }));
    }
    for _ in 0..SOCKETS {
        armed.recv_timeout(SOON).unwrap();
    }
    let _blocker = Blocker::occupy(&runtime);
    drop(aside);
    let before = rounds_and_parks(&runtime);
    eventually("rounds are made", || rounds_and_parks(&runtime).0 >= before.0 + 30);
    let after = rounds_and_parks(&runtime);
    assert!(after.1 >= before.1 + 10, "{} rounds, {} rests", after.0 - before.0, after.1 - before.1);
    drop(far);
}

/// In this thread, and those that it starts, the kernel refuses `call`.
fn refuse(call: libc::c_long) {
    let step = |code: u32, k, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut steps = [
        // The number of the call is the first word of what is looked at.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 0, 1),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let filter = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: the filter and its steps live until the calls return; the kernel copies them.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let set = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter);
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    }
}

/// Builds a runtime of two workers where `call` is refused, and lets it do something.
fn build_without(call: libc::c_long, stall_watch: Option<Duration>) -> io::Result<()> {
    let build = move || {
        refuse(call);
        let runtime = Builder::new_multi_thread().worker_threads(2).stall_watch(stall_watch).build()?;
        runtime.block_on(runtime.spawn(sleep(Duration::from_millis(1)))).unwrap();
        Ok(())
    };
    thread::spawn(build).join().unwrap()
}

#[test]
fn a_watch_that_can_have_no_alarm_says_so_and_can_be_done_without() {
    for call in [libc::SYS_timerfd_create, libc::SYS_timerfd_settime] {
        let error = build_without(call, Some(Duration::from_millis(1))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("stall_watch(None)"), "{error}");
        build_without(call, None).unwrap();
    }
}

#[test]
fn a_runtime_works_where_no_slices_are_granted_and_nobody_can_be_interrupted() {
    for call in [libc::SYS_sched_setattr, libc::SYS_sched_getattr, libc::SYS_membarrier] {
        build_without(call, Some(Duration::from_millis(1))).unwrap();
    }
}
