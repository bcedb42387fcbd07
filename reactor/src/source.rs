//! [`Source`]: anything whose readiness can be asked for and that says when it changes.

use crate::eventpoll::Inner;
use crate::eventpoll::item::Item;
use crate::events::Events;
use crate::sync::{Arc, Weak};
use crate::wait_queue::{Hooked, WaitQueue};
use std::fmt;
use std::io;

/// Something that becomes ready: a descriptor, a counter, a channel, another instance.
///
/// The contract, which is that of a file's `poll` operation in the kernel:
/// * `poll` first registers the source's [`WaitQueue`] with the table (which does nothing when the table only asks), and
///   *then* looks at its state and returns the conditions that hold now.
/// * Whenever a condition comes true, the source changes its state and *then* calls [`WaitQueue::wake`].
/// * `poll` never blocks, never calls back into an [`Eventpoll`](crate::Eventpoll), and may be called by any thread at any
///   time; it runs under an instance's control lock.
///
/// If `poll` panics inside `wait`, everything that was not delivered stays queued and the panic reaches the caller of
/// `wait`.
///
/// [`WaitQueue`] has an example of a whole source.
pub trait Source: Send + Sync + 'static {
    /// Registers with the table, then returns the conditions that hold now.
    fn poll(&self, table: &mut PollTable<'_>) -> Events;

    /// Says in a word or two what this is, for [`Eventpoll::dump`](crate::Eventpoll::dump). The type's name, if nothing else
    /// is said.
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<Self>())
    }

    /// Something that answers what `poll` would, and needs no reference to the source. Not for implementors outside this
    /// crate.
    #[doc(hidden)]
    fn probe(&self) -> Option<Arc<dyn Probe>> {
        None
    }

    /// The instance behind this source, if it is one. Not for implementors outside this crate.
    #[doc(hidden)]
    fn nested(&self) -> Option<Nested> {
        None
    }

    /// Takes in what the feed has told of up to now, before an interest in this source changes. Not for implementors outside
    /// this crate.
    #[cfg(not(egret_loom))]
    #[doc(hidden)]
    fn catch_up(&self, _lanes: &crate::Lanes) {}

    /// An interest that came through these lanes has ended. Called without locks. Not for implementors outside this crate.
    #[cfg(not(egret_loom))]
    #[doc(hidden)]
    fn unwatched(&self, _lanes: &crate::Lanes) {}
}

/// Which of the conditions in `interest` hold for `source` now: asks it, and registers nothing.
///
/// For who has another way to hear of changes. What it answers may be over when it returns.
///
/// ```
/// use egret_reactor::{Counter, Events, level};
/// use std::sync::Arc;
///
/// let counter = Arc::new(Counter::new(0));
/// assert_eq!(level(&counter, Events::IN | Events::OUT), Events::OUT);
/// counter.write(3)?;
/// assert_eq!(level(&counter, Events::IN), Events::IN);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// With the panic of the source's [`poll`](Source::poll).
pub fn level(source: &impl AsSource, interest: Events) -> Events {
    // A nested instance leaves there what it kept alive of its sources while it asked them: dropped here, where no lock is held.
    let mut graveyard = Vec::new();
    let holds = source.as_source().poll(&mut PollTable::asking(interest, &mut graveyard));
    holds & interest.conditions()
}

/// The readiness of a source that remembers it: no code of a user's runs when it is asked.
#[doc(hidden)]
pub trait Probe: Hooked {
    /// The conditions that hold now.
    fn now(&self) -> Events;
}

/// An instance that is watched by another: its number, and the way to it.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Nested {
    pub(crate) id: u64,
    pub(crate) instance: Weak<Inner>,
}

/// What can be given to [`Eventpoll::add`](crate::Eventpoll::add): a shared source, or an instance.
pub trait AsSource {
    /// The source as a shared object. Its address is the source's identity.
    fn as_source(&self) -> Arc<dyn Source>;
}

