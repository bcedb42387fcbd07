//! The example `websocket_echo`: the real tungstenite at both ends, over egret's sockets.

#[allow(dead_code)] // `main` is called by nobody here
#[path = "../examples/websocket_echo/main.rs"]
mod example;
#[path = "support/program.rs"]
mod program;
#[path = "support/watchdog.rs"]
mod watchdog;

use std::net::SocketAddr;
use std::time::Duration;

use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};
use async_tungstenite::{WebSocketStream, client_async};
use egret::net::{TcpListener, TcpStream};
use egret::time::timeout;
use futures_lite::StreamExt;
use program::Program;
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

async fn connect(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    client_async(format!("ws://{address}/"), stream).await.unwrap().0
}

#[test]
fn texts_and_bytes_come_back_as_what_they_were() {
    run(async |address| {
        let mut socket = connect(address).await;
        for n in 0..100 {
            for message in [Message::text(format!("text {n}")), Message::binary(vec![n; 1000])] {
                socket.send(message.clone()).await.unwrap();
                assert_eq!(socket.next().await.unwrap().unwrap(), message);
            }
        }
        // A ping is answered, and is not an echo.
        socket.send(Message::Ping("there?".into())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("there?".into()));
        // A goodbye is returned, then comes the end.
        let goodbye = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
        socket.close(Some(goodbye.clone())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Close(Some(goodbye)));
        assert!(socket.next().await.is_none());
    });
}

#[test]
fn many_clients_with_messages_as_large_as_they_may_be() {
    run(async |address| {
        let clients: Vec<_> = (0..8u8)
            .map(|n| {
                egret::spawn(async move {
                    let mut socket = connect(address).await;
                    let message = Message::binary(vec![n; 1 << 20]);
                    for _ in 0..2 {
                        socket.send(message.clone()).await.unwrap();
                        assert!(socket.next().await.unwrap().unwrap() == message);
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
    });
}

#[test]
fn too_large_a_message_or_no_websocket_costs_its_own_connection_only() {
    run(async |address| {
        let mut greedy = connect(address).await;
        // The server may be gone before all of it is sent.
        let _outcome = greedy.send(Message::binary(vec![0; (1 << 20) + 1])).await;
        while let Some(Ok(message)) = greedy.next().await {
            assert!(message.is_close(), "{message}");
        }

        let stranger = TcpStream::connect(address).await.unwrap();
        stranger.write_all(b"\x16\x03\x01\x00\x05hello\r\n\r\n").await.unwrap();
        while let Ok(1..) = stranger.read(&mut [0; 64]).await {}

        let mut socket = connect(address).await;
        socket.send(Message::text("hello")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    });
}

#[test]
fn the_program_says_where_it_is_and_echoes() {
    run(async |_| {
        let program = Program::start("websocket_echo", &["127.0.0.1:0"]);
        let mut socket = connect(program.greeting.parse().unwrap()).await;
        socket.send(Message::text("hello")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));

        let said = Program::fail(&[&program.greeting]);
        assert!(said.contains(&format!("websocket_echo: {}: ", program.greeting)), "{said}");
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
