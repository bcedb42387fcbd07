//! Descriptors of all kinds, awaited.

mod support;

use std::fs::File;
use std::future::Future;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use egret_executor::spawn;
use egret_executor::time::timeout;
use egret_net::io::unix::AsyncFd;
use egret_net::io::{Interest, Ready};
use egret_reactor::FeedKind;
use support::{PATIENCE, eventually, run, runtime};

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn nonblocking(fd: &impl AsRawFd) {
    // SAFETY: takes no pointers.
    let done = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    assert_eq!(done, 0);
}

/// A pipe whose reader doesn't block.
fn pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    nonblocking(&reader);
    (reader, writer)
}

fn pair() -> (UnixStream, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    (near, far)
}

fn eventfd() -> File {
    // SAFETY: takes no pointers; the descriptor is nobody else's.
    File::from(unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)) })
}

async fn readable<T: AsRawFd>(fd: &AsyncFd<T>) -> egret_net::io::unix::AsyncFdReadyGuard<'_, T> {
    timeout(PATIENCE, fd.readable()).await.expect("it becomes readable").unwrap()
}

#[test]
fn a_guard_is_good_until_a_call_would_have_blocked() {
    run(async {
        let (reader, mut writer) = pipe();
        let reader = AsyncFd::new(reader).unwrap();
        writer.write_all(b"one").unwrap();
        let mut buffer = [0; 8];
        let mut guard = readable(&reader).await;
        assert!(guard.ready().is_readable());
        assert_eq!(guard.try_io(|fd| fd.get_ref().read(&mut buffer)).unwrap().unwrap(), 3);
        assert!(guard.ready().is_readable(), "nobody has said otherwise");
        assert!(guard.try_io(|fd| fd.get_ref().read(&mut buffer)).is_err());
        assert_eq!(guard.ready(), Ready::EMPTY);
        assert!(poll_once(pin!(reader.readable())).is_pending());
        writer.write_all(b"two").unwrap();
        let mut guard = readable(&reader).await;
        assert_eq!(guard.try_io(|fd| fd.get_ref().read(&mut buffer)).unwrap().unwrap(), 3);
        guard.retain_ready();
        drop(guard);
        // Kept, though there is nothing any more: it was not taken back.
        assert!(poll_once(pin!(reader.readable())).is_ready());
    });
}

/// A blocking descriptor would hang whoever believed in a readiness that nobody has asked for.
#[test]
fn nothing_is_taken_for_granted() {
    run(async {
        let (reader, mut writer) = io::pipe().unwrap();
        let reader = AsyncFd::with_interest(reader, Interest::READABLE).unwrap();
        assert!(poll_once(pin!(reader.readable())).is_pending());
        let called = reader.try_io(Interest::READABLE, |_| -> io::Result<()> { panic!("it would block") });
        assert_eq!(called.unwrap_err().kind(), ErrorKind::WouldBlock);
        writer.write_all(b"x").unwrap();
        let guard = readable(&reader).await;
        assert_eq!(guard.get_inner().read(&mut [0; 8]).unwrap(), 1);
    });
}

/// What a program does that never reads its eventfd: each write is an event all the same.
#[test]
fn what_was_cleared_waits_for_the_next_event() {
    let runtime = runtime();
    let is_exact = runtime.metrics().feed == FeedKind::Uring;
    runtime.block_on(async {
        let bell = AsyncFd::new(eventfd()).unwrap();
        for _ in 0..3 {
            bell.get_ref().write_all(&1_u64.to_ne_bytes()).unwrap();
            let mut guard = readable(&bell).await;
            guard.clear_ready();
            if is_exact {
                assert!(poll_once(pin!(bell.readable())).is_pending(), "still readable, and no event");
            }
        }
    });
}

#[test]
fn an_event_between_the_wait_and_the_clear_is_not_lost() {
    run(async {
        let bell = AsyncFd::new(eventfd()).unwrap();
        let ring = || bell.get_ref().write_all(&1_u64.to_ne_bytes()).unwrap();
        ring();
        let (mut slow, mut quick) = (readable(&bell).await, readable(&bell).await);
        quick.clear_ready();
        ring();
        let fresh = readable(&bell).await;
        // It takes back only now what it had seen then.
        slow.clear_ready();
        drop(fresh);
        assert!(poll_once(pin!(bell.readable())).is_ready());
    });
}

