//! Models of the lane's protocols: who blocks in the feed, who kicks whom out of it, who leads next.
//!
//! `RUSTFLAGS="--cfg egret_loom" cargo test -p egret-reactor --release --test loom_lane`
//!
//! A lane has descriptors, so it isn't there in a model. This is a copy of its protocols, function by function under the same
//! names, over a kernel made of a mutex: `Parker` is `parker.rs`, `Lane` is `block`, `kick`, `nudge`, `pump`, `renew_wake`,
//! `take_turns` and `hand_over` of `lane/mod.rs`, `Seat` is `seat.rs`, `wait` is the loop of `eventpoll/wait.rs` with an
//! instance that is a count. **What is changed there has to be changed here.**
//!
//! Each model is named after the bug it would catch. A lost wake-up shows as a deadlock that loom reports. A timed wait may be
//! over at any moment.
#![cfg(egret_loom)]

mod loom_common;

use loom::sync::atomic::{AtomicU8, AtomicUsize, Ordering, fence};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use loom_common::{bounded_model, model};
use std::sync::Arc;

/// A completion: of the wake-up descriptor, or of a descriptor that an instance watches.
#[derive(Clone)]
enum Completion {
    Wake,
    Ready(Arc<Instance>),
}

/// A ring: what is put off, what is complete. Positions count for ever, as the ring's head and tail do.
#[derive(Default)]
struct Ring {
    pending: Vec<Completion>,
    completions: Vec<Completion>,
    head: usize,
    tail: usize,
}

impl Ring {
    fn complete(&mut self, completion: Completion) {
        self.completions.push(completion);
        self.tail += 1;
    }

    /// Everything that is armed here is ready at once: submitting completes it.
    fn submit(&mut self) {
        for completion in std::mem::take(&mut self.pending) {
            self.complete(completion);
        }
    }
}

#[derive(Default)]
struct Kernel {
    ring: Mutex<Ring>,
    changed: Condvar,
}

impl Kernel {
    fn complete(&self, completion: Completion) {
        self.ring.lock().unwrap().complete(completion);
        self.changed.notify_all();
    }

    fn put_off(&self, completion: Completion) {
        self.ring.lock().unwrap().pending.push(completion);
    }

    fn submit(&self) {
        self.ring.lock().unwrap().submit();
        self.changed.notify_all();
    }

    fn harvest(&self) -> Vec<Completion> {
        let mut ring = self.ring.lock().unwrap();
        ring.head = ring.tail;
        std::mem::take(&mut ring.completions)
    }

    /// `io_uring_enter` with one completion wanted: what was taken by others after the call began counts all the same.
    fn block(&self, timed: bool) {
        let mut ring = self.ring.lock().unwrap();
        ring.submit();
        let wanted = ring.head + 1;
        while ring.tail < wanted && !timed {
            ring = self.changed.wait(ring).unwrap();
        }
    }
}

const AWAKE: u8 = 0;
const DOZING: u8 = 1;
const KICKED: u8 = 2;

const ON_CONDVAR: u8 = 1;
const IN_LANE: u8 = 2;
const TOKEN: u8 = 3;

struct Parker {
    state: AtomicU8,
    lock: Mutex<()>,
    condvar: Condvar,
    lane: Arc<Lane>,
}

impl Parker {
    fn new(lane: &Arc<Lane>) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU8::new(AWAKE),
            lock: Mutex::new(()),
            condvar: Condvar::new(),
            lane: lane.clone(),
        })
    }

    fn lie_down(&self, place: u8) -> bool {
        match self.state.compare_exchange(AWAKE, place, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(_) => {
                self.state.swap(AWAKE, Ordering::SeqCst);
                false
            }
        }
    }

    fn park(&self, timed: bool) {
        let mut guard = self.lock.lock().unwrap();
        if !self.lie_down(ON_CONDVAR) {
            return;
        }
        while self.state.load(Ordering::SeqCst) == ON_CONDVAR && !timed {
            guard = self.condvar.wait(guard).unwrap();
        }
        self.state.swap(AWAKE, Ordering::SeqCst);
    }

    fn park_in_lane(&self, timed: bool) {
        if !self.lie_down(IN_LANE) {
            return;
        }
        self.lane.block(timed);
        self.state.swap(AWAKE, Ordering::SeqCst);
    }

    fn unpark(&self) {
        match self.state.swap(TOKEN, Ordering::SeqCst) {
            ON_CONDVAR => {
                drop(self.lock.lock().unwrap());
                self.condvar.notify_one();
            }
            IN_LANE => self.lane.kick(),
            _ => {}
        }
    }
}

