//! [`Engine`]: a script's places filled with the engine's instances and in-process sources.

use crate::drive::Face;
use crate::model::Shown;
use crate::script::{Poke, Script, Shape, Target};
use crate::sleepers::Sleepers;
use egret_reactor::{
    AsSource, Counter, Event, Eventpoll, Events, FeedChoice, InterestDump, Lanes, PollTable, Source,
    WaitQueue,
};
use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

thread_local! {
    static LANES: Lanes = Lanes::new(FeedChoice::Auto).expect("a feed can be had");
}

pub struct Engine {
    instances: Vec<Eventpoll>,
    world: Arc<World>,
    sleepers: Sleepers,
}

/// The sources, within reach of a puppet that is being asked.
struct World {
    shape: Shape,
    leaves: Mutex<Vec<Leaf>>,
}

#[derive(Clone)]
enum Leaf {
    Counter(Arc<Counter>),
    Puppet(Arc<Puppet>),
}

/// A source that polls what it was told to, and does what it was told to while it is polled.
struct Puppet {
    queue: WaitQueue,
    state: Mutex<(Events, Vec<Poke>)>,
    world: Weak<World>,
}

impl Source for Puppet {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        table.register(&self.queue);
        let pokes = std::mem::take(&mut self.state.lock().unwrap().1);
        if let Some(world) = self.world.upgrade()
            && !pokes.is_empty()
        {
            // A source must not do this itself while it is polled: another thread does, and is waited for.
            let other = thread::spawn(move || {
                for poke in pokes {
                    // As in the model, nobody asks what came of it.
                    let _ = world.poke(poke);
                }
            });
            other.join().unwrap();
        }
        self.state.lock().unwrap().0
    }
}

impl AsSource for Leaf {
    fn as_source(&self) -> Arc<dyn Source> {
        match self {
            Leaf::Counter(counter) => counter.clone(),
            Leaf::Puppet(puppet) => puppet.clone(),
        }
    }
}

impl World {
    fn new(shape: Shape) -> Arc<Self> {
        let world = Arc::new(Self { shape, leaves: Mutex::new(Vec::new()) });
        let leaves = (0..shape.sources()).map(|place| world.leaf(place)).collect();
        *world.leaves.lock().unwrap() = leaves;
        world
    }

    fn leaf(self: &Arc<Self>, place: usize) -> Leaf {
        if self.shape.is_puppet(place) {
            let state = Mutex::new((Events::empty(), Vec::new()));
            Leaf::Puppet(Arc::new(Puppet { queue: WaitQueue::new(), state, world: Arc::downgrade(self) }))
        } else if self.shape.is_semaphore(place) {
            Leaf::Counter(Arc::new(Counter::semaphore(0)))
        } else {
            Leaf::Counter(Arc::new(Counter::new(0)))
        }
    }

    fn at(&self, place: usize) -> Leaf {
        self.leaves.lock().unwrap()[place].clone()
    }

    fn poke(self: &Arc<Self>, poke: Poke) -> Result<u64, i32> {
        match (poke, self.at(poke.source())) {
            (Poke::Write { number, .. }, Leaf::Counter(counter)) => {
                counter.write(number).map(|()| 0).map_err(errno)
            }
            (Poke::Read { .. }, Leaf::Counter(counter)) => counter.read().map_err(errno),
            (Poke::Set { ready, .. }, Leaf::Puppet(puppet)) => {
                puppet.state.lock().unwrap().0 = ready;
                Ok(0)
            }
            (Poke::Fire { key, .. }, Leaf::Puppet(puppet)) => {
                puppet.queue.wake(key);
                Ok(0)
            }
            (Poke::Become { ready, .. }, Leaf::Puppet(puppet)) => {
                puppet.state.lock().unwrap().0 = ready;
                puppet.queue.wake(ready);
                Ok(0)
            }
            (Poke::Replace { source }, old) => {
                let leaf = self.leaf(source);
                let replaced = std::mem::replace(&mut self.leaves.lock().unwrap()[source], leaf);
                drop((old, replaced));
                Ok(0)
            }
            _ => unreachable!("a script knows what is a counter and what a puppet"),
        }
    }
}

