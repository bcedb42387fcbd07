//! No allocation for an expiration, neither in the thread that waits nor in the clock's. Alone in its file, because all threads'
//! allocations are counted.

#![cfg(not(egret_loom))]

#[allow(dead_code, reason = "another test needs the rest")]
mod allocations;
#[path = "../../tests/support/watchdog.rs"]
mod watchdog;

use allocations::{NEVER, WARM_UP, allocations_by_all};
use egret_reactor::{Event, Eventpoll, Events, Timer};
use std::sync::Arc;
use std::time::Duration;
use watchdog::Watchdog;

#[test]
fn timers() {
    let _watchdog = Watchdog::start();
    let poll = Eventpoll::new().unwrap();
    let timers: [Arc<Timer>; 4] = std::array::from_fn(|_| Arc::new(Timer::new()));
    for (timer, data) in timers.iter().zip(0..) {
        poll.add(timer, 0, Events::IN | Events::ET, data).unwrap();
    }
    let mut events = [Event::default(); 4];
    let mut turn = |at: usize| {
        let timer = &timers[at % timers.len()];
        timer.set(Duration::from_micros(200), None).unwrap();
        // Others are set and given up before they expire, as timeouts are.
        timers[(at + 1) % timers.len()].set(NEVER, Some(NEVER)).unwrap();
        assert_eq!(poll.wait(&mut events, Some(NEVER)).unwrap(), 1);
        assert_eq!(timer.read().unwrap(), 1);
        timers[(at + 1) % timers.len()].disarm();
    };
    (0..WARM_UP).for_each(&mut turn);
    assert_eq!(allocations_by_all(|| (0..WARM_UP * 3).for_each(&mut turn)), 0);

    let periodic = &timers[0];
    periodic.set(Duration::from_micros(200), Some(Duration::from_micros(200))).unwrap();
    let mut turn = |_| {
        assert_eq!(poll.wait(&mut events, Some(NEVER)).unwrap(), 1);
        assert!(periodic.read().unwrap() >= 1);
    };
    (0..WARM_UP).for_each(&mut turn);
    assert_eq!(allocations_by_all(|| (0..WARM_UP * 3).for_each(&mut turn)), 0);
}
