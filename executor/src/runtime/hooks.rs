//! What a user wants to be called for.

use std::{
    fmt,
    panic::{RefUnwindSafe, UnwindSafe},
};

use crate::{sync::Arc, task::quiet::quietly};

/// A user's function without arguments.
#[derive(Clone)]
pub(crate) struct Hook(Arc<dyn Fn() + Send + Sync>);

impl Hook {
    pub(crate) fn new(f: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }

    /// Calls it. Its panic has been told by the panic hook, and goes no further.
    pub(crate) fn call(&self) {
        quietly(|| (self.0)());
    }
}

// A panic doesn't pass through it.
impl UnwindSafe for Hook {}
impl RefUnwindSafe for Hook {}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

/// Calls its hook when it is dropped.
pub(crate) struct AtEnd(pub(crate) Option<Hook>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        if let Some(hook) = &self.0 {
            hook.call();
        }
    }
}
