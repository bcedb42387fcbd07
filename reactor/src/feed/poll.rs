//! The `poll` feed: `poll(2)` over everything that is armed. O(n) a turn, and it works everywhere.
//!
//! It tells the level; [`watch`](super::watch) says what is made of that: every change from not ready to ready is reported.

use super::watch::{LOOK_AGAIN, Watch};
use super::{Completion, Disarmed, Fallen, Feed, Token, drain, level_of};
use crate::events::Events;
use crate::sync::{AtomicU64, Mutex, Ordering};
use std::collections::HashMap;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Poll {
    table: Mutex<Table>,
    /// Odd while a thread is blocked in `poll(2)`, which pins the descriptors it was given.
    rounds: AtomicU64,
}

#[derive(Debug)]
struct Table {
    arms: Vec<Arm>,
    places: HashMap<Token, usize>,
    found: Vec<Completion>,
    /// A blocked thread's snapshot, kept for its memory.
    spare: Snapshot,
}

#[derive(Debug)]
struct Arm {
    token: Token,
    fd: RawFd,
    watch: Watch,
}

#[derive(Debug, Default)]
struct Snapshot {
    polls: Vec<libc::pollfd>,
    tokens: Vec<Token>,
}

impl Poll {
    pub(crate) fn new(wake: RawFd) -> Self {
        let table =
            Table { arms: Vec::new(), places: HashMap::new(), found: Vec::new(), spare: Snapshot::default() };
        let feed = Self { table: Mutex::new(table), rounds: AtomicU64::new(0) };
        feed.table.lock().insert(Arm {
            token: Token::WAKE,
            fd: wake,
            watch: Watch::new(Events::IN, Fallen::Told),
        });
        feed
    }

    /// One `poll(2)`. One that doesn't block also asks for silent conditions, to see whether they fell.
    fn look(&self, timeout: Option<Duration>, blocking: bool) -> io::Result<()> {
        let (mut snapshot, timeout) = {
            let mut table = self.table.lock();
            if blocking && !table.found.is_empty() {
                return Ok(());
            }
            if blocking {
                // Under the lock: who takes an arm out of the table either keeps it out of this snapshot or sees the round.
                self.rounds.fetch_add(1, Ordering::SeqCst);
            }
            let mut snapshot = std::mem::take(&mut table.spare);
            let silent = table.snapshot(&mut snapshot, !blocking);
            let timeout = if silent && blocking {
                Some(timeout.map_or(LOOK_AGAIN, |t| t.min(LOOK_AGAIN)))
            } else {
                timeout
            };
            (snapshot, timeout)
        };
        let result = ppoll(&mut snapshot.polls, timeout);
        if blocking {
            self.rounds.fetch_add(1, Ordering::SeqCst);
        }
        let mut table = self.table.lock();
        if result.is_ok() {
            table.take_in(&snapshot, !blocking);
        }
        table.spare = snapshot;
        result
    }
}

/// `ppoll(2)`, also for more entries than there may be descriptors (RLIMIT_NOFILE), which it refuses: a descriptor may have
/// several arms.
pub(crate) fn ppoll(polls: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<()> {
    match ppoll_once(polls, timeout) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        result => return result,
    }
    let mut places = HashMap::new();
    let mut merged: Vec<libc::pollfd> = Vec::new();
    for poll in polls.iter().filter(|poll| poll.fd >= 0) {
        let at = *places.entry(poll.fd).or_insert(merged.len());
        match merged.get_mut(at) {
            Some(all) => all.events |= poll.events,
            None => merged.push(*poll),
        }
    }
    ppoll_once(&mut merged, timeout)?;
    for poll in polls {
        let unasked = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
        poll.revents = places.get(&poll.fd).map_or(0, |at| merged[*at].revents & (poll.events | unasked));
    }
    Ok(())
}

