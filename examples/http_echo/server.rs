//! The server: takes connections in, has each served by a task of its own, and ends in good order.
//!
//! What happens inside a connection is in `connection.rs`, what HTTP means in `codec.rs`, how everybody learns of the end in `gate.rs`.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use egret::net::{TcpListener, ToSocketAddrs};

use super::connection;
use super::gate::Gate;

/// The limits of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// From the first byte of a request head to its last.
    pub head_timeout: Duration,
    /// Without a request, without progress in a body, without the peer taking an answer.
    pub idle_timeout: Duration,
    /// How long requests in flight may go on after the stop.
    pub grace: Duration,
    /// How long a closing connection reads away what its peer still sends.
    pub linger_time: Duration,
    /// How many bytes of it.
    pub linger_bytes: usize,
    /// Sees everything that is read, in the task of its connection. For tests.
    pub inspect: Option<fn(&[u8])>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            grace: Duration::from_secs(5),
            // Guesses: a peer on a slow line gets to read its answer, an uncooperative one costs little.
            linger_time: Duration::from_secs(2),
            linger_bytes: 4 * 1024 * 1024,
            inspect: None,
        }
    }
}

/// A server that is bound and not yet running.
pub struct Server {
    listener: TcpListener,
    gate: Gate,
    config: Arc<Config>,
}

impl Server {
    /// Binds `address`.
    pub async fn bind(address: impl ToSocketAddrs, config: Config) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, gate: Gate::new(), config: Arc::new(config) })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Stops the server and tells how many requests it has served.
    pub fn gate(&self) -> Gate {
        self.gate.clone()
    }

    /// Serves until the gate says stop; then closes the port and gives the requests in flight their grace. The number of connections
    /// that were still at it when that ran out: they end with the runtime.
    pub async fn run(self) -> io::Result<usize> {
        let Self { listener, gate, config } = self;
        let door = gate.enter();
        loop {
            let accepted = poll_fn(|cx| {
                if door.poll_stopping(cx).is_ready() {
                    return Poll::Ready(None);
                }
                listener.poll_accept(cx).map(Some)
            });
            let Some(accepted) = accepted.await else { break };
            let (stream, _) = accepted?;
            // Answers leave at once. It fails for a peer that is gone already.
            if stream.set_nodelay(true).is_ok() {
                egret::spawn(connection::serve(stream, gate.enter(), Arc::clone(&config)));
            }
        }
        drop(listener);
        drop(door);
        let _ = egret::time::timeout(config.grace, gate.drained()).await;
        Ok(gate.members())
    }
}
