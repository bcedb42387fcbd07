//! Pipes and FIFOs.

mod support;

use std::ffi::CString;
use std::fs::{self, File};
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use egret_executor::spawn;
use egret_executor::time::timeout;
use egret_net::io::Interest;
use egret_net::unix::pipe::{OpenOptions, Receiver, Sender, pipe};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use support::{PATIENCE, Random, eventually, run, runtime};

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A FIFO that is gone when this is dropped.
struct Fifo(PathBuf);

impl Fifo {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("egret-fifo-{}-{number}", std::process::id()));
        let name = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: `name` is a string that ends with a null.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0, "{}", io::Error::last_os_error());
        Self(path)
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

async fn soon<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("soon")
}

#[test]
fn everything_arrives_in_order_and_then_the_end() {
    run(async {
        let (sender, receiver) = pipe().unwrap();
        let data = Random::new(7).bytes(3_000_000);
        let sent = data.clone();
        let writing = spawn(async move {
            let mut random = Random::new(8);
            let mut rest = &sent[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at((1 + random.below(150_000)).min(rest.len()));
                sender.write_all(now).await.unwrap();
                rest = later;
            }
        });
        let (mut received, mut buffer) = (Vec::new(), vec![0; 50_000]);
        while let n @ 1.. = receiver.read(&mut buffer).await.unwrap() {
            received.extend_from_slice(&buffer[..n]);
        }
        writing.await.unwrap();
        assert!(received == data);
        assert_eq!(receiver.read(&mut buffer).await.unwrap(), 0, "the end stays");
        let error = receiver.read_exact(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn a_sleeping_reader_and_a_sleeping_writer_are_woken() {
    let runtime = runtime();
    let (sender, receiver) = {
        let _entered = runtime.enter();
        pipe().unwrap()
    };
    let reading = runtime.spawn(async move {
        let mut buffer = [0; 4];
        receiver.read_exact(&mut buffer).await.unwrap();
        (buffer, receiver)
    });
    eventually("it reads", || runtime.metrics().waiting_tasks == 1);
    runtime.block_on(soon(sender.write_all(b"woke"))).unwrap();
    let (buffer, receiver) = runtime.block_on(soon(reading)).unwrap();
    assert_eq!(&buffer, b"woke");
    while sender.try_write(&[7; 4096]).is_ok() {}
    let writing = runtime.spawn(async move { sender.write(b"x").await });
    eventually("it writes", || runtime.metrics().waiting_tasks == 1);
    while receiver.try_read(&mut [0; 4096]).is_ok_and(|n| n > 0) {}
    assert_eq!(runtime.block_on(soon(writing)).unwrap().unwrap(), 1);
}

#[test]
fn without_receivers_a_pipe_is_broken() {
    let runtime = runtime();
    let (sender, receiver) = {
        let _entered = runtime.enter();
        pipe().unwrap()
    };
    while sender.try_write(&[7; 4096]).is_ok() {}
    let writing = runtime.spawn(async move { sender.write(b"x").await.map_err(|error| error.kind()) });
    eventually("it writes", || runtime.metrics().waiting_tasks == 1);
    drop(receiver);
    assert_eq!(runtime.block_on(soon(writing)).unwrap(), Err(ErrorKind::BrokenPipe));
}

#[test]
fn trying_says_whether_it_would_block() {
    run(async {
        let (sender, receiver) = pipe().unwrap();
        let mut buffer = [0; 8];
        assert_eq!(receiver.try_read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(receiver.try_read(&mut []).unwrap(), 0);
        let parts = [IoSlice::new(b"ab"), IoSlice::new(b"cde")];
        assert_eq!(sender.try_write_vectored(&parts).unwrap(), 5);
        let (mut one, mut two) = ([0; 3], [0; 8]);
        let read =
            receiver.try_read_vectored(&mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)]).unwrap();
        assert_eq!((read, &one, &two[..2]), (5, b"abc", &b"de"[..]));
        while sender.try_write(&[7; 4096]).is_ok() {}
        assert_eq!(sender.try_write(b"x").unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(poll_once(pin!(sender.writable())).is_pending());
        soon(receiver.readable()).await.unwrap();
        assert!(soon(receiver.ready(Interest::READABLE)).await.unwrap().is_readable());
        assert_eq!(receiver.try_io(|| Ok(3)).unwrap(), 3);
        drop(sender);
        while receiver.try_read(&mut [0; 4096]).unwrap() > 0 {}
        assert!(soon(receiver.ready(Interest::READABLE)).await.unwrap().is_read_closed());
    });
}

/// Somebody who takes a FIFO's `HUP` to be final spins from the second writer on.
#[test]
fn a_fifo_whose_writers_come_back_is_waited_for_again() {
    run(async {
        let fifo = Fifo::new();
        let no_reader = OpenOptions::new().open_sender(&fifo.0).unwrap_err();
        assert_eq!(no_reader.raw_os_error(), Some(libc::ENXIO));
        let receiver = OpenOptions::new().open_receiver(&fifo.0).unwrap();
        let mut buffer = [0; 8];
        assert!(
            poll_once(pin!(receiver.read(&mut buffer))).is_pending(),
            "not the end: nobody has been there"
        );
        for round in 0..3 {
            let sender = OpenOptions::new().open_sender(&fifo.0).unwrap();
            assert!(poll_once(pin!(receiver.read(&mut buffer))).is_pending(), "round {round}");
            sender.write_all(b"hello").await.unwrap();
            assert_eq!(soon(receiver.read(&mut buffer)).await.unwrap(), 5);
            drop(sender);
            assert_eq!(soon(receiver.read(&mut buffer)).await.unwrap(), 0);
        }
    });
}

#[test]
fn a_fifo_opened_for_both_has_no_end() {
    run(async {
        let fifo = Fifo::new();
        let sender = OpenOptions::new().read_write(true).open_sender(&fifo.0).unwrap();
        sender.write_all(b"early").await.unwrap();
        let receiver = OpenOptions::new().read_write(true).open_receiver(&fifo.0).unwrap();
        drop(sender);
        let mut buffer = [0; 8];
        assert_eq!(soon(receiver.read(&mut buffer)).await.unwrap(), 5);
        assert!(poll_once(pin!(receiver.read(&mut buffer))).is_pending());
    });
}

#[test]
fn what_is_no_pipe_or_the_wrong_end_is_refused() {
    run(async {
        let file = || File::open("/proc/self/exe").unwrap();
        assert_eq!(Receiver::from_file(file()).unwrap_err().kind(), ErrorKind::InvalidInput);
        let unchecked = Receiver::from_file_unchecked(file()).unwrap_err();
        assert_eq!(unchecked.raw_os_error(), Some(libc::EPERM), "files can't be waited for");
        assert_eq!(
            OpenOptions::new().open_receiver("/dev/null").unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        let (reader, writer) = io::pipe().unwrap();
        let swapped = Sender::from_owned_fd(reader.into()).unwrap_err();
        assert_eq!(swapped.kind(), ErrorKind::InvalidInput, "{swapped}");
        let swapped = Receiver::from_owned_fd(writer.into()).unwrap_err();
        assert_eq!(swapped.kind(), ErrorKind::InvalidInput, "{swapped}");
    });
    let (reader, _writer) = io::pipe().unwrap();
    assert_eq!(Receiver::from_owned_fd(reader.into()).unwrap_err().kind(), ErrorKind::Other);
}

#[test]
fn a_descriptor_that_leaves_blocks_if_it_shall() {
    fn is_nonblocking(fd: &OwnedFd) -> bool {
        // SAFETY: takes no pointers.
        unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK != 0 }
    }
    run(async {
        let (reader, writer) = io::pipe().unwrap();
        let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
        assert!(!is_nonblocking(&reader));
        let receiver = Receiver::from_owned_fd(reader).unwrap();
        let sender = Sender::from_owned_fd(writer).unwrap();
        assert!(poll_once(pin!(receiver.readable())).is_pending());
        let reader = receiver.into_nonblocking_fd().unwrap();
        assert!(is_nonblocking(&reader));
        let writer = sender.into_blocking_fd().unwrap();
        assert!(!is_nonblocking(&writer));
        File::from(writer).write_all(b"x").unwrap();
        let reader = Receiver::from_owned_fd(reader).unwrap().into_blocking_fd().unwrap();
        // It blocks until the writer is gone, all of it.
        let mut all = Vec::new();
        File::from(reader).read_to_end(&mut all).unwrap();
        assert_eq!(all, b"x");
    });
}

#[test]
fn the_traits_of_futures_io_work() {
    run(async {
        let (mut sender, mut receiver) = pipe().unwrap();
        let writing = spawn(async move {
            AsyncWriteExt::write_all(&mut sender, &[7; 300_000]).await.unwrap();
            sender.flush().await.unwrap();
            sender.close().await.unwrap();
        });
        let mut all = Vec::new();
        soon(AsyncReadExt::read_to_end(&mut receiver, &mut all)).await.unwrap();
        assert!(all == [7; 300_000]);
        writing.await.unwrap();
    });
}

#[cfg(feature = "tokio-io")]
#[test]
fn the_traits_of_tokio_work() {
    run(async {
        let (mut sender, mut receiver) = pipe().unwrap();
        let writing = spawn(async move {
            tokio::io::AsyncWriteExt::write_all(&mut sender, &[7; 300_000]).await.unwrap();
            tokio::io::AsyncWriteExt::shutdown(&mut sender).await.unwrap();
        });
        let mut all = Vec::new();
        soon(tokio::io::AsyncReadExt::read_to_end(&mut receiver, &mut all)).await.unwrap();
        assert!(all == [7; 300_000]);
        writing.await.unwrap();
    });
}

#[test]
fn several_writers_do_not_mix_what_is_small() {
    const WRITERS: usize = 4;
    const LINES: usize = 500;
    const LENGTH: usize = 1_000;
    run(async {
        let (sender, receiver) = pipe().unwrap();
        let sender = Arc::new(sender);
        let tasks: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let sender = sender.clone();
                spawn(async move {
                    for _ in 0..LINES {
                        assert_eq!(sender.write(&[writer as u8; LENGTH]).await.unwrap(), LENGTH);
                    }
                })
            })
            .collect();
        drop(sender);
        let mut line = [0; LENGTH];
        for _ in 0..WRITERS * LINES {
            receiver.read_exact(&mut line).await.unwrap();
            assert!(line.iter().all(|byte| *byte == line[0]));
        }
        assert_eq!(receiver.read(&mut line).await.unwrap(), 0);
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn they_go_to_any_thread() {
    fn to_any_thread<T: Send + Sync>() {}
    fn sends<T: Send>(_: &T) {}
    to_any_thread::<Sender>();
    to_any_thread::<Receiver>();
    run(async {
        let (sender, receiver) = pipe().unwrap();
        sends(&sender.write_all(b""));
        sends(&receiver.read(&mut []));
    });
}
