//! TCP: the listener, the stream and its halves, borrowed and owned.

mod accept;
mod listener;
mod options;
mod split;
mod split_owned;
mod stream;
mod traits;

pub use listener::{Incoming, TcpListener};
pub use split::{ReadHalf, WriteHalf};
pub use split_owned::{OwnedReadHalf, OwnedWriteHalf, ReuniteError};
pub use stream::TcpStream;
