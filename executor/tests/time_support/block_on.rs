//! What a thread sleeps in, out of loom's parts: a sticky flag, and a `block_on` on it. A wake that is lost is a deadlock that loom finds.

use loom::sync::{Condvar, Mutex};
use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

/// A flag that is consumed by the wait that it ends, or by the next one.
#[derive(Default)]
pub struct Sticky {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Sticky {
    pub fn interrupt(&self) {
        *self.set.lock().unwrap() = true;
        self.changed.notify_one();
    }

    pub fn wait(&self) {
        let mut set = self.set.lock().unwrap();
        while !*set {
            set = self.changed.wait(set).unwrap();
        }
        *set = false;
    }
}

impl Wake for Sticky {
    fn wake(self: Arc<Self>) {
        self.interrupt();
    }
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let woken = Arc::new(Sticky::default());
    let waker = Waker::from(woken.clone());
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => woken.wait(),
        }
    }
}
