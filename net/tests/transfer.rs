//! Bytes get across whole and in order: in chunks of every size, in both directions at once, through halves, vectored, against backpressure.

mod support;

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;

use egret_net::TcpStream;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use support::{Random, listener, pair, pair_with_std, run};

async fn echo(stream: TcpStream) {
    let mut buffer = vec![0; 1500];
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => return,
            n => stream.write_all(&buffer[..n]).await.unwrap(),
        }
    }
}

#[test]
fn echo_with_random_chunks_against_std_threads() {
    run(async {
        let (listener, address) = listener().await;
        let clients: Vec<_> = (1..=8)
            .map(|seed| {
                std::thread::spawn(move || {
                    let mut random = Random::new(seed);
                    let data = random.bytes(200_000);
                    let mut stream = std::net::TcpStream::connect(address).unwrap();
                    let mut reading = stream.try_clone().unwrap();
                    let reader = std::thread::spawn(move || {
                        let mut echoed = Vec::new();
                        reading.read_to_end(&mut echoed).unwrap();
                        echoed
                    });
                    let mut rest = &data[..];
                    while !rest.is_empty() {
                        let chunk = (1 + random.below(5000)).min(rest.len());
                        stream.write_all(&rest[..chunk]).unwrap();
                        rest = &rest[chunk..];
                    }
                    stream.shutdown(Shutdown::Write).unwrap();
                    assert!(reader.join().unwrap() == data);
                })
            })
            .collect();
        let mut tasks = Vec::new();
        for _ in 0..clients.len() {
            tasks.push(egret_executor::spawn(echo(listener.accept().await.unwrap().0)));
        }
        for task in tasks {
            task.await.unwrap();
        }
        for client in clients {
            client.join().unwrap();
        }
    });
}

/// Both directions wait at the same time on one socket; an event for one must not cost the other its wake.
#[test]
fn both_directions_at_once_in_one_task_and_in_two() {
    run(async {
        for owned in [false, true] {
            let (mut ours, mut theirs) = pair_with_std().await;
            let size = 4_000_000;
            let data = Random::new(7).bytes(size);
            let peer = std::thread::spawn({
                let data = data.clone();
                move || {
                    let mut writing = theirs.try_clone().unwrap();
                    let writer = std::thread::spawn(move || writing.write_all(&data).unwrap());
                    let mut received = vec![0; size];
                    theirs.read_exact(&mut received).unwrap();
                    writer.join().unwrap();
                    received
                }
            });
            let mut received = vec![0; size];
            if owned {
                let (mut read, mut write) = ours.into_split();
                let sent = data.clone();
                let writer = egret_executor::spawn(async move {
                    write.write_all(&sent).await.unwrap();
                    write
                });
                read.read_exact(&mut received).await.unwrap();
                let whole = read.reunite(writer.await.unwrap()).unwrap();
                assert!(whole.peer_addr().is_ok());
            } else {
                let (mut read, mut write) = ours.split();
                let both = futures_lite::future::zip(read.read_exact(&mut received), write.write_all(&data));
                let (reading, writing) = both.await;
                reading.unwrap();
                writing.unwrap();
            }
            assert!(received == data);
            assert!(peer.join().unwrap() == data);
        }
    });
}

/// `&TcpStream` from two tasks, without any split.
#[test]
fn a_shared_stream_is_read_and_written_by_two_tasks() {
    run(async {
        let (ours, theirs) = pair().await;
        let ours = std::sync::Arc::new(ours);
        let echo = egret_executor::spawn(echo(theirs));
        let data = Random::new(3).bytes(1_000_000);
        let writer = egret_executor::spawn({
            let (ours, data) = (ours.clone(), data.clone());
            async move {
                ours.write_all(&data).await.unwrap();
                ours.shutdown(Shutdown::Write).unwrap();
            }
        });
        let mut received = Vec::new();
        (&*ours).read_to_end(&mut received).await.unwrap();
        assert!(received == data);
        writer.await.unwrap();
        echo.await.unwrap();
    });
}

