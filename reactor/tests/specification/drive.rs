//! Runs a script on the specification and on something that claims to obey it, step by step.

use crate::model::{Model, Shown};
use crate::script::{Op, Poke, Script, Target};
use crate::watchdog::Watchdog;
use egret_reactor::{Event, Events};
use proptest::strategy::BoxedStrategy;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use std::fmt;

/// Something that a script can be run on. Numbers are places in the script; errors are errnos.
pub trait Face {
    fn add(&mut self, instance: usize, target: Target, tag: u64, mask: Events, data: u64) -> Result<(), i32>;
    fn modify(
        &mut self,
        instance: usize,
        target: Target,
        tag: u64,
        mask: Events,
        data: u64,
    ) -> Result<(), i32>;
    fn remove(&mut self, instance: usize, target: Target, tag: u64) -> Result<(), i32>;
    fn poke(&mut self, poke: Poke) -> Result<u64, i32>;
    fn arm(&mut self, puppet: usize, pokes: &[Poke]);
    fn wait(&mut self, instance: usize, room: usize) -> Vec<Event>;
    fn close(&mut self, instance: usize);
    /// A thread of this number starts to wait, for ever.
    fn park(&mut self, instance: usize, thread: usize, room: usize);
    /// The threads that came back since the last call, by number; `expected` of them should have.
    fn returned(&mut self, expected: usize) -> Vec<(usize, Vec<Event>)>;
    /// Every interest of an instance, by its data, where they can be seen.
    fn interests(&self, instance: usize) -> Option<Vec<Shown>>;
    /// How many hooks stand in the queue of a source, where that can be seen.
    fn hooked(&self, source: usize) -> Option<usize>;
}

impl Face for Model {
    fn add(&mut self, instance: usize, target: Target, tag: u64, mask: Events, data: u64) -> Result<(), i32> {
        Model::add(self, instance, target, tag, mask, data)
    }

    fn modify(
        &mut self,
        instance: usize,
        target: Target,
        tag: u64,
        mask: Events,
        data: u64,
    ) -> Result<(), i32> {
        Model::modify(self, instance, target, tag, mask, data)
    }

    fn remove(&mut self, instance: usize, target: Target, tag: u64) -> Result<(), i32> {
        Model::remove(self, instance, target, tag)
    }

    fn poke(&mut self, poke: Poke) -> Result<u64, i32> {
        Model::poke(self, poke)
    }

    fn arm(&mut self, puppet: usize, pokes: &[Poke]) {
        Model::arm(self, puppet, pokes);
    }

    fn wait(&mut self, instance: usize, room: usize) -> Vec<Event> {
        Model::wait(self, instance, room)
    }

    fn close(&mut self, instance: usize) {
        Model::close(self, instance);
    }

    fn park(&mut self, instance: usize, thread: usize, room: usize) {
        Model::park(self, instance, thread, room);
    }

    fn returned(&mut self, _expected: usize) -> Vec<(usize, Vec<Event>)> {
        Model::returned(self)
    }

    fn interests(&self, instance: usize) -> Option<Vec<Shown>> {
        Some(Model::interests(self, instance))
    }

    fn hooked(&self, source: usize) -> Option<usize> {
        Some(Model::hooked(self, source))
    }
}

/// What a step said.
#[derive(PartialEq)]
enum Said {
    Nothing,
    Result(Result<u64, i32>),
    Events(Vec<Event>),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Said::Nothing => Ok(()),
            Said::Result(Ok(0)) => f.write_str("ok"),
            Said::Result(Ok(value)) => write!(f, "{value}"),
            Said::Result(Err(code)) => write!(f, "{}", std::io::Error::from_raw_os_error(*code)),
            Said::Events(events) => show_events(events, f),
        }
    }
}

fn show_events(events: &[Event], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("[")?;
    events.iter().try_for_each(|event| write!(f, " {}:{:#x}", event.data, event.events.bits()))?;
    f.write_str(" ]")
}

