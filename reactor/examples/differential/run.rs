//! Runs scripts and counts.

use crate::compare::{Difference, Verdict};
use crate::generate;
use crate::objects::Net;
use crate::random::Random;
use crate::script::Script;
use crate::shrink;
use crate::world::{Setting, World};
use egret_reactor::{FeedChoice, FeedKind, Lanes};
use std::io;

/// How often a script is tried again to see whether a difference comes back. TCP depends on the machine; nothing else does.
const TRIES: usize = 3;

/// How many lines are run between two reports of progress.
const STEP: u64 = 100_000;

#[derive(Debug, Default)]
pub struct Counts {
    pub scripts: u64,
    pub ops: u64,
    /// Scripts that ended early: see [`crate::compare`].
    pub siblings: u64,
    pub unnamed: u64,
    pub restless: u64,
}

/// A script that shows a difference.
#[derive(Debug)]
pub struct Found {
    pub script: Script,
    /// The line that differs.
    pub line: usize,
    pub difference: Difference,
    /// It was seen again when the script was run again.
    pub again: bool,
}

/// # Errors
/// If the feed can't be had.
pub fn setting(feed: FeedChoice) -> io::Result<Setting> {
    let lanes = Lanes::new(feed)?;
    let exact = lanes.feed() == FeedKind::Uring;
    Ok(Setting { net: Net::new()?, lanes, file: std::fs::File::open("/proc/self/exe")?, exact })
}

/// Runs a script to its end or to the first line that isn't the same on both sides.
///
/// # Errors
/// Those of the machine: no descriptors, no ports.
pub fn script(
    setting: &Setting,
    script: &Script,
    counts: &mut Counts,
    mut show: impl FnMut(usize, &Verdict),
) -> io::Result<Option<(usize, Difference)>> {
    counts.scripts += 1;
    let mut world = World::new(setting);
    for (line, op) in script.0.iter().enumerate() {
        counts.ops += 1;
        let verdict = world.run(op)?;
        show(line, &verdict);
        match verdict {
            Verdict::Same => continue,
            Verdict::Siblings => counts.siblings += 1,
            Verdict::Unnamed => counts.unnamed += 1,
            Verdict::Restless => counts.restless += 1,
            Verdict::Differ(difference) => return Ok(Some((line, difference))),
        }
        break;
    }
    Ok(None)
}

/// Runs random scripts until `ops` lines have been run, or until one shows a difference.
///
/// # Errors
/// Those of the machine.
pub fn campaign(
    setting: &Setting,
    ops: u64,
    seed: u64,
    counts: &mut Counts,
    mut progress: impl FnMut(&Counts),
) -> io::Result<Option<Found>> {
    let mut random = Random::new(seed);
    let mut shown = 0;
    while counts.ops < ops {
        if counts.ops / STEP > shown {
            shown = counts.ops / STEP;
            progress(counts);
        }
        let candidate = generate::script(&mut random);
        if let Some((line, difference)) = script(setting, &candidate, counts, |_, _| {})? {
            return shrunk(setting, candidate, line, difference).map(Some);
        }
    }
    Ok(None)
}

fn shrunk(setting: &Setting, candidate: Script, line: usize, difference: Difference) -> io::Result<Found> {
    let mut failed = None;
    let mut best = (candidate.clone(), line, difference, false);
    let mut differs = |shorter: &Script| {
        for _ in 0..TRIES {
            match script(setting, shorter, &mut Counts::default(), |_, _| {}) {
                Ok(Some((line, difference))) => {
                    best = (shorter.clone(), line, difference, true);
                    return true;
                }
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        false
    };
    if differs(&candidate) {
        shrink::shrink(&candidate, &mut differs);
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let (script, line, difference, again) = best;
    Ok(Found { script, line, difference, again })
}
