//! Every operation of [`Limit`] is one critical section, so trying every order of them tries everything that threads could do.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

/// A task: remembers that it was woken.
#[derive(Default)]
struct Task {
    woken: AtomicBool,
    wakes: AtomicUsize,
}

impl Wake for Task {
    fn wake(self: std::sync::Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        self.wakes.fetch_add(1, Ordering::SeqCst);
    }
}

const WAITERS: usize = 3;

/// Some tasks that want permits, and the permits they have got.
struct World<'a> {
    limit: &'a Arc<Limit>,
    tasks: [std::sync::Arc<Task>; WAITERS],
    takes: [Option<Pin<Box<Take<'a>>>>; WAITERS],
    /// The last poll of the place found nothing, and it was not woken since.
    place: Option<std::sync::Arc<Task>>,
    permits: Vec<Permit>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The task polls its future; it begins a new one if it has none. Woken or not.
    Poll(usize),
    /// The task drops its future.
    Cancel(usize),
    /// A poll of the place.
    Place,
    /// The oldest permit goes back.
    GiveBack,
}

impl<'a> World<'a> {
    fn new(limit: &'a Arc<Limit>) -> Self {
        Self { limit, tasks: Default::default(), takes: Default::default(), place: None, permits: Vec::new() }
    }

    fn poll(&mut self, who: usize) {
        let take = self.takes[who].get_or_insert_with(|| Box::pin(self.limit.take()));
        self.tasks[who].woken.store(false, Ordering::SeqCst);
        let waker = Waker::from(self.tasks[who].clone());
        if let Poll::Ready(permit) = take.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.permits.push(permit);
            self.takes[who] = None;
        }
    }

    /// Whether the step meant anything.
    fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Poll(who) => self.poll(who),
            Step::Cancel(who) if self.takes[who].is_some() => self.takes[who] = None,
            Step::GiveBack if !self.permits.is_empty() => drop(self.permits.remove(0)),
            Step::Place => {
                let task = std::sync::Arc::new(Task::default());
                let waker = Waker::from(task.clone());
                self.place = Some(task);
                if let Poll::Ready(permit) = self.limit.poll_take(&mut Context::from_waker(&waker)) {
                    self.permits.push(permit);
                    self.place = None;
                }
            }
            _ => return false,
        }
        true
    }

    fn waiting(&self, woken: bool) -> usize {
        let of = |who: &usize| self.takes[*who].is_some() && self.is_woken(*who) == woken;
        (0..WAITERS).filter(of).count()
    }

    fn is_woken(&self, who: usize) -> bool {
        self.tasks[who].woken.load(Ordering::SeqCst)
    }

    /// What the head of the module promises.
    fn check(&self, steps: &[Step]) {
        let (free, queued) = {
            let state = lock(&self.limit.state);
            (state.free, state.queue.len())
        };
        assert_eq!(queued, self.waiting(false), "{steps:?}: who sleeps, and nobody else, is queued");
        assert!(
            self.waiting(false) == 0 || self.waiting(true) >= free,
            "{steps:?}: {free} free, {} asleep, {} woken",
            self.waiting(false),
            self.waiting(true)
        );
        if let Some(task) = &self.place {
            assert!(free == 0 || task.woken.load(Ordering::SeqCst), "{steps:?}: the place sleeps");
        }
    }

    /// Lets those who were woken run: afterwards nobody may sleep beside a free permit.
    fn settle(&mut self, permits: usize, steps: &[Step]) {
        while let Some(who) = (0..WAITERS).find(|who| self.takes[*who].is_some() && self.is_woken(*who)) {
            self.poll(who);
        }
        let free = lock(&self.limit.state).free;
        assert!(free == 0 || self.waiting(false) == 0, "{steps:?}: asleep beside {free} free");
        assert_eq!(free + self.permits.len(), permits, "{steps:?}: the count");
    }
}

/// All continuations of `steps`, `depth` steps deep. Steps can't be taken back, so each one starts from the beginning.
fn explore(permits: usize, steps: &mut Vec<Step>, depth: usize, tried: &mut usize) {
    let limit = Limit::new(permits);
    let mut world = World::new(&limit);
    for (at, step) in steps.iter().enumerate() {
        if !world.step(*step) {
            assert_eq!(at + 1, steps.len(), "what means nothing is not continued");
            return;
        }
    }
    world.check(steps);
    world.settle(permits, steps);
    *tried += 1;
    drop(world);
    if depth > 0 {
        let all = (0..WAITERS).flat_map(|who| [Step::Poll(who), Step::Cancel(who)]);
        for step in all.chain([Step::Place, Step::GiveBack]) {
            steps.push(step);
            explore(permits, steps, depth - 1, tried);
            steps.pop();
        }
    }
}

#[test]
fn no_order_of_polls_cancellations_and_returns_loses_a_wakeup_or_a_permit() {
    for permits in [1, 2] {
        // All permits are taken at first: that is where it begins to be difficult.
        let mut steps = vec![Step::Place; permits];
        let mut tried = 0;
        explore(permits, &mut steps, 6, &mut tried);
        assert!(tried > 10_000, "{tried}");
    }
}

/// async-lock's semaphore wakes only the first here.
#[test]
fn two_permits_that_come_back_at_once_wake_two() {
    let limit = Limit::new(2);
    let mut world = World::new(&limit);
    for step in [Step::Place, Step::Place, Step::Poll(0), Step::Poll(1), Step::Poll(2)] {
        assert!(world.step(step));
    }
    world.permits.clear();
    let wakes: Vec<_> = world.tasks.iter().map(|task| task.wakes.load(Ordering::SeqCst)).collect();
    assert_eq!(wakes, [1, 1, 0], "those that can go on, and nobody else");
}

#[test]
fn who_came_first_is_served_first_and_keeps_its_turn() {
    let limit = Limit::new(1);
    let mut world = World::new(&limit);
    for step in [Step::Place, Step::Poll(0), Step::Poll(1), Step::GiveBack, Step::Poll(2)] {
        assert!(world.step(step));
    }
    // 2 was quicker than 0, which was woken. 0 comes before 1 all the same.
    assert_eq!(world.permits.len(), 1);
    world.step(Step::Poll(0));
    world.step(Step::GiveBack);
    assert!(world.is_woken(0) && !world.is_woken(1));
}

/// Waking and dropping wakers is foreign code: here it comes back to the limit, which would be a deadlock under the lock.
#[test]
fn a_waker_that_uses_the_limit_meets_no_lock() {
    struct Meddler(Arc<Limit>);
    impl Wake for Meddler {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.leave_place();
        }
    }
    impl Drop for Meddler {
        fn drop(&mut self) {
            self.0.leave_place();
        }
    }
    let limit = Limit::new(1);
    let waker = || Waker::from(std::sync::Arc::new(Meddler(limit.clone())));
    let Poll::Ready(permit) = limit.poll_take(&mut Context::from_waker(&waker())) else {
        panic!("it is free")
    };
    assert!(limit.poll_take(&mut Context::from_waker(&waker())).is_pending());
    assert!(limit.poll_take(&mut Context::from_waker(&waker())).is_pending());
    let mut take = Box::pin(limit.take());
    assert!(take.as_mut().poll(&mut Context::from_waker(&waker())).is_pending());
    assert!(take.as_mut().poll(&mut Context::from_waker(&waker())).is_pending());
    let mut other = Box::pin(limit.take());
    assert!(other.as_mut().poll(&mut Context::from_waker(&waker())).is_pending());
    drop(permit);
    drop(take);
    assert!(other.as_mut().poll(&mut Context::from_waker(&waker())).is_ready());
    limit.leave_place();
}
