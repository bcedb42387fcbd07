//! tokio, as its users write it: the multi-thread runtime, an accept loop in a task, a task per connection.

use super::fail;
use egret_benches::session::Session;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

pub(super) fn serve(listener: std::net::TcpListener, workers: usize) -> io::Result<Runtime> {
    let runtime = Builder::new_multi_thread().worker_threads(workers).enable_io().build()?;
    // The accept loop is a task, not the future of block_on, so that it runs on a worker and no thread is added.
    runtime.spawn(async move {
        let error = match TcpListener::from_std(listener) {
            Ok(listener) => accept(listener).await,
            Err(error) => error,
        };
        fail("accept", error)
    });
    Ok(runtime)
}

async fn accept(listener: TcpListener) -> io::Error {
    loop {
        match listener.accept().await {
            // A connection's error ends the connection; wrk sees it and counts it.
            Ok((stream, _)) => drop(tokio::spawn(connection(stream))),
            Err(error) => return error,
        }
    }
}

async fn connection(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut session = Session::new();
    loop {
        let count = stream.read(session.space()).await?;
        if count == 0 {
            return Ok(());
        }
        let output = session.received(count);
        if !output.is_empty() {
            stream.write_all(output).await?;
        }
        if session.closes() {
            return Ok(());
        }
    }
}
