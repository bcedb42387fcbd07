//! Threads that block in the feed: what they are told of, and what they aren't woken for. A block may end for nothing, so they come
//! again until they are sent home.

use super::super::state::ring;
use super::*;
use std::sync::atomic::AtomicBool;

/// Does something when it is dropped, also by a failed assertion.
struct AtTheEnd<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtTheEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Runs `body` beside a thread that blocks in the feed, comes back, and gives what it harvested to `hear`, again and again. It
/// ends with `body`.
fn beside_a_blocked_thread(
    feed: &Aio,
    wake: &File,
    hear: impl Fn(Vec<Completion>) + Sync,
    body: impl FnOnce(),
) {
    let _watchdog = Watchdog::start();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let blocked = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                feed.block(None).unwrap();
                hear(harvest(feed));
            }
        });
        // The scope waits for it.
        let _end = AtTheEnd(|| {
            over.store(true, Ordering::SeqCst);
            while !blocked.is_finished() {
                // More than once: somebody else may have harvested the ring.
                ring(wake.as_raw_fd());
                thread::yield_now();
            }
        });
        body();
    });
}

#[track_caller]
fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::yield_now();
    }
}

fn until_inside(feed: &Aio) {
    until("the thread blocks", || feed.lock().inside > 0);
}

fn is_told(completion: &Completion) -> bool {
    completion.token != Token::WAKE
}

/// What was asked for to try the system calls out is heard by nobody.
#[test]
fn the_first_block_in_a_new_feed_is_not_ended_by_the_probe() {
    const PAUSE: Duration = Duration::from_millis(5);
    let mut blocks = 0;
    let deadline = Instant::now() + PATIENCE;
    while blocks < 30 {
        assert!(Instant::now() < deadline, "the probe is never answered in time");
        let begin = Instant::now();
        let Some((feed, _wake)) = feed(16, usize::MAX) else { return };
        if begin.elapsed() >= PROBE_PATIENCE {
            // The kernel's worker thread had no turn, and nobody waits any longer for it.
            continue;
        }
        let begin = Instant::now();
        feed.block(Some(PAUSE)).unwrap();
        assert!(begin.elapsed() >= PAUSE, "block {blocks} ended after {:?}", begin.elapsed());
        blocks += 1;
    }
}

#[test]
fn a_thread_that_blocks_in_a_context_that_is_replaced_comes_over() {
    let Some((feed, wake)) = feed(16, usize::MAX) else { return };
    let mut pairs = pairs(100);
    let heard = AtomicU64::new(0);
    let hear = |completions: Vec<Completion>| {
        heard.fetch_add(completions.iter().filter(|told| is_told(told)).count() as u64, Ordering::SeqCst);
    };
    beside_a_blocked_thread(&feed, &wake, hear, || {
        for (token, (_, far)) in pairs.iter().enumerate() {
            until_inside(&feed);
            feed.arm(Token(token as u64), far.as_raw_fd(), Events::IN, Fallen::Told).unwrap();
        }
        until_inside(&feed);
        // The last ones first: the first ones' requests are in the old contexts, too, and would wake the thread there.
        for (token, (near, _)) in pairs.iter_mut().enumerate().rev() {
            let before = heard.load(Ordering::SeqCst);
            near.write_all(b"x").unwrap();
            until(&format!("{token} is heard of"), || heard.load(Ordering::SeqCst) > before);
        }
    });
    assert_eq!(heard.into_inner(), 100);
}

