//! [`Context`]: one context of Linux AIO: its five system calls, and its ring of completions in shared memory.
//!
//! The number that `io_setup` gives out is the address of the ring (`struct aio_ring` in the kernel's fs/aio.c):
//!
//! ```text
//!   id │ nr │ head │ tail │ magic │ compat │ incompat │ header_length │ event 0 │ event 1 │ … │ event nr-1
//!             ▲      ▲
//!             │      └─ moved by the kernel, when it has written an event
//!             └─ moved by whoever takes events: io_pgetevents (under a lock of the kernel's), or user space
//! ```
//!
//! Nothing keeps user space and a thread inside `io_pgetevents` from taking the same event: that is [`read`](Context::read)'s
//! contract, and the feed's business.

use crate::events::Events;
use crate::fork::Birthplace;
use crate::sync::{Arc, AtomicUsize, Ordering};
use std::cell::UnsafeCell;
use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
// Shared with the kernel, so never a model's.
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Linux: include/uapi/linux/aio_abi.h.
const IOCB_CMD_POLL: u16 = 5;
/// Linux: fs/aio.c, `AIO_RING_MAGIC`.
const MAGIC: u32 = 0xa10a_10a1;

/// io_pgetevents(2), which libc doesn't name everywhere. Not io_getevents(2), which also ends with EINTR when the thread only
/// had work to do for the kernel (a ring's), where the other one goes on; it is the second best.
const IO_PGETEVENTS: libc::c_long = if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
    333
} else if cfg!(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64")) {
    292
} else {
    libc::SYS_io_getevents
};

/// `struct iocb`.
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    #[cfg(target_endian = "little")]
    key: u32,
    rw_flags: u32,
    #[cfg(target_endian = "big")]
    key: u32,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    event_fd: u32,
}

/// A request to poll. The kernel copies it when it is submitted; after that its address is its name, for cancelling.
pub(super) struct Request(Box<UnsafeCell<Iocb>>);

impl Request {
    pub(super) fn new() -> Self {
        Self(Box::default())
    }

    /// `data` comes back with the completion. ERR and HUP are told unasked.
    pub(super) fn aim(&mut self, data: u64, fd: RawFd, asked: Events) {
        let buffer = u64::from(asked.bits() as u16);
        *self.0.get_mut() = Iocb { data, opcode: IOCB_CMD_POLL, fd: fd as u32, buffer, ..Iocb::default() };
    }

    pub(super) fn name(&self) -> Name {
        Name(self.0.get())
    }
}

/// The address of a [`Request`].
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Name(*mut Iocb);

impl Name {
    pub(super) const NONE: Name = Name(std::ptr::null_mut());

    #[cfg(test)]
    pub(super) fn address(self) -> usize {
        self.0.addr()
    }
}

/// `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct IoEvent {
    pub(super) data: u64,
    object: u64,
    /// Conditions; of a cancelled request, 0.
    pub(super) result: i64,
    second: i64,
}

/// `struct aio_ring` without its events.
#[repr(C)]
struct Ring {
    id: AtomicU32,
    slots: AtomicU32,
    head: AtomicU32,
    tail: AtomicU32,
    magic: AtomicU32,
    compatible: AtomicU32,
    incompatible: AtomicU32,
    header_length: AtomicU32,
}

pub(super) struct Context {
    id: libc::c_ulong,
    capacity: usize,
    /// None if the ring is none that this code understands.
    ring: Option<NonNull<Ring>>,
    /// How many contexts of this feed the kernel still has: the end of one takes a while.
    alive: Arc<AtomicUsize>,
    birthplace: Birthplace,
}

// SAFETY: the ring is memory of the process; its words are atomics, and `read` says who may look at the events.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

fn checked(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_negative| io::Error::last_os_error())
}

impl Context {
    /// Room for `capacity` requests in flight, counted against fs.aio-max-nr. (The kernel makes more than twice as many
    /// slots, but each processor may keep some of them to itself: `ioctx_alloc`.)
    pub(super) fn new(capacity: usize, alive: &Arc<AtomicUsize>) -> io::Result<Self> {
        let mut id: libc::c_ulong = 0;
        let size = libc::c_uint::try_from(capacity).unwrap_or(libc::c_uint::MAX);
        // SAFETY: `id` is zero, as it has to be, and is written to if the call succeeds.
        checked(unsafe { libc::syscall(libc::SYS_io_setup, size, &raw mut id) })?;
        alive.fetch_add(1, Ordering::SeqCst);
        let mut context =
            Self { id, capacity, ring: None, alive: alive.clone(), birthplace: Birthplace::here() };
        if let Some(ring) = NonNull::new(id as *mut Ring) {
            // SAFETY: the context's number is the address of its ring, mapped until `io_destroy`; the words are atomics.
            let header = unsafe { ring.as_ref() };
            if header.magic.load(Ordering::Relaxed) == MAGIC
                && header.incompatible.load(Ordering::Relaxed) == 0
                && header.header_length.load(Ordering::Relaxed) as usize == size_of::<Ring>()
            {
                let length = size_of::<Ring>() + context.slots_of(header) as usize * size_of::<IoEvent>();
                // SAFETY: this is the ring's mapping. A forked child shall not have it: it is shared, and whatever the child
                // did there would be done to the parent. If it can't be had, the child still has no reason to go there.
                unsafe { libc::madvise(ring.as_ptr().cast(), length, libc::MADV_DONTFORK) };
                context.ring = Some(ring);
            }
        }
        Ok(context)
    }

