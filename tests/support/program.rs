//! An example as a program of its own. A test binary holds it: its ignored test `program` is the example's `main` with other arguments.
#![allow(dead_code)] // Each test binary uses its part.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// The environment variable that carries the arguments, separated by spaces.
const ARGUMENTS: &str = "EGRET_TEST_PROGRAM_ARGUMENTS";

/// The arguments, in the process that is to be the program.
pub fn arguments() -> Option<Vec<String>> {
    Some(std::env::var(ARGUMENTS).ok()?.split_whitespace().map(str::to_owned).collect())
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "program", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(ARGUMENTS, arguments.join(" ")).stdin(Stdio::null());
    command
}

/// One that runs. Killed when it is dropped.
pub struct Program {
    /// What it said after its name when it was ready.
    pub greeting: String,
    child: Child,
    // Kept open: it may go on talking.
    output: BufReader<ChildStdout>,
}

impl Program {
    /// Returns when it has said a line with `name: ` in it.
    #[track_caller]
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child = command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let sign = format!("{name}: ");
        let mut line = String::new();
        let greeting = loop {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "it ended without a greeting");
            if let Some((_, greeting)) = line.split_once(&sign) {
                break greeting.trim_end().to_owned();
            }
        };
        Self { greeting, child, output }
    }

    /// Runs one that cannot work: what it says on standard error.
    #[track_caller]
    pub fn fail(arguments: &[&str]) -> String {
        let output = command(arguments).output().unwrap();
        assert!(!output.status.success(), "it worked");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        // SAFETY: kill(2) touches no memory; the child has not been waited for, so its id is still its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGINT) }, 0);
    }

    /// Waits for its end.
    pub fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended; that is what both are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
