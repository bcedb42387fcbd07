//! The real hyper on egret: http1 and http2, both sides, over loopback.

#[path = "support/watchdog.rs"]
mod watchdog;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use egret::net::{TcpListener, TcpStream};
use egret::rt::{EgretExecutor, EgretTimer, HyperIo};
use egret::time::timeout;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use watchdog::Watchdog;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Within this everything on loopback has happened, on a loaded machine, too.
const PATIENCE: Duration = Duration::from_secs(60);

fn run<F: Future>(future: F) -> F::Output {
    let _watchdog = Watchdog::start();
    let runtime = egret::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async { timeout(PATIENCE, future).await.expect("it ends") })
}

/// Answers with the path and the body.
async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().as_bytes().to_vec();
    let answer = match request.into_body().collect().await {
        Ok(body) => Response::new(Full::from([&path[..], b" ", &body.to_bytes()].concat())),
        Err(_cut_off) => {
            let mut answer = Response::default();
            *answer.status_mut() = StatusCode::BAD_REQUEST;
            answer
        }
    };
    Ok(answer)
}

#[derive(Clone, Copy)]
enum Protocol {
    Http1,
    Http2,
}

/// A server of [`echo`], and how many connections it has taken.
async fn serve(protocol: Protocol) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    egret::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let stream = HyperIo::new(stream);
            // A connection that fails shows at its client.
            match protocol {
                Protocol::Http1 => {
                    let mut server = hyper::server::conn::http1::Builder::new();
                    server.timer(EgretTimer::new());
                    drop(egret::spawn(server.serve_connection(stream, service_fn(echo))));
                }
                Protocol::Http2 => {
                    let mut server = hyper::server::conn::http2::Builder::new(EgretExecutor::new());
                    server.timer(EgretTimer::new());
                    drop(egret::spawn(server.serve_connection(stream, service_fn(echo))));
                }
            }
        }
    });
    (address, taken)
}

async fn connect(address: SocketAddr) -> HyperIo<TcpStream> {
    HyperIo::new(TcpStream::connect(address).await.unwrap())
}

fn request(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(format!("http://egret.test{path}")).body(Full::new(body.into())).unwrap()
}

async fn http1(address: SocketAddr) -> conn::http1::SendRequest<Full<Bytes>> {
    let (client, connection) = conn::http1::handshake(connect(address).await).await.unwrap();
    drop(egret::spawn(connection));
    client
}

async fn http2(address: SocketAddr) -> conn::http2::SendRequest<Full<Bytes>> {
    let (client, connection) =
        conn::http2::handshake(EgretExecutor::new(), connect(address).await).await.unwrap();
    drop(egret::spawn(connection));
    client
}

async fn whole(answer: Response<Incoming>) -> (StatusCode, Version, Bytes) {
    let (status, version) = (answer.status(), answer.version());
    (status, version, answer.into_body().collect().await.unwrap().to_bytes())
}

#[test]
fn they_go_to_any_thread_and_through_a_panic() {
    fn all<T: Send + Sync + Unpin + std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    all::<EgretExecutor>();
    all::<EgretTimer>();
    // As what is in it, and no less.
    all::<HyperIo<u8>>();
    fn moves<T: Send + Sync + Unpin>() {}
    moves::<HyperIo<TcpStream>>();
}

