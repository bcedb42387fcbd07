//! Nothing that has arrived is overlooked, and nothing that hasn't is announced: short reads, peeks, many waiters, cancelled waits, ends of
//! stream that come together with data.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use egret_executor::time::timeout;
use egret_net::{Interest, TcpStream};
use futures_lite::AsyncReadExt;
use support::{Random, pair, pair_with_std, run};

/// A moment in which something that must not happen gets the chance to.
const MOMENT: Duration = Duration::from_millis(30);

/// The data and the FIN are there before the reader looks, and a short read leaves it nothing but the closed bit to go by.
#[test]
fn an_end_of_stream_that_came_with_the_data_is_not_lost() {
    run(async {
        for (sent, buffer) in [
            (1, 1),
            (1, 2),
            (10, 4),
            (10, 10),
            (10, 11),
            (10, 1000),
            (5000, 4096),
            (5000, 5000),
            (5000, 5001),
        ] {
            for armed_first in [false, true] {
                let (ours, mut theirs) = pair_with_std().await;
                if armed_first {
                    assert!(
                        timeout(Duration::from_millis(2), ours.readable()).await.is_ok(),
                        "optimistic at first"
                    );
                    assert_eq!(ours.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
                    assert!(timeout(Duration::from_millis(2), ours.readable()).await.is_err());
                }
                let data = Random::new(sent as u64).bytes(sent);
                theirs.write_all(&data).unwrap();
                theirs.shutdown(Shutdown::Write).unwrap();
                let mut buffer = vec![0; buffer];
                let mut seen = Vec::new();
                loop {
                    match ours.read(&mut buffer).await.unwrap() {
                        0 => break,
                        n => seen.extend_from_slice(&buffer[..n]),
                    }
                }
                assert!(seen == data);
            }
        }
    });
}

#[test]
fn a_peek_takes_nothing_and_does_not_make_the_data_unseen() {
    run(async {
        let (ours, theirs) = pair().await;
        let mut buffer = [0; 16];
        let (peeked, ()) = futures_lite::future::zip(ours.peek(&mut buffer), async {
            theirs.write_all(b"look").await.unwrap()
        })
        .await;
        assert_eq!(peeked.unwrap(), 4);
        for _ in 0..3 {
            // Larger than the data: as a read it would be a short one.
            assert_eq!(ours.peek(&mut buffer).await.unwrap(), 4);
            assert_eq!(std::future::poll_fn(|cx| ours.poll_peek(cx, &mut buffer)).await.unwrap(), 4);
        }
        assert_eq!(ours.peek(&mut []).await.unwrap(), 0);
        let n = ours.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..n], b"look");
    });
}

#[test]
fn empty_buffers_are_zero_bytes_and_no_wait() {
    run(async {
        let (ours, theirs) = pair().await;
        assert_eq!(ours.read(&mut []).await.unwrap(), 0);
        assert_eq!(ours.read_vectored(&mut []).await.unwrap(), 0);
        assert_eq!(ours.write(&[]).await.unwrap(), 0);
        assert_eq!(ours.write_vectored(&[]).await.unwrap(), 0);
        assert_eq!(ours.try_read(&mut []).unwrap(), 0);
        ours.read_exact(&mut []).await.unwrap();
        ours.write_all(&[]).await.unwrap();
        theirs.write_all(b"x").await.unwrap();
        let mut buffer = [0; 1];
        assert_eq!(ours.read(&mut buffer).await.unwrap(), 1);
    });
}

