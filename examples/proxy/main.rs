//! A TCP proxy: what comes in goes to another address, and back.
//!
//! ```text
//! cargo run --release --features tokio-io --example proxy -- 127.0.0.1:8000 127.0.0.1:80
//! ```
//!
//! The end of a direction is passed on when it comes, the other direction goes on. Ctrl-C closes the port; connections have [`GRACE`] to come to their
//! ends. A second Ctrl-C ends the program at once.
//!
//! `tokio::io::copy_bidirectional` and `tokio::sync` run here as they do on tokio.

#[path = "../http_echo/signals.rs"]
mod signals;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;

use egret::net::{TcpListener, TcpStream};
use egret::time::timeout;
use tokio::io::copy_bidirectional;
use tokio::sync::{mpsc, oneshot};

/// How long the other address may take to answer. A guess, far below the kernel's two minutes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long connections may go on after Ctrl-C. A guess.
const GRACE: Duration = Duration::from_secs(10);

#[egret::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    run(&arguments).await
}

/// The program with its arguments.
pub async fn run(arguments: &[String]) -> ExitCode {
    let [address, target] = arguments else {
        eprintln!("Usage: proxy ADDRESS TARGET\n  for example: proxy 127.0.0.1:8000 127.0.0.1:80");
        return ExitCode::from(2);
    };
    let outcome = async {
        let listener = TcpListener::bind(address.as_str()).await?;
        let (stop, stopped) = oneshot::channel::<()>();
        signals::on_stop_signal(|| drop(stop))?;
        println!("proxy: {} to {target}", listener.local_addr()?);
        serve(listener, target, async { drop(stopped.await) }, GRACE).await
    };
    match outcome.await {
        Ok(End::AllClosed) => ExitCode::SUCCESS,
        Ok(End::CutOff) => {
            eprintln!("proxy: some connections did not end within {GRACE:?}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("proxy: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How a proxy came to its end.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Every connection had come to its own.
    AllClosed,
    /// Some had not; they end with the runtime.
    CutOff,
}

/// Takes connections until `stop` is complete, then waits for theirs.
pub async fn serve(
    listener: TcpListener,
    target: &str,
    stop: impl Future<Output = ()>,
    grace: Duration,
) -> io::Result<End> {
    // Nothing is ever sent: each connection holds a sender, and when all are gone the receiver hears the end.
    let (open, mut all_closed) = mpsc::channel::<Infallible>(1);
    let mut stop = pin!(stop);
    loop {
        let mut accept = pin!(listener.accept());
        let next = poll_fn(|cx| match stop.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => accept.as_mut().poll(cx).map(Some),
        });
        let Some(accepted) = next.await else { break };
        let (client, peer) = accepted?;
        let (open, target) = (open.clone(), target.to_owned());
        egret::spawn(async move {
            if let Err(error) = relay(client, &target).await {
                eprintln!("proxy: {peer}: {error}");
            }
            drop(open);
        });
    }
    // The port is free from here on.
    drop(listener);
    drop(open);
    match timeout(grace, all_closed.recv()).await {
        Ok(_none_is_left) => Ok(End::AllClosed),
        Err(_elapsed) => Ok(End::CutOff),
    }
}

/// One connection, from end to end: how many bytes went each way.
async fn relay(mut client: TcpStream, target: &str) -> io::Result<(u64, u64)> {
    let mut server = timeout(CONNECT_TIMEOUT, TcpStream::connect(target))
        .await
        .map_err(|_elapsed| io::Error::new(io::ErrorKind::TimedOut, format!("{target} does not answer")))??;
    // What was sent at once is passed on at once.
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await
}
