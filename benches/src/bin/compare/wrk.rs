//! Running wrk, and reading what it says. A run with socket errors or answers other than 2xx and 3xx is an error: its numbers
//! mean nothing.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long wrk may take beyond what it was asked for: it connects first, and prints last. A guess.
const GRACE: Duration = Duration::from_secs(10);

/// The Lua that makes wrk send `DEPTH` requests with one write. wrk finds out itself how many answers that makes.
const PIPELINE: &str = "init = function(args)
  local one = wrk.format()
  local all = {}
  for i = 1, DEPTH do all[i] = one end
  requests = table.concat(all)
end
request = function() return requests end
";

/// What wrk is to do.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) conns: usize,
    pub(crate) requests: Requests,
}

/// How requests come on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requests {
    /// The next when the last is answered.
    OneByOne,
    /// That many with one write, the next when all of them are answered.
    Pipelined(usize),
    /// One, with `Connection: close`; wrk connects anew for the next.
    OneAConnection,
}

/// What a run of wrk found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    pub(crate) requests_per_sec: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Drives `url` for `secs` seconds, and calls `halfway` when half of that has passed. `None` if wrk didn't come to its end: it
/// ends by its own clock, whatever the server does, and now and then it doesn't (seen once in about a hundred runs).
pub(crate) fn run(
    url: &str,
    load: &Load,
    secs: usize,
    halfway: impl FnOnce(),
) -> Result<Option<Report>, String> {
    let script = Script::of(load)?;
    let mut child = spawn(url, load, secs, script.as_ref())?;
    let start = Instant::now();
    let length = Duration::from_secs(secs as u64);
    let mut halfway = Some(halfway);
    // What wrk prints fits into a pipe, so it never waits for its reader.
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < length + GRACE => {}
            outcome => {
                // It may have ended just now, which is as good.
                let _ = child.kill();
                let _ = child.wait();
                return match outcome {
                    Err(error) => Err(format!("can't wait for wrk: {error}")),
                    Ok(_) => Ok(None),
                };
            }
        }
        if start.elapsed() >= length / 2
            && let Some(halfway) = halfway.take()
        {
            halfway();
        }
        // A process's end can be waited for or be timed, not both; 10 ms is nothing beside a run of seconds.
        thread::sleep(Duration::from_millis(10));
    };
    let mut text = String::new();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let stdout = stdout.map_or(Ok(0), |mut pipe| pipe.read_to_string(&mut text));
    let stderr = stderr.map_or(Ok(0), |mut pipe| pipe.read_to_string(&mut text));
    stdout.and(stderr).map_err(|error| format!("can't read wrk's output: {error}"))?;
    if !status.success() {
        return Err(format!("wrk failed ({status}):\n{text}"));
    }
    parse(&text).map(Some).map_err(|what| format!("{what}, in wrk's output:\n{text}"))
}

/// Drives `url` for `length` and doesn't ask what became of it: wrk measures whole seconds, a warm-up needs less.
pub(crate) fn warm_up(url: &str, load: &Load, length: Duration) -> Result<(), String> {
    let script = Script::of(load)?;
    let mut child = spawn(url, load, length.as_secs() as usize + 1, script.as_ref())?;
    thread::sleep(length);
    let ended = child.try_wait();
    // It may have ended just now; then this fails, and the wait says so.
    let _ = child.kill();
    let _ = child.wait();
    match ended {
        Ok(None) => Ok(()),
        Ok(Some(status)) => Err(format!("wrk ended early ({status})")),
        Err(error) => Err(format!("can't wait for wrk: {error}")),
    }
}

fn spawn(url: &str, load: &Load, secs: usize, script: Option<&Script>) -> Result<Child, String> {
    // Two threads, as in the project's other measurements; wrk refuses more threads than connections.
    let threads = load.conns.min(2);
    let mut command = Command::new("wrk");
    command.args([format!("-t{threads}"), format!("-c{}", load.conns), format!("-d{secs}s")]);
    command.arg("--latency");
    if load.requests == Requests::OneAConnection {
        command.args(["-H", "Connection: close"]);
    }
    if let Some(script) = script {
        command.arg("-s").arg(&script.0);
    }
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(
        |error| match error.kind() {
            io::ErrorKind::NotFound => {
                "wrk isn't installed; it drives the servers. Get it with `apt-get install wrk` \
                (Debian, Ubuntu), `dnf install wrk` (Fedora), or from https://github.com/wg/wrk"
                    .to_string()
            }
            _ => format!("can't start wrk: {error}"),
        },
    )
}