#[test]
fn directions_are_taken_back_one_by_one() {
    run(async {
        let (near, mut far) = pair();
        let near = AsyncFd::new(near).unwrap();
        far.write_all(b"x").unwrap();
        drop(readable(&near).await);
        let mut guard =
            timeout(PATIENCE, near.ready(Interest::READABLE | Interest::WRITABLE)).await.unwrap().unwrap();
        assert!(guard.ready().is_readable() && guard.ready().is_writable());
        assert_eq!(guard.get_inner().read(&mut [0; 8]).unwrap(), 1);
        guard.clear_ready_matching(Ready::READABLE);
        assert!(!guard.ready().is_readable() && guard.ready().is_writable());
        assert!(poll_once(pin!(near.readable())).is_pending());
        assert!(poll_once(pin!(near.writable())).is_ready());
        // A call that blocks in one of two directions: the one that holds stays.
        let mut both = near.ready(Interest::READABLE | Interest::WRITABLE).await.unwrap();
        assert!(both.try_io(|fd| fd.get_ref().read(&mut [0; 8])).is_err());
        assert!(poll_once(pin!(near.writable())).is_ready());
        let blocked = near.try_io(Interest::READABLE | Interest::WRITABLE, |mut fd| fd.read(&mut [0; 8]));
        assert_eq!(blocked.unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(poll_once(pin!(near.writable())).is_ready());
    });
}

#[test]
fn async_io_waits_and_repeats_what_was_interrupted() {
    run(async {
        let (near, mut far) = pair();
        let mut near = AsyncFd::new(near).unwrap();
        let writer = std::thread::spawn(move || {
            far.write_all(b"hello").unwrap();
            far
        });
        let mut buffer = [0; 8];
        let mut signals = 2;
        let read = near.async_io(Interest::READABLE, |mut fd| {
            if signals > 0 {
                signals -= 1;
                return Err(ErrorKind::Interrupted.into());
            }
            fd.read(&mut buffer)
        });
        assert_eq!(timeout(PATIENCE, read).await.unwrap().unwrap(), 5);
        let mut far = writer.join().unwrap();
        let written = near.async_io_mut(Interest::WRITABLE, |fd| fd.write(b"back")).await.unwrap();
        assert_eq!(written, 4);
        assert_eq!(far.read(&mut buffer).unwrap(), 4);
        let mut guard = timeout(PATIENCE, near.writable_mut()).await.unwrap().unwrap();
        assert_eq!(guard.try_io(|fd| fd.get_mut().write(b"more")).unwrap().unwrap(), 4);
        assert_eq!(guard.get_inner_mut().write(b"!").unwrap(), 1);
        assert_eq!(near.try_io_mut(Interest::WRITABLE, |fd| fd.write(b"?")).unwrap(), 1);
    });
}

#[test]
fn everybody_who_waits_is_woken() {
    let runtime = runtime();
    let (reader, mut writer) = pipe();
    let reader = {
        let _entered = runtime.enter();
        Arc::new(AsyncFd::new(reader).unwrap())
    };
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let reader = reader.clone();
            runtime.spawn(async move { reader.readable().await.map(|guard| guard.ready().is_readable()) })
        })
        .collect();
    eventually("all wait", || runtime.metrics().waiting_tasks == 5);
    writer.write_all(b"x").unwrap();
    for task in tasks {
        assert!(runtime.block_on(timeout(PATIENCE, task)).unwrap().unwrap().unwrap());
    }
}

#[test]
fn what_cannot_be_waited_for_is_refused_and_handed_back() {
    run(async {
        let file = File::open("/proc/self/exe").unwrap();
        let number = file.as_raw_fd();
        let (file, error) = AsyncFd::try_new(file).unwrap_err().into_parts();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
        assert_eq!(file.as_raw_fd(), number);
        for path in ["/dev/null", "/"] {
            let error = AsyncFd::new(File::open(path).unwrap()).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{path}: {error}");
        }
        let error = AsyncFd::<RawFd>::new(-1).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    });
    let (reader, mut writer) = pipe();
    let (mut reader, error) = AsyncFd::try_new(reader).unwrap_err().into_parts();
    assert_eq!(error.kind(), ErrorKind::Other, "outside of a runtime");
    writer.write_all(b"x").unwrap();
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 1);
}