#[test]
fn large_vectored_writes_against_backpressure() {
    run(async {
        let (ours, mut theirs) = pair_with_std().await;
        let mut random = Random::new(11);
        // More buffers than one sendmsg(2) takes, an empty one among them.
        let parts: Vec<Vec<u8>> = (0..3000)
            .map(|i| {
                if i == 5 {
                    Vec::new()
                } else {
                    let n = random.below(4000);
                    random.bytes(n)
                }
            })
            .collect();
        let all = parts.concat();
        let size = all.len();
        let reader = std::thread::spawn(move || {
            let mut received = vec![0; size];
            theirs.read_exact(&mut received).unwrap();
            received
        });
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut rest = &mut slices[..];
        let mut calls = 0;
        let mut sent = 0;
        while sent < size {
            let n = ours.write_vectored(rest).await.unwrap();
            assert!(n > 0);
            sent += n;
            calls += 1;
            IoSlice::advance_slices(&mut rest, n);
        }
        assert!(calls > 1, "there was no backpressure");
        assert!(reader.join().unwrap() == all);
    });
}

#[test]
fn vectored_reads_fill_one_buffer_after_the_other() {
    run(async {
        let (ours, theirs) = pair().await;
        theirs.write_all(b"abcdefgh").await.unwrap();
        theirs.shutdown(Shutdown::Write).unwrap();
        let (mut first, mut second) = ([0; 3], [0; 10]);
        let mut seen = Vec::new();
        loop {
            let n = ours
                .read_vectored(&mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)])
                .await
                .unwrap();
            if n == 0 {
                break;
            }
            seen.extend_from_slice(&first[..n.min(3)]);
            seen.extend_from_slice(&second[..n.saturating_sub(3)]);
        }
        assert_eq!(seen, b"abcdefgh");
    });
}

#[test]
fn half_close_is_an_end_of_stream_and_the_other_direction_lives() {
    run(async {
        let (ours, mut theirs) = pair_with_std().await;
        let mut buffer = [0; 16];
        theirs.write_all(b"bye").unwrap();
        theirs.shutdown(Shutdown::Write).unwrap();
        let mut seen = Vec::new();
        (&ours).read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"bye");
        assert_eq!(ours.read(&mut buffer).await.unwrap(), 0, "the end of the stream stays the end");
        // More than fits the buffers: the writer has to wait, on a connection whose peer is half closed.
        let data = Random::new(5).bytes(8_000_000);
        let size = data.len();
        let reader = std::thread::spawn(move || {
            let mut received = vec![0; size];
            theirs.read_exact(&mut received).unwrap();
            received
        });
        ours.write_all(&data).await.unwrap();
        assert!(reader.join().unwrap() == data);
    });
}

#[test]
fn halves_reunite_only_with_their_own() {
    run(async {
        let (one, other) = pair().await;
        let (read_one, write_one) = one.into_split();
        let (read_other, write_other) = other.into_split();
        let error = read_one.reunite(write_other).unwrap_err();
        assert!(error.to_string().contains("same stream"));
        let (read_one, write_other) = (error.0, error.1);
        let mut one = write_one.reunite(read_one).unwrap();
        let mut other = read_other.reunite(write_other).unwrap();
        AsyncWriteExt::write_all(&mut one, b"whole again").await.unwrap();
        let mut buffer = [0; 11];
        AsyncReadExt::read_exact(&mut other, &mut buffer).await.unwrap();
        assert_eq!(&buffer, b"whole again");
    });
}

#[test]
fn an_owned_write_half_ends_its_direction_when_dropped_and_not_when_forgotten() {
    run(async {
        let (ours, theirs) = pair().await;
        let (mut read, write) = ours.into_split();
        drop(write);
        let mut buffer = [0; 4];
        assert_eq!(theirs.read(&mut buffer).await.unwrap(), 0);
        theirs.write_all(b"more").await.unwrap();
        read.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"more");

        let (ours, theirs) = pair().await;
        let (read, write) = ours.into_split();
        write.forget();
        let quiet =
            egret_executor::time::timeout(std::time::Duration::from_millis(50), theirs.read(&mut buffer))
                .await;
        assert!(quiet.is_err(), "{quiet:?}");
        drop(read);
        assert_eq!(theirs.read(&mut buffer).await.unwrap(), 0);
    });
}

#[test]
fn closing_through_the_trait_shuts_the_write_direction_down_once() {
    run(async {
        let (ours, theirs) = pair().await;
        let (read, mut write) = ours.into_split();
        AsyncWriteExt::write_all(&mut write, b"last").await.unwrap();
        write.close().await.unwrap();
        let mut seen = Vec::new();
        (&theirs).read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"last");
        theirs.write_all(b"ok").await.unwrap();
        let mut stream = read.reunite(write).unwrap();
        let mut buffer = [0; 2];
        stream.read_exact(&mut buffer).await.unwrap();
        drop(theirs);
        // Gone altogether: still nothing to complain about.
        stream.close().await.unwrap();
    });
}
