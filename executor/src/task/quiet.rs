//! User code that must not unwind into the runtime: drops, and wakers that aren't the runtime's own.
//!
//! async-task ends the process when an output's drop or a join waker panics; what is wrapped here can't.

use std::{
    any::Any,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Wake, Waker},
};

/// Runs `f`; a panic's payload is forgotten, because dropping it could panic again.
pub(crate) fn quietly(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        std::mem::forget(payload);
    }
}

/// Runs `f`, which drops something of the user's, and gives its panic to the caller.
pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(f))
}

/// Something of the user's that is dropped without a panic getting out.
pub(crate) struct Quiet<T>(ManuallyDrop<T>);

impl<T> Quiet<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }

    pub(crate) fn into_inner(self) -> T {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so nobody reads the value a second time.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }
}

impl<T> Drop for Quiet<T> {
    fn drop(&mut self) {
        // SAFETY: drop runs once, and `into_inner` prevents it from running at all.
        quietly(|| unsafe { ManuallyDrop::drop(&mut self.0) });
    }
}

/// A foreign waker, whose wake and drop may panic, made fit for async-task.
struct QuietWaker(Quiet<Waker>);

impl Wake for QuietWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        quietly(|| self.0.0.wake_by_ref());
    }
}

/// Wraps a foreign waker; one allocation.
pub(crate) fn quiet_waker(waker: &Waker) -> Waker {
    Waker::from(Arc::new(QuietWaker(Quiet::new(waker.clone()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Loud;

    impl Drop for Loud {
        fn drop(&mut self) {
            std::panic::panic_any(Loud);
        }
    }

    #[test]
    fn a_payload_whose_drop_panics_is_held_back() {
        drop(Quiet::new(Loud));
        quietly(|| std::panic::panic_any(Loud));
        std::mem::forget(Quiet::new(Loud).into_inner());
    }

    #[test]
    fn a_waker_that_panics_is_held_back() {
        struct Broken;
        impl Wake for Broken {
            fn wake(self: Arc<Self>) {
                panic!("on purpose");
            }
        }
        let waker = quiet_waker(&Waker::from(Arc::new(Broken)));
        waker.wake_by_ref();
        let second = waker.clone();
        second.wake();
    }
}
