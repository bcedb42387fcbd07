//! The `uring` feed: io_uring multishot poll.
//!
//! One `POLL_ADD` with the multishot flag is the kernel's own wait-queue hook in another coat: it stays armed and posts a
//! completion with the present level for every arrival. Submissions are batched and go in with the next `io_uring_enter`,
//! which is the one that blocks; completions are read from shared memory without a system call. `COOP_TASKRUN` (and not
//! `DEFER_TASKRUN`): completions appear whenever the submitting thread passes through the kernel, at the latest at the next
//! timer tick, and any thread may take them. The ring says when some are waiting for that (`TASKRUN_FLAG`), so a look that must
//! not miss anything enters the kernel only if it has to.
//!
//! Who may touch what:
//!
//! | part                     | protected by                                              |
//! |--------------------------|-----------------------------------------------------------|
//! | submission queue's tail  | `submission`                                              |
//! | completion queue's head  | `completion`                                              |
//! | `io_uring_enter`         | nothing: any thread, at any time (the kernel locks the ring) |
//!
//! What can go wrong, and what is done:
//! * The completion queue overflows: the kernel keeps what doesn't fit (`FEAT_NODROP`) and ends multishot arms with a last
//!   completion; the rest is fetched after a full queue was emptied, and the lane arms again.
//! * The thread that submitted an arm ends: its arms end with `ECANCELED`; the lane arms again.
//! * The ring can't be made, or a seccomp filter refuses one of its three system calls: `new` tries all of them and fails.

use super::{Completion, Disarmed, Fallen, Feed, Token};
use crate::events::Events;
use crate::fork::Birthplace;
use crate::sync::{AtomicBool, Mutex, Ordering};
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Entries of the submission queue: what one turn of a busy worker arms and closes. When it is full it is submitted. A guess.
const SUBMISSIONS: u32 = 256;
/// How long a look waits at most for another thread's share. Measured: microseconds for a thread that runs or sleeps, two ticks for one
/// that has ended; the rest is for a busy machine, where it has to get a processor first. A guess.
const SETTLING: Duration = Duration::from_millis(20);
/// How long a visitor waits for a thread it has interrupted. A guess: five times what the work takes a thread that runs; one that has
/// lost its processor isn't waited for.
const PRODDING: Duration = Duration::from_micros(10);
/// Entries of the completion queue: 64 KiB of ring. An overflow is handled but costs a system call and new arms, so it is
/// sized for thousands of sockets that move between two harvests. A guess.
const COMPLETIONS: u32 = 4096;

pub(crate) struct Uring {
    /// See `Drop`.
    ring: ManuallyDrop<IoUring>,
    submission: Mutex<()>,
    completion: Mutex<()>,
    completions: usize,
    birthplace: Birthplace,
    /// The flag stayed up when it was last waited for: its thread has ended, and a kernel worker does its work, within two ticks,
    /// without taking it down. That is waited for once, not by every look.
    unsettled: AtomicBool,
}

impl Drop for Uring {
    fn drop(&mut self) {
        if self.birthplace.check().is_ok() {
            // SAFETY: dropped here only, and not used after it.
            unsafe { ManuallyDrop::drop(&mut self.ring) };
            return;
        }
        // A forked child has not inherited the ring's memory: what it has at these addresses is something else, which must not be
        // unmapped. It has the descriptor.
        // SAFETY: the ring owns its descriptor, and is neither used nor dropped after this.
        drop(unsafe { OwnedFd::from_raw_fd(self.ring.as_raw_fd()) });
    }
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring").field("fd", &self.ring.as_raw_fd()).finish_non_exhaustive()
    }
}

fn unsupported(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("the kernel's io_uring has no {what}"))
}

impl Uring {
    pub(crate) fn new(wake: RawFd) -> io::Result<Self> {
        Self::with_size(wake, SUBMISSIONS, COMPLETIONS)
    }

