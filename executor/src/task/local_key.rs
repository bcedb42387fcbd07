//! [`task_local!`](crate::task_local): values that go with a task instead of a thread.
//!
//! The value lies in the future of [`LocalKey::scope`]. While that is polled (or dropped) it is swapped into a thread-local, and what was there into the
//! future; afterwards both go back, also if the poll panics. So scopes nest, and a task that moves to another thread takes its values along.

use std::{
    cell::RefCell,
    error::Error,
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
    thread,
};

use pin_project_lite::pin_project;

/// Declares values that go with a task: `static NAME: Type;`, any number of them. Each is a [`LocalKey`](crate::task::LocalKey).
///
/// ```
/// egret_executor::task_local! {
///     /// Who asks.
///     static USER: String;
///     pub static DEPTH: u32;
/// }
///
/// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// # runtime.block_on(async {
/// let greeting = USER.scope("ada".to_owned(), async { USER.with(|user| format!("hello {user}")) });
/// assert_eq!(greeting.await, "hello ada");
/// assert!(USER.try_with(|_| ()).is_err(), "only in there");
/// assert_eq!(DEPTH.sync_scope(3, || DEPTH.get()), 3);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[macro_export]
macro_rules! task_local {
    () => {};
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty; $($rest:tt)*) => {
        $crate::task_local!($(#[$attribute])* $visibility static $name: $type);
        $crate::task_local!($($rest)*);
    };
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty) => {
        $(#[$attribute])*
        $visibility static $name: $crate::task::LocalKey<$type> = {
            ::std::thread_local! {
                static HERE: ::std::cell::RefCell<::core::option::Option<$type>> =
                    const { ::std::cell::RefCell::new(::core::option::Option::None) };
            }
            $crate::task::LocalKey { here: HERE }
        };
    };
}

/// A value that goes with a task. Declared by [`task_local!`](crate::task_local).
pub struct LocalKey<T: 'static> {
    #[doc(hidden)]
    pub here: thread::LocalKey<RefCell<Option<T>>>,
}

/// There is no value: nobody up the stack has set one with [`LocalKey::scope`] or [`LocalKey::sync_scope`], or it is being changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessError(());

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task-local value is not set here")
    }
}

impl Error for AccessError {}

impl<T: 'static> LocalKey<T> {
    /// A future that has `value` in this key while it runs `future`. Tasks that it spawns don't.
    pub fn scope<F: Future>(&'static self, value: T, future: F) -> TaskLocalFuture<T, F> {
        TaskLocalFuture { key: self, value: Some(value), future: Some(future) }
    }

    /// Has `value` in this key while it runs `f`.
    ///
    /// # Panics
    ///
    /// If `f` does; if the key is in use, that is, inside of a [`with`](Self::with) of it.
    #[track_caller]
    pub fn sync_scope<R>(&'static self, value: T, f: impl FnOnce() -> R) -> R {
        let mut value = Some(value);
        match self.swapped(&mut value, f) {
            Ok(result) => result,
            Err(error) => panic!("a scope can't begin here: {error}"),
        }
    }

    /// Calls `f` with the value.
    ///
    /// # Panics
    ///
    /// If there is none; if `f` does.
    #[track_caller]
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        match self.try_with(f) {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }

    /// Calls `f` with the value.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let called = self.here.try_with(|here| match here.try_borrow() {
            Ok(value) => value.as_ref().map(f).ok_or(AccessError(())),
            Err(_changing) => Err(AccessError(())),
        });
        // A thread that is being torn down has none.
        called.unwrap_or(Err(AccessError(())))
    }

    /// A clone of the value.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[track_caller]
    pub fn get(&'static self) -> T
    where
        T: Clone,
    {
        self.with(T::clone)
    }

    /// A clone of the value.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn try_get(&'static self) -> Result<T, AccessError>
    where
        T: Clone,
    {
        self.try_with(T::clone)
    }

    /// Runs `f` with what is in `value` here, and here's in `value`; both go back at the end, however that comes about.
    fn swapped<R>(&'static self, value: &mut Option<T>, f: impl FnOnce() -> R) -> Result<R, AccessError> {
        struct Back<'a, T: 'static>(&'static LocalKey<T>, &'a mut Option<T>);
        impl<T: 'static> Back<'_, T> {
            fn swap(&mut self) -> Result<(), AccessError> {
                let swapped = self.0.here.try_with(|here| {
                    let mut here = here.try_borrow_mut().map_err(|_in_use| AccessError(()))?;
                    mem::swap(&mut *here, self.1);
                    Ok(())
                });
                swapped.unwrap_or(Err(AccessError(())))
            }
        }
        impl<T: 'static> Drop for Back<'_, T> {
            fn drop(&mut self) {
                // It worked when the scope began, on this thread, and whoever has borrowed it since has given it back.
                let swapped = self.swap();
                debug_assert!(swapped.is_ok());
            }
        }
        let mut back = Back(self, value);
        if let Err(error) = back.swap() {
            mem::forget(back);
            return Err(error);
        }
        let _back = back;
        Ok(f())
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalKey { .. }")
    }
}

impl<T: 'static, F> TaskLocalFuture<T, F> {
    /// Takes the value out. Without it the future can still be polled, but finds none.
    ///
    /// ```
    /// # use std::pin::pin;
    /// egret_executor::task_local! {
    ///     static NUMBER: u32;
    /// }
    ///
    /// # let runtime = egret_executor::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let mut scope = pin!(NUMBER.scope(7, async {}));
    /// scope.as_mut().await;
    /// assert_eq!(scope.as_mut().take_value(), Some(7));
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn take_value(self: Pin<&mut Self>) -> Option<T> {
        self.project().value.take()
    }
}

pin_project! {
    /// The future of [`LocalKey::scope`].
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct TaskLocalFuture<T: 'static, F> {
        key: &'static LocalKey<T>,
        // While it isn't polled.
        value: Option<T>,
        // None once it is dropped, which may want the value, too.
        #[pin]
        future: Option<F>,
    }

    impl<T: 'static, F> PinnedDrop for TaskLocalFuture<T, F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_some() {
                // If the thread is on its end, or the key in use, it is dropped without its value.
                let _outside = this.key.swapped(this.value, || this.future.as_mut().set(None));
            }
        }
    }
}

impl<T: 'static, F: Future> Future for TaskLocalFuture<T, F> {
    type Output = F::Output;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let polled = this.key.swapped(this.value, || {
            let polled = this.future.as_mut().as_pin_mut().map(|future| future.poll(cx));
            if let Some(Poll::Ready(_)) = polled {
                this.future.set(None);
            }
            polled
        });
        match polled {
            Ok(Some(polled)) => polled,
            Ok(None) => panic!("a TaskLocalFuture polled after it was ready"),
            Err(error) => panic!("a scope can't begin here: {error}"),
        }
    }
}

impl<T: 'static, F> fmt::Debug for TaskLocalFuture<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskLocalFuture { .. }")
    }
}
