//! Connecting to several addresses (RFC 8305): who is tried when, who wins, and what becomes of the others.

mod support;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::time::{Duration, Instant};

use egret_net::TcpStream;
use futures_lite::future::poll_once;
use socket2::{Domain, Protocol, Socket, Type};
use support::{eventually, run};

/// As in the product: the RFC's delay between two attempts.
const DELAY: Duration = Duration::from_millis(250);

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Somebody who answers, and whom one can ask whether anybody came.
struct Alive(StdListener);

impl Alive {
    fn at(ip: IpAddr) -> Self {
        let listener = StdListener::bind((ip, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn nobody_came(&self) -> bool {
        matches!(self.0.accept(), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}

/// Somebody who never answers: a listener whose queue is full, so that the kernel drops every SYN.
struct Silent {
    listener: Socket,
    queued: Vec<Socket>,
}

impl Silent {
    fn at(ip: IpAddr) -> Self {
        let socket = |ip| Socket::new(Domain::for_address(ip), Type::STREAM, Some(Protocol::TCP)).unwrap();
        let any = SocketAddr::from((ip, 0));
        let listener = socket(any);
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        loop {
            let client = socket(any);
            client.set_nonblocking(true).unwrap();
            // On loopback the handshake is over when connect(2) returns, or it will not be.
            let _ = client.connect(&address);
            if client.peer_addr().is_err() {
                break;
            }
            queued.push(client);
            assert!(queued.len() < 16, "the queue never fills");
        }
        Self { listener, queued }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap().as_socket().unwrap()
    }

    /// From now on it answers: at the next SYN, one second after the first.
    fn wake_up(&mut self) {
        for _ in self.queued.drain(..) {
            self.listener.accept().unwrap();
        }
    }
}

/// Nobody listens. Bound, so that nobody else gets the port while the test runs.
fn refusing(ip: IpAddr) -> (Socket, SocketAddr) {
    let any = SocketAddr::from((ip, 0));
    let socket = Socket::new(Domain::for_address(any), Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Whether this machine has `[::1]`; says so if not.
fn has_v6() -> bool {
    let outcome = StdListener::bind((V6, 0));
    if let Err(error) = &outcome {
        eprintln!("skipped: no [::1] on this machine: {error}");
    }
    outcome.is_ok()
}

/// How many connections to `address` (IPv4) the kernel is still trying to make.
fn attempts_at(address: SocketAddr) -> usize {
    let IpAddr::V4(ip) = address.ip() else { panic!("IPv4 only") };
    let peer = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let syn_sent = |line: &&str| {
        let mut words = line.split_whitespace();
        words.nth(2) == Some(&peer) && words.next() == Some("02")
    };
    table.lines().filter(syn_sent).count()
}

async fn connect(addresses: &[SocketAddr]) -> std::io::Result<TcpStream> {
    TcpStream::connect(addresses).await
}

#[test]
fn the_first_address_wins_if_it_answers_and_nobody_else_is_bothered() {
    run(async {
        let (first, second) = (Alive::at(V4), Alive::at(V4));
        let stream = connect(&[first.address(), second.address()]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), first.address());
        assert!(second.nobody_came());
    });
}

#[test]
fn who_does_not_answer_costs_a_quarter_of_a_second_and_is_given_up() {
    run(async {
        let (silent, alive) = (Silent::at(V4), Alive::at(V4));
        let start = Instant::now();
        let stream = connect(&[silent.address(), alive.address()]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive.address());
        assert!(start.elapsed() >= DELAY, "{:?}", start.elapsed());
        eventually("the loser is closed", || attempts_at(silent.address()) == 0);
    });
}

#[test]
fn who_refuses_costs_no_time() {
    run(async {
        let dead: Vec<_> = (0..12).map(|_| refusing(V4)).collect();
        let alive = Alive::at(V4);
        let mut addresses: Vec<_> = dead.iter().map(|(_, address)| *address).collect();
        addresses.push(alive.address());
        let start = Instant::now();
        let stream = connect(&addresses).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive.address());
        // The delay after each would be three seconds.
        assert!(start.elapsed() < DELAY * 12, "{:?}", start.elapsed());
    });
}

#[test]
fn families_take_turns() {
    if !has_v6() {
        return;
    }
    run(async {
        // In the order of the list the second in the family of the silent one would win.
        for (family, other) in [(V4, V6), (V6, V4)] {
            let (silent, second) = (Silent::at(family), Alive::at(family));
            let alive = Alive::at(other);
            let addresses = [silent.address(), second.address(), alive.address()];
            let stream = connect(&addresses).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), alive.address());
            assert!(second.nobody_came());
        }
    });
}

#[test]
fn a_family_that_is_refused_is_left_for_the_other_at_once() {
    if !has_v6() {
        return;
    }
    run(async {
        let ((_hold, dead), alive) = (refusing(V6), Alive::at(V4));
        let stream = connect(&[dead, alive.address()]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive.address());
    });
}

#[test]
fn who_was_slow_may_still_win_when_all_others_have_failed() {
    run(async {
        let mut slow = Silent::at(V4);
        let (_hold, dead) = refusing(V4);
        let addresses = [slow.address(), dead];
        let mut connecting = Box::pin(connect(&addresses));
        assert!(poll_once(&mut connecting).await.is_none());
        assert_eq!(attempts_at(slow.address()), 1);
        slow.wake_up();
        let stream = connecting.await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), slow.address());
    });
}

#[test]
fn abandoned_it_leaves_no_attempt_behind() {
    run(async {
        let silent = [Silent::at(V4), Silent::at(V4)];
        let addresses = [silent[0].address(), silent[1].address()];
        let mut connecting = Box::pin(connect(&addresses));
        let both = || addresses.iter().filter(|address| attempts_at(**address) == 1).count();
        assert!(poll_once(&mut connecting).await.is_none());
        assert_eq!(both(), 1, "the second waits for its turn");
        // It is polled until the second has begun, too, which the delay sees to.
        let begun = std::future::poll_fn(|cx| {
            assert!(connecting.as_mut().poll(cx).is_pending());
            if both() == 2 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        });
        begun.await;
        drop(connecting);
        eventually("both are closed", || both() == 0);
    });
}

#[test]
fn when_all_fail_the_last_error_is_the_answer() {
    run(async {
        let dead = [refusing(V4), refusing(V4)];
        let error = connect(&[dead[0].1, dead[1].1]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = connect(&[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        // Of another kind than the first: TCP does not go to groups.
        let multicast = SocketAddr::from((Ipv4Addr::new(224, 0, 0, 1), 1));
        let error = connect(&[dead[0].1, multicast]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NetworkUnreachable, "{error}");
    });
}

#[test]
fn outside_a_runtime_there_is_an_error_and_no_panic() {
    let alive = [Alive::at(V4), Alive::at(V4)];
    let addresses = [alive[0].address(), alive[1].address()];
    let error = futures_lite::future::block_on(connect(&addresses)).unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");
}

/// The usual case pays nothing for the others: one address, known as such or from a name, begins in the first poll, without an allocation for a race.
#[test]
fn one_address_is_no_race() {
    run(async {
        let alive = Alive::at(V4);
        let single = TcpStream::connect(alive.address());
        assert!(size_of_val(&single) <= 256, "{}", size_of_val(&single));
        single.await.unwrap();
        connect(&[alive.address()]).await.unwrap();
    });
}
