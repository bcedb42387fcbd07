//! The futures that wait for a token.

use super::token::{CancellationToken, Inner};
use super::waiters::Key;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Waits for `token` under a key.
fn poll(token: &Inner, key: &mut Option<Key>, cx: &Context<'_>) -> Poll<()> {
    if token.is_cancelled() || token.waiters.wait(key, cx.waker()).is_err() {
        return Poll::Ready(());
    }
    // The mark comes before the wakers are taken: who stored his before that is woken, who came later was told.
    Poll::Pending
}

/// The future of [`CancellationToken::cancelled`].
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct WaitForCancellation<'a> {
    token: &'a CancellationToken,
    key: Option<Key>,
}

/// The future of [`CancellationToken::cancelled_owned`].
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct WaitForCancellationOwned {
    token: CancellationToken,
    key: Option<Key>,
}

impl<'a> WaitForCancellation<'a> {
    pub(super) fn new(token: &'a CancellationToken) -> Self {
        Self { token, key: None }
    }
}

impl WaitForCancellationOwned {
    pub(super) fn new(token: CancellationToken) -> Self {
        Self { token, key: None }
    }
}

impl Future for WaitForCancellation<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        poll(&this.token.inner, &mut this.key, cx)
    }
}

impl Future for WaitForCancellationOwned {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        poll(&this.token.inner, &mut this.key, cx)
    }
}

impl Drop for WaitForCancellation<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.token.inner.waiters.leave(key);
        }
    }
}

impl Drop for WaitForCancellationOwned {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.token.inner.waiters.leave(key);
        }
    }
}

impl fmt::Debug for WaitForCancellation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WaitForCancellation").field(&self.token).finish()
    }
}

impl fmt::Debug for WaitForCancellationOwned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WaitForCancellationOwned").field(&self.token).finish()
    }
}

pin_project! {
    /// The future of [`CancellationToken::run_until_cancelled`].
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    #[derive(Debug)]
    pub struct RunUntilCancelled<'a, F> {
        cancelled: WaitForCancellation<'a>,
        #[pin]
        future: F,
    }
}

pin_project! {
    /// The future of [`CancellationToken::run_until_cancelled_owned`].
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    #[derive(Debug)]
    pub struct RunUntilCancelledOwned<F> {
        cancelled: WaitForCancellationOwned,
        #[pin]
        future: F,
    }
}

impl<'a, F> RunUntilCancelled<'a, F> {
    pub(super) fn new(cancelled: WaitForCancellation<'a>, future: F) -> Self {
        Self { cancelled, future }
    }
}

impl<F> RunUntilCancelledOwned<F> {
    pub(super) fn new(cancelled: WaitForCancellationOwned, future: F) -> Self {
        Self { cancelled, future }
    }
}

impl<F: Future> Future for RunUntilCancelled<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match Pin::new(this.cancelled).poll(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => this.future.poll(cx).map(Some),
        }
    }
}

impl<F: Future> Future for RunUntilCancelledOwned<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match Pin::new(this.cancelled).poll(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => this.future.poll(cx).map(Some),
        }
    }
}
