//! [`AsyncSource`]: any source of the reactor, awaited like a socket.
//!
//! ```text
//!   the source:  its state changes ─► its queue wakes the runtime's instance ─► a worker asks the level, and has an event ─► the wakers are taken
//!   a waiter:    looks at the level ─► stores its waker ─► shut down? error ─► looks at the level again ─► Pending
//! ```
//!
//! A source in memory can be asked for its level at any time, so nothing is cached here and nothing is cleared. A waiter's second look comes after its
//! waker is stored. If the change comes before that look, it is seen; if it comes after it, so does the event, which finds the waker. The interest is
//! edge-triggered: an event for each change, and none for a level that just stays. A level that fell again before a worker asked makes no event,
//! and nobody needs one: who waits then waits for the next change.

use super::{
    Direction, mask,
    scheduled::{Name, ScheduledIo},
    uninterrupted,
};
use crate::{context, coop, runtime::Handle, shared::Shared, sync::Arc};
use egret_reactor::{AsSource, Events, Source, level};
use std::{
    fmt,
    future::Future,
    io,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// A source of the reactor in a runtime: anything that says when it becomes ready, no descriptor needed.
///
/// A [`Counter`](egret_reactor::Counter), a [`Timer`](egret_reactor::Timer), an end of a [`channel`](egret_reactor::channel), an
/// [`Eventpoll`](egret_reactor::Eventpoll) with everything it watches, or a type of your own that implements [`Source`]. Its readiness reaches tasks on the
/// same way as a socket's: through the instance that the workers wait in.
///
/// The source stays usable by itself, on any thread, and in other instances and runtimes at the same time. Dereferences to it.
///
/// # Examples
///
/// ```
/// use egret_executor::{Runtime, io::AsyncSource};
/// use egret_reactor::channel;
///
/// Runtime::new()?.block_on(async {
///     let (sender, receiver) = channel(16);
///     let receiver = AsyncSource::new(receiver)?;
///     // A thread that knows nothing of tasks.
///     let thread = std::thread::spawn(move || sender.try_send("from outside").unwrap());
///     let item = loop {
///         receiver.readable().await?;
///         if let Ok(item) = receiver.try_recv() {
///             break item;
///         }
///     };
///     assert_eq!(item, "from outside");
///     thread.join().unwrap();
///     Ok::<_, std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct AsyncSource<S: AsSource> {
    /// None only when it was taken out.
    io: Option<S>,
    source: std::sync::Arc<dyn Source>,
    shared: Arc<Shared>,
    /// The slot of its wakers, the `data` of its events, and its tag: so one source may be here several times.
    key: u64,
}

/// What it can wait for at all.
const ALL: Events = Events::IN.union(Events::OUT).union(Events::PRI).union(Events::RDHUP);

/// How an interest is told is not the user's choice here.
const MODES: Events = Events::EXCLUSIVE.union(Events::WAKEUP).union(Events::ONESHOT).union(Events::ET);

// No user code but the source's own runs inside of it; whether that stands a panic is the source's to say.
impl<S: AsSource + std::panic::UnwindSafe> std::panic::UnwindSafe for AsyncSource<S> {}
impl<S: AsSource + std::panic::RefUnwindSafe> std::panic::RefUnwindSafe for AsyncSource<S> {}

impl<S: AsSource> AsyncSource<S> {
    /// Takes a source into the current runtime, to wait for whatever it may tell.
    ///
    /// # Errors
    ///
    /// Outside a runtime, and after its shutdown: of kind [`Other`](io::ErrorKind::Other). What [`Eventpoll::add`](egret_reactor::Eventpoll::add) says: too many
    /// interests, a circle of instances, a source that refuses.
    ///
    /// # Panics
    ///
    /// With the panic of the source's [`poll`](Source::poll); nothing is registered then.
    pub fn new(source: S) -> io::Result<Self> {
        Self::with_interest(source, ALL)
    }

