//! [`State`]: what the feed's lock protects, and what is done under it. The protocol is drawn in the [parent](super).

use super::context::{Context, IoEvent, Name};
use super::table::{Arm, Arms, ByHand, Flights, Purpose};
use super::{BATCH, GROWTH, PROBE, RESERVED};
use crate::events::Events;
use crate::feed::poll::ppoll;
use crate::feed::watch::LOOK_AGAIN;
use crate::feed::{Completion, Fallen, Token, drain, level_of};
use crate::sync::{Arc, AtomicUsize};
use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

pub(super) struct State {
    pub(super) context: Arc<Context>,
    /// No context may be larger.
    pub(super) limit: usize,
    pub(super) arms: Arms,
    pub(super) flights: Flights,
    /// Arms that want to submit.
    pub(super) due: Vec<Token>,
    /// Arms that have to be looked at with `poll(2)`.
    pub(super) looks: Vec<Token>,
    pub(super) found: Vec<Completion>,
    pub(super) fences: usize,
    /// Requests were cancelled, or completed, after the last fence was submitted: the kernel may not have let go of their files.
    pub(super) unfenced: bool,
    /// Threads in `io_pgetevents`, of this context or of one that it replaced.
    pub(super) inside: usize,
    /// One of them doesn't know that arms have to be looked at.
    pub(super) patient: bool,
    pub(super) events: Vec<IoEvent>,
    /// For the thread that blocks.
    pub(super) spare: Vec<IoEvent>,
    pub(super) polls: Vec<libc::pollfd>,
    pub(super) wake: RawFd,
    pub(super) alive: Arc<AtomicUsize>,
}

pub(super) fn is_full(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAGAIN)
}

impl State {
    pub(super) fn new(context: Context, limit: usize, wake: RawFd, alive: Arc<AtomicUsize>) -> Self {
        let mut state = Self {
            context: Arc::new(context),
            limit,
            arms: Arms::default(),
            flights: Flights::default(),
            due: Vec::new(),
            looks: Vec::new(),
            found: Vec::new(),
            fences: 0,
            unfenced: false,
            inside: 0,
            patient: false,
            events: vec![IoEvent::default(); BATCH],
            spare: vec![IoEvent::default(); BATCH],
            polls: Vec::new(),
            wake,
            alive,
        };
        state.insert(Arm::new(Token::WAKE, wake, Events::IN, Fallen::Told));
        state
    }

    pub(super) fn insert(&mut self, arm: Arm) {
        let token = arm.token;
        self.arms.insert(arm);
        // Seldom has an arm more than two requests in flight.
        self.flights.provide(2 * self.arms.len() + RESERVED);
        self.note(token);
    }

    /// After whatever happened to an arm: puts it on the lists that it belongs to.
    pub(super) fn note(&mut self, token: Token) {
        let Some(arm) = self.arms.get(token) else { return };
        if !arm.due && arm.wants().is_some() {
            arm.due = true;
            self.due.push(token);
        }
        if !arm.looked_at && arm.wants_looks() {
            arm.looked_at = true;
            self.looks.push(token);
        }
    }

    /// Nobody is inside while something waits for submission.
    pub(super) fn settle(&mut self) {
        if self.inside > 0 && !self.due.is_empty() {
            self.submit();
        }
    }

    /// Whether the thread that blocks has to come back, because it doesn't know that there is something to look at.
    pub(super) fn calls_back(&mut self) -> bool {
        let calls = self.inside > 0 && self.patient && !self.looks.is_empty();
        self.patient &= !calls;
        calls
    }

    pub(super) fn submit(&mut self) {
        while !self.due.is_empty() {
            let mut due = std::mem::take(&mut self.due);
            let context = self.context.clone();
            for tokens in due.chunks(BATCH) {
                self.submit_batch(tokens);
                if !Arc::ptr_eq(&context, &self.context) {
                    // All arms are due again.
                    break;
                }
            }
            due.clear();
            if self.due.is_empty() {
                self.due = due;
            }
        }
    }