/// A script in a file of its own, removed on drop.
struct Script(PathBuf);

impl Script {
    fn of(load: &Load) -> Result<Option<Self>, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Requests::Pipelined(depth) = load.requests else {
            return Ok(None);
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("compare-{}-{number}.lua", std::process::id()));
        let text = PIPELINE.replace("DEPTH", &depth.to_string());
        // Made before it is written, so that a failed write removes it.
        let script = Script(path);
        std::fs::write(&script.0, text)
            .map_err(|error| format!("can't write {}: {error}", script.0.display()))?;
        Ok(Some(script))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // Nothing else can be done about a file that stays in the directory for temporary ones.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Reads the output of `wrk --latency`.
pub(crate) fn parse(text: &str) -> Result<Report, String> {
    let (mut requests, mut requests_per_sec, mut p50_us, mut p99_us) = (None, None, None, None);
    for line in text.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["Socket", "errors:", ..] => return Err(line.to_string()),
            ["Non-2xx", ..] => return Err(line.to_string()),
            ["Requests/sec:", number] => requests_per_sec = number.parse().ok(),
            [number, "requests", "in", ..] => requests = number.parse().ok(),
            ["50%", time] => p50_us = micros(time),
            ["99%", time] => p99_us = micros(time),
            _ => {}
        }
    }
    let missing = |what: &str| format!("no {what}");
    let report = Report {
        requests: requests.filter(|&requests| requests > 0).ok_or_else(|| missing("requests"))?,
        requests_per_sec: requests_per_sec.ok_or_else(|| missing("requests per second"))?,
        p50_us: p50_us.ok_or_else(|| missing("50% latency"))?,
        p99_us: p99_us.ok_or_else(|| missing("99% latency"))?,
    };
    Ok(report)
}

/// A time as wrk writes it, in microseconds. Its units are us, ms, s, m and h.
fn micros(time: &str) -> Option<f64> {
    let unit = time.find(|c: char| c.is_ascii_alphabetic())?;
    let factor = match &time[unit..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        "h" => 3600e6,
        _ => return None,
    };
    Some(time[..unit].parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Running 2s test @ http://127.0.0.1:33333/
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   620.15us    1.02ms  33.05ms   96.49%
    Req/Sec    57.33k     6.14k   70.08k    75.00%
  Latency Distribution
     50%  507.00us
     75%  703.00us
     90%    0.98ms
     99%    3.53ms
  228352 requests in 2.01s, 33.11MB read
Requests/sec: 113826.57
Transfer/sec:     16.50MB
";

    #[test]
    fn a_good_run_is_read() {
        let report =
            Report { requests: 228_352, requests_per_sec: 113_826.57, p50_us: 507.0, p99_us: 3530.0 };
        assert_eq!(parse(GOOD), Ok(report));
    }

    #[test]
    fn errors_make_a_run_void() {
        let line = "Socket errors: connect 0, read 3, write 0, timeout 0";
        let text = GOOD.replace("Requests/sec", &format!("  {line}\nRequests/sec"));
        assert_eq!(parse(&text), Err(line.into()));
        let line = "Non-2xx or 3xx responses: 17";
        let text = GOOD.replace("Requests/sec", &format!("  {line}\nRequests/sec"));
        assert_eq!(parse(&text), Err(line.into()));
    }

    #[test]
    fn what_is_missing_makes_a_run_void() {
        for part in ["50%", "99%", "requests in", "Requests/sec:"] {
            assert!(parse(&GOOD.replace(part, "?")).is_err(), "{part}");
        }
        assert!(parse(&GOOD.replace("228352", "0")).is_err());
        assert!(parse(&GOOD.replace("3.53ms", "3.53")).is_err());
        assert!(parse("").is_err());
    }

    #[test]
    fn units_are_told_apart() {
        let cases =
            [("507.00us", 507.0), ("3.53ms", 3530.0), ("1.25s", 1.25e6), ("1.50m", 90e6), ("1h", 3600e6)];
        for (text, us) in cases {
            assert_eq!(micros(text), Some(us), "{text}");
        }
        assert_eq!(micros("5"), None);
        assert_eq!(micros("5parsecs"), None);
    }
}
