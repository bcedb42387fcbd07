//! smol: one executor, and threads that run it inside of `block_on`, which makes each of them drive the reactor when it
//! has nothing else to do. That is what `smol::spawn` sets up with SMOL_THREADS.

use super::{fail, session};
use crate::contestant::Job;
use egret_benches::session::{Pooled, Session};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};
use smol::{Async, Executor};
use std::io::{self, Read};
use std::sync::Arc;
use std::thread;

pub(super) fn serve(
    listener: std::net::TcpListener,
    workers: usize,
    job: Job,
) -> io::Result<Arc<Executor<'static>>> {
    let executor = Arc::new(Executor::new());
    let spawner = Arc::clone(&executor);
    if job == Job::Idle {
        executor.spawn(accept_pooled(spawner, Async::new(listener)?)).detach();
    } else {
        executor.spawn(accept(spawner, TcpListener::try_from(listener)?, job)).detach();
    }
    for index in 0..workers {
        let executor = Arc::clone(&executor);
        let run = move || smol::block_on(executor.run(smol::future::pending::<()>()));
        thread::Builder::new().name(format!("smol-{index}")).spawn(run)?;
    }
    Ok(executor)
}

async fn accept(executor: Arc<Executor<'static>>, listener: TcpListener, job: Job) {
    loop {
        match listener.accept().await {
            // A connection's error ends the connection; the client sees it and counts it.
            Ok((stream, _)) => executor.spawn(connection(stream, session(job))).detach(),
            Err(error) => fail("accept", error),
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

/// For idle connections: `Async` over the socket is what smol has to wait without reading, and smaller than its `TcpStream`.
async fn accept_pooled(executor: Arc<Executor<'static>>, listener: Async<std::net::TcpListener>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => executor.spawn(pooled(stream)).detach(),
            Err(error) => fail("accept", error),
        }
    }
}

/// No buffer while idle: it comes when something is there to read, and goes when everything is answered.
async fn pooled(mut stream: Async<std::net::TcpStream>) -> io::Result<()> {
    stream.get_ref().set_nodelay(true)?;
    loop {
        stream.readable().await?;
        let mut session = Pooled::take();
        loop {
            match stream.get_ref().read(session.space()) {
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