    fn submit_batch(&mut self, tokens: &[Token]) {
        let mut names = [Name::NONE; BATCH];
        let mut slots = [0; BATCH];
        let mut count = 0;
        for token in tokens {
            let Some(arm) = self.arms.get(*token) else { continue };
            arm.due = false;
            let Some(asked) = arm.wants() else { continue };
            let slot = self.flights.take_off(Purpose::Poll { token: *token, asked }, arm.fd);
            arm.take_off(slot, asked);
            (names[count], slots[count]) = (self.flights.name(slot), slot);
            count += 1;
        }
        let mut done = 0;
        let mut may_grow = true;
        while done < count {
            match self.context.submit(&names[done..count]) {
                Ok(taken) => done += taken.max(1),
                Err(error) if is_full(&error) && may_grow => {
                    if self.grow().is_ok() {
                        return;
                    }
                    may_grow = false;
                }
                // It is about the first of them; the others have still to go.
                Err(error) => {
                    self.refused(slots[done], &error);
                    done += 1;
                }
            }
        }
    }

    fn refused(&mut self, slot: u32, error: &io::Error) {
        let Some((slot, Purpose::Poll { token, asked })) = self.flights.land(u64::from(slot)) else { return };
        let Some(arm) = self.arms.get(token) else { return };
        arm.land(slot, asked);
        match error.raw_os_error() {
            // Its user closed it, behind our back.
            Some(errno @ libc::EBADF) => return self.end(token, errno),
            Some(libc::EINVAL) => arm.by_hand = ByHand::Always,
            _ => arm.by_hand = ByHand::Until(Instant::now() + LOOK_AGAIN),
        }
        self.note(token);
    }

    /// Ends an arm: with its last completion, or now if none is under way. True if one will follow.
    pub(super) fn cancel(&mut self, token: Token, errno: i32) -> bool {
        let Some(arm) = self.arms.get(token) else { return false };
        if arm.flights.is_empty() {
            self.arms.remove(token);
            return false;
        }
        arm.ending = Some(errno);
        for slot in &arm.flights {
            let cancelled = self.context.cancel(self.flights.request(*slot));
            debug_assert!(cancelled.is_ok(), "{cancelled:?}");
        }
        self.unfenced = true;
        true
    }

    /// Ends an arm that its user has not given up: he is told.
    fn end(&mut self, token: Token, errno: i32) {
        if !self.cancel(token, errno) {
            self.found.push(Completion { token, level: Err(errno), last: true });
        }
    }

    /// Cancels a request that nothing else ends. The kernel is done with what was cancelled before when this is done.
    pub(super) fn fence(&mut self) {
        let slot = self.flights.take_off(Purpose::Fence, self.wake);
        match self.context.submit(&[self.flights.name(slot)]) {
            Ok(_) => {
                self.fences += 1;
                self.unfenced = false;
                let cancelled = self.context.cancel(self.flights.request(slot));
                debug_assert!(cancelled.is_ok(), "{cancelled:?}");
            }
            // No room for it: then the file is let go a moment after the completion is seen, or a timer tick.
            Err(_) => {
                self.flights.land(u64::from(slot));
            }
        }
    }

