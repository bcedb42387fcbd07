//! The differential, short: a few thousand lines of random scripts on each feed, and scripts that are known to be hard.
//! `cargo run --release -p egret-reactor --example differential` runs as many as one likes.
#![cfg(not(egret_loom))]
// The example is a program; here only its modules are used.
#![allow(dead_code)]

#[path = "../examples/differential/compare.rs"]
mod compare;
#[path = "../examples/differential/egret.rs"]
mod egret;
#[path = "../examples/differential/generate.rs"]
mod generate;
#[path = "../examples/differential/kernel.rs"]
mod kernel;
#[path = "../examples/differential/objects.rs"]
mod objects;
#[path = "../examples/differential/promised.rs"]
mod promised;
#[path = "../examples/differential/random.rs"]
mod random;
#[path = "../examples/differential/run.rs"]
mod run;
#[path = "../examples/differential/script.rs"]
mod script;
#[path = "../examples/differential/shrink.rs"]
mod shrink;
#[path = "../examples/differential/world.rs"]
mod world;

#[path = "../../tests/support/watchdog.rs"]
mod watchdog;

use egret_reactor::{Event, Eventpoll, Events, Fd, FeedChoice};
use run::Counts;
use script::{Op, Script};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use watchdog::Watchdog;

fn campaign(feed: FeedChoice, ops: u64) {
    let setting = match run::setting(feed) {
        Ok(setting) => setting,
        // A container that refuses a feed; poll works everywhere.
        Err(error) if feed != FeedChoice::Poll => return eprintln!("not here: {error}"),
        Err(error) => panic!("{error}"),
    };
    let mut counts = Counts::default();
    let found = run::campaign(&setting, ops, 7, &mut counts, |_| {}).unwrap();
    if let Some(found) = found {
        let run::Found { script, line, difference, again } = found;
        panic!("line {} differs (again: {again}): {difference:#?}\n{script}", line + 1);
    }
    assert!(counts.ops >= ops);
    let early = counts.siblings + counts.unnamed + counts.restless;
    assert!(early * 20 < counts.scripts, "too many scripts end early: {counts:?}");
}

#[test]
fn the_kernel_and_egret_agree_over_uring() {
    campaign(FeedChoice::Uring, 20_000);
}

#[test]
fn the_kernel_and_egret_agree_over_aio_as_far_as_promised() {
    campaign(FeedChoice::Aio, 5_000);
}

#[test]
fn the_kernel_and_egret_agree_over_poll_as_far_as_promised() {
    campaign(FeedChoice::Poll, 5_000);
}

/// What random scripts have found, each reduced to the lines that matter.
const HARD: [(&str, &str); 17] = [
    (
        "an instance is no interest of its own, for MOD and DEL too",
        "instance 0\ntag 0 1\nmod 0 1 IN 1\ndel 1 0",
    ),
    (
        "an interest in errors alone hears of the end",
        "instance 0\npipe 1 2\nadd 0 1 PRI 1\nmod 0 1 0 2\nclose 2\nwait 0 9",
    ),
    ("urgent data wakes who reads", "instance 0\ntcp 1 2\nadd 0 1 IN|OUT|ET 1\nwait 0 9\nurgent 2\nwait 0 9"),
    (
        "two wake-ups in one call are as wide as one",
        "instance 0\nunix 1 2\nadd 0 1 PRI|WRNORM|ET 1\nwait 0 9\nfill 2\nwait 0 9",
    ),
    (
        "a wake-up for everybody walks the queue once",
        "instance 0\nunix 1 2\nadd 0 1 IN 1\ntag 1 3\nadd 0 3 OUT|EXCLUSIVE|ET 2\nwait 0 9\nshutdown 3 read\nwait 0 9",
    ),
    (
        "two wake-ups that say OUT are not for everybody, even after the end",
        "instance 0\ninstance 1\nunix 2 3\ntag 2 4\nadd 0 4 OUT 1\nadd 1 4 0 2\nadd 0 1 IN|ET 3\nwrite 4 1\nwrite 4 1\n\
         shutdown 3 both\nwait 0 9\ndrain 3\nwait 0 9",
    ),
    (
        "an end that was told is not told again by an arm that is made later",
        "instance 0\nunix 1 2\nadd 0 1 ET 1\ninstance 3\nwrite 1 1\nwrite 1 1\nshutdown 1 both\nwait 0 9\nadd 3 1 OUT 2\n\
         drain 2\nwait 0 9",
    ),
    (
        "data and then room are two wake-ups, though the feed tells the level",
        "instance 0\nunix 1 2\ntag 2 3\nwrite 2 1\nwrite 2 1\nwrite 2 1\nwrite 2 1\nwrite 2 1\nwrite 2 1\nadd 0 3 IN 1\n\
         add 0 2 OUT 2\nfill 1\ndrain 1\nwait 0 9",
    ),
    (
        "two wake-ups that say IN are not for everybody, even after one end of the stream",
        "instance 0\ntcp 1 2\ntag 2 3\nshutdown 2 read\nadd 0 3 OUT|ET 1\nadd 0 2 IN 2\nwait 0 9\nurgent 1\nwait 0 9",
    ),
    (
        "a wake-up for everybody that changes no condition walks the queue once, too",
        "instance 0\ninstance 1\nunix 2 3\nadd 0 3 IN 1\nadd 1 0 IN|ET 2\ntag 3 4\nadd 1 4 OUT|EXCLUSIVE|ET 3\n\
         write 2 1\nwait 1 9\nshutdown 2 read\nwait 1 9",
    ),
    (
        "an exclusive interest stands behind the plain ones",
        "instance 0\neventfd 1 0\ntag 1 2\ntag 1 3\nadd 0 1 IN|EXCLUSIVE 1\nadd 0 2 IN 2\nadd 0 3 IN|EXCLUSIVE 3\nwrite 1 1\nwait 0 9",
    ),
    (
        "MOD keeps the place among the hooks, whatever the mask",
        "instance 0\nunix 1 2\ntag 1 3\nadd 0 1 IN 1\nadd 0 3 IN 2\nmod 0 1 IN|OUT|ET 1\nwait 0 9\nwrite 2 1\nwait 0 9",
    ),
    (
        "what happened between two ADDs is told in its order",
        "instance 0\neventfd 1 0\neventfd 2 0\nadd 0 2 IN 2\nadd 0 1 IN 1\nwrite 1 1\nwrite 2 1\nwait 0 1\nwait 0 9",
    ),
    (
        "an exclusive interest is told in its turn",
        "instance 0\neventfd 1 0\neventfd 2 0\nadd 0 1 IN|EXCLUSIVE 1\nadd 0 2 IN 2\nwrite 2 1\nwrite 1 1\nwait 0 9",
    ),
    (
        "nobody waits, so exclusive interests of two instances are both told",
        "instance 0\ninstance 1\neventfd 2 0\nadd 0 2 IN|EXCLUSIVE 1\nadd 1 2 IN|EXCLUSIVE 2\nwrite 2 1\nwait 0 9\nwait 1 9",
    ),
    (
        "an instance that is watched is told in its turn, whoever looks first",
        "instance 0\ninstance 1\neventfd 2 0\neventfd 3 0\nadd 1 2 IN 1\nadd 0 1 IN 2\nadd 0 3 IN 3\nwrite 2 1\nwrite 3 1\n\
         wait 1 9\nwait 0 9",
    ),
    (
        "what happened before MOD is judged by the old mask",
        "instance 0\ninstance 1\nunix 2 3\nadd 1 2 IN|ONESHOT 1\nadd 0 1 IN|ET 2\neventfd 4 1\nadd 1 4 IN 3\nwait 0 9\n\
         write 3 1\nwait 1 9\ndrain 2\nwrite 3 1\ndrain 2\nwait 0 9\nmod 1 2 IN 1\nwait 0 9\nwrite 3 1\nwait 0 9\nwait 1 9",
    ),
];

