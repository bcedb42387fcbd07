//! Signals, raised at this very process. Each test has a signal of its own: they run at the same time.

mod support;

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use egret_executor::time::timeout;
use egret_net::signal::ctrl_c;
use egret_net::signal::unix::{Signal, SignalKind, signal};
use support::{PATIENCE, eventually, run, runtime};

/// In this thread; its handlers have run when this returns.
fn raise(kind: SignalKind) {
    // SAFETY: takes no pointers.
    assert_eq!(unsafe { libc::raise(kind.as_raw_value()) }, 0);
}

/// A real-time signal: there is one for each test.
fn real_time(number: i32) -> SignalKind {
    SignalKind::from_raw(libc::SIGRTMIN() + number)
}

async fn heard(signal: &mut Signal) {
    timeout(PATIENCE, signal.recv()).await.expect("it is heard").expect("the runtime lives");
}

/// Asks once, for nobody.
fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn is_silent(signal: &mut Signal) -> bool {
    signal.poll_recv(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[test]
fn the_process_lives_on_and_the_task_hears_it() {
    run(async {
        let mut listener = signal(SignalKind::user_defined1()).unwrap();
        assert!(is_silent(&mut listener));
        for _ in 0..3 {
            raise(SignalKind::user_defined1());
            heard(&mut listener).await;
            assert!(is_silent(&mut listener));
        }
    });
}

#[test]
fn a_parked_runtime_is_woken() {
    let runtime = runtime();
    let task = runtime.spawn(async {
        let mut listener = signal(SignalKind::user_defined2()).unwrap();
        heard(&mut listener).await;
    });
    eventually("it waits", || runtime.metrics().waiting_tasks == 1);
    // To the process, not to a thread: any thread may get it.
    // SAFETY: takes no pointers.
    assert_eq!(unsafe { libc::kill(libc::getpid(), libc::SIGUSR2) }, 0);
    runtime.block_on(timeout(PATIENCE, task)).unwrap().unwrap();
}

#[test]
fn what_comes_before_it_is_asked_for_is_one() {
    run(async {
        let mut listener = signal(real_time(0)).unwrap();
        for _ in 0..5 {
            raise(real_time(0));
        }
        heard(&mut listener).await;
        assert!(is_silent(&mut listener), "five have become one");
    });
}

#[test]
fn every_listener_in_every_runtime_hears_it() {
    let (one, other) = (runtime(), runtime());
    let listen = || signal(real_time(1)).unwrap();
    let mut first = one.block_on(async { [listen(), listen()] });
    let mut second = other.block_on(async { [listen()] });
    for _ in 0..3 {
        raise(real_time(1));
        for listener in &mut first {
            one.block_on(heard(listener));
        }
        for listener in &mut second {
            other.block_on(heard(listener));
        }
    }
}

#[test]
fn a_listener_that_goes_takes_only_its_own_with_it() {
    run(async {
        let mut stays = signal(real_time(2)).unwrap();
        let goes = signal(real_time(2)).unwrap();
        raise(real_time(2));
        drop(goes);
        heard(&mut stays).await;
        raise(real_time(2));
        heard(&mut stays).await;
        drop(stays);
        // The last has gone, and the process lives.
        raise(real_time(2));
        let mut new = signal(real_time(2)).unwrap();
        assert!(is_silent(&mut new), "what was before it is not for it");
    });
}

#[test]
fn the_end_of_a_runtime_is_the_end_of_its_listeners_alone() {
    let (ends, lives) = (runtime(), runtime());
    let mut orphan = ends.block_on(async { signal(real_time(3)).unwrap() });
    let mut other = lives.block_on(async { signal(real_time(3)).unwrap() });
    let task = lives.spawn(async move { (orphan.recv().await, orphan) });
    eventually("it waits", || lives.metrics().waiting_tasks == 1);
    drop(ends);
    let (end, mut orphan) = lives.block_on(timeout(PATIENCE, task)).unwrap().unwrap();
    assert_eq!(end, None, "who waits is told");
    assert_eq!(lives.block_on(orphan.recv()), None);
    raise(real_time(3));
    lives.block_on(heard(&mut other));
    drop(orphan);
}

#[test]
fn signals_that_cannot_be_heard_are_errors() {
    run(async {
        for forbidden in
            [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGILL, libc::SIGFPE, 0, -1, 9_999]
        {
            let error = signal(SignalKind::from_raw(forbidden)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{forbidden}: {error}");
        }
    });
    let outside = signal(real_time(4)).unwrap_err();
    assert_eq!(outside.kind(), io::ErrorKind::Other, "{outside}");
}

#[test]
fn ctrl_c_is_heard_from_the_first_poll_on() {
    run(async {
        let mut stop = pin!(ctrl_c());
        assert!(poll_once(stop.as_mut()).is_pending());
        raise(SignalKind::interrupt());
        timeout(PATIENCE, stop).await.expect("it is heard").unwrap();
    });
}

/// After the last of many signals a `recv` comes back that sees what was before it.
#[test]
fn the_last_of_a_storm_is_not_lost() {
    const SIGNALS: u32 = 5_000;
    run(async {
        let mut listener = signal(real_time(5)).unwrap();
        let sent = Arc::new(AtomicU32::new(0));
        let storm = std::thread::spawn({
            let sent = sent.clone();
            move || {
                for _ in 0..SIGNALS {
                    sent.fetch_add(1, Ordering::SeqCst);
                    raise(real_time(5));
                }
            }
        });
        while sent.load(Ordering::SeqCst) < SIGNALS {
            heard(&mut listener).await;
        }
        storm.join().unwrap();
        // The loop may have seen the last number before its signal came.
        let _ = poll_once(pin!(listener.recv()));
        assert!(is_silent(&mut listener));
    });
}

#[test]
fn a_childs_signal_is_not_the_parents() {
    run(async {
        let mut listener = signal(real_time(6)).unwrap();
        let number = real_time(6).as_raw_value();
        // SAFETY: the child does nothing but raise a signal, whose handler is async-signal-safe, and end.
        let child = unsafe {
            match libc::fork() {
                0 => libc::_exit(libc::raise(number)),
                child => child,
            }
        };
        assert!(child > 0);
        let mut status = 0;
        // SAFETY: `status` may be written.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "the child has heard its own signal and ended by itself");
        assert!(is_silent(&mut listener), "the parent hears nothing");
        raise(real_time(6));
        heard(&mut listener).await;
    });
}

#[test]
fn numbers_and_names_agree() {
    let named = [
        (SignalKind::alarm(), libc::SIGALRM),
        (SignalKind::child(), libc::SIGCHLD),
        (SignalKind::hangup(), libc::SIGHUP),
        (SignalKind::interrupt(), libc::SIGINT),
        (SignalKind::io(), libc::SIGIO),
        (SignalKind::pipe(), libc::SIGPIPE),
        (SignalKind::quit(), libc::SIGQUIT),
        (SignalKind::terminate(), libc::SIGTERM),
        (SignalKind::user_defined1(), libc::SIGUSR1),
        (SignalKind::user_defined2(), libc::SIGUSR2),
        (SignalKind::window_change(), libc::SIGWINCH),
    ];
    for (kind, number) in named {
        assert_eq!(kind, SignalKind::from(number));
        assert_eq!(i32::from(kind), number);
    }
}

#[test]
fn it_goes_to_any_thread() {
    fn to_any_thread<T: Send + Sync>(_: impl FnOnce() -> T) {}
    fn sends<T: Send>(_: T) {}
    to_any_thread(|| signal(SignalKind::terminate()).unwrap());
    sends(ctrl_c());
}