#[derive(Default)]
struct Lead {
    taken: bool,
    followers: Vec<Arc<Parker>>,
}

#[derive(Default)]
struct Lane {
    kernel: Kernel,
    /// How many there are.
    arms: Mutex<usize>,
    occupied: AtomicUsize,
    doze: AtomicU8,
    lead: Mutex<Lead>,
    /// Which of the model's threads own the lane, by number; 0 is nobody.
    owner: usize,
}

impl Lane {
    fn shared(arms: usize) -> Arc<Self> {
        Self::owned_by(0, arms)
    }

    fn owned_by(owner: usize, arms: usize) -> Arc<Self> {
        let lane = Self { owner, ..Self::default() };
        *lane.arms.lock().unwrap() = arms;
        lane.occupied.store(arms, Ordering::Relaxed);
        Arc::new(lane)
    }

    fn owns(&self, thread: usize) -> bool {
        self.owner == thread
    }

    /// What is ready at once is armed by a thread that isn't the owner.
    fn arm(&self, thread: usize, completion: Completion) {
        {
            let mut arms = self.arms.lock().unwrap();
            *arms += 1;
            self.kernel.put_off(completion);
            self.occupied.store(*arms, Ordering::Relaxed);
        }
        self.nudge(thread);
    }

    fn nudge(&self, thread: usize) {
        if self.owns(thread) {
            return;
        }
        fence(Ordering::SeqCst);
        if self.doze.load(Ordering::SeqCst) == DOZING {
            self.kick();
        }
    }

    fn kick(&self) {
        if self.doze.swap(KICKED, Ordering::SeqCst) == DOZING {
            self.ring();
        }
    }

    fn ring(&self) {
        self.kernel.complete(Completion::Wake);
    }

    fn block(&self, timed: bool) {
        if self.doze.compare_exchange(AWAKE, DOZING, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            self.doze.swap(AWAKE, Ordering::SeqCst);
            return;
        }
        fence(Ordering::SeqCst);
        self.kernel.block(timed);
        self.doze.swap(AWAKE, Ordering::SeqCst);
    }

    fn pump(&self, thread: usize, pumping: Option<&Arc<Instance>>, submit: bool) {
        if submit {
            self.kernel.submit();
        }
        let mut wakes = Vec::new();
        {
            // No arm ends here, so there is nothing new to store in `occupied`.
            let _arms = self.arms.lock().unwrap();
            for completion in self.kernel.harvest() {
                match completion {
                    Completion::Wake => self.renew_wake(thread),
                    Completion::Ready(instance) => {
                        let ours = pumping.is_some_and(|pumping| Arc::ptr_eq(pumping, &instance));
                        wakes.extend(instance.publish(!ours));
                    }
                }
            }
        }
        wakes.iter().for_each(|parker| parker.unpark());
    }

    fn is_vacant(&self) -> bool {
        self.occupied.load(Ordering::Relaxed) == 0
    }

    fn renew_wake(&self, thread: usize) {
        if !self.owns(thread) && self.doze.load(Ordering::SeqCst) == KICKED {
            self.ring();
        }
    }

    fn take_turns(&self, parker: &Arc<Parker>, timed: bool) {
        let leads = {
            let mut lead = self.lead.lock().unwrap();
            if !lead.taken {
                lead.taken = true;
                true
            } else {
                lead.followers.push(parker.clone());
                false
            }
        };
        if leads {
            parker.park_in_lane(timed);
            self.lead.lock().unwrap().taken = false;
        } else {
            parker.park(timed);
            self.lead.lock().unwrap().followers.retain(|other| !Arc::ptr_eq(other, parker));
        }
    }

