//! Settings of a runtime, and its start.

use std::{io, thread};

use egret_reactor::{FeedChoice, Lanes};

use crate::{
    idle::MAX_WORKERS,
    runtime::{Handle, Runtime},
    shared::{self, Shared},
    sync::Arc,
    worker::{self, Core},
};

/// Builds a [`Runtime`].
///
/// ```
/// use egret_executor::{Builder, runtime::FeedChoice};
///
/// let runtime = Builder::new_multi_thread()
///     .worker_threads(2)
///     .thread_name("fisher")
///     .feed(FeedChoice::Auto)
///     .build()?;
/// assert_eq!(runtime.workers(), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    workers: Option<usize>,
    thread_name: String,
    feed: FeedChoice,
}

impl Builder {
    /// A runtime whose worker threads share the work.
    pub fn new_multi_thread() -> Self {
        Self { workers: None, thread_name: "egret-worker".to_owned(), feed: FeedChoice::default() }
    }

    /// How many workers; as many as [`thread::available_parallelism`] says if this isn't called.
    pub fn worker_threads(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// What the worker threads' names begin with; a dash and the worker's number follow. Linux shows the first 15 bytes.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// What tells the workers which socket moved; the best there is if this isn't called.
    pub fn feed(mut self, feed: FeedChoice) -> Self {
        self.feed = feed;
        self
    }

    /// Starts the runtime.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if there are to be no workers, or more than 16384, or the name has a null byte in it; else whatever
    /// kept a lane from being made (a feed asked for by name that can't be had, descriptors running out) or a thread from
    /// being started. Nothing is left behind then.
    pub fn build(self) -> io::Result<Runtime> {
        let workers = match self.workers {
            Some(workers) => workers,
            None => thread::available_parallelism()?.get().min(MAX_WORKERS),
        };
        if !(1..=MAX_WORKERS).contains(&workers) {
            return Err(invalid(format!(
                "worker_threads({workers}): a runtime has 1 to {MAX_WORKERS} workers"
            )));
        }
        if self.thread_name.contains('\0') {
            return Err(invalid("thread_name: a null byte in it".to_owned()));
        }
        let lanes_of_runtime = Lanes::new(self.feed)?;
        let lanes = (0..workers).map(|_| lanes_of_runtime.add_lane()).collect::<io::Result<Vec<_>>>()?;
        let (locals, seats): (Vec<_>, Vec<_>) = (0..workers).map(|_| shared::seat()).unzip();
        let shared = Arc::new(Shared::new(lanes_of_runtime, lanes, seats.into()));
        // From here on the runtime's drop ends and joins what was started.
        let mut runtime =
            Runtime { handle: Handle { shared: shared.clone() }, threads: Vec::with_capacity(workers) };
        for (index, local) in locals.into_iter().enumerate() {
            let core = Core::new(shared.clone(), index, local);
            let thread = thread::Builder::new()
                .name(format!("{}-{index}", self.thread_name))
                .spawn(move || worker::run(core));
            match thread {
                Ok(thread) => runtime.threads.push(thread),
                Err(error) => {
                    shared.shutdown();
                    // Those that never came to be count as gone, so that the last one out knows that it is.
                    (index..workers).for_each(|_| shared.worker_left());
                    return Err(error);
                }
            }
        }
        Ok(runtime)
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
