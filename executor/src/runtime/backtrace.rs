//! What another thread does just now.
//!
//! ```text
//!   asker                                         the other thread, in its signal handler
//!   ─────                                         ──────────────────────────────────────
//!   IDLE ─► ASKED, a signal to the thread
//!                                                 ASKED ─► WRITING: walks its stack, notes addresses ─► DONE
//!   DONE: takes the addresses ─► IDLE
//!   no answer for a while: ASKED ─► IDLE          (finds IDLE: does nothing)
//!   it is WRITING: waits for DONE
//! ```
//!
//! A signal may be answered late, when somebody else was asked meanwhile: so the handler looks whether it is this thread that was asked.
//!
//! The handler allocates nothing and takes no lock of ours; the names are looked up by the asker. Walking a stack takes the loader's lock,
//! in a C library before glibc 2.35, which the same thread may take twice. One asker at a time.
//!
//! The signal is `SIGRTMIN + 11` (a guess at one that nobody uses). If somebody else handles it, there are no backtraces.

#[cfg(not(feature = "backtrace"))]
pub(crate) fn of_thread(_thread: i32) -> Option<String> {
    None
}

#[cfg(feature = "backtrace")]
pub(crate) use imp::of_thread;

#[cfg(feature = "backtrace")]
mod imp {
    use std::{
        fmt::Write,
        ptr,
        sync::OnceLock,
        time::{Duration, Instant},
    };

    use crate::sync::{AtomicI32, AtomicU8, AtomicUsize, Mutex, Ordering, lock};

    /// More is cut off. A guess.
    const FRAMES: usize = 128;

    /// How long a thread has for its answer. A guess: one that runs, or sleeps where signals reach it, answers within microseconds.
    const PATIENCE: Duration = Duration::from_millis(50);

    const IDLE: u8 = 0;
    const ASKED: u8 = 1;
    const WRITING: u8 = 2;
    const DONE: u8 = 3;

    static STATE: AtomicU8 = AtomicU8::new(IDLE);
    /// Who is asked.
    static TARGET: AtomicI32 = AtomicI32::new(0);
    static LEN: AtomicUsize = AtomicUsize::new(0);
    static ADDRESSES: [AtomicUsize; FRAMES] = [const { AtomicUsize::new(0) }; FRAMES];
    static ASKER: Mutex<()> = Mutex::new(());

    fn signal() -> i32 {
        libc::SIGRTMIN() + 11
    }

    extern "C" fn handler(_signal: i32) {
        // SAFETY: takes nothing, can't fail, may be called in a handler.
        if TARGET.load(Ordering::Relaxed) != unsafe { libc::gettid() } {
            return;
        }
        if STATE.compare_exchange(ASKED, WRITING, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return;
        }
        // SAFETY: the pointer is this thread's errno, valid as long as the thread.
        let errno = unsafe { *libc::__errno_location() };
        let mut len = 0;
        // SAFETY: unsynchronized with other users of the backtrace crate: walking a stack shares nothing with them but the loader's list of
        // objects, which has its own lock; names, which are looked up in a shared cache, are not asked for here.
        unsafe {
            backtrace::trace_unsynchronized(|frame| {
                ADDRESSES[len].store(frame.ip() as usize, Ordering::Relaxed);
                len += 1;
                len < FRAMES
            });
        }
        LEN.store(len, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = errno };
        STATE.store(DONE, Ordering::Release);
    }

    /// Installs the handler, once. False if the signal is somebody else's.
    fn is_installed() -> bool {
        static INSTALLED: OnceLock<bool> = OnceLock::new();
        *INSTALLED.get_or_init(|| {
            // What is loaded at the first walk is loaded here, not in the handler.
            backtrace::trace(|_| false);
            // SAFETY: all zeroes is a sigaction.
            let mut present: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: reads the present action into a place of ours.
            if unsafe { libc::sigaction(signal(), ptr::null(), &mut present) } != 0
                || present.sa_sigaction != libc::SIG_DFL
            {
                return false;
            }
            // SAFETY: as above.
            let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
            ours.sa_sigaction = handler as extern "C" fn(i32) as usize;
            ours.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
            // SAFETY: the handler is one of a signal's number, and does nothing that a handler may not; see the module's text.
            unsafe { libc::sigaction(signal(), &ours, ptr::null_mut()) == 0 }
        })
    }

    /// The functions that the thread with that number is in, the innermost first; none if it doesn't answer.
    pub(crate) fn of_thread(thread: i32) -> Option<String> {
        if thread == 0 || !is_installed() {
            return None;
        }
        let _asker = lock(&ASKER);
        TARGET.store(thread, Ordering::Relaxed);
        STATE.store(ASKED, Ordering::Release);
        // SAFETY: takes no pointers. A thread that is gone, or isn't this process's, is an error.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal()) };
        let began = Instant::now();
        while STATE.load(Ordering::Acquire) != DONE {
            let is_over = sent != 0 || began.elapsed() > PATIENCE;
            if is_over && STATE.compare_exchange(ASKED, IDLE, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return None;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        let len = LEN.load(Ordering::Relaxed);
        let addresses: Vec<usize> =
            ADDRESSES[..len].iter().map(|address| address.load(Ordering::Relaxed)).collect();
        STATE.store(IDLE, Ordering::Release);
        Some(names(&addresses))
    }

    /// A line for each function: those between the handler and the runtime.
    fn names(addresses: &[usize]) -> String {
        let mut text = String::new();
        for address in addresses {
            let mut is_runtime = false;
            // A return address is that of the next instruction, which may be another line's.
            backtrace::resolve(address.saturating_sub(1) as *mut _, |symbol| {
                let name = symbol.name().map_or_else(|| "?".to_owned(), |name| name.to_string());
                if name.contains("egret_executor::runtime::backtrace") {
                    // All so far was the handler's own.
                    text.clear();
                    return;
                }
                is_runtime |= name.contains("egret_executor::task::harness");
                let line = match (symbol.filename(), symbol.lineno()) {
                    (Some(file), Some(line)) => writeln!(text, "  {name} at {}:{line}", file.display()),
                    _ => writeln!(text, "  {name}"),
                };
                line.expect("a String takes everything");
            });
            if is_runtime {
                break;
            }
        }
        text
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_thread_may_ask_itself_and_nobody_else_is_made_up() {
            // SAFETY: takes nothing, can't fail.
            let here = unsafe { libc::gettid() };
            assert!(of_thread(here).is_some());
            assert_eq!(of_thread(0), None);
            // There are no threads with such numbers.
            assert_eq!(of_thread(i32::MAX), None);
        }

        /// A late answer of one that was asked before.
        #[test]
        fn who_is_not_asked_does_not_answer() {
            assert!(is_installed());
            let _asker = lock(&ASKER);
            // Nobody's: threads' numbers are positive.
            TARGET.store(-1, Ordering::Relaxed);
            STATE.store(ASKED, Ordering::Release);
            handler(signal());
            assert_eq!(STATE.swap(IDLE, Ordering::Relaxed), ASKED);
        }
    }
}
