//! How a worker shares its processor with other threads.
//!
//! A server is seldom alone on its processors: its clients, a proxy, a database want them, too. Two habits make it a good neighbour, and
//! a fast one: what waits for a processor is often what the worker will wait for next.
//!
//! - **It asks for short time slices** ([`ask_for_slices`]). A worker runs for some hundred microseconds and then looks around. With a
//!   short slice the kernel's scheduler (EEVDF, since Linux 6.12) wakes it soon after its events, and takes it back soon after a
//!   `sched_yield`, which gives up what is left of the slice.
//! - **It gives the processor up once a turn** ([`EVENTS_A_TURN`]), if it got that many events without a sleep or a rest. Else a worker and a
//!   client on the other processor can keep each other busy, and whoever shares their processors waits for the next timer
//!   tick: 4 ms, which is then the 99th percentile of the requests. Alone on its processor the worker is back at once, after a
//!   third of a microsecond.

use std::{io, time::Duration};

/// The time slice that is asked for, if nobody chose another. Measured with HTTP load on two processors that are shared with the
/// clients: 100 us to 500 us are the same within the noise, the kernel's own 1.4 ms is worse.
pub(crate) const SLICE: Duration = Duration::from_micros(250);

/// After how many events a worker that found no rest gives up the processor once. Measured: 16 to 32 are the same, 64 has a longer tail of
/// latencies. Tasks that wake each other don't count: nobody outside waits for what they do.
pub(crate) const EVENTS_A_TURN: usize = 32;

/// The first version of the kernel's `struct sched_attr`.
#[repr(C)]
#[derive(Debug, Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// Of the fair policies, the slice, in nanoseconds. Kernels before 6.12 don't look at it.
    runtime: u64,
    deadline: u64,
    period: u64,
}

const SIZE: u32 = size_of::<Attributes>() as u32;

/// This thread.
const HERE: libc::pid_t = 0;

fn attributes() -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: the kernel writes at most SIZE bytes through the pointer, which is what the struct has.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, HERE, &raw mut attributes, SIZE, 0) };
    if result == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
}

/// Asks for time slices of this length for the calling thread. The kernel makes it 100 us to 100 ms. Threads that it starts
/// inherit it. A thread of another policy than the two fair ones is left as it is.
///
/// # Errors
///
/// What the system calls say: a filter may refuse them.
pub(crate) fn ask_for_slices(slice: Duration) -> io::Result<()> {
    let mut attributes = attributes()?;
    if !matches!(attributes.policy as libc::c_int, libc::SCHED_OTHER | libc::SCHED_BATCH) {
        return Ok(());
    }
    attributes.size = SIZE;
    attributes.runtime = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: the kernel reads SIZE bytes through the pointer, which is what the struct has.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, HERE, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The slice of the calling thread; nothing if the kernel is too old to say.
#[cfg(test)]
pub(crate) fn slice() -> Option<Duration> {
    let runtime = attributes().expect("nothing forbids it").runtime;
    (runtime > 0).then(|| Duration::from_nanos(runtime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_what_was_asked_for_and_all_else_is_as_before() {
        std::thread::spawn(|| {
            let before = attributes().unwrap();
            ask_for_slices(Duration::from_micros(300)).unwrap();
            let after = attributes().unwrap();
            if before.runtime > 0 {
                assert_eq!(slice(), Some(Duration::from_micros(300)));
            }
            assert_eq!((after.policy, after.flags, after.nice), (before.policy, before.flags, before.nice));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn what_the_kernel_does_not_grant_it_makes_grantable() {
        std::thread::spawn(|| {
            for slice in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
                ask_for_slices(slice).unwrap();
            }
        })
        .join()
        .unwrap();
    }
}