impl<S: Source> AsSource for Arc<S> {
    fn as_source(&self) -> Arc<dyn Source> {
        self.clone()
    }
}

impl AsSource for Arc<dyn Source> {
    fn as_source(&self) -> Arc<dyn Source> {
        self.clone()
    }
}

/// Carries the hook of a new interest into [`Source::poll`], or only the question.
pub struct PollTable<'a> {
    interest: Events,
    /// Nothing if this call only asks.
    hooking: Option<Hooking<'a>>,
    /// References to sources that must not be the last to be dropped while locks are held.
    graveyard: &'a mut Vec<Arc<dyn Source>>,
}

/// An ADD or a MOD in progress.
struct Hooking<'a> {
    item: &'a Arc<Item>,
    /// MOD: hooks stay where they are.
    modifying: bool,
    added: Vec<Arc<dyn Hooked>>,
    error: Option<io::Error>,
}

impl Hooking<'_> {
    fn hook(&mut self, hooked: Arc<dyn Hooked>) {
        if hooked.queue().hook(self.item) {
            self.added.push(hooked);
        }
    }
}

impl<'a> PollTable<'a> {
    pub(crate) fn asking(interest: Events, graveyard: &'a mut Vec<Arc<dyn Source>>) -> Self {
        Self { interest, hooking: None, graveyard }
    }

    pub(crate) fn hooking(
        item: &'a Arc<Item>,
        interest: Events,
        modifying: bool,
        graveyard: &'a mut Vec<Arc<dyn Source>>,
    ) -> Self {
        let hooking = Hooking { item, modifying, added: Vec::new(), error: None };
        Self { interest, hooking: Some(hooking), graveyard }
    }

    /// Hooks a new interest into `queue`; does nothing if this call only asks for the readiness.
    pub fn register(&mut self, queue: &WaitQueue) {
        self.register_shared(|| queue.shared());
    }

    /// The same for a queue that lies in something shared, which is asked for only if it is needed.
    pub(crate) fn register_shared(&mut self, hooked: impl FnOnce() -> Arc<dyn Hooked>) {
        if let Some(hooking) = &mut self.hooking
            && !hooking.modifying
        {
            hooking.hook(hooked());
        }
    }

    /// Whether this is the poll of a MOD.
    #[cfg(not(egret_loom))]
    pub(crate) fn is_modifying(&self) -> bool {
        self.hooking.as_ref().is_some_and(|hooking| hooking.modifying)
    }

    /// The mask of the interest that asks, with its modes. A source may use it to look no further than needed.
    pub fn interest(&self) -> Events {
        self.interest
    }

    /// Refuses the registration: `add` takes the interest back, `modify` leaves it as the new mask found it, and both
    /// return this error. Ignored if this call only asks.
    pub fn refuse(&mut self, error: io::Error) {
        if let Some(hooking) = &mut self.hooking {
            hooking.error.get_or_insert(error);
        }
    }

    /// The lanes of the instance that registers or changes its interest; nothing if this call only asks.
    #[cfg(not(egret_loom))]
    pub(crate) fn lanes(&self) -> Option<&'a crate::lane::Lanes> {
        self.hooking.as_ref().map(|hooking| hooking.item.ready().lanes())
    }

    pub(crate) fn graveyard(&mut self) -> &mut Vec<Arc<dyn Source>> {
        self.graveyard
    }

    pub(crate) fn finish(self) -> Finished {
        self.hooking
            .map_or_else(Finished::default, |hooking| Finished { added: hooking.added, error: hooking.error })
    }
}

/// What an ADD's or MOD's `poll` left behind.
#[derive(Default)]
pub(crate) struct Finished {
    /// Queues that hold the hook now.
    pub(crate) added: Vec<Arc<dyn Hooked>>,
    /// Why it was refused.
    pub(crate) error: Option<io::Error>,
}

impl fmt::Debug for PollTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollTable")
            .field("interest", &self.interest)
            .field("hooking", &self.hooking.as_ref().map(|hooking| hooking.item))
            .finish()
    }
}
