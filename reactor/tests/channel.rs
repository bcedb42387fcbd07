//! [`channel`] against the kernel's pipe in packet mode, and by itself.
#![cfg(not(egret_loom))]

mod sources_common;

use egret_reactor::{Event, Eventpoll, Events, Receiver, Sender, TryRecvError, TrySendError, channel};
use proptest::prelude::*;
use sources_common::*;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

const READABLE: Events = Events::IN.union(Events::RDNORM);
const WRITABLE: Events = Events::OUT.union(Events::WRNORM);
/// Every bit that a poll could show, level-triggered.
const ALL: Events = Events::from_bits_retain(0x27ff);

const RECEIVER: u64 = 1;
const SENDER: u64 = 2;

/// A pipe whose every write takes a slot of its own, of which there are `slots`.
fn pipe(slots: usize) -> (OwnedFd, OwnedFd) {
    let mut ends = [-1; 2];
    let mode = libc::O_DIRECT | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: the array has room for the two ends.
    checked(unsafe { libc::pipe2(ends.as_mut_ptr(), mode) }).unwrap();
    let (reader, writer) = (owned(ends[0]), owned(ends[1]));
    // SAFETY: asks for the size of a page; takes no pointers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let size = i32::try_from(page).unwrap() * i32::try_from(slots).unwrap();
    // SAFETY: sets the size of a pipe that is ours; takes no pointers.
    let got = checked(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, size) }).unwrap();
    assert_eq!(got, i64::from(size));
    (reader, writer)
}

#[derive(Clone, Debug)]
enum Op {
    Send,
    Receive,
    CloneSender,
    DropSender,
    DropReceiver,
    ModifyReceiver(Events),
    ModifySender(Events),
    Wait(usize),
}

fn masks() -> impl Strategy<Value = Events> {
    let bits = [Events::IN, Events::OUT, Events::RDNORM, Events::WRNORM, Events::HUP, Events::RDHUP];
    let conditions = prop::sample::subsequence(bits.to_vec(), 0..=bits.len());
    let modes = prop::sample::subsequence(vec![Events::ET, Events::ONESHOT], 0..=2);
    (conditions, modes).prop_map(|(a, b)| a.into_iter().chain(b).collect())
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => Just(Op::Send),
        12 => Just(Op::Receive),
        2 => Just(Op::CloneSender),
        2 => Just(Op::DropSender),
        1 => Just(Op::DropReceiver),
        3 => masks().prop_map(Op::ModifyReceiver),
        3 => masks().prop_map(Op::ModifySender),
        12 => (1..4_usize).prop_map(Op::Wait),
    ]
}

/// What sending and receiving answer, in one language for both.
#[derive(Debug, PartialEq)]
enum Answer {
    Done(u8),
    WouldBlock,
    OtherEndGone,
}

fn sent(result: Result<(), TrySendError<u8>>) -> Answer {
    match result {
        Ok(()) => Answer::Done(0),
        Err(TrySendError::Full(_)) => Answer::WouldBlock,
        Err(TrySendError::Closed(_)) => Answer::OtherEndGone,
    }
}

