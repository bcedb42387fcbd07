//! What both sides answered, and whether that is the same.
//!
//! With a feed whose edges are exact everything has to be: errno, masks, data, how many, and the order. Two differences are
//! known, and only these are let pass (each is counted, and ends its script, for the two sides are not in the same state any
//! more):
//!
//! * **siblings**: two `Fd`s over one file (`dup`). The kernel's queue holds one hook for each interest, egret's `Fd`s keep
//!   theirs together, so events of *such a file* may stand at other places, and keep them for a while.
//!   The same for two interests in one unix socket, where the peer has read and then written before egret looked: an answer
//!   for OUT that is followed by one for several IN looks like a single wake-up for everybody.
//! * **unnamed**: a wake-up that names no condition (shutdown) while an interest is not ready. The kernel puts it on its list
//!   all the same and drops it when it is asked; io_uring says nothing. If it comes true meanwhile it is told, but at
//!   another place among the events; and an edge-triggered outer instance may see one edge more in the kernel. Looked for
//!   only between such a wake-up and the next wait that emptied the list.
//!
//! For other feeds see [`crate::promised`].

use crate::promised;
use crate::script::{Number, mask_name};
use crate::world::World;
use std::collections::BTreeMap;
use std::fmt;

pub type Events = Result<Vec<(u32, u64)>, i32>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Same,
    /// One of the known differences.
    Siblings,
    Unnamed,
    /// TCP did not come to rest, so there was nothing to compare.
    Restless,
    Differ(Difference),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub kernel: String,
    pub egret: String,
}

impl Verdict {
    pub fn and(self, other: Verdict) -> Verdict {
        if self == Verdict::Same { other } else { self }
    }
}

/// An answer without events.
pub struct Answer;

impl Answer {
    pub fn both(kernel: Result<(), i32>, egret: Result<(), i32>) -> Verdict {
        if kernel == egret { Verdict::Same } else { differ(&Errno(kernel.err()), &Errno(egret.err())) }
    }
}

struct Errno(Option<i32>);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("ok"),
            Some(code) => write!(f, "{}", std::io::Error::from_raw_os_error(code)),
        }
    }
}

pub fn differ(kernel: &dyn fmt::Display, egret: &dyn fmt::Display) -> Verdict {
    Verdict::Differ(Difference { kernel: kernel.to_string(), egret: egret.to_string() })
}

/// Events as text, by the numbers of their targets.
pub struct Told<'a>(pub &'a Events, pub &'a BTreeMap<u64, Number>);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = match self.0 {
            Ok(events) => events,
            Err(code) => return Errno(Some(*code)).fmt(f),
        };
        f.write_str("[")?;
        for (index, (mask, data)) in events.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match self.1.get(data) {
                Some(target) => write!(f, "{comma}{target}: {}", mask_name(*mask))?,
                None => write!(f, "{comma}data {data:#x}: {}", mask_name(*mask))?,
            }
        }
        f.write_str("]")
    }
}

/// One wait on both sides, the kernel's first.
pub fn wait(world: &mut World<'_>, number: Number, max: usize) -> Verdict {
    let Some(instance) = world.instance(number) else { return Verdict::Same };
    if !world.setting.exact && max > 0 {
        return promised::wait(world, &instance);
    }
    let kernel = crate::kernel::wait(instance.epoll, max);
    let egret = instance.wait(max);
    let file = instance.file;
    if kernel == egret {
        if kernel.is_ok_and(|events| events.len() < max) {
            world.files[file].suspect = false;
        }
        return Verdict::Same;
    }
    if let (Ok(kernel), Ok(egret)) = (&kernel, &egret) {
        if siblings(world, file, kernel, egret, max) {
            return Verdict::Siblings;
        }
        if world.files[file].suspect && unnamed(world, file, kernel, egret, max) {
            return Verdict::Unnamed;
        }
    }
    let names = names(world, file);
    differ(&Told(&kernel, &names), &Told(&egret, &names))
}

/// Which target an interest's data belongs to.
pub fn names(world: &World<'_>, file: usize) -> BTreeMap<u64, Number> {
    world.files[file].interests.iter().map(|(target, interest)| (interest.data, *target)).collect()
}

/// Whether only events of files with several `Fd`s have changed places.
fn siblings(world: &World<'_>, file: usize, kernel: &[(u32, u64)], egret: &[(u32, u64)], max: usize) -> bool {
    let names = names(world, file);
    let tangled = |data: &u64| {
        let handle = names.get(data).and_then(|target| world.handles.get(target));
        handle.is_some_and(|handle| is_tangled(world, handle.file))
    };
    let others = |events: &[(u32, u64)]| -> Vec<(u32, u64)> {
        events.iter().filter(|event| !tangled(&event.1)).copied().collect()
    };
    let (first, second) = (others(kernel), others(egret));
    let cut = kernel.len() == max && egret.len() == max;
    let same = if cut { first.len().min(second.len()) } else { first.len().max(second.len()) };
    // Without a cut nothing may be missing or beyond, in whatever place.
    let complete = cut || kernel.len() == egret.len() && kernel.iter().all(|event| egret.contains(event));
    complete && first.iter().take(same).eq(second.iter().take(same))
}

fn is_instance(world: &World<'_>, file: Option<usize>) -> bool {
    file.is_some_and(|file| world.files[file].kind == crate::objects::Kind::Instance)
}

/// A file with several `Fd`s (or a unix socket where events have met), or an instance that watches one.
fn is_tangled(world: &World<'_>, file: usize) -> bool {
    world.files[file].sources > 1
        || world.files[file].met
        || world.files[file]
            .interests
            .keys()
            .any(|target| world.handles.get(target).is_some_and(|handle| is_tangled(world, handle.file)))
}

/// Whether the same events came in another order, or the kernel has told of a nested instance once more.
fn unnamed(world: &World<'_>, file: usize, kernel: &[(u32, u64)], egret: &[(u32, u64)], max: usize) -> bool {
    let names = names(world, file);
    let nested = |data: &u64| {
        let handle = names.get(data).and_then(|target| world.handles.get(target));
        is_instance(world, handle.map(|handle| handle.file))
    };
    let cut = kernel.len() == max && egret.len() == max;
    let more = kernel.iter().all(|event| egret.contains(event) || nested(&event.1));
    let less = egret.iter().all(|event| kernel.contains(event));
    cut || (more && less)
}