/// `ppoll(2)` without a signal mask: nanoseconds instead of milliseconds.
fn ppoll_once(polls: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<()> {
    let timespec = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: t.subsec_nanos().into(),
    });
    let timespec = timespec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the slice is valid for its length, the timespec lives until the call returns, and no mask is given.
    let n =
        unsafe { libc::ppoll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, timespec, std::ptr::null()) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl Table {
    fn insert(&mut self, arm: Arm) {
        self.places.insert(arm.token, self.arms.len());
        self.arms.push(arm);
    }

    fn get(&mut self, token: Token) -> Option<&mut Arm> {
        self.places.get(&token).map(|at| &mut self.arms[*at])
    }

    fn remove(&mut self, token: Token) {
        if let Some(at) = self.places.remove(&token) {
            self.arms.swap_remove(at);
            if let Some(moved) = self.arms.get(at) {
                self.places.insert(moved.token, at);
            }
        }
    }

    /// Writes down what to ask for. True if there are silent conditions whose fall nobody would tell.
    fn snapshot(&self, snapshot: &mut Snapshot, with_silent: bool) -> bool {
        snapshot.polls.clear();
        snapshot.tokens.clear();
        let mut silent = false;
        for arm in &self.arms {
            // The wake-up is for the thread that blocks, and nobody else takes it.
            if arm.token == Token::WAKE && with_silent {
                continue;
            }
            let forgotten = arm.watch.is_forgotten();
            silent |= forgotten;
            let asked = if with_silent && forgotten { Some(arm.watch.interest()) } else { arm.watch.asked() };
            let Some(asked) = asked else { continue };
            snapshot.polls.push(libc::pollfd { fd: arm.fd, events: asked.bits() as i16, revents: 0 });
            snapshot.tokens.push(arm.token);
        }
        silent
    }

    /// Turns the kernel's answers into completions for conditions that are watched, and watches what has fallen.
    fn take_in(&mut self, snapshot: &Snapshot, with_silent: bool) {
        for (poll, token) in snapshot.polls.iter().zip(&snapshot.tokens) {
            let Some(at) = self.places.get(token) else { continue };
            let arm = &mut self.arms[*at];
            if *token == Token::WAKE {
                if poll.revents != 0 {
                    drain(arm.fd);
                }
                continue;
            }
            let level = level_of(poll);
            if arm.watch.take_in(level, with_silent, Instant::now) {
                self.found.push(Completion { token: *token, level: Ok(level), last: false });
            }
        }
    }
}

impl Feed for Poll {
    fn arm(&self, token: Token, fd: RawFd, interest: Events, fallen: Fallen) -> io::Result<()> {
        self.table.lock().insert(Arm { token, fd, watch: Watch::new(interest, fallen) });
        Ok(())
    }

    fn rearm(&self, token: Token, conditions: Events) -> bool {
        self.table.lock().get(token).is_some_and(|arm| arm.watch.rearm(conditions))
    }

    fn disarm(&self, token: Token, close: Option<OwnedFd>) -> io::Result<Disarmed> {
        let disarmed = self.disarm_now(token);
        drop(close);
        disarmed
    }

    fn disarm_now(&self, token: Token) -> io::Result<Disarmed> {
        let mut table = self.table.lock();
        table.remove(token);
        Ok(Disarmed::Now { round: self.rounds.load(Ordering::SeqCst) })
    }

    fn unpinned(&self, _token: Token, how: Disarmed) -> bool {
        // Nobody was blocked, or whoever was has come back since: later rounds don't know the descriptor.
        match how {
            Disarmed::Now { round } => round.is_multiple_of(2) || self.rounds.load(Ordering::SeqCst) != round,
            Disarmed::Done | Disarmed::LastFollows => true,
        }
    }

    fn has_pending(&self) -> bool {
        false
    }

    fn submit(&self) -> io::Result<()> {
        Ok(())
    }

    fn harvest(&self, completions: &mut Vec<Completion>) -> io::Result<bool> {
        loop {
            match self.look(Some(Duration::ZERO), false) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        }
        completions.append(&mut self.table.lock().found);
        Ok(false)
    }

    fn block(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.look(timeout, true)
    }

    fn wants_to_be_told(&self) -> bool {
        true
    }

    fn rests(&self) -> bool {
        false
    }
}
