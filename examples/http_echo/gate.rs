//! How the server ends in good order: everybody inside hears of it once, and somebody hears when the last one has left.
//!
//! ```text
//!  open ── stop() ──► stopping: all members are woken ── last member leaves ──► drained
//! ```
//!
//! A member tells its waker once, not with every wait: a task's waker stays the same. The lock guards the list of
//! members and is never held while a waker is called or dropped.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Where connections enter and leave. Clones are the same gate.
#[derive(Clone, Default)]
pub struct Gate {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    served: AtomicU64,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    members: HashMap<u64, Option<Waker>>,
    next: u64,
    /// Who waits for the last member to leave.
    drained: Option<Waker>,
}

impl Shared {
    /// No critical section runs foreign code, so a poisoned lock guards whole data.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// A gate that is open.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells everybody to finish what they are at and leave. May be called from any thread, more than once.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let wakers: Vec<Waker> = self.shared.lock().members.values_mut().filter_map(Option::take).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Goes in.
    pub fn enter(&self) -> Member {
        let mut inside = self.shared.lock();
        let id = inside.next;
        inside.next += 1;
        inside.members.insert(id, None);
        Member { shared: Arc::clone(&self.shared), id, served: 0 }
    }

    /// How many are inside.
    pub fn members(&self) -> usize {
        self.shared.lock().members.len()
    }

    /// Requests answered by those who have left.
    pub fn served(&self) -> u64 {
        self.shared.served.load(Ordering::SeqCst)
    }

    /// Waits until nobody is inside. One task at a time.
    pub async fn drained(&self) {
        poll_fn(|cx| {
            let fresh = cx.waker().clone();
            let mut inside = self.shared.lock();
            if inside.members.is_empty() {
                return Poll::Ready(());
            }
            let stale = inside.drained.replace(fresh);
            drop(inside);
            drop(stale);
            Poll::Pending
        })
        .await;
    }
}

/// One that is inside; leaves when dropped, by a panic, too.
pub struct Member {
    shared: Arc<Shared>,
    id: u64,
    /// Requests answered. Counted here and added up at the end: one shared counter would travel between the
    /// workers' caches with every request.
    pub served: u64,
}

impl Member {
    /// Whether it is time to go.
    pub fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::SeqCst)
    }

    /// Has `waker` called when it is time to go. Look at [`is_stopping`](Self::is_stopping) after it, not before.
    pub fn remember(&self, waker: &Waker) {
        let fresh = Some(waker.clone());
        let stale = self.shared.lock().members.insert(self.id, fresh);
        drop(stale);
    }

    /// Waits for the time to go.
    pub fn poll_stopping(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_stopping() {
            self.remember(cx.waker());
        }
        if self.is_stopping() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.shared.served.fetch_add(self.served, Ordering::SeqCst);
        let mut inside = self.shared.lock();
        let own = inside.members.remove(&self.id);
        let drained = if inside.members.is_empty() { inside.drained.take() } else { None };
        drop(inside);
        drop(own);
        if let Some(waker) = drained {
            waker.wake();
        }
    }
}
