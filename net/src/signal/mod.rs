//! Waiting for signals of the operating system: [`ctrl_c`], and in [`unix`] all others.
//!
//! ```text
//!   the kernel ─► signal-hook-registry's handler ─► each listener's bell: an atomic, an eventfd ─► the listener's runtime ─► its task
//! ```
//!
//! There is no table of signals and no thread: every [`Signal`](unix::Signal) is an action of its own in the registry, and an eventfd that is a source in the
//! runtime it was made in. So any number of listeners in any number of runtimes hear the same signal, and one that is dropped takes only its own with it.
//! A listener costs a descriptor. It is here and not in the executor because it needs nothing of that but a source.

mod bell;
pub mod unix;

use std::io;

use unix::{SignalKind, signal};

/// Waits for the next Ctrl-C (`SIGINT`).
///
/// From the first poll on, and for as long as the process lives, Ctrl-C does not end the process any more: also when this future, and every other listener, is
/// gone. Each call makes a listener of its own, which hears what comes after its first poll; to miss none between two calls, keep a
/// [`signal`]`(`[`SignalKind::interrupt`]`())`.
///
/// # Errors
///
/// As [`signal`], and when the runtime has ended.
///
/// # Cancel safety
///
/// Cancel safe, but what comes between dropping it and the next call is not heard by anybody.
///
/// # Examples
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// egret_executor::Runtime::new()?.block_on(async {
///     println!("running until Ctrl-C");
///     egret_net::signal::ctrl_c().await?;
///     println!("bye");
///     Ok(())
/// })
/// # }
/// ```
pub async fn ctrl_c() -> io::Result<()> {
    let heard = signal(SignalKind::interrupt())?.recv().await;
    heard.ok_or_else(|| io::Error::other("the egret runtime that waited for Ctrl-C has been shut down"))
}
