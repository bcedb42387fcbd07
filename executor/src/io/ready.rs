//! [`Ready`]: a wait for events that any number of tasks may share.
//!
//! Its waker is on the registration's list, by number. Being woken takes it off; a later poll that finds nothing puts it on again.

use super::Registration;
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
    /// Its number on the list; it may have been woken off the list meanwhile.
    id: Option<u64>,
}

impl<'a> Ready<'a> {
    pub(super) fn new(registration: &'a Registration, mask: Events) -> Self {
        Self { registration, mask, id: None }
    }
}

impl Future for Ready<'_> {
    type Output = io::Result<Readiness>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let coop = ready!(coop::poll_proceed(cx));
        let Ready { registration, mask, id } = self.get_mut();
        let poll = registration.poll_wait(*mask, || {
            let scheduled = registration.scheduled()?;
            if !id.is_some_and(|id| scheduled.update(id, cx.waker())) {
                *id = Some(scheduled.add(*mask, cx.waker()));
            }
            Ok(())
        });
        if poll.is_ready() {
            coop.made_progress();
        }
        poll
    }
}

impl Drop for Ready<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id
            && let Ok(scheduled) = self.registration.scheduled()
        {
            scheduled.remove(id);
        }
    }
}
