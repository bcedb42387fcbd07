//! tokio's I/O traits on our sockets, driven by tokio's own combinators.

use std::future::Future;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::time::Duration;

use egret_executor::time::timeout;
use egret_net::{
    OwnedReadHalf, OwnedWriteHalf, ReadHalf, TcpListener, TcpStream, UnixListener, UnixStream, WriteHalf,
    unix,
};
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
    reads::<UnixStream>();
    writes::<UnixStream>();
    reads::<unix::OwnedReadHalf>();
    writes::<unix::OwnedWriteHalf>();
    fn borrowed<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>((_, _): (R, W)) {}
    fn halves((read, write): (ReadHalf<'_>, WriteHalf<'_>)) {
        borrowed((read, write));
    }
    fn unix_halves((read, write): (unix::ReadHalf<'_>, unix::WriteHalf<'_>)) {
        borrowed((read, write));
    }
    let _compiles = (halves, unix_halves);
}

async fn poll_read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut ReadBuf<'_>) -> io::Result<()> {
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

#[test]
fn over_a_unix_stream_nothing_is_zeroed_either() {
    run(async {
        let (mut near, far) = UnixStream::pair().unwrap();
        far.write_all(b"hello").await.unwrap();
        let mut memory = vec![MaybeUninit::uninit(); 1 << 20];
        let mut buffer = ReadBuf::uninit(&mut memory);
        poll_read(&mut near, &mut buffer).await.unwrap();
        assert_eq!((buffer.filled(), buffer.initialized().len()), (&b"hello"[..], 5));
        poll_read(&mut near, &mut ReadBuf::new(&mut [])).await.unwrap();
        drop(far);
        poll_read(&mut near, &mut buffer).await.unwrap();
        assert_eq!(buffer.initialized().len(), 5);
    });
}

/// Sends `data` with a descriptor: a read ends at its mark, with more behind it.
fn send_with_descriptor(stream: &UnixStream, data: &[u8]) {
    use std::os::fd::{AsFd, AsRawFd};
    let fd = stream.as_fd().as_raw_fd();
    // As much as a control message with one descriptor takes, aligned as one has to be.
    let mut control = [0u64; 4];
    let mut part = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    // SAFETY: all-zero is a valid msghdr: null pointers and lengths of zero.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute.
    let (space, len) = unsafe { (libc::CMSG_SPACE(4), libc::CMSG_LEN(4)) };
    assert!(space as usize <= size_of_val(&control));
    message.msg_controllen = space as _;
    // SAFETY: `control` is large enough for one header and a descriptor, which is what is written; sendmsg(2) reads what `message` points to, all of which
    // lives through the call.
    let sent = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = len as _;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(fd);
        libc::sendmsg(fd, &raw const message, 0)
    };
    assert_eq!(sent, data.len() as isize);
}

#[test]
fn a_unix_read_that_ends_at_a_passed_descriptor_is_not_the_last_one() {
    run(async {
        let (mut near, far) = UnixStream::pair().unwrap();
        // All are there before the first read, and no more comes: nothing wakes a reader that takes a short read for the end of the queue.
        for data in [&b"one"[..], b"two", b"three"] {
            send_with_descriptor(&far, data);
        }
        let mut found = vec![0; 11];
        AsyncReadExt::read_exact(&mut near, &mut found).await.unwrap();
        assert_eq!(found, b"onetwothree");
    });
}

#[test]
fn megabytes_go_to_and_fro_through_the_halves_of_a_unix_stream() {
    run(async {
        let directory = std::env::temp_dir().join(format!("egret-compat-{}", std::process::id()));
        // What an earlier process of the same number has left.
        let _ = std::fs::remove_file(&directory);
        let listener = UnixListener::bind(&directory).unwrap();
        let near = UnixStream::connect(&directory).await.unwrap();
        let far = listener.accept().await.unwrap().0;
        std::fs::remove_file(&directory).unwrap();
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

        let mut whole = read.reunite(writer.await.unwrap()).expect("they are of one stream");
        let (mut read, write) = whole.split();
        assert!(AsyncWrite::is_write_vectored(&write));
        assert_eq!(AsyncReadExt::read(&mut read, &mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn tokios_own_copying_between_tcp_and_unix() {
    run(async {
        let (mut client, mut inward) = pair().await;
        let (mut outward, server) = UnixStream::pair().unwrap();
        let proxy =
            egret_executor::spawn(
                async move { tokio::io::copy_bidirectional(&mut inward, &mut outward).await },
            );
        let server = egret_executor::spawn(echo(server));
        AsyncWriteExt::write_all(&mut client, b"across").await.unwrap();
        AsyncWriteExt::shutdown(&mut client).await.unwrap();
        let mut found = Vec::new();
        client.read_to_end(&mut found).await.unwrap();
        assert_eq!(found, b"across");
        assert_eq!(proxy.await.unwrap().unwrap(), (6, 6));
        assert_eq!(server.await.unwrap().unwrap(), 6);
    });
}
