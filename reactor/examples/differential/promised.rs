//! What is compared for feeds whose edges are not exact (`poll`, `aio`).
//!
//! * Answers of add, modify and remove: exactly.
//! * Level-triggered interests in descriptors: with `poll` exactly, in every single wait, mask and data. With `aio` as the next: a
//!   wake-up that names no condition (a close, a shutdown) goes through a worker thread of the kernel's, and is heard a moment later.
//! * Edge-triggered ones: what the kernel tells, egret tells too, at the latest after [`PATIENCE`] (the feed looks again every
//!   10 ms); what egret tells beyond that (an edge told again) has to be true at that moment.
//! * Interests in instances: the same, for an inner instance may hold edges. What is beyond the kernel's is not checked there.
//! * Not compared: the order, and how many edges there are. Every wait has room for everything, since with less room the order
//!   decides who is told.

use crate::compare::{Told, Verdict, differ, names};
use crate::egret::Instance;
use crate::kernel;
use crate::objects::Kind;
use crate::world::World;
use egret_reactor::{Events, FeedKind};
use std::thread;
use std::time::{Duration, Instant};

/// How long an edge may take that has to come. Far above 10 ms, for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(1);
const ROOM: usize = 256;

type List = Vec<(u32, u64)>;

pub fn wait(world: &mut World<'_>, instance: &Instance) -> Verdict {
    let names = names(world, instance.file);
    let (kernel, egret) = (kernel::wait(instance.epoll, ROOM), instance.wait(ROOM));
    let (Ok(kernel), Ok(mut egret)) = (kernel.clone(), egret.clone()) else {
        return if kernel == egret {
            Verdict::Same
        } else {
            differ(&Told(&kernel, &names), &Told(&egret, &names))
        };
    };
    let exact = |world: &World<'_>, data: &u64| {
        let Some(target) = names.get(data) else { return true };
        let edge = world.files[instance.file].interests[target].mask & Events::ET.bits() != 0;
        let nested = world.handles.get(target).is_some_and(|h| world.files[h.file].kind == Kind::Instance);
        !edge && !nested && world.setting.lanes.feed() != FeedKind::Aio
    };
    let only = |world: &World<'_>, of: &List, not: &List| -> List {
        of.iter()
            .filter(|event| !not.contains(event) && !is_spent(world, instance, event.1))
            .copied()
            .collect()
    };
    // An inner instance wakes with IN alone. An edge in it that is told later reaches no interest that doesn't ask for that.
    let deaf = |world: &World<'_>, data: &u64| {
        names.get(data).is_some_and(|target| {
            let nested =
                world.handles.get(target).is_some_and(|h| world.files[h.file].kind == Kind::Instance);
            nested && world.files[instance.file].interests[target].mask & Events::IN.bits() == 0
        })
    };
    let first = egret.clone();
    let end = Instant::now() + PATIENCE;
    loop {
        let mut missing = only(world, &kernel, &egret);
        missing.retain(|(_, data)| !deaf(world, data));
        if missing.iter().any(|(_, data)| exact(world, data)) || (!missing.is_empty() && Instant::now() > end)
        {
            return differ(&Told(&Ok(kernel), &names), &Told(&Ok(egret), &names));
        }
        if missing.is_empty() {
            break;
        }
        thread::sleep(PAUSE);
        match instance.wait(ROOM) {
            Ok(more) => egret.extend(more),
            Err(code) => return differ(&Told(&Ok(kernel), &names), &Told(&Err(code), &names)),
        }
    }
    let beyond = only(world, &egret, &kernel);
    for (mask, data) in &beyond {
        let Some(target) = names.get(data) else {
            return differ(&Told(&Ok(kernel), &names), &Told(&Ok(first), &names));
        };
        let Some(handle) = world.handles.get(target) else { continue };
        let is_true = match world.files[handle.file].kind {
            Kind::Instance => true,
            _ => kernel::level(&handle.fd, *mask) & mask == *mask,
        };
        if exact(world, data) || !is_true {
            return differ(&Told(&Ok(kernel), &names), &Told(&Ok(first), &names));
        }
        if let Some(interest) = world.files[instance.file].interests.get_mut(target)
            && interest.mask & Events::ONESHOT.bits() != 0
        {
            // Told by egret alone: it is silent there from now on, until it is modified.
            interest.spent = true;
        }
    }
    Verdict::Same
}

fn is_spent(world: &World<'_>, instance: &Instance, data: u64) -> bool {
    world.files[instance.file].interests.values().any(|interest| interest.data == data && interest.spent)
}
