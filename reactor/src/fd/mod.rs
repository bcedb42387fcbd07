//! [`Fd`]: any pollable descriptor as a source, exact.
//!
//! At delivery it asks the kernel with a zero-timeout `poll(2)`, as epoll asks the file. What it hears in between comes from
//! arms in the feed. All interests that come through the same lanes stand in one queue, in the order that the kernel's would
//! have ([`wait_queue`](crate::wait_queue)), and the arms walk it ([`ear`]):
//!
//! | arm    | hears                                       | made when an interest wants   |
//! |--------|---------------------------------------------|-------------------------------|
//! | input  | IN, RDNORM, RDBAND, PRI, RDHUP; ERR and HUP | one of the first five         |
//! | output | OUT, WRNORM, WRBAND; ERR and HUP            | one of the first three        |
//! | errors | ERR and HUP                                 | none of these, and there is no input arm |
//!
//! Not one for all, because an answer may tell the level instead of what has happened (io_uring asks the file again when several
//! wake-ups met): one arm for both directions would show one interest the other's edges. Within a direction the kernel's own
//! wake-ups don't tell the conditions apart either.
//!
//! A life of an arm:
//!
//! ```text
//!            ADD or MOD wants it: armed, submitted       what held already was taken in
//!   (none) ───────────────────────────────────► deaf ───────────────────────────────────► hears
//!      ▲                                                                                    │
//!      └── the one interest that is left doesn't want it (MOD), or was the last (DEL) ──────┘
//! ```
//!
//! Deaf, because an arm starts by reporting what holds, and that is no event for the interests that stand there already; the one
//! that is being added or changed is polled right after.
//!
//! Known differences to the kernel's queue, all in who hears of one single wake-up and in which order:
//! * `Fd`s over dup'ed descriptors don't know of each other: each keeps its interests together, where the kernel has all of a
//!   file's in one row. (Two tags in one `Fd` are in one row.)
//! * A wake-up that names no condition (a shutdown) is heard only if something holds. The kernel puts an interest on its list
//!   all the same, and drops it when it is asked; if it has come true meanwhile, it stands at the earlier place.
//! * On a unix socket an OUT that is followed by several IN in one call looks like a wake-up for everybody: these interests hear
//!   in the order of the queue.
//! * Two wake-ups that met after one direction has ended are told to those who want nothing but RDHUP, too.
//! * A wake-up that meets a standing error or hang-up in one answer reaches all exclusive interests, as these ends do.
//! * A terminal in packet mode (`TIOCPKT`) wakes with nothing but PRI, which io_uring passes over.

mod ear;

use crate::events::Events;
use crate::feed::{Fallen, Token};
use crate::lane::{LaneInner, Lanes};
use crate::source::{PollTable, Source};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};
use ear::{Direction, Ear, INPUT, OUTPUT, Queue};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// A descriptor as a source: sockets, pipes, eventfds, terminals, whatever `poll(2)` understands.
///
/// The interest lives as long as the `Fd` (each `Fd` is a source of its own, also over a dup'ed descriptor). With the
/// `uring` feed edges are exact: every arrival is one. With `aio` and `poll` an edge is a change from not ready to ready; if
/// the fall before it was not seen it is told up to 10 ms late, and a descriptor that simply stays ready is told again that
/// often.
///
/// An interest that has fired under [`Events::ONESHOT`] is silent, but its descriptor stays armed: each arrival costs the thread that
/// blocks in the feed a look. Remove an interest that shall rest for long.
///
/// A thread that has added an `Fd` may see [`Interrupted`](io::ErrorKind::Interrupted) from its own blocking calls that have a timeout
/// (`SO_RCVTIMEO`, `SO_SNDTIMEO`): with `uring` the kernel works for the ring in that thread, as it would run a signal handler.
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
    // Dropped after the arms: see `Drop`.
    io: T,
    is_socket: bool,
    groups: Mutex<Vec<Group>>,
}

/// The interests that come through one choice of lanes, and the arms that serve them.
struct Group {
    lanes: Lanes,
    lane: Arc<LaneInner>,
    queue: Arc<Queue>,
    /// By [`Direction`].
    arms: [Option<Token>; 3],
    /// How many were ever made.
    made: u64,
    /// Arms that were given up with the last interest: the file may be pinned until the lane has submitted that.
    ending: Vec<Token>,
}

