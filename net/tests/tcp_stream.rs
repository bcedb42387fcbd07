//! What a [`TcpStream`] tells the kernel about itself, beyond what `connecting.rs` sets.

mod support;

use std::io::ErrorKind;
use std::time::Duration;

use egret_net::TcpStream;
use support::{pair, run};

#[test]
fn a_stream_with_zero_linger_resets_when_it_is_dropped() {
    run(async {
        let (ours, theirs) = pair().await;
        ours.set_zero_linger().unwrap();
        assert_eq!(ours.linger().unwrap(), Some(Duration::ZERO));
        drop(ours);
        assert_eq!(theirs.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn acknowledging_at_once_is_switched() {
    run(async {
        let (ours, _theirs) = pair().await;
        for on in [false, true] {
            ours.set_quickack(on).unwrap();
            assert_eq!(ours.quickack().unwrap(), on);
        }
    });
}

#[test]
fn a_stream_and_its_halves_are_all_taken_for_a_stream() {
    fn nodelay(stream: &impl AsRef<TcpStream>) -> bool {
        stream.as_ref().nodelay().unwrap()
    }
    run(async {
        let (mut ours, _theirs) = pair().await;
        ours.set_nodelay(true).unwrap();
        assert!(nodelay(&ours));
        let (read, write) = ours.split();
        assert!(nodelay(&read) && nodelay(&write));
        let (read, write) = ours.into_split();
        assert!(nodelay(&read) && nodelay(&write));
    });
}
