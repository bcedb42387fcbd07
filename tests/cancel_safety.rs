//! Futures that are dropped before they are ready lose nothing: not before what they wait for has come, and not after it has woken them.
//!
//! Each case is run in three ways: dropped while nothing has come; dropped after it was woken and before it was polled again; and the same with
//! somebody else who waits for the same thing, and who must be woken in its place.

#[path = "support/watchdog.rs"]
mod watchdog;

use std::{
    future::Future,
    io::{self, Write},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use egret::{
    Builder, Runtime,
    net::{Interest, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream},
    sync::CancellationToken,
    task::JoinSet,
    time,
};
use watchdog::Watchdog;

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

fn runtimes() -> [Runtime; 2] {
    [Builder::new_current_thread(), Builder::new_multi_thread().worker_threads(2)]
        .map(|builder| builder.build().unwrap())
}

/// Polls the future once and drops it.
fn poll_and_drop<T>(future: impl Future<Output = T>) {
    assert!(pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending(), "nothing has come yet");
}

/// Polls the future, lets come what it waits for, and drops it when it was woken.
async fn drop_when_woken<T>(future: impl Future<Output = T>, come: impl FnOnce()) {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut future = pin!(future);
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending(), "nothing has come yet");
    come();
    while !woken.0.load(Ordering::Acquire) {
        time::sleep(Duration::from_micros(100)).await;
    }
}

/// `$wait` is an expression that makes the future, `$come` one that makes it ready, `$got` looks at what it gave.
macro_rules! case {
    ($name:ident, $made:expr, |$it:ident| $wait:expr, $come:expr, $got:expr) => {
        #[test]
        fn $name() {
            let _watchdog = Watchdog::start();
            for runtime in runtimes() {
                runtime.block_on(async {
                    // Dropped before anything has come.
                    let $it = $made.await;
                    (0..3).for_each(|_| poll_and_drop($wait));
                    $come(&$it);
                    $got($wait.await);
                    // Dropped after it was woken.
                    let $it = $made.await;
                    let come = $it.comer();
                    drop_when_woken($wait, || $come(&come)).await;
                    $got($wait.await);
                });
            }
        }
    };
}

/// Something to wait on, and whoever makes it ready.
struct Two<T, C> {
    it: T,
    other: Arc<C>,
}

impl<T, C> Two<T, C> {
    fn new(it: T, other: C) -> Self {
        Self { it, other: Arc::new(other) }
    }

    fn comer(&self) -> Two<(), C> {
        Two { it: (), other: self.other.clone() }
    }
}

async fn tcp() -> Two<TcpStream, std::net::TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let near = listener.accept().await.unwrap().0;
    // A new socket counts as ready until somebody has looked.
    assert_eq!(near.try_read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    Two::new(near, far)
}

async fn tcp_listener() -> Two<TcpListener, std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Two::new(listener, address)
}

async fn unix() -> Two<UnixStream, std::os::unix::net::UnixStream> {
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    Two::new(UnixStream::from_std(near).unwrap(), far)
}

async fn udp() -> Two<UdpSocket, (std::net::UdpSocket, std::net::SocketAddr)> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    Two::new(socket, (std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), address))
}

async fn datagrams() -> Two<UnixDatagram, std::os::unix::net::UnixDatagram> {
    let (near, far) = std::os::unix::net::UnixDatagram::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    Two::new(UnixDatagram::from_std(near).unwrap(), far)
}

async fn token() -> Two<CancellationToken, CancellationToken> {
    let token = CancellationToken::new();
    Two::new(token.clone(), token)
}

async fn read(stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut buffer = [0; 16];
    stream.read(&mut buffer).await.map(|n| buffer[..n].to_vec())
}

async fn read_unix(stream: &UnixStream) -> io::Result<Vec<u8>> {
    let mut buffer = [0; 16];
    stream.read(&mut buffer).await.map(|n| buffer[..n].to_vec())
}

async fn receive(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    let mut buffer = [0; 16];
    socket.recv_from(&mut buffer).await.map(|(n, _)| buffer[..n].to_vec())
}

async fn receive_unix(socket: &UnixDatagram) -> io::Result<Vec<u8>> {
    let mut buffer = [0; 16];
    socket.recv(&mut buffer).await.map(|n| buffer[..n].to_vec())
}

fn hello(got: io::Result<Vec<u8>>) {
    assert_eq!(got.unwrap(), b"hello");
}

