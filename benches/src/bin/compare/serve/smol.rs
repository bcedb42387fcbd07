//! smol: one executor, and threads that run it inside of `block_on`, which makes each of them drive the reactor when it
//! has nothing else to do. That is what `smol::spawn` sets up with SMOL_THREADS.

use super::fail;
use egret_benches::session::Session;
use smol::Executor;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};
use std::io;
use std::sync::Arc;
use std::thread;

pub(super) fn serve(listener: std::net::TcpListener, workers: usize) -> io::Result<Arc<Executor<'static>>> {
    let executor = Arc::new(Executor::new());
    let listener = TcpListener::try_from(listener)?;
    executor.spawn(accept(Arc::clone(&executor), listener)).detach();
    for index in 0..workers {
        let executor = Arc::clone(&executor);
        let run = move || smol::block_on(executor.run(smol::future::pending::<()>()));
        thread::Builder::new().name(format!("smol-{index}")).spawn(run)?;
    }
    Ok(executor)
}

async fn accept(executor: Arc<Executor<'static>>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            // A connection's error ends the connection; wrk sees it and counts it.
            Ok((stream, _)) => executor.spawn(connection(stream)).detach(),
            Err(error) => fail("accept", error),
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
