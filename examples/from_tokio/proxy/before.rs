//! A TCP proxy: what comes in goes to another address, and back. Ctrl-C, or a SIGTERM, closes the port and lets the connections come to their ends.
//!
//! Its environment: `LISTEN` and `TARGET`, the addresses; `LIMIT_MS`, how long a connection may last; `GRACE_MS`, how long those that are open may go on
//! at the end.

use std::env;
use std::io;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long the other address may take to answer. A guess, far below the kernel's two minutes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The program. Public for the test that runs it.
#[tokio::main]
pub async fn main() -> io::Result<()> {
    let address = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:8000".to_owned());
    let target = env::var("TARGET").unwrap_or_else(|_| "127.0.0.1:80".to_owned());
    let (limit, grace) = (milliseconds("LIMIT_MS", 3_600_000)?, milliseconds("GRACE_MS", 10_000)?);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(&address).await?;
    println!("proxy: {}", listener.local_addr()?);

    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, peer) = accepted?;
                let target = target.clone();
                connections.spawn(async move {
                    match timeout(limit, relay(client, &target)).await {
                        Ok(Ok((up, down))) => format!("{peer}: {up} bytes up, {down} down"),
                        Ok(Err(error)) => format!("{peer}: {error}"),
                        Err(elapsed) => format!("{peer}: {elapsed}"),
                    }
                });
            }
            Some(ended) = connections.join_next() => println!("proxy: {}", ended?),
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }

    // Nobody can connect from here on.
    drop(listener);
    println!("proxy: {} connections are open", connections.len());
    let drain = async {
        while let Some(ended) = connections.join_next().await {
            println!("proxy: {}", ended?);
        }
        io::Result::Ok(())
    };
    if let Ok(drained) = timeout(grace, drain).await {
        return drained;
    }
    println!("proxy: {} connections are cut off", connections.len());
    connections.shutdown().await;
    Ok(())
}

/// One connection: how many bytes went each way.
async fn relay(mut client: TcpStream, target: &str) -> io::Result<(u64, u64)> {
    let mut server = timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await??;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await
}

fn milliseconds(name: &str, default: u64) -> io::Result<Duration> {
    let value = env::var(name).unwrap_or_else(|_| default.to_string());
    let value = value.parse().map_err(|error| io::Error::other(format!("{name}: {error}")))?;
    Ok(Duration::from_millis(value))
}
