//! The `poll` feed: `poll(2)` over everything that is armed. O(n) a turn, and it works everywhere.
//!
//! `poll(2)` tells the level, and would tell it again at once. So a condition that was reported is not watched any more until
//! it was seen not to hold:
//!
//! ```text
//!              reported                        rearm (the source saw it fall)
//!   watched ──────────────► silent ──────────────────────────────────────────► watched
//!                             ├─── seen low by a later look (Fallen::Watched) ──► watched
//!                             └─── still high after LOOK_AGAIN (Fallen::Watched) ──► reported once more
//! ```
//!
//! What this feed promises is therefore "every change from not ready to ready", not "every arrival". For descriptors whose
//! user says when they went quiet (the runtime's sockets) it is told once. For others a fall may pass between two looks:
//! so a condition that is still (or again) high is told again after [`LOOK_AGAIN`], rather than once too few.

use super::{Completion, Disarmed, Fallen, Feed, Token};
use crate::events::Events;
use crate::sync::{AtomicU64, Mutex, Ordering};
use std::collections::HashMap;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// How late a change may be told if the fall before it went unnoticed. A guess between latency and idle work.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

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
    interest: Events,
    watched: Events,
    fallen: Fallen,
    /// When it was last reported.
    told: Option<Instant>,
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
            interest: Events::IN | Events::ALWAYS,
            watched: Events::IN | Events::ALWAYS,
            fallen: Fallen::Told,
            told: None,
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

/// `ppoll(2)` without a signal mask: nanoseconds instead of milliseconds.
fn ppoll(polls: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<()> {
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

/// Takes a wake-up.
fn drain(wake: RawFd) {
    let mut count = [0u8; 8];
    // SAFETY: the buffer has the eight bytes that eventfd writes. An empty counter is an error that says so, and fine.
    unsafe { libc::read(wake, count.as_mut_ptr().cast(), count.len()) };
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
            let forgotten = arm.fallen == Fallen::Watched && arm.watched != arm.interest;
            silent |= forgotten;
            let asked = if with_silent && forgotten {
                arm.interest
            } else if arm.watched.contains(Events::ALWAYS) {
                arm.watched
            } else {
                // `poll(2)` tells ERR and HUP unasked and would return at once, again and again: once reported, they take
                // their descriptor out until somebody has seen a direction fall.
                continue;
            };
            snapshot.polls.push(libc::pollfd {
                fd: arm.fd,
                events: (asked - Events::ALWAYS).bits() as i16,
                revents: 0,
            });
            snapshot.tokens.push(arm.token);
        }
        silent
    }

    /// Turns the kernel's answers into completions for conditions that are watched, and watches what has fallen.
    fn take_in(&mut self, snapshot: &Snapshot, with_silent: bool) {
        for (poll, token) in snapshot.polls.iter().zip(&snapshot.tokens) {
            let mut level = Events::from_bits_retain(u32::from(poll.revents as u16));
            if poll.revents & libc::POLLNVAL != 0 {
                level = Events::ERR | Events::HUP;
            }
            let Some(at) = self.places.get(token) else { continue };
            let arm = &mut self.arms[*at];
            if *token == Token::WAKE {
                if poll.revents != 0 {
                    drain(arm.fd);
                }
                continue;
            }
            let again = with_silent
                && arm.fallen == Fallen::Watched
                && level.intersects(arm.interest - arm.watched)
                && arm.told.is_some_and(|told| told.elapsed() >= LOOK_AGAIN);
            if again || level.intersects(arm.watched) {
                arm.watched -= level;
                if arm.fallen == Fallen::Watched {
                    arm.told = Some(Instant::now());
                }
                self.found.push(Completion { token: *token, level: Ok(level), last: false });
            }
            if with_silent && arm.fallen == Fallen::Watched {
                arm.watched |= arm.interest - level;
            }
        }
    }
}

impl Feed for Poll {
    fn arm(&self, token: Token, fd: RawFd, interest: Events, fallen: Fallen) -> io::Result<()> {
        let interest = interest.conditions() | Events::ALWAYS;
        self.table.lock().insert(Arm { token, fd, interest, watched: interest, fallen, told: None });
        Ok(())
    }

    fn rearm(&self, token: Token, conditions: Events) -> bool {
        let mut table = self.table.lock();
        let Some(arm) = table.get(token) else { return false };
        let mut fallen = conditions & arm.interest;
        if arm.fallen == Fallen::Told {
            // An error is used up by the call that met it: whoever saw a direction fall may see the next one.
            fallen |= Events::ERR;
        }
        let new = fallen - arm.watched;
        arm.watched |= new;
        !new.is_empty()
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
            Disarmed::LastFollows => true,
        }
    }

    fn has_pending(&self) -> bool {
        false
    }

    fn submit(&self) -> io::Result<()> {
        Ok(())
    }

    fn harvest(&self, completions: &mut Vec<Completion>) -> io::Result<()> {
        loop {
            match self.look(Some(Duration::ZERO), false) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        }
        completions.append(&mut self.table.lock().found);
        Ok(())
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
