//! [`channel`]: a bounded channel whose ends are sources, with the rules of a pipe.
//!
//! ```text
//!                       last Sender dropped                    Receiver dropped
//!   both ends here ───────────────────────► draining: HUP ─────────────────────────► both gone
//!        │                                  (IN with it until it is empty)              ▲
//!        └── Receiver dropped: items go ──► refusing: ERR ── last Sender dropped ───────┘
//! ```
//!
//! | what happens          | wakes     | with          | in the kernel (`fs/pipe.c`)                                   |
//! |-----------------------|-----------|---------------|---------------------------------------------------------------|
//! | an item is sent       | receiver  | `IN\|RDNORM`  | `pipe_write`: every write, once the pipe has been polled      |
//! | an item is received   | senders   | `OUT\|WRNORM` | `pipe_read`: only if the pipe was full                        |
//! | one end is gone       | the other | nothing named | `pipe_release`: everybody, exclusive or not                   |
//!
//! So every item is an edge for the receiver, and room is one for the senders when there was none before. One thing is left out:
//! a write that fails because the pipe is full wakes the reader all the same; a send that is refused here wakes nobody.
//!
//! One lock holds the items and who is still there; it is released before a queue is woken and before an item is dropped.
//! The ends count their handles themselves, and not by the references to the source: a scan in another thread that is just
//! asking an end does not keep it open.

use crate::events::Events;
use crate::source::{AsSource, PollTable, Source};
use crate::sync::{Arc, Mutex};
use crate::wait_queue::WaitQueue;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;

const READABLE: Events = Events::IN.union(Events::RDNORM);
const WRITABLE: Events = Events::OUT.union(Events::WRNORM);

/// Makes a channel for `capacity` items: many senders, one receiver, and both ends can be watched.
///
/// Neither end blocks; who wants to wait does it in an [`Eventpoll`](crate::Eventpoll). The receiver polls [`Events::IN`] while
/// there is an item and [`Events::HUP`] once all senders are gone; a sender polls [`Events::OUT`] while there is room and
/// [`Events::ERR`] once the receiver is gone; `RDNORM` and `WRNORM` go with `IN` and `OUT`. All clones of a sender are one
/// source. An interest in an end goes away with the last handle of that end.
///
/// Edges are those of a pipe: each item is one for the receiver; room is one for the senders if the channel was full.
///
/// ```
/// use egret_reactor::{Event, Eventpoll, Events, TryRecvError, channel};
///
/// let poll = Eventpoll::new()?;
/// let (sender, receiver) = channel(16);
/// poll.add(&receiver, 0, Events::IN, 1)?;
/// let thread = std::thread::spawn(move || sender.try_send("hello"));
///
/// let mut events = [Event::default(); 4];
/// poll.wait(&mut events, None)?;
/// assert_eq!(receiver.try_recv(), Ok("hello"));
/// thread.join().unwrap().unwrap();
/// assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected)); // the sender went with its thread
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// If `capacity` is zero: there is no handing over without a place to put the item.
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a channel needs room for an item");
    let channel = Arc::new(Channel {
        state: Mutex::new(State { items: VecDeque::new(), senders: 1, receiver: ReceiverIs::Here }),
        capacity,
        senders: WaitQueue::new(),
        receiver: WaitQueue::new(),
    });
    let sender = Sender { end: Arc::new(SendEnd { channel: channel.clone() }) };
    let receiver = Receiver { end: Arc::new(ReceiveEnd { channel }) };
    (sender, receiver)
}

struct Channel<T> {
    state: Mutex<State<T>>,
    capacity: usize,
    /// Who watches the sending end.
    senders: WaitQueue,
    /// Who watches the receiving end.
    receiver: WaitQueue,
}

struct State<T> {
    items: VecDeque<T>,
    /// Handles.
    senders: usize,
    receiver: ReceiverIs,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ReceiverIs {
    Here,
    /// A pipe whose reader is gone has as much room as it had then.
    Gone {
        full: bool,
    },
}

impl<T> Channel<T> {
    fn len(&self) -> usize {
        self.state.lock().items.len()
    }

    fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("len", &self.len())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// The sending end of a [`channel`]. Clones send into the same channel; the last one to go leaves a hang-up behind.
pub struct Sender<T> {
    end: Arc<SendEnd<T>>,
}

/// The receiving end of a [`channel`]. When it goes the items that are still inside are dropped.
pub struct Receiver<T> {
    end: Arc<ReceiveEnd<T>>,
}

/// What is watched of the senders.
struct SendEnd<T> {
    channel: Arc<Channel<T>>,
}

/// What is watched of the receiver.
struct ReceiveEnd<T> {
    channel: Arc<Channel<T>>,
}

impl<T> Sender<T> {
    fn channel(&self) -> &Channel<T> {
        &self.end.channel
    }