    fn slots_of(&self, ring: &Ring) -> u32 {
        ring.slots.load(Ordering::Relaxed)
    }

    /// As if the ring were none that this code understands.
    #[cfg(test)]
    pub(super) fn be_blind(&mut self) {
        self.ring = None;
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Submits the first of `requests`, at least one; an error is about the first.
    pub(super) fn submit(&self, requests: &[Name]) -> io::Result<usize> {
        debug_assert!(!requests.is_empty());
        // SAFETY: every name is the address of a live request (the caller keeps them in its slab), which the kernel reads,
        // and marks, before the call returns.
        checked(unsafe {
            libc::syscall(libc::SYS_io_submit, self.id, requests.len() as libc::c_long, requests.as_ptr())
        })
    }

    /// Asks for the end of a request, whose completion comes like any other. False if it is under way already.
    pub(super) fn cancel(&self, request: &Request) -> io::Result<bool> {
        let mut unused = IoEvent::default();
        // SAFETY: the request is alive, and nowadays nothing is written to the event.
        let result = checked(unsafe {
            libc::syscall(libc::SYS_io_cancel, self.id, request.name().0, &raw mut unused)
        });
        match result {
            Ok(_) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINPROGRESS) => Ok(true),
                Some(libc::EINVAL) => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Takes events through the kernel, which does it one thread at a time. Blocks until there is one, at most for
    /// `timeout`.
    pub(super) fn wait(&self, events: &mut [IoEvent], timeout: Option<Duration>) -> io::Result<usize> {
        let at_least = libc::c_long::from(timeout != Some(Duration::ZERO));
        let timespec = timeout.map(|t| libc::timespec {
            tv_sec: t.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        let timespec = timespec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the events are valid for their number, the timespec lives until the call returns, and no mask is given.
        checked(unsafe {
            libc::syscall(
                IO_PGETEVENTS,
                self.id,
                at_least,
                events.len() as libc::c_long,
                events.as_mut_ptr(),
                timespec,
                std::ptr::null::<libc::sigset_t>(),
            )
        })
    }

    /// Whether there seem to be events. True also if the ring can't be read.
    pub(super) fn has_events(&self) -> bool {
        let Some(ring) = self.ring else { return true };
        // SAFETY: mapped as long as `self`; its words are atomics.
        let ring = unsafe { ring.as_ref() };
        ring.head.load(Ordering::Relaxed) != ring.tail.load(Ordering::Acquire)
    }

    /// Takes events without a system call, if the ring is one that can be read; else through the kernel.
    ///
    /// # Safety
    /// No other thread is in [`wait`](Self::wait) or in this function, for the same context.
    pub(super) unsafe fn read(&self, events: &mut [IoEvent]) -> io::Result<usize> {
        let Some(pointer) = self.ring else { return self.wait(events, Some(Duration::ZERO)) };
        // SAFETY: mapped as long as `self`; its words are atomics.
        let ring = unsafe { pointer.as_ref() };
        let slots = self.slots_of(ring);
        let mut head = ring.head.load(Ordering::Relaxed);
        let tail = ring.tail.load(Ordering::Acquire);
        if slots == 0 || head >= slots {
            // Nobody but the kernel and this code writes there.
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        let mut taken = 0;
        while head != tail && taken < events.len() {
            // SAFETY: `head` is below `slots`, and that many events follow the header. The kernel has finished this one (it
            // moved the tail past it, see the acquire) and won't write there before the head has passed.
            events[taken] = unsafe { pointer.add(1).cast::<IoEvent>().add(head as usize).read() };
            taken += 1;
            head = if head + 1 == slots { 0 } else { head + 1 };
        }
        ring.head.store(head, Ordering::Release);
        Ok(taken)
    }
}

impl Drop for Context {
    /// The kernel cancels what is in flight, waits for it, and for two grace periods of its RCU besides: 30 ms (measured).
    /// Nobody needs to wait for that here; if there can be no thread for it, it is done here all the same.
    fn drop(&mut self) {
        if self.birthplace.check().is_err() {
            // A forked child has neither the context nor its ring.
            return;
        }
        let (id, alive) = (self.id, self.alive.clone());
        let end = move || {
            // SAFETY: nobody uses the context or its ring any more.
            unsafe { libc::syscall(libc::SYS_io_destroy, id) };
            alive.fetch_sub(1, Ordering::SeqCst);
        };
        if std::thread::Builder::new().name("egret-aio-end".to_owned()).spawn(end.clone()).is_err() {
            end();
        }
    }
}
