//! [`copy`] and [`copy_bidirectional`]: from one stream into another, over the traits of `futures-io`.
//!
//! ```text
//!   Pump:  buffer empty ─► read ── some ──► write, until nothing is left ─► read …
//!             ▲              ├── nothing yet: flush what was written, wait
//!             │              └── 0: the end ─► flush ─► done
//!   copy                one pump
//!   copy_bidirectional  two, each with its own buffer; one that has ended closes its writer, and is over when that is closed
//! ```
//!
//! `splice` is the same between two TCP connections, within the kernel.

mod bidirectional;
mod pump;
pub(crate) mod splice;

use std::future::poll_fn;
use std::io;

use futures_io::{AsyncRead, AsyncWrite};

pub use bidirectional::{copy_bidirectional, copy_bidirectional_with_sizes};
use pump::Pump;

/// So many bytes are between a reader and a writer. tokio's value; what a relay moves at once in more than this it should ask for with
/// [`copy_bidirectional_with_sizes`].
const BUFFER: usize = 8 * 1024;

/// Moves everything that `reader` gives, to its end, into `writer`, and flushes it. Says how many bytes that were. Does not close `writer`.
///
/// 8 KiB at a time; what was read is written before more is read. When nothing more comes for the moment, what was written is flushed.
///
/// # Errors
///
/// The first of the reader or the writer; `WriteZero` if the writer takes nothing.
///
/// # Cancel safety
///
/// Not cancel safe: up to 8 KiB that were read may be lost.
///
/// # Examples
///
/// ```
/// use egret_net::{TcpListener, TcpStream, io};
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// runtime.block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     let (mut server, _) = listener.accept().await?;
///     client.write_all(b"all that there is").await?;
///     drop(client);
///     let mut kept = Vec::new();
///     assert_eq!(io::copy(&mut server, &mut kept).await?, 17);
///     assert_eq!(kept, b"all that there is");
///     Ok(())
/// })
/// # }
/// ```
pub async fn copy<R, W>(reader: &mut R, writer: &mut W) -> io::Result<u64>
where
    R: AsyncRead + Unpin + ?Sized,
    W: AsyncWrite + Unpin + ?Sized,
{
    let mut pump = Pump::new(BUFFER);
    poll_fn(|cx| pump.poll(cx, reader, writer)).await
}
