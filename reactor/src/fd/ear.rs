//! [`Ear`]: what an arm of an [`Fd`](super::Fd) makes of the feed's answers: a walk over the queue, with the right key.
//!
//! io_uring's answer tells the wake-up's key if one wake-up made it; if several met, or if the wake-up named nothing, it tells
//! what the file says under the arm's mask. Epoll gets the keys. So:
//!
//! | answer                                                   | walk                                                    |
//! |----------------------------------------------------------|---------------------------------------------------------|
//! | of a socket                                              | with all of the direction, as the kernel's own key has  |
//! | of two arms in a row, youngest first, no key in either   | one, with the empty key: it was for everybody           |
//! | errors or hang-up that everybody was told of, and another arm is there to tell of new ones | without them |
//! | any other                                                | with what the answer says                               |

use crate::events::Events;
use crate::feed::{Completion, Token};
use crate::lane::Armed;
use crate::parker::Wakes;
use crate::sync::{Arc, AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::wait_queue::WaitQueue;

/// What the input arm hears, beside ERR and HUP. All of it for anyone who wants a part: the kernel wakes readers of a socket
/// with all of it (`sock_def_readable`), and io_uring passes over a wake-up if PRI is all that is wanted.
pub(super) const INPUT: Events =
    Events::IN.union(Events::RDNORM).union(Events::RDBAND).union(Events::PRI).union(Events::RDHUP);

/// What the output arm hears.
pub(super) const OUTPUT: Events = Events::OUT.union(Events::WRNORM).union(Events::WRBAND);

/// What all arms hear (io_uring adds RDHUP by itself). Wake-ups name none of these, errors excepted, which are for everybody: in
/// an answer they say that the file was asked.
const UNNAMED: Events = Events::ERR.union(Events::HUP).union(Events::RDHUP);

/// The interests of a group, and what its arms share.
pub(super) struct Queue {
    pub(super) hooks: WaitQueue,
    /// The arms that hear, by [`Direction`]; [`Token::NONE`] where there is none.
    pub(super) tokens: [AtomicU64; 3],
    /// When they were made, by [`Direction`]: a wake-up reaches the youngest first.
    pub(super) ages: [AtomicU64; 3],
    /// Errors and hang-ups that everybody has been told of, or has found. An answer may show them again without meaning them;
    /// where another arm would mean them, they are left out then.
    pub(super) told: AtomicU32,
    /// An answer was passed over because the next one says it again: that one is for everybody. Used under the lane's lock.
    pub(super) everybody: AtomicBool,
    pub(super) is_socket: bool,
}

impl Queue {
    pub(super) fn new(is_socket: bool) -> Self {
        Self {
            hooks: WaitQueue::new(),
            tokens: [const { AtomicU64::new(Token::NONE.0) }; 3],
            ages: [const { AtomicU64::new(0) }; 3],
            told: AtomicU32::new(0),
            everybody: AtomicBool::new(false),
            is_socket,
        }
    }

    fn direction_of(&self, token: Token) -> Option<Direction> {
        Direction::ALL
            .into_iter()
            .find(|direction| self.tokens[*direction as usize].load(Ordering::SeqCst) == token.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Input,
    Output,
    Errors,
}

impl Direction {
    pub(super) const ALL: [Direction; 3] = [Direction::Input, Direction::Output, Direction::Errors];

    pub(super) fn conditions(self) -> Events {
        match self {
            Direction::Input => INPUT,
            Direction::Output => OUTPUT,
            Direction::Errors => Events::empty(),
        }
    }

    /// Whether an interest needs this arm.
    pub(super) fn serves(self, interest: Events) -> bool {
        match self {
            Direction::Errors => !interest.intersects(INPUT | OUTPUT),
            direction => interest.intersects(direction.conditions()),
        }
    }
}

/// The part of an arm that the lane calls.
pub(super) struct Ear {
    pub(super) direction: Direction,
    pub(super) queue: Arc<Queue>,
    pub(super) deaf: AtomicBool,
}

impl Ear {
    fn is_deaf(&self) -> bool {
        self.deaf.load(Ordering::SeqCst)
    }

    /// Whether another arm speaks for everybody.
    fn is_spoken_for(&self) -> bool {
        let [input, _, errors] = &self.queue.tokens;
        let speaks = |token: &AtomicU64| token.load(Ordering::SeqCst) != Token::NONE.0;
        match self.direction {
            Direction::Input => false,
            Direction::Output => speaks(input) || speaks(errors),
            Direction::Errors => speaks(input),
        }
    }
}

impl Armed for Ear {
    fn fire(&self, level: Events, wakes: &mut Wakes<'_>) {
        if self.is_deaf() {
            return;
        }
        let ends = level & Events::ALWAYS;
        let told = Events::from_bits_retain(self.queue.told.load(Ordering::SeqCst));
        // Whoever wants RDHUP has an input arm, which tells it.
        let mut key = if self.is_spoken_for() { level - told - Events::RDHUP } else { level };
        if self.queue.everybody.swap(false, Ordering::SeqCst) {
            key = Events::empty();
        } else if key.is_empty() {
            return;
        }
        if key.is_empty() || key.intersects(ends) {
            self.queue.told.fetch_or(ends.bits(), Ordering::SeqCst);
        }
        if !key.is_empty() && self.queue.is_socket {
            // The kernel wakes who uses a socket with all of a direction (`sock_def_readable`, `sock_def_write_space`); the
            // level may show less.
            key |= self.direction.conditions() - UNNAMED;
        }
        if level.intersects(UNNAMED) && (key.is_empty() || key.intersects(UNNAMED)) {
            // The end of a direction, or an error: the kernel's walk is one that exclusive hooks don't end.
            self.queue.hooks.wake_all_with(key, wakes);
        } else {
            self.queue.hooks.wake_with(key, wakes);
        }
    }

    /// A wake-up that names no condition reaches all arms, one after the other, and they answer with the level. Everybody
    /// shall hear of it in one walk, so the last of them speaks for all.
    fn is_said_again_by(&self, level: Events, next: &Completion) -> bool {
        let Ok(again) = next.level else { return false };
        let Some(other) = self.queue.direction_of(next.token) else { return false };
        let age = |direction| self.queue.ages[direction as usize].load(Ordering::SeqCst);
        if self.is_deaf() || age(other) >= age(self.direction) {
            return false;
        }
        let input = match (self.direction, other) {
            (Direction::Input, _) => Some(level),
            (_, Direction::Input) => Some(again),
            _ => None,
        };
        // A socket's wake-up for readers names RDBAND, which is never in the level.
        let unnamed_input =
            self.queue.is_socket && input.is_some_and(|input| !input.contains(Events::RDBAND));
        let unnamed = unnamed_input || level.intersects(UNNAMED) && again.intersects(UNNAMED);
        if unnamed {
            self.queue.everybody.store(true, Ordering::SeqCst);
        }
        unnamed
    }

    /// `poll` tells the lane of every condition that doesn't hold. What follows is for everybody, in any case.
    fn lost(&self) {
        self.deaf.store(false, Ordering::SeqCst);
    }
}
