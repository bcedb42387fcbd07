//! egret, written as tokio's is: an accept loop in a task, a task per connection.

use super::fail;
use egret::net::{TcpListener, TcpStream};
use egret::{Builder, Runtime};
use egret_benches::session::Session;
use std::io;

pub(super) fn serve(listener: std::net::TcpListener, workers: usize) -> io::Result<Runtime> {
    let runtime = Builder::new_multi_thread().worker_threads(workers).build()?;
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
            Ok((stream, _)) => drop(egret::spawn(connection(stream))),
            Err(error) => return error,
        }
    }
}

async fn connection(stream: TcpStream) -> io::Result<()> {
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
