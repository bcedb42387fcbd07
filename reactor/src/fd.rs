//! [`Fd`]: any pollable descriptor as a source, exact.
//!
//! At delivery it asks the kernel with a zero-timeout `poll(2)`, as epoll asks the file. What it hears in between comes from
//! arms in the feed, one for each mask: an arm's completions tell the level under its mask, so an interest never sees the
//! edges of another's. All exclusive interests share one arm, with the masks together, since an exclusive walk has to
//! see them in one queue.

use crate::events::Events;
use crate::feed::{Fallen, Token};
use crate::lane::{Armed, LaneInner, Lanes};
use crate::parker::Wakes;
use crate::source::{PollTable, Source};
use crate::sync::{Arc, Mutex};
use crate::wait_queue::WaitQueue;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// A descriptor as a source: sockets, pipes, eventfds, terminals, whatever `poll(2)` understands.
///
/// The interest lives as long as the `Fd` (each `Fd` is a source of its own, also over a dup'ed descriptor). With the
/// `uring` feed edges are exact: every arrival is one. With `poll` an edge is a change from not ready to ready; if the fall
/// before it was not seen it is told up to 10 ms late, and a descriptor that simply stays ready is told again that often.
///
/// ```
/// use egret_reactor::{Event, Eventpoll, Events, Fd};
/// use std::io::Write;
/// use std::os::unix::net::UnixStream;
/// use std::sync::Arc;
///
/// let (mut near, far) = UnixStream::pair()?;
/// let far = Arc::new(Fd::new(far)?);
/// let poll = Eventpoll::new()?;
/// poll.add(&far, 0, Events::IN, 3)?;
/// near.write_all(b"x")?;
/// let mut events = [Event::default(); 4];
/// assert_eq!(poll.wait(&mut events, None)?, 1);
/// assert_eq!(events[0], Event { events: Events::IN, data: 3 });
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Fd<T: AsFd + Send + Sync + 'static> {
    // Dropped after `arms`: see `Drop`.
    io: T,
    arms: Mutex<Vec<Arm>>,
}

struct Arm {
    interest: Events,
    exclusive: bool,
    shared: Arc<ArmQueue>,
    lanes: Lanes,
    lane: Arc<LaneInner>,
    token: Token,
}

/// The part of an arm that the lane calls.
struct ArmQueue {
    queue: WaitQueue,
}

impl Armed for ArmQueue {
    fn fire(&self, level: Events, wakes: &mut Wakes<'_>) {
        self.queue.wake_with(level, wakes);
    }

    /// `poll` tells the lane of every condition that doesn't hold.
    fn lost(&self) {}
}

impl<T: AsFd + Send + Sync + 'static> Fd<T> {
    /// Wraps a descriptor.
    ///
    /// # Errors
    /// `EPERM` for regular files, directories and devices like `/dev/null`, which are always ready and can't be watched; what
    /// `fstat` says.
    pub fn new(io: T) -> io::Result<Self> {
        if !can_be_polled(io.as_fd())? {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        Ok(Self { io, arms: Mutex::new(Vec::new()) })
    }

    /// The wrapped object.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// Makes sure that there is an arm for this interest, and hooks the interest into its queue.
    fn hook(&self, table: &mut PollTable<'_>, lanes: &Lanes) {
        let exclusive = table.interest().contains(Events::EXCLUSIVE);
        let mut interest = table.interest().conditions();
        let mut arms = self.arms.lock();
        let found = arms.iter().position(|arm| {
            arm.lanes.is(lanes) && arm.exclusive == exclusive && (exclusive || arm.interest == interest)
        });
        match found {
            Some(at) if arms[at].interest.contains(interest) => {
                table.register_for_mask(&arms[at].shared.queue);
            }
            Some(at) => {
                // The exclusive arm has to hear more: a new arm with both masks, on the same queue.
                interest |= arms[at].interest;
                let arm = &mut arms[at];
                match arm.lane.arm(self.raw(), interest, Fallen::Watched, arm.shared.clone()) {
                    Ok(token) => {
                        arm.lane.disarm(arm.token, None);
                        (arm.token, arm.interest) = (token, interest);
                        table.register_for_mask(&arm.shared.queue);
                    }
                    Err(error) => table.refuse(error),
                }
            }
            None => {
                self.drop_idle_arms(&mut arms);
                let shared = Arc::new(ArmQueue { queue: WaitQueue::new() });
                let armed = lanes.here().and_then(|lane| {
                    let token = lane.arm(self.raw(), interest, Fallen::Watched, shared.clone())?;
                    Ok((lane, token))
                });
                match armed {
                    Ok((lane, token)) => {
                        table.register_for_mask(&shared.queue);
                        arms.push(Arm { interest, exclusive, shared, lanes: lanes.clone(), lane, token });
                    }
                    Err(error) => table.refuse(error),
                }
            }
        }
    }

    /// Arms whose last hook went with a DEL or a MOD: given up when the next one is made, so that a mask that comes back at
    /// once finds its arm, and masks that don't come back don't pile up.
    fn drop_idle_arms(&self, arms: &mut Vec<Arm>) {
        arms.retain(|arm| {
            let used = !arm.shared.queue.is_empty();
            if !used {
                arm.lane.disarm(arm.token, None);
            }
            used
        });
    }

    fn raw(&self) -> RawFd {
        self.io.as_fd().as_raw_fd()
    }

    /// What holds now, from the kernel.
    fn level(&self, conditions: Events) -> Events {
        let mut poll =
            libc::pollfd { fd: self.raw(), events: (conditions - Events::ALWAYS).bits() as i16, revents: 0 };
        loop {
            // SAFETY: one valid pollfd, and a zero timeout: it can't block.
            match unsafe { libc::poll(&mut poll, 1, 0) } {
                -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                // No memory to ask with: nobody can tell, so whoever is interested shall try.
                -1 => return conditions,
                _ => return Events::from_bits_retain(u32::from(poll.revents as u16)),
            }
        }
    }
}

/// Regular files, directories and the memory devices have no poll operation; epoll refuses them (fact 11).
fn can_be_polled(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `stat` is large enough, and it is read only if the call filled it.
    let stat = unsafe {
        if libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        stat.assume_init()
    };
    Ok(match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG | libc::S_IFDIR => false,
        // mem, null, port, zero, full, urandom (Linux: Documentation/admin-guide/devices.txt); random and kmsg can be polled.
        libc::S_IFCHR if libc::major(stat.st_rdev) == 1 => {
            !matches!(libc::minor(stat.st_rdev), 1 | 3 | 4 | 5 | 7 | 9)
        }
        _ => true,
    })
}

impl<T: AsFd + Send + Sync + 'static> fmt::Debug for Fd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fd").field("fd", &self.raw()).field("arms", &self.arms.lock().len()).finish()
    }
}

impl<T: AsFd + Send + Sync + 'static> Source for Fd<T> {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        if let Some(lanes) = table.lanes() {
            self.hook(table, lanes);
        }
        let conditions = table.interest().conditions();
        let level = self.level(conditions);
        let low = conditions - level;
        if !low.is_empty() {
            // A feed that can't watch a level that is up has to hear that it is down.
            for arm in self.arms.lock().iter() {
                arm.lane.rearm(arm.token, low);
            }
        }
        level
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fd {}", self.raw())
    }
}

impl<T: AsFd + Send + Sync + 'static> Drop for Fd<T> {
    /// An arm pins the file: it ends first, so that the close that follows is felt at once.
    fn drop(&mut self) {
        for arm in std::mem::take(&mut *self.arms.lock()) {
            arm.lane.disarm_now(arm.token);
        }
    }
}
