//! Channels and locks that belong to no runtime: woken across workers, they work here as anywhere.

#[path = "support/watchdog.rs"]
mod watchdog;

use std::sync::Arc;
use std::time::Duration;

use egret::time::timeout;
use watchdog::Watchdog;

/// Within this everything has happened, on a loaded machine, too.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(body: impl Future<Output = ()>) {
    let _watchdog = Watchdog::start();
    let runtime = egret::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async { timeout(PATIENCE, body).await.expect("it ends") });
}

/// What the numbers of all producers add up to.
const SUM: u64 = 4 * (1000 * 999 / 2);

#[test]
fn tokios_channels_and_locks() {
    run(async {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(2);
        for _ in 0..4 {
            let sender = sender.clone();
            egret::spawn(async move {
                for n in 0..1000u64 {
                    sender.send(n).await.unwrap();
                }
            });
        }
        drop(sender);
        let mut sum = 0;
        while let Some(n) = receiver.recv().await {
            sum += n;
        }
        assert_eq!(sum, SUM);

        let (ask, asked) = tokio::sync::oneshot::channel::<tokio::sync::oneshot::Sender<u8>>();
        egret::spawn(async move { asked.await.unwrap().send(7).unwrap() });
        let (answer, answered) = tokio::sync::oneshot::channel();
        ask.send(answer).unwrap();
        assert_eq!(answered.await.unwrap(), 7);

        // One permit, and a lock that is held across an await.
        let shared = Arc::new((tokio::sync::Semaphore::new(1), tokio::sync::Mutex::new(0)));
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let shared = Arc::clone(&shared);
                egret::spawn(async move {
                    for _ in 0..100 {
                        let _permit = shared.0.acquire().await.unwrap();
                        let mut count = shared.1.try_lock().expect("there is one permit");
                        let before = *count;
                        egret::task::yield_now().await;
                        *count = before + 1;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*shared.1.lock().await, 800);
    });
}

#[test]
fn async_channels_many_to_many() {
    run(async {
        let (sender, receiver) = async_channel::bounded(2);
        for _ in 0..4 {
            let sender = sender.clone();
            egret::spawn(async move {
                for n in 0..1000u64 {
                    sender.send(n).await.unwrap();
                }
            });
        }
        drop(sender);
        let consumers: Vec<_> = (0..3)
            .map(|_| {
                let receiver = receiver.clone();
                egret::spawn(async move {
                    let mut sum = 0;
                    while let Ok(n) = receiver.recv().await {
                        sum += n;
                    }
                    sum
                })
            })
            .collect();
        let mut sum = 0;
        for consumer in consumers {
            sum += consumer.await.unwrap();
        }
        assert_eq!(sum, SUM);
    });
}