impl Group {
    /// Makes sure of the arms for this interest, which is about to be added or was just changed.
    fn arm_for(&mut self, fd: RawFd, interest: Events, alone: bool) -> io::Result<()> {
        let mut new = Vec::new();
        let mut result = Direction::ALL.into_iter().try_for_each(|direction| {
            let missing = self.arms[direction as usize].is_none() && direction.serves(interest);
            let has_input = self.arms[Direction::Input as usize].is_some();
            let redundant = direction == Direction::Errors && has_input && !alone;
            if !missing || redundant {
                return Ok(());
            }
            let deaf = AtomicBool::new(self.lane.counts_arrivals());
            let ear = Arc::new(Ear { direction, queue: self.queue.clone(), deaf });
            let token = self.lane.arm(fd, direction.conditions(), Fallen::Watched, ear.clone())?;
            self.arms[direction as usize] = Some(token);
            self.made += 1;
            self.queue.ages[direction as usize].store(self.made, Ordering::SeqCst);
            new.push(ear);
            Ok(())
        });
        if result.is_ok() && !new.is_empty() {
            result = self.lane.catch_up();
        }
        // Also after an error: these arms stay, for the next interest.
        for ear in new {
            ear.deaf.store(false, Ordering::SeqCst);
        }
        self.name_arms();
        result
    }

    /// Gives up arms that this interest, the only one, doesn't need. (With others the answers of an arm that is given up
    /// could be for them.)
    fn disarm_for(&mut self, interest: Events) {
        for direction in Direction::ALL {
            if direction.serves(interest) {
                continue;
            }
            if let Some(token) = self.arms[direction as usize].take() {
                self.name_arms();
                self.lane.disarm(token, None);
            }
        }
    }

    /// The last interest is gone: what arrives concerns nobody, and must not wake who blocks in the feed.
    fn disarm_all(&mut self) {
        self.ending.retain(|token| self.lane.knows(*token));
        for direction in Direction::ALL {
            if let Some(token) = self.arms[direction as usize].take() {
                self.lane.disarm(token, None);
                self.ending.push(token);
            }
        }
        self.name_arms();
    }

    fn name_arms(&self) {
        for direction in Direction::ALL {
            let token = self.arms[direction as usize].unwrap_or(Token::NONE);
            let before = self.queue.tokens[direction as usize].swap(token.0, Ordering::SeqCst);
            if direction != Direction::Output && before != token.0 {
                // Errors come and go: an older arm's answer may be under way with one that this arm has not heard of.
                self.queue.told.fetch_and(Events::HUP.bits(), Ordering::SeqCst);
            }
        }
    }
}

impl<T: AsFd + Send + Sync + 'static> Fd<T> {
    /// Wraps a descriptor.
    ///
    /// # Errors
    /// `EPERM` for files, directories and devices like `/dev/null`, which are always ready and can't be watched; `EBADF` for a
    /// descriptor that only names a file (`O_PATH`), and what `fstat` says.
    pub fn new(io: T) -> io::Result<Self> {
        let stat = status(io.as_fd())?;
        if names_only(io.as_fd())? {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        if !can_be_polled(io.as_fd(), &stat) {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        let is_socket = stat.st_mode & libc::S_IFMT == libc::S_IFSOCK;
        Ok(Self { io, is_socket, groups: Mutex::new(Vec::new()) })
    }

    /// The wrapped object.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// Makes sure that there are arms for this interest, and hooks the interest into the queue.
    fn hook(&self, table: &mut PollTable<'_>, lanes: &Lanes) -> io::Result<()> {
        let interest = table.interest().conditions();
        let mut groups = self.groups.lock();
        let at = match groups.iter().position(|group| group.lanes.is(lanes)) {
            Some(at) => at,
            None => {
                let (lane, queue) = (lanes.here()?, Arc::new(Queue::new(self.is_socket)));
                // Lanes that are used no more need not be kept by this.
                groups.retain(|group| !group.queue.hooks.is_empty());
                let lanes = lanes.clone();
                groups.push(Group { lanes, lane, queue, arms: [None; 3], made: 0, ending: Vec::new() });
                groups.len() - 1
            }
        };
        let group = &mut groups[at];
        let alone = group.queue.hooks.len() == usize::from(table.is_modifying());
        group.arm_for(self.raw(), interest, alone)?;
        if alone {
            group.disarm_for(interest);
        }
        table.register(&group.queue.hooks);
        let ends = self.level(Events::empty()) & Events::ALWAYS;
        if alone {
            // It is polled next, and finds them itself.
            group.queue.told.store(ends.bits(), Ordering::SeqCst);
        } else {
            group.queue.told.fetch_and(ends.bits(), Ordering::SeqCst);
        }
        Ok(())
    }

    fn raw(&self) -> RawFd {
        self.io.as_fd().as_raw_fd()
    }

    /// What holds now, from the kernel.
    fn level(&self, conditions: Events) -> Events {
        level_of(self.raw(), conditions)
    }
}

fn level_of(fd: RawFd, conditions: Events) -> Events {
    let mut poll = libc::pollfd { fd, events: (conditions - Events::ALWAYS).bits() as i16, revents: 0 };
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

/// What else doesn't hold if these don't: an arm watches all of a direction.
fn with_companions(low: Events) -> Events {
    let mut low = low;
    if low.contains(Events::IN) {
        low |= Events::RDNORM | Events::RDBAND;
    }
    if low.contains(Events::OUT) {
        low |= Events::WRNORM | Events::WRBAND;
    }
    low
}

fn status(fd: BorrowedFd<'_>) -> io::Result<libc::stat> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `stat` is large enough, and it is read only if the call filled it.
    unsafe {
        if libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stat.assume_init())
    }
}

/// Whether the descriptor was opened with `O_PATH`: it names a file and isn't one.
fn names_only(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: takes no pointers.
    match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) } {
        -1 => Err(io::Error::last_os_error()),
        flags => Ok(flags & libc::O_PATH != 0),
    }
}