    /// Takes a source into the current runtime, to wait for the conditions in `interest` only (and for ERR and HUP, always): changes of the others wake no
    /// worker.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    pub fn with_interest(source: S, interest: Events) -> io::Result<Self> {
        let Some(handle) = context::try_current() else {
            return Err(io::Error::other(
                "no egret runtime on this thread: a source is taken in a task, inside `block_on`, or while a `Handle::enter` guard lives",
            ));
        };
        Self::new_in(source, interest, &handle)
    }

    /// Takes a source into a runtime. As [`with_interest`](Self::with_interest) otherwise.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    pub fn new_in(io: S, interest: Events, handle: &Handle) -> io::Result<Self> {
        let source = io.as_source();
        let shared = handle.shared.clone();
        let key = shared.io.register()?;
        // From here on its drop gives the slot back, also if the source's `poll` panics.
        let this = Self { io: Some(io), source, shared, key };
        this.shared.eventpoll.add(&this.source, key, (interest - MODES) | Events::ET, key)?;
        Ok(this)
    }

    /// The source.
    pub fn get_ref(&self) -> &S {
        self.io.as_ref().expect("it is there until `into_inner`")
    }

    /// Takes the source out of the runtime.
    pub fn into_inner(mut self) -> S {
        self.io.take().expect("it is there until this")
    }

    /// Which of the conditions in `interest` (and of ERR and HUP) hold now.
    ///
    /// # Panics
    ///
    /// With the panic of the source's [`poll`](Source::poll).
    pub fn level(&self, interest: Events) -> Events {
        level(&self.source, interest | Events::ERR | Events::HUP)
    }

    /// Waits until the source is readable, or at its end. Any number of tasks may wait.
    ///
    /// Somebody else may be faster: try, and wait again if there was nothing.
    ///
    /// # Errors
    ///
    /// The runtime was shut down.
    ///
    /// # Panics
    ///
    /// As [`level`](Self::level).
    ///
    /// # Cancel safety
    ///
    /// Nothing is consumed, so nothing is lost.
    pub fn readable(&self) -> SourceReady<'_, S> {
        self.ready(Events::IN)
    }

    /// Waits until the source is writable, or at its end. As [`readable`](Self::readable) otherwise.
    pub fn writable(&self) -> SourceReady<'_, S> {
        self.ready(Events::OUT)
    }

    /// Waits until one of the conditions in `interest` holds, or ERR or HUP, and answers which do. As [`readable`](Self::readable) otherwise.
    pub fn ready(&self, interest: Events) -> SourceReady<'_, S> {
        SourceReady { source: self, scheduled: None, name: Name::unnumbered(mask(interest)) }
    }

    /// [`ready`](Self::ready) for who has a context: the task that polled last in this direction is woken.
    ///
    /// # Errors
    ///
    /// The runtime was shut down.
    ///
    /// # Panics
    ///
    /// As [`level`](Self::level).
    pub fn poll_ready(&self, cx: &mut Context<'_>, direction: Direction) -> Poll<io::Result<Events>> {
        let coop = ready!(coop::poll_proceed(cx));
        let poll = self.poll_level(direction.mask(), || {
            self.scheduled()?.set(direction, cx.waker());
            Ok(())
        });
        if poll.is_ready() {
            coop.made_progress();
        }
        poll
    }

    /// Makes `call` if one of the conditions in `interest` holds, or ERR or HUP. Doesn't wait; repeats it when it was interrupted.
    ///
    /// ```
    /// use egret_executor::{Runtime, io::AsyncSource};
    /// use egret_reactor::{Counter, Events};
    /// use std::{io, sync::Arc};
    ///
    /// Runtime::new()?.block_on(async {
    ///     let counter = AsyncSource::new(Arc::new(Counter::new(3)))?;
    ///     assert_eq!(counter.try_io(Events::IN, |counter| counter.read())?, 3);
    ///     let empty = counter.try_io(Events::IN, |counter| counter.read()).unwrap_err();
    ///     assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
    ///     Ok::<_, io::Error>(())
    /// })?;
    /// # Ok::<(), io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nothing holds (`call` is not made then); what `call` says. Works after the shutdown of the runtime, too:
    /// nobody waits.
    ///
    /// # Panics
    ///
    /// As [`level`](Self::level).
    pub fn try_io<R>(&self, interest: Events, mut call: impl FnMut(&S) -> io::Result<R>) -> io::Result<R> {
        if self.level(mask(interest)).is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        uninterrupted(|| call(self.get_ref()))
    }

    /// Makes `call` as soon as the source is ready for it, again and again until it doesn't say [`WouldBlock`](io::ErrorKind::WouldBlock).
    /// Repeats it at once when it was interrupted.
    ///
    /// # Errors
    ///
    /// The runtime was shut down; what `call` says.
    ///
    /// # Panics
    ///
    /// As [`level`](Self::level).
    ///
    /// # Cancel safety
    ///
    /// `call` has run to its end or not at all when the future is dropped, and what it did is returned at once.
    pub async fn async_io<R>(
        &self,
        interest: Events,
        mut call: impl FnMut(&S) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            self.ready(interest).await?;
            match uninterrupted(|| call(self.get_ref())) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    fn poll_level(&self, mask: Events, store: impl FnOnce() -> io::Result<()>) -> Poll<io::Result<Events>> {
        let holds = self.level(mask);
        if !holds.is_empty() {
            return Poll::Ready(Ok(holds));
        }
        store()?;
        // After the waker was stored: see the driver's `shut_down`.
        self.shared.io.check()?;
        let holds = self.level(mask);
        if holds.is_empty() { Poll::Pending } else { Poll::Ready(Ok(holds)) }
    }

    fn scheduled(&self) -> io::Result<&ScheduledIo> {
        // The slot is released by the drop alone.
        self.shared.io.scheduled(self.key).ok_or_else(|| io::Error::other("the source's slot is gone"))
    }
}

