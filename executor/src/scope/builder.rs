//! [`ScopeBuilder`], and a scope's way from its body to its end.

use std::{
    future::{Future, poll_fn},
    panic::resume_unwind,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    Scope, ScopeError,
    inner::{Inner, Look},
    member::Body,
};
use crate::{
    cancel::CancellationToken,
    runtime::Handle,
    sync::Arc,
    task::quiet::caught,
    time::{sleep_until, timeout},
};

/// The settings of a scope. Made by [`Scope::builder`].
///
/// ```
/// use egret_executor::task::Scope;
/// use std::time::Duration;
///
/// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// # runtime.block_on(async {
/// let result = Scope::builder()
///     .timeout(Duration::from_millis(5))
///     .grace(Duration::from_secs(1))
///     .run(|scope| async move {
///         let token = scope.token().clone();
///         // Ends in good order, well within the grace.
///         scope.spawn(async move { token.cancelled().await });
///     });
/// assert!(result.await.unwrap_err().is_deadline());
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `run`"]
pub struct ScopeBuilder {
    deadline: Option<Instant>,
    grace: Duration,
    above: Option<CancellationToken>,
}

impl ScopeBuilder {
    /// When the scope ends with [`ScopeError::Deadline`] if it isn't over. Of several deadlines the earliest counts.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(self.deadline.map_or(deadline, |other| other.min(deadline)));
        self
    }

    /// [`deadline`](Self::deadline), from now. One that is further away than time goes is none.
    pub fn timeout(self, timeout: Duration) -> Self {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => self.deadline(deadline),
            None => self,
        }
    }

    /// How long tasks may go on after the scope's token was cancelled, until they are aborted. Zero unless it is set.
    ///
    /// It begins with the end of the scope, also at the deadline, which it may so outlast.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The scope's token is a child of this one: cancelling it ends the scope.
    pub fn cancelled_by(mut self, token: &CancellationToken) -> Self {
        self.above = Some(token.clone());
        self
    }

    /// Runs a scope with these settings. See [`scope`](super::scope()).
    ///
    /// # Errors
    ///
    /// A task's panic, the deadline, or a cancellation.
    ///
    /// # Panics
    ///
    /// Outside of a runtime; if the body does.
    ///
    /// # Cancel safety
    ///
    /// Dropping it cancels all that is in it. See [`scope`](super::scope()).
    pub async fn run<T, F, B>(self, body: F) -> Result<T, ScopeError>
    where
        F: FnOnce(Scope) -> B,
        B: Future<Output = T>,
    {
        self.try_run(|scope| {
            let body = body(scope);
            async { Ok(body.await) }
        })
        .await
    }

    /// Runs a scope with these settings whose body and tasks may fail. See [`try_scope`](super::try_scope).
    ///
    /// # Errors
    ///
    /// The first error, a task's panic, the deadline, or a cancellation.
    ///
    /// # Panics
    ///
    /// Outside of a runtime; if the body does.
    ///
    /// # Cancel safety
    ///
    /// Dropping it cancels all that is in it. See [`scope`](super::scope()).
    pub async fn try_run<T, E, F, B>(self, body: F) -> Result<T, ScopeError<E>>
    where
        E: Send + 'static,
        F: FnOnce(Scope<E>) -> B,
        B: Future<Output = Result<T, E>>,
    {
        let token = self.above.map_or_else(CancellationToken::new, |above| above.child_token());
        let inner = Inner::new(Handle::current(), token);
        let _end = End(&inner);
        let (mut output, mut panicked) = (None, None);
        {
            let mut running = pin!(None);
            let entry = inner.admit(None).expect("it is open");
            match caught(|| body(Scope::new(inner.clone()))) {
                Ok(body) => running.set(Some(Body::new(body, entry))),
                Err(payload) => panicked = Some(payload),
            }
            let mut cancelled = pin!(inner.token.cancelled());
            let mut deadline = pin!(self.deadline.map(sleep_until));
            poll_fn(|cx| {
                // Before the body is polled, which has nothing to gain from what it might learn of it from a handle.
                if inner.listen(cx.waker()) == Look::Failed || panicked.is_some() {
                    return Poll::Ready(());
                }
                if is_ready(deadline.as_mut().as_pin_mut(), cx) {
                    inner.fail(ScopeError::Deadline);
                    return Poll::Ready(());
                }
                if is_ready(Some(cancelled.as_mut()), cx) {
                    if output.is_none() {
                        inner.fail(ScopeError::Cancelled);
                    }
                    return Poll::Ready(());
                }
                match running.as_mut().as_pin_mut().map(|body| caught(|| body.poll(cx))) {
                    None | Some(Ok(Poll::Pending)) => {}
                    Some(Ok(Poll::Ready(Ok(result)))) => {
                        output = Some(result);
                        panicked = caught(|| running.set(None)).err();
                    }
                    Some(Ok(Poll::Ready(Err(error)))) => inner.fail(ScopeError::Failed(error)),
                    // It may just have unwrapped what ended the scope.
                    Some(Err(payload)) if inner.has_failed() => std::mem::forget(payload),
                    Some(Err(payload)) => panicked = Some(payload),
                }
                if panicked.is_some() || inner.has_failed() || inner.close_if_empty() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            inner.close();
            inner.token.cancel();
            if let Err(payload) = caught(|| running.set(None)) {
                panicked.get_or_insert(payload);
            }
        }
        if !self.grace.is_zero() && !inner.is_empty() {
            // Whether it was long enough shows below.
            let _elapsed = timeout(self.grace, ended(&inner)).await;
        }
        inner.abort_all();
        ended(&inner).await;
        if let Some(payload) = panicked {
            resume_unwind(payload);
        }
        match (inner.take_failure(), output) {
            (None, Some(output)) => Ok(output),
            (Some(failure), _) => Err(failure),
            (None, None) => unreachable!("without a failure it ends with the body's output"),
        }
    }
}

fn is_ready<F: Future>(future: Option<Pin<&mut F>>, cx: &mut Context<'_>) -> bool {
    future.is_some_and(|future| future.poll(cx).is_ready())
}

/// Waits until no future is left.
async fn ended<E>(inner: &Inner<E>) {
    poll_fn(|cx| {
        let _failure = inner.listen(cx.waker());
        if inner.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The scope's future: when it goes, all in it is cancelled.
struct End<'a, E>(&'a Arc<Inner<E>>);

impl<E> Drop for End<'_, E> {
    fn drop(&mut self) {
        self.0.close();
        self.0.token.cancel();
        self.0.abort_all();
    }
}
