//! tokio's I/O traits on our sockets, driven by tokio's own combinators.

use std::future::Future;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::time::Duration;

use egret_executor::time::timeout;
use egret_net::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, TcpListener, TcpStream, WriteHalf};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Within this everything on loopback has happened.
const PATIENCE: Duration = Duration::from_secs(20);

fn run<F: Future>(future: F) -> F::Output {
    let runtime = egret_executor::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async { timeout(PATIENCE, future).await.expect("it ends") })
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

#[test]
fn every_stream_and_half_has_the_traits() {
    fn reads<T: AsyncRead + Unpin + Send + 'static>() {}
    fn writes<T: AsyncWrite + Unpin + Send + 'static>() {}
    reads::<TcpStream>();
    writes::<TcpStream>();
    reads::<OwnedReadHalf>();
    writes::<OwnedWriteHalf>();
    fn borrowed<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>((_, _): (R, W)) {}
    fn halves((read, write): (ReadHalf<'_>, WriteHalf<'_>)) {
        borrowed((read, write));
    }
    let _compiles = halves;
}

async fn poll_read(stream: &mut TcpStream, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
    std::future::poll_fn(|cx| AsyncRead::poll_read(Pin::new(&mut *stream), cx, buffer)).await
}

#[test]
fn a_short_read_initialises_what_arrived_and_no_more() {
    run(async {
        let (mut near, far) = pair().await;
        far.write_all(b"hello").await.unwrap();
        let mut memory = vec![MaybeUninit::uninit(); 1 << 20];
        let mut buffer = ReadBuf::uninit(&mut memory);
        poll_read(&mut near, &mut buffer).await.unwrap();
        assert_eq!((buffer.filled(), buffer.initialized().len()), (&b"hello"[..], 5));
        // The next goes behind it, and what was there stays.
        far.write_all(b", world").await.unwrap();
        poll_read(&mut near, &mut buffer).await.unwrap();
        assert_eq!((buffer.filled(), buffer.initialized().len()), (&b"hello, world"[..], 12));
        // Nor does the end of the stream write anything.
        drop(far);
        poll_read(&mut near, &mut buffer).await.unwrap();
        assert_eq!(buffer.initialized().len(), 12);
    });
}

#[test]
fn a_buffer_that_was_written_before_keeps_its_initialised_part() {
    run(async {
        let (mut near, far) = pair().await;
        far.write_all(b"abc").await.unwrap();
        let mut memory = *b"........";
        let mut buffer = ReadBuf::new(&mut memory);
        poll_read(&mut near, &mut buffer).await.unwrap();
        assert_eq!((buffer.filled().len(), buffer.initialized()), (3, &b"abc....."[..]));
    });
}

#[test]
fn a_read_without_room_is_done_at_once() {
    run(async {
        let (mut near, _far) = pair().await;
        let mut buffer = ReadBuf::new(&mut []);
        // Nothing has arrived: waiting would be for ever.
        poll_read(&mut near, &mut buffer).await.unwrap();
        assert!(buffer.filled().is_empty());
    });
}

/// Through the traits only, as a library does it: what is read grows in memory that nobody cleared.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<usize> {
    let mut total = 0;
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        match stream.read_buf(&mut buffer).await? {
            0 => break,
            moved => total += moved,
        }
        stream.write_all(&buffer).await?;
        buffer.clear();
    }
    stream.shutdown().await?;
    Ok(total)
}

/// No two of its first 65,521 places look alike for long.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i % 65_521) >> 3) as u8 ^ i as u8).collect()
}

#[test]
fn megabytes_go_to_and_fro_through_owned_halves() {
    run(async {
        let (near, far) = pair().await;
        let echo = egret_executor::spawn(echo(far));
        let (mut read, mut write) = near.into_split();
        let sent = pattern(3_000_000);
        let expected = sent.clone();
        let writer = egret_executor::spawn(async move {
            AsyncWriteExt::write_all(&mut write, &sent).await.unwrap();
            AsyncWriteExt::shutdown(&mut write).await.unwrap();
            write
        });
        let mut found = Vec::new();
        read.read_to_end(&mut found).await.unwrap();
        assert!(found == expected);
        assert_eq!(echo.await.unwrap().unwrap(), expected.len());
        read.reunite(writer.await.unwrap()).expect("they are of one stream");
    });
}

#[test]
fn borrowed_halves_and_vectored_writes() {
    run(async {
        let (mut near, far) = pair().await;
        let (mut read, mut write) = near.split();
        assert!(AsyncWrite::is_write_vectored(&write));
        let parts = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")];
        assert_eq!(AsyncWriteExt::write_vectored(&mut write, &parts).await.unwrap(), 7);
        AsyncWriteExt::flush(&mut write).await.unwrap();
        AsyncWriteExt::shutdown(&mut write).await.unwrap();
        let mut found = String::new();
        let mut far = far;
        far.read_to_string(&mut found).await.unwrap();
        assert_eq!(found, "one two");
        // Only one direction has ended.
        AsyncWriteExt::write_all(&mut far, b"still").await.unwrap();
        let mut answer = [0; 5];
        assert_eq!(AsyncReadExt::read_exact(&mut read, &mut answer).await.unwrap(), 5);
        assert_eq!(&answer, b"still");
    });
}

#[test]
fn shutting_down_is_no_error_when_the_peer_has_gone() {
    run(async {
        let (mut near, far) = pair().await;
        far.set_linger(Some(Duration::ZERO)).unwrap();
        drop(far);
        // The reset is here once a read tells of it.
        let error = AsyncReadExt::read(&mut near, &mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        AsyncWriteExt::shutdown(&mut near).await.unwrap();
    });
}

#[test]
fn tokios_own_copying_in_both_directions() {
    run(async {
        let (client, mut inward) = pair().await;
        let (mut outward, server) = pair().await;
        let proxy =
            egret_executor::spawn(
                async move { tokio::io::copy_bidirectional(&mut inward, &mut outward).await },
            );
        let server = egret_executor::spawn(echo(server));
        let sent = pattern(200_000);
        let expected = sent.clone();
        let (mut read, mut write) = client.into_split();
        let writer = egret_executor::spawn(async move { write.write_all(&sent).await });
        let mut found = Vec::new();
        read.read_to_end(&mut found).await.unwrap();
        writer.await.unwrap().unwrap();
        assert!(found == expected);
        let all = expected.len() as u64;
        assert_eq!(proxy.await.unwrap().unwrap(), (all, all));
        assert_eq!(server.await.unwrap().unwrap(), expected.len());
    });
}