/// The duplicate has gone when the original goes: the peer sees the end at once.
#[test]
fn dropping_it_closes_everything_before_it_returns() {
    run(async {
        let (near, mut far) = pair();
        let near = AsyncFd::new(near).unwrap();
        drop(timeout(PATIENCE, near.writable()).await.unwrap().unwrap());
        drop(near);
        // At once, not in time: this end does not block.
        far.set_nonblocking(true).unwrap();
        assert_eq!(far.read(&mut [0; 8]).unwrap(), 0);

        let (near, mut far) = pair();
        let near = AsyncFd::new(near).unwrap().into_inner();
        far.write_all(b"still open").unwrap();
        assert_eq!((&near).read(&mut [0; 16]).unwrap(), 10);
        drop(near);
        far.set_nonblocking(true).unwrap();
        assert_eq!(far.read(&mut [0; 8]).unwrap(), 0);
    });
}

/// Where an engine knows files by their numbers, the second is refused, or hears what is the first one's.
#[test]
fn one_descriptor_may_be_watched_twice_and_its_number_used_again() {
    run(async {
        let (reader, mut writer) = pipe();
        let twice = [AsyncFd::new(reader.as_raw_fd()).unwrap(), AsyncFd::new(reader.as_raw_fd()).unwrap()];
        writer.write_all(b"x").unwrap();
        for one in &twice {
            drop(readable(one).await);
        }
        // The number goes to another file while the first is still watched under it.
        let number = reader.into_raw_fd();
        let (other, mut other_writer) = pipe();
        // SAFETY: the number is ours: it came out of its owner, and goes into another below.
        assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), number) }, number);
        let second = AsyncFd::new(number).unwrap();
        for one in &twice {
            one.readable().await.unwrap().clear_ready();
        }
        writer.write_all(b"y").unwrap();
        for one in &twice {
            drop(readable(one).await);
        }
        assert!(poll_once(pin!(second.readable())).is_pending(), "that was the other file");
        other_writer.write_all(b"z").unwrap();
        drop(readable(&second).await);
        drop((twice, second));
        // SAFETY: as above; nothing else owns it.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    });
}

/// An engine that is told of a number that is not open any more can't let go of what it was.
#[test]
fn a_descriptor_that_is_closed_early_leaves_nothing_behind() {
    run(async {
        let (reader, mut writer) = pipe();
        let mut watched = Vec::new();
        for _ in 0..100 {
            let early = reader.try_clone().unwrap();
            watched.push(AsyncFd::new(early.as_raw_fd()).unwrap());
            drop(early);
        }
        drop(reader);
        writer.write_all(b"x").unwrap();
        for one in &watched {
            drop(readable(one).await);
        }
        drop(watched);
        assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn the_end_of_the_runtime_is_an_error_for_who_waits() {
    let (ends, lives) = (runtime(), runtime());
    let (reader, _writer) = pipe();
    let reader = {
        let _entered = ends.enter();
        AsyncFd::new(reader).unwrap()
    };
    let task = lives.spawn(async move {
        let error = reader.readable().await.map(drop).unwrap_err();
        (error.kind(), reader.into_inner())
    });
    eventually("it waits", || lives.metrics().waiting_tasks == 1);
    drop(ends);
    let (error, reader) = lives.block_on(timeout(PATIENCE, task)).unwrap().unwrap();
    assert_eq!(error, ErrorKind::Other);
    drop(reader);
}

#[test]
fn a_thousand_come_and_go_and_leave_nothing() {
    run(async {
        let (reader, mut writer) = pipe();
        let reader = Arc::new(reader);
        for _ in 0..1_000 {
            let fd = AsyncFd::new(reader.clone()).unwrap();
            assert!(poll_once(pin!(fd.readable())).is_pending());
        }
        assert_eq!(Arc::strong_count(&reader), 1);
        // No duplicate is left over: without readers the pipe is broken.
        drop(reader);
        assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn it_goes_to_any_thread() {
    fn to_any_thread<T: Send + Sync>(_: &T) {}
    run(async {
        let (reader, mut writer) = pipe();
        let reader = AsyncFd::new(reader).unwrap();
        to_any_thread(&reader);
        writer.write_all(b"x").unwrap();
        let read = spawn(async move {
            let mut buffer = [0; 8];
            reader.async_io(Interest::READABLE, |mut reader| reader.read(&mut buffer)).await
        });
        assert_eq!(timeout(PATIENCE, read).await.unwrap().unwrap().unwrap(), 1);
    });
}
