//! A server of several processes at one port (`SO_REUSEPORT`), ready to stand behind a load balancer when one machine is not enough.
//!
//! ```text
//! for n in 1 2 3; do cargo run --release --features hyper --example shared_server -- 127.0.0.1:8090 & done
//! haproxy -f examples/shared_server/haproxy.cfg &          (apt-get install haproxy)
//! for n in 1 2 3 4 5 6; do curl http://127.0.0.1:8088/; done
//! ```
//!
//! | | |
//! |---|---|
//! | `GET /` | says which process answers |
//! | `GET /health` | for the balancer: 200 |
//!
//! The kernel deals new connections out evenly, not by who has time. At Ctrl-C or SIGTERM a process takes what was dealt to it already, closes its listener, answers
//! what it was asked, and is gone; the others go on, so a new version comes in one process after the other. What is dealt to it between its last accept and
//! the close is reset: the balancer asks again (`retry-on`), or `net.ipv4.tcp_migrate_req = 1` has the kernel deal it to another.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use egret::Handle;
use egret::net::{TcpListener, TcpSocket, TcpStream};
use egret::rt::{EgretTimer, HyperIo};
use egret::signal::unix::{SignalKind, signal};
use egret::sync::CancellationToken;
use egret::time::sleep;
use futures_lite::future::{or, poll_once};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};

/// How long what is open may go on after the signal. A guess.
const GRACE: Duration = Duration::from_secs(10);
/// How long a connection is served as before after the signal: a request may be on its way. A guess.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// As many connections wait to be accepted as the kernel allows: it takes the smaller of this and `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

fn main() -> ExitCode {
    run(std::env::args().nth(1))
}

/// The program, with the address that it was given.
pub fn run(address: Option<String>) -> ExitCode {
    let address = address.unwrap_or_else(|| "127.0.0.1:8090".to_owned());
    match serve(&address) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("shared_server: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(address: &str) -> io::Result<ExitCode> {
    let address = address.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let runtime = egret::Builder::new_multi_thread().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let listener = listen(address)?;
        println!("shared_server: {}", listener.local_addr()?);
        egret::spawn(accept(listener, Handle::current().shutdown_token()));
        or(interrupt.recv(), terminate.recv()).await;
        io::Result::Ok(())
    })?;
    let report = runtime.shutdown(GRACE);
    println!("shared_server: {report}");
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One of any number of listeners at `address`.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A port in the state of its last connections can be taken again, and others may share it.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Takes connections until `end`, and then those that are there already.
async fn accept(listener: TcpListener, end: CancellationToken) {
    loop {
        let accepted = match end.run_until_cancelled(listener.accept()).await {
            Some(accepted) => accepted,
            None => match poll_once(listener.accept()).await {
                Some(accepted) => accepted,
                None => return,
            },
        };
        match accepted {
            Ok((stream, peer)) => {
                let end = end.clone();
                egret::spawn(async move {
                    if let Err(error) = connection(stream, end).await {
                        eprintln!("shared_server: {peer}: {error}");
                    }
                });
            }
            Err(error) => return eprintln!("shared_server: accept: {error}"),
        }
    }
}

/// Answers one client until it has enough; from `end` on, what it has asked already.
async fn connection(stream: TcpStream, end: CancellationToken) -> Result<(), hyper::Error> {
    let service = service_fn(async |request: Request<Incoming>| {
        let (status, text) = match request.uri().path() {
            "/" => (StatusCode::OK, format!("process {}\n", std::process::id())),
            "/health" => (StatusCode::OK, "well\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, "nothing here\n".to_owned()),
        };
        let mut answer = Response::new(text);
        *answer.status_mut() = status;
        Ok::<_, Infallible>(answer)
    });
    let mut server = http1::Builder::new();
    let mut connection =
        pin!(server.timer(EgretTimer::new()).serve_connection(HyperIo::new(stream), service));
    let outcome = or(async { Some(connection.as_mut().await) }, async {
        end.cancelled().await;
        sleep(LAST_WORDS).await;
        None
    });
    if let Some(outcome) = outcome.await {
        return outcome;
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}
