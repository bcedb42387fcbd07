//! tokio, as its users write it: the multi-thread runtime, an accept loop in a task, a task per connection.

use super::{fail, session};
use crate::contestant::Job;
use egret_benches::session::{Pooled, Session};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

pub(super) fn serve(listener: std::net::TcpListener, workers: usize, job: Job) -> io::Result<Runtime> {
    let runtime = Builder::new_multi_thread().worker_threads(workers).enable_io().build()?;
    // The accept loop is a task, not the future of block_on, so that it runs on a worker and no thread is added.
    runtime.spawn(async move {
        let error = match TcpListener::from_std(listener) {
            Ok(listener) => accept(listener, job).await,
            Err(error) => error,
        };
        fail("accept", error)
    });
    Ok(runtime)
}

async fn accept(listener: TcpListener, job: Job) -> io::Error {
    loop {
        match listener.accept().await {
            // A connection's error ends the connection; the client sees it and counts it.
            Ok((stream, _)) if job == Job::Idle => drop(tokio::spawn(pooled(stream))),
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, session(job)))),
            Err(error) => return error,
        }
    }
}

async fn connection(mut stream: TcpStream, mut session: Session) -> io::Result<()> {
    stream.set_nodelay(true)?;
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

/// No buffer while idle: it comes when something is there to read, and goes when everything is answered.
async fn pooled(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        stream.readable().await?;
        let mut session = Pooled::take();
        loop {
            match stream.try_read(session.space()) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    let output = session.received(count);
                    if !output.is_empty() {
                        stream.write_all(output).await?;
                    }
                    if session.closes() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) if session.at_rest() => break,
                Err(_) => stream.readable().await?,
            }
        }
    }
}
