//! A line chat: what one says, all others hear.
//!
//! ```text
//! cargo run --release --features tokio-io --example chat -- 127.0.0.1:7000
//! nc 127.0.0.1 7000          (twice; the first line is your name)
//! ```
//!
//! `tokio::sync` and tokio's buffered I/O need nothing of tokio's runtime: they run here as they do there.
//!
//! ```text
//!   client ──► reader (the connection's task) ──► broadcast ──► writer, one a client ──► client
//! ```
//!
//! Nobody waits for a slow listener. A writer that is [`KEPT`] messages behind skips to what is still there, and says how much it has missed.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use egret::net::{OwnedReadHalf, OwnedWriteHalf, TcpListener, TcpStream};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::sync::broadcast::{self, Receiver, Sender, error::RecvError};

/// How many messages are kept for those who haven't heard them yet. A guess.
const KEPT: usize = 256;
/// The longest line, its end included. A guess; longer ones end the connection, so that nobody fills the memory with one.
const LONGEST: u64 = 1024;

/// Who said what.
#[derive(Clone)]
struct Message {
    from: u64,
    text: Arc<str>,
}

#[egret::main]
async fn main() -> ExitCode {
    run(std::env::args().nth(1)).await
}

/// The program, with the address that it was given.
pub async fn run(address: Option<String>) -> ExitCode {
    let address = address.unwrap_or_else(|| "127.0.0.1:7000".to_owned());
    let outcome = async {
        let listener = TcpListener::bind(address.as_str()).await?;
        println!("chat: {}", listener.local_addr()?);
        serve(listener).await
    };
    match outcome.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes clients until that is no longer possible.
pub async fn serve(listener: TcpListener) -> io::Result<()> {
    let room = broadcast::Sender::new(KEPT);
    let numbers = AtomicU64::new(0);
    loop {
        let (stream, peer) = listener.accept().await?;
        let (room, number) = (room.clone(), numbers.fetch_add(1, Ordering::Relaxed));
        egret::spawn(async move {
            if let Err(error) = client(stream, number, room).await {
                eprintln!("chat: {peer}: {error}");
            }
        });
    }
}

async fn client(stream: TcpStream, number: u64, room: Sender<Message>) -> io::Result<()> {
    // A line is sent when it is said, and not when the one before it was acknowledged.
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let Some(name) = line(&mut reader).await? else { return Ok(()) };
    let say = |text: String| {
        // An error is that nobody is here to listen.
        let _heard = room.send(Message { from: number, text: text.into() });
    };
    // From here on this client hears everything, the welcome first.
    let heard = room.subscribe();
    let listening = egret::spawn(listen(writer, number, heard, format!("* welcome, {name}\n")));
    say(format!("* {name} is here\n"));
    let outcome = loop {
        match line(&mut reader).await {
            Ok(Some(line)) => say(format!("{name}: {line}\n")),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    say(format!("* {name} has left\n"));
    // It waits for the next message, or for the client to take one.
    listening.abort();
    outcome
}

/// The next line, without its end; `None` at the end of the stream.
async fn line(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<String>> {
    let mut line = String::new();
    let read = reader.take(LONGEST).read_line(&mut line).await?;
    match line.strip_suffix('\n') {
        Some(whole) => Ok(Some(whole.trim_end_matches('\r').to_owned())),
        None if read as u64 == LONGEST => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "a line without end"))
        }
        // What is left of a line when its author has gone was not said.
        None => Ok(None),
    }
}

/// Writes what the others say.
async fn listen(
    mut writer: OwnedWriteHalf,
    number: u64,
    mut heard: Receiver<Message>,
    welcome: String,
) -> io::Result<()> {
    writer.write_all(welcome.as_bytes()).await?;
    loop {
        match heard.recv().await {
            Ok(message) if message.from == number => {}
            Ok(message) => writer.write_all(message.text.as_bytes()).await?,
            Err(RecvError::Lagged(missed)) => {
                writer.write_all(format!("* you missed {missed} messages\n").as_bytes()).await?;
            }
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}
