//! Ten thousand connections leave nothing behind. Alone in its process, because it counts the process's descriptors and memory.

mod support;

use egret_net::TcpStream;
use support::{PATIENCE, eventually, listener, run_for};

/// Allocator noise; a leak of 1 KiB a connection would be 9 MiB.
const SLACK_KIB: usize = 4 * 1024;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn memory_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap()
}

#[test]
fn ten_thousand_connections_one_after_the_other() {
    run_for(PATIENCE * 6, async {
        let (listener, address) = listener().await;
        let server = egret_executor::spawn(async move {
            for _ in 0..10_000 {
                let (stream, _) = listener.accept().await.unwrap();
                egret_executor::spawn(async move {
                    let mut byte = [0];
                    // Waits, most of the time: the socket gets armed.
                    while let Ok(1) = stream.read(&mut byte).await {
                        stream.write_all(&byte).await.unwrap();
                    }
                });
            }
        });
        let (mut base_descriptors, mut base_memory) = (0, 0);
        for round in 0..10_000 {
            if round == 1_000 {
                (base_descriptors, base_memory) = (descriptors(), memory_kib());
            }
            let stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"x").await.unwrap();
            stream.read_exact(&mut [0]).await.unwrap();
            if round % 3 == 0 {
                stream.set_linger(Some(std::time::Duration::ZERO)).unwrap();
            }
        }
        server.await.unwrap();
        // The listener has gone with the server's task; closes are batched, and the last ones may be under way.
        eventually("all descriptors are closed", || descriptors() <= base_descriptors);
        // Nobody listens there any more. A connection that fails, or is given up, leaves nothing behind either.
        for round in 0..500 {
            let connecting = TcpStream::connect(address);
            if round % 5 == 0 {
                let _ = futures_lite::future::poll_once(connecting).await;
            } else {
                assert_eq!(connecting.await.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
            }
        }
        eventually("failures close theirs", || descriptors() <= base_descriptors);
        let memory = memory_kib();
        assert!(
            memory < base_memory + SLACK_KIB,
            "{base_memory} KiB after 1,000 connections, {memory} KiB after 10,000"
        );
    });
}