/// What a step said, and which threads it brought back with what.
#[derive(PartialEq)]
struct Outcome {
    said: Said,
    returned: Vec<(usize, Vec<Event>)>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.said.fmt(f)?;
        self.returned.iter().try_for_each(|(thread, events)| {
            write!(f, " thread {thread} ")?;
            show_events(events, f)
        })
    }
}

fn perform(face: &mut dyn Face, step: usize, op: &Op) -> Said {
    let data = step as u64;
    match op {
        Op::Add { instance, target, tag, mask } => {
            Said::Result(face.add(*instance, *target, *tag, *mask, data).map(|()| 0))
        }
        Op::Modify { instance, target, tag, mask } => {
            Said::Result(face.modify(*instance, *target, *tag, *mask, data).map(|()| 0))
        }
        Op::Remove { instance, target, tag } => {
            Said::Result(face.remove(*instance, *target, *tag).map(|()| 0))
        }
        Op::Poke(poke) => Said::Result(face.poke(*poke)),
        Op::Arm { puppet, pokes } => {
            face.arm(*puppet, pokes);
            Said::Nothing
        }
        Op::Wait { instance, room } => Said::Events(face.wait(*instance, *room)),
        Op::Park { instance, room } => {
            face.park(*instance, step, *room);
            Said::Nothing
        }
        Op::Close { instance } => {
            face.close(*instance);
            Said::Nothing
        }
    }
}

/// Two looks at every instance: what is queued shows itself, in its order, and then what comes up again.
fn drain(script: &Script) -> impl Iterator<Item = Op> {
    let instances = script.shape.instances;
    (0..2 * instances).map(move |n| Op::Wait { instance: n % instances, room: 64 })
}

/// Runs the script on both; the first difference is told with everything that went before.
fn compare(script: &Script, subject: &mut dyn Face) -> Result<(), TestCaseError> {
    let mut model = Model::new(script.shape);
    let mut told = String::new();
    for (step, op) in script.ops.iter().cloned().chain(drain(script)).enumerate() {
        if step == script.ops.len() {
            compare_insides(script, &model, subject, &told)?;
        }
        let said = perform(&mut model, step, &op);
        let expected = Outcome { said, returned: model.returned() };
        let said = perform(subject, step, &op);
        let actual = Outcome { said, returned: subject.returned(expected.returned.len()) };
        told.push_str(&format!("{step:4}: {op} -> {expected}\n"));
        if expected != actual {
            return Err(TestCaseError::fail(format!(
                "difference at the last step:\n{told}      but it is {actual}"
            )));
        }
    }
    Ok(())
}

/// What no event shows.
fn compare_insides(
    script: &Script,
    model: &Model,
    subject: &dyn Face,
    told: &str,
) -> Result<(), TestCaseError> {
    for instance in 0..script.shape.instances {
        let expected = model.interests(instance);
        if let Some(actual) = subject.interests(instance)
            && expected != actual
        {
            let reason = format!("after\n{told}e{instance} has {actual:#?}, not {expected:#?}");
            return Err(TestCaseError::fail(reason));
        }
    }
    for source in 0..script.shape.sources() {
        let expected = model.hooked(source);
        if let Some(actual) = subject.hooked(source)
            && expected != actual
        {
            return Err(TestCaseError::fail(format!(
                "after\n{told}s{source} has {actual} hooks, not {expected}"
            )));
        }
    }
    Ok(())
}

/// Runs `cases` scripts, or as many as `PROPTEST_CASES` says, on a new subject each.
pub fn check<F: Face>(cases: u32, scripts: &BoxedStrategy<Script>, subject: impl Fn(&Script) -> F) {
    let cases =
        std::env::var("PROPTEST_CASES").map_or(cases, |text| text.parse().expect("a number of cases"));
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 50_000,
        max_shrink_time: 30_000,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let run = |script: Script| {
        let _watchdog = Watchdog::start();
        compare(&script, &mut subject(&script))
    };
    match runner.run(scripts, run) {
        Ok(()) => {}
        Err(TestError::Fail(reason, script)) => panic!("{reason}\nthe shortest script found: {script:?}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}
