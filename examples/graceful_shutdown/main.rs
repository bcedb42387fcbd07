//! A server that ends well: on Ctrl-C or SIGTERM nobody comes in any more, what is being worked on is finished, and what takes too long is named.
//!
//! ```text
//! cargo run --release --example graceful_shutdown -- 127.0.0.1:7001 5000     (the grace, in milliseconds)
//! nc 127.0.0.1 7001          (then: work 3000)
//! ```
//!
//! ```text
//!   signal ──► Runtime::shutdown(grace) ──► the token is cancelled ──► the listener closes, idle clients hear "bye"
//!                                      └──► tasks have `grace` to end ──► the rest is dropped, and is in the report
//! ```
//!
//! The token is the runtime's own; there is nothing to count and nothing to pass around. While it ends, Ctrl-\ (SIGQUIT) ends it at once.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use egret::Handle;
use egret::net::{TcpListener, TcpStream};
use egret::signal::unix::{SignalKind, signal};
use egret::sync::CancellationToken;
use egret::time::sleep;
use futures_lite::{AsyncBufReadExt, StreamExt, future::or, io::BufReader};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    run(&arguments)
}

/// The program with its arguments.
pub fn run(arguments: &[String]) -> ExitCode {
    let address = arguments.first().map_or("127.0.0.1:7001", String::as_str);
    let Ok(grace) = arguments.get(1).map_or(Ok(10_000), |text| text.parse()) else {
        eprintln!("Usage: graceful_shutdown [ADDRESS [MILLISECONDS]]");
        return ExitCode::from(2);
    };
    match serve(address, Duration::from_millis(grace)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("graceful_shutdown: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(address: &str, grace: Duration) -> io::Result<ExitCode> {
    let runtime = egret::Builder::new_multi_thread().build()?;
    runtime.block_on(async {
        // Before anybody knows that we are here: a signal that comes early is not lost.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let listener = TcpListener::bind(address).await?;
        println!("graceful_shutdown: {}", listener.local_addr()?);
        egret::spawn(accept(listener, Handle::current().shutdown_token()));
        or(interrupt.recv(), terminate.recv()).await;
        io::Result::Ok(())
    })?;
    println!("graceful_shutdown: ending");
    let report = runtime.shutdown(grace);
    println!("graceful_shutdown: {report}");
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Takes clients until the token is cancelled; then the listener goes, and with it the port.
async fn accept(listener: TcpListener, token: CancellationToken) {
    while let Some(accepted) = token.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => {
                let token = token.clone();
                egret::task::Builder::new()
                    .name(&format!("client {peer}"))
                    .spawn(async move {
                        if let Err(error) = client(stream, token).await {
                            eprintln!("graceful_shutdown: {peer}: {error}");
                        }
                    })
                    .map(drop)
                    .unwrap_or_else(|error| eprintln!("graceful_shutdown: {peer}: {error}"));
            }
            // The listener itself is broken: what is there goes on.
            Err(error) => return eprintln!("graceful_shutdown: accept: {error}"),
        }
    }
}

/// Does what the client asks for, one thing after the other. Only between two of them does it look at the token.
async fn client(stream: TcpStream, token: CancellationToken) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(&stream).lines();
    loop {
        let line = match token.run_until_cancelled(lines.next()).await {
            None => return stream.write_all(b"bye\n").await,
            Some(None) => return Ok(()),
            Some(Some(line)) => line?,
        };
        match line.strip_prefix("work ").map(str::parse) {
            Some(Ok(ms)) => {
                stream.write_all(b"working\n").await?;
                sleep(Duration::from_millis(ms)).await;
                stream.write_all(b"done\n").await?;
            }
            _ => stream.write_all(b"say: work MILLISECONDS\n").await?,
        }
    }
}
