//! The example `chat` with clients that talk, leave, say too much, and don't listen.

#[allow(dead_code)] // `main` is called by nobody here
#[path = "../examples/chat/main.rs"]
mod example;
#[path = "support/program.rs"]
mod program;
#[path = "support/watchdog.rs"]
mod watchdog;

use std::net::SocketAddr;
use std::time::Duration;

use egret::net::{OwnedReadHalf, OwnedWriteHalf, TcpListener, TcpStream};
use egret::time::timeout;
use program::Program;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use watchdog::Watchdog;

/// Within this everything on loopback has happened, on a loaded machine, too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a body against a server of its own.
fn run<F: Future<Output = ()>>(body: impl FnOnce(SocketAddr) -> F) {
    let _watchdog = Watchdog::start();
    let runtime = egret::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        egret::spawn(example::serve(listener));
        timeout(PATIENCE, body(address)).await.expect("it ends");
    });
}

struct Client {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Client {
    /// Comes in; from then on it hears everything.
    async fn join(address: SocketAddr, name: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (reader, writer) = stream.into_split();
        let mut client = Self { lines: BufReader::new(reader).lines(), writer };
        client.say(name).await;
        client.hears(&format!("* welcome, {name}")).await;
        client
    }

    async fn say(&mut self, text: &str) {
        self.writer.write_all(format!("{text}\n").as_bytes()).await.unwrap();
    }

    #[track_caller]
    fn hears(&mut self, expected: &str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let found = self.lines.next_line().await.unwrap();
            assert_eq!(found.as_deref(), Some(expected), "{place}");
        }
    }
}

#[test]
fn what_one_says_all_others_hear_in_order() {
    run(async |address| {
        let mut anna = Client::join(address, "anna").await;
        let mut bert = Client::join(address, "bert").await;
        anna.hears("* bert is here").await;
        let mut cleo = Client::join(address, "cleo").await;
        anna.hears("* cleo is here").await;
        bert.hears("* cleo is here").await;

        for n in 0..100 {
            anna.say(&format!("line {n}")).await;
        }
        for n in 0..100 {
            bert.hears(&format!("anna: line {n}")).await;
            cleo.hears(&format!("anna: line {n}")).await;
        }
        // With the line end of telnet; and nobody hears herself.
        bert.say("hello\r").await;
        anna.hears("bert: hello").await;
        cleo.hears("bert: hello").await;

        drop(bert);
        anna.hears("* bert has left").await;
        cleo.hears("* bert has left").await;
    });
}

#[test]
fn a_line_without_end_costs_its_author_the_connection() {
    run(async |address| {
        let mut anna = Client::join(address, "anna").await;
        let mut bert = Client::join(address, "bert").await;
        anna.hears("* bert is here").await;
        bert.writer.write_all(&[b'x'; 1024]).await.unwrap();
        assert!(!matches!(bert.lines.next_line().await, Ok(Some(_))), "it goes on listening");
        anna.hears("* bert has left").await;
    });
}

#[test]
fn half_a_line_is_not_said() {
    run(async |address| {
        let mut anna = Client::join(address, "anna").await;
        let mut bert = Client::join(address, "bert").await;
        anna.hears("* bert is here").await;
        bert.writer.write_all(b"half").await.unwrap();
        drop(bert);
        anna.hears("* bert has left").await;
    });
}

#[test]
fn who_does_not_listen_misses_messages_and_holds_up_nobody() {
    run(async |address| {
        let mut anna = Client::join(address, "anna").await;
        let mut deaf = Client::join(address, "deaf").await;
        anna.hears("* deaf is here").await;
        let mut bert = Client::join(address, "bert").await;
        anna.hears("* bert is here").await;
        // More than the sockets' buffers and the room hold: 30,000 lines of 900 bytes.
        let line = "x".repeat(900);
        let expected = format!("anna: {line}");
        for n in 0..30_000 {
            anna.say(&line).await;
            // Keeps pace, so that it is the deaf one who lags.
            if n % 64 == 63 {
                for _ in 0..64 {
                    bert.hears(&expected).await;
                }
            }
        }
        anna.say("over").await;
        for _ in 0..30_000 % 64 {
            bert.hears(&expected).await;
        }
        bert.hears("anna: over").await;

        deaf.hears("* bert is here").await;
        let mut missed = 0;
        let mut heard = 0;
        loop {
            let found = deaf.lines.next_line().await.unwrap().expect("it is still connected");
            if let Some(count) = found.strip_prefix("* you missed ") {
                missed += count.strip_suffix(" messages").unwrap().parse::<usize>().unwrap();
            } else if found == "anna: over" {
                break;
            } else {
                assert_eq!(found, expected);
                heard += 1;
            }
        }
        assert!(missed > 0);
        assert_eq!(heard + missed, 30_000);
    });
}

#[test]
fn the_program_says_where_it_is_and_chats() {
    run(async |_| {
        let program = Program::start("chat", &["127.0.0.1:0"]);
        let address: SocketAddr = program.greeting.parse().unwrap();
        let mut anna = Client::join(address, "anna").await;
        Client::join(address, "bert").await;
        anna.hears("* bert is here").await;

        let said = Program::fail(&[&program.greeting]);
        assert!(said.contains(&format!("chat: {address}: ")), "{said}");
    });
}

#[egret::test]
#[ignore = "the program itself, for the test that starts it"]
async fn program() {
    let Some(arguments) = program::arguments() else { return };
    let _watchdog = Watchdog::start();
    let code = example::run(arguments.into_iter().next()).await;
    assert_eq!(code, std::process::ExitCode::SUCCESS);
}
