//! A contestant: its name, and its server as a process of its own.

use crate::args::Common;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::str::FromStr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a server may take to bind and say so, or to answer a question. A guess, long enough for a loaded machine.
const ANSWER: Duration = Duration::from_secs(10);

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contestant {
    Egret,
    /// Egret with its watch over blocked workers switched off: what that costs, and what it is good for. Takes part if asked for.
    EgretOff,
    Tokio,
    Smol,
    Monoio,
    /// A bare kernel-epoll loop per thread: the limit.
    Epoll,
}

impl Contestant {
    pub(crate) const ALL: [Contestant; 6] = [
        Contestant::Egret,
        Contestant::EgretOff,
        Contestant::Tokio,
        Contestant::Smol,
        Contestant::Monoio,
        Contestant::Epoll,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Contestant::Egret => "egret",
            Contestant::EgretOff => "egret-off",
            Contestant::Tokio => "tokio",
            Contestant::Smol => "smol",
            Contestant::Monoio => "monoio",
            Contestant::Epoll => "epoll",
        }
    }

    /// Who takes part: whom the options name, else everybody but egret-off.
    pub(crate) fn chosen(common: &Common) -> Result<Vec<Contestant>, String> {
        let names = Self::ALL.map(Contestant::name);
        let mut chosen = common.chosen(&names)?;
        if common.only.is_none() {
            chosen.retain(|&name| name != Contestant::EgretOff.name());
        }
        chosen.into_iter().map(str::parse).collect()
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Contestant {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|contestant| contestant.name() == word);
        found.ok_or_else(|| format!("`{word}` is none of {}", Self::ALL.map(Contestant::name).join(", ")))
    }
}

/// What a server is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Requests: every connection has its buffers for life.
    Http,
    /// The same, and some requests' handlers don't let go of their worker; see [`stall`](crate::stall).
    Stall,
    /// Many connections that do nothing: none of them holds a buffer meanwhile.
    Idle,
}

impl Job {
    fn name(self) -> &'static str {
        match self {
            Job::Http => "http",
            Job::Stall => "stall",
            Job::Idle => "idle",
        }
    }
}

impl FromStr for Job {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = [Job::Http, Job::Stall, Job::Idle].into_iter().find(|job| job.name() == word);
        found.ok_or_else(|| format!("`{word}` is none of http, stall, idle"))
    }
}

/// A contestant's server, running. Dropping it ends the process; should this process die without dropping it, its end of
/// the server's stdin closes, which ends the server too. (Ctrl-C in a terminal reaches all of them anyway.)
pub(crate) struct Server {
    child: Child,
    stdin: ChildStdin,
    /// The lines of its stdout.
    lines: mpsc::Receiver<String>,
    port: u16,
}

impl Server {
    /// Starts `contestant` with `workers` threads for `job` and waits until it listens.
    pub(crate) fn start(contestant: Contestant, workers: usize, job: Job) -> Result<Self, String> {
        let exe = std::env::current_exe().map_err(|error| format!("can't find myself: {error}"))?;
        let mut child = Command::new(exe)
            .args(["serve", contestant.name(), "--workers", &workers.to_string(), "--job", job.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("can't start {contestant}: {error}"))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both were asked for");
        };
        let (sender, lines) = mpsc::channel();
        // A thread, because a pipe can't be read with a timeout; it ends with the server at the latest.
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            while lines.next().is_some_and(|line| sender.send(line).is_ok()) {}
        });
        // From here on an early return ends the process.
        let mut server = Server { child, stdin, lines, port: 0 };
        let line = server.line().map_err(|what| format!("{contestant} doesn't listen: {what}"))?;
        server.port = line.parse().map_err(|_| format!("{contestant}'s port is `{line}`"))?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The bytes its allocator has given out and not got back.
    pub(crate) fn heap_bytes(&mut self) -> Result<u64, String> {
        self.stdin.write_all(b"heap\n").map_err(|error| format!("can't ask the server: {error}"))?;
        let line = self.line()?;
        line.parse().map_err(|_| format!("the size of the server's heap is `{line}`"))
    }

    /// Errs if the process has ended.
    pub(crate) fn check_alive(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("the server ended: {status}")),
            Err(error) => Err(format!("can't ask for the server: {error}")),
        }
    }

    fn line(&self) -> Result<String, String> {
        self.lines.recv_timeout(ANSWER).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => format!("it said nothing for {ANSWER:?}"),
            mpsc::RecvTimeoutError::Disconnected => "it has ended".into(),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only if the process has already ended, which is what's wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
