//! The example `udp_echo`, with clients of the standard library and of egret's.

#[allow(dead_code)] // `main` is called by nobody here
#[path = "../examples/udp_echo/main.rs"]
mod example;
#[path = "support/program.rs"]
mod program;
#[path = "support/watchdog.rs"]
mod watchdog;

use std::time::Duration;

use egret::net::UdpSocket;
use egret::time::timeout;
use program::Program;
use watchdog::Watchdog;

/// Within this everything on loopback has happened, on a loaded machine, too.
const PATIENCE: Duration = Duration::from_secs(60);

#[egret::test(worker_threads = 2)]
async fn each_client_gets_its_own_back() {
    let _watchdog = Watchdog::start();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    egret::spawn(example::serve(socket));
    let client = move |byte: u8, lengths: Vec<usize>| async move {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(address).await.unwrap();
        let mut buffer = vec![0; 65_507];
        for length in lengths {
            let sent = vec![byte; length];
            socket.send(&sent).await.unwrap();
            let found = timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("it ends").unwrap();
            assert!(buffer[..found] == sent, "{length}");
        }
    };
    // One at a time each, and small: what does not fit into the queue of the server's socket is dropped.
    let clients: Vec<_> =
        (0..8).map(|byte| egret::spawn(client(byte, [0, 1, 100, 1_000].repeat(10)))).collect();
    for client in clients {
        client.await.unwrap();
    }
    // The longest takes the whole queue.
    client(8, vec![65_507, 10_000, 65_507]).await;
}

#[test]
fn the_program_says_where_it_is_and_echoes() {
    let _watchdog = Watchdog::start();
    let program = Program::start("udp_echo", &["127.0.0.1:0"]);
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(&program.greeting).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send(b"to and fro").unwrap();
    let mut buffer = [0; 64];
    let found = client.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..found], b"to and fro");

    let said = Program::fail(&[&program.greeting]);
    assert!(said.contains(&format!("udp_echo: {}: ", program.greeting)), "{said}");
}

#[egret::test]
#[ignore = "the program itself, for the test that starts it"]
async fn program() {
    let Some(arguments) = program::arguments() else { return };
    let _watchdog = Watchdog::start();
    let code = example::run(arguments.into_iter().next()).await;
    assert_eq!(code, std::process::ExitCode::SUCCESS);
}
