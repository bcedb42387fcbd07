//! hyper on egret: http1 and http2 on one port.
//!
//! ```text
//! cargo run --release --features hyper --example hyper_server -- 127.0.0.1:8080
//! curl http://127.0.0.1:8080/
//! curl --http2-prior-knowledge --data 'to and fro' http://127.0.0.1:8080/echo
//! ```
//!
//! A client without TLS tells which protocol it speaks by its first bytes, and hyper-util's `auto` builder looks at them. Only three names differ
//! from the same server on tokio: [`EgretExecutor`], [`EgretTimer`] and [`HyperIo`].
//!
//! | | |
//! |---|---|
//! | `GET /` | says hello, and by which protocol |
//! | `POST /echo` | sends the body back while it arrives |

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use egret::net::{TcpListener, TcpStream};
use egret::rt::{EgretExecutor, EgretTimer, HyperIo};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::server::conn::auto;

/// How long a client may take over the head of a request. A guess.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an http2 client that is silent is asked whether it is there, and how long it has to answer. Guesses.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

type Error = Box<dyn std::error::Error + Send + Sync>;

#[egret::main]
async fn main() -> ExitCode {
    run(std::env::args().nth(1)).await
}

/// The program, with the address that it was given.
pub async fn run(address: Option<String>) -> ExitCode {
    let address = address.unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let outcome = async {
        let listener = TcpListener::bind(address.as_str()).await?;
        println!("hyper_server: http://{}, http1 and http2", listener.local_addr()?);
        serve(listener).await
    };
    match outcome.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hyper_server: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes connections until that is no longer possible.
pub async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        egret::spawn(async move {
            // One client's trouble, told and over.
            if let Err(error) = connection(stream).await {
                eprintln!("hyper_server: {peer}: {error}");
            }
        });
    }
}

async fn connection(stream: TcpStream) -> Result<(), Error> {
    // http2's small frames do not wait for one another's acknowledgement.
    stream.set_nodelay(true)?;
    let mut server = auto::Builder::new(EgretExecutor::new());
    server.http1().timer(EgretTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    server
        .http2()
        .timer(EgretTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    server.serve_connection(HyperIo::new(stream), service_fn(answer)).await
}

async fn answer(request: Request<Incoming>) -> Result<Response<BoxBody<Bytes, hyper::Error>>, Error> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => {
            (StatusCode::OK, text(format!("hello from egret, by {:?}\n", request.version())))
        }
        (&Method::POST, "/echo") => (StatusCode::OK, request.into_body().boxed()),
        (_, "/" | "/echo") => (StatusCode::METHOD_NOT_ALLOWED, text("not like that\n")),
        _ => (StatusCode::NOT_FOUND, text("nothing here\n")),
    };
    Ok(Response::builder().status(status).body(body)?)
}

fn text(text: impl Into<Bytes>) -> BoxBody<Bytes, hyper::Error> {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}