impl<S: AsSource> Deref for AsyncSource<S> {
    type Target = S;

    fn deref(&self) -> &S {
        self.get_ref()
    }
}

impl<S: AsSource> Drop for AsyncSource<S> {
    fn drop(&mut self) {
        // Not there if it was refused, or if the instance ended: as it should be.
        let _absent = self.shared.eventpoll.remove(&self.source, self.key);
        self.shared.io.deregister(self.key);
    }
}

impl<S: AsSource + fmt::Debug> fmt::Debug for AsyncSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncSource").field(&self.io).finish()
    }
}

/// The future of [`AsyncSource::ready`]. Polled again after it was ready, it waits again.
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct SourceReady<'a, S: AsSource> {
    source: &'a AsyncSource<S>,
    /// Where it is among the waiters, once it has been; it may have been woken out of them meanwhile.
    scheduled: Option<&'a ScheduledIo>,
    /// What it waits for, and its name there.
    name: Name,
}

impl<S: AsSource> SourceReady<'_, S> {
    fn wait(&mut self, cx: &Context<'_>) -> io::Result<()> {
        if self.scheduled.is_some_and(|scheduled| scheduled.update(self.name, cx.waker())) {
            return Ok(());
        }
        let scheduled = self.source.scheduled()?;
        self.name = scheduled.add(self.name.mask(), cx.waker());
        self.scheduled = Some(scheduled);
        Ok(())
    }
}

impl<S: AsSource> Future for SourceReady<'_, S> {
    type Output = io::Result<Events>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let coop = ready!(coop::poll_proceed(cx));
        let this = self.get_mut();
        let (source, mask) = (this.source, this.name.mask());
        let poll = source.poll_level(mask, || this.wait(cx));
        if poll.is_ready() {
            coop.made_progress();
        }
        poll
    }
}

impl<S: AsSource> Drop for SourceReady<'_, S> {
    fn drop(&mut self) {
        if let Some(scheduled) = self.scheduled
            && scheduled.any_named()
        {
            scheduled.remove(self.name);
        }
    }
}

impl<S: AsSource + fmt::Debug> fmt::Debug for SourceReady<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceReady")
            .field("source", self.source)
            .field("waits_for", &self.name.mask())
            .finish()
    }
}
