//! Why a task gave no output.

use std::{any::Any, fmt, io};

use crate::{sync::Mutex, task::Id};

/// A task ended without an output: it panicked, or it was cancelled (aborted, or dropped with its runtime).
pub struct JoinError {
    id: Id,
    reason: Reason,
}

enum Reason {
    Cancelled,
    /// The mutex makes the payload, which is only `Send`, shareable; it is never contended. Boxed, because every task has
    /// room for this error beside its output, and moves it.
    Panic(Box<Mutex<Box<dyn Any + Send + 'static>>>),
}

impl JoinError {
    pub(crate) fn cancelled(id: Id) -> Self {
        Self { id, reason: Reason::Cancelled }
    }

    pub(crate) fn panic(id: Id, payload: Box<dyn Any + Send + 'static>) -> Self {
        Self { id, reason: Reason::Panic(Box::new(Mutex::new(payload))) }
    }

    /// Whether the task was aborted or dropped with its runtime.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.reason, Reason::Cancelled)
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.reason, Reason::Panic(_))
    }

    /// The panic's payload, for [`std::panic::resume_unwind`].
    ///
    /// # Panics
    ///
    /// If the task did not panic; [`try_into_panic`](Self::try_into_panic) doesn't.
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        self.try_into_panic().expect("the task was cancelled, it did not panic")
    }

    /// The panic's payload.
    ///
    /// # Errors
    ///
    /// This error itself, if the task did not panic.
    ///
    /// ```
    /// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
    /// # std::panic::set_hook(Box::new(|_| {}));
    /// let error = runtime.block_on(runtime.spawn(async { panic!("oh") })).unwrap_err();
    /// let payload = error.try_into_panic().unwrap();
    /// assert_eq!(payload.downcast_ref(), Some(&"oh"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send + 'static>, Self> {
        match self.reason {
            Reason::Panic(payload) => {
                Ok(payload.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
            }
            Reason::Cancelled => Err(self),
        }
    }

    /// The task's id.
    pub fn id(&self) -> Id {
        self.id
    }

    /// The panic's message, if it is a string.
    fn with_message<R>(payload: &Mutex<Box<dyn Any + Send>>, f: impl FnOnce(Option<&str>) -> R) -> R {
        let payload = crate::sync::lock(payload);
        f(payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&'static str>().copied()))
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Cancelled => write!(f, "task {} was cancelled", self.id),
            Reason::Panic(payload) => Self::with_message(payload, |message| match message {
                Some(message) => write!(f, "task {} panicked with message {message:?}", self.id),
                None => write!(f, "task {} panicked", self.id),
            }),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Cancelled => write!(f, "JoinError::Cancelled({:?})", self.id),
            Reason::Panic(payload) => Self::with_message(payload, |message| match message {
                Some(message) => write!(f, "JoinError::Panic({:?}, {message:?}, ...)", self.id),
                None => write!(f, "JoinError::Panic({:?}, ...)", self.id),
            }),
        }
    }
}

impl std::error::Error for JoinError {}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> Self {
        io::Error::other(match error.reason {
            Reason::Cancelled => "task was cancelled",
            Reason::Panic(_) => "task panicked",
        })
    }
}