#[test]
fn hard_scripts_over_uring() {
    let Ok(setting) = run::setting(FeedChoice::Uring) else { return };
    for (name, text) in HARD {
        let script: Script = text.parse().unwrap();
        let mut verdicts = Vec::new();
        let show = |_, verdict: &compare::Verdict| verdicts.push(verdict.clone());
        run::script(&setting, &script, &mut Counts::default(), show).unwrap();
        let same = verdicts.iter().all(|verdict| *verdict == compare::Verdict::Same);
        assert!(same && verdicts.len() == script.0.len(), "{name}: {verdicts:#?}");
    }
}

/// Lines mean what they print.
#[test]
fn scripts_can_be_replayed() {
    let mut random = random::Random::new(3);
    for _ in 0..50 {
        let script = generate::script(&mut random);
        assert_eq!(script.to_string().parse::<Script>().unwrap(), script);
    }
    assert!("add 1".parse::<Op>().is_err());
}

/// A script that differs is reduced to what differs.
#[test]
fn shrinking_finds_the_two_lines_that_matter() {
    let mut random = random::Random::new(5);
    let mut script = generate::script(&mut random);
    let (first, second) = (Op::Write(900, 17), Op::Wait { instance: 901, max: 1 });
    script.0.insert(10, first.clone());
    script.0.insert(40, second.clone());
    let mut differs = |candidate: &Script| {
        let at = |op: &Op| candidate.0.iter().position(|other| other == op);
        matches!((at(&first), at(&second)), (Some(a), Some(b)) if a < b)
    };
    assert_eq!(shrink::shrink(&script, &mut differs).0, [first.clone(), second.clone()]);
}

/// A thread that doesn't enter the kernel between another's write and its own look sees it (fact 85, for a feed that tells only
/// threads that pass through the kernel).
#[test]
fn a_look_sees_what_another_thread_did_before() {
    let _watchdog = Watchdog::start();
    for feed in [FeedChoice::Uring, FeedChoice::Aio, FeedChoice::Poll] {
        let Ok(setting) = run::setting(feed) else { continue };
        let poll = Eventpoll::with_lanes(&setting.lanes);
        let (reader, mut writer) = std::io::pipe().unwrap();
        let reader = Arc::new(Fd::new(reader).unwrap());
        poll.add(&reader, 0, Events::IN, 1).unwrap();
        const ROUNDS: usize = 200;
        let (asked, written) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let other = thread::spawn({
            let (asked, written) = (asked.clone(), written.clone());
            move || {
                for round in 1..=ROUNDS {
                    while asked.load(Ordering::SeqCst) < round {
                        std::hint::spin_loop();
                    }
                    writer.write_all(b"x").unwrap();
                    written.store(round, Ordering::SeqCst);
                }
            }
        });
        let mut events = [Event::default(); 4];
        for round in 1..=ROUNDS {
            assert_eq!(poll.wait(&mut events, Some(Duration::ZERO)).unwrap(), 0, "{feed}");
            asked.store(round, Ordering::SeqCst);
            while written.load(Ordering::SeqCst) < round {
                std::hint::spin_loop();
            }
            assert_eq!(poll.wait(&mut events, Some(Duration::ZERO)).unwrap(), 1, "{feed}, round {round}");
            assert!(kernel::read(reader.get_ref(), &mut [0; 8]).unwrap() == 1);
        }
        other.join().unwrap();
    }
}
