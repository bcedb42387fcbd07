//! Where hyper's tasks run.

use std::future::Future;

use hyper::rt::Executor;

/// Spawns hyper's tasks (http2's streams, a client's connection) on the current runtime. The counterpart of hyper-util's `TokioExecutor`.
///
/// # Panics
///
/// Executing panics outside a runtime, as [`spawn`](crate::spawn) does.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct EgretExecutor;

impl EgretExecutor {
    /// The executor, which holds nothing.
    pub fn new() -> Self {
        Self
    }
}

impl<F> Executor<F> for EgretExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(crate::spawn(future));
    }
}