case!(
    tcp_read,
    tcp(),
    |two| read(&two.it),
    |two: &Two<_, std::net::TcpStream>| (&*two.other).write_all(b"hello").unwrap(),
    hello
);
case!(
    tcp_readable,
    tcp(),
    |two| two.it.readable(),
    |two: &Two<_, std::net::TcpStream>| (&*two.other).write_all(b"hello").unwrap(),
    |got: io::Result<()>| got.unwrap()
);
case!(
    tcp_ready,
    tcp(),
    |two| two.it.ready(Interest::READABLE),
    |two: &Two<_, std::net::TcpStream>| (&*two.other).write_all(b"hello").unwrap(),
    |got: io::Result<egret::net::Ready>| assert!(got.unwrap().is_readable())
);
case!(
    tcp_accept,
    tcp_listener(),
    |two| two.it.accept(),
    |two: &Two<_, std::net::SocketAddr>| drop(std::net::TcpStream::connect(*two.other).unwrap()),
    |got: io::Result<_>| drop(got.unwrap())
);
case!(
    unix_read,
    unix(),
    |two| read_unix(&two.it),
    |two: &Two<_, std::os::unix::net::UnixStream>| (&*two.other).write_all(b"hello").unwrap(),
    hello
);
case!(
    udp_receive,
    udp(),
    |two| receive(&two.it),
    |two: &Two<_, (std::net::UdpSocket, std::net::SocketAddr)>| {
        two.other.0.send_to(b"hello", two.other.1).unwrap();
    },
    hello
);
case!(
    datagram_receive,
    datagrams(),
    |two| receive_unix(&two.it),
    |two: &Two<_, std::os::unix::net::UnixDatagram>| {
        two.other.send(b"hello").unwrap();
    },
    hello
);
case!(
    token_cancelled,
    token(),
    |two| two.it.cancelled(),
    |two: &Two<_, CancellationToken>| two.other.cancel(),
    |(): ()| ()
);

/// Of two who wait for the same thing the one that is woken goes away: the other one gets it.
#[test]
fn a_wake_is_passed_on() {
    let _watchdog = Watchdog::start();
    for runtime in runtimes() {
        runtime.block_on(async {
            for _ in 0..20 {
                let two = tcp_listener().await;
                let listener = Arc::new(two.it);
                let second = Arc::new(Woken::default());
                let waker = Waker::from(second.clone());
                let first = listener.accept();
                let mut other = pin!(listener.accept());
                let address = *two.other;
                let mut connected = None;
                drop_when_woken(first, || {
                    assert!(other.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                    connected = Some(std::net::TcpStream::connect(address).unwrap());
                })
                .await;
                other.await.unwrap();
            }
        });
    }
}

#[test]
fn a_listener_at_a_path() {
    let _watchdog = Watchdog::start();
    let folder = std::env::temp_dir().join(format!("egret-cancel-safety-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (number, runtime) in runtimes().into_iter().enumerate() {
        let path = folder.join(number.to_string());
        runtime.block_on(async {
            let listener = UnixListener::bind(&path).unwrap();
            (0..3).for_each(|_| poll_and_drop(listener.accept()));
            let mut connected = Vec::new();
            drop_when_woken(listener.accept(), || {
                connected.push(std::os::unix::net::UnixStream::connect(&path).unwrap());
            })
            .await;
            listener.accept().await.unwrap();
        });
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn tasks_and_times() {
    let _watchdog = Watchdog::start();
    for runtime in runtimes() {
        runtime.block_on(async {
            let token = CancellationToken::new();
            let waits = token.clone();
            let mut task = egret::spawn(async move {
                waits.cancelled().await;
                7
            });
            (0..3).for_each(|_| poll_and_drop(&mut task));
            drop_when_woken(&mut task, || token.cancel()).await;
            assert_eq!(task.await.unwrap(), 7);

            let mut set = JoinSet::new();
            let token = CancellationToken::new();
            for number in 0..3 {
                let waits = token.clone();
                set.spawn(async move {
                    waits.cancelled().await;
                    number
                });
            }
            (0..3).for_each(|_| poll_and_drop(set.join_next()));
            drop_when_woken(set.join_next(), || token.cancel()).await;
            let mut got = set.join_all().await;
            got.sort_unstable();
            assert_eq!(got, [0, 1, 2]);

            // Three ticks, dropped before and after their time: none is lost, none comes twice.
            let period = Duration::from_millis(2);
            let start = time::Instant::now() + period;
            let mut interval = time::interval_at(start, period);
            for tick in 0..3 {
                drop_when_woken(interval.tick(), || ()).await;
                assert_eq!(interval.tick().await, start + tick * period);
            }

            let mut sleep = pin!(time::sleep(Duration::from_millis(2)));
            drop_when_woken(sleep.as_mut(), || ()).await;
            sleep.await;

            // What a timeout holds by reference is not lost with it.
            let two = tcp().await;
            let waited = time::timeout(Duration::from_millis(1), read(&two.it)).await;
            assert!(waited.is_err());
            (&*two.other).write_all(b"hello").unwrap();
            hello(read(&two.it).await);
        });
    }
}
