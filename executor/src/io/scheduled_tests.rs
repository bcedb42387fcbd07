//! Who is woken by what, and who is not.

use super::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Wake,
};

#[derive(Default)]
struct Flag(AtomicUsize);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Flag {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

fn flag() -> (Arc<Flag>, Waker) {
    let flag = Arc::new(Flag::default());
    (flag.clone(), Waker::from(flag))
}

#[test]
fn the_wake_matrix() {
    // Event, wakes the reader, wakes the writer, wakes a waiter for PRI.
    let matrix = [
        (Events::IN, 1, 0, 0),
        (Events::OUT, 0, 1, 0),
        (Events::PRI, 0, 0, 1),
        // Taken for a hang-up, a half-closed connection would be writable for ever.
        (Events::RDHUP, 1, 0, 0),
        (Events::HUP, 1, 1, 1),
        (Events::ERR, 1, 1, 1),
        (Events::IN | Events::OUT, 1, 1, 0),
        (Events::empty(), 0, 0, 0),
    ];
    for (events, reads, writes, priority) in matrix {
        let io = ScheduledIo::default();
        let (reader, read_waker) = flag();
        let (writer, write_waker) = flag();
        let (listed_reader, listed_read_waker) = flag();
        let (listed_writer, listed_write_waker) = flag();
        let (urgent, urgent_waker) = flag();
        io.set(Direction::Read, &read_waker);
        io.set(Direction::Write, &write_waker);
        io.add(Direction::Read.mask(), &listed_read_waker);
        io.add(Direction::Write.mask(), &listed_write_waker);
        io.add(super::super::mask(Events::PRI), &urgent_waker);
        io.wake(events);
        let woken = [&reader, &listed_reader, &writer, &listed_writer, &urgent].map(|flag| flag.take());
        assert_eq!(woken, [reads, reads, writes, writes, priority], "{events:?}");
        // Who was woken isn't woken again; who wasn't still waits.
        io.wake_all();
        let rest = [&reader, &listed_reader, &writer, &listed_writer, &urgent].map(|flag| flag.take());
        assert_eq!(rest, woken.map(|count| 1 - count), "{events:?}, then all");
    }
}

#[test]
fn a_fixed_place_wakes_the_last_task_alone() {
    let io = ScheduledIo::default();
    let (first, first_waker) = flag();
    let (second, second_waker) = flag();
    io.set(Direction::Read, &first_waker);
    io.set(Direction::Read, &second_waker);
    assert_eq!(Arc::strong_count(&first), 2, "the replaced waker was dropped");
    io.wake(Events::IN);
    assert_eq!((first.take(), second.take()), (0, 1));
}

#[test]
fn the_same_task_is_not_cloned_again() {
    let io = ScheduledIo::default();
    let (flag, waker) = flag();
    for _ in 0..3 {
        io.set(Direction::Write, &waker);
    }
    let id = io.add(Events::IN, &waker);
    assert!(io.update(id, &waker));
    assert_eq!(Arc::strong_count(&flag), 4);
}

#[test]
fn waiters_leave_by_number() {
    let io = ScheduledIo::default();
    let waiters: Vec<_> = (0..5).map(|_| flag()).collect();
    let ids: Vec<_> = waiters.iter().map(|(_, waker)| io.add(Events::IN, waker)).collect();
    io.remove(ids[1]);
    io.remove(ids[3]);
    io.remove(ids[3]);
    let (replacement, waker) = flag();
    assert!(io.update(ids[4], &waker));
    assert!(!io.update(ids[1], &waker), "it left");
    io.wake(Events::IN);
    let woken: Vec<_> = waiters.iter().map(|(flag, _)| flag.take()).collect();
    assert_eq!(woken, [1, 0, 1, 0, 0]);
    assert_eq!(replacement.take(), 1);
    assert!(!io.update(ids[0], &waker), "it was woken");
}

#[test]
fn more_waiters_than_a_batch_holds() {
    let io = ScheduledIo::default();
    let waiters: Vec<_> = (0..100).map(|_| flag()).collect();
    for (at, (_, waker)) in waiters.iter().enumerate() {
        io.add(if at % 3 == 0 { Events::OUT } else { Events::IN }, waker);
    }
    io.wake(Events::IN);
    for (at, (flag, _)) in waiters.iter().enumerate() {
        assert_eq!(flag.take(), usize::from(at % 3 != 0), "waiter {at}");
    }
}

/// A waker that comes back to the lock when it is woken, cloned or dropped: a deadlock if any of these ran under it.
#[test]
fn no_user_code_runs_under_the_lock() {
    struct Reentrant(Arc<ScheduledIo>);
    impl Wake for Reentrant {
        fn wake(self: Arc<Self>) {
            self.0.wake(Events::OUT);
        }
    }
    impl Drop for Reentrant {
        fn drop(&mut self) {
            self.0.wake(Events::OUT);
        }
    }
    let io = Arc::new(ScheduledIo::default());
    let waker = || Waker::from(Arc::new(Reentrant(io.clone())));
    io.set(Direction::Read, &waker());
    io.set(Direction::Read, &waker());
    let id = io.add(Events::IN, &waker());
    assert!(io.update(id, &waker()));
    let other = io.add(Events::IN, &waker());
    io.remove(other);
    io.wake(Events::IN);
    io.set(Direction::Write, &waker());
    io.add(Events::IN, &waker());
    io.clear();
    assert_eq!(Arc::strong_count(&io), 1);
}

#[test]
fn a_poll_that_takes_the_place_of_a_future_does_not_silence_it() {
    let io = ScheduledIo::default();
    let (future, future_waker) = flag();
    let (other, other_waker) = flag();
    let (poll, poll_waker) = flag();
    let in_place = io.add(Direction::Read.mask(), &future_waker);
    let listed = io.add(Direction::Read.mask(), &other_waker);
    io.set(Direction::Read, &poll_waker);
    assert!(io.update(in_place, &future_waker), "moved, not forgotten");
    assert!(io.update(listed, &other_waker));
    io.wake(Events::IN);
    assert_eq!([future.take(), other.take(), poll.take()], [1, 1, 1]);
    assert!(!io.update(in_place, &future_waker), "woken is gone");
}

#[test]
fn a_future_that_leaves_its_place_frees_it_and_nobody_elses() {
    let io = ScheduledIo::default();
    let (first, first_waker) = flag();
    let (poll, poll_waker) = flag();
    let id = io.add(Direction::Write.mask(), &first_waker);
    io.remove(id);
    io.set(Direction::Write, &poll_waker);
    io.remove(id);
    io.wake(Events::OUT);
    assert_eq!([first.take(), poll.take()], [0, 1]);
}

/// Long random scripts, beside a list that says what has to happen.
#[test]
fn whoever_comes_and_goes_the_marks_are_right() {
    /// Who waits there: its flag, what it hears, its name; none is a poll.
    struct There {
        flag: Arc<Flag>,
        mask: Events,
        name: Option<Name>,
    }
    let masks =
        [Direction::Read.mask(), Direction::Write.mask(), Events::IN, super::super::mask(Events::PRI)];
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut below = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 33) as usize % bound
    };
    let io = ScheduledIo::default();
    let mut there: Vec<There> = Vec::new();
    let mut gone: Vec<Name> = Vec::new();
    for step in 0..20_000 {
        let (flag, waker) = flag();
        match below(8) {
            0..=2 => {
                let mask = masks[below(masks.len())];
                let name = Some(io.add(mask, &waker));
                there.push(There { flag, mask, name });
            }
            3 => {
                let direction = [Direction::Read, Direction::Write][below(2)];
                io.set(direction, &waker);
                there.retain(|waiter| waiter.name.is_some() || waiter.mask != direction.mask());
                there.push(There { flag, mask: direction.mask(), name: None });
            }
            4 | 5 if !there.is_empty() => {
                let at = below(there.len());
                if let Some(name) = there[at].name {
                    there.remove(at);
                    io.remove(name);
                    gone.push(name);
                }
            }
            6 if !there.is_empty() => {
                let at = below(there.len());
                if let Some(name) = there[at].name {
                    assert!(io.update(name, &waker), "step {step}");
                    there[at].flag = flag;
                }
            }
            7 => {
                let events = [Events::IN, Events::OUT, Events::PRI, Events::HUP][below(4)];
                io.wake(events);
                there.retain(|waiter| {
                    let hears = waiter.mask.intersects(events);
                    assert_eq!(waiter.flag.take(), usize::from(hears), "step {step}");
                    gone.extend(waiter.name.filter(|_| hears));
                    !hears
                });
            }
            _ => {}
        }
        assert_eq!(io.any_named(), there.iter().any(|waiter| waiter.name.is_some()), "step {step}");
        // Who has gone finds nobody under its name, however often others sat there since.
        if let Some(name) = gone.get(below(gone.len() + 1)) {
            io.remove(*name);
            assert!(!io.update(*name, Waker::noop()), "step {step}");
        }
    }
}