    pub(crate) fn with_size(wake: RawFd, submissions: u32, completions: u32) -> io::Result<Self> {
        let ring: IoUring = IoUring::builder()
            .dontfork()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(completions)
            .build(submissions)?;
        let params = ring.params();
        if !params.is_feature_nodrop() {
            return Err(unsupported("overflow list for completions"));
        }
        if !params.is_feature_ext_arg() {
            return Err(unsupported("timeout argument"));
        }
        if !params.is_feature_poll_32bits() || !params.is_feature_skip_cqe_on_success() {
            return Err(unsupported("multishot poll as of Linux 6.0"));
        }
        let completions = params.cq_entries() as usize;
        let feed = Self {
            ring: ManuallyDrop::new(ring),
            submission: Mutex::new(()),
            completion: Mutex::new(()),
            completions,
            birthplace: Birthplace::here(),
            unsettled: AtomicBool::new(false),
        };
        // For `settle`. Where it is refused, so is the other call, which changes nothing.
        // SAFETY: takes no pointers.
        unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) };
        // The synchronous cancel came with 6.0 and is a third system call that a filter may refuse.
        match feed.cancel_now(Token::NONE) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
        feed.push(&[opcode::Nop::new().build().user_data(Token::NONE.0)])?;
        feed.submit()?;
        let mut answer = Vec::new();
        feed.harvest(&mut answer)?;
        if answer.len() != 1 {
            return Err(unsupported("working submission"));
        }
        feed.arm(Token::WAKE, wake, Events::IN, Fallen::Told)?;
        Ok(feed)
    }

    fn push(&self, entries: &[squeue::Entry]) -> io::Result<()> {
        let _guard = self.submission.lock();
        for _ in 0..2 {
            // SAFETY: the only other users of the submission queue hold `self.submission` too.
            let mut queue = unsafe { self.ring.submission_shared() };
            if queue.capacity() - queue.len() >= entries.len() {
                // SAFETY: the entries name descriptors and user data, no memory of ours, so nothing has to outlive them.
                let pushed = unsafe { queue.push_multiple(entries) };
                return pushed.map_err(|_full| io::Error::from_raw_os_error(libc::EBUSY));
            }
            drop(queue);
            self.ring.submit()?;
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }

    fn cancel_now(&self, token: Token) -> io::Result<()> {
        self.ring.submitter().register_sync_cancel(None, CancelBuilder::user_data(token.0))
    }

    /// Whether there are wake-ups that wait for the thread that armed to turn them into completions.
    fn waits_for_a_thread(&self) -> bool {
        let _guard = self.submission.lock();
        // SAFETY: the only other users of the submission queue hold `self.submission` too.
        unsafe { self.ring.submission_shared() }.taskrun()
    }

    /// Whether entering the kernel would do something: submit, or turn wake-ups that wait for this thread into completions.
    fn is_pending(&self) -> bool {
        let _guard = self.submission.lock();
        // SAFETY: the only other users of the submission queue hold `self.submission` too.
        let queue = unsafe { self.ring.submission_shared() };
        !queue.is_empty() || queue.taskrun()
    }
}

/// Every processor that runs a thread of this process is interrupted, and those threads do what waits for them on the way back.
fn interrupt_all() {
    // SAFETY: takes no pointers. Where it is refused there is still the tick.
    unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) };
}

fn cancel(token: Token) -> squeue::Entry {
    opcode::AsyncCancel::new(token.0).build().user_data(Token::NONE.0).flags(squeue::Flags::SKIP_SUCCESS)
}

/// Whether an enter that failed this way may simply be done again later: the answers have to be taken first, or the wait
/// is over.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EBUSY))
}

impl Feed for Uring {
    fn arm(&self, token: Token, fd: RawFd, interest: Events, _fallen: Fallen) -> io::Result<()> {
        let poll = opcode::PollAdd::new(Fd(fd), interest.conditions().bits()).multi(true);
        self.push(&[poll.build().user_data(token.0)])
    }

    fn rearm(&self, _token: Token, _conditions: Events) -> bool {
        // A multishot poll reports the next arrival whatever the level was.
        false
    }

    fn disarm(&self, token: Token, close: Option<OwnedFd>) -> io::Result<Disarmed> {
        match close {
            None => self.push(&[cancel(token)])?,
            Some(fd) => {
                let close = opcode::Close::new(Fd(fd.as_raw_fd()))
                    .build()
                    .user_data(Token::NONE.0)
                    .flags(squeue::Flags::SKIP_SUCCESS);
                // In this order: the arm pins the file until it is cancelled. If the push fails, `fd` closes here.
                self.push(&[cancel(token), close])?;
                let _now_the_ring_owns_it = fd.into_raw_fd();
            }
        }
        Ok(Disarmed::LastFollows)
    }

