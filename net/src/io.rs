//! The I/O traits that the sockets implement: those of `futures-io`, with which `futures-lite`, `async-tungstenite`, `futures-rustls` and others work.

pub use futures_io::{AsyncBufRead, AsyncRead, AsyncWrite};

pub use crate::copy::{copy, copy_bidirectional, copy_bidirectional_with_sizes};

/// What to wait for, and what one is told.
pub use crate::ready::{Interest, Ready};

pub mod unix {
    //! Descriptors of any kind: [`AsyncFd`].

    pub use crate::async_fd::{
        AsyncFd, AsyncFdReadyGuard, AsyncFdReadyMutGuard, AsyncFdRegisterError, TryIoError,
    };
}