fn kernel_sent(fd: &OwnedFd, item: u8) -> Answer {
    match write(fd, &[item]) {
        Ok(n) => {
            assert_eq!(n, 1);
            Answer::Done(0)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Answer::WouldBlock,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Answer::OtherEndGone,
        Err(error) => panic!("{error}"),
    }
}

fn received(result: Result<u8, TryRecvError>) -> Answer {
    match result {
        Ok(item) => Answer::Done(item),
        Err(TryRecvError::Empty) => Answer::WouldBlock,
        Err(TryRecvError::Disconnected) => Answer::OtherEndGone,
    }
}

fn kernel_received(fd: &OwnedFd) -> Answer {
    let mut item = [0];
    match read(fd, &mut item) {
        Ok(0) => Answer::OtherEndGone,
        Ok(_) => Answer::Done(item[0]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Answer::WouldBlock,
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same script on both: both ends in one instance, any interest, closing and dup'ing, and beside it an instance that shows
    /// the levels.
    #[test]
    fn a_channel_is_a_pipe(
        slots in prop::sample::select(vec![1_usize, 2, 4]),
        masks in (masks(), masks()),
        script in prop::collection::vec(ops(), 1..80),
    ) {
        let (reader, writer) = pipe(slots);
        let (oracle, levels) = (Oracle::new(), Oracle::new());
        let (sender, receiver) = channel(slots);
        let (poll, our_levels) = (Eventpoll::new().unwrap(), Eventpoll::new().unwrap());
        oracle.add(&reader, masks.0, RECEIVER).unwrap();
        oracle.add(&writer, masks.1, SENDER).unwrap();
        levels.add(&reader, ALL, RECEIVER).unwrap();
        levels.add(&writer, ALL, SENDER).unwrap();
        poll.add(&receiver, 0, masks.0, RECEIVER).unwrap();
        poll.add(&sender, 0, masks.1, SENDER).unwrap();
        our_levels.add(&receiver, 0, ALL, RECEIVER).unwrap();
        our_levels.add(&sender, 0, ALL, SENDER).unwrap();

        let (mut writers, mut senders) = (vec![writer], vec![sender]);
        let (mut reader, mut receiver) = (Some(reader), Some(receiver));
        let mut next = 0;
        for op in script {
            match op {
                Op::Send => if let (Some(writer), Some(sender)) = (writers.last(), senders.last()) {
                    next += 1;
                    let ours = sent(sender.try_send(next));
                    // A pipe that is full tells its reader of a write that failed, which was no arrival. The levels below
                    // show that it is full, too.
                    if ours != Answer::WouldBlock {
                        prop_assert_eq!(ours, kernel_sent(writer, next));
                    }
                },
                Op::Receive => if let (Some(reader), Some(receiver)) = (&reader, &receiver) {
                    prop_assert_eq!(received(receiver.try_recv()), kernel_received(reader));
                },
                Op::CloneSender => if let (Some(writer), Some(sender)) = (writers.last(), senders.last()) {
                    let clones = (writer.try_clone().unwrap(), sender.clone());
                    writers.push(clones.0);
                    senders.push(clones.1);
                },
                Op::DropSender => {
                    drop((writers.pop(), senders.pop()));
                }
                Op::DropReceiver => {
                    drop((reader.take(), receiver.take()));
                }
                Op::ModifyReceiver(mask) => if let (Some(reader), Some(receiver)) = (&reader, &receiver) {
                    oracle.modify(reader, mask, RECEIVER).unwrap();
                    poll.modify(receiver, 0, mask, RECEIVER).unwrap();
                },
                // By the first number: that is what the interest is known by, there.
                Op::ModifySender(mask) => if let (Some(writer), Some(sender)) = (writers.first(), senders.first()) {
                    oracle.modify(writer, mask, SENDER).unwrap();
                    poll.modify(sender, 0, mask, SENDER).unwrap();
                },
                Op::Wait(room) => prop_assert_eq!(wait(&poll, room, NOW), oracle.wait(room, NOW)),
            }
            prop_assert_eq!(look(&our_levels), levels.look());
        }
    }
}

#[test]
fn levels() {
    let (sender, receiver) = channel(2);
    let poll = Eventpoll::new().unwrap();
    poll.add(&receiver, 0, ALL, RECEIVER).unwrap();
    poll.add(&sender, 0, ALL, SENDER).unwrap();
    let writable = Event { events: WRITABLE, data: SENDER };
    let readable = Event { events: READABLE, data: RECEIVER };
    assert_eq!(look(&poll), [writable]);
    sender.try_send('a').unwrap();
    assert_eq!(look(&poll), [writable, readable]);
    sender.try_send('b').unwrap();
    assert_eq!(look(&poll), [readable]);
    assert_eq!(sender.try_send('c'), Err(TrySendError::Full('c')));
    assert_eq!((sender.len(), receiver.len(), sender.capacity(), receiver.capacity()), (2, 2, 2, 2));
    assert_eq!(receiver.try_recv(), Ok('a'));
    assert_eq!(look(&poll), [readable, writable]);
    assert_eq!(receiver.try_recv(), Ok('b'));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(look(&poll), [writable]);
    assert!(sender.is_empty() && receiver.is_empty() && !sender.is_closed() && !receiver.is_closed());
}

#[test]
fn every_item_is_an_edge_and_room_is_one_after_full() {
    let (sender, receiver) = channel(2);
    let (arrivals, room) =
        (watching(&receiver, Events::IN | Events::ET), watching(&sender, Events::OUT | Events::ET));
    assert_eq!(conditions(&room), [Events::OUT], "room at ADD");
    for item in [1, 2] {
        sender.try_send(item).unwrap();
        assert_eq!(conditions(&arrivals), [Events::IN]);
        assert_eq!(conditions(&arrivals), []);
    }
    receiver.try_recv().unwrap();
    assert_eq!(conditions(&room), [Events::OUT], "it was full");
    receiver.try_recv().unwrap();
    assert_eq!(conditions(&room), [], "there was room before");
    assert_eq!(conditions(&arrivals), []);
}

#[test]
fn fact_104_the_ends_of_a_channel() {
    let (sender, receiver) = channel(1);
    let poll = watching(&receiver, Events::empty());
    let clone = sender.clone();
    sender.try_send(7).unwrap();
    drop(sender);
    assert_eq!((conditions(&poll), receiver.is_closed()), (vec![], false), "a clone is left");
    drop(clone);
    assert!(receiver.is_closed());
    assert_eq!(conditions(&poll), [Events::HUP], "whether asked for or not");
    poll.modify(&receiver, 0, Events::IN, 1).unwrap();
    assert_eq!(conditions(&poll), [Events::IN | Events::HUP]);
    assert_eq!(receiver.try_recv(), Ok(7));
    assert_eq!(conditions(&poll), [Events::HUP], "without IN");
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));

    for (items, expected) in [(0, Events::OUT | Events::ERR), (1, Events::ERR)] {
        let (sender, receiver) = channel(1);
        let poll = watching(&sender, Events::OUT | Events::ET);
        (0..items).for_each(|item| sender.try_send(item).unwrap());
        look(&poll);
        drop(receiver);
        assert_eq!(conditions(&poll), [expected]);
        assert!(sender.is_closed() && sender.is_empty());
        assert_eq!(sender.try_send(9), Err(TrySendError::Closed(9)));
    }
}

#[test]
fn an_interest_goes_with_the_last_handle_of_its_end() {
    let (sender, receiver) = channel::<u8>(1);
    let poll = watching(&sender, Events::OUT);
    let clone = sender.clone();
    drop(sender);
    assert_eq!(conditions(&poll), [Events::OUT]);
    assert!(poll.add(&clone, 0, Events::OUT, 1).is_err(), "a clone is the same source");
    drop(clone);
    assert_eq!(look(&poll), []);
    poll.add(&receiver, 0, Events::IN, 1).unwrap();
    assert_eq!(conditions(&poll), [Events::HUP]);
    drop(receiver);
    assert_eq!(look(&poll), []);
}

/// An interest whose end is held by a source reference alone (as a scan in another thread does for a moment) still goes.
#[test]
fn a_reference_to_the_source_does_not_keep_an_end_open() {
    use egret_reactor::AsSource;
    let (sender, receiver) = channel::<u8>(1);
    let poll = watching(&sender, Events::OUT);
    let source = sender.as_source();
    drop(sender);
    assert!(receiver.is_closed());
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(look(&poll), []);
    let refused = poll.add(&source, 0, Events::OUT, 1).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EBADF));

    let source = receiver.as_source();
    drop(receiver);
    let refused = poll.add(&source, 0, Events::IN, 1).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EBADF));
    assert_eq!(look(&poll), []);
}

