//! What of a local set lives on its thread: the queue, the members, and which set is the current one.
//!
//! | field | holds | changed by |
//! |---|---|---|
//! | `queue` | tasks to be polled | wakes on this thread while the set is current; `open` and `wait`, which empty the inbox into it; the polls |
//! | `members` | a waker of each task whose future exists | `spawn`; the drop of a future; `close` |
//! | `driven` | a driver of this set is in its poll, somewhere up the stack | `drive` |
//! | `closed` | the set is gone: what is spawned is dropped | `close` |
//! | `home` | the runtime of tasks that are spawned where there is no current one; none if the set was never in one, see `nowhere` | the set's beginning; `drive` |
//! | `CURRENT` | the sets that are entered on this thread; the last is the current one | `enter`, and the drop of what it gives |
//!
//! No user code runs while a cell is borrowed.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    io,
    marker::PhantomData,
    mem,
    panic::Location,
    pin::Pin,
    rc::Rc,
    sync::OnceLock,
    task::{self, Poll},
};

use pin_project_lite::pin_project;

use super::{
    inbox::{Driver, Inbox, Settle},
    members::Members,
};
use crate::{
    context::{poll_local, try_current, with_current as with_runtime},
    queue::Pointer,
    runtime::{Builder, FeedChoice, Handle, Runtime},
    sync::Arc,
    task::{Id, JoinHandle, Task, spawn::make_local},
};

/// How many tasks a driver polls before it gives way to what else runs on its thread. tokio's value.
const TURN: usize = 61;

thread_local! {
    static CURRENT: RefCell<Entered> = const { RefCell::new(Entered { stack: Vec::new(), next: 0 }) };
}

struct Entered {
    stack: Vec<(u64, Rc<Context>)>,
    next: u64,
}

/// Calls `f`, which must not call user code, with the current set.
pub(super) fn with_current<R>(f: impl FnOnce(&Rc<Context>) -> R) -> Option<R> {
    let called = CURRENT.try_with(|entered| entered.borrow().stack.last().map(|(_, context)| f(context)));
    // A thread that is being torn down has none.
    called.ok().flatten()
}

/// Keeps a set current.
pub(super) struct Here {
    /// None on a thread that is being torn down.
    id: Option<u64>,
    not_send: PhantomData<*const ()>,
}

impl Drop for Here {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        // It may be the set's last reference: it goes after the borrow.
        let _context = CURRENT.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            let at = entered.stack.iter().rposition(|(other, _)| *other == id)?;
            Some(entered.stack.remove(at))
        });
    }
}

/// Says that a driver is in its poll, until it is dropped.
struct Driven<'a>(&'a Cell<bool>, bool);

impl Drop for Driven<'_> {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

/// A driver's poll that doesn't end asleep, be it by a panic, leaves the set awake, and perhaps with work: the other drivers are told.
struct Open<'a>(&'a Inbox<Task>);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

/// The part of a set that its tasks, its guards and the thread-local share.
pub(super) struct Context {
    inbox: Arc<Inbox<Task>>,
    queue: RefCell<VecDeque<Task>>,
    members: RefCell<Members>,
    driven: Cell<bool>,
    closed: Cell<bool>,
    home: RefCell<Option<Handle>>,
    next_driver: Cell<Driver>,
}