/// What `poll(2)` says of a file without a poll operation (the kernel's `DEFAULT_POLLMASK`).
const NEVER_POLLED: Events = Events::IN.union(Events::OUT).union(Events::RDNORM).union(Events::WRNORM);

/// Files without a poll operation are refused by epoll (fact 11). Only epoll could be asked; so this goes by the type, and for
/// regular files, of which some in `/proc` and `/sys` can be polled, by what they say.
fn can_be_polled(fd: BorrowedFd<'_>, stat: &libc::stat) -> bool {
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFDIR | libc::S_IFBLK => false,
        libc::S_IFREG => level_of(fd.as_raw_fd(), INPUT | OUTPUT) != NEVER_POLLED,
        // mem, null, port, zero, full, urandom (Linux: Documentation/admin-guide/devices.txt); random and kmsg can be polled.
        libc::S_IFCHR if libc::major(stat.st_rdev) == 1 => {
            !matches!(libc::minor(stat.st_rdev), 1 | 3 | 4 | 5 | 7 | 9)
        }
        _ => true,
    }
}

impl<T: AsFd + Send + Sync + 'static> fmt::Debug for Fd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arms: usize = self.groups.lock().iter().map(|group| group.arms.iter().flatten().count()).sum();
        f.debug_struct("Fd").field("fd", &self.raw()).field("arms", &arms).finish()
    }
}

impl<T: AsFd + Send + Sync + 'static> Source for Fd<T> {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        if let Some(lanes) = table.lanes()
            && let Err(error) = self.hook(table, lanes)
        {
            table.refuse(error);
        }
        let conditions = table.interest().conditions();
        let level = self.level(conditions);
        let low = conditions - level;
        if !low.is_empty() {
            // A feed that can't watch a level that is up has to hear that it is down.
            for group in self.groups.lock().iter() {
                for token in group.arms.iter().flatten() {
                    group.lane.rearm(*token, with_companions(low));
                }
            }
        }
        level
    }

    fn catch_up(&self, lanes: &Lanes) {
        let armed =
            self.groups.lock().iter().find(|group| group.lanes.is(lanes)).map(|group| group.lane.clone());
        // Not armed yet: its arms will see to that.
        if let Some(lane) = armed {
            // Without memory to submit with: it is made up for by the next wait.
            let _put_off = lane.catch_up();
        }
    }

    fn unwatched(&self, lanes: &Lanes) {
        let mut groups = self.groups.lock();
        if let Some(group) = groups.iter_mut().find(|group| group.lanes.is(lanes))
            && group.queue.hooks.is_empty()
        {
            group.disarm_all();
        }
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fd {}", self.raw())
    }
}

impl<T: AsFd + Send + Sync + 'static> Drop for Fd<T> {
    /// An arm pins the file: it ends first, so that the close that follows is felt at once.
    fn drop(&mut self) {
        for group in std::mem::take(&mut *self.groups.lock()) {
            // What happened before this was heard.
            let _put_off = group.lane.catch_up();
            for token in group.arms.into_iter().flatten().chain(group.ending) {
                group.lane.disarm_now(token);
            }
            group.queue.hooks.retire();
        }
    }
}
