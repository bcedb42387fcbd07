//! What the tests of the HTTP echo server need: the server in this process or as a program, and a client that is patient, but not
//! for ever.

mod watchdog;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::example::gate::Gate;
use crate::example::server::{Config, Server};
pub use watchdog::Watchdog;

/// Within this everything on loopback has happened, on a loaded machine, too.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The environment variable that carries the program's arguments.
pub const ARGUMENTS: &str = "EGRET_TEST_HTTP_ECHO_ARGUMENTS";

/// What makes a test binary be the program.
pub const PROGRAM: [&str; 5] = ["--exact", "program", "--ignored", "--nocapture", "--test-threads=1"];

/// A configuration whose lingering closes do not hold up a test.
pub fn quick() -> Config {
    Config { linger_time: Duration::from_millis(200), ..Config::default() }
}

/// Waits for `condition`.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A server in this process, with a runtime of its own.
pub struct Running {
    pub address: SocketAddr,
    gate: Gate,
    server: egret::JoinHandle<std::io::Result<usize>>,
    runtime: egret::Runtime,
    _watchdog: Watchdog,
}

impl Running {
    #[track_caller]
    pub fn start(config: Config) -> Self {
        let runtime = egret::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let server = runtime.block_on(Server::bind("127.0.0.1:0", config)).unwrap();
        let address = server.local_addr().unwrap();
        let gate = server.gate();
        let server = runtime.spawn(server.run());
        Self { address, gate, server, runtime, _watchdog: Watchdog::start() }
    }

    /// Connections, the accept loop not counted.
    pub fn connections(&self) -> usize {
        self.gate.members() - 1
    }

    /// Stops the server: connections cut off, requests served.
    pub fn stop(self) -> (usize, u64) {
        self.gate.stop();
        let unfinished = self.runtime.block_on(self.server).unwrap().unwrap();
        drop(self.runtime);
        (unfinished, self.gate.served())
    }

    pub fn drop_runtime(self) {
        drop(self.runtime);
    }
}

/// One answer.
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A blocking HTTP client that understands just what the server says.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    /// The socket, to write from another thread.
    pub fn stream(&self) -> TcpStream {
        self.reader.get_ref().try_clone().unwrap()
    }

    pub fn send(&mut self, data: &[u8]) {
        self.reader.get_mut().write_all(data).unwrap();
    }

    /// Sends, and reads one answer.
    pub fn ask(&mut self, request: &[u8]) -> Answer {
        self.send(request);
        self.answer()
    }

    /// Reads one answer.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let line = self.line();
        let status =
            line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {line:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("not a header: {line:?}"));
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        answer.body.resize(length, 0);
        self.reader.read_exact(&mut answer.body).unwrap();
        answer
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a line, in time");
        line.strip_suffix("\r\n").unwrap_or_else(|| panic!("not a line: {line:?}")).to_owned()
    }

    /// The server says nothing more and closes.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).expect("an orderly end, in time");
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    }

    /// The connection is gone, in whatever way.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        // Not a bare `read`: a completion for a ring that this thread has made interrupts a receive that has a timeout.
        match self.reader.read_to_end(&mut Vec::new()) {
            Ok(n) => assert_eq!(n, 0),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
        }
    }

    /// Resets the connection.
    pub fn reset(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let socket = std::os::fd::AsRawFd::as_raw_fd(self.reader.get_ref());
        let size = size_of_val(&linger) as libc::socklen_t;
        // SAFETY: setsockopt(2) reads `size` bytes of `linger`, which lives through the call; the socket is open.
        let outcome = unsafe {
            libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size)
        };
        assert_eq!(outcome, 0);
    }
}

/// The example as a process of its own: this very test binary, told to be it.
pub struct Program {
    pub address: SocketAddr,
    /// What it printed at the start.
    pub greeting: String,
    child: Child,
    output: BufReader<ChildStdout>,
    _watchdog: Watchdog,
}

impl Program {
    #[track_caller]
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(&mut Self::command("program"), arguments)
    }

    /// The ignored test `wrapper` becomes the program in the end. It chooses its feed itself, whatever this test run is told.
    #[allow(dead_code)] // not every test binary does this
    #[track_caller]
    pub fn start_through(wrapper: &str, arguments: &[&str]) -> Self {
        Self::spawn(Self::command(wrapper).env_remove("EGRET_FEED"), arguments)
    }

    #[track_caller]
    fn spawn(command: &mut Command, arguments: &[&str]) -> Self {
        let arguments = [&["--addr", "127.0.0.1:0", "--workers", "2"], arguments].concat();
        command.env(ARGUMENTS, arguments.join(" "));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let watchdog = Watchdog::start();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        let address = loop {
            greeting.clear();
            assert!(output.read_line(&mut greeting).unwrap() > 0, "it ended without a greeting");
            if let Some((_, rest)) = greeting.split_once("http://") {
                break rest.split(',').next().unwrap().parse().unwrap();
            }
        };
        Self { address, greeting, child, output, _watchdog: watchdog }
    }

    fn command(test: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(PROGRAM.map(|argument| if argument == "program" { test } else { argument }));
        command.stdin(Stdio::null());
        command
    }

    /// Runs it with arguments that cannot work: what it says on standard error.
    pub fn fail(arguments: &[&str]) -> String {
        let _watchdog = Watchdog::start();
        let output = Self::command("program").env(ARGUMENTS, arguments.join(" ")).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    /// What it holds of the machine's memory.
    pub fn memory_kib(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap()
    }

    /// Ctrl-C.
    pub fn interrupt(&mut self) {
        // SAFETY: kill(2) touches no memory; the child has not been waited for, so its id is still its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGINT) }, 0);
    }

    /// Waits for its good end: what it printed after the greeting.
    pub fn wait(self) -> String {
        let (status, rest) = self.end();
        assert!(status.success(), "{status}: {rest}");
        rest
    }

    /// Waits for its end, whatever it is, and what it printed after the greeting.
    pub fn end(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A test that failed leaves no process behind. It fails for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
