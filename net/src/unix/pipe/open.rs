//! [`OpenOptions`]: an end of a FIFO.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Receiver, Sender};

/// How to open an end of a FIFO, a pipe with a name in the file system.
///
/// # Examples
///
/// ```no_run
/// use egret_net::unix::pipe;
///
/// # fn main() -> std::io::Result<()> {
/// egret_executor::Runtime::new()?.block_on(async {
///     // Stays open when the clients that write come and go.
///     let commands = pipe::OpenOptions::new().read_write(true).open_receiver("/run/example/commands")?;
///     let mut buffer = [0; 4096];
///     loop {
///         let read = commands.read(&mut buffer).await?;
///         println!("{} bytes", read);
///     }
/// })
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    read_write: bool,
    unchecked: bool,
}

impl OpenOptions {
    /// Opens for the direction alone, and checks what is opened.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens for both directions, which Linux allows: a receiver has no end of the stream then, and a sender needs no receiver to be there.
    pub fn read_write(&mut self, value: bool) -> &mut Self {
        self.read_write = value;
        self
    }

    /// Doesn't check that it is a FIFO that is opened.
    pub fn unchecked(&mut self, value: bool) -> &mut Self {
        self.unchecked = value;
        self
    }

    /// Opens the reading end. Doesn't wait for a sender.
    ///
    /// # Errors
    ///
    /// Those of open(2); `InvalidInput` if it is no FIFO; an error outside a runtime.
    pub fn open_receiver(&self, path: impl AsRef<Path>) -> io::Result<Receiver> {
        let file = self.open(path.as_ref(), true, self.read_write)?;
        if self.unchecked { Receiver::from_file_unchecked(file) } else { Receiver::from_file(file) }
    }

    /// Opens the writing end.
    ///
    /// # Errors
    ///
    /// `ENXIO` if nobody has it open for reading: the kernel lets nobody wait for that. Others as [`open_receiver`](Self::open_receiver).
    pub fn open_sender(&self, path: impl AsRef<Path>) -> io::Result<Sender> {
        let file = self.open(path.as_ref(), self.read_write, true)?;
        if self.unchecked { Sender::from_file_unchecked(file) } else { Sender::from_file(file) }
    }

    fn open(&self, path: &Path, read: bool, write: bool) -> io::Result<File> {
        let mut options = std::fs::OpenOptions::new();
        // Nonblocking from the start: a FIFO's open would wait for the other end.
        options.read(read).write(write).custom_flags(libc::O_NONBLOCK).open(path)
    }
}
