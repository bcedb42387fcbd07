//! Models of the run queues for loom: `RUSTFLAGS="--cfg egret_loom" cargo test --release --test loom_queue`.
//!
//! The bug they would catch: an item handed out twice, or never.
#![cfg(egret_loom)]

use egret_executor::model::{Injector, Local, local};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

/// Counts how often each item was run. The content tells that what the pusher wrote has arrived with the item.
#[derive(Default)]
struct Runs([AtomicUsize; 4]);

struct Item {
    number: usize,
    content: loom::cell::UnsafeCell<usize>,
}

// SAFETY: whoever holds the box is alone with it; that's what the model checks (loom fails on a racing access).
unsafe impl Send for Item {}

fn item(number: usize) -> Box<Item> {
    let content = loom::cell::UnsafeCell::new(0);
    content.with_mut(|content| {
        // SAFETY: nobody else has it yet.
        unsafe { *content = number }
    });
    Box::new(Item { number, content })
}

impl Runs {
    fn run(&self, item: Box<Item>) {
        item.content.with(|content| {
            // SAFETY: the box is ours; loom checks that the writes before it have arrived.
            assert_eq!(unsafe { *content }, item.number);
        });
        self.0[item.number].fetch_add(1, Relaxed);
    }

    fn run_all(&self, local: &Local<Box<Item>>) {
        while let Some(item) = local.pop_lifo().or_else(|| local.pop()) {
            self.run(item);
        }
    }

    fn assert_once(&self, items: usize) {
        for runs in &self.0[..items] {
            assert_eq!(runs.load(Relaxed), 1);
        }
    }
}

/// The owner wakes two tasks in a row, displacing the first, while a thief looks into slot and deque.
#[test]
fn a_thief_at_the_slot() {
    loom::model(|| {
        let runs = Arc::new(Runs::default());
        let (owner, remote) = local();
        let thief = thread::spawn({
            let runs = runs.clone();
            move || {
                let (mine, _seat) = local();
                for _ in 0..2 {
                    let stolen = remote.steal_batch(&mine).or_else(|| remote.steal_slot());
                    if let Some(item) = stolen {
                        runs.run(item);
                    }
                }
                runs.run_all(&mine);
            }
        });
        for number in 0..2 {
            if let Some(displaced) = owner.push_lifo(item(number)) {
                owner.push(displaced);
            }
        }
        runs.run_all(&owner);
        thief.join().unwrap();
        // A thief that has emptied the slot late leaves nothing behind.
        runs.run_all(&owner);
        runs.assert_once(2);
    });
}

/// Two thieves and the owner at one slot.
#[test]
fn two_thieves_at_the_slot() {
    loom::model(|| {
        let runs = Arc::new(Runs::default());
        let (owner, remote) = local();
        let remote = Arc::new(remote);
        assert!(owner.push_lifo(item(0)).is_none());
        let thieves: Vec<_> = (0..2)
            .map(|_| {
                let (runs, remote) = (runs.clone(), remote.clone());
                thread::spawn(move || {
                    if let Some(item) = remote.steal_slot() {
                        runs.run(item);
                    }
                })
            })
            .collect();
        if let Some(item) = owner.pop_lifo() {
            runs.run(item);
        }
        for thief in thieves {
            thief.join().unwrap();
        }
        runs.run_all(&owner);
        runs.assert_once(1);
    });
}

/// The handover: outside to injector, injector to worker, worker to thief.
#[test]
fn from_the_injector_over_a_worker_to_a_thief() {
    loom::model(|| {
        let runs = Arc::new(Runs::default());
        let injector = Arc::new(Injector::default());
        let (owner, remote) = local();
        let pusher = thread::spawn({
            let injector = injector.clone();
            move || (0..3).for_each(|number| injector.push(item(number)))
        });
        let thief = thread::spawn({
            let runs = runs.clone();
            move || {
                let (mine, _seat) = local();
                if let Some(item) = remote.steal_batch(&mine) {
                    runs.run(item);
                }
                runs.run_all(&mine);
            }
        });
        for _ in 0..2 {
            if let Some(item) = injector.take_share(2, &owner) {
                runs.run(item);
            }
        }
        pusher.join().unwrap();
        runs.run_all(&owner);
        thief.join().unwrap();
        while let Some(item) = injector.pop() {
            runs.run(item);
        }
        runs.run_all(&owner);
        runs.assert_once(3);
    });
}

/// What nobody takes is dropped with its queue, once.
#[test]
fn the_end_of_a_queue_against_a_thief() {
    loom::model(|| {
        let kept = std::sync::Arc::new(());
        let (owner, remote) = local();
        assert!(owner.push_lifo(Box::new(kept.clone())).is_none());
        let thief = thread::spawn(move || drop(remote.steal_slot()));
        drop(owner);
        thief.join().unwrap();
        assert_eq!(std::sync::Arc::strong_count(&kept), 1);
    });
}