#[test]
#[should_panic(expected = "room")]
fn no_capacity_is_a_mistake() {
    channel::<u8>(0);
}

/// The end of the senders is for everybody: exclusive hooks don't keep it from each other.
#[test]
fn fact_103_a_hang_up_reaches_every_exclusive_instance() {
    bounded(|| {
        let (sender, receiver) = channel::<u8>(1);
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let poll = watching(&receiver, Events::IN | Events::ET | Events::EXCLUSIVE);
                let inside = poll.clone();
                let thread = thread::spawn(move || wait(&inside, 1, None)[0].events);
                until("it waits", || waiters(&poll) == 1);
                thread
            })
            .collect();
        drop(sender);
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), Events::HUP);
        }
    });
}

/// An item whose drop uses the channel that it lies in.
struct Entangled(#[expect(dead_code, reason = "only dropped")] Sender<Entangled>);

#[test]
fn items_are_dropped_without_the_lock() {
    bounded(|| {
        let (sender, receiver) = channel(4);
        for _ in 0..3 {
            sender.try_send(Entangled(sender.clone())).unwrap();
        }
        let poll = watching(&sender, Events::empty());
        drop(receiver);
        assert_eq!(conditions(&poll), [Events::ERR]);
        drop(sender.try_send(Entangled(sender.clone())));
        drop(sender);
        assert_eq!(look(&poll), []);
    });
}

struct Counted(Arc<AtomicUsize>, bool);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        assert!(!self.1, "an item's drop panics");
    }
}

