//! The oracle's own side: `epoll(7)`, as thin as it gets.

use super::{BOUND, Engine, Errno, Sleeper, numbers};
use egret_reactor::{Event, Events};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

/// What ends a sleeper: no script uses this number.
const DISMISSAL: u64 = u64::MAX - 7;

pub struct Kernel;

/// An open file under one descriptor and its dups: one for each tag but the first.
pub struct File {
    fd: OwnedFd,
    dups: Mutex<BTreeMap<u64, OwnedFd>>,
}

/// Any descriptor as something to watch.
pub fn file(fd: OwnedFd) -> Arc<File> {
    Arc::new(File { fd, dups: Mutex::default() })
}

impl File {
    fn number(&self, tag: u64) -> RawFd {
        if tag == 0 {
            return self.fd.as_raw_fd();
        }
        let mut dups = self.dups.lock().unwrap();
        dups.entry(tag).or_insert_with(|| self.fd.try_clone().unwrap()).as_raw_fd()
    }
}

fn own(fd: RawFd) -> OwnedFd {
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the descriptor is new and nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

pub fn eventfd(value: u64) -> OwnedFd {
    let value = value.try_into().unwrap();
    // SAFETY: eventfd takes no pointers.
    own(unsafe { libc::eventfd(value, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

pub fn write_one(fd: &OwnedFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the buffer is valid for its length.
    let written = unsafe { libc::write(fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    assert_eq!(written, 8, "{}", io::Error::last_os_error());
}

pub fn read_all(fd: &OwnedFd) {
    let mut value = [0; 8];
    // SAFETY: the buffer is valid for its length.
    let read = unsafe { libc::read(fd.as_raw_fd(), value.as_mut_ptr().cast(), value.len()) };
    assert_eq!(read, 8, "{}", io::Error::last_os_error());
}

fn last_errno() -> Errno {
    io::Error::last_os_error().raw_os_error().unwrap()
}

fn ctl(poll: RawFd, op: i32, target: RawFd, mask: Events, data: u64) -> Result<(), Errno> {
    let mut event = libc::epoll_event { events: mask.bits(), u64: data };
    // SAFETY: the event is valid; wrong descriptors are the kernel's to refuse.
    if unsafe { libc::epoll_ctl(poll, op, target, &mut event) } == 0 { Ok(()) } else { Err(last_errno()) }
}

fn wait(poll: RawFd, room: usize, timeout: Option<Duration>) -> Result<Vec<Event>, Errno> {
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; room];
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap(),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let (events_at, mask) = (events.as_mut_ptr(), std::ptr::null::<libc::sigset_t>());
    // SAFETY: `events` has room for `room` events, the timeout is valid or null, and no mask is given.
    let n =
        unsafe { libc::syscall(libc::SYS_epoll_pwait2, poll, events_at, room as i32, timeout, mask, 0usize) };
    let Ok(n) = usize::try_from(n) else { return Err(last_errno()) };
    let event = |event: &libc::epoll_event| {
        let libc::epoll_event { events, u64 } = *event;
        Event { events: Events::from_bits_retain(events), data: u64 }
    };
    Ok(events[..n].iter().map(event).collect())
}

/// One `epoll_pwait`: with these signals blocked, and only these. Returns how many events there were.
pub fn wait_with_mask(poll: &Arc<File>, mask: &libc::sigset_t) -> Result<usize, Errno> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 4];
    // SAFETY: `events` has room for four events, and the mask is valid.
    let n = unsafe { libc::epoll_pwait(poll.fd.as_raw_fd(), events.as_mut_ptr(), 4, -1, mask) };
    usize::try_from(n).map_err(|_negative| last_errno())
}

/// Whether that thread of ours is blocked in a wait.
fn sleeps_in_wait(thread: libc::pid_t) -> bool {
    let call = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap_or_default();
    call.split_whitespace().next() == Some(&libc::SYS_epoll_pwait2.to_string())
}

impl Kernel {
    /// A sleeper that keeps nothing open itself.
    pub fn sleeper_on_a_number(&self, poll: &Arc<File>, room: usize) -> Asleep {
        let (hello, born) = mpsc::channel();
        let (sender, result) = mpsc::channel();
        let poll = poll.fd.as_raw_fd();
        let thread = thread::spawn(move || {
            // SAFETY: no arguments, and it always succeeds.
            hello.send(unsafe { libc::gettid() }).unwrap();
            // Whoever lost interest has failed already.
            let _ = sender.send(wait(poll, room, None).unwrap());
        });
        let number = born.recv_timeout(BOUND).unwrap();
        crate::rules_common::until("the thread waits", || sleeps_in_wait(number));
        Asleep { poll: None, result, thread: Some(thread) }
    }
}

impl Engine for Kernel {
    type Poll = Arc<File>;
    type Source = Arc<File>;
    type Sleeper = Asleep;

    fn instance(&self) -> Arc<File> {
        // SAFETY: epoll_create1 takes no pointers.
        file(own(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }))
    }

    fn counter(&self, value: u64) -> Arc<File> {
        file(eventfd(value))
    }

    fn write(&self, counter: &Arc<File>) {
        write_one(&counter.fd);
    }

    fn read(&self, counter: &Arc<File>) {
        read_all(&counter.fd);
    }

    fn target(&self, poll: &Arc<File>) -> Arc<File> {
        poll.clone()
    }

    fn add(
        &self,
        poll: &Arc<File>,
        source: &Arc<File>,
        tag: u64,
        mask: Events,
        data: u64,
    ) -> Result<(), Errno> {
        ctl(poll.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, source.number(tag), mask, data)
    }

    fn modify(
        &self,
        poll: &Arc<File>,
        source: &Arc<File>,
        tag: u64,
        mask: Events,
        data: u64,
    ) -> Result<(), Errno> {
        ctl(poll.fd.as_raw_fd(), libc::EPOLL_CTL_MOD, source.number(tag), mask, data)
    }

    fn remove(&self, poll: &Arc<File>, source: &Arc<File>, tag: u64) -> Result<(), Errno> {
        ctl(poll.fd.as_raw_fd(), libc::EPOLL_CTL_DEL, source.number(tag), Events::empty(), 0)
    }

    fn stored(&self, poll: &Arc<File>) -> Vec<(Events, u64)> {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", poll.fd.as_raw_fd())).unwrap();
        // tfd: 5 events: 80000019 data: 7 pos:0 ino:39e sdev:d
        let number = |word: &str| u64::from_str_radix(word, 16).unwrap();
        let interests = info.lines().filter(|line| line.starts_with("tfd:"));
        interests
            .map(|line| {
                let words: Vec<_> = line.split_whitespace().collect();
                assert_eq!((words[2], words[4]), ("events:", "data:"), "{line}");
                (Events::from_bits_retain(number(words[3]) as u32), number(words[5]))
            })
            .collect()
    }

    fn needs_descriptors(&self, count: u64) {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the limit is valid for both calls.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
            // The other tests of this process have some too.
            if limit.rlim_cur < 2 * count {
                limit.rlim_cur = (2 * count).min(limit.rlim_max);
                assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
            }
        }
    }

    fn wait(&self, poll: &Arc<File>, room: usize, timeout: Option<Duration>) -> Result<Vec<Event>, Errno> {
        wait(poll.fd.as_raw_fd(), room, timeout)
    }

    fn sleeper(&self, poll: &Arc<File>, room: usize) -> Asleep {
        let mut sleeper = self.sleeper_on_a_number(poll, room);
        sleeper.poll = Some(poll.clone());
        sleeper
    }
}

/// A thread that sleeps in the kernel's wait.
pub struct Asleep {
    poll: Option<Arc<File>>,
    result: mpsc::Receiver<Vec<Event>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Sleeper for Asleep {
    fn data(&self) -> Vec<u64> {
        numbers(&self.result.recv_timeout(BOUND).expect("the wait returns"))
    }

    fn is_asleep(&self) -> bool {
        self.result.try_recv().is_err()
    }

    fn dismiss(self) {
        assert!(self.is_asleep());
        // The kernel has no `notify_one`: an edge that is there for one.
        let bell = file(eventfd(1));
        Kernel.add(self.poll.as_ref().unwrap(), &bell, 0, Events::IN | Events::ET, DISMISSAL).unwrap();
        assert_eq!(self.data(), [DISMISSAL]);
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.thread.take().unwrap().join().unwrap();
        }
    }
}
