//! Sources: what they hold, what they say, how they end.

use super::{Model, Object, SourceId, State};
use crate::script::Poke;
use egret_reactor::Events;

impl Model {
    /// What holds now.
    pub(super) fn poll(&mut self, id: SourceId) -> Events {
        self.asked.push(id);
        if let State::Puppet { armed, .. } = &mut self.sources[id].state {
            for poke in std::mem::take(armed) {
                // As in the engine, nobody asks what came of it.
                let _ = self.poke_now(poke);
            }
        }
        match self.sources[id].state {
            State::Puppet { ready, .. } => ready,
            State::Counter { value, .. } => {
                let mut now = Events::empty();
                now.set(Events::IN, value > 0);
                now.set(Events::OUT, value < u64::MAX - 1);
                now
            }
        }
    }

    pub(super) fn poke_now(&mut self, poke: Poke) -> Result<u64, i32> {
        match poke {
            Poke::Write { source, number } => self.write(self.source_in[source], number),
            Poke::Read { source } => self.read(self.source_in[source]),
            Poke::Set { source, ready } => {
                self.set(self.source_in[source], ready);
                Ok(0)
            }
            Poke::Fire { source, key } => {
                self.wake(Object::Source(self.source_in[source]), key);
                Ok(0)
            }
            Poke::Become { source, ready } => {
                self.set(self.source_in[source], ready);
                self.wake(Object::Source(self.source_in[source]), ready);
                Ok(0)
            }
            Poke::Replace { source } => {
                self.replace(source);
                Ok(0)
            }
        }
    }

    fn set(&mut self, id: SourceId, now: Events) {
        if let State::Puppet { ready, .. } = &mut self.sources[id].state {
            *ready = now;
        }
    }

    /// Every write is an arrival, also one to a counter that is readable already: 60.
    fn write(&mut self, id: SourceId, number: u64) -> Result<u64, i32> {
        let State::Counter { value, .. } = &mut self.sources[id].state else { return Err(libc::EBADF) };
        if number == u64::MAX {
            return Err(libc::EINVAL);
        }
        *value = value.checked_add(number).filter(|sum| *sum < u64::MAX).ok_or(libc::EAGAIN)?;
        self.wake(Object::Source(id), Events::IN);
        Ok(0)
    }

    fn read(&mut self, id: SourceId) -> Result<u64, i32> {
        let State::Counter { value, semaphore } = &mut self.sources[id].state else {
            return Err(libc::EBADF);
        };
        let taken = if *semaphore { (*value).min(1) } else { *value };
        if taken == 0 {
            return Err(libc::EAGAIN);
        }
        *value -= taken;
        self.wake(Object::Source(id), Events::OUT);
        Ok(taken)
    }

    /// The last reference to a source goes, unless an operation holds one; a new one takes its place.
    fn replace(&mut self, place: usize) {
        let old = self.source_in[place];
        if self.asked.contains(&old) {
            self.let_go.push(old);
        } else {
            self.source_gone(old);
        }
        self.source_in[place] = self.sources.len();
        self.sources.push(Self::source(self.shape, place));
    }

    /// Interests in it vanish without an event: 91, 93.
    pub(super) fn source_gone(&mut self, id: SourceId) {
        for item in self.sources[id].hooks.clone() {
            self.vanish(item);
        }
    }
}
