//! Egret's side: the same operations through `Eventpoll`, with errno as answers.

use egret_reactor::{Event, Eventpoll, Events, Fd};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// What an instance watches.
#[derive(Clone)]
pub enum Source {
    Fd(Arc<Fd<Arc<OwnedFd>>>),
    Instance(Eventpoll),
}

impl Source {
    pub fn over(fd: &Arc<OwnedFd>) -> io::Result<Self> {
        Ok(Source::Fd(Arc::new(Fd::new(fd.clone())?)))
    }

    /// Whether two descriptors of one file share a source. (Those of an instance do.)
    pub fn is(&self, other: &Source) -> bool {
        match (self, other) {
            (Source::Fd(a), Source::Fd(b)) => Arc::ptr_eq(a, b),
            (Source::Instance(_), Source::Instance(_)) => true,
            _ => false,
        }
    }
}

/// Both faces of an instance.
pub struct Instance {
    pub epoll: RawFd,
    pub egret: Eventpoll,
    /// Index of its file in the world.
    pub file: usize,
}

impl Instance {
    pub fn control(
        &self,
        operation: libc::c_int,
        source: &Source,
        tag: u64,
        mask: u32,
        data: u64,
    ) -> Result<(), i32> {
        let mask = Events::from_bits_retain(mask);
        let poll = &self.egret;
        let result = match (operation, source) {
            (libc::EPOLL_CTL_ADD, Source::Fd(fd)) => poll.add(fd, tag, mask, data),
            (libc::EPOLL_CTL_ADD, Source::Instance(inner)) => poll.add(inner, tag, mask, data),
            (libc::EPOLL_CTL_MOD, Source::Fd(fd)) => poll.modify(fd, tag, mask, data),
            (libc::EPOLL_CTL_MOD, Source::Instance(inner)) => poll.modify(inner, tag, mask, data),
            (_, Source::Fd(fd)) => poll.remove(fd, tag),
            (_, Source::Instance(inner)) => poll.remove(inner, tag),
        };
        result.map_err(errno)
    }

    /// Masks and data, with a zero timeout.
    pub fn wait(&self, max: usize) -> Result<Vec<(u32, u64)>, i32> {
        let mut events = vec![Event::default(); max];
        let n = self.egret.wait(&mut events, Some(Duration::ZERO)).map_err(errno)?;
        Ok(events[..n].iter().map(|event| (event.events.bits(), event.data)).collect())
    }
}

fn errno(error: io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

/// What egret says of a file that can't be polled: it already refuses to make a source of it.
pub fn refused(file: &std::fs::File) -> Result<(), i32> {
    let file = file.try_clone().map_err(errno)?;
    Fd::new(OwnedFd::from(file)).map(drop).map_err(errno)
}