    fn hand_over(&self) {
        let heir = {
            let mut lead = self.lead.lock().unwrap();
            if lead.taken { None } else { lead.followers.pop() }
        };
        if let Some(heir) = heir {
            heir.unpark();
        }
    }
}

/// An instance as far as a lane can tell: how many events lie there, and who waits for them.
#[derive(Default)]
struct Instance {
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    ready: usize,
    parked: Vec<Arc<Parker>>,
}

impl Instance {
    fn publish(&self, wake: bool) -> Option<Arc<Parker>> {
        let mut lists = self.lists.lock().unwrap();
        lists.ready += 1;
        if wake { lists.parked.pop() } else { None }
    }

    /// An event of a source in memory.
    fn fire(&self) {
        let parker = self.publish(true);
        if let Some(parker) = parker {
            parker.unpark();
        }
    }
}

struct Seat<'a> {
    thread: usize,
    parker: &'a Arc<Parker>,
    owner: bool,
    took_turns: bool,
}

impl Seat<'_> {
    fn park(&mut self, timed: bool) {
        if self.owner {
            self.parker.park_in_lane(timed);
        } else {
            self.took_turns = true;
            self.parker.lane.take_turns(self.parker, timed);
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if !self.owner && self.took_turns {
            self.parker.lane.hand_over();
        }
    }
}

/// How many events it returned with. The number says who the thread is.
fn wait(thread: usize, parker: &Arc<Parker>, instance: &Arc<Instance>, timed: bool) -> usize {
    let lane = &parker.lane;
    let mut seat = Seat { thread, parker, owner: lane.owns(thread), took_turns: false };
    let mut expired = false;
    let mut pumps = !lane.is_vacant();
    loop {
        if pumps {
            lane.pump(seat.thread, Some(instance), expired || !seat.owner);
        }
        pumps = true;
        {
            let mut lists = instance.lists.lock().unwrap();
            lists.parked.retain(|other| !Arc::ptr_eq(other, parker));
            if lists.ready > 0 || expired {
                return std::mem::take(&mut lists.ready);
            }
            lists.parked.push(parker.clone());
        }
        seat.park(timed);
        expired = timed;
    }
}

/// A thread that waits on the lane.
fn waiter(
    lane: &Arc<Lane>,
    number: usize,
    instance: &Arc<Instance>,
    timed: bool,
) -> thread::JoinHandle<usize> {
    let (lane, instance) = (lane.clone(), instance.clone());
    thread::spawn(move || wait(number, &Parker::new(&lane), &instance, timed))
}

const TIMED: bool = true;
const EVER: bool = false;

#[test]
fn an_event_in_memory_reaches_an_owner_on_its_way_into_the_feed() {
    model(|| {
        let (lane, instance) = (Lane::owned_by(1, 0), Arc::default());
        let owner = waiter(&lane, 1, &instance, EVER);
        instance.fire();
        assert_eq!(owner.join().unwrap(), 1);
    });
}

#[test]
fn what_another_thread_armed_is_submitted_by_the_owner_that_goes_to_sleep() {
    model(|| {
        let (lane, instance) = (Lane::owned_by(1, 0), Arc::default());
        let owner = waiter(&lane, 1, &instance, EVER);
        lane.arm(2, Completion::Ready(instance));
        assert_eq!(owner.join().unwrap(), 1);
    });
}

/// A thread that harvests in passing may take the very completion that was to end the owner's sleep.
#[test]
fn a_kick_that_a_passing_thread_harvests_still_ends_the_sleep() {
    bounded_model(4, || {
        let (lane, instance) = (Lane::owned_by(1, 1), Arc::default());
        let owner = waiter(&lane, 1, &instance, EVER);
        let passing = {
            let lane = lane.clone();
            thread::spawn(move || lane.pump(3, None, false))
        };
        instance.fire();
        assert_eq!(owner.join().unwrap(), 1);
        passing.join().unwrap();
    });
}

/// The same with an event of the feed: whoever harvests it wakes the one that it is for.
#[test]
fn a_completion_that_a_passing_thread_harvests_still_reaches_the_owner() {
    bounded_model(4, || {
        let (lane, instance) = (Lane::owned_by(1, 1), Arc::default());
        let owner = waiter(&lane, 1, &instance, EVER);
        let passing = {
            let lane = lane.clone();
            thread::spawn(move || lane.pump(3, None, false))
        };
        lane.kernel.complete(Completion::Ready(instance));
        assert_eq!(owner.join().unwrap(), 1);
        passing.join().unwrap();
    });
}

