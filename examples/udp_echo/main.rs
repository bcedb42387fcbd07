//! An echo over UDP: each datagram goes back to where it came from.
//!
//! ```text
//! cargo run --release --example udp_echo -- 127.0.0.1:7070
//! nc -u 127.0.0.1 7070
//! ```
//!
//! The methods of a socket take `&self`: some tasks share this one, and each datagram goes to one of them.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use egret::net::UdpSocket;
use egret::task::JoinSet;

/// How many tasks share the socket. A guess: as many as can be at work at the same time on a small machine; they only copy.
const TASKS: usize = 4;
/// The longest datagram that IP carries.
const LONGEST: usize = 65_507;

#[egret::main]
async fn main() -> ExitCode {
    run(std::env::args().nth(1)).await
}

/// The program, with the address that it was given.
pub async fn run(address: Option<String>) -> ExitCode {
    let address = address.unwrap_or_else(|| "127.0.0.1:7070".to_owned());
    let outcome = async {
        let socket = UdpSocket::bind(address.as_str()).await?;
        println!("udp_echo: {}", socket.local_addr()?);
        serve(socket).await
    };
    match outcome.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("udp_echo: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Echoes until that is no longer possible: the first task's error ends them all.
pub async fn serve(socket: UdpSocket) -> io::Result<()> {
    let socket = Arc::new(socket);
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        tasks.spawn(echo(socket.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn echo(socket: Arc<UdpSocket>) -> io::Result<()> {
    let mut buffer = vec![0; LONGEST];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await?;
        // One peer that can't be reached is no reason to end. Nobody is promised an answer, either.
        if let Err(error) = socket.send_to(&buffer[..length], peer).await {
            eprintln!("udp_echo: {peer}: {error}");
        }
    }
}
