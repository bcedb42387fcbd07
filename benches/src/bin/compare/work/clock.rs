//! Processor time of this process, at the price of one system call.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// How long the other threads of a process may take to fall quiet. A guess, for a machine that has other things to do.
const QUIET: Duration = Duration::from_secs(20);

/// How long they have to do nothing to count as quiet, and how much of it may be something: a timer may tick now and then.
const LOOK: Duration = Duration::from_millis(20);
const NOTHING: u32 = 100;

/// Whose time it is.
#[derive(Clone, Copy)]
pub(crate) enum Clock {
    /// All threads of the process, those that have ended too.
    Process,
    /// The calling thread.
    Thread,
}

impl Clock {
    /// The processor time that was spent so far.
    pub(crate) fn spent(self) -> Result<Duration, String> {
        let clock = match self {
            Clock::Process => libc::CLOCK_PROCESS_CPUTIME_ID,
            Clock::Thread => libc::CLOCK_THREAD_CPUTIME_ID,
        };
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: clock_gettime writes one timespec through a pointer that is valid for it.
        if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
            return Err(format!("no processor time: {}", io::Error::last_os_error()));
        }
        Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
}

/// Waits until the other threads of the process do nothing.
pub(crate) fn wait_until_others_are_quiet() -> Result<(), String> {
    let start = Instant::now();
    loop {
        let (process, thread) = (Clock::Process.spent()?, Clock::Thread.spent()?);
        thread::sleep(LOOK);
        let process = Clock::Process.spent()?.saturating_sub(process);
        let thread = Clock::Thread.spent()?.saturating_sub(thread);
        if process.saturating_sub(thread) < LOOK / NOTHING {
            return Ok(());
        }
        if start.elapsed() > QUIET {
            return Err(format!("the runtime is still busy after {QUIET:?}"));
        }
    }
}
