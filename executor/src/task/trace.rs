//! Tasks as spans of `tracing`, with the feature of that name; without it nothing, of no size.
//!
//! Names, target and fields are those that tokio gives its tasks, which is what tokio-console reads: a span `runtime.spawn` of target
//! `tokio::task` from the spawn to the end of the future, entered for each poll, and an event of target `tokio::task::waker` for each wake.
//! (Wakers' clones and drops, and resources, are not told.)

#[cfg(feature = "tracing")]
pub(crate) use with::{SpanId, Trace};
#[cfg(not(feature = "tracing"))]
pub(crate) use without::{SpanId, Trace};

#[cfg(feature = "tracing")]
mod with {
    use std::panic::Location;

    use crate::{
        shared::Shared,
        task::{Id, quiet::quietly},
    };

    /// A task's span. Lives as long as its future.
    pub(crate) struct Trace(tracing::Span);

    /// Names a task's span to wakes, which may come when it is gone.
    pub(crate) struct SpanId(Option<tracing::span::Id>);

    impl Trace {
        pub(crate) fn new(
            shared: &Shared,
            kind: &'static str,
            id: Id,
            spawned_at: &'static Location<'static>,
            size: usize,
        ) -> Self {
            // The fields are looked at only if somebody wants them.
            let name = || shared.names.get(id);
            Self(tracing::trace_span!(
                target: "tokio::task",
                parent: None,
                "runtime.spawn",
                %kind,
                task.name = name().as_deref().unwrap_or_default(),
                task.id = id.get(),
                size.bytes = size,
                loc.file = spawned_at.file(),
                loc.line = spawned_at.line(),
                loc.col = spawned_at.column(),
            ))
        }

        pub(crate) fn id(&self) -> SpanId {
            SpanId(self.0.id())
        }

        /// Runs a poll inside of the span.
        pub(crate) fn poll<R>(&self, poll: impl FnOnce() -> R) -> R {
            self.0.in_scope(poll)
        }

        /// The future is gone.
        pub(crate) fn end(&mut self) {
            quietly(|| drop(std::mem::replace(&mut self.0, tracing::Span::none())));
        }
    }

    impl SpanId {
        /// The task was woken, and is about to be queued.
        pub(crate) fn wakes(&self) {
            if let Some(id) = &self.0 {
                quietly(|| {
                    tracing::trace!(target: "tokio::task::waker", op = "waker.wake", task.id = id.into_u64());
                });
            }
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod without {
    use std::panic::Location;

    use crate::{shared::Shared, task::Id};

    pub(crate) struct Trace;

    pub(crate) struct SpanId;

    impl Trace {
        #[inline(always)]
        pub(crate) fn new(
            _: &Shared,
            _: &'static str,
            _: Id,
            _: &'static Location<'static>,
            _: usize,
        ) -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn id(&self) -> SpanId {
            SpanId
        }

        #[inline(always)]
        pub(crate) fn poll<R>(&self, poll: impl FnOnce() -> R) -> R {
            poll()
        }

        #[inline(always)]
        pub(crate) fn end(&mut self) {}
    }

    impl SpanId {
        #[inline(always)]
        pub(crate) fn wakes(&self) {}
    }
}
