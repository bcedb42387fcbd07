//! Interests: who may be registered, and who may watch whom.

use super::{Instance, InstanceId, Item, ItemId, Model, Object};
use crate::script::Target;
use egret_reactor::Events;

/// The bits that EXCLUSIVE goes with: fact 16.
const BESIDE_EXCLUSIVE: Events = Events::IN
    .union(Events::OUT)
    .union(Events::ERR)
    .union(Events::HUP)
    .union(Events::WAKEUP)
    .union(Events::ET)
    .union(Events::EXCLUSIVE);

/// The most edges in a chain of instances: fact 31.
const MAX_NESTS: usize = 4;

/// Interests. Errors in their order of precedence: facts 13 to 24.
impl Model {
    pub fn add(
        &mut self,
        place: usize,
        target: Target,
        tag: u64,
        mask: Events,
        data: u64,
    ) -> Result<(), i32> {
        let (owner, object) = (self.instance_in[place], self.object(target));
        if object == Object::Instance(owner) {
            return Err(libc::EINVAL); // 13
        }
        let exclusive = mask.contains(Events::EXCLUSIVE);
        let nested = matches!(object, Object::Instance(_));
        if exclusive && (nested || !BESIDE_EXCLUSIVE.contains(mask)) {
            return Err(libc::EINVAL); // 16, 17
        }
        if let Object::Instance(inner) = object
            && (self.reaches(inner, owner) || self.below(inner) + 1 + self.above(owner) > MAX_NESTS)
        {
            return Err(libc::ELOOP); // 18, 31 to 33
        }
        if self.find(owner, object, tag).is_some() {
            return Err(libc::EEXIST); // 19
        }
        let id = self.items.len();
        let mask = mask | Events::ERR | Events::HUP; // 27
        self.items.push(Item { owner, object, tag, mask, data, exclusive, fired: 0, delivered: 0 });
        self.instances[owner].interests.push(id);
        if exclusive {
            self.hooks(object).push(id); // 98
        } else {
            self.hooks(object).insert(0, id);
        }
        if self.too_many_paths(object) {
            self.vanish(id);
            return Err(libc::EINVAL); // 24
        }
        self.ask_anew(id); // 72: the hook first, then the question
        self.finish();
        Ok(())
    }

    pub fn modify(
        &mut self,
        place: usize,
        target: Target,
        tag: u64,
        mask: Events,
        data: u64,
    ) -> Result<(), i32> {
        let (owner, object) = (self.instance_in[place], self.object(target));
        if object == Object::Instance(owner) || mask.contains(Events::EXCLUSIVE) {
            return Err(libc::EINVAL); // 13, 15
        }
        let id = self.find(owner, object, tag).ok_or(libc::ENOENT)?; // 19
        if self.items[id].exclusive {
            return Err(libc::EINVAL); // 21
        }
        // 70: the new mask first, then the question. 71: the hook stays where it is.
        self.items[id].mask = mask | Events::ERR | Events::HUP;
        self.items[id].data = data;
        self.ask_anew(id); // 69
        self.finish();
        Ok(())
    }

    pub fn remove(&mut self, place: usize, target: Target, tag: u64) -> Result<(), i32> {
        let (owner, object) = (self.instance_in[place], self.object(target));
        if object == Object::Instance(owner) {
            return Err(libc::EINVAL); // 13
        }
        let id = self.find(owner, object, tag).ok_or(libc::ENOENT)?;
        self.vanish(id); // 73
        Ok(())
    }

    /// The end of ADD and MOD: an item that is ready and not linked is linked, and only then somebody hears of it (52).
    fn ask_anew(&mut self, id: ItemId) {
        let owner = self.items[id].owner;
        if !self.ask(id).is_empty() && !self.is_linked(owner, id) {
            self.instances[owner].ready.push(id);
            self.wake_one(owner);
            self.wake(Object::Instance(owner), Events::IN);
        }
    }

    /// Takes an item out of every list.
    pub(super) fn vanish(&mut self, id: ItemId) {
        let Item { owner, object, .. } = self.items[id];
        let Instance { interests, ready, batch, requeued, overflow, .. } = &mut self.instances[owner];
        for list in [interests, ready, batch, requeued, overflow] {
            list.retain(|other| *other != id);
        }
        self.hooks(object).retain(|other| *other != id);
    }
}

/// Who may watch whom.
impl Model {
    fn inner(&self, outer: InstanceId) -> impl Iterator<Item = InstanceId> {
        self.instances[outer].interests.iter().filter_map(|id| match self.items[*id].object {
            Object::Instance(inner) => Some(inner),
            Object::Source(_) => None,
        })
    }

    fn outer(&self, inner: InstanceId) -> impl Iterator<Item = InstanceId> {
        self.instances[inner].hooks.iter().map(|id| self.items[*id].owner)
    }

    fn reaches(&self, from: InstanceId, to: InstanceId) -> bool {
        from == to || self.inner(from).any(|next| self.reaches(next, to))
    }

    /// Edges in the longest chain below an instance, and above it: facts 31 and 32.
    fn below(&self, id: InstanceId) -> usize {
        self.inner(id).map(|next| 1 + self.below(next)).max().unwrap_or(0)
    }

    fn above(&self, id: InstanceId) -> usize {
        self.outer(id).map(|next| 1 + self.above(next)).max().unwrap_or(0)
    }

    /// Whether a source below `object`, or this source, has too many paths of one length to the outermost instances:
    /// facts 36 and 37. Paths of length one are not counted.
    fn too_many_paths(&self, object: Object) -> bool {
        match object {
            Object::Instance(id) => {
                self.instances[id].interests.iter().any(|item| self.too_many_paths(self.items[*item].object))
            }
            Object::Source(id) => {
                let mut paths = [0; MAX_NESTS + 1];
                self.count_paths(&self.sources[id].hooks, 0, &mut paths);
                std::iter::zip(&paths[1..], [500, 100, 50, 10]).any(|(paths, limit)| *paths > limit)
            }
        }
    }

    fn count_paths(&self, hooks: &[ItemId], length: usize, paths: &mut [usize; MAX_NESTS + 1]) {
        for id in hooks {
            let owner = &self.instances[self.items[*id].owner];
            if owner.hooks.is_empty() {
                paths[length] += 1;
            } else {
                self.count_paths(&owner.hooks, length + 1, paths);
            }
        }
    }
}
