//! What to do when `accept(2)` fails, and how fast to try again. First the verdicts, without socket and clock; then the pace, without a
//! socket; then the loop that every listener goes through.
//!
//! ```text
//!            would block                   nobody there: wait for the listener to become readable
//!  accept ── this connection went wrong ── skip it and take the next; after MAX_SKIPS in a row, pause
//!            out of descriptors, memory ── pause: 1 ms, 2, 4 .. 32 ms, then try again; a success resets the pace
//!            anything else ─────────────── tell the caller
//! ```
//!
//! A pause is what keeps a full descriptor table from turning the accept loop into a spin: the connection stays in the kernel's
//! queue, so the listener stays readable all the while. The readiness is not cleared: when descriptors come back there is
//! no new event to wait for, the next try just succeeds.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use egret_executor::Handle;
use egret_executor::io::Direction;
use egret_executor::time::{Sleep, sleep};
use egret_reactor::Readiness;

use super::limit::{Limit, Permit};
use crate::Interest;
use crate::socket::Socket;
use crate::sync::{Arc, Mutex, lock};

/// The first pause. A guess: long enough to be idle, short enough not to be noticed.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// The longest pause: how late at most a freed descriptor is noticed. An accept loop that is out of descriptors tries thirty times a second then, which
/// was measured as 4 ms of CPU (a timer, a worker woken from idle, a system call in cold caches); 128 ms would cost 1.4, 16 ms 7.
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

/// How many broken connections in a row are skipped before the loop pauses all the same. A guess, far above what a backlog of
/// aborted connections shows; it bounds the loop if a network stack answers every accept with the same error.
const MAX_SKIPS: u32 = 256;

/// What an error of `accept(2)` means for the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Interrupted by a signal: once more.
    Again,
    /// The queue is empty.
    WouldBlock,
    /// The error belongs to one connection, which is gone.
    Skip,
    /// The process or the machine is out of something that others will give back.
    Exhausted,
    /// The error belongs to the listener.
    Fatal,
}

/// Linux hands the pending network errors of the new connection to `accept`, and accept(2) says which ones to treat
/// like `EAGAIN`; `EPERM` is a firewall rule that forbids this connection.
pub(crate) fn judge(error: &io::Error) -> Verdict {
    match error.raw_os_error() {
        Some(libc::EINTR) => Verdict::Again,
        Some(libc::EAGAIN) => Verdict::WouldBlock,
        Some(
            libc::ECONNABORTED
            | libc::EPROTO
            | libc::EPERM
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
            | libc::ENETUNREACH
            | libc::ECONNRESET
            | libc::ETIMEDOUT,
        ) => Verdict::Skip,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Verdict::Exhausted,
        _ => Verdict::Fatal,
    }
}

/// How fast one accept loop goes.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    last: Duration,
    skipped: u32,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// Pending while a pause lasts.
    pub(crate) fn poll_resume(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }

    /// Draws the consequences of `error`: goes on, or pauses. The listener's own errors come back; so does every error to
    /// pause for where there is no runtime, and therefore no timer.
    pub(crate) fn failed(&mut self, error: io::Error, verdict: Verdict) -> io::Result<()> {
        let pause = match verdict {
            Verdict::Again | Verdict::WouldBlock => false,
            Verdict::Skip => {
                self.skipped += 1;
                self.skipped >= MAX_SKIPS
            }
            Verdict::Exhausted => true,
            Verdict::Fatal => return Err(error),
        };
        if pause && Handle::try_current().is_err() {
            return Err(error);
        }
        if pause {
            self.pause = Some(Box::pin(sleep(self.next_pause())));
        }
        Ok(())
    }

    fn next_pause(&mut self) -> Duration {
        self.last = (self.last * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.last
    }
}

/// A connection that was accepted, and who it is from.
pub(crate) type Accepted = (socket2::Socket, socket2::SockAddr);

/// Waits for the next connection, as one of any number of tasks.
pub(crate) async fn next(listener: &Socket) -> io::Result<Accepted> {
    let mut pace = Pace::default();
    loop {
        std::future::poll_fn(|cx| pace.poll_resume(cx)).await;
        let seen = listener.seen(Interest::READABLE).await?;
        if let Some(accepted) = attempt(listener, seen, &mut pace)? {
            return Ok(accepted);
        }
    }
}

/// [`next`] with a permit of `limit`. That is waited for when there seems to be a connection, and not kept while there is none: the task that
/// waits for connections keeps no other from serving one.
pub(crate) async fn next_within(listener: &Socket, limit: &Arc<Limit>) -> io::Result<(Accepted, Permit)> {
    let mut pace = Pace::default();
    loop {
        std::future::poll_fn(|cx| pace.poll_resume(cx)).await;
        let seen = listener.seen(Interest::READABLE).await?;
        let permit = limit.take().await;
        if let Some(accepted) = attempt(listener, seen, &mut pace)? {
            return Ok((accepted, permit));
        }
    }
}

