//! Runs a command where io_uring is refused, as it is in many containers: to see a program choose its next best feed.
//!
//! ```text
//! cargo build --release --examples
//! target/release/examples/without_uring target/release/examples/http_echo --addr 127.0.0.1:8080
//! target/release/examples/without_uring --also-aio target/release/examples/http_echo --addr 127.0.0.1:8080
//! ```
//!
//! A seccomp filter answers `io_uring_setup` (and with `--also-aio` `io_setup`) with EPERM, as the default profiles of
//! container engines answer what they don't allow. The filter stays with the command and all it starts, and can't be taken off.
//! It is no jail: it looks at this machine's own system call numbers only.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: without_uring [--also-aio] COMMAND [ARGUMENT...]";

fn main() -> ExitCode {
    let error = run(std::env::args_os().skip(1));
    eprintln!("without_uring: {error}");
    ExitCode::FAILURE
}

/// Becomes the command. Comes back only with an error.
pub fn run(arguments: impl Iterator<Item = OsString>) -> io::Error {
    let mut arguments = arguments.peekable();
    let mut refused = vec![libc::SYS_io_uring_setup];
    if arguments.next_if(|argument| argument == "--also-aio").is_some() {
        refused.push(libc::SYS_io_setup);
    }
    let Some(program) = arguments.next() else {
        return io::Error::new(io::ErrorKind::InvalidInput, USAGE);
    };
    if let Err(error) = refuse(&refused) {
        return io::Error::new(error.kind(), format!("cannot install the filter: {error}"));
    }
    let error = Command::new(&program).args(arguments).exec();
    io::Error::new(error.kind(), format!("cannot run {}: {error}", program.display()))
}

/// From now on these system calls fail with EPERM, for this thread and what it starts.
fn refuse(calls: &[libc::c_long]) -> io::Result<()> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, k, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    // The number is the first word of `struct seccomp_data`.
    let mut filter = vec![step(LOAD, 0, 0, 0)];
    for call in calls {
        filter.push(step(IF_EQUAL, *call as u32, 0, 1));
        filter.push(step(RETURN, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0));
    }
    filter.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: prctl(2) takes four integers here. Without new privileges anybody may filter himself.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the program and its filter live until the call returns; the kernel copies them.
    if unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