    /// Puts an item in, and tells who watches the receiver.
    ///
    /// # Errors
    /// With the item: [`Closed`](TrySendError::Closed) if the receiver is gone, else [`Full`](TrySendError::Full) if there is no
    /// room.
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        let channel = self.channel();
        {
            let mut state = channel.state.lock();
            if state.receiver != ReceiverIs::Here {
                return Err(TrySendError::Closed(item));
            }
            if state.items.len() == channel.capacity {
                return Err(TrySendError::Full(item));
            }
            state.items.push_back(item);
        }
        channel.receiver.wake(READABLE);
        Ok(())
    }

    /// How many items are inside.
    pub fn len(&self) -> usize {
        self.channel().len()
    }

    /// Whether no item is inside.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many items fit in.
    pub fn capacity(&self) -> usize {
        self.channel().capacity
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.channel().state.lock().receiver != ReceiverIs::Here
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.channel().state.lock().senders += 1;
        Self { end: self.end.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let channel = self.channel();
        let last = {
            let mut state = channel.state.lock();
            state.senders -= 1;
            state.senders == 0
        };
        if last {
            channel.senders.retire();
            channel.receiver.wake_all(Events::empty());
        }
    }
}

impl<T> Receiver<T> {
    fn channel(&self) -> &Channel<T> {
        &self.end.channel
    }

    /// Takes the oldest item out, and tells who watches the senders if there was no room before.
    ///
    /// # Errors
    /// [`Empty`](TryRecvError::Empty) if there is no item; [`Disconnected`](TryRecvError::Disconnected) if there never will
    /// be one, because all senders are gone too.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let channel = self.channel();
        let (item, was_full) = {
            let mut state = channel.state.lock();
            let was_full = state.items.len() == channel.capacity;
            match state.items.pop_front() {
                Some(item) => (item, was_full),
                None if state.senders == 0 => return Err(TryRecvError::Disconnected),
                None => return Err(TryRecvError::Empty),
            }
        };
        if was_full {
            channel.senders.wake(WRITABLE);
        }
        Ok(item)
    }

    /// How many items are inside.
    pub fn len(&self) -> usize {
        self.channel().len()
    }

    /// Whether no item is inside.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many items fit in.
    pub fn capacity(&self) -> usize {
        self.channel().capacity
    }

    /// Whether all senders are gone. There may be items left.
    pub fn is_closed(&self) -> bool {
        self.channel().state.lock().senders == 0
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let channel = self.channel();
        let items = {
            let mut state = channel.state.lock();
            state.receiver = ReceiverIs::Gone { full: state.items.len() == channel.capacity };
            std::mem::take(&mut state.items)
        };
        channel.receiver.retire();
        channel.senders.wake_all(Events::empty());
        // Last, so that an item whose drop panics leaves nothing undone.
        drop(items);
    }
}

impl<T: Send + 'static> AsSource for Sender<T> {
    fn as_source(&self) -> Arc<dyn Source> {
        self.end.clone()
    }
}

impl<T: Send + 'static> AsSource for Receiver<T> {
    fn as_source(&self) -> Arc<dyn Source> {
        self.end.clone()
    }
}

/// Of an end only the source is left, which somebody kept: it is ready for nothing (fact 94) and can't be added any more.
fn closed() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADF)
}

impl<T: Send + 'static> Source for SendEnd<T> {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        table.register(&self.channel.senders);
        let state = self.channel.state.lock();
        if state.senders == 0 {
            table.refuse(closed());
            return Events::empty();
        }
        match state.receiver {
            ReceiverIs::Here if state.items.len() == self.channel.capacity => Events::empty(),
            ReceiverIs::Here => WRITABLE,
            ReceiverIs::Gone { full: true } => Events::ERR,
            ReceiverIs::Gone { full: false } => WRITABLE | Events::ERR,
        }
    }
}

impl<T: Send + 'static> Source for ReceiveEnd<T> {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        table.register(&self.channel.receiver);
        let state = self.channel.state.lock();
        if state.receiver != ReceiverIs::Here {
            table.refuse(closed());
            return Events::empty();
        }
        let mut events = Events::empty();
        events.set(READABLE, !state.items.is_empty());
        events.set(Events::HUP, state.senders == 0);
        events
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.channel().fmt("Sender", f)
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.channel().fmt("Receiver", f)
    }
}

/// Why [`Sender::try_send`] gave the item back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// There is no room now.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

impl<T> TrySendError<T> {
    /// The item.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(item) | Self::Closed(item) => item,
        }
    }
}

/// Whatever the item is: it is not shown.
impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the channel is full",
            Self::Closed(_) => "the receiver of the channel is gone",
        })
    }
}

impl<T> Error for TrySendError<T> {}

/// Why [`Receiver::try_recv`] returned no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// There is no item now.
    Empty,
    /// There is no item, and all senders are gone.
    Disconnected,
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the channel is empty",
            Self::Disconnected => "the channel is empty and its senders are gone",
        })
    }
}

impl Error for TryRecvError {}
