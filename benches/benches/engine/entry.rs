//! [`Entry`]: one contestant in one discipline. [`Group`]: those that are compared.

use crate::kernel::thread_cpu;
use std::time::Duration;

/// Does so many turns and says what they took: time of the processor, so that what other programs take doesn't count.
type Run = Box<dyn FnMut(u64) -> Duration>;

pub(crate) struct Entry {
    pub(crate) name: &'static str,
    state: State,
}

/// What a filter leaves out is never built.
enum State {
    Planned(Box<dyn FnOnce() -> Run>),
    Building,
    Built(Run),
}

impl Entry {
    /// An entry that measures itself. `build` runs before its first turn and isn't measured.
    pub(crate) fn new<R>(name: &'static str, build: impl FnOnce() -> R + 'static) -> Self
    where
        R: FnMut(u64) -> Duration + 'static,
    {
        Self { name, state: State::Planned(Box::new(|| Box::new(build()))) }
    }

    /// An entry whose turns are timed as a whole.
    pub(crate) fn timed<T: FnMut() + 'static>(
        name: &'static str,
        build: impl FnOnce() -> T + 'static,
    ) -> Self {
        Self::new(name, || {
            let mut turn = build();
            move |turns| {
                let start = thread_cpu();
                for _ in 0..turns {
                    turn();
                }
                thread_cpu() - start
            }
        })
    }

    pub(crate) fn run(&mut self, turns: u64) -> Duration {
        self.state = match std::mem::replace(&mut self.state, State::Building) {
            State::Planned(build) => State::Built(warm(build())),
            built => built,
        };
        match &mut self.state {
            State::Built(run) => run(turns),
            State::Planned(_) | State::Building => unreachable!("a build panicked"),
        }
    }
}

/// The first turns find nothing in the caches; they would mislead whoever plans with them.
fn warm(mut run: Run) -> Run {
    let mut turns = 1;
    while run(turns) < Duration::from_millis(2) {
        turns *= 2;
    }
    run
}

pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) entries: Vec<Entry>,
    pub(crate) ratios: Vec<Ratio>,
}

/// A line to print: what `over` takes divided by what `under` takes, both without what `less` takes.
pub(crate) struct Ratio {
    pub(crate) name: String,
    pub(crate) over: &'static str,
    pub(crate) under: &'static str,
    pub(crate) less: Option<&'static str>,
}

impl Ratio {
    pub(crate) fn new(name: impl Into<String>, over: &'static str, under: &'static str) -> Self {
        Self { name: name.into(), over, under, less: None }
    }

    pub(crate) fn without(self, less: &'static str) -> Self {
        Self { less: Some(less), ..self }
    }
}