    fn disarm_now(&self, token: Token) -> io::Result<Disarmed> {
        // The arm itself may still be waiting for submission.
        self.submit()?;
        match self.cancel_now(token) {
            Ok(()) => {}
            // It ended by itself: its last completion is under way all the same.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
        Ok(Disarmed::LastFollows)
    }

    fn unpinned(&self, token: Token, _how: Disarmed) -> bool {
        // The last completion becomes visible under the kernel's lock of the ring, and the file is let go before that lock is
        // released: a call that takes the lock and finds nothing comes after it.
        matches!(self.cancel_now(token), Err(error) if error.raw_os_error() == Some(libc::ENOENT))
    }

    /// A wake-up becomes a completion in the thread that submitted the arm. One that computes gets round to it at the next tick:
    /// an interrupt makes it do so now, and `membarrier(2)` sends one to every processor that runs a thread of this process. One
    /// that sleeps was woken for it and needs a processor.
    fn settle(&self) {
        if !self.is_pending() {
            self.unsettled.store(false, Ordering::Relaxed);
            return;
        }
        let end = Instant::now() + SETTLING;
        while self.submit().is_ok() {
            let up = self.is_pending();
            if !up || self.unsettled.load(Ordering::Relaxed) || Instant::now() >= end {
                self.unsettled.store(up, Ordering::Relaxed);
                break;
            }
            interrupt_all();
            std::thread::yield_now();
        }
        // The flag falls before the completions are published, both under the kernel's lock of the ring: a call that takes it
        // comes after.
        let _no_such_arm = self.cancel_now(Token::NONE);
    }

    fn prod(&self) -> bool {
        if !self.waits_for_a_thread() {
            return true;
        }
        interrupt_all();
        let end = Instant::now() + PRODDING;
        loop {
            if !self.waits_for_a_thread() {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            std::hint::spin_loop();
        }
    }

    fn has_pending(&self) -> bool {
        self.is_pending()
    }

    fn submit(&self) -> io::Result<()> {
        if !self.is_pending() {
            return Ok(());
        }
        match self.ring.submit() {
            Ok(_) => Ok(()),
            Err(error) if is_transient(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn harvest(&self, completions: &mut Vec<Completion>) -> io::Result<bool> {
        let _guard = self.completion.lock();
        loop {
            // SAFETY: the only other users of the completion queue hold `self.completion` too.
            let queue = unsafe { self.ring.completion_shared() };
            let before = completions.len();
            completions.extend(queue.map(|entry| {
                let result = entry.result();
                Completion {
                    token: Token(entry.user_data()),
                    level: if result < 0 {
                        Err(-result)
                    } else {
                        Ok(Events::from_bits_retain(result as u32))
                    },
                    last: !cqueue::more(entry.flags()),
                }
            }));
            // Only a queue that was full can have overflowed.
            if completions.len() - before < self.completions {
                return Ok(false);
            }
            let overflowed = {
                let _guard = self.submission.lock();
                // SAFETY: the only other users of the submission queue hold `self.submission` too.
                unsafe { self.ring.submission_shared() }.cq_overflow()
            };
            if !overflowed {
                return Ok(false);
            }
            // `submit` asks for events when the overflow flag is up, which makes the kernel move what it kept.
            match self.ring.submit() {
                Ok(_) => {}
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn block(&self, timeout: Option<Duration>) -> io::Result<()> {
        let submitter = self.ring.submitter();
        let result = match timeout {
            None => submitter.submit_and_wait(1),
            Some(timeout) => {
                let timespec = Timespec::from(timeout);
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&timespec))
            }
        };
        match result {
            Ok(_) => Ok(()),
            Err(error) if is_transient(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn wants_to_be_told(&self) -> bool {
        false
    }

    fn rests(&self) -> bool {
        true
    }

    fn counts_arrivals(&self) -> bool {
        true
    }
}
