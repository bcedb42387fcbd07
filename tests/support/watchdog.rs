//! A test that hangs fails, and tells what each of its threads waits for. One file for the tests of all crates.
//!
//! - [`bounded`] runs a body in a thread of its own, and panics when it takes too long: the other tests go on.
//! - [`Watchdog`] ends the process, for what must stay on the test's thread: scopes, which wait for their threads whatever
//!   happens, runtimes whose drop waits for their workers.
#![allow(dead_code)] // Each test binary uses its part.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::panic::{self, Location};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};
use std::{fs, process, thread};

/// How long a whole test may take. A guess: the longest takes some seconds, and a loaded machine makes that ten times as much.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Ends the process if it isn't dropped in time.
pub struct Watchdog(u64);

struct Watched {
    id: u64,
    what: String,
    until: Instant,
}

struct Pack {
    next: u64,
    /// The thread that watches has come to rest: from then on it neither allocates nor starts anything.
    runs: bool,
    watched: Vec<Watched>,
}

static PACK: Mutex<Pack> = Mutex::new(Pack { next: 0, runs: false, watched: Vec::new() });
static CHANGED: Condvar = Condvar::new();

fn pack() -> MutexGuard<'static, Pack> {
    PACK.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watchdog {
    /// For [`LIMIT`].
    #[track_caller]
    pub fn start() -> Self {
        Self::new(LIMIT)
    }

    #[track_caller]
    pub fn new(limit: Duration) -> Self {
        let what = format!("{} is not done after {limit:?}", caller());
        let mut pack = pack();
        let id = pack.next;
        pack.next += 1;
        let until = Instant::now() + limit;
        let is_first = pack.watched.iter().all(|watched| until < watched.until);
        pack.watched.push(Watched { id, what, until });
        if id == 0 {
            thread::Builder::new().name("watchdog".into()).spawn(watch).expect("a thread for the watchdog");
        }
        if is_first {
            CHANGED.notify_all();
        }
        while !pack.runs {
            pack = CHANGED.wait(pack).unwrap_or_else(PoisonError::into_inner);
        }
        Self(id)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        pack().watched.retain(|watched| watched.id != self.0);
    }
}

fn watch() {
    let mut pack = pack();
    pack.runs = true;
    CHANGED.notify_all();
    loop {
        let now = Instant::now();
        let first = pack.watched.iter().min_by_key(|watched| watched.until);
        let left = first.map_or(LIMIT, |first| first.until.saturating_duration_since(now));
        if let Some(first) = first
            && left.is_zero()
        {
            tell(&first.what);
            process::abort();
        }
        pack = CHANGED.wait_timeout(pack, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// The test, as its thread is called, and the place in it.
#[track_caller]
fn caller() -> String {
    let place = Location::caller();
    format!("{} ({}:{})", thread::current().name().unwrap_or("a thread"), place.file(), place.line())
}

/// Says what is late, and where all threads of the process are.
pub fn tell(what: &str) {
    let mut text = format!("{what}\n");
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let [name, wait, call] = ["comm", "wchan", "syscall"].map(read);
        let id = task.file_name().display().to_string();
        // Writing to a string can't fail.
        let _ = writeln!(text, "  {id} {} in {}, system call {}", name.trim(), wait.trim(), call.trim());
    }
    // Not `eprintln`: that is kept until the test ends. If nobody listens, there is nobody to complain to.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Runs `body` in a thread of its own, within [`LIMIT`]; a hang is a failure, a panic goes on here. A thread that hangs is left
/// behind.
#[track_caller]
pub fn bounded<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, result) = mpsc::channel();
    let name = thread::current().name().unwrap_or("bounded").to_owned();
    let body =
        thread::Builder::new().name(name).spawn(move || done.send(body())).expect("a thread for the body");
    match result.recv_timeout(LIMIT) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            tell(&format!("{} hangs", caller()));
            panic!("hangs");
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => match body.join() {
            Err(payload) => panic::resume_unwind(payload),
            Ok(_) => unreachable!("it sends before it ends"),
        },
    }
}
