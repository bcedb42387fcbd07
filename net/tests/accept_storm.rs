//! More connections than the server has descriptors for: it goes on serving those that it has, costs next to nothing while it can take no more,
//! and takes the next ones as soon as descriptors are free. The limit is a process's, so the server runs in one of its own.

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::SockRef;
use support::{PATIENCE, Watchdog, eventually, listener, runtime};

/// How many descriptors the server may have; the runtime itself takes some ten.
const DESCRIPTORS: u64 = 64;
/// How many clients come.
const STORM: usize = 200;
/// How many of them lose patience while they wait in the queue, and reset their connection.
const IMPATIENT: usize = 20;
/// For so long the server's use of the processor is watched.
const WINDOW: Duration = Duration::from_secs(1);

#[test]
fn a_storm_beyond_the_descriptor_limit_is_served_without_spinning() {
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let mut server = Server::start();
    let mut clients: Vec<_> = (0..STORM).map(|_| Client::connect(server.address)).collect();
    let mut served = 0;
    eventually("the server runs out of descriptors", || {
        let before = std::mem::replace(&mut served, server.ask("accepted"));
        // The last one may be accepted and not counted yet.
        server.ask("full") == 1 && served == before
    });
    assert!(served > 10 && served < DESCRIPTORS as usize, "{served} at the same time");

    // It waits. Those that it has it serves, the others it leaves to the kernel; both all the time.
    let cpu = server.ask("cpu");
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed() < WINDOW {
        clients[rounds % served].echo();
        rounds += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    let (cpu, passed) = (Duration::from_micros((server.ask("cpu") - cpu) as u64), start.elapsed());
    println!("{cpu:?} of CPU in {passed:?}, {rounds} echoes included");
    assert!(cpu < passed / 20, "spinning: {cpu:?} of CPU in {passed:?}");
    assert!(rounds > 5, "it hardly answers: {rounds} echoes in {passed:?}");
    clients[..served].iter_mut().for_each(Client::echo);
    assert_eq!(server.ask("accepted"), served, "there was a descriptor after all");

    // Some of those who wait give up: the kernel hands the server what is left of them.
    for client in clients.drain(STORM - IMPATIENT..) {
        SockRef::from(&client.0).set_linger(Some(Duration::ZERO)).unwrap();
    }
    // The descriptors come back a few at a time, and each goes to who has waited longest.
    let mut waves = Vec::new();
    while clients.len() > served {
        let leaving = (clients.len() - served).min(7);
        drop(clients.drain(..leaving));
        let freed = Instant::now();
        clients[served - leaving..served].iter_mut().for_each(Client::echo);
        waves.push(freed.elapsed());
    }
    let slowest = *waves.iter().max().expect("there were some");
    println!(
        "after descriptors were free, the first wave was served within {:?}, the slowest {slowest:?}",
        waves[0]
    );
    assert!(slowest < PATIENCE / 4, "{slowest:?}");
    eventually("all but those who gave up were accepted", || server.ask("accepted") >= STORM - IMPATIENT);
    // With descriptors to spare it is as if nothing had been.
    drop(clients);
    let start = Instant::now();
    Client::connect(server.address).echo();
    println!("after the storm a connection is served within {:?}", start.elapsed());
    server.end();
}

/// One that has written something, and waits for the answer.
struct Client(TcpStream);

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        (&stream).write_all(b"?").unwrap();
        Self(stream)
    }

    /// Receives the answer to what it has written, and writes again.
    #[track_caller]
    fn echo(&mut self) {
        self.0.read_exact(&mut [0]).expect("an answer, in time");
        self.0.write_all(b"?").unwrap();
    }
}

/// The server's process. It answers questions with numbers.
struct Server {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_server", "--ignored", "--nocapture", "--test-threads=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let questions = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let address = answer(&mut answers).parse().unwrap();
        Self { child, questions, answers, address }
    }

    fn ask(&mut self, question: &str) -> usize {
        writeln!(self.questions, "{question}").unwrap();
        answer(&mut self.answers).parse().unwrap()
    }

    fn end(mut self) {
        drop(self.questions);
        let mut rest = String::new();
        self.answers.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success() && rest.contains("1 passed"), "{rest}");
    }
}

/// The next line that is meant for us; the test harness writes some of its own.
fn answer(from: &mut impl BufRead) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(from.read_line(&mut line).unwrap(), 0, "the server ended");
        if let Some((_, answer)) = line.split_once("answer: ") {
            return answer.trim().to_owned();
        }
    }
}

#[test]
#[ignore = "limits the descriptors of its process; run by a_storm_beyond_the_descriptor_limit_is_served_without_spinning"]
fn the_server() {
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let limit = libc::rlimit { rlim_cur: DESCRIPTORS, rlim_max: DESCRIPTORS };
    // SAFETY: setrlimit(2) reads one `rlimit`, which lives through the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    let runtime = runtime();
    let (listener, address) = runtime.block_on(listener());
    let accepted = Arc::new(AtomicUsize::new(0));
    let accepting = runtime.spawn({
        let accepted = accepted.clone();
        async move {
            loop {
                let (stream, _) = match listener.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) => return error,
                };
                accepted.fetch_add(1, Ordering::SeqCst);
                egret_executor::spawn(async move {
                    let mut buffer = [0; 64];
                    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                        if stream.write_all(&buffer[..n]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        }
    });
    println!("answer: {address}");
    for question in std::io::stdin().lines() {
        let answer = match question.unwrap().as_str() {
            "full" => usize::from(File::open("/dev/null").is_err()),
            "accepted" => accepted.load(Ordering::SeqCst),
            "cpu" => cpu_time().as_micros() as usize,
            other => panic!("{other:?} is no question"),
        };
        println!("answer: {answer}");
    }
    assert!(!accepting.is_finished(), "{:?}", runtime.block_on(accepting));
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
