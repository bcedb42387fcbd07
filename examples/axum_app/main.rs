//! An app of axum's behind layers of tower's: at most so many requests at a time, and none for too long.
//!
//! ```text
//! cargo run --release --features hyper --example axum_app -- 127.0.0.1:8080
//! curl -X POST http://127.0.0.1:8080/counters/visits
//! curl http://127.0.0.1:8080/nap/200
//! ```
//!
//! tower's services are plain polling and run here as they are, but for its `Timeout`, which waits for tokio's timer. [`TimeLimit`] is one that waits for
//! egret's. `axum::serve` is tokio's alone; [`serve`] does the same.
//!
//! ```text
//!   HandleError ──► LoadShed ──► ConcurrencyLimit ──► TimeLimit ──► handler
//!      503, 504  ◄── full?                             too slow?
//! ```
//!
//! | | |
//! |---|---|
//! | `POST /counters/{name}` | counts, and says how far |
//! | `GET /counters/{name}` | how far it is |
//! | `GET /nap/{ms}` | answers after that long: for trying out the limits |

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::error_handling::HandleErrorLayer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{BoxError, Router};
use egret::net::TcpListener;
use egret::rt::{EgretExecutor, EgretTimer, HyperIo};
use egret::time::{error::Elapsed, sleep, timeout};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::{LoadShedLayer, error::Overloaded};
use tower::{Layer, Service, ServiceBuilder};

/// How many requests are worked on at a time. A guess.
const AT_A_TIME: usize = 256;
/// How long one may take. A guess.
const LIMIT: Duration = Duration::from_secs(5);

#[egret::main]
async fn main() -> ExitCode {
    run(std::env::args().nth(1)).await
}

/// The program, with the address that it was given.
pub async fn run(address: Option<String>) -> ExitCode {
    let address = address.unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let outcome = async {
        let listener = TcpListener::bind(address.as_str()).await?;
        println!("axum_app: http://{}", listener.local_addr()?);
        serve(listener, app(AT_A_TIME, LIMIT)).await
    };
    match outcome.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("axum_app: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes connections, of http1 and of http2, until that is no longer possible.
pub async fn serve(listener: TcpListener, app: Router) -> io::Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        let app = TowerToHyperService::new(app.clone());
        egret::spawn(async move {
            let mut server = auto::Builder::new(EgretExecutor::new());
            server.http1().timer(EgretTimer::new());
            server.http2().timer(EgretTimer::new());
            if let Err(error) = server.serve_connection(HyperIo::new(stream), app).await {
                eprintln!("axum_app: {peer}: {error}");
            }
        });
    }
}

type Counters = Arc<Mutex<HashMap<String, u64>>>;

/// The app, with its limits.
pub fn app(at_a_time: usize, limit: Duration) -> Router {
    let layers = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(async |error: BoxError| refusal(&error)))
        .layer(LoadShedLayer::new())
        // One limit for all routes.
        .layer(GlobalConcurrencyLimitLayer::new(at_a_time))
        .layer(TimeLimit(limit));
    Router::new()
        .route("/counters/{name}", post(count).get(counter))
        .route("/nap/{ms}", get(nap))
        .layer(layers)
        .with_state(Counters::default())
}

/// What a client hears of what the layers say.
fn refusal(error: &BoxError) -> (StatusCode, &'static str) {
    if error.is::<Overloaded>() {
        (StatusCode::SERVICE_UNAVAILABLE, "too many requests at a time\n")
    } else if error.is::<Elapsed>() {
        (StatusCode::GATEWAY_TIMEOUT, "that takes too long\n")
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, "that went wrong\n")
    }
}

async fn count(State(counters): State<Counters>, Path(name): Path<String>) -> String {
    let mut counters = counters.lock().unwrap_or_else(PoisonError::into_inner);
    let counter = counters.entry(name).or_default();
    *counter += 1;
    format!("{counter}\n")
}

async fn counter(State(counters): State<Counters>, Path(name): Path<String>) -> Result<String, StatusCode> {
    let counters = counters.lock().unwrap_or_else(PoisonError::into_inner);
    counters.get(&name).map(|counter| format!("{counter}\n")).ok_or(StatusCode::NOT_FOUND)
}

async fn nap(Path(ms): Path<u64>) -> &'static str {
    sleep(Duration::from_millis(ms)).await;
    "that was nice\n"
}

/// A layer: answers with [`Elapsed`] if the service has not answered in time.
#[derive(Clone, Copy)]
pub struct TimeLimit(pub Duration);

impl<S> Layer<S> for TimeLimit {
    type Service = TimeLimited<S>;

    fn layer(&self, inner: S) -> TimeLimited<S> {
        TimeLimited { inner, limit: self.0 }
    }
}

/// A service within a [`TimeLimit`].
#[derive(Clone)]
pub struct TimeLimited<S> {
    inner: S,
    limit: Duration,
}

impl<S, Request> Service<Request> for TimeLimited<S>
where
    S: Service<Request, Error: Into<BoxError>, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let answer = timeout(self.limit, self.inner.call(request));
        Box::pin(async { answer.await?.map_err(Into::into) })
    }
}
