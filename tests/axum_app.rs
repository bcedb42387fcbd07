//! The example `axum_app`: axum's router behind tower's layers, and behind one of our own, on egret.

#[allow(dead_code)] // `main` is called by nobody here
#[path = "../examples/axum_app/main.rs"]
mod example;
#[path = "support/program.rs"]
mod program;
#[path = "support/watchdog.rs"]
mod watchdog;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use egret::net::{TcpListener, TcpStream};
use egret::rt::HyperIo;
use egret::time::{error::Elapsed, sleep, timeout};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::service::TowerToHyperService;
use program::Program;
use tower::limit::ConcurrencyLimitLayer;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use watchdog::Watchdog;

/// Within this everything on loopback has happened, on a loaded machine, too.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(body: impl Future<Output = ()>) {
    let _watchdog = Watchdog::start();
    let runtime = egret::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async { timeout(PATIENCE, body).await.expect("it ends") });
}

/// An app with limits of its own.
async fn serve(at_a_time: usize, limit: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    egret::spawn(example::serve(listener, example::app(at_a_time, limit)));
    address
}

struct Client(SendRequest<Empty<Bytes>>);

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (client, connection) = handshake(HyperIo::new(stream)).await.unwrap();
        egret::spawn(connection);
        Self(client)
    }

    async fn ask(&mut self, method: &str, path: &str) -> (u16, String) {
        self.0.ready().await.unwrap();
        let request = Request::builder().method(method).uri(path).header("host", "egret.test");
        let answer = self.0.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

#[test]
fn the_app_counts_by_name() {
    run(async {
        let mut client = Client::connect(serve(16, PATIENCE).await).await;
        assert_eq!(client.ask("GET", "/counters/visits").await.0, 404);
        for n in 1..=50 {
            assert_eq!(client.ask("POST", "/counters/visits").await, (200, format!("{n}\n")));
        }
        assert_eq!(client.ask("POST", "/counters/other").await, (200, "1\n".to_owned()));
        assert_eq!(client.ask("GET", "/counters/visits").await, (200, "50\n".to_owned()));
        assert_eq!(client.ask("GET", "/elsewhere").await.0, 404);
    });
}

#[test]
fn what_takes_too_long_is_cut_off() {
    run(async {
        let limit = Duration::from_millis(100);
        let mut client = Client::connect(serve(16, limit).await).await;
        let start = Instant::now();
        let found = client.ask("GET", "/nap/3600000").await;
        assert_eq!(found, (504, "that takes too long\n".to_owned()));
        assert!(start.elapsed() >= limit);
        // The connection goes on.
        assert_eq!(client.ask("GET", "/nap/1").await, (200, "that was nice\n".to_owned()));
    });
}

#[test]
fn more_than_so_many_at_a_time_are_refused_until_one_is_done() {
    run(async {
        let address = serve(2, PATIENCE).await;
        let nap = async || Client::connect(address).await.ask("GET", "/nap/1").await;
        let [first, _second] = [(); 2].map(|()| {
            egret::spawn(async move {
                let mut client = Client::connect(address).await;
                // A short nap may be in the way.
                while client.ask("GET", "/nap/3600000").await.0 == 503 {}
            })
        });
        // Both are at it, sooner or later.
        while nap().await.0 != 503 {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(nap().await, (503, "too many requests at a time\n".to_owned()));
        // A client that goes away gives its place back.
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        while nap().await != (200, "that was nice\n".to_owned()) {
            sleep(Duration::from_millis(1)).await;
        }
    });
}

/// Without axum: tower's layers over a function, by themselves and under hyper.
#[test]
fn layers_over_a_hyper_service() {
    run(async {
        let limit = Duration::from_millis(200);
        let service = ServiceBuilder::new()
            .layer(ConcurrencyLimitLayer::new(1))
            .layer(example::TimeLimit(limit))
            .service_fn(async |request: Request<Incoming>| {
                if request.uri().path() == "/never" {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(Response::new(request.uri().path().to_owned()))
            });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        egret::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(service.clone());
                let mut server = hyper::server::conn::http1::Builder::new();
                egret::spawn(
                    server
                        .timer(egret::rt::EgretTimer::new())
                        .serve_connection(HyperIo::new(stream), service),
                );
            }
        });
        let mut client = Client::connect(address).await;
        assert_eq!(client.ask("GET", "/here").await, (200, "/here".to_owned()));
        // hyper closes a connection whose service fails.
        client.0.ready().await.unwrap();
        let request = Request::get("/never").header("host", "egret.test").body(Empty::new()).unwrap();
        let start = Instant::now();
        assert!(client.0.send_request(request).await.is_err());
        assert!(start.elapsed() >= limit);
        // And its place is free again.
        assert_eq!(Client::connect(address).await.ask("GET", "/again").await, (200, "/again".to_owned()));
    });
}

#[test]
fn a_limit_of_one_runs_one_after_the_other() {
    run(async {
        let service = ServiceBuilder::new()
            .layer(ConcurrencyLimitLayer::new(1))
            .layer(example::TimeLimit(PATIENCE))
            .service(service_fn({
                let running = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
                move |n: u32| {
                    let running = running.clone();
                    async move {
                        assert_eq!(running.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        sleep(Duration::from_millis(1)).await;
                        running.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        Ok::<_, Infallible>(n)
                    }
                }
            }));
        let calls: Vec<_> = (0..20).map(|n| (n, egret::spawn(service.clone().oneshot(n)))).collect();
        for (n, call) in calls {
            assert_eq!(call.await.unwrap().unwrap(), n);
        }
        let limited = ServiceBuilder::new()
            .layer(example::TimeLimit(Duration::from_millis(1)))
            .service_fn(|(): ()| std::future::pending::<Result<(), Infallible>>());
        assert!(limited.oneshot(()).await.unwrap_err().is::<Elapsed>());
    });
}

#[test]
fn the_program_says_where_it_is_and_counts() {
    run(async {
        let program = Program::start("axum_app", &["127.0.0.1:0"]);
        let address = program.greeting.strip_prefix("http://").unwrap();
        let mut client = Client::connect(address.parse().unwrap()).await;
        assert_eq!(client.ask("POST", "/counters/visits").await, (200, "1\n".to_owned()));

        let said = Program::fail(&[address]);
        assert!(said.contains(&format!("axum_app: {address}: ")), "{said}");
    });
}

#[egret::test]
#[ignore = "the program itself, for the test that starts it"]
async fn program() {
    let Some(arguments) = program::arguments() else { return };
    let _watchdog = Watchdog::start();
    let code = example::run(arguments.into_iter().next()).await;
    assert_eq!(code, std::process::ExitCode::SUCCESS);
}
