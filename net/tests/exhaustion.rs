//! No descriptors left: accepting pauses instead of spinning, what is connected is served, and it goes on by itself when there are some
//! again. The limit is the process's, so the test runs in a process of its own.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{PATIENCE, Watchdog, listener, runtime};

/// How long the process stays out of descriptors while it is watched.
const FAMINE: Duration = Duration::from_millis(600);

#[test]
fn accepting_backs_off_and_recovers_when_descriptors_run_out() {
    let _watchdog = Watchdog::start();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_a_process_of_its_own", "--ignored", "--nocapture", "--test-threads=1"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "takes all descriptors of its process; run by accepting_backs_off_and_recovers_when_descriptors_run_out"]
fn in_a_process_of_its_own() {
    let _watchdog = Watchdog::start();
    let runtime = runtime();
    let (listener, address) = runtime.block_on(listener());
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("no error reaches the caller");
            egret_executor::spawn(async move {
                let mut buffer = [0; 64];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    stream.write_all(&buffer[..n]).await.unwrap();
                }
            });
        }
    });

    let mut connected = client(address);
    echo(&mut connected);
    set_descriptor_limit(200);
    for round in 0..3 {
        let mut hoard = take_all_descriptors();
        drop(hoard.pop().expect("there were some"));
        let mut waiting = client(address);
        let cpu = cpu_time();
        let start = Instant::now();
        let mut echoes = 0;
        while start.elapsed() < FAMINE || echoes <= 10 {
            assert!(start.elapsed() < PATIENCE, "round {round}: the connection was hardly served: {echoes}");
            echo(&mut connected);
            echoes += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        let (spent, passed) = (cpu_time() - cpu, start.elapsed());
        assert!(spent < passed / 2, "round {round}: spinning: {spent:?} of CPU in {passed:?}");
        waiting.set_nonblocking(true).unwrap();
        waiting.write_all(b"?").unwrap();
        assert!(waiting.read(&mut [0]).is_err(), "round {round}: there was a descriptor after all");
        waiting.set_nonblocking(false).unwrap();

        drop(hoard);
        let freed = Instant::now();
        waiting.read_exact(&mut [0]).expect("accepted and served, in time");
        assert!(freed.elapsed() < PATIENCE / 4, "round {round}: {:?}", freed.elapsed());
        // Its descriptor is one that the next round must not find.
        waiting.shutdown(Shutdown::Write).unwrap();
        assert_eq!(waiting.read(&mut [0]).unwrap(), 0, "round {round}");
    }
}

fn client(address: std::net::SocketAddr) -> std::net::TcpStream {
    let client = std::net::TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE / 2)).unwrap();
    client
}

fn echo(client: &mut std::net::TcpStream) {
    client.write_all(b"!").unwrap();
    client.read_exact(&mut [0]).unwrap();
}

fn take_all_descriptors() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

fn set_descriptor_limit(limit: u64) {
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: setrlimit(2) reads one `rlimit`, which lives through the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

/// What this process has used of the processors.
fn cpu_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage(2) writes one `rusage` to the pointer, which is valid for that.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) }, 0);
    // SAFETY: all zeroes is a valid `rusage`, and the call has filled it in.
    let usage = unsafe { usage.assume_init() };
    let time = |of: libc::timeval| Duration::new(of.tv_sec as u64, of.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}
