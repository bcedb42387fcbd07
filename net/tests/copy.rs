//! Copies from stream to stream.

mod support;

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use egret_executor::spawn;
use egret_executor::time::timeout;
use egret_net::io::{AsyncRead, AsyncWrite, copy, copy_bidirectional, copy_bidirectional_with_sizes};
use egret_net::{TcpStream, splice, splice_bidirectional};
use futures_lite::io::{BufWriter, Cursor, repeat, sink};
use support::{PATIENCE, Random, pair, run, run_for};

async fn read_all(stream: &TcpStream) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 10_000]);
    while let n @ 1.. = stream.read(&mut buffer).await.unwrap() {
        all.extend_from_slice(&buffer[..n]);
    }
    all
}

#[test]
fn everything_is_copied_and_the_writer_stays_open() {
    run(async {
        let (client, mut server) = pair().await;
        let data = Random::new(3).bytes(1_000_000);
        let sent = data.clone();
        let writing = spawn(async move { client.write_all(&sent).await });
        let (mut near, far) = pair().await;
        let reading = spawn(async move {
            let mut all = vec![0; 1_000_000];
            far.read_exact(&mut all).await.unwrap();
            (all, far)
        });
        assert_eq!(copy(&mut server, &mut near).await.unwrap(), 1_000_000);
        let (all, far) = reading.await.unwrap();
        assert!(all == data);
        writing.await.unwrap().unwrap();
        near.write_all(b"more").await.unwrap();
        far.read_exact(&mut [0; 4]).await.unwrap();
    });
}

#[test]
fn one_direction_can_be_spliced_and_given_up() {
    run(async {
        let (client, server) = pair().await;
        let (near, far) = pair().await;
        {
            let mut splicing = std::pin::pin!(splice(&server, &near));
            let waker = std::task::Waker::noop();
            assert!(splicing.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        }
        // Nothing was under way, so nothing is lost.
        let data = Random::new(4).bytes(2_000_000);
        let sent = data.clone();
        let writing = spawn(async move { client.write_all(&sent).await });
        let reading = spawn(async move { read_all(&far).await });
        assert_eq!(splice(&server, &near).await.unwrap(), 2_000_000);
        assert!(reading.await.unwrap() == data, "and then the end");
        writing.await.unwrap().unwrap();
    });
}

/// How a relay moves what it moves.
#[derive(Clone, Copy)]
enum Sizes {
    Usual,
    Given(usize, usize),
    /// By splice(2).
    Kernels,
}

/// A relay between a client and a server: the two ends of it, and what it comes to.
async fn relay(sizes: Sizes) -> (TcpStream, TcpStream, egret_executor::JoinHandle<io::Result<(u64, u64)>>) {
    let (client, mut a) = pair().await;
    let (server, mut b) = pair().await;
    let relaying = spawn(async move {
        match sizes {
            Sizes::Given(there, back) => copy_bidirectional_with_sizes(&mut a, &mut b, there, back).await,
            Sizes::Usual => copy_bidirectional(&mut a, &mut b).await,
            Sizes::Kernels => splice_bidirectional(&a, &b).await,
        }
    });
    (client, server, relaying)
}

#[test]
fn both_directions_move_at_once_whatever_the_buffers() {
    const LENGTH: usize = 400_000;
    for sizes in [Sizes::Usual, Sizes::Given(1_000, 64 * 1024), Sizes::Given(777, 1_001), Sizes::Kernels] {
        run(async move {
            let (client, server, relaying) = relay(sizes).await;
            let ends = [client, server].map(|end| {
                spawn(async move {
                    let data = Random::new(9).bytes(LENGTH);
                    let mut echo = vec![0; LENGTH];
                    let both = futures_lite::future::zip(end.write_all(&data), end.read_exact(&mut echo));
                    let (written, read) = both.await;
                    written.unwrap();
                    read.unwrap();
                    assert!(echo == data, "both send the same");
                    end.shutdown(Shutdown::Write).unwrap();
                    assert_eq!(end.read(&mut [0; 8]).await.unwrap(), 0);
                })
            });
            for end in ends {
                end.await.unwrap();
            }
            assert_eq!(relaying.await.unwrap().unwrap(), (LENGTH as u64, LENGTH as u64));
        });
    }
}

#[test]
fn half_a_close_is_passed_on_and_no_more_than_half() {
    for sizes in [Sizes::Usual, Sizes::Kernels] {
        run(async move {
            let (client, server, relaying) = relay(sizes).await;
            client.write_all(b"question").await.unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_all(&server).await, b"question");
            for _ in 0..3 {
                server.write_all(b"answer").await.unwrap();
                let mut answer = [0; 6];
                client.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, b"answer");
            }
            drop(server);
            assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
            assert_eq!(relaying.await.unwrap().unwrap(), (8, 18));
        });
    }
}