#[test]
fn every_item_is_dropped_once() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = channel(4);
    for _ in 0..4 {
        sender.try_send(Counted(dropped.clone(), false)).unwrap();
    }
    drop(sender.try_send(Counted(dropped.clone(), false)));
    assert_eq!(dropped.load(Ordering::SeqCst), 1, "the one that came back");
    drop(receiver.try_recv());
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
    drop(receiver);
    assert_eq!(dropped.load(Ordering::SeqCst), 5, "with the receiver, not with the last sender");
    drop(sender.try_send(Counted(dropped.clone(), false)));
    drop(sender);
    assert_eq!(dropped.load(Ordering::SeqCst), 6);
}

#[test]
fn a_panic_in_an_items_drop_leaves_the_channel_closed() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = channel(2);
    let poll = watching(&sender, Events::empty());
    sender.try_send(Counted(dropped.clone(), true)).unwrap();
    catch_unwind(AssertUnwindSafe(|| drop(receiver))).unwrap_err();
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert!(sender.is_closed());
    assert_eq!(conditions(&poll), [Events::ERR]);
}

/// Takes everything that comes until the senders are gone, sleeping on edges.
fn drain(receiver: &Receiver<(usize, usize)>, mut each: impl FnMut(usize, usize)) {
    let poll = watching(receiver, Events::IN | Events::ET);
    loop {
        match receiver.try_recv() {
            Ok((sender, item)) => each(sender, item),
            Err(TryRecvError::Empty) => {
                wait(&poll, 1, None);
            }
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

#[test]
fn nothing_is_lost_between_threads() {
    const SENDERS: usize = 3;
    const EACH: usize = 5_000;
    for capacity in [1, 7] {
        bounded(move || {
            let (sender, receiver) = channel(capacity);
            let threads: Vec<_> = (0..SENDERS)
                .map(|number| {
                    let sender = sender.clone();
                    thread::spawn(move || {
                        let poll = watching(&sender, Events::OUT | Events::ET);
                        for item in 0..EACH {
                            while sender.try_send((number, item)).is_err() {
                                wait(&poll, 1, None);
                            }
                        }
                    })
                })
                .collect();
            drop(sender);
            let mut next = [0; SENDERS];
            drain(&receiver, |sender, item| {
                assert_eq!(item, next[sender], "in order");
                next[sender] += 1;
            });
            assert_eq!(next, [EACH; SENDERS]);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
}

/// Whoever sleeps on an end is told when the other goes, whatever it was just doing.
#[test]
fn the_end_is_never_slept_over() {
    bounded(|| {
        for round in 0..500 {
            let (sender, receiver) = channel(2);
            let thread = thread::spawn(move || {
                (0..round % 4).for_each(|item| {
                    assert_ne!(sender.try_send((0, item)), Err(TrySendError::Closed((0, item))))
                });
            });
            drain(&receiver, |_, _| {});
            thread.join().unwrap();

            let (sender, receiver) = channel(1);
            let thread = thread::spawn(move || {
                (0..round % 3).for_each(|_| assert_ne!(receiver.try_recv(), Err(TryRecvError::Disconnected)));
            });
            let poll = watching(&sender, Events::OUT | Events::ET);
            while !matches!(sender.try_send(round), Err(TrySendError::Closed(_))) {
                wait(&poll, 1, None);
            }
            thread.join().unwrap();
        }
    });
}
