//! axum's router on egret, behind hyper-util's `auto` builder: what `axum::serve` does on tokio.

#[path = "support/watchdog.rs"]
mod watchdog;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::routing::{get, post};
use egret::net::{TcpListener, TcpStream};
use egret::rt::{EgretExecutor, EgretTimer, HyperIo};
use egret::time::{sleep, timeout};
use hyper::client::conn;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use watchdog::Watchdog;

/// Within this everything on loopback has happened, on a loaded machine, too.
const PATIENCE: Duration = Duration::from_secs(60);

async fn serve(listener: TcpListener, router: Router) {
    while let Ok((stream, _)) = listener.accept().await {
        let router = TowerToHyperService::new(router.clone());
        egret::spawn(async move {
            let mut server = auto::Builder::new(EgretExecutor::new());
            server.http1().timer(EgretTimer::new());
            server.http2().timer(EgretTimer::new());
            server.serve_connection(HyperIo::new(stream), router).await
        });
    }
}

/// A handler may do all that a task may: wait for egret's timers, spawn, hold state.
async fn count(State(counter): State<Arc<AtomicU32>>, Path(step): Path<u32>) -> String {
    sleep(Duration::from_millis(1)).await;
    let before = egret::spawn(async move { counter.fetch_add(step, Ordering::SeqCst) }).await.unwrap();
    format!("{}", before + step)
}

async fn request(address: SocketAddr, method: &str, path: &str, body: &'static str) -> (StatusCode, String) {
    let stream = HyperIo::new(TcpStream::connect(address).await.unwrap());
    let (mut client, connection) = conn::http1::handshake(stream).await.unwrap();
    egret::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "egret.test");
    let answer = client.send_request(request.body(Body::from(body)).unwrap()).await.unwrap();
    let status = answer.status();
    let body = to_bytes(Body::new(answer.into_body()), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[egret::test(worker_threads = 2)]
async fn a_router_with_state_answers_from_egrets_tasks() {
    let _watchdog = Watchdog::start();
    let router = Router::new()
        .route("/count/{step}", get(count))
        .route("/shout", post(async |body: String| body.to_uppercase()))
        .with_state(Arc::new(AtomicU32::new(0)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    egret::spawn(serve(listener, router));
    timeout(PATIENCE, async {
        let ok = |text: &str| (StatusCode::OK, text.to_owned());
        assert_eq!(request(address, "GET", "/count/2", "").await, ok("2"));
        assert_eq!(request(address, "GET", "/count/5", "").await, ok("7"));
        assert_eq!(request(address, "POST", "/shout", "hello").await, ok("HELLO"));
        assert_eq!(request(address, "GET", "/count/many", "").await.0, StatusCode::BAD_REQUEST);
        assert_eq!(request(address, "GET", "/nowhere", "").await.0, StatusCode::NOT_FOUND);
        assert_eq!(request(address, "DELETE", "/shout", "").await.0, StatusCode::METHOD_NOT_ALLOWED);
    })
    .await
    .expect("it ends");
}