#[test]
fn every_edge_reaches_one_of_several_takers() {
    const ROUNDS: u64 = 400;
    for blind in [false, true] {
        let Some((feed, wake)) = feed(16, usize::MAX) else { return };
        if blind {
            // A ring of another kind: everything goes through the kernel.
            Arc::get_mut(&mut feed.lock().context).unwrap().be_blind();
        }
        let counters: Vec<File> = (0..8).map(|_| counter()).collect();
        for (token, counter) in counters.iter().enumerate() {
            feed.arm(Token(token as u64), counter.as_raw_fd(), Events::IN, Fallen::Told).unwrap();
        }
        let told: Vec<AtomicU64> = counters.iter().map(|_| AtomicU64::new(0)).collect();
        let hear = |completions: Vec<Completion>| {
            for completion in completions.into_iter().filter(is_told) {
                told[completion.token.0 as usize].fetch_add(1, Ordering::SeqCst);
            }
        };
        let rounds = || {
            for round in 1..=ROUNDS {
                for (token, mut counter) in counters.iter().enumerate() {
                    counter.write_all(&1u64.to_ne_bytes()).unwrap();
                    let is_told = || told[token].load(Ordering::SeqCst) >= round;
                    until(&format!("{token} is told in round {round}"), is_told);
                    counter.read_exact(&mut [0; 8]).unwrap();
                    feed.rearm(Token(token as u64), Events::IN);
                }
            }
        };
        beside_a_blocked_thread(&feed, &wake, hear, || {
            let over = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !over.load(Ordering::SeqCst) {
                        hear(harvest(&feed));
                        thread::yield_now();
                    }
                });
                let _end = AtTheEnd(|| over.store(true, Ordering::SeqCst));
                rounds();
            });
        });
        let told: Vec<u64> = told.into_iter().map(AtomicU64::into_inner).collect();
        assert_eq!(told, [ROUNDS; 8], "each told once a round");
    }
}

#[test]
fn what_is_armed_while_a_thread_blocks_is_heard_by_it() {
    let Some((feed, wake)) = feed(16, usize::MAX) else { return };
    let counter = counter();
    feed.arm(Token(0), counter.as_raw_fd(), Events::IN, Fallen::Told).unwrap();
    (&counter).write_all(&1u64.to_ne_bytes()).unwrap();
    all_told(&feed, 1, Events::IN);
    (&counter).read_exact(&mut [0; 8]).unwrap();
    let told = Mutex::new(Vec::new());
    let hear = |completions: Vec<Completion>| told.lock().extend(completions.into_iter().filter(is_told));
    beside_a_blocked_thread(&feed, &wake, hear, || {
        until_inside(&feed);
        feed.rearm(Token(0), Events::IN);
        (&counter).write_all(&1u64.to_ne_bytes()).unwrap();
        until("it is told", || !told.lock().is_empty());
    });
    let told = std::mem::take(&mut *told.lock());
    assert!(told.len() == 1 && told[0].token == Token(0), "{told:?}");
}

#[test]
fn a_thread_that_blocks_without_knowing_what_to_look_at_is_called_back() {
    let deadline = Instant::now() + PATIENCE;
    let mut is_seen = false;
    while !is_seen {
        assert!(Instant::now() < deadline, "it comes back for nothing every time");
        let Some((feed, wake)) = feed(16, usize::MAX) else { return };
        let (counter, fifo) = (counter(), fifo());
        feed.arm(Token(0), counter.as_raw_fd(), Events::IN, Fallen::Told).unwrap();
        assert!(harvest(&feed).is_empty());
        let returns = AtomicU64::new(0);
        let hear = |_| {
            returns.fetch_add(1, Ordering::SeqCst);
        };
        beside_a_blocked_thread(&feed, &wake, hear, || {
            until_inside(&feed);
            let begin = returns.load(Ordering::SeqCst);
            let before = feed.rearm(Token(0), Events::IN);
            feed.arm(Token(1), fifo.as_raw_fd(), Events::IN, Fallen::Told).unwrap();
            let after = (feed.rearm(Token(0), Events::IN), feed.rearm(Token(0), Events::IN));
            assert!(!before, "there is nothing to look at");
            // Else it came back by itself.
            is_seen = feed.lock().inside > 0 && returns.load(Ordering::SeqCst) == begin;
            assert!(!is_seen || after == (true, false), "once is enough: {after:?}");
        });
    }
}
