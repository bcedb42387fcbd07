//! What hyper 1.x asks of a runtime: an [executor](EgretExecutor), a [timer](EgretTimer) and [sockets](HyperIo). Feature `hyper`.
//!
//! The names are those of `hyper_util::rt` with the runtime's name changed, and so is the code that uses them. hyper's http1 and http2, server and client,
//! and what is built on them (axum's router behind `hyper_util::server::conn::auto`) run on egret with these three. Which parts of hyper you get is up to
//! the features of hyper that you ask for; this one asks for none.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use egret::rt::{EgretExecutor, EgretTimer, HyperIo};
//! use http_body_util::{BodyExt, Empty};
//! use hyper::body::{Bytes, Incoming};
//! use hyper::{Request, Response, service::service_fn};
//!
//! #[egret::main(worker_threads = 2)]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let listener = egret::net::TcpListener::bind("127.0.0.1:0").await?;
//!     let address = listener.local_addr()?;
//!     egret::spawn(async move {
//!         while let Ok((stream, _)) = listener.accept().await {
//!             let hello = service_fn(async |_: Request<Incoming>| {
//!                 Ok::<_, Infallible>(Response::new("hello from egret".to_owned()))
//!             });
//!             // For http2 the builder takes an `EgretExecutor::new()`.
//!             let mut server = hyper::server::conn::http1::Builder::new();
//!             server.timer(EgretTimer::new());
//!             egret::spawn(server.serve_connection(HyperIo::new(stream), hello));
//!         }
//!     });
//!
//!     let stream = egret::net::TcpStream::connect(address).await?;
//!     let (mut client, connection) = hyper::client::conn::http1::handshake(HyperIo::new(stream)).await?;
//!     egret::spawn(connection);
//!     let answer = client.send_request(Request::new(Empty::<Bytes>::new())).await?;
//!     assert_eq!(answer.into_body().collect().await?.to_bytes(), "hello from egret");
//!     Ok(())
//! }
//! ```

mod executor;
mod io;
mod timer;

pub use executor::EgretExecutor;
pub use io::HyperIo;
pub use timer::EgretTimer;
