//! Ctrl-C, and SIGTERM, without blocking a worker: the handler writes one byte, a thread of its own reads it.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// The signals that end the server. Their numbers are POSIX's.
const SIGNALS: [i32; 2] = [2 /* SIGINT */, 15 /* SIGTERM */];

/// Calls `stop` in a thread of its own at the first signal. The second ends the process at once.
pub fn on_stop_signal(stop: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let (mut bell, rope) = UnixStream::pair()?;
    rope.set_nonblocking(true)?;
    for signal in SIGNALS {
        let rope = rope.try_clone()?;
        let pull = move || {
            // Full means that enough bytes are waiting already.
            let _ = (&rope).write(&[0]);
        };
        // SAFETY: the action makes one write(2), which is async-signal-safe, and can neither panic nor take a lock; the
        // registry keeps errno for the interrupted code.
        unsafe { signal_hook_registry::register(signal, pull) }?;
    }
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut byte = [0];
        if bell.read_exact(&mut byte).is_ok() {
            stop();
        }
        if bell.read_exact(&mut byte).is_ok() {
            // What a shell reports of a process that died of Ctrl-C.
            std::process::exit(130);
        }
    })?;
    Ok(())
}
