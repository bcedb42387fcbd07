//! monoio, as its users write it: a runtime of its own for each thread, each with its listener on the same port
//! (SO_REUSEPORT, the kernel deals out), and buffers that are owned by the operation. io_uring where the kernel allows it.
//!
//! No work moves between threads, by design: what the kernel dealt to a thread stays there.

use super::{BACKLOG, fail, session};
use crate::contestant::Job;
use egret_benches::session::{Pooled, Session};
use monoio::buf::IoBufMut;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{ListenerOpts, TcpListener, TcpStream};
use monoio::{FusionDriver, RuntimeBuilder};
use std::convert::Infallible;
use std::io;
use std::sync::mpsc;
use std::thread;

/// Starts the threads and returns the port they listen on.
pub(super) fn serve(workers: usize, job: Job) -> io::Result<u16> {
    let mut port = 0;
    // One after another: the first finds the port, the others join it.
    for index in 0..workers {
        let (bound, receiver) = mpsc::channel();
        let run = move || {
            let outcome = work(port, job, &bound);
            fail("monoio", outcome.map_or_else(|error| error, |never| match never {}));
        };
        thread::Builder::new().name(format!("monoio-{index}")).spawn(run)?;
        // A thread that can't listen ends the process.
        port = receiver.recv().map_err(io::Error::other)?;
    }
    Ok(port)
}

fn work(port: u16, job: Job, bound: &mpsc::Sender<u16>) -> io::Result<Infallible> {
    let mut runtime = RuntimeBuilder::<FusionDriver>::new().build()?;
    runtime.block_on(async {
        // SO_REUSEPORT is its default.
        let options = ListenerOpts::new().backlog(BACKLOG);
        let listener = TcpListener::bind_with_config(("127.0.0.1", port), &options)?;
        bound.send(listener.local_addr()?.port()).map_err(io::Error::other)?;
        loop {
            let (stream, _) = listener.accept().await?;
            // A connection's error ends the connection; the client sees it and counts it.
            if job == Job::Idle {
                drop(monoio::spawn(pooled(stream)));
            } else {
                drop(monoio::spawn(connection(stream, session(job))));
            }
        }
    })
}

async fn connection(mut stream: TcpStream, mut session: Session) -> io::Result<()> {
    stream.set_nodelay(true)?;
    while exchange(&mut stream, &mut session).await? {}
    Ok(())
}

/// No buffer while idle: it comes when something is there to read, and goes when everything is answered.
async fn pooled(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        stream.readable(true).await?;
        let mut session = Pooled::take();
        loop {
            if !exchange(&mut stream, &mut session).await? {
                return Ok(());
            }
            if session.at_rest() {
                break;
            }
        }
    }
}

/// One read, and the write of what it brought about; `false` if the connection has ended.
async fn exchange(stream: &mut TcpStream, session: &mut Session) -> io::Result<bool> {
    let (input, filled) = session.lend_input();
    let (count, input) = stream.read(input.slice_mut(filled..)).await;
    session.return_input(input.into_inner());
    let count = count?;
    if count == 0 {
        return Ok(false);
    }
    if !session.received(count).is_empty() {
        let (written, output) = stream.write_all(session.lend_output()).await;
        session.return_output(output);
        written?;
    }
    Ok(!session.closes())
}
