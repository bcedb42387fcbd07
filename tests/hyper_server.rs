//! The example `hyper_server` with clients of both protocols on its one port.

#[allow(dead_code)] // `main` is called by nobody here
#[path = "../examples/hyper_server/main.rs"]
mod example;
#[path = "support/program.rs"]
mod program;
#[path = "support/watchdog.rs"]
mod watchdog;

use std::net::SocketAddr;
use std::time::Duration;

use egret::net::{TcpListener, TcpStream};
use egret::rt::{EgretExecutor, HyperIo};
use egret::time::timeout;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn;
use hyper::{Request, Response, StatusCode, Version};
use program::Program;
use watchdog::Watchdog;

/// Within this everything on loopback has happened, on a loaded machine, too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a body against a server of its own.
fn run<F: Future<Output = ()>>(body: impl FnOnce(SocketAddr) -> F) {
    let _watchdog = Watchdog::start();
    let runtime = egret::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        egret::spawn(example::serve(listener));
        timeout(PATIENCE, body(address)).await.expect("it ends");
    });
}

async fn http1<B>(address: SocketAddr) -> conn::http1::SendRequest<B>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let stream = HyperIo::new(TcpStream::connect(address).await.unwrap());
    let (client, connection) = conn::http1::handshake(stream).await.unwrap();
    egret::spawn(connection);
    client
}

async fn http2<B>(address: SocketAddr) -> conn::http2::SendRequest<B>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
{
    let stream = HyperIo::new(TcpStream::connect(address).await.unwrap());
    let (client, connection) = conn::http2::handshake(EgretExecutor::new(), stream).await.unwrap();
    egret::spawn(connection);
    client
}

fn request(method: &str, path: &str, body: &'static str) -> Request<Full<Bytes>> {
    let uri = format!("http://egret.test{path}");
    Request::builder().method(method).uri(uri).body(Full::new(Bytes::from(body))).unwrap()
}

async fn whole(answer: Response<Incoming>) -> (StatusCode, Version, String) {
    let (status, version) = (answer.status(), answer.version());
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, version, String::from_utf8(body.to_vec()).unwrap())
}

#[test]
fn both_protocols_are_told_apart_on_one_port() {
    run(async |address| {
        let mut one = http1(address).await;
        let mut two = http2(address).await;
        for (method, path, status, expected) in [
            ("GET", "/", StatusCode::OK, None),
            ("POST", "/echo", StatusCode::OK, Some("to and fro")),
            ("GET", "/echo", StatusCode::METHOD_NOT_ALLOWED, Some("not like that\n")),
            ("GET", "/elsewhere", StatusCode::NOT_FOUND, Some("nothing here\n")),
        ] {
            one.ready().await.unwrap();
            let found = whole(one.send_request(request(method, path, "to and fro")).await.unwrap()).await;
            let hello = "hello from egret, by HTTP/1.1\n";
            assert_eq!(found, (status, Version::HTTP_11, expected.unwrap_or(hello).to_owned()));

            let found = whole(two.send_request(request(method, path, "to and fro")).await.unwrap()).await;
            let hello = "hello from egret, by HTTP/2.0\n";
            assert_eq!(found, (status, Version::HTTP_2, expected.unwrap_or(hello).to_owned()));
        }
    });
}

/// A body that is written as one goes.
struct Fed(tokio::sync::mpsc::Receiver<Bytes>);

impl Body for Fed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}

#[test]
fn an_echo_comes_back_while_its_body_is_being_written() {
    run(async |address| {
        let (feed, fed) = tokio::sync::mpsc::channel(1);
        let request = Request::post("http://egret.test/echo").body(Fed(fed)).unwrap();
        let answer = http2(address).await.send_request(request).await.unwrap();
        let mut answer = answer.into_body();
        for n in 0..20 {
            let part = Bytes::from(format!("part {n}"));
            feed.send(part.clone()).await.unwrap();
            let mut found = Vec::new();
            while found.len() < part.len() {
                let frame = answer.frame().await.expect("more to come").unwrap();
                found.extend_from_slice(&frame.into_data().expect("data"));
            }
            assert_eq!(found, part);
        }
        drop(feed);
        assert!(answer.frame().await.is_none_or(|last| last.unwrap().into_data().unwrap().is_empty()));
    });
}

#[test]
fn nonsense_costs_its_own_connection_only() {
    run(async |address| {
        for nonsense in [&b"\0\x01\x02\x03\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nNO\r\n\r\n", b""] {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(nonsense).await.unwrap();
        }
        let answer = http1(address).await.send_request(request("POST", "/echo", "there")).await.unwrap();
        assert_eq!(whole(answer).await.2, "there");
    });
}

#[test]
fn the_program_says_where_it_is_and_answers() {
    run(async |_| {
        let program = Program::start("hyper_server", &["127.0.0.1:0"]);
        let (address, protocols) = program.greeting.split_once(", ").unwrap();
        assert_eq!(protocols, "http1 and http2");
        let address = address.strip_prefix("http://").unwrap();
        let answer = http2(address.parse().unwrap()).await.send_request(request("GET", "/", "")).await;
        assert_eq!(whole(answer.unwrap()).await.2, "hello from egret, by HTTP/2.0\n");

        let said = Program::fail(&[address]);
        assert!(said.contains(&format!("hyper_server: {address}: ")), "{said}");
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