#[test]
fn an_event_of_the_feed_for_a_follower_is_published_by_the_leader() {
    bounded_model(3, || {
        let lane = Lane::shared(1);
        let instances: [Arc<Instance>; 2] = Default::default();
        let waiters = [1, 2].map(|number| waiter(&lane, number, &instances[number - 1], EVER));
        for instance in &instances {
            lane.kernel.complete(Completion::Ready(instance.clone()));
        }
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), 1);
        }
    });
}

#[test]
fn a_leader_that_times_out_leaves_the_lead_to_a_follower() {
    bounded_model(3, || {
        let lane = Lane::shared(1);
        let instances: [Arc<Instance>; 2] = Default::default();
        let hasty = waiter(&lane, 1, &instances[0], TIMED);
        let patient = waiter(&lane, 2, &instances[1], EVER);
        lane.kernel.complete(Completion::Ready(instances[1].clone()));
        assert_eq!(patient.join().unwrap(), 1);
        assert_eq!(hasty.join().unwrap(), 0);
    });
}

#[test]
fn a_leader_that_has_its_event_leaves_the_lead_to_a_follower() {
    bounded_model(3, || {
        let lane = Lane::shared(1);
        let instances: [Arc<Instance>; 2] = Default::default();
        let waiters = [1, 2].map(|number| waiter(&lane, number, &instances[number - 1], EVER));
        // Of a source in memory: kicks a leader, or wakes a follower that then leaves.
        instances[0].fire();
        lane.kernel.complete(Completion::Ready(instances[1].clone()));
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), 1);
        }
    });
}

/// The heir is on its way out itself when it inherits, or long gone: what it never used has to go on.
#[test]
fn an_heir_that_times_out_hands_the_lead_on() {
    bounded_model(3, || {
        let lane = Lane::shared(1);
        let instances: [Arc<Instance>; 2] = Default::default();
        // This thread leads.
        lane.lead.lock().unwrap().taken = true;
        let patient = waiter(&lane, 1, &instances[0], EVER);
        let hasty = waiter(&lane, 2, &instances[1], TIMED);
        // And leaves: the end of `take_turns`, and of its seat.
        lane.lead.lock().unwrap().taken = false;
        lane.hand_over();
        assert_eq!(hasty.join().unwrap(), 0);
        lane.kernel.complete(Completion::Ready(instances[0].clone()));
        assert_eq!(patient.join().unwrap(), 1);
    });
}

#[test]
fn what_a_passing_thread_armed_is_submitted_for_a_leader_that_sleeps() {
    bounded_model(3, || {
        let lane = Lane::shared(0);
        let instances: [Arc<Instance>; 2] = Default::default();
        let patient = waiter(&lane, 1, &instances[0], EVER);
        let hasty = waiter(&lane, 2, &instances[1], TIMED);
        lane.arm(3, Completion::Ready(instances[0].clone()));
        assert_eq!(patient.join().unwrap(), 1);
        assert_eq!(hasty.join().unwrap(), 0);
    });
}

/// One parker is used again and again: a kick that comes late must not be the one that the next sleep needs.
#[test]
fn a_late_kick_of_an_earlier_sleep_costs_no_event() {
    bounded_model(3, || {
        let (lane, instance) = (Lane::owned_by(1, 1), Arc::<Instance>::default());
        let owner = {
            let (lane, instance) = (lane.clone(), instance.clone());
            thread::spawn(move || {
                let parker = Parker::new(&lane);
                let mut events = 0;
                while events < 3 {
                    events += wait(1, &parker, &instance, EVER);
                }
                events
            })
        };
        let other = {
            let instance = instance.clone();
            thread::spawn(move || instance.fire())
        };
        instance.fire();
        lane.kernel.complete(Completion::Ready(instance.clone()));
        assert_eq!(owner.join().unwrap(), 3);
        other.join().unwrap();
    });
}
