//! [`signal`]: a listener for any signal that may be listened for.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::raw::c_int;
use std::task::{Context, Poll, ready};

use egret_executor::io::{AsyncSource, Direction};
use egret_reactor::{Events, Fd};
use signal_hook_registry::{FORBIDDEN, SigId};

use super::bell::Bell;
use crate::sync::Arc;

/// Which signal.
///
/// ```
/// use egret_net::signal::unix::SignalKind;
///
/// assert_eq!(SignalKind::terminate(), SignalKind::from_raw(15));
/// assert_eq!(SignalKind::interrupt().as_raw_value(), 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignalKind(c_int);

/// A constructor each, with the signal it stands for and what the kernel does when nobody listens.
macro_rules! kinds {
    ($($name:ident = $signal:ident: $what:literal;)*) => {
        impl SignalKind {
            $(
                #[doc = concat!("`", stringify!($signal), "`: ", $what)]
                pub const fn $name() -> Self {
                    Self(libc::$signal)
                }
            )*
        }
    };
}

kinds! {
    alarm = SIGALRM: "a timer of alarm(2) or setitimer(2) has run out. Ends the process if nobody listens.";
    child = SIGCHLD: "a child process has ended, stopped or gone on. Ignored if nobody listens.";
    hangup = SIGHUP: "the terminal was closed; daemons take it as \"read your configuration again\". Ends the process if nobody listens.";
    interrupt = SIGINT: "Ctrl-C. Ends the process if nobody listens.";
    io = SIGIO: "a descriptor with `O_ASYNC` became ready. Ends the process if nobody listens.";
    pipe = SIGPIPE: "a write to a pipe or socket that nobody reads. Rust programs ignore it from the start, and this crate's sockets never cause it.";
    quit = SIGQUIT: "Ctrl-\\\\. Ends the process, with a core dump, if nobody listens.";
    terminate = SIGTERM: "a polite request to end. Ends the process if nobody listens.";
    user_defined1 = SIGUSR1: "whatever the program makes of it. Ends the process if nobody listens.";
    user_defined2 = SIGUSR2: "whatever the program makes of it. Ends the process if nobody listens.";
    window_change = SIGWINCH: "the terminal's window has another size. Ignored if nobody listens.";
}

impl SignalKind {
    /// The signal with this number, real-time signals among them. Whether one may listen for it shows in [`signal`].
    pub const fn from_raw(signum: c_int) -> Self {
        Self(signum)
    }

    /// Its number.
    pub const fn as_raw_value(&self) -> c_int {
        self.0
    }
}

impl From<c_int> for SignalKind {
    fn from(signum: c_int) -> Self {
        Self::from_raw(signum)
    }
}

impl From<SignalKind> for c_int {
    fn from(kind: SignalKind) -> Self {
        kind.as_raw_value()
    }
}

/// Starts to listen for a signal, in the current runtime.
///
/// From now on, and for as long as the process lives, the signal no longer does what it does by default: also when the last listener is gone. Handlers that
/// were there before, and were set with `sigaction`, are called as well.
///
/// # Errors
///
/// `InvalidInput` for the signals that can't be listened for (`SIGKILL`, `SIGSTOP`) or would only come again (`SIGILL`, `SIGFPE`, `SIGSEGV`), and for numbers
/// that are no signal; outside a runtime and after its end; those of eventfd(2), `EMFILE` for one.
pub fn signal(kind: SignalKind) -> io::Result<Signal> {
    if FORBIDDEN.contains(&kind.0) {
        let reason = format!("signal {} can't be listened for", kind.0);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let bell = Arc::new(Bell::new()?);
    let source = AsyncSource::with_interest(Arc::new(Fd::new(bell.clone())?), Events::IN)?;
    let ring = {
        let bell = bell.clone();
        move || bell.ring()
    };
    // SAFETY: `ring` is async-signal-safe, it says so itself. The registry keeps `errno` for the interrupted code, and drops the action in `unregister`, never in
    // a handler.
    let action = unsafe { signal_hook_registry::register(kind.0, ring) }?;
    Ok(Signal { bell, source, kind, action })
}

/// Hears one kind of signal, from its making on. Made by [`signal`].
///
/// Any number of them, in any number of runtimes, may listen for the same signal: each hears it.
///
/// # Several signals become one
///
/// A signal says that something has happened, not how often. All that come between two calls of [`recv`](Self::recv) are one; the kernel itself
/// keeps no more of a standard signal. None is lost in the sense that after each there is a `recv` that comes back.
///
/// # Fork
///
/// Signals of a child process are not heard by listeners of the parent. Like the runtime, a listener is of no use in a child.
///
/// # Examples
///
/// ```
/// use egret_net::signal::unix::{SignalKind, signal};
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// runtime.block_on(async {
///     let mut hangup = signal(SignalKind::hangup())?;
///     // As `kill -HUP` would, from outside.
///     // SAFETY: takes no pointers.
///     assert_eq!(unsafe { libc::raise(libc::SIGHUP) }, 0);
///     hangup.recv().await.expect("the runtime lives");
///     println!("reading the configuration again");
///     Ok(())
/// })
/// # }
/// ```
#[must_use = "a listener that is dropped hears nothing"]
pub struct Signal {
    bell: Arc<Bell>,
    source: AsyncSource<Arc<Fd<Arc<Bell>>>>,
    kind: SignalKind,
    action: SigId,
}

impl Signal {
    /// Waits for the signal. `None`: the runtime has ended, nothing will be heard any more.
    ///
    /// # Panics
    ///
    /// Never.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a signal is taken in the very poll that returns it.
    pub async fn recv(&mut self) -> Option<()> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`recv`](Self::recv) for hand-written futures: the last task to ask is woken.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        loop {
            // The only error is the end of the runtime.
            if ready!(self.source.poll_ready(cx, Direction::Read)).is_err() {
                return Poll::Ready(None);
            }
            if self.bell.take() {
                return Poll::Ready(Some(()));
            }
        }
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        // When this returns no handler runs the action any more, and the registry has dropped it.
        let was_there = signal_hook_registry::unregister(self.action);
        debug_assert!(was_there, "only this unregisters it");
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal").field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_is_dropped_leaves_nothing_in_the_registry() {
        let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let listener =
            runtime.block_on(async { signal(SignalKind::from_raw(libc::SIGRTMIN() + 10)) }).unwrap();
        let bell = Arc::downgrade(&listener.bell);
        drop(listener);
        // The engine may have been asking it.
        drop(runtime);
        assert!(bell.upgrade().is_none(), "its action has gone");
    }
}
