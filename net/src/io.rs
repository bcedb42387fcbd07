//! The I/O traits that the sockets implement: those of `futures-io`, with which `futures-lite`, `async-tungstenite`, `futures-rustls` and others work.

pub use futures_io::{AsyncBufRead, AsyncRead, AsyncWrite};
