//! TCP: the listener, the stream and its halves, borrowed and owned; and the socket that is neither yet.

pub(crate) mod accept;
mod connect;
mod limit;
mod listener;
mod options;
mod race;
mod socket;
pub(crate) mod split;
pub(crate) mod split_owned;
mod stream;
pub(crate) mod traits;

pub use listener::{Incoming, TcpListener};
pub use socket::TcpSocket;
pub use split::{ReadHalf, WriteHalf};
pub use split_owned::{OwnedReadHalf, OwnedWriteHalf, ReuniteError};
pub use stream::TcpStream;
