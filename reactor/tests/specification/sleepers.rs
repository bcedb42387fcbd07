//! [`Sleepers`]: the threads of a script that wait for ever.
//!
//! A thread counts as asleep when it is known to wait and the system says that it sleeps; only then the script goes on. So
//! each step meets the same sleepers whatever the scheduler does.

use egret_reactor::Event;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a thread may take to fall asleep or to come back. A guess: far above what a loaded machine needs.
const BOUND: Duration = Duration::from_secs(10);

struct Sleeper {
    number: usize,
    system_id: libc::pid_t,
    result: Receiver<Vec<Event>>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
pub struct Sleepers {
    list: Vec<Sleeper>,
}

fn proc(system_id: libc::pid_t, file: &str) -> String {
    // A thread that is done has no file any more.
    std::fs::read_to_string(format!("/proc/self/task/{system_id}/{file}")).unwrap_or_default()
}

/// Whether the thread sleeps in this system call.
pub fn is_inside(system_id: libc::pid_t, number: libc::c_long) -> bool {
    proc(system_id, "syscall").split(' ').next() == Some(&number.to_string())
}

impl Sleeper {
    /// What `proc(5)` calls the state: S for an interruptible sleep.
    fn is_asleep(&self) -> bool {
        let stat = proc(self.system_id, "stat");
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" S"))
    }
}

impl Sleepers {
    /// Starts a thread; returns when it is `enrolled` (which is told its id) and asleep, or done.
    pub fn park(
        &mut self,
        number: usize,
        wait: impl FnOnce() -> Vec<Event> + Send + 'static,
        enrolled: impl Fn(libc::pid_t) -> bool,
    ) {
        let (sender, result) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            // SAFETY: no pointers, always succeeds.
            tell.send(unsafe { libc::gettid() }).unwrap();
            // After a difference nobody listens any more.
            let _ = sender.send(wait());
        });
        let system_id = told.recv_timeout(BOUND).expect("the thread runs");
        let sleeper = Sleeper { number, system_id, result, thread };
        let end = Instant::now() + BOUND;
        while !(sleeper.thread.is_finished() || enrolled(system_id) && sleeper.is_asleep()) {
            assert!(Instant::now() < end, "a thread neither sleeps nor comes back");
            thread::yield_now();
        }
        self.list.push(sleeper);
    }

    /// Waits until that many threads have come back and the others are asleep; what came back, by number.
    pub fn returned(&mut self, expected: usize) -> Vec<(usize, Vec<Event>)> {
        let mut returned = Vec::new();
        let end = Instant::now() + BOUND;
        loop {
            let mut index = 0;
            while index < self.list.len() {
                match self.list[index].result.try_recv() {
                    Ok(events) => {
                        let sleeper = self.list.remove(index);
                        sleeper.thread.join().unwrap();
                        returned.push((sleeper.number, events));
                    }
                    Err(TryRecvError::Disconnected) => panic!("a waiting thread panicked"),
                    Err(TryRecvError::Empty) => index += 1,
                }
            }
            let settled = self.list.iter().all(Sleeper::is_asleep);
            if returned.len() >= expected && settled || Instant::now() >= end {
                returned.sort_by_key(|(number, _)| *number);
                return returned;
            }
            thread::yield_now();
        }
    }

    /// Ends those that are left, which slept to the end: `alarm` is rung once for each, at all instances, and they must
    /// have nothing to report but what it gives them.
    pub fn dismiss(&mut self, alarm: impl Fn(), is_alarm: impl Fn(&Event) -> bool) {
        self.list.iter().for_each(|_| alarm());
        for sleeper in self.list.drain(..) {
            let events = sleeper.result.recv_timeout(BOUND).expect("a thread that was woken comes back");
            sleeper.thread.join().unwrap();
            assert!(thread::panicking() || events.iter().all(&is_alarm), "a thread slept on {events:?}");
        }
    }
}
