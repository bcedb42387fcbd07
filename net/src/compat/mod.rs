//! Other people's I/O traits for our sockets, each behind a feature. Nothing here waits or moves bytes by itself: it is [`crate::socket`]'s loop with other
//! buffers.
//!
//! | module | feature | traits |
//! |---|---|---|
//! | `tokio_io` | `tokio-io` | `tokio::io::{AsyncRead, AsyncWrite}`, for the streams of TCP and of Unix sockets, and their halves |
//!
//! Those of `futures-io` are always there and live with the sockets.

mod tokio_io;
