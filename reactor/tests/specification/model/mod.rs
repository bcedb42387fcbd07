//! [`Model`]: what epoll does, one step at a time.
//!
//! Vectors and no cleverness. It is written from the facts of epoll, whose numbers it names, and knows nothing of how the
//! engine does it; everything that happens in the engine at the same time happens here one after the other.
//!
//! ```text
//!   source ──hooks, in walk order──► item ──owner──► instance: interests, ready, overflow, batch, requeued, parked
//!                                                        └──hooks──► item of an outer instance ──► ...
//! ```

mod interests;
mod sources;

use crate::script::{Poke, Shape, Target};
use egret_reactor::{Event, Events};
use std::collections::VecDeque;

/// The bits that say how an interest behaves; the others are conditions.
const MODES: Events = Events::EXCLUSIVE.union(Events::WAKEUP).union(Events::ONESHOT).union(Events::ET);

type ItemId = usize;
type SourceId = usize;
type InstanceId = usize;

/// A source or an instance, never to be mixed up with what later stands in the same place of the script.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Object {
    Source(SourceId),
    Instance(InstanceId),
}

/// One interest. Ids are not used again; an item that went is in no list.
struct Item {
    owner: InstanceId,
    object: Object,
    tag: u64,
    mask: Events,
    data: u64,
    exclusive: bool,
    /// How often it was called back and listened, and how often it was delivered.
    fired: u32,
    delivered: u32,
}

enum State {
    Counter {
        value: u64,
        semaphore: bool,
    },
    /// A source that polls what it was told to, and does what it was told to while it is polled.
    Puppet {
        ready: Events,
        armed: Vec<Poke>,
    },
}

struct Source {
    state: State,
    /// In the order of the walk: fact 98.
    hooks: Vec<ItemId>,
}

#[derive(Default)]
struct Instance {
    interests: Vec<ItemId>,
    ready: Vec<ItemId>,
    /// While a scan runs: what it has not reached, what it delivered and will see again, and what came in.
    scanning: bool,
    batch: Vec<ItemId>,
    requeued: Vec<ItemId>,
    overflow: Vec<ItemId>,
    /// Those who watch this instance, in the order of the walk.
    hooks: Vec<ItemId>,
    /// The threads that sleep here, the most recent last, with the room they have.
    parked: Vec<(usize, usize)>,
}

/// What can be seen of an interest.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    pub data: u64,
    pub tag: u64,
    pub mask: u32,
    pub state: &'static str,
    pub fired: u32,
    pub delivered: u32,
}

pub struct Model {
    shape: Shape,
    items: Vec<Item>,
    sources: Vec<Source>,
    instances: Vec<Instance>,
    /// What stands in the places of the script.
    source_in: Vec<SourceId>,
    instance_in: Vec<InstanceId>,
    /// Sources that this operation has asked, and those of them that were let go meanwhile: an operation holds what it has
    /// asked until it is over (fact 91), and it vanishes then.
    asked: Vec<SourceId>,
    let_go: Vec<SourceId>,
    /// Threads that were woken and have not looked yet: instance, thread, room.
    woken: VecDeque<(InstanceId, usize, usize)>,
    returned: Vec<(usize, Vec<Event>)>,
}

/// Beginnings.
impl Model {
    pub fn new(shape: Shape) -> Self {
        let mut model = Self {
            shape,
            items: Vec::new(),
            sources: Vec::new(),
            instances: Vec::new(),
            source_in: Vec::new(),
            instance_in: Vec::new(),
            asked: Vec::new(),
            let_go: Vec::new(),
            woken: VecDeque::new(),
            returned: Vec::new(),
        };
        for place in 0..shape.sources() {
            model.source_in.push(place);
            model.sources.push(Self::source(shape, place));
        }
        for place in 0..shape.instances {
            model.instance_in.push(place);
            model.instances.push(Instance::default());
        }
        model
    }

    fn source(shape: Shape, place: usize) -> Source {
        let state = if shape.is_puppet(place) {
            State::Puppet { ready: Events::empty(), armed: Vec::new() }
        } else {
            State::Counter { value: 0, semaphore: shape.is_semaphore(place) }
        };
        Source { state, hooks: Vec::new() }
    }

