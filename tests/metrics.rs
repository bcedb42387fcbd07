//! The example `metrics`, from end to end: its pages are asked for while it serves.

#[path = "../examples/metrics/main.rs"]
#[allow(dead_code)]
mod metrics;
#[path = "support/watchdog.rs"]
mod watchdog;

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Mutex, mpsc},
};

use egret::net::TcpListener;

/// A page's status line and its text.
fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), text.to_owned())
}

/// The samples of a page: names with labels, and values.
fn samples(text: &str) -> HashMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name, value.parse().unwrap()))
        .collect()
}

#[test]
fn pages_tell_what_the_server_does() {
    let _watchdog = watchdog::Watchdog::start();
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let runtime = metrics::runtime(move |poll| tell.lock().unwrap().send(poll.clone()).unwrap()).unwrap();
    let (echo, pages) = runtime.block_on(async {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pages = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = (echo.local_addr().unwrap(), pages.local_addr().unwrap());
        egret::spawn(metrics::serve(echo, pages));
        addresses
    });
    let mut client = TcpStream::connect(echo).unwrap();
    let mut heard = [0; 5];
    for _ in 0..10 {
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut heard).unwrap();
    }

    let (status, text) = get(pages, "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    let found = samples(&text);
    // The two listeners, who waits for them, the connection, the page.
    assert_eq!(found["egret_alive_tasks"], 5.0, "{text}");
    let sum = |name: &str| {
        (0..2).map(|worker| found[&*format!("egret_worker_{name}{{worker=\"{worker}\"}}")]).sum::<f64>()
    };
    assert!(sum("polls_total") >= 10.0 && sum("feed_completions_total") >= 10.0, "{text}");
    assert!(sum("feed_system_calls_total") >= 1.0 && sum("busy_seconds_total") > 0.0, "{text}");
    for worker in 0..2 {
        let count = found[&*format!("egret_poll_seconds_count{{worker=\"{worker}\"}}")];
        assert_eq!(found[&*format!("egret_poll_seconds_bucket{{worker=\"{worker}\",le=\"+Inf\"}}")], count);
    }

    let (status, text) = get(pages, "/tasks");
    assert_eq!(status, "HTTP/1.1 200 OK");
    let line = text.lines().find(|line| line.contains("echo of ")).unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains("examples/metrics/main.rs") && line.contains("waits for input of socket"),
        "{line}"
    );
    assert!(text.contains("\"pages' listener\""), "{text}");

    assert_eq!(get(pages, "/").0, "HTTP/1.1 404 Not Found");

    client.write_all(b"stuck").unwrap();
    let stuck = told.recv().unwrap();
    assert!(stuck.name.unwrap().starts_with("echo of "));
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"stuck");
}
