//! [`Kernel`]: the same script on the running kernel's epoll, with eventfds for counters and dup'ed descriptors for tags.
//! This holds the specification itself to what it specifies.

use crate::drive::Face;
use crate::model::Shown;
use crate::script::{Poke, Script, Shape, Target};
use crate::sleepers::{self, Sleepers};
use egret_reactor::{Event, Events};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

pub struct Kernel {
    shape: Shape,
    sources: Vec<Vec<File>>,
    instances: Vec<Vec<OwnedFd>>,
    sleepers: Sleepers,
}

/// No step has this number.
const ALARM: u64 = u64::MAX;

fn checked(result: libc::c_int) -> Result<libc::c_int, i32> {
    if result < 0 { Err(errno(&io::Error::last_os_error())) } else { Ok(result) }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().expect("the kernel gives a number")
}

fn wait(epoll: RawFd, room: usize, timeout: libc::c_int) -> Vec<Event> {
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; room];
    let count = libc::c_int::try_from(room).unwrap();
    // SAFETY: the descriptor is open, the list has as much room as is said, there is no signal mask.
    let count =
        checked(unsafe { libc::epoll_pwait(epoll, events.as_mut_ptr(), count, timeout, std::ptr::null()) });
    events.truncate(count.unwrap() as usize);
    events
        .iter()
        .map(|event| Event { events: Events::from_bits_retain(event.events), data: event.u64 })
        .collect()
}

impl Kernel {
    pub fn new(script: &Script) -> Self {
        let shape = script.shape;
        assert_eq!(shape.puppets, 0, "the kernel has no puppets");
        let sources = (0..shape.counters).map(|place| Self::eventfd(shape, place)).collect();
        let instances = (0..shape.instances).map(|_| Self::epoll(shape)).collect();
        Self { shape, sources, instances, sleepers: Sleepers::default() }
    }

    fn eventfd(shape: Shape, place: usize) -> Vec<File> {
        let semaphore = if shape.is_semaphore(place) { libc::EFD_SEMAPHORE } else { 0 };
        // SAFETY: no pointers.
        let fd = checked(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC | semaphore) });
        // SAFETY: a new descriptor, nobody else's.
        let file = unsafe { File::from_raw_fd(fd.unwrap()) };
        let copies: Vec<_> = (1..shape.tags).map(|_| file.try_clone().unwrap()).collect();
        std::iter::once(file).chain(copies).collect()
    }

    fn epoll(shape: Shape) -> Vec<OwnedFd> {
        // SAFETY: no pointers.
        let fd = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) });
        // SAFETY: a new descriptor, nobody else's.
        let file = unsafe { OwnedFd::from_raw_fd(fd.unwrap()) };
        let copies: Vec<_> = (1..shape.tags).map(|_| file.try_clone().unwrap()).collect();
        std::iter::once(file).chain(copies).collect()
    }

    fn control(
        &self,
        operation: libc::c_int,
        instance: usize,
        (target, tag): (Target, u64),
        mask: Events,
        data: u64,
    ) -> Result<(), i32> {
        let watched = match target {
            Target::Source(place) => self.sources[place][tag as usize].as_raw_fd(),
            Target::Instance(place) => self.instances[place][tag as usize].as_raw_fd(),
        };
        let mut event = libc::epoll_event { events: mask.bits(), u64: data };
        let epoll = self.instances[instance][0].as_raw_fd();
        // SAFETY: both descriptors are open, the event is valid for the call.
        checked(unsafe { libc::epoll_ctl(epoll, operation, watched, &mut event) }).map(|_| ())
    }
}

/// Threads that slept to the end hear of a source that is always readable.
impl Drop for Kernel {
    fn drop(&mut self) {
        let alarm = &Self::eventfd(self.shape, 0)[0];
        (&*alarm).write_all(&1u64.to_ne_bytes()).unwrap();
        let instances = &self.instances;
        let ring = || {
            for instance in instances {
                let mut event = libc::epoll_event { events: Events::IN.bits(), u64: ALARM };
                // SAFETY: both descriptors are open, the event is valid for the call.
                let added = checked(unsafe {
                    libc::epoll_ctl(
                        instance[0].as_raw_fd(),
                        libc::EPOLL_CTL_ADD,
                        alarm.as_raw_fd(),
                        &mut event,
                    )
                });
                assert!(matches!(added, Ok(_) | Err(libc::EEXIST)), "{added:?}");
            }
        };
        self.sleepers.dismiss(ring, |event| event.data == ALARM);
    }
}

impl Face for Kernel {
    fn add(&mut self, instance: usize, target: Target, tag: u64, mask: Events, data: u64) -> Result<(), i32> {
        self.control(libc::EPOLL_CTL_ADD, instance, (target, tag), mask, data)
    }

    fn modify(
        &mut self,
        instance: usize,
        target: Target,
        tag: u64,
        mask: Events,
        data: u64,
    ) -> Result<(), i32> {
        self.control(libc::EPOLL_CTL_MOD, instance, (target, tag), mask, data)
    }

    fn remove(&mut self, instance: usize, target: Target, tag: u64) -> Result<(), i32> {
        self.control(libc::EPOLL_CTL_DEL, instance, (target, tag), Events::empty(), 0)
    }

    fn poke(&mut self, poke: Poke) -> Result<u64, i32> {
        let place = poke.source();
        let mut file = &self.sources[place][0];
        match poke {
            Poke::Write { number, .. } => {
                file.write(&number.to_ne_bytes()).map(|_| 0).map_err(|error| errno(&error))
            }
            Poke::Read { .. } => {
                let mut value = [0; 8];
                file.read(&mut value).map(|_| u64::from_ne_bytes(value)).map_err(|error| errno(&error))
            }
            Poke::Replace { .. } => {
                let fresh = Self::eventfd(self.shape, place);
                self.sources[place] = fresh;
                Ok(0)
            }
            Poke::Set { .. } | Poke::Fire { .. } | Poke::Become { .. } => {
                unreachable!("the kernel has no puppets")
            }
        }
    }

    fn arm(&mut self, _puppet: usize, _pokes: &[Poke]) {
        unreachable!("the kernel has no puppets");
    }

    fn wait(&mut self, instance: usize, room: usize) -> Vec<Event> {
        wait(self.instances[instance][0].as_raw_fd(), room, 0)
    }

    fn close(&mut self, instance: usize) {
        let fresh = Self::epoll(self.shape);
        self.instances[instance] = fresh;
    }

    fn park(&mut self, instance: usize, thread: usize, room: usize) {
        let epoll = self.instances[instance][0].as_raw_fd();
        let is_inside = |thread| sleepers::is_inside(thread, libc::SYS_epoll_pwait);
        self.sleepers.park(thread, move || wait(epoll, room, -1), is_inside);
    }

    fn returned(&mut self, expected: usize) -> Vec<(usize, Vec<Event>)> {
        self.sleepers.returned(expected)
    }

    fn interests(&self, _instance: usize) -> Option<Vec<Shown>> {
        None
    }

    fn hooked(&self, _source: usize) -> Option<usize> {
        None
    }
}
