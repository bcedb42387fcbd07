//! An example as a program of its own. A test binary holds it: its ignored test `program` is the example's `main` with other arguments. One that holds several
//! has an ignored test for each, and tells them by their environment.
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
    let mut command = ignored_test("program");
    command.env(ARGUMENTS, arguments.join(" "));
    command
}

fn ignored_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]).stdin(Stdio::null());
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
        Self::spawn(name, &mut command(arguments))
    }

    /// The ignored test `test`, with `variables` in its environment.
    #[track_caller]
    pub fn start_test(test: &str, name: &str, variables: &[(&str, &str)]) -> Self {
        Self::spawn(name, ignored_test(test).envs(variables.iter().copied()))
    }

    #[track_caller]
    fn spawn(name: &str, command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
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

    /// Its number, as the system knows it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        // SAFETY: kill(2) touches no memory; the child has not been waited for, so its id is still its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGINT) }, 0);
    }

    /// The next line that it says, without its end. Panics when it says nothing more.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "it says nothing more");
        line.trim_end().to_owned()
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
