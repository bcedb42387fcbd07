//! A page that says how the backends are: an HTTP server, http1 and http2, that is a client of other servers.
//!
//! Its environment: `LISTEN`, its own address; `BACKENDS`, theirs, with commas between.

use std::sync::Arc;
use std::time::Duration;
use std::{env, error};

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, client};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

type Error = Box<dyn error::Error + Send + Sync>;

/// How long a client may take over the head of its request. A guess.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a backend may take. A guess: somebody waits for the page.
const PATIENCE: Duration = Duration::from_secs(1);

/// The program. Public for the test that runs it.
#[tokio::main]
pub async fn main() -> Result<(), Error> {
    let address = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let backends: Arc<[String]> = env::var("BACKENDS")?.split(',').map(str::to_owned).collect();
    let listener = TcpListener::bind(&address).await?;
    println!("http: {}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().await?;
        let backends = backends.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, backends.clone()));
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            server.http2().timer(TokioTimer::new()).keep_alive_interval(HEAD_TIMEOUT);
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                eprintln!("http: {peer}: {error}");
            }
        });
    }
}

/// A line for each backend, in the order in which they were given.
async fn answer(request: Request<Incoming>, backends: Arc<[String]>) -> Result<Response<String>, Error> {
    if request.uri().path() != "/" {
        return Ok(Response::builder().status(StatusCode::NOT_FOUND).body("nothing here\n".to_owned())?);
    }
    // All at once: the page takes as long as the slowest. If the client goes away, the checks end with the set.
    let mut checks = JoinSet::new();
    for (place, backend) in backends.iter().cloned().enumerate() {
        checks.spawn(async move {
            let state = match timeout(PATIENCE, check(&backend)).await {
                Ok(Ok(status)) => status.to_string(),
                Ok(Err(error)) => error.to_string(),
                Err(elapsed) => elapsed.to_string(),
            };
            (place, format!("{backend}: {state}\n"))
        });
    }
    let mut lines = checks.join_all().await;
    lines.sort();
    Ok(Response::new(lines.into_iter().map(|(_, line)| line).collect()))
}

/// What a backend says when it is asked for its own page.
async fn check(backend: &str) -> Result<StatusCode, Error> {
    let stream = TcpStream::connect(backend).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/").header("host", backend).body(Empty::<Bytes>::new())?;
    Ok(sender.send_request(request).await?.status())
}
