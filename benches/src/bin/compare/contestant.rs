//! A contestant: its name, and its server as a process of its own.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a server may take to bind and say so. A guess, long enough for a loaded machine.
const START: Duration = Duration::from_secs(10);

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contestant {
    Egret,
    Tokio,
    Smol,
    /// A bare kernel-epoll loop per thread: the limit.
    Epoll,
}

impl Contestant {
    pub(crate) const ALL: [Contestant; 4] =
        [Contestant::Egret, Contestant::Tokio, Contestant::Smol, Contestant::Epoll];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Contestant::Egret => "egret",
            Contestant::Tokio => "tokio",
            Contestant::Smol => "smol",
            Contestant::Epoll => "epoll",
        }
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
        found.ok_or_else(|| format!("`{word}` is none of egret, tokio, smol, epoll"))
    }
}

/// A contestant's server, running. Dropping it ends the process; should this process die without dropping it, its end of
/// the server's stdin closes, which ends the server too. (Ctrl-C in a terminal reaches all of them anyway.)
pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts `contestant` with `workers` threads and waits until it listens.
    pub(crate) fn start(contestant: Contestant, workers: usize) -> Result<Self, String> {
        let exe = std::env::current_exe().map_err(|error| format!("can't find myself: {error}"))?;
        let child = Command::new(exe)
            .args(["serve", contestant.name(), "--workers", &workers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("can't start {contestant}: {error}"))?;
        // From here on an early return ends the process.
        let mut server = Server { child, port: 0 };
        let stdout = server.child.stdout.take().ok_or("the server has no stdout")?;
        let (sender, receiver) = mpsc::channel();
        // A thread, because a pipe can't be read with a timeout; it ends with the server at the latest.
        thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            // Nobody is left to tell if the receiver has given up.
            let _ = sender.send(read.map(|_| line));
        });
        let line = match receiver.recv_timeout(START) {
            Ok(Ok(line)) => line,
            Ok(Err(error)) => return Err(format!("{contestant}: {error}")),
            Err(_) => return Err(format!("{contestant} didn't listen within {START:?}")),
        };
        server.port = line.trim().parse().map_err(|_| format!("{contestant} ended before it listened"))?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Errs if the process has ended.
    pub(crate) fn check_alive(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("the server ended: {status}")),
            Err(error) => Err(format!("can't ask for the server: {error}")),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only if the process has already ended, which is what's wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
