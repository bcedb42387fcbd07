//! TCP: the listener, the stream and its halves, borrowed and owned.

pub(crate) mod accept;
mod listener;
mod options;
pub(crate) mod split;
pub(crate) mod split_owned;
mod stream;
pub(crate) mod traits;

pub use listener::{Incoming, TcpListener};
pub use split::{ReadHalf, WriteHalf};
pub use split_owned::{OwnedReadHalf, OwnedWriteHalf, ReuniteError};
pub use stream::TcpStream;
