//! [`Ready`]: a wait for events that any number of tasks may share.
//!
//! Its waker is on the registration's list, by number. Being woken takes it off; a later poll that finds nothing puts it on again.

use super::{Registration, scheduled::ScheduledIo};
use crate::coop;
use egret_reactor::{Events, Readiness};
use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// The future of [`Registration::ready`].
#[derive(Debug)]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Ready<'a> {
    registration: &'a Registration,
    mask: Events,
    waiting: Option<Waiting<'a>>,
}

/// Its number among the waiters; it may have been woken out of them meanwhile.
#[derive(Debug, Clone, Copy)]
struct Waiting<'a> {
    scheduled: &'a ScheduledIo,
    id: u64,
}

impl<'a> Ready<'a> {
    pub(super) fn new(registration: &'a Registration, mask: Events) -> Self {
        Self { registration, mask, waiting: None }
    }

    /// Among the waiters, with this waker.
    fn wait(&mut self, cx: &Context<'_>) -> io::Result<()> {
        if self.waiting.is_some_and(|waiting| waiting.scheduled.update(waiting.id, cx.waker())) {
            return Ok(());
        }
        let scheduled = self.registration.scheduled()?;
        self.waiting = Some(Waiting { scheduled, id: scheduled.add(self.mask, cx.waker()) });
        Ok(())
    }
}

impl Future for Ready<'_> {
    type Output = io::Result<Readiness>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let coop = ready!(coop::poll_proceed(cx));
        let this = self.get_mut();
        let (registration, mask) = (this.registration, this.mask);
        let poll = registration.poll_wait(mask, || this.wait(cx));
        if poll.is_ready() {
            coop.made_progress();
        }
        poll
    }
}

impl Drop for Ready<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(Waiting { scheduled, id }) = self.waiting
            && scheduled.any_numbered()
        {
            scheduled.remove(id);
        }
    }
}
