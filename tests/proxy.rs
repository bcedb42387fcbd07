//! The example `proxy` between clients and a server of lines.

#[allow(dead_code)] // `main` is called by nobody here
#[path = "../examples/proxy/main.rs"]
mod example;
#[path = "support/program.rs"]
mod program;
#[path = "support/watchdog.rs"]
mod watchdog;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use egret::JoinHandle;
use egret::net::{TcpListener, TcpStream};
use egret::time::timeout;
use example::End;
use program::Program;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use watchdog::Watchdog;

/// Within this everything on loopback has happened, on a loaded machine, too.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(body: impl Future<Output = ()>) {
    let _watchdog = Watchdog::start();
    let runtime = egret::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async { timeout(PATIENCE, body).await.expect("it ends") });
}

struct Proxy {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<End>>,
}

impl Proxy {
    async fn start(target: SocketAddr, grace: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = egret::spawn(async move {
            example::serve(listener, &target.to_string(), async { drop(stopped.await) }, grace).await
        });
        Self { address, stop, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// A server that sends back what it gets, and ends when its client does.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    egret::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            egret::spawn(async move {
                let (mut read, mut write) = stream.into_split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    address
}

#[test]
fn megabytes_pass_and_the_end_of_a_direction_is_passed_on() {
    run(async {
        let proxy = Proxy::start(echo().await, PATIENCE).await;
        let clients: Vec<_> = (0..20u32)
            .map(|n| {
                let address = proxy.address;
                egret::spawn(async move {
                    let sent: Vec<u8> = (0..200_000).map(|i: u32| ((i * (n + 1)) >> 5) as u8).collect();
                    let expected = sent.clone();
                    let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
                    // Its drop ends the direction, and only then does the echo end the other.
                    egret::spawn(async move { write.write_all(&sent).await });
                    let mut found = Vec::new();
                    read.read_to_end(&mut found).await.unwrap();
                    assert!(found == expected, "client {n}");
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        drop(proxy.stop);
        assert_eq!(proxy.task.await.unwrap().unwrap(), End::AllClosed);
    });
}

#[test]
fn a_target_that_refuses_costs_its_client_only() {
    run(async {
        let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = refusing.local_addr().unwrap();
        drop(refusing);
        let proxy = Proxy::start(target, PATIENCE).await;
        for _ in 0..2 {
            let mut client = proxy.connect().await;
            assert_eq!(AsyncReadExt::read(&mut client, &mut [0; 8]).await.unwrap_or(0), 0);
        }
    });
}

#[test]
fn stopped_it_closes_the_port_and_lets_connections_end() {
    run(async {
        let proxy = Proxy::start(echo().await, PATIENCE).await;
        let mut client = proxy.connect().await;
        let mut answer = [0; 5];
        AsyncWriteExt::write_all(&mut client, b"hello").await.unwrap();
        AsyncReadExt::read_exact(&mut client, &mut answer).await.unwrap();

        proxy.stop.send(()).unwrap();
        while TcpStream::connect(proxy.address).await.is_ok() {
            egret::task::yield_now().await;
        }
        AsyncWriteExt::write_all(&mut client, b"still").await.unwrap();
        AsyncReadExt::read_exact(&mut client, &mut answer).await.unwrap();
        assert_eq!(&answer, b"still");
        assert!(!proxy.task.is_finished());
        AsyncWriteExt::shutdown(&mut client).await.unwrap();
        assert_eq!(AsyncReadExt::read(&mut client, &mut answer).await.unwrap(), 0);
        assert_eq!(proxy.task.await.unwrap().unwrap(), End::AllClosed);
    });
}

#[test]
fn stopped_it_waits_no_longer_than_its_grace() {
    run(async {
        let grace = Duration::from_millis(100);
        let proxy = Proxy::start(echo().await, grace).await;
        let mut client = proxy.connect().await;
        AsyncWriteExt::write_all(&mut client, b"hello").await.unwrap();
        AsyncReadExt::read_exact(&mut client, &mut [0; 5]).await.unwrap();
        let start = Instant::now();
        proxy.stop.send(()).unwrap();
        assert_eq!(proxy.task.await.unwrap().unwrap(), End::CutOff);
        assert!(start.elapsed() >= grace);
    });
}

#[test]
fn interrupted_the_program_waits_for_its_connections_and_ends_well() {
    run(async {
        let target = echo().await.to_string();
        let program = Program::start("proxy", &["127.0.0.1:0", &target]);
        let (address, to) = program.greeting.split_once(" to ").unwrap();
        assert_eq!(to, target);
        let address: SocketAddr = address.parse().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        AsyncWriteExt::write_all(&mut client, b"hello").await.unwrap();
        AsyncReadExt::read_exact(&mut client, &mut [0; 5]).await.unwrap();

        let said = Program::fail(&[&address.to_string(), &target]);
        assert!(said.contains(&format!("proxy: {address}: ")), "{said}");
        let said = Program::fail(&["alone"]);
        assert!(said.contains("Usage: proxy ADDRESS TARGET"), "{said}");

        program.interrupt();
        while TcpStream::connect(address).await.is_ok() {
            egret::task::yield_now().await;
        }
        AsyncWriteExt::shutdown(&mut client).await.unwrap();
        assert_eq!(AsyncReadExt::read(&mut client, &mut [0; 8]).await.unwrap(), 0);
        let status = program.end();
        assert!(status.success(), "{status}");
    });
}

#[egret::test]
#[ignore = "the program itself, for the test that starts it"]
async fn program() {
    let Some(arguments) = program::arguments() else { return };
    let _watchdog = Watchdog::start();
    let code = example::run(&arguments).await;
    assert_eq!(code, std::process::ExitCode::SUCCESS);
}
