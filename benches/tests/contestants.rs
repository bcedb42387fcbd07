//! Every contestant answers, and all of them the same bytes: otherwise a comparison would compare different work.

#[path = "../../tests/support/watchdog.rs"]
mod watchdog;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use watchdog::Watchdog;

const CONTESTANTS: [&str; 6] = ["egret", "egret-off", "tokio", "smol", "monoio", "epoll"];

/// The ways in which each of them is written.
const JOBS: [&str; 3] = ["http", "stall", "idle"];

/// A contestant's process; ended on drop.
struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    addr: SocketAddr,
    _watchdog: Watchdog,
}

impl Server {
    #[track_caller]
    fn start(who: &str, job: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_compare"))
            .args(["serve", who, "--workers", "2", "--job", job])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stdin = child.stdin.take();
        // Made before the port is looked at, so that a failure there ends the process.
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { child, stdin, stdout, addr, _watchdog: Watchdog::start() };
        let port = server.line();
        server.addr.set_port(port.parse().unwrap_or_else(|_| panic!("{who} printed no port: {port:?}")));
        server
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().into()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).expect("the server accepts");
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends `pieces` over one connection, reading all of an answer that ends with `mark` after each, and
    /// returns everything that came until the server closed.
    fn talk(&self, pieces: &[(&str, &str)]) -> String {
        let mut stream = self.connect();
        let mut answers = Vec::new();
        for (piece, mark) in pieces {
            stream.write_all(piece.as_bytes()).unwrap();
            let mut buffer = [0; 4096];
            let begin = answers.len();
            while !answers[begin..].ends_with(mark.as_bytes()) {
                let count = stream.read(&mut buffer).expect("an answer in time");
                assert_ne!(count, 0, "closed early, after {:?}", String::from_utf8_lossy(&answers));
                answers.extend_from_slice(&buffer[..count]);
            }
        }
        stream.read_to_end(&mut answers).expect("the server closes in time");
        String::from_utf8(answers).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All contestants, in all ways in which they are written.
fn everybody() -> impl Iterator<Item = (&'static str, &'static str)> {
    CONTESTANTS.into_iter().flat_map(|who| JOBS.map(|job| (who, job)))
}

/// The answers of all contestants to the same talk; they have to be one.
fn same_answers(pieces: &[(&str, &str)]) -> String {
    let mut first = None;
    for (who, job) in everybody() {
        let answer = Server::start(who, job).talk(pieces);
        let first = first.get_or_insert_with(|| answer.clone());
        assert_eq!(&answer, first, "{who} for {job}");
    }
    first.unwrap()
}

#[test]
fn keep_alive_answers_are_the_same() {
    let get = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let echo = "GET /a HTTP/1.1\r\nHost: a\r\n";
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let last = "GET /z HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = same_answers(&[(get, echo), (post, "hello"), (get, echo), (last, "")]);
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 4);
}

#[test]
fn pipelined_answers_are_the_same() {
    let stream = [
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n",
        "GET /3 HTTP/1.1\r\nHost: a\r\n\r\nGET /4 HTTP/1.1\r\nHost: a\r\n\r\nGET /bad\r\n\r\n",
    ]
    .concat();
    let answer = same_answers(&[(&stream, "")]);
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 4);
    assert!(answer.ends_with("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
}

#[test]
fn a_large_body_comes_back_whole() {
    // More than the socket buffers hold, so that writes block; the codec answers when all of it is there.
    let body = "0123456789abcdef".repeat(1024 * 1024 / 16);
    let head =
        format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let request = [head.as_str(), &body].concat();
    let answer = same_answers(&[(&request, "")]);
    assert!(answer.ends_with(&body));
}

#[test]
fn many_connections_are_served_at_once() {
    for (who, job) in everybody() {
        let server = Server::start(who, job);
        let mut streams: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
        for round in 0..3 {
            for stream in &mut streams {
                write!(stream, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{round}").unwrap();
            }
            let expected = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{round}");
            for stream in &mut streams {
                let mut answer = vec![0; expected.len()];
                stream.read_exact(&mut answer).unwrap_or_else(|error| panic!("{who} for {job}: {error}"));
                assert_eq!(String::from_utf8_lossy(&answer), expected, "{who} for {job}");
            }
        }
    }
}

#[test]
fn a_head_that_comes_in_pieces_is_answered_whole() {
    let head = "GET /pieces HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for (who, job) in everybody() {
        let server = Server::start(who, job);
        let mut stream = server.connect();
        stream.set_nodelay(true).unwrap();
        for piece in head.as_bytes().chunks(9) {
            stream.write_all(piece).unwrap();
            // Long enough for most of them to be read alone; the answer is the same if they aren't.
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{who} for {job}: {error}"));
        assert!(answer.ends_with(&head[..head.len() - 2]), "{who} for {job}: {answer}");
    }
}

#[test]
fn a_bad_handler_keeps_its_client_waiting_and_the_answer_is_the_same() {
    for who in CONTESTANTS {
        for path in ["/block", "/spin"] {
            let server = Server::start(who, "stall");
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let start = Instant::now();
            let answer = server.talk(&[(&request, "")]);
            assert!(start.elapsed() >= Duration::from_millis(300), "{who} {path}");
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(path), "{who}: {answer}");
        }
    }
}

#[cfg(target_env = "gnu")]
#[test]
fn a_server_knows_the_size_of_its_heap() {
    for who in CONTESTANTS {
        let mut server = Server::start(who, "http");
        let heap = |server: &mut Server| {
            server.stdin.as_mut().unwrap().write_all(b"heap\n").unwrap();
            server.line().parse::<usize>().unwrap_or_else(|error| panic!("{who}: {error}"))
        };
        let before = heap(&mut server);
        let streams: Vec<TcpStream> = (0..32)
            .map(|_| {
                let mut stream = server.connect();
                stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").unwrap();
                stream.read_exact(&mut [0; 1]).unwrap();
                stream
            })
            .collect();
        // Each has a read buffer of 16 KiB.
        assert!(heap(&mut server) >= before + 32 * 16 * 1024, "{who}");
        drop(streams);
    }
}

#[test]
fn a_server_ends_when_its_stdin_closes() {
    for (who, job) in everybody() {
        let mut server = Server::start(who, job);
        let held = server.connect();
        drop(server.stdin.take());
        let start = Instant::now();
        let status = loop {
            if let Some(status) = server.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{who} for {job} goes on");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success(), "{who} for {job}: {status}");
        drop(held);
    }
}

#[test]
fn a_wrong_command_line_is_refused() {
    let _watchdog = Watchdog::start();
    for line in
        [["serve", "mio"], ["http", "--only"], ["http", "--secs=3"], ["stall", "--x"], ["memory", "--secs"]]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_compare")).args(line).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage:"), "{line:?}");
    }
}