    fn object(&self, target: Target) -> Object {
        match target {
            Target::Source(place) => Object::Source(self.source_in[place]),
            Target::Instance(place) => Object::Instance(self.instance_in[place]),
        }
    }

    fn find(&self, owner: InstanceId, object: Object, tag: u64) -> Option<ItemId> {
        let is_it = |id: &&ItemId| self.items[**id].object == object && self.items[**id].tag == tag;
        self.instances[owner].interests.iter().find(is_it).copied()
    }

    fn hooks(&mut self, object: Object) -> &mut Vec<ItemId> {
        match object {
            Object::Source(id) => &mut self.sources[id].hooks,
            Object::Instance(id) => &mut self.instances[id].hooks,
        }
    }
}

/// The way up: a source tells, items are queued, outer instances hear.
impl Model {
    /// The walk over the hooks of a source or of an instance.
    fn wake(&mut self, object: Object, key: Events) {
        for id in self.hooks(object).clone() {
            if self.callback(id, key) && self.items[id].exclusive {
                break; // 98
            }
        }
    }

    /// Whether the item, if it is exclusive, has consumed the news.
    fn callback(&mut self, id: ItemId, key: Events) -> bool {
        let Item { owner, mask, .. } = self.items[id];
        if mask.difference(MODES).is_empty() {
            return false; // 48
        }
        if !key.is_empty() && !key.intersects(mask) {
            return false; // 47
        }
        self.items[id].fired += 1;
        if self.instances[owner].scanning {
            if !self.instances[owner].overflow.contains(&id) {
                self.instances[owner].overflow.push(id); // 50
            }
        } else if !self.is_linked(owner, id) {
            self.instances[owner].ready.push(id); // 49
        }
        // 51: on every accepted callback, whatever was done with the item.
        let somebody_waits = !self.instances[owner].parked.is_empty();
        self.wake_one(owner);
        self.wake(Object::Instance(owner), Events::IN); // 41, 42
        // 99, 100: with nobody asleep nothing is ever consumed.
        let direction = key & (Events::IN | Events::OUT);
        somebody_waits && direction != Events::IN | Events::OUT && mask.contains(direction)
    }

    fn is_linked(&self, owner: InstanceId, id: ItemId) -> bool {
        let Instance { ready, batch, requeued, .. } = &self.instances[owner];
        ready.contains(&id) || batch.contains(&id) || requeued.contains(&id)
    }

    /// The thread that came last is woken first, and can't be woken twice: facts 77 and 78.
    fn wake_one(&mut self, id: InstanceId) {
        if let Some((thread, room)) = self.instances[id].parked.pop() {
            self.woken.push_back((id, thread, room));
        }
    }
}

/// The way down: what holds now.
impl Model {
    fn ask(&mut self, id: ItemId) -> Events {
        let Item { object, mask, .. } = self.items[id];
        let conditions = mask.difference(MODES);
        if conditions.is_empty() {
            return conditions; // disarmed: 62
        }
        let now = match object {
            Object::Source(id) => self.poll(id),
            Object::Instance(id) => self.look(id),
        };
        now & conditions // 55
    }

    /// An instance seen from outside: facts 38 and 39.
    fn look(&mut self, id: InstanceId) -> Events {
        let mut found = Events::empty();
        self.begin_scan(id);
        while let Some(first) = self.instances[id].batch.first().copied() {
            if self.ask(first).is_empty() {
                self.instances[id].batch.retain(|other| *other != first);
            } else {
                found = Events::IN | Events::RDNORM;
                break;
            }
        }
        self.end_scan(id);
        found
    }

    /// Delivery.
    fn scan(&mut self, id: InstanceId, room: usize) -> Vec<Event> {
        let mut events = Vec::new();
        self.begin_scan(id);
        while events.len() < room && !self.instances[id].batch.is_empty() {
            let item = self.instances[id].batch.remove(0);
            let now = self.ask(item);
            if now.is_empty() {
                continue; // 55
            }
            self.items[item].delivered += 1;
            events.push(Event { events: now, data: self.items[item].data }); // 56, 57
            let mask = self.items[item].mask;
            if mask.contains(Events::ONESHOT) {
                self.items[item].mask = mask & MODES; // 62
            } else if !mask.contains(Events::ET) {
                self.instances[id].requeued.push(item); // 58, 59
            }
        }
        self.end_scan(id);
        events
    }

