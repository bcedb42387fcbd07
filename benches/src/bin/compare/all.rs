//! The contests there are, in their order, and all of them in one go.
//!
//! `all` prepares every contest before the first one runs, so that a wrong option is told at once. A contest that fails
//! doesn't hide the others: its lines are missing, what failed is said at the end, and the status is 1.

use crate::args::{Args, Common};
use crate::lines::Line;
use crate::{connections, sleepers};
use std::time::Instant;

/// A contest that knows all of its options.
pub(crate) type Ready = Box<dyn FnOnce() -> Result<Vec<Line>, String>>;

/// A contest, as the command line sees it.
pub(crate) struct Contest {
    pub(crate) name: &'static str,
    /// Reads the contest's own options; what isn't taken from the arguments is wrong.
    pub(crate) prepare: fn(Common, &mut Args) -> Result<Ready, String>,
}

macro_rules! contest {
    ($name:literal, $module:ident) => {
        Contest {
            name: $name,
            prepare: |common, args| {
                let options = crate::$module::Options::read(common, args)?;
                Ok(Box::new(move || crate::$module::run(&options)))
            },
        }
    };
}

/// Every contest, in the order in which `all` runs them.
pub(crate) const CONTESTS: &[Contest] = &[
    contest!("http", http),
    contest!("stall", stall),
    Contest { name: "memory", prepare: memory },
    contest!("tasks", tasks),
    contest!("timers", timers),
    contest!("wake", wake),
];

/// What a connection takes, and what a sleeping task and a timer take: servers and in-process work, by different contestants.
fn memory(common: Common, args: &mut Args) -> Result<Ready, String> {
    let connections = connections::Options::read(common.clone(), args)?;
    // Who is a contestant of the one need not be one of the other; a name that nobody has was an error above.
    let sleepers = sleepers::Options::read(Common { pass_over: true, ..common }, args)?;
    Ok(Box::new(move || {
        let mut lines = connections::run(&connections)?;
        lines.extend(sleepers::run(&sleepers)?);
        Ok(lines)
    }))
}

/// Everybody who takes part in any contest: what `all --only` may name.
const CONTESTANTS: [&str; 5] = ["egret", "tokio", "smol", "monoio", "epoll"];

pub(crate) fn find(name: &str) -> Option<&'static Contest> {
    CONTESTS.iter().find(|contest| contest.name == name)
}

/// What `all` found: the lines of the contests that went well, and what went wrong in the others.
pub(crate) struct Outcome {
    pub(crate) lines: Vec<Line>,
    pub(crate) failed: Vec<String>,
}

/// All contests, ready to run.
///
/// # Errors
/// If one of them can't do with the options.
pub(crate) fn prepare(common: Common) -> Result<Vec<(&'static str, Ready)>, String> {
    common.chosen(&CONTESTANTS)?;
    let common = Common { pass_over: true, ..common };
    let prepare = |contest: &Contest| {
        let mut none = Args::new(std::iter::empty());
        let ready = (contest.prepare)(common.clone(), &mut none);
        ready.map(|ready| (contest.name, ready)).map_err(|what| format!("{}: {what}", contest.name))
    };
    CONTESTS.iter().map(prepare).collect()
}

/// Runs them one after the other.
pub(crate) fn run(contests: Vec<(&'static str, Ready)>) -> Outcome {
    let (mut lines, mut failed) = (Vec::new(), Vec::new());
    let start = Instant::now();
    for (name, contest) in contests {
        let begin = Instant::now();
        match contest() {
            Ok(found) => lines.extend(found),
            Err(what) => failed.push(format!("{name}: {what}")),
        }
        let (took, sum) = (begin.elapsed().as_secs_f64(), start.elapsed().as_secs_f64());
        eprintln!("{name}: {took:.1} s, {sum:.1} s in all");
    }
    Outcome { lines, failed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::Better;

    fn line() -> Line {
        Line {
            contest: "tasks",
            name: "one".into(),
            metric: "time",
            unit: "ns",
            better: Better::Less,
            series: Vec::new(),
        }
    }

    #[test]
    fn one_that_fails_does_not_hide_the_others() {
        let contests: Vec<(&str, Ready)> = vec![
            ("a", Box::new(|| Ok(vec![line()]))),
            ("b", Box::new(|| Err("it lost a task".into()))),
            ("c", Box::new(|| Ok(vec![line()]))),
        ];
        let outcome = run(contests);
        assert_eq!(outcome.lines.len(), 2);
        assert_eq!(outcome.failed, ["b: it lost a task"]);
    }

    #[test]
    fn every_contest_takes_the_common_options() {
        let common = |line: &str| Common::read(&mut Args::new(line.split_whitespace().map(String::from)));
        for line in ["", "--quick", "--quick --rounds 1 --workers 2 --only egret,tokio", "--only epoll"] {
            let names = prepare(common(line).unwrap()).unwrap();
            assert_eq!(names.len(), CONTESTS.len(), "{line}");
        }
        assert!(prepare(common("--only mio").unwrap()).is_err());
    }
}
