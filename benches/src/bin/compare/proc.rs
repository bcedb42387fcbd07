//! What a process has used, from /proc: the whole process, all of its threads.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// How long a process may take to fall quiet. A guess; closing 4,096 connections takes about 150 ms.
const QUIET: Duration = Duration::from_secs(3);

/// CPU time and context switches of a process since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// From schedstat, in nanoseconds, of the threads that are alive.
    pub(crate) cpu_ns: u64,
    /// From stat, in ticks: good for the proportion of the two, too coarse for the sum.
    pub(crate) user_ticks: u64,
    pub(crate) system_ticks: u64,
    /// Voluntary and involuntary, of the threads that are alive.
    pub(crate) switches: u64,
}

impl Usage {
    /// The usage of process `pid` so far.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let mut usage = Usage::default();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        (usage.user_ticks, usage.system_ticks) = parse_stat(&stat).ok_or_else(|| unknown("stat", &stat))?;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let path = task?.path();
            let schedstat = read_unless_ended(&path.join("schedstat"))?;
            let status = read_unless_ended(&path.join("status"))?;
            let (Some(schedstat), Some(status)) = (schedstat, status) else {
                continue;
            };
            usage.cpu_ns += parse_schedstat(&schedstat).ok_or_else(|| unknown("schedstat", &schedstat))?;
            for field in ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"] {
                usage.switches += status_field(&status, field).ok_or_else(|| unknown("status", &status))?;
            }
        }
        Ok(usage)
    }

    /// What was used between `before` and `self`.
    pub(crate) fn since(self, before: Usage) -> Usage {
        // A thread that ended in between took its numbers with it.
        Usage {
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
            user_ticks: self.user_ticks.saturating_sub(before.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(before.system_ticks),
            switches: self.switches.saturating_sub(before.switches),
        }
    }

    /// User and system time in microseconds: the exact sum, divided in the ticks' proportion.
    pub(crate) fn user_and_system_us(self) -> (f64, f64) {
        let cpu = self.cpu_ns as f64 / 1000.0;
        let ticks = self.user_ticks + self.system_ticks;
        let user = if ticks == 0 { 0.0 } else { cpu * self.user_ticks as f64 / ticks as f64 };
        (user, cpu - user)
    }
}

/// Resident memory of process `pid` in KiB.
pub(crate) fn rss_kib(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    status_field(&status, "VmRSS").ok_or_else(|| unknown("status", &status))
}

/// Memory of process `pid` that is its own and has been written to, in KiB: what of its resident memory goes away with it.
pub(crate) fn private_dirty_kib(pid: u32) -> io::Result<u64> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    status_field(&smaps, "Private_Dirty").ok_or_else(|| unknown("smaps_rollup", &smaps))
}

/// The bytes that this process's allocator has given out and not got back, its own headers included; `None` if the allocator
/// can't say. It costs nothing until it is asked, unlike an allocator that counts.
pub(crate) fn heap_bytes() -> Option<usize> {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: takes no pointers; it looks at all arenas under their locks.
        let info = unsafe { libc::mallinfo2() };
        Some(info.uordblks + info.hblkhd)
    }
    #[cfg(not(target_env = "gnu"))]
    None
}

/// Waits until process `pid` uses no CPU for 20 ms: it has closed the last client's connections, say.
pub(crate) fn wait_until_quiet(pid: u32) -> Result<(), String> {
    let usage = || Usage::of(pid).map_err(|error| format!("can't read the server's usage: {error}"));
    let start = Instant::now();
    let mut before = usage()?;
    loop {
        thread::sleep(Duration::from_millis(20));
        let now = usage()?;
        // A timer may tick now and then: less than 1 % of a CPU is quiet.
        if now.cpu_ns - before.cpu_ns < 200_000 {
            return Ok(());
        }
        if start.elapsed() > QUIET {
            return Err(format!("it is still busy after {QUIET:?} without clients"));
        }
        before = now;
    }
}

fn unknown(file: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("can't read /proc/pid/{file}: {text:?}"))
}

/// A thread can end between the listing and the reading.
fn read_unless_ended(path: &std::path::Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// utime and stime: the 14th and 15th field, counted behind the name, which may hold blanks and parentheses.
fn parse_stat(text: &str) -> Option<(u64, u64)> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The first number: nanoseconds on a CPU.
fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

fn status_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_the_name() {
        let text = "42 (a ) 7 (b) S 1 42 42 0 -1 4194304 90 0 1 0 132 32 5 6 20 0 1 0 141429 2654208 381";
        assert_eq!(parse_stat(text), Some((132, 32)));
        assert_eq!(parse_stat("42 (a) S 1"), None);
    }

    #[test]
    fn schedstat_and_status_are_read() {
        assert_eq!(parse_schedstat("330052969 6293086 41\n"), Some(330_052_969));
        assert_eq!(parse_schedstat(""), None);
        let status =
            "Name:\tx\nVmRSS:\t    1632 kB\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t37\n";
        assert_eq!(status_field(status, "VmRSS"), Some(1632));
        assert_eq!(status_field(status, "voluntary_ctxt_switches"), Some(5));
        assert_eq!(status_field(status, "nonvoluntary_ctxt_switches"), Some(37));
        assert_eq!(status_field(status, "VmHWM"), None);
    }

    #[test]
    fn time_is_divided_in_the_ticks_proportion() {
        let usage = Usage { cpu_ns: 8_000_000, user_ticks: 1, system_ticks: 3, switches: 0 };
        assert_eq!(usage.user_and_system_us(), (2000.0, 6000.0));
        assert_eq!(Usage { user_ticks: 0, system_ticks: 0, ..usage }.user_and_system_us(), (0.0, 8000.0));
    }

    #[test]
    fn ones_own_work_shows() {
        let pid = std::process::id();
        let before = Usage::of(pid).unwrap();
        let start = Instant::now();
        let mut used = Usage::default();
        while used.cpu_ns < 20_000_000 {
            assert!(start.elapsed() < Duration::from_secs(60), "CPU time doesn't advance: {used:?}");
            used = Usage::of(pid).unwrap().since(before);
        }
        assert!(rss_kib(pid).unwrap() > 100);
    }

    #[test]
    fn ones_own_memory_shows() {
        const BYTES: usize = 64 << 20;
        let pid = std::process::id();
        let (private, heap) = (private_dirty_kib(pid).unwrap(), heap_bytes());
        let memory = std::hint::black_box(vec![1u8; BYTES]);
        // Other tests allocate and free beside this one, but not that much.
        assert!(private_dirty_kib(pid).unwrap() - private > (BYTES / 2 / 1024) as u64);
        if let Some(heap) = heap {
            assert!(heap_bytes().unwrap() - heap > BYTES / 2);
        }
        drop(memory);
    }
}
