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
//! | `GET /health` | 200; 503 from the first signal on |
//!
//! The kernel deals new connections out evenly, not by who has time, and those dealt to a process that dies are lost. So a process does not just
//! end: at Ctrl-C or SIGTERM it first says 503 to the balancer's checks, for [`NOTICE`], while it serves as before; then it closes its listener and lets what is
//! open come to its end. A connection that the kernel deals to it between its last accept and the close is reset all the same: with one process a machine, or
//! `net.ipv4.tcp_migrate_req = 1`, there is none.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use egret::Handle;
use egret::net::{TcpListener, TcpSocket, TcpStream};
use egret::rt::{EgretTimer, HyperIo};
use egret::signal::unix::{SignalKind, signal};
use egret::sync::CancellationToken;
use egret::time::sleep;
use futures_lite::future::or;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};

/// How long the balancer has to find out that we are about to end: two of its checks.
const NOTICE: Duration = Duration::from_secs(2);
/// How long what is open may go on after that. A guess.
const GRACE: Duration = Duration::from_secs(10);
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
        let leaving = CancellationToken::new();
        egret::spawn(accept(listener, leaving.clone()));
        or(interrupt.recv(), terminate.recv()).await;
        leaving.cancel();
        // A second signal: at once.
        or(sleep(NOTICE), async {
            or(interrupt.recv(), terminate.recv()).await;
        })
        .await;
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

/// Takes connections until the runtime is shut down.
async fn accept(listener: TcpListener, leaving: CancellationToken) {
    let end = Handle::current().shutdown_token();
    while let Some(accepted) = end.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => {
                let (leaving, end) = (leaving.clone(), end.clone());
                egret::spawn(async move {
                    if let Err(error) = connection(stream, leaving, end).await {
                        eprintln!("shared_server: {peer}: {error}");
                    }
                });
            }
            Err(error) => return eprintln!("shared_server: accept: {error}"),
        }
    }
}

/// Answers one client until it has enough; from `end` on, what it has asked already.
async fn connection(
    stream: TcpStream,
    leaving: CancellationToken,
    end: CancellationToken,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request: Request<Incoming>| {
        let (status, text) = match request.uri().path() {
            "/" => (StatusCode::OK, format!("process {}\n", std::process::id())),
            "/health" if leaving.is_cancelled() => (StatusCode::SERVICE_UNAVAILABLE, "leaving\n".to_owned()),
            "/health" => (StatusCode::OK, "well\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, "nothing here\n".to_owned()),
        };
        let mut answer = Response::new(text);
        *answer.status_mut() = status;
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let mut server = http1::Builder::new();
    let mut connection =
        std::pin::pin!(server.timer(EgretTimer::new()).serve_connection(HyperIo::new(stream), service));
    if let Some(outcome) = end.run_until_cancelled(connection.as_mut()).await {
        return outcome;
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}
