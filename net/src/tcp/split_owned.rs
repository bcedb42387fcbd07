//! The two directions of a stream, owned: for two tasks. The stream is shared by reference counting; the connection closes when both
//! halves are gone.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};

use super::split::{reading_half, writing_half};
use super::stream::TcpStream;
use crate::sync::Arc;
use crate::{Interest, Ready};

/// The owned halves of a kind of stream. Invoke it once a module: the types are called the same for all of them.
macro_rules! owned_halves {
    ($stream:ident, $address:ty) => {
        #[doc = concat!("The reading half of a stream taken apart; made by [`", stringify!($stream), "::into_split`].")]
        #[derive(Debug)]
        pub struct OwnedReadHalf {
            stream: Arc<$stream>,
        }

        #[doc = concat!("The writing half of a stream taken apart; made by [`", stringify!($stream), "::into_split`].")]
        ///
        /// Dropping it shuts the writing direction down, also while the reading half lives on: the peer reads the end of the stream.
        /// [`forget`](Self::forget) avoids that.
        #[derive(Debug)]
        pub struct OwnedWriteHalf {
            stream: Arc<$stream>,
            shutdown_on_drop: bool,
        }

        pub(crate) fn into_split(stream: $stream) -> (OwnedReadHalf, OwnedWriteHalf) {
            let stream = Arc::new(stream);
            (OwnedReadHalf { stream: Arc::clone(&stream) }, OwnedWriteHalf { stream, shutdown_on_drop: true })
        }

        fn reunite(read: OwnedReadHalf, write: OwnedWriteHalf) -> Result<$stream, ReuniteError> {
            if !Arc::ptr_eq(&read.stream, &write.stream) {
                return Err(ReuniteError(read, write));
            }
            write.forget();
            // There are two references to a stream that was split, and these were they.
            Ok(Arc::into_inner(read.stream).expect("the halves of a stream hold the only references to it"))
        }

        impl OwnedReadHalf {
            /// Puts the halves of one stream together again.
            ///
            /// # Errors
            ///
            /// Gives both halves back if they are not of the same stream.
            pub fn reunite(self, other: OwnedWriteHalf) -> Result<$stream, ReuniteError> {
                reunite(self, other)
            }
        }

        impl OwnedWriteHalf {
            /// Puts the halves of one stream together again.
            ///
            /// # Errors
            ///
            /// Gives both halves back if they are not of the same stream.
            pub fn reunite(self, other: OwnedReadHalf) -> Result<$stream, ReuniteError> {
                reunite(other, self)
            }

            /// Drops the half without shutting the direction down; it ends when the reading half goes.
            pub fn forget(mut self) {
                self.shutdown_on_drop = false;
            }

            /// The direction was shut down: once is enough.
            fn ended(&mut self) {
                self.shutdown_on_drop = false;
            }
        }

        impl Drop for OwnedWriteHalf {
            fn drop(&mut self) {
                if self.shutdown_on_drop {
                    // It fails if the connection is gone, and then there is nobody left to tell.
                    let _ = self.stream.shutdown(Shutdown::Write);
                }
            }
        }

        reading_half!(OwnedReadHalf, $stream, $address);
        writing_half!(OwnedWriteHalf, $stream, $address);

        /// The halves given to `reunite` are not of the same stream. Holds both.
        #[derive(Debug)]
        pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

        impl fmt::Display for ReuniteError {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tried to reunite halves that are not of the same stream")
            }
        }

        impl std::error::Error for ReuniteError {}
    };
}

pub(crate) use owned_halves;

owned_halves!(TcpStream, SocketAddr);