impl Context {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            inbox: Arc::default(),
            queue: RefCell::default(),
            members: RefCell::default(),
            driven: Cell::new(false),
            closed: Cell::new(false),
            home: RefCell::new(try_current()),
            next_driver: Cell::new(0),
        })
    }

    /// Makes it the current set.
    pub(super) fn enter(self: &Rc<Self>) -> Here {
        let context = self.clone();
        let id = CURRENT.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            let id = entered.next;
            entered.next += 1;
            entered.stack.push((id, context));
            id
        });
        Here { id: id.ok(), not_send: PhantomData }
    }

    pub(super) fn new_driver(&self) -> Driver {
        let driver = self.next_driver.get();
        self.next_driver.set(driver + 1);
        driver
    }

    /// How many tasks' futures exist.
    pub(super) fn len(&self) -> usize {
        self.members.borrow().len()
    }

    /// Makes a task and queues it.
    #[track_caller]
    pub(super) fn spawn<F>(self: &Rc<Self>, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let home = try_current().or_else(|| self.home.borrow().clone()).unwrap_or_else(nowhere);
        let place = self.members.borrow_mut().reserve();
        let future = Member { future, entry: Entry { context: self.clone(), place } };
        let inbox = self.inbox.clone();
        let schedule = move |task| schedule(&inbox, task);
        // SAFETY: the future is polled and dropped on this thread only, as the module of the set argues. It isn't polled here.
        let (task, handle) =
            unsafe { make_local(&home.shared, future, Location::caller(), Id::next(), schedule) };
        if self.closed.get() {
            drop(task);
            return handle;
        }
        self.members.borrow_mut().fill(place, task.waker());
        self.queue.borrow_mut().push_back(task);
        if !self.driven.get() {
            self.inbox.notify();
        }
        handle
    }

    /// A driver's poll: what it does first, and if that is pending, a turn of the set, and what it has to say after that.
    pub(super) fn drive<R>(
        self: &Rc<Self>,
        driver: Driver,
        cx: &mut task::Context<'_>,
        first: impl FnOnce(&mut task::Context<'_>) -> Poll<R>,
        last: impl FnOnce() -> Poll<R>,
    ) -> Poll<R> {
        let _here = self.enter();
        let _driven = Driven(&self.driven, self.driven.replace(true));
        self.move_in();
        self.inbox.open(&mut self.queue.borrow_mut());
        let open = Open(&self.inbox);
        if let Poll::Ready(result) = first(cx) {
            return Poll::Ready(result);
        }
        for _ in 0..TURN {
            let Some(task) = self.pop() else { break };
            poll(task);
        }
        if let Poll::Ready(result) = last() {
            return Poll::Ready(result);
        }
        let done = self.queue.borrow().is_empty();
        if done && self.inbox.settle(driver, cx.waker().clone()) == Settle::Asleep {
            mem::forget(open);
        } else {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// A driver is gone.
    pub(super) fn leave(&self, driver: Driver) {
        self.inbox.leave(driver);
    }

    /// The runtime it is driven in becomes the home of what is spawned where there is none.
    fn move_in(&self) {
        let settled = self.home.borrow().as_ref().is_some_and(|home| home.shared.is_running());
        if !settled {
            let old = with_runtime(Handle::clone).and_then(|current| self.home.replace(Some(current)));
            drop(old);
        }
    }

    fn pop(&self) -> Option<Task> {
        self.queue.borrow_mut().pop_front()
    }

    /// Drops all tasks, and those that are spawned from now on.
    pub(super) fn close(self: &Rc<Self>) {
        self.closed.set(true);
        // What is dropped finds the set, which takes no more.
        let _here = self.enter();
        let wakers = self.members.borrow_mut().take_wakers();
        for waker in wakers {
            waker.wake();
        }
        loop {
            while let Some(task) = self.pop() {
                drop(task);
            }
            if self.len() == 0 {
                break;
            }
            self.inbox.wait(&mut self.queue.borrow_mut());
        }
        self.inbox.close();
    }
}

/// Polls a task, or drops it if its runtime has ended. Doesn't unwind: the harness catches what its future throws.
fn poll(task: Task) {
    if !task.metadata().shared.is_running() {
        return drop(task);
    }
    let pointer = task.into_ptr();
    // SAFETY: out of `into_ptr` the line above.
    let task = unsafe { Task::from_ptr(pointer) };
    // A task's wakers carry the same pointer.
    poll_local(pointer.as_ptr(), || {
        task.run();
    });
}

/// The home of tasks that are spawned outside of any runtime, in a set that was never in one: a runtime of this process that runs nothing, and never ends. It
/// has the books that a task is entered in, no thread, and the feed that costs least.
#[cold]
#[track_caller]
fn nowhere() -> Handle {
    static NOWHERE: OnceLock<io::Result<Runtime>> = OnceLock::new();
    match NOWHERE.get_or_init(|| Builder::new_current_thread().feed(FeedChoice::Poll).build()) {
        Ok(runtime) => runtime.handle().clone(),
        Err(error) => {
            panic!("no egret runtime here, nor room for the books of a task outside of one: {error}")
        }
    }
}

/// Puts a task that was woken, on whatever thread, into one of its set's queues.
fn schedule(inbox: &Arc<Inbox<Task>>, task: Task) {
    let mut task = Some(task);
    let queued = with_current(|context| {
        if !Arc::ptr_eq(&context.inbox, inbox) {
            return None;
        }
        context.queue.borrow_mut().extend(task.take());
        Some(context.driven.get())
    });
    match queued.flatten() {
        Some(true) => {}
        Some(false) => inbox.notify(),
        None => task.into_iter().for_each(|task| inbox.push(task)),
    }
}

pin_project! {
    /// The user's future, and after it, in the order of drops, its entry.
    struct Member<F> {
        #[pin]
        future: F,
        entry: Entry,
    }
}

impl<F: Future> Future for Member<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

/// A task's place among the members.
struct Entry {
    context: Rc<Context>,
    place: usize,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let waker = self.context.members.borrow_mut().remove(self.place);
        drop(waker);
    }
}