#[test]
fn http1_keeps_a_connection_for_a_hundred_requests() {
    run(async {
        let (address, taken) = serve(Protocol::Http1).await;
        let mut client = http1(address).await;
        for n in 0..100 {
            client.ready().await.unwrap();
            let answer = client.send_request(request(&format!("/{n}"), format!("body {n}"))).await.unwrap();
            let expected = Bytes::from(format!("/{n} body {n}"));
            assert_eq!(whole(answer).await, (StatusCode::OK, Version::HTTP_11, expected));
        }
        assert_eq!(taken.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn large_bodies_pass_through_both_protocols_whole() {
    // More than the sockets' buffers and http2's windows hold.
    let body: Bytes =
        (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>().into();
    let expected = Bytes::from([b"/large ", &body[..]].concat());
    run(async {
        let (address, _) = serve(Protocol::Http1).await;
        let answer = http1(address).await.send_request(request("/large", body.clone())).await.unwrap();
        assert!(whole(answer).await.2 == expected);
        let (address, _) = serve(Protocol::Http2).await;
        let answer = http2(address).await.send_request(request("/large", body.clone())).await.unwrap();
        assert!(whole(answer).await.2 == expected);
    });
}

#[test]
fn a_hundred_http2_connections_of_ten_streams() {
    run(async {
        let (address, taken) = serve(Protocol::Http2).await;
        let connections: Vec<_> = (0..100)
            .map(|n| {
                egret::spawn(async move {
                    let client = http2(address).await;
                    let streams: Vec<_> = (0..10)
                        .map(|stream| {
                            let mut client = client.clone();
                            egret::spawn(async move {
                                let (path, body) = (format!("/{n}/{stream}"), "x".repeat(n * stream));
                                let expected = Bytes::from(format!("{path} {body}"));
                                let answer = client.send_request(request(&path, body)).await.unwrap();
                                assert_eq!(whole(answer).await, (StatusCode::OK, Version::HTTP_2, expected));
                            })
                        })
                        .collect();
                    for stream in streams {
                        stream.await.unwrap();
                    }
                })
            })
            .collect();
        for connection in connections {
            connection.await.unwrap();
        }
        assert_eq!(taken.load(Ordering::SeqCst), 100);
    });
}

#[test]
fn a_head_that_never_ends_runs_into_the_timer() {
    run(async {
        let limit = Duration::from_millis(400);
        let start = Instant::now();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut server = hyper::server::conn::http1::Builder::new();
        server.timer(EgretTimer::new()).header_read_timeout(limit);
        let server = egret::spawn(server.serve_connection(HyperIo::new(stream), service_fn(echo)));

        // A whole request first: the deadline of the next head is that of the first, moved.
        client.write_all(b"GET /first HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"/first ") {
            let mut buffer = [0; 1024];
            let moved = client.read(&mut buffer).await.unwrap();
            assert!(moved > 0, "it closed early: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..moved]);
        }
        client.write_all(b"GET /second HTTP/1.1\r\nhost: ").await.unwrap();
        let error = server.await.unwrap().unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        assert!(start.elapsed() >= limit, "{:?}", start.elapsed());
        while client.read(&mut [0; 1024]).await.unwrap() > 0 {}
    });
}

#[test]
fn an_http2_peer_that_answers_no_ping_is_given_up() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut server = hyper::server::conn::http2::Builder::new(EgretExecutor::new());
        server
            .timer(EgretTimer::new())
            .keep_alive_interval(Duration::from_millis(50))
            .keep_alive_timeout(Duration::from_millis(100));
        let server = egret::spawn(server.serve_connection(HyperIo::new(stream), service_fn(echo)));
        // The preface and empty settings, and from then on nothing.
        let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        client.write_all(hello).await.unwrap();
        let error = server.await.unwrap().unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
    });
}

#[test]
fn a_client_that_goes_away_in_mid_request_leaves_the_server_to_others() {
    run(async {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let (address, _) = serve(protocol).await;
            for _ in 0..10 {
                let stream = TcpStream::connect(address).await.unwrap();
                stream
                    .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf")
                    .await
                    .unwrap();
            }
            let answer = match protocol {
                Protocol::Http1 => http1(address).await.send_request(request("/", "still here")).await,
                Protocol::Http2 => http2(address).await.send_request(request("/", "still here")).await,
            };
            assert_eq!(whole(answer.unwrap()).await.2, "/ still here");
        }
    });
}

/// An upgraded connection is hyper's I/O, and [`HyperIo`] turns it back into tokio's.
#[test]
fn an_upgraded_connection_speaks_both_ways() {
    async fn upgrade(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Error> {
        egret::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut stream = HyperIo::new(hyper::upgrade::on(request).await?);
            let mut line = [0; 5];
            stream.read_exact(&mut line).await?;
            line.make_ascii_uppercase();
            stream.write_all(&line).await?;
            stream.shutdown().await?;
            Ok::<(), Error>(())
        });
        let answer = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", "shout");
        Ok(answer.body(Full::default())?)
    }
    run(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        egret::spawn(async move {
            let (stream, _) = listener.accept().await?;
            let server = hyper::server::conn::http1::Builder::new()
                .serve_connection(HyperIo::new(stream), service_fn(upgrade));
            server.with_upgrades().await?;
            Ok::<(), Error>(())
        });
        let (mut client, connection) = conn::http1::handshake(connect(address).await).await.unwrap();
        egret::spawn(connection.with_upgrades());
        let request = Request::get("/").header("connection", "upgrade").header("upgrade", "shout");
        let answer = client.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        let mut stream = HyperIo::new(hyper::upgrade::on(answer).await.unwrap());
        stream.write_all(b"hello").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "HELLO");
    });
}
