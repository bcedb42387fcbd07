//! egret, written as tokio's is: an accept loop in a task, a task per connection.

use super::{fail, session};
use crate::contestant::Job;
use egret::net::{TcpListener, TcpStream};
use egret::{Builder, Runtime};
use egret_benches::session::{Pooled, Session};
use std::io;

pub(super) fn builder(workers: usize) -> Builder {
    Builder::new_multi_thread().worker_threads(workers)
}

pub(super) fn serve(listener: std::net::TcpListener, builder: Builder, job: Job) -> io::Result<Runtime> {
    let runtime = builder.build()?;
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
            Ok((stream, _)) if job == Job::Idle => drop(egret::spawn(pooled(stream))),
            Ok((stream, _)) => drop(egret::spawn(connection(stream, session(job)))),
            Err(error) => return error,
        }
    }
}

async fn connection(stream: TcpStream, mut session: Session) -> io::Result<()> {
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
async fn pooled(stream: TcpStream) -> io::Result<()> {
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
