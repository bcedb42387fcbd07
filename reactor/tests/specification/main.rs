//! The engine against its specification: random scripts, step by step.
//!
//! | room       | what lives there                                                                    |
//! |------------|-------------------------------------------------------------------------------------|
//! | `model`    | the specification: epoll in plain vectors, written from its facts                    |
//! | `script`   | operations and the strategies that make up scripts                                  |
//! | `drive`    | runs a script on the specification and on a subject, and tells the first difference   |
//! | `engine`   | a subject: the engine, with its in-process sources                                   |
//! | `sleepers` | threads that wait for ever                                                           |
//! | `kernel`   | a subject: the running kernel's epoll, which holds the specification to the truth     |
//!
//! `PROPTEST_CASES` sets how many scripts each test runs. A failure prints the script, shrunk, with what each step says.
#![cfg(not(egret_loom))]

mod drive;
mod engine;
mod kernel;
mod model;
mod script;
mod sleepers;
#[path = "../../../tests/support/watchdog.rs"]
mod watchdog;

use drive::{Face, check};
use egret_reactor::Events;
use engine::Engine;
use kernel::Kernel;
use script::{Script, Shape, Target, Weights, lonely, scripts, sleepy};

/// A bit of everything, except pokes in the middle of a scan.
const EVERYTHING: Weights = Weights { interests: 8, nesting: 3, pokes: 8, arms: 0, waits: 6, closes: 1 };

/// No instance watches another.
#[test]
fn flat() {
    let shape = Shape { instances: 2, counters: 3, puppets: 2, tags: 2 };
    check(400, &scripts(shape, Weights { nesting: 0, ..EVERYTHING }, 80), Engine::new);
}

#[test]
fn nested() {
    let shape = Shape { instances: 4, counters: 2, puppets: 1, tags: 2 };
    check(500, &scripts(shape, EVERYTHING, 80), Engine::new);
}

/// So few things that most operations meet.
#[test]
fn crowded() {
    let shape = Shape { instances: 3, counters: 1, puppets: 1, tags: 1 };
    check(600, &scripts(shape, Weights { nesting: 6, ..EVERYTHING }, 80), Engine::new);
}

/// Long chains and many ways through them: depth, circles, path limits.
const TOWERS: Weights = Weights { interests: 6, nesting: 10, pokes: 1, arms: 0, waits: 2, closes: 1 };

#[test]
fn towers() {
    let shape = Shape { instances: 6, counters: 1, puppets: 0, tags: 4 };
    check(200, &scripts(shape, TOWERS, 150), Engine::new);
}

/// What happens while a source is asked: callbacks go to the overflow list, sources go away.
#[test]
fn meanwhile() {
    let shape = Shape { instances: 2, counters: 1, puppets: 3, tags: 2 };
    check(500, &scripts(shape, Weights { arms: 4, ..EVERYTHING }, 60), Engine::new);
}

/// Threads that wait: who is woken, who takes what, and what an exclusive walk makes of them.
#[test]
fn sleepers() {
    let shape = Shape { instances: 3, counters: 1, puppets: 1, tags: 2 };
    check(250, &sleepy(shape, 40), Engine::new);
    check(250, &lonely(shape, 40), Engine::new);
}

#[test]
fn the_kernel_obeys_the_specification() {
    let shape = Shape { instances: 4, counters: 3, puppets: 0, tags: 2 };
    check(300, &scripts(shape, EVERYTHING, 80), Kernel::new);
}

/// Kernels before 6.17 look for depth only downwards, and then say something else: fact 32. They are let off.
#[test]
fn the_kernel_builds_the_same_towers() {
    let shape = Shape { instances: 6, counters: 1, puppets: 0, tags: 4 };
    let mut kernel = Kernel::new(&Script { shape, ops: Vec::new() });
    for outer in 0..4 {
        kernel.add(outer, Target::Instance(outer + 1), 0, Events::IN, 0).unwrap();
    }
    if kernel.add(4, Target::Instance(5), 0, Events::IN, 0) != Err(libc::ELOOP) {
        eprintln!("not compared: this kernel does not look upwards");
        return;
    }
    drop(kernel);
    check(100, &scripts(shape, TOWERS, 150), Kernel::new);
}

#[test]
fn the_kernel_wakes_the_same_sleepers() {
    let shape = Shape { instances: 3, counters: 2, puppets: 0, tags: 2 };
    check(200, &sleepy(shape, 40), Kernel::new);
}