fn errno(error: io::Error) -> i32 {
    match error.raw_os_error() {
        Some(code) => code,
        None if error.kind() == io::ErrorKind::WouldBlock => libc::EAGAIN,
        None => panic!("an error without a number: {error}"),
    }
}

impl Engine {
    pub fn new(script: &Script) -> Self {
        let shape = script.shape;
        let instances = (0..shape.instances).map(|_| LANES.with(Eventpoll::with_lanes)).collect();
        Self { instances, world: World::new(shape), sleepers: Sleepers::default() }
    }

    fn at(&self, target: Target) -> Arc<dyn Source> {
        match target {
            Target::Source(place) => self.world.at(place).as_source(),
            Target::Instance(place) => self.instances[place].as_source(),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let instances = &self.instances;
        self.sleepers.dismiss(|| instances.iter().for_each(Eventpoll::notify_one), |_| false);
    }
}

impl Face for Engine {
    fn add(&mut self, instance: usize, target: Target, tag: u64, mask: Events, data: u64) -> Result<(), i32> {
        self.instances[instance].add(&self.at(target), tag, mask, data).map_err(errno)
    }

    fn modify(
        &mut self,
        instance: usize,
        target: Target,
        tag: u64,
        mask: Events,
        data: u64,
    ) -> Result<(), i32> {
        self.instances[instance].modify(&self.at(target), tag, mask, data).map_err(errno)
    }

    fn remove(&mut self, instance: usize, target: Target, tag: u64) -> Result<(), i32> {
        self.instances[instance].remove(&self.at(target), tag).map_err(errno)
    }

    fn poke(&mut self, poke: Poke) -> Result<u64, i32> {
        self.world.poke(poke)
    }

    fn arm(&mut self, puppet: usize, pokes: &[Poke]) {
        if let Leaf::Puppet(puppet) = self.world.at(puppet) {
            puppet.state.lock().unwrap().1 = pokes.to_vec();
        }
    }

    fn wait(&mut self, instance: usize, room: usize) -> Vec<Event> {
        let mut events = vec![Event::default(); room];
        let count = self.instances[instance].wait(&mut events, Some(Duration::ZERO)).unwrap();
        events.truncate(count);
        events
    }

    fn close(&mut self, instance: usize) {
        self.instances[instance] = LANES.with(Eventpoll::with_lanes);
    }

    fn park(&mut self, instance: usize, thread: usize, room: usize) {
        let instance = &self.instances[instance];
        let inside = instance.clone();
        let wait = move || {
            let mut events = vec![Event::default(); room];
            let count = inside.wait(&mut events, None).unwrap();
            events.truncate(count);
            events
        };
        let before = instance.dump().waiters;
        self.sleepers.park(thread, wait, |_| instance.dump().waiters == before + 1);
    }

    fn returned(&mut self, expected: usize) -> Vec<(usize, Vec<Event>)> {
        self.sleepers.returned(expected)
    }

    fn interests(&self, instance: usize) -> Option<Vec<Shown>> {
        let dump = self.instances[instance].dump();
        let shown = dump.interests.into_iter().map(|interest| {
            let InterestDump { data, tag, events, state, fired, delivered, .. } = interest;
            Shown { data, tag, mask: events.bits(), state, fired, delivered }
        });
        let mut shown: Vec<_> = shown.collect();
        shown.sort();
        Some(shown)
    }

    fn hooked(&self, source: usize) -> Option<usize> {
        let Leaf::Puppet(puppet) = self.world.at(source) else { return None };
        let text = format!("{:?}", puppet.queue);
        let number = text.split_once("hooks: ").expect("the queue tells how many hooks it has").1;
        Some(number.trim_end_matches(" }").parse().unwrap())
    }
}
