//! A source of one's own, awaited like a socket: no descriptor, no channel, no system call of ours.
//!
//!     cargo run --release --example custom_source
//!
//! A library calls back on a thread of its own with measurements, one at a time; the task wants them three at a time. `Batch` collects them and is ready when
//! three are there (or the library has ended). It is a `Source`: a queue for whoever watches, and a `poll` that says what holds now. The change comes
//! first, the wake after it; that is the whole contract.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use egret::io::AsyncSource;
use egret::reactor::{Events, PollTable, Source, WaitQueue};

/// How many make a batch.
const BATCH: usize = 3;

#[derive(Default)]
struct Batch {
    state: Mutex<State>,
    queue: WaitQueue,
}

#[derive(Default)]
struct State {
    values: VecDeque<u32>,
    ended: bool,
}

impl Source for Batch {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        table.register(&self.queue);
        let state = self.state();
        match (state.ended, state.values.len() >= BATCH) {
            (true, _) => Events::IN | Events::HUP,
            (false, true) => Events::IN,
            (false, false) => Events::empty(),
        }
    }
}

impl Batch {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The library's callback.
    fn measured(&self, value: u32) {
        self.state().values.push_back(value);
        self.queue.wake(Events::IN);
    }

    fn end(&self) {
        self.state().ended = true;
        self.queue.wake_all(Events::IN | Events::HUP);
    }

    /// A batch; what is left at the end; `None` after that.
    fn take(&self) -> Option<Vec<u32>> {
        let mut state = self.state();
        let count = if state.ended { state.values.len().min(BATCH) } else { BATCH };
        let there = count > 0 && state.values.len() >= count;
        there.then(|| state.values.drain(..count).collect())
    }
}

/// Somebody else's library: calls back from its own thread.
fn library(count: u32, mut callback: impl FnMut(u32) + Send + 'static, done: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        (0..count).for_each(&mut callback);
        done();
    });
}

/// Takes `count` measurements in batches, and says them.
pub async fn run(count: u32, mut say: impl FnMut(Vec<u32>)) -> std::io::Result<()> {
    let batch = Arc::new(Batch::default());
    let (callback, done) = (batch.clone(), batch.clone());
    let source = AsyncSource::new(batch)?;
    library(count, move |value| callback.measured(value), move || done.end());
    loop {
        let holds = source.readable().await?;
        while let Some(values) = source.take() {
            say(values);
        }
        if holds.contains(Events::HUP) {
            return Ok(());
        }
    }
}

#[cfg_attr(test, allow(dead_code))]
fn main() -> std::io::Result<()> {
    let runtime = egret::Builder::new_multi_thread().worker_threads(2).build()?;
    runtime.block_on(run(10, |values| println!("{values:?}")))
}