/// What lies in the writer's own buffer may be the question that the reader's next bytes are the answer to.
#[test]
fn while_nothing_comes_nothing_is_held_back() {
    run(async {
        let (client, mut server) = pair().await;
        let (near, far) = pair().await;
        let copying = spawn(async move {
            let mut buffered = BufWriter::with_capacity(1 << 20, near);
            copy(&mut server, &mut buffered).await
        });
        for _ in 0..3 {
            client.write_all(b"ping").await.unwrap();
            let mut ping = [0; 4];
            timeout(PATIENCE, far.read_exact(&mut ping)).await.expect("it was flushed").unwrap();
        }
        drop(client);
        assert_eq!(copying.await.unwrap().unwrap(), 12);
    });
}

#[test]
fn streams_that_never_wait_do_not_keep_the_thread() {
    run(async {
        let copying = timeout(Duration::from_millis(20), copy(&mut repeat(7), &mut sink())).await;
        assert!(copying.is_err(), "it goes on for ever, and others are served");
    });
}

#[test]
fn the_first_error_is_the_answer() {
    struct Broken;
    impl AsyncRead for Broken {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(ErrorKind::ConnectionReset.into()))
        }
    }
    impl AsyncWrite for Broken {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(ErrorKind::BrokenPipe.into()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
    run(async {
        let error = copy(&mut Broken, &mut sink()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = copy(&mut &b"data"[..], &mut Broken).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        let mut small = [0; 3];
        let error = copy(&mut &b"data"[..], &mut Cursor::new(&mut small[..])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WriteZero);
        // One direction waits, the other breaks: nobody waits for the first.
        let (_client, mut server) = pair().await;
        let error = copy_bidirectional(&mut server, &mut Broken).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_reset_ends_a_relay() {
    for sizes in [Sizes::Usual, Sizes::Kernels] {
        run(async move {
            let (client, server, relaying) = relay(sizes).await;
            server.write_all(b"x").await.unwrap();
            client.read_exact(&mut [0; 1]).await.unwrap();
            client.set_zero_linger().unwrap();
            drop(client);
            let error = relaying.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0, "the relay's streams are gone");
        });
    }
}

#[test]
fn many_relays_at_once() {
    run_for(3 * PATIENCE, async {
        let tasks: Vec<_> = (0..40)
            .map(|number| {
                spawn(async move {
                    let sizes = if number % 2 == 0 { Sizes::Usual } else { Sizes::Kernels };
                    let (client, server, relaying) = relay(sizes).await;
                    let data = vec![5; 50_000];
                    let echo = spawn(async move {
                        let all = read_all(&server).await;
                        server.write_all(&all).await.unwrap();
                    });
                    client.write_all(&data).await.unwrap();
                    client.shutdown(Shutdown::Write).unwrap();
                    assert!(read_all(&client).await == data);
                    echo.await.unwrap();
                    assert_eq!(relaying.await.unwrap().unwrap(), (50_000, 50_000));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
#[should_panic(expected = "room for a byte")]
fn a_buffer_of_nothing_is_refused() {
    run(async {
        let (_client, mut server) = pair().await;
        let (_other, mut near) = pair().await;
        drop(copy_bidirectional_with_sizes(&mut server, &mut near, 0, 1).await);
    });
}

#[test]
fn they_go_to_any_thread_and_take_trait_objects() {
    fn sends<T: Send>(future: T) -> T {
        future
    }
    run(async {
        let mut kept = Vec::new();
        let reader: &mut (dyn AsyncRead + Send + Unpin) = &mut &b"data"[..];
        assert_eq!(sends(copy(reader, &mut kept)).await.unwrap(), 4);
        assert_eq!(kept, b"data");
    });
}
