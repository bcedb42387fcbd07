//! The future around a task's, and the one around the body.

use std::{
    any::Any,
    future::Future,
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{
    ScopeError,
    inner::{Entry, within},
};
use crate::{
    sync::Arc,
    task::{
        Id, JoinError,
        quiet::{caught, quietly},
    },
};

pin_project! {
    /// A task in a scope: what panics in it is the scope's.
    pub(super) struct Member<E, F>
    where
        E: Send,
        E: 'static,
    {
        id: Id,
        // None: it was refused, and is about to be aborted.
        entry: Option<Arc<Entry<E>>>,
        #[pin]
        future: Option<F>,
    }

    impl<E, F> PinnedDrop for Member<E, F>
    where
        E: Send,
        E: 'static,
    {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let dropped = caught(|| this.future.set(None));
            if let (Err(payload), Some(entry)) = (dropped, &this.entry) {
                entry.fail(ScopeError::Panicked(JoinError::panic(*this.id, payload)));
            }
        }
    }
}

impl<E: Send + 'static, F> Member<E, F> {
    pub(super) fn new(id: Id, entry: Arc<Entry<E>>, future: F) -> Self {
        Self { id, entry: Some(entry), future: Some(future) }
    }

    /// One whose future was dropped instead.
    pub(super) fn refused(id: Id) -> Self {
        Self { id, entry: None, future: None }
    }
}

impl<E: Send + 'static, F: Future> Future for Member<E, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let (Some(entry), Some(future)) = (&this.entry, this.future.as_mut().as_pin_mut()) else {
            // Until the abort.
            return Poll::Pending;
        };
        match within(entry.clone(), || caught(|| future.poll(cx))) {
            Ok(polled) => polled,
            Err(payload) => {
                quietly(|| this.future.set(None));
                let copy = message(&*payload);
                entry.fail(ScopeError::Panicked(JoinError::panic(*this.id, payload)));
                // It was told of when it began; this is for the task's own handle.
                resume_unwind(copy)
            }
        }
    }
}

/// There is one payload, and two who may want it: a copy, if it is a message.
fn message(payload: &(dyn Any + Send)) -> Box<dyn Any + Send> {
    if let Some(message) = payload.downcast_ref::<&'static str>() {
        Box::new(*message)
    } else if let Some(message) = payload.downcast_ref::<String>() {
        Box::new(message.clone())
    } else {
        Box::new("a task of a scope panicked")
    }
}

pin_project! {
    /// The body, and after it, in the order of drops, its entry.
    pub(super) struct Body<E, B>
    where
        E: Send,
        E: 'static,
    {
        #[pin]
        body: B,
        entry: Arc<Entry<E>>,
    }
}

impl<E: Send + 'static, B> Body<E, B> {
    pub(super) fn new(body: B, entry: Arc<Entry<E>>) -> Self {
        Self { body, entry }
    }
}

impl<E: Send + 'static, B: Future> Future for Body<E, B> {
    type Output = B::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<B::Output> {
        let this = self.project();
        within(this.entry.clone(), || this.body.poll(cx))
    }
}