#[test]
fn readable_and_try_read_in_a_loop_get_everything() {
    run(async {
        let (ours, mut theirs) = pair_with_std().await;
        let mut random = Random::new(9);
        let data = random.bytes(300_000);
        let sent = data.clone();
        let writer = std::thread::spawn(move || {
            let mut rest = &sent[..];
            while !rest.is_empty() {
                let chunk = (1 + random.below(3000)).min(rest.len());
                theirs.write_all(&rest[..chunk]).unwrap();
                rest = &rest[chunk..];
            }
        });
        let mut seen = Vec::new();
        let mut buffer = [0; 1024];
        loop {
            ours.readable().await.unwrap();
            match ours.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => seen.extend_from_slice(&buffer[..n]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        assert!(seen == data);
        writer.join().unwrap();
    });
}

#[test]
fn writable_and_try_write_stop_at_a_full_socket_and_go_on_when_it_is_read() {
    run(async {
        let (ours, mut theirs) = pair_with_std().await;
        let chunk = Random::new(2).bytes(100_000);
        let mut sent = 0;
        loop {
            // Full when it stops being writable; whether a short write or a "would block" says so is up to the kernel.
            while let Ok(writable) = timeout(MOMENT, ours.writable()).await {
                writable.unwrap();
                match ours.try_write(&chunk) {
                    Ok(n) => sent += n,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            match ours.try_write(&chunk) {
                // The moment was too short for a loaded machine to tell of room.
                Ok(n) => sent += n,
                Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        let mut received = vec![0; sent];
        let reader = std::thread::spawn(move || {
            theirs.read_exact(&mut received).unwrap();
            theirs
        });
        ours.writable().await.unwrap();
        drop(reader.join().unwrap());
        // The peer has gone: writing says so, sooner or later, and raises no signal.
        let error = loop {
            if let Err(error) = ours.write(&chunk).await {
                break error;
            }
        };
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    });
}

#[test]
fn every_one_of_many_waiters_is_woken() {
    run(async {
        let (ours, theirs) = pair().await;
        let ours = Arc::new(ours);
        assert_eq!(ours.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let waiting = Arc::new(AtomicUsize::new(0));
        let waiters: Vec<_> = (0..50)
            .map(|_| {
                let (ours, waiting) = (ours.clone(), waiting.clone());
                egret_executor::spawn(async move {
                    let mut wait = std::pin::pin!(ours.readable());
                    assert!(futures_lite::future::poll_once(&mut wait).await.is_none());
                    waiting.fetch_add(1, Ordering::SeqCst);
                    wait.await.unwrap();
                })
            })
            .collect();
        while waiting.load(Ordering::SeqCst) < waiters.len() {
            egret_executor::task::yield_now().await;
        }
        theirs.write_all(b"x").await.unwrap();
        for waiter in waiters {
            waiter.await.unwrap();
        }
    });
}

#[test]
fn a_cancelled_read_loses_nothing() {
    run(async {
        let (ours, mut theirs) = pair_with_std().await;
        let data = Random::new(4).bytes(2000);
        let sent = data.clone();
        let writer = std::thread::spawn(move || {
            for piece in sent.chunks(7) {
                theirs.write_all(piece).unwrap();
                std::thread::sleep(Duration::from_micros(300));
            }
        });
        let mut seen = Vec::new();
        let mut cancelled = 0;
        let mut buffer = [0; 5];
        loop {
            // Now through the list of waiters, now through the direction's own place.
            let outcome = if cancelled % 2 == 0 {
                timeout(Duration::from_micros(200), ours.read(&mut buffer)).await
            } else {
                timeout(Duration::from_micros(200), AsyncReadExt::read(&mut &ours, &mut buffer)).await
            };
            match outcome {
                Ok(Ok(0)) => break,
                Ok(read) => seen.extend_from_slice(&buffer[..read.unwrap()]),
                Err(_) => cancelled += 1,
            }
        }
        assert!(seen == data);
        assert!(cancelled > 0, "nothing was ever cancelled");
        writer.join().unwrap();
    });
}

/// What `select!` over a reference may do: it is a new read, and it, too, is given what comes, and leaves without a trace.
#[test]
fn a_read_that_is_polled_again_after_its_end_reads_on() {
    run(async {
        let (ours, theirs) = pair().await;
        let mut buffer = [0; 3];
        let mut read = std::pin::pin!(ours.read(&mut buffer));
        assert!(futures_lite::future::poll_once(read.as_mut()).await.is_none());
        for piece in [b"abc", b"def"] {
            theirs.write_all(piece).await.unwrap();
            assert_eq!(read.as_mut().await.unwrap(), 3);
        }
        assert!(futures_lite::future::poll_once(read.as_mut()).await.is_none(), "all is read");
        theirs.write_all(b"gh").await.unwrap();
        assert_eq!(read.as_mut().await.unwrap(), 2);

        let mut rest = [0; 4];
        let mut exact = std::pin::pin!(ours.read_exact(&mut rest));
        theirs.write_all(b"1").await.unwrap();
        assert!(futures_lite::future::poll_once(exact.as_mut()).await.is_none());
        theirs.shutdown(Shutdown::Write).unwrap();
        for _ in 0..2 {
            assert_eq!(exact.as_mut().await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        }
    });
}

#[test]
fn ready_tells_which_direction() {
    run(async {
        let (ours, theirs) = pair().await;
        assert_eq!(ours.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let ready = ours.ready(Interest::READABLE | Interest::WRITABLE).await.unwrap();
        assert!(ready.is_writable() && !ready.is_readable(), "{ready:?}");
        theirs.write_all(b"x").await.unwrap();
        let ready = ours.ready(Interest::READABLE).await.unwrap();
        assert!(ready.is_readable() && !ready.is_read_closed(), "{ready:?}");
        drop(theirs);
        let closed = async {
            loop {
                let mut buffer = [0; 8];
                let _ = ours.try_read(&mut buffer);
                if ours.ready(Interest::READABLE).await.unwrap().is_read_closed() {
                    break;
                }
            }
        };
        closed.await;
    });
}

#[test]
fn try_io_believes_a_would_block() {
    run(async {
        let (ours, theirs) = pair().await;
        let blocked: std::io::Result<()> =
            ours.try_io(Interest::READABLE, || Err(ErrorKind::WouldBlock.into()));
        assert_eq!(blocked.unwrap_err().kind(), ErrorKind::WouldBlock);
        let unreached: std::io::Result<()> =
            ours.try_io(Interest::READABLE, || panic!("known not to be ready"));
        assert_eq!(unreached.unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(ours.try_io(Interest::WRITABLE, || Ok(7)).unwrap(), 7);
        theirs.write_all(b"x").await.unwrap();
        let byte = ours
            .async_io(Interest::READABLE, || {
                let mut byte = [0];
                let socket = socket2::SockRef::from(&ours);
                Read::read(&mut &*socket, &mut byte).map(|_| byte[0])
            })
            .await
            .unwrap();
        assert_eq!(byte, b'x');
    });
}

/// "Would block" of an operation on either direction refutes neither of those that hold: what is wrongly taken back never comes again.
#[test]
fn a_would_block_of_one_direction_leaves_the_other_alone() {
    run(async {
        let (ours, theirs) = pair().await;
        let both = Interest::READABLE | Interest::WRITABLE;
        let blocked = || ours.try_io(both, || Err::<(), _>(ErrorKind::WouldBlock.into())).unwrap_err().kind();
        assert_eq!(blocked(), ErrorKind::WouldBlock);
        let quiet = timeout(MOMENT, ours.readable()).await;
        assert!(quiet.is_err(), "nothing is there to be read");
        timeout(support::PATIENCE / 4, ours.writable()).await.expect("still writable").unwrap();

        theirs.write_all(b"x").await.unwrap();
        ours.readable().await.unwrap();
        for _ in 0..3 {
            assert_eq!(blocked(), ErrorKind::WouldBlock);
            timeout(support::PATIENCE / 4, ours.readable()).await.expect("still readable").unwrap();
            timeout(support::PATIENCE / 4, ours.writable()).await.expect("still writable").unwrap();
        }
        assert_eq!(ours.read(&mut [0; 2]).await.unwrap(), 1);
        drop(theirs);
        let error = ours.try_io(both, || Err::<(), _>(ErrorKind::InvalidData.into())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    });
}

#[test]
fn a_reset_in_the_middle_of_a_body_is_an_error_and_not_an_end() {
    run(async {
        let (ours, mut theirs) = pair_with_std().await;
        theirs.write_all(b"half of it").unwrap();
        let mut buffer = [0; 10];
        ours.read_exact(&mut buffer).await.unwrap();
        let pending = egret_executor::spawn(async move {
            let mut buffer = [0; 10];
            let outcome = ours.read(&mut buffer).await;
            // What is wrong with a connection stays wrong.
            let after = ours.write(b"x").await;
            (outcome, after)
        });
        socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
        drop(theirs);
        let (outcome, after) = pending.await.unwrap();
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(after.is_err());
    });
}

/// A read ends at the urgent mark. What is behind it comes at the latest with the next arrival, here the end of the stream.
#[test]
fn data_behind_an_urgent_mark_is_read() {
    run(async {
        for armed_first in [false, true] {
            let (ours, mut theirs) = pair_with_std().await;
            if armed_first {
                assert_eq!(ours.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
            }
            theirs.write_all(b"before").unwrap();
            socket2::SockRef::from(&theirs).send_out_of_band(b"!").unwrap();
            theirs.write_all(b"behind").unwrap();
            let mut seen = Vec::new();
            let mut buffer = [0; 64];
            while seen.len() < 6 {
                let n = ours.read(&mut buffer).await.unwrap();
                assert!(n > 0);
                seen.extend_from_slice(&buffer[..n]);
            }
            theirs.shutdown(Shutdown::Write).unwrap();
            (&ours).read_to_end(&mut seen).await.unwrap();
            assert_eq!(seen, b"beforebehind");
        }
    });
}

/// Whether reading is believed to be possible, without a system call.
fn believed_readable(stream: &TcpStream) -> bool {
    stream.try_io(Interest::READABLE, || Ok(())).is_ok()
}

/// The system call that would say "would block" is saved. (Not in every single round: a second event for the same data may come in.)
#[test]
fn a_short_transfer_says_all_and_a_full_one_nothing() {
    run(async {
        let (ours, theirs) = pair().await;
        assert_eq!(ours.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let mut buffer = [0; 16];
        let mut believed = [0; 3];
        for round in 0..30 {
            theirs.write_all(b"four").await.unwrap();
            ours.readable().await.unwrap();
            let n = match round % 3 {
                0 => ours.read(&mut buffer).await.unwrap(),
                1 => ours.try_read(&mut buffer).unwrap(),
                _ => AsyncReadExt::read(&mut &ours, &mut buffer).await.unwrap(),
            };
            assert_eq!(n, 4);
            believed[round % 3] += u32::from(believed_readable(&ours));
        }
        assert!(believed.iter().all(|&rounds| rounds < 5), "{believed:?} of 10 rounds");

        for _ in 0..10 {
            theirs.write_all(b"four").await.unwrap();
            ours.readable().await.unwrap();
            // Empty now, but nobody can know.
            assert_eq!(ours.read(&mut buffer[..4]).await.unwrap(), 4);
            assert!(believed_readable(&ours));
            assert_eq!(ours.try_read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    });
}

#[test]
fn a_stream_moves_between_tasks_while_it_is_armed() {
    run(async {
        let (ours, theirs) = pair().await;
        let mut ours = Some(ours);
        for round in 0..200u8 {
            let stream: TcpStream = ours.take().unwrap();
            let reader = egret_executor::spawn(async move {
                let mut byte = [0];
                stream.read_exact(&mut byte).await.unwrap();
                (stream, byte[0])
            });
            theirs.write_all(&[round]).await.unwrap();
            let (stream, byte) = reader.await.unwrap();
            assert_eq!(byte, round);
            ours = Some(stream);
        }
    });
}
