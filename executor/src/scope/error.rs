//! Why a scope gave no output.

use std::{convert::Infallible, error::Error, fmt};

use crate::task::JoinError;

/// A scope was ended before its body and its tasks had all come to a good end. Each task's future is gone when this is seen.
#[derive(Debug)]
pub enum ScopeError<E = Infallible> {
    /// The body, or a task of [`Scope::try_spawn`](super::Scope::try_spawn), failed with this, first.
    Failed(E),
    /// A task panicked, first. Its own handle, if anybody still has it, gives a copy of the message.
    Panicked(JoinError),
    /// The deadline came before the end.
    Deadline,
    /// The scope was cancelled, from within or above, before its body was complete.
    Cancelled,
}

impl<E> ScopeError<E> {
    /// The first error of a task or of the body, if that is what ended the scope.
    pub fn into_failed(self) -> Option<E> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Panicked(_) | Self::Deadline | Self::Cancelled => None,
        }
    }

    /// Whether a task's panic ended it.
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Panicked(_))
    }

    /// Whether the deadline ended it.
    pub fn is_deadline(&self) -> bool {
        matches!(self, Self::Deadline)
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }
}

impl<E: fmt::Display> fmt::Display for ScopeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "a scope's task failed: {error}"),
            Self::Panicked(error) => write!(f, "in a scope, {error}"),
            Self::Deadline => f.write_str("a scope's deadline came before its end"),
            Self::Cancelled => f.write_str("a scope was cancelled"),
        }
    }
}

impl<E: Error + 'static> Error for ScopeError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Panicked(error) => Some(error),
            Self::Deadline | Self::Cancelled => None,
        }
    }
}
