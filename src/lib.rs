//! egret: an async runtime for TCP servers that stands on its own readiness engine.
//!
//! Tasks run on work-stealing worker threads; workers with nothing to do wait in the [reactor], an epoll in user space
//! that is fed by io_uring or by `poll(2)` and never calls the kernel's epoll.
//!
//! # A first server
//!
//! An echo server and a client for it, in one program. A [`Builder`] makes the [`Runtime`]; [`block_on`](Runtime::block_on) runs
//! a future on this thread while the workers run what is [spawned](spawn).
//!
//! ```
//! use egret::net::{TcpListener, TcpStream};
//! use std::time::Duration;
//!
//! fn main() -> std::io::Result<()> {
//!     let runtime = egret::Builder::new_multi_thread().worker_threads(2).build()?;
//!     runtime.block_on(async {
//!         // Port 0: the kernel chooses a free one.
//!         let listener = TcpListener::bind("127.0.0.1:0").await?;
//!         let address = listener.local_addr()?;
//!
//!         egret::spawn(async move {
//!             // accept() deals with broken connections and with a lack of descriptors by itself.
//!             while let Ok((stream, _)) = listener.accept().await {
//!                 // A task for each connection. If it panics, nobody else notices.
//!                 egret::spawn(echo(stream));
//!             }
//!         });
//!
//!         let client = TcpStream::connect(address).await?;
//!         client.write_all(b"hello, egret").await?;
//!         let mut answer = [0; 12];
//!         egret::time::timeout(Duration::from_secs(5), client.read_exact(&mut answer))
//!             .await
//!             .expect("an echo within five seconds")?;
//!         assert_eq!(&answer, b"hello, egret");
//!         Ok(())
//!     })
//!     // Dropping the runtime ends its threads and drops the tasks that are left.
//! }
//!
//! async fn echo(stream: TcpStream) -> std::io::Result<()> {
//!     let mut buffer = vec![0; 4096];
//!     loop {
//!         match stream.read(&mut buffer).await? {
//!             0 => return Ok(()), // the end of the stream
//!             n => stream.write_all(&buffer[..n]).await?,
//!         }
//!     }
//! }
//! ```
//!
//! `cargo run --release --example http_echo` is a whole server: HTTP/1.1, timeouts, limits, graceful stop.
//!
//! # Where is what
//!
//! | | |
//! |---|---|
//! | [`runtime`]: [`Builder`], [`Runtime`], [`Handle`] | making a runtime, entering it, ending it |
//! | [`spawn`], [`JoinHandle`], [`JoinError`], [`task`] | tasks: their results, their panics, giving way; sets and scopes of tasks, tasks that stay on their thread |
//! | [`net`] | TCP, UDP and Unix sockets |
//! | [`io`] | the traits for reading and writing; any descriptor ([`AsyncFd`](io::unix::AsyncFd)) or source of the reactor, awaited |
//! | [`signal`] | signals of the operating system, awaited |
//! | [`time`] | sleeping, timeouts, intervals |
//! | [`sync`] | telling tasks to end |
//! | `#[egret::main]`, `#[egret::test]` | a runtime for an `async fn` |
//! | [`reactor`] | the engine underneath, usable alone |
//!
//! The [guide](https://github.com/egret-rs/egret/blob/main/docs/guide.md) tells how to come here from tokio, how an event becomes a poll, what can be tuned, and when not to
//! use it.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `macros` (on by default) | `#[egret::main]` and `#[egret::test]` |
//! | `tokio-io` | tokio's `AsyncRead` and `AsyncWrite` on the sockets, directly on its `ReadBuf`; the traits of `futures-io` are always there |
//! | `hyper` | `egret::rt`: executor, timer and sockets for hyper 1.x, http1 and http2, and for what is built on it |
//! | `tracing` | tasks are spans, with tokio's names, which tokio-console reads |
//! | `backtrace` | [`Builder::on_stuck_poll`] tells which functions a stuck task is in |
//!
//! What needs no runtime needs no feature: `tokio::sync`, `async-channel`, `futures-util` and `async-lock` work as they are.
//!
//! # Choosing the feed
//!
//! Where readiness comes from is tried out when a runtime is built: io_uring where the system allows it, else Linux AIO's poll, else
//! `poll(2)`. The environment variable `EGRET_FEED` (`uring`, `aio`, `poll`) and the builder override the choice; a feed that was asked for by
//! name and cannot be had is an error that says why.

#[cfg(feature = "macros")]
pub use egret_macros::{main, test};

pub use egret_executor::{Builder, EnterGuard, Handle, JoinError, JoinHandle, Runtime, spawn, task_local};

/// Making a runtime, entering it, ending it; its counters.
pub use egret_executor::runtime;
/// Tasks: handles and errors, [`JoinSet`](egret_executor::task::JoinSet), [`LocalSet`](egret_executor::task::LocalSet),
/// [`scope`](egret_executor::task::scope()), [`yield_now`](egret_executor::task::yield_now).
pub use egret_executor::task;
/// Sleeping and timeouts.
pub use egret_executor::time;
pub mod io {
    //! Reading and writing: the traits of `futures-io`, which the sockets implement. Waiting for what is no socket: [`AsyncSource`].

    pub use egret_executor::io::{AsyncSource, Direction, Registration, SourceReady};
    pub use egret_net::io::*;
}

pub mod sync {
    //! Telling tasks to end: [`CancellationToken`].
    //!
    //! Channels, locks and semaphores need nothing of a runtime: `tokio::sync`, `async-channel` and `async-lock` work here as they are.

    pub use egret_executor::cancel::{
        CancellationToken, DropGuard, RunUntilCancelled, RunUntilCancelledOwned, WaitForCancellation,
        WaitForCancellationOwned,
    };
}

/// Signals of the operating system: [`ctrl_c`](egret_net::signal::ctrl_c) and all others.
pub use egret_net::signal;

/// The readiness engine under the runtime, synchronous and usable alone.
pub use egret_reactor as reactor;

#[cfg(feature = "hyper")]
pub mod rt;

pub mod net {
    //! TCP, UDP and Unix sockets.

    pub use egret_net::{
        Incoming, Interest, OwnedReadHalf, OwnedWriteHalf, ReadHalf, Ready, ReuniteError, TcpListener,
        TcpSocket, TcpStream, ToSocketAddrs, UdpSocket, UnixDatagram, UnixListener, UnixStream, WriteHalf,
        lookup_host, splice, splice_bidirectional, unix,
    };
}

/// The guide's code, compiled and run.
#[cfg(all(doctest, feature = "macros", feature = "tokio-io"))]
#[doc = include_str!("../docs/guide.md")]
struct Guide;
