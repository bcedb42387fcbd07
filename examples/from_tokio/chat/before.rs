//! A line chat: what one says, all others hear. The first line is one's name.
//!
//! Its environment: `LISTEN`, its address.

use std::env;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Duration, timeout};

/// How many messages are kept for those who have not heard them yet. A guess.
const KEPT: usize = 256;
/// How long somebody may take to say a name. A guess.
const NAME_TIMEOUT: Duration = Duration::from_secs(30);

/// Who said it, and what.
type Message = (SocketAddr, String);

/// The program. Public for the test that runs it.
#[tokio::main]
pub async fn main() -> io::Result<()> {
    let address = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:7000".to_owned());
    let listener = TcpListener::bind(&address).await?;
    println!("chat: {}", listener.local_addr()?);
    let (room, _) = broadcast::channel(KEPT);
    loop {
        let (stream, peer) = listener.accept().await?;
        let room = room.clone();
        tokio::spawn(async move {
            if let Err(error) = client(stream, peer, room).await {
                eprintln!("chat: {peer}: {error}");
            }
        });
    }
}

async fn client(stream: TcpStream, me: SocketAddr, room: broadcast::Sender<Message>) -> io::Result<()> {
    // A line goes out when it is said, and not when the one before it was acknowledged.
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let Some(name) = timeout(NAME_TIMEOUT, lines.next_line()).await?? else { return Ok(()) };
    let mut heard = room.subscribe();
    // Sending fails when nobody is here to listen; we are.
    let say = |text: String| drop(room.send((me, text)));
    say(format!("* {name} is here\n"));
    writer.write_all(format!("* welcome, {name}\n").as_bytes()).await?;
    let outcome = loop {
        tokio::select! {
            line = lines.next_line() => match line {
                Ok(Some(line)) => say(format!("{name}: {line}\n")),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            },
            message = heard.recv() => {
                let text = match message {
                    Ok((from, _)) if from == me => continue,
                    Ok((_, text)) => text,
                    Err(RecvError::Lagged(missed)) => format!("* you missed {missed} messages\n"),
                    Err(RecvError::Closed) => break Ok(()),
                };
                if let Err(error) = writer.write_all(text.as_bytes()).await {
                    break Err(error);
                }
            }
        }
    };
    say(format!("* {name} has left\n"));
    outcome
}