    fn begin_scan(&mut self, id: InstanceId) {
        let instance = &mut self.instances[id];
        instance.scanning = true;
        instance.batch = std::mem::take(&mut instance.ready);
    }

    /// Facts 64 and 65, and the cascade: 79, 83. Pollers hear nothing: 45.
    fn end_scan(&mut self, id: InstanceId) {
        let overflow = std::mem::take(&mut self.instances[id].overflow);
        let fresh: Vec<_> = overflow.into_iter().filter(|item| !self.is_linked(id, *item)).collect();
        let instance = &mut self.instances[id];
        instance.scanning = false;
        instance.ready.append(&mut instance.batch);
        instance.ready.extend(fresh);
        instance.ready.append(&mut instance.requeued);
        if !instance.ready.is_empty() {
            self.wake_one(id);
        }
    }
}

/// What a script does besides interests.
impl Model {
    /// A wait with a timeout of zero: one pass.
    pub fn wait(&mut self, place: usize, room: usize) -> Vec<Event> {
        let events = self.scan(self.instance_in[place], room);
        self.finish();
        events
    }

    /// A thread waits for ever.
    pub fn park(&mut self, place: usize, thread: usize, room: usize) {
        self.woken.push_back((self.instance_in[place], thread, room));
    }

    /// The threads that have come back since the last call. One that finds nothing sleeps on, as the most recent (76).
    pub fn returned(&mut self) -> Vec<(usize, Vec<Event>)> {
        while let Some((instance, thread, room)) = self.woken.pop_front() {
            let events = self.scan(instance, room);
            if events.is_empty() {
                self.instances[instance].parked.push((thread, room));
            } else {
                self.returned.push((thread, events));
            }
        }
        self.finish();
        self.returned.sort_by_key(|(thread, _)| *thread);
        std::mem::take(&mut self.returned)
    }

    /// The last handle of an instance goes: its interests go, and so do those in it, silently (46). A new one takes its
    /// place. (The pollers that fact 46 lets wake are those that hold no interest: `poll(2)`.)
    pub fn close(&mut self, place: usize) {
        let id = self.instance_in[place];
        let gone = [self.instances[id].interests.clone(), self.instances[id].hooks.clone()].concat();
        for item in gone {
            self.vanish(item);
        }
        self.instance_in[place] = self.instances.len();
        self.instances.push(Instance::default());
    }

    pub fn poke(&mut self, poke: Poke) -> Result<u64, i32> {
        let result = self.poke_now(poke);
        self.finish();
        result
    }

    pub fn arm(&mut self, place: usize, pokes: &[Poke]) {
        if let State::Puppet { armed, .. } = &mut self.sources[self.source_in[place]].state {
            *armed = pokes.to_vec();
        }
    }

    /// How many hooks stand in a source's queue.
    pub fn hooked(&self, place: usize) -> usize {
        self.sources[self.source_in[place]].hooks.len()
    }

    /// Every interest of an instance, by its data.
    pub fn interests(&self, place: usize) -> Vec<Shown> {
        let owner = self.instance_in[place];
        let show = |id: &ItemId| {
            let Item { data, tag, mask, fired, delivered, .. } = self.items[*id];
            let state = match () {
                () if mask.difference(MODES).is_empty() => "disarmed",
                () if self.is_linked(owner, *id) => "ready",
                () => "idle",
            };
            Shown { data, tag, mask: mask.bits(), state, fired, delivered }
        };
        let mut shown: Vec<_> = self.instances[owner].interests.iter().map(show).collect();
        shown.sort();
        shown
    }

    /// An operation is over.
    fn finish(&mut self) {
        self.asked.clear();
        for id in std::mem::take(&mut self.let_go) {
            self.source_gone(id);
        }
    }
}
