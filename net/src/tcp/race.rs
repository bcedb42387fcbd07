//! Connecting to one of several addresses, as RFC 8305 ("happy eyeballs") has it: a family that doesn't work, or a machine that doesn't answer, costs
//! a quarter of a second and not the kernel's two minutes.
//!
//! ```text
//!   addresses ── interleaved by family ──► to try ── the first at once ─────────────────┐
//!                                             │      the next: when one has failed,     │
//!                                             │      or 250 ms after the last was begun │
//!                                             ▼                                         ▼
//!                                        nothing left                             under way ── connected ──► it wins,
//!                                        and nothing under way:                         │                    the others
//!                                        the last error                                 └─ failed: keep      are closed
//!                                                                                          its error
//! ```
//!
//! All of it happens in the poll of one future; there is nothing to share and nothing to lock. A single address doesn't come here.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use egret_executor::time::{Instant, Sleep, sleep};

use super::connect::Attempt;
use super::stream::TcpStream;
use crate::addr;

/// How long an attempt is given before the next one is begun beside it: the RFC's "Connection Attempt Delay".
const DELAY: Duration = Duration::from_millis(250);

/// Connects to the first of some addresses that answers. Dropping it closes what is under way.
pub(crate) struct Race {
    to_try: VecDeque<SocketAddr>,
    /// In the order in which they were begun.
    under_way: Vec<Attempt>,
    /// Runs since the last one was begun. `None` before the first.
    delay: Option<Sleep>,
    /// Why the last one that failed did.
    error: Option<io::Error>,
}

/// What a look at those under way has shown.
enum Look {
    Won(TcpStream),
    Failed,
    Quiet,
}

impl Race {
    pub(crate) fn new(addresses: &[SocketAddr]) -> Self {
        Self { to_try: interleaved(addresses), under_way: Vec::new(), delay: None, error: None }
    }

    /// Polls those that are under way.
    fn look(&mut self, cx: &mut Context<'_>) -> Look {
        let mut look = Look::Quiet;
        let mut index = 0;
        while let Some(attempt) = self.under_way.get_mut(index) {
            match Pin::new(attempt).poll(cx) {
                Poll::Pending => index += 1,
                Poll::Ready(Ok(stream)) => return Look::Won(stream),
                Poll::Ready(Err(error)) => {
                    self.under_way.remove(index);
                    self.error = Some(error);
                    look = Look::Failed;
                }
            }
        }
        look
    }

    /// Begins the next one. Whether that went well.
    fn begin(&mut self, address: SocketAddr) -> bool {
        match Attempt::begin(address) {
            Ok(attempt) => {
                self.under_way.push(attempt);
                match &mut self.delay {
                    Some(delay) => delay.reset(Instant::now() + DELAY),
                    // There is a runtime, and therefore a timer: the socket was registered with it.
                    None => self.delay = Some(sleep(DELAY)),
                }
                true
            }
            Err(error) => {
                self.error = Some(error);
                false
            }
        }
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.delay.as_mut().is_none_or(|delay| Pin::new(delay).poll(cx).is_ready())
    }
}

impl Future for Race {
    type Output = io::Result<TcpStream>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut failed = false;
        loop {
            match self.look(cx) {
                Look::Won(stream) => return Poll::Ready(Ok(stream)),
                Look::Failed => failed = true,
                Look::Quiet => {}
            }
            let idle = self.under_way.is_empty();
            if self.to_try.is_empty() && idle {
                return Poll::Ready(Err(self.error.take().unwrap_or_else(addr::none)));
            }
            if self.to_try.is_empty() || !(failed || idle || self.is_late(cx)) {
                return Poll::Pending;
            }
            if let Some(next) = self.to_try.pop_front() {
                failed = !self.begin(next);
            }
        }
    }
}

/// The families in turns, beginning with that of the first address; each family in its own order, which is the resolver's judgement (RFC 6724).
fn interleaved(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut turn, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.iter().partition(|address| address.is_ipv6() == first);
    let mut order = VecDeque::with_capacity(addresses.len());
    while let Some(address) = turn.pop_front() {
        order.push_back(address);
        if !other.is_empty() {
            std::mem::swap(&mut turn, &mut other);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(families: &str) -> String {
        let address = |(port, family)| match family {
            '4' => SocketAddr::from(([127, 0, 0, 1], port)),
            _ => SocketAddr::from(([0; 16], port)),
        };
        let addresses: Vec<_> = (0..).zip(families.chars()).map(address).collect();
        let words = interleaved(&addresses);
        let words: Vec<_> = words.iter().map(|address| address.port().to_string()).collect();
        words.concat()
    }

    #[test]
    fn families_take_turns_and_keep_their_own_order() {
        assert_eq!(order(""), "");
        assert_eq!(order("4"), "0");
        assert_eq!(order("444"), "012");
        assert_eq!(order("6644"), "0213");
        assert_eq!(order("4466"), "0213");
        assert_eq!(order("66664"), "04123");
        assert_eq!(order("46666"), "01234");
        assert_eq!(order("4646"), "0123");
        assert_eq!(order("6444"), "0123");
    }
}
