//! What the tests of scopes share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::future::{Future, pending};

use egret_executor::{Runtime, time::timeout};

use crate::support::{Drops, LONG};

/// Runs it, for a bounded time.
#[track_caller]
pub fn run<F: Future>(runtime: &Runtime, future: F) -> F::Output {
    runtime.block_on(async { timeout(LONG, future).await.expect("it ends") })
}

/// A task that never ends by itself, and counts its drop.
pub fn forever(drops: &Drops) -> impl Future<Output = ()> + Send + use<> {
    let guard = drops.guard();
    async move {
        let _guard = guard;
        pending().await
    }
}

/// [`forever`], of a task that may fail.
pub fn forever_well(drops: &Drops) -> impl Future<Output = Result<(), &'static str>> + Send + use<> {
    let forever = forever(drops);
    async move {
        forever.await;
        Ok(())
    }
}