/// [`next`] for callers that have a context, whose pauses are in `place`.
pub(crate) fn poll_next(
    listener: &Socket,
    place: &Mutex<Pace>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Accepted>> {
    poll_next_within(listener, None, place, cx).map_ok(|(accepted, _)| accepted)
}

/// The same, with a permit if there is a limit.
pub(crate) fn poll_next_within(
    listener: &Socket,
    limit: Option<&Arc<Limit>>,
    place: &Mutex<Pace>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<(Accepted, Option<Permit>)>> {
    // Taken out for the time of the poll: the pause calls into a waker, and no lock is held around that.
    let mut pace = std::mem::take(&mut *lock(place));
    let outcome = poll_paced(listener, limit, cx, &mut pace);
    let stale = std::mem::replace(&mut *lock(place), pace);
    drop(stale);
    outcome
}

fn poll_paced(
    listener: &Socket,
    limit: Option<&Arc<Limit>>,
    cx: &mut Context<'_>,
    pace: &mut Pace,
) -> Poll<io::Result<(Accepted, Option<Permit>)>> {
    loop {
        ready!(pace.poll_resume(cx));
        let seen = ready!(listener.poll_ready(cx, Direction::Read))?;
        let permit = match limit {
            Some(limit) => Some(ready!(limit.poll_take(cx))),
            None => None,
        };
        if let Some(accepted) = attempt(listener, seen, pace)? {
            return Poll::Ready(Ok((accepted, permit)));
        }
    }
}

/// One `accept4(2)`. `None`: go round again.
fn attempt(listener: &Socket, seen: Readiness, pace: &mut Pace) -> io::Result<Option<Accepted>> {
    match listener.options().accept4(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) {
        Ok(accepted) => {
            *pace = Pace::default();
            Ok(Some(accepted))
        }
        Err(error) => {
            let verdict = judge(&error);
            if verdict == Verdict::WouldBlock {
                listener.clear(seen, Direction::Read);
            }
            pace.failed(error, verdict)?;
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: i32) -> Verdict {
        judge(&io::Error::from_raw_os_error(code))
    }

    #[test]
    fn every_error_of_the_manual_page_has_its_verdict() {
        for code in [
            libc::ENETDOWN,
            libc::EPROTO,
            libc::ENOPROTOOPT,
            libc::EHOSTDOWN,
            libc::ENONET,
            libc::EHOSTUNREACH,
        ] {
            assert_eq!(of(code), Verdict::Skip, "{code}");
        }
        for code in [libc::EOPNOTSUPP, libc::ENETUNREACH, libc::ECONNABORTED, libc::EPERM] {
            assert_eq!(of(code), Verdict::Skip, "{code}");
        }
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            assert_eq!(of(code), Verdict::Exhausted, "{code}");
        }
        for code in [libc::EBADF, libc::EINVAL, libc::ENOTSOCK, libc::EFAULT] {
            assert_eq!(of(code), Verdict::Fatal, "{code}");
        }
        assert_eq!(of(libc::EAGAIN), Verdict::WouldBlock);
        assert_eq!(of(libc::EWOULDBLOCK), Verdict::WouldBlock);
        assert_eq!(of(libc::EINTR), Verdict::Again);
        assert_eq!(judge(&io::Error::other("no errno")), Verdict::Fatal);
    }

    #[test]
    fn pauses_double_up_to_their_bound() {
        let mut pace = Pace::default();
        let pauses: Vec<u128> = (0..10).map(|_| pace.next_pause().as_millis()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 32, 32, 32, 32]);
    }

    #[test]
    fn a_broken_connection_or_two_cause_no_pause() {
        let mut pace = Pace::default();
        for _ in 1..MAX_SKIPS {
            pace.failed(io::Error::from_raw_os_error(libc::ECONNABORTED), Verdict::Skip).unwrap();
        }
        assert!(pace.pause.is_none());
    }

    #[test]
    fn out_of_descriptors_where_nothing_can_fire_a_timer_is_an_error() {
        let mut pace = Pace::default();
        let error = pace.failed(io::Error::from_raw_os_error(libc::EMFILE), Verdict::Exhausted).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        assert!(pace.pause.is_none());
    }

    #[test]
    fn who_is_out_of_something_pauses_and_goes_on_by_itself() {
        let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let mut pace = Pace::default();
            for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
                pace.failed(io::Error::from_raw_os_error(code), of(code)).unwrap();
                let mut polls = 0;
                std::future::poll_fn(|cx| {
                    polls += 1;
                    pace.poll_resume(cx)
                })
                .await;
                assert!(polls > 1, "{code}: no pause");
                assert!(pace.pause.is_none());
            }
            for _ in 0..MAX_SKIPS {
                pace.failed(io::Error::from_raw_os_error(libc::EPROTO), Verdict::Skip).unwrap();
            }
            assert!(pace.pause.is_some(), "nothing but broken connections, and no end to them");
        });
    }

    #[test]
    fn the_listeners_own_errors_come_back() {
        let mut pace = Pace::default();
        let error = pace.failed(io::Error::from_raw_os_error(libc::EINVAL), Verdict::Fatal).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
