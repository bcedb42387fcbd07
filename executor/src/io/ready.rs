//! [`Ready`]: a wait for events that any number of tasks may share.
//!
//! Its waker is among the registration's, under a number. Being woken takes it out; a later poll that finds nothing puts it in again.

use super::{
    Registration,
    scheduled::{Name, ScheduledIo},
};
use crate::coop;
use egret_reactor::{Events, Readiness};
use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// The future of [`Registration::ready`].
///
/// Polled again after it was ready, it waits again.
#[derive(Debug)]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Ready<'a> {
    registration: &'a Registration,
    /// Where it is among the waiters, once it has been; it may have been woken out of them meanwhile.
    scheduled: Option<&'a ScheduledIo>,
    /// What it waits for, and its number there.
    name: Name,
}

impl<'a> Ready<'a> {
    pub(super) fn new(registration: &'a Registration, mask: Events) -> Self {
        Self { registration, scheduled: None, name: Name::unnumbered(mask) }
    }

    /// What it waits for a readiness of.
    #[inline]
    pub fn registration(&self) -> &'a Registration {
        self.registration
    }

    /// Among the waiters, with this waker.
    fn wait(&mut self, cx: &Context<'_>) -> io::Result<()> {
        if self.scheduled.is_some_and(|scheduled| scheduled.update(self.name, cx.waker())) {
            return Ok(());
        }
        let scheduled = self.registration.scheduled()?;
        self.name = scheduled.add(self.name.mask(), cx.waker());
        self.scheduled = Some(scheduled);
        Ok(())
    }
}

impl Future for Ready<'_> {
    type Output = io::Result<Readiness>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let coop = ready!(coop::poll_proceed(cx));
        let this = self.get_mut();
        let (registration, mask) = (this.registration, this.name.mask());
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
        if let Some(scheduled) = self.scheduled
            && scheduled.any_named()
        {
            scheduled.remove(self.name);
        }
    }
}