    /// Takes what the ring has.
    pub(super) fn collect(&mut self) -> io::Result<()> {
        while self.context.has_events() {
            let mut events = std::mem::take(&mut self.events);
            let result = if self.inside == 0 {
                // SAFETY: nobody is inside, and the lock keeps everybody else out of here and from going inside.
                unsafe { self.context.read(&mut events) }
            } else {
                self.context.wait(&mut events, Some(Duration::ZERO))
            };
            let taken = match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                result => result,
            };
            for event in events.iter().take(*taken.as_ref().unwrap_or(&0)) {
                self.take_in(*event);
            }
            self.events = events;
            if taken? < BATCH {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn take_in(&mut self, event: IoEvent) {
        let Some((slot, purpose)) = self.flights.land(event.data) else {
            debug_assert_eq!(event.data, PROBE, "a completion was taken twice");
            return;
        };
        let Purpose::Poll { token, asked } = purpose else {
            self.fences -= 1;
            return;
        };
        self.unfenced = true;
        let Some(arm) = self.arms.get(token) else { return };
        arm.land(slot, asked);
        if let Some(errno) = arm.ending {
            if arm.flights.is_empty() {
                self.arms.remove(token);
                self.found.push(Completion { token, level: Err(errno), last: true });
            }
            return;
        }
        if event.result <= 0 {
            // It was torn from its queue (the kernel's POLLFREE).
            arm.by_hand = ByHand::Until(Instant::now() + LOOK_AGAIN);
            return self.note(token);
        }
        // A wake-up that has a key completes with the key, which may say more than was asked for.
        let mut level = Events::from_bits_retain(event.result as u32) & (asked | Events::ALWAYS);
        if level.intersects(Events::ALWAYS) {
            // And less than what holds: no other request is made while ERR or HUP is up, so the rest is asked for now.
            let mut poll = poll_of(arm);
            // SAFETY: one valid entry, and a zero timeout doesn't block. Without an answer there is nothing to add.
            unsafe { libc::poll(&raw mut poll, 1, 0) };
            level |= level_of(&poll);
        }
        self.report(token, level, false);
    }

    /// These conditions hold. `looked`: no others do.
    fn report(&mut self, token: Token, level: Events, looked: bool) {
        let Some(arm) = self.arms.get(token) else { return };
        if token == Token::WAKE {
            if !level.is_empty() {
                drain(arm.fd);
                self.found.push(Completion { token, level: Ok(level), last: false });
            }
        } else if arm.watch.take_in(level, looked, Instant::now) {
            self.found.push(Completion { token, level: Ok(level), last: false });
        }
        self.note(token);
    }

    /// One `poll(2)`, which doesn't block, over those that the kernel doesn't tell of.
    pub(super) fn look(&mut self) {
        if self.looks.is_empty() {
            return;
        }
        let looks = std::mem::take(&mut self.looks);
        let mut polls = std::mem::take(&mut self.polls);
        polls.clear();
        for token in &looks {
            // One that is gone keeps its place here for now: no descriptor has this number.
            let gone = libc::pollfd { fd: -1, events: 0, revents: 0 };
            polls.push(self.arms.get(*token).map_or(gone, |arm| poll_of(arm)));
        }
        // Who can't look now (no memory) looks again after the next wait.
        if ppoll(&mut polls, Some(Duration::ZERO)).is_ok() {
            for (token, poll) in looks.iter().zip(&polls) {
                if let Some(arm) = self.arms.get(*token)
                    && let ByHand::Until(when) = arm.by_hand
                    && when <= Instant::now()
                {
                    arm.by_hand = ByHand::No;
                }
                self.report(*token, level_of(poll), true);
            }
        }
        self.polls = polls;
        // Nothing was put there meanwhile: all of these are marked as being there, and no others were touched.
        self.looks = looks;
        self.forget_looks();
    }

    /// Takes those from the list that need no looks any more.
    pub(super) fn forget_looks(&mut self) {
        let arms = &mut self.arms;
        self.looks.retain(|token| {
            arms.get(*token).is_some_and(|arm| {
                arm.looked_at = arm.wants_looks();
                arm.looked_at
            })
        });
    }

    /// Replaces the context by a larger one.
    pub(super) fn grow(&mut self) -> io::Result<()> {
        let present = self.context.capacity();
        let mut capacity = (present * GROWTH).min(self.limit);
        let context = loop {
            if capacity <= present {
                return Err(io::Error::new(
                    io::ErrorKind::QuotaExceeded,
                    format!(
                        "aio: a context of {present} requests is full, and there is no larger one: fs.aio-max-nr is used up"
                    ),
                ));
            }
            match Context::new(capacity, &self.alive) {
                Err(error) if is_full(&error) => capacity /= 2,
                result => break result?,
            }
        };
        self.context = Arc::new(context);
        self.flights.ground();
        self.fences = 0;
        for token in self.arms.tokens() {
            let Some(arm) = self.arms.get(token) else { continue };
            arm.ground();
            if let Some(errno) = arm.ending {
                self.arms.remove(token);
                self.found.push(Completion { token, level: Err(errno), last: true });
            }
            self.note(token);
        }
        if self.inside > 0 {
            // Its arm in the old context is still there, and nobody but the thread that blocks takes its completion.
            ring(self.wake);
        }
        Ok(())
    }
}

/// Everything that an arm is interested in, for `poll(2)`.
fn poll_of(arm: &Arm) -> libc::pollfd {
    libc::pollfd { fd: arm.fd, events: arm.watch.interest().bits() as i16, revents: 0 }
}

/// Writes a wake-up.
pub(super) fn ring(wake: RawFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the buffer is eight bytes, as eventfd wants them. Only a counter that is full refuses them, and it is readable.
    unsafe { libc::write(wake, one.as_ptr().cast(), one.len()) };
}
