//! An echo over websockets, by tungstenite: `async-tungstenite` wants the traits of `futures-io`, which egret's sockets have.
//!
//! ```text
//! cargo run --release --example websocket_echo -- 127.0.0.1:7080
//! ```
//!
//! Then, in a browser's console: `s = new WebSocket("ws://127.0.0.1:7080"); s.onmessage = m => console.log(m.data); s.onopen = () => s.send("hello")`.
//!
//! Texts and bytes come back as what they were. Pings are answered, and goodbyes returned, by the library.

use std::process::ExitCode;
use std::time::Duration;

use async_tungstenite::accept_async_with_config;
use async_tungstenite::tungstenite::{Error, Message, protocol::WebSocketConfig};
use egret::net::{TcpListener, TcpStream};
use egret::time::timeout;
use futures_lite::StreamExt;

/// How long a client may take over the handshake. A guess.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest message, in bytes: a client may make us hold as much. A guess.
const LONGEST: usize = 1 << 20;

#[egret::main]
async fn main() -> ExitCode {
    run(std::env::args().nth(1)).await
}

/// The program, with the address that it was given.
pub async fn run(address: Option<String>) -> ExitCode {
    let address = address.unwrap_or_else(|| "127.0.0.1:7080".to_owned());
    let outcome = async {
        let listener = TcpListener::bind(address.as_str()).await?;
        println!("websocket_echo: {}", listener.local_addr()?);
        serve(listener).await
    };
    match outcome.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("websocket_echo: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes clients until that is no longer possible.
pub async fn serve(listener: TcpListener) -> std::io::Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        egret::spawn(async move {
            // One client's trouble, told and over.
            if let Err(error) = echo(stream).await {
                eprintln!("websocket_echo: {peer}: {error}");
            }
        });
    }
}

async fn echo(stream: TcpStream) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
    let handshake = accept_async_with_config(stream, Some(config));
    let mut socket = timeout(HANDSHAKE_TIMEOUT, handshake).await.map_err(std::io::Error::from)??;
    while let Some(message) = socket.next().await {
        match message? {
            message @ (Message::Text(_) | Message::Binary(_)) => socket.send(message).await?,
            // The library has dealt with it.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
        }
    }
    Ok(())
}
