//! A ring, or a context of aio, that can't be made: a seccomp filter, no descriptors left. By name it is an error that says why;
//! `auto` falls back.
#![cfg(not(egret_loom))]

mod feeds_support;

use egret_reactor::{Eventpoll, Events, Fd, FeedChoice, FeedKind, Lanes};
use feeds_support::{PATIENCE, wait};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

/// io_pgetevents(2), which libc doesn't name everywhere.
const IO_PGETEVENTS: libc::c_long = if cfg!(target_arch = "x86_64") { 333 } else { 292 };

/// Makes one system call fail with `errno`, for this thread and what it spawns.
fn refuse(call: libc::c_long, errno: i32) {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD, 0, 0, 0), // seccomp_data.nr
        step(EQUAL, call as u32, 0, 1),
        step(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its filter live until the calls return; the kernel copies them.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

/// Whether this test run names a feed: then `auto` must not fall back from it.
fn named_by_environment() -> bool {
    std::env::var_os("EGRET_FEED").is_some_and(|feed| feed != "auto")
}

fn serves(lanes: &Lanes) {
    let poll = Eventpoll::with_lanes(lanes);
    let (mut near, far) = UnixStream::pair().unwrap();
    let far = Arc::new(Fd::new(far).unwrap());
    poll.add(&far, 0, Events::IN, 1).unwrap();
    near.write_all(b"x").unwrap();
    assert_eq!(wait(&poll, Some(PATIENCE)).len(), 1);
}

/// The best feed that is left without a ring.
fn second_best() -> FeedKind {
    if Lanes::new(FeedChoice::Aio).is_ok() { FeedKind::Aio } else { FeedKind::Poll }
}

#[test]
fn a_filter_that_refuses_the_ring_means_aio() {
    for (call, errno) in [
        (libc::SYS_io_uring_setup, libc::ENOSYS),
        (libc::SYS_io_uring_setup, libc::EPERM),
        (libc::SYS_io_uring_enter, libc::EPERM),
        (libc::SYS_io_uring_register, libc::EPERM),
    ] {
        thread::spawn(move || {
            refuse(call, errno);
            let error = Lanes::new(FeedChoice::Uring).unwrap_err();
            assert!(error.to_string().contains("seccomp"), "{error}");
            if named_by_environment() {
                return;
            }
            let lanes = Lanes::new(FeedChoice::Auto).unwrap();
            assert_eq!(lanes.feed(), second_best());
            assert!(lanes.fallback().unwrap().contains("io_uring"));
            serves(&lanes);
        })
        .join()
        .unwrap();
    }
}

#[test]
fn a_filter_that_refuses_both_means_poll() {
    for (call, errno) in [
        (libc::SYS_io_setup, libc::ENOSYS),
        (libc::SYS_io_setup, libc::EPERM),
        (libc::SYS_io_submit, libc::EPERM),
        (libc::SYS_io_cancel, libc::EPERM),
        (IO_PGETEVENTS, libc::ENOSYS),
    ] {
        thread::spawn(move || {
            refuse(libc::SYS_io_uring_setup, libc::EPERM);
            refuse(call, errno);
            let error = Lanes::new(FeedChoice::Aio).unwrap_err();
            assert!(error.to_string().contains("seccomp"), "{error}");
            if named_by_environment() {
                return;
            }
            let lanes = Lanes::new(FeedChoice::Auto).unwrap();
            assert_eq!(lanes.feed(), FeedKind::Poll);
            let why = lanes.fallback().unwrap();
            assert!(why.contains("io_uring: ") && why.contains("aio: "), "{why}");
            serves(&lanes);
        })
        .join()
        .unwrap();
    }
}

#[test]
fn a_system_whose_contexts_are_used_up_says_so() {
    thread::spawn(|| {
        refuse(libc::SYS_io_setup, libc::EAGAIN);
        let error = Lanes::new(FeedChoice::Aio).unwrap_err();
        assert!(error.to_string().contains("fs.aio-max-nr"), "{error}");
    })
    .join()
    .unwrap();
}

#[test]
fn an_old_kernel_means_aio_or_poll() {
    // What a kernel before 5.19 says to flags it doesn't know.
    thread::spawn(|| {
        refuse(libc::SYS_io_uring_setup, libc::EINVAL);
        let error = Lanes::new(FeedChoice::Uring).unwrap_err();
        assert!(error.to_string().contains("older"), "{error}");
        if !named_by_environment() {
            serves(&Lanes::new(FeedChoice::Auto).unwrap());
        }
    })
    .join()
    .unwrap();
}

#[test]
fn no_descriptors_for_a_ring_is_an_error_that_says_so() {
    thread::spawn(|| {
        refuse(libc::SYS_io_uring_setup, libc::EMFILE);
        let error = Lanes::new(FeedChoice::Uring).unwrap_err();
        assert!(error.to_string().contains("descriptor"), "{error}");
    })
    .join()
    .unwrap();
    thread::spawn(|| {
        refuse(libc::SYS_eventfd2, libc::EMFILE);
        for choice in [FeedChoice::Uring, FeedChoice::Aio, FeedChoice::Poll] {
            assert_eq!(Lanes::new(choice).unwrap_err().raw_os_error(), Some(libc::EMFILE));
        }
    })
    .join()
    .unwrap();
}
