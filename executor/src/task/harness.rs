//! The future around the user's: what a worker really polls.
//!
//! | event | what happens, in this order |
//! |---|---|
//! | aborted before a poll | the future is dropped, `cancelled` |
//! | Ready | the future is dropped; the output, or the panic of the drop |
//! | a panic | the future is dropped, the first panic is the result |
//! | first Pending | registers; if an abort came first or the registry is closed, as if aborted before a poll |
//! | dropped (end of the runtime) | the future is dropped, the registration withdrawn |
//!
//! Whoever awaits the handle is woken only after all this: async-task publishes the output after the poll has returned.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use pin_project_lite::pin_project;

use crate::{
    context,
    task::{
        JoinError, Meta,
        links::Published,
        quiet::{Quiet, caught, quietly},
        spawn::MetaPointer,
        state::{Abort, Look, Publish},
        trace::Trace,
    },
};

/// A task's result as it lies in its allocation: dropping it never panics.
pub(crate) type Outcome<T> = Quiet<Result<T, JoinError>>;

pin_project! {
    pub(crate) struct Harness<'a, F> {
        meta: &'a Meta,
        #[pin]
        future: Option<F>,
        trace: Trace,
    }

    impl<F> PinnedDrop for Harness<'_, F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            quietly(|| this.future.set(None));
            this.trace.end();
            this.meta.withdraw();
        }
    }
}

impl<'a, F: Future> Harness<'a, F> {
    pub(crate) fn new(meta: &'a Meta, future: F, trace: Trace) -> Self {
        Self { meta, future: Some(future), trace }
    }

    /// Drops the future and tells why there is no output.
    fn cancel(self: Pin<&mut Self>) -> JoinError {
        let mut this = self.project();
        match caught(|| this.future.set(None)) {
            Ok(()) => JoinError::cancelled(this.meta.id),
            Err(payload) => JoinError::panic(this.meta.id, payload),
        }
    }
}

impl<F: Future> Future for Harness<'_, F> {
    type Output = Outcome<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.meta.is_to_end() {
            return Poll::Ready(Quiet::new(Err(self.cancel())));
        }
        let mut this = self.as_mut().project();
        let id = this.meta.id;
        let polled = caught(|| match this.future.as_mut().as_pin_mut() {
            Some(future) => this.trace.poll(|| future.poll(cx)),
            None => unreachable!("async-task doesn't poll a future that has ended"),
        });
        let result = match polled {
            Ok(Poll::Pending) if this.meta.may_wait(cx.waker()) => return Poll::Pending,
            Ok(Poll::Pending) => Err(self.cancel()),
            Ok(Poll::Ready(output)) => {
                let output = Quiet::new(output);
                match caught(|| this.future.set(None)) {
                    Ok(()) => Ok(output.into_inner()),
                    Err(payload) => Err(JoinError::panic(id, payload)),
                }
            }
            Err(payload) => {
                quietly(|| this.future.set(None));
                if let Some(observer) = &this.meta.shared.observer {
                    observer.panicked(this.meta);
                }
                Err(JoinError::panic(id, payload))
            }
        };
        Poll::Ready(Quiet::new(result))
    }
}

impl Meta {
    /// The task is about to wait: the first time it puts its waker into the registry. False: it is to end instead.
    #[inline]
    fn may_wait(&self, waker: &Waker) -> bool {
        if self.state.is_registered() {
            return true;
        }
        let worker = context::worker_index(&self.shared);
        match self.shared.registry.insert(worker, MetaPointer::new(self), waker.clone()) {
            Ok(key) => match self.state.publish(key) {
                Publish::Published => true,
                Publish::Linked => self.shared.links.published(self.id.get(), key) == Published::Waits,
                Publish::Aborted => false,
            },
            Err(_closed) => false,
        }
    }

    /// Whether the task was aborted.
    #[inline]
    fn is_to_end(&self) -> bool {
        match self.state.look() {
            Look::Go => false,
            Look::Aborted => true,
            Look::AskLinks => self.shared.links.is_asked(self.id.get()),
        }
    }

    /// The task's future is gone: nobody needs to wake it any more.
    #[inline]
    fn withdraw(&self) {
        self.shared.count_ended();
        let left = self.state.withdraw();
        if left.linked {
            self.shared.links.end(self.id.get());
        }
        if let Some(key) = left.key {
            // The waker goes last of all, outside of the lock: it's one of async-task's, its drop only counts down.
            drop(self.shared.registry.remove(key, MetaPointer::new(self)));
        }
        if let Some(observer) = &self.shared.observer {
            observer.terminated(self);
        }
    }

    /// Asks the task to end.
    pub(crate) fn abort(&self) {
        match self.state.abort() {
            Abort::Wake(key) => {
                // None if it ended in between.
                if let Some(waker) = self.shared.registry.waker(key, MetaPointer::new(self)) {
                    waker.wake();
                }
            }
            Abort::WillSee | Abort::Already => {}
        }
    }
}
