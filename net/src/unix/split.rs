//! The two directions of a [`UnixStream`], borrowed and owned: those of TCP, for another stream.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::os::unix::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};

use super::UnixStream;
use crate::sync::Arc;
use crate::tcp::split::{borrowed_halves, reading_half, writing_half};
use crate::tcp::split_owned::owned_halves;
use crate::{Interest, Ready};

borrowed_halves!(UnixStream, SocketAddr);
owned_halves!(UnixStream, SocketAddr);
