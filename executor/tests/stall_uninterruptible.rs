//! A worker that sleeps in the kernel where no signal wakes it, as in a read from a slow disk: not even the kernel can make it pass by
//! its own ring. What it has armed is served all the same.

mod support;

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::mpsc,
    thread,
    time::Duration,
};

use egret_executor::io::{Direction, Registration};
use support::{Blocker, LONG, eventually, runtime};

/// For what has to happen while the worker sleeps.
const SOON: Duration = Duration::from_secs(10);

/// Keeps the calling thread in the kernel, deaf to everything but a kill, until there is something to be read from `end`: it
/// starts a process and waits for the end of it, as `vfork` does.
fn sleep_deaf(end: &UnixStream) {
    let flags = libc::c_long::from(libc::CLONE_VFORK | libc::SIGCHLD);
    // SAFETY: without CLONE_VM the child has its own copy of everything, its stack included.
    let child = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if child == 0 {
        let mut poll = libc::pollfd { fd: end.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd; both calls may be made in a child of a process with threads.
        unsafe {
            libc::poll(&mut poll, 1, LONG.as_millis() as i32);
            libc::_exit(0);
        }
    }
    assert!(child > 0, "{}", io::Error::last_os_error());
    // SAFETY: no status is asked for.
    unsafe { libc::waitpid(child as libc::pid_t, std::ptr::null_mut(), 0) };
}

/// Whether that thread of this process sleeps where no signal wakes it.
fn is_deaf(thread: libc::pid_t) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('D'))
}

#[test]
fn a_socket_that_was_armed_by_a_worker_which_cannot_be_reached_is_served() {
    let runtime = runtime(2);
    let aside = Blocker::occupy(&runtime);
    let (near, mut far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_read_timeout(Some(SOON)).unwrap();
    let registration = {
        let _entered = runtime.enter();
        Registration::new(OwnedFd::from(near.try_clone().unwrap())).unwrap()
    };
    let (tell, told) = mpsc::channel();
    drop(runtime.spawn(async move {
        loop {
            let mut byte = [0];
            let read = registration.async_io(Direction::Read, || (&near).read(&mut byte)).await;
            if read.unwrap() == 0 {
                return;
            }
            // Nobody listens at the end of a test.
            let _ = tell.send(thread::current().id());
            (&near).write_all(&byte).unwrap();
        }
    }));
    let mut ask = || {
        far.write_all(&[7])?;
        far.read_exact(&mut [0])
    };
    // When the worker has parked with the socket armed, and again after an event of it, it has handed the arm over itself.
    let parks = || runtime.metrics().workers.iter().map(|worker| worker.parks).sum::<u64>();
    let mut armed_by = None;
    for _ in 0..3 {
        let before = parks();
        ask().unwrap();
        armed_by = Some(told.recv_timeout(LONG).unwrap());
        eventually("it parks", || parks() > before);
    }
    let (end, release) = UnixStream::pair().unwrap();
    let (stalls, has_stalled) = mpsc::channel();
    drop(runtime.spawn(async move {
        // SAFETY: takes nothing.
        stalls.send((thread::current().id(), unsafe { libc::gettid() })).unwrap();
        sleep_deaf(&end);
    }));
    let (worker, thread) = has_stalled.recv_timeout(LONG).unwrap();
    assert_eq!(Some(worker), armed_by);
    eventually("it can't be reached", || is_deaf(thread));
    drop(aside);
    let mut results = Vec::new();
    for _ in 0..3 {
        results.push(ask());
    }
    assert!(is_deaf(thread), "it still can't be reached");
    // The child inherited the other end, too: so not by dropping it.
    (&release).write_all(&[1]).unwrap();
    for result in results {
        result.expect("it answers meanwhile");
    }
}
