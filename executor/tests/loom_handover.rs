//! Models of how a core changes hands: `RUSTFLAGS="--cfg egret_loom" cargo test --release --test loom_handover`.
//!
//! The bugs they would catch: a thread that sleeps for a core which lies there, a driver that sleeps while it is called, two threads with one core.
#![cfg(egret_loom)]

use egret_executor::model::{Afterwards, Called, CoreSlot, Exchange};
use loom::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

/// A thread's parking place: as std's.
#[derive(Default)]
struct Place {
    token: Mutex<bool>,
    told: Condvar,
}

impl Place {
    fn tell(&self) {
        *self.token.lock().unwrap() = true;
        self.told.notify_one();
    }

    fn sleep(&self) {
        let mut token = self.token.lock().unwrap();
        while !*token {
            token = self.told.wait(token).unwrap();
        }
        *token = false;
    }

    /// A look that doesn't wait, and uses up what is there.
    fn look(&self) {
        *self.token.lock().unwrap() = false;
    }
}

/// How many have the core.
struct Core(Arc<AtomicUsize>);

impl Core {
    fn use_it(&self) {
        assert_eq!(self.0.fetch_add(1, Relaxed), 0, "one at a time");
        self.0.fetch_sub(1, Relaxed);
    }
}

fn tell(afterwards: Afterwards<Core, Place>) -> Option<Core> {
    afterwards.waiting.iter().for_each(|place| place.tell());
    afterwards.gone
}

/// `block_on` of a future that is ready when it was driven once.
fn drive_once(slot: &CoreSlot<Core, Place>) -> Option<Core> {
    let place = Arc::new(Place::default());
    loop {
        if let Some(core) = slot.take_or_wait(&place) {
            core.use_it();
            return tell(slot.put(core));
        }
        place.sleep();
    }
}

#[test]
fn everybody_gets_the_core_in_turn() {
    loom::model(|| {
        let slot = Arc::new(CoreSlot::default());
        slot.fill(Core(Arc::default()));
        let others: Vec<_> = (0..2)
            .map(|_| {
                let slot = slot.clone();
                thread::spawn(move || assert!(drive_once(&slot).is_none()))
            })
            .collect();
        for other in others {
            other.join().unwrap();
        }
    });
}

/// Who waits is told of the end; the core is retired by exactly one: who ends the runtime, or who puts it back.
#[test]
fn the_end_against_a_driver_and_one_who_waits() {
    loom::model(|| {
        let slot = Arc::new(CoreSlot::default());
        slot.fill(Core(Arc::default()));
        let retired = Arc::new(AtomicUsize::new(0));
        let place = Arc::new(Place::default());
        let waiter = thread::spawn({
            let (slot, retired, place) = (slot.clone(), retired.clone(), place.clone());
            move || {
                if let Some(core) = slot.take_or_wait(&place) {
                    core.use_it();
                    retired.fetch_add(usize::from(tell(slot.put(core)).is_some()), Relaxed);
                }
            }
        });
        retired.fetch_add(usize::from(tell(slot.end()).is_some()), Relaxed);
        waiter.join().unwrap();
        assert_eq!(retired.load(Relaxed), 1);
        assert!(slot.take_or_wait(&place).is_none());
        assert_eq!(tell(slot.end()).map(drop), None);
    });
}

/// Two calls; the driver looks at the reactor in between, which may use an interruption up, and comes for each, or once for both.
#[test]
fn a_call_against_the_drivers_sleep() {
    loom::model(|| {
        let called = Arc::new(Called::raised());
        let place = Arc::new(Place::default());
        let calls = Arc::new(AtomicUsize::new(0));
        let caller = thread::spawn({
            let (called, place, calls) = (called.clone(), place.clone(), calls.clone());
            move || {
                for _ in 0..2 {
                    calls.fetch_add(1, Relaxed);
                    if called.call() {
                        place.tell();
                    }
                }
            }
        });
        loop {
            if called.take() && calls.load(Relaxed) == 2 {
                break;
            }
            place.look();
            if called.is_up() {
                continue;
            }
            place.sleep();
        }
        caller.join().unwrap();
    });
}

/// The thread of the pool takes the core, or comes too late; either way the first one has it alone in the end.
#[test]
fn a_loan_against_its_end() {
    loom::model(|| {
        let loan = Arc::new(Exchange::default());
        let place = Arc::new(Place::default());
        let core = Arc::new(Core(Arc::default()));
        let borrower = thread::spawn({
            let (loan, place, core) = (loan.clone(), place.clone(), core.clone());
            move || {
                if !loan.take() {
                    return;
                }
                while !loan.called.take() {
                    core.use_it();
                    if !loan.called.is_up() {
                        place.sleep();
                    }
                }
                core.use_it();
                loan.give_back();
            }
        });
        loan.reclaim(|| place.tell());
        core.use_it();
        borrower.join().unwrap();
    });
}
