//! The jobs of async-executor's `executor` benches, several threads. As there, the main thread spawns and waits, and none of the
//! executor's threads is it: what they call "local" comes from outside, too.

use crate::work::{Random, Runtime, Settings, repeat};
use smol::channel::{self, Receiver, Sender};
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

const TASKS: usize = 300;
const STEPS: usize = 300;
const LIGHT_TASKS: usize = 25_000;

/// The requests' random choices begin here in each iteration, for everybody.
const SEED: u64 = 0x1234_5678;

pub(super) fn spawn_many_local<R: Runtime>(runtime: &R, settings: &Settings) -> Result<f64, String> {
    repeat(settings, LIGHT_TASKS, || {
        runtime.block_on(async {
            let tasks: Vec<_> = (0..LIGHT_TASKS).map(|_| R::spawn(async {})).collect();
            for task in tasks {
                task.await;
            }
        });
        Ok(())
    })
}

pub(super) fn spawn_recursively<R: Runtime>(runtime: &R, settings: &Settings) -> Result<f64, String> {
    fn descend<R: Runtime>(depth: usize) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if depth > 0 {
                R::spawn(descend::<R>(depth - 1)).await;
            }
        })
    }
    repeat(settings, TASKS * (STEPS + 1), || {
        runtime.block_on(async {
            let tasks: Vec<_> = (0..TASKS).map(|_| R::spawn(descend::<R>(STEPS))).collect();
            for task in tasks {
                task.await;
            }
        });
        Ok(())
    })
}

pub(super) fn yield_now<R: Runtime>(runtime: &R, settings: &Settings) -> Result<f64, String> {
    repeat(settings, TASKS * STEPS, || {
        runtime.block_on(async {
            let task = || async {
                for _ in 0..STEPS {
                    R::yield_now().await;
                }
            };
            let tasks: Vec<_> = (0..TASKS).map(|_| R::spawn(task())).collect();
            for task in tasks {
                task.await;
            }
        });
        Ok(())
    })
}

/// A web server that takes 300 requests, each with none or some two hundred queries to a database that is one task. Nanoseconds
/// a query: they are nearly all of it, and as many in every iteration.
pub(super) fn web_server<R: Runtime>(runtime: &R, settings: &Settings) -> Result<f64, String> {
    let queries = Arc::new(AtomicUsize::new(0));
    let mut first = None;
    let mut iteration = || {
        queries.store(0, Relaxed);
        let asked = Arc::clone(&queries);
        let answered = runtime.block_on(async {
            let (to_database, from_web) = channel::bounded(TASKS / 5);
            let mut random = Random::new(SEED);
            let web_random = random.fork();
            let database = R::spawn(database::<R>(from_web, random));
            R::spawn(serve::<R>(to_database, web_random, asked)).await;
            database.await
        });
        let asked = queries.load(Relaxed);
        if answered != asked || *first.get_or_insert(asked) != asked {
            return Err(format!("{asked} queries and {answered} answers; {first:?} in the first iteration"));
        }
        Ok(())
    };
    iteration()?;
    let operations = queries.load(Relaxed);
    repeat(settings, operations, iteration)
}

/// Answers until there is nobody left to ask; how often it has.
async fn database<R: Runtime>(queries: Receiver<Sender<u64>>, mut random: Random) -> usize {
    let mut answered = 0;
    while let Ok(answer) = queries.recv().await {
        for _ in 0..random.within(0..10) {
            R::yield_now().await;
        }
        answer.send(random.next()).await.expect("the request waits for its answer");
        answered += 1;
    }
    answered
}

async fn serve<R: Runtime>(database: Sender<Sender<u64>>, mut random: Random, asked: Arc<AtomicUsize>) {
    for number in 0..TASKS {
        if random.within(0..17) == 16 {
            R::yield_now().await;
        }
        R::forget(R::spawn(request::<R>(database.clone(), random.fork(), Arc::clone(&asked))));
        if number & 16 == 0 {
            R::yield_now().await;
        }
    }
}

async fn request<R: Runtime>(database: Sender<Sender<u64>>, mut random: Random, asked: Arc<AtomicUsize>) {
    let cached = random.within(0..2) == 0;
    if cached {
        R::yield_now().await;
        return;
    }
    let queries = random.within(STEPS as u64 / 2..STEPS as u64);
    for _ in 0..queries {
        let (sender, receiver) = channel::bounded(1);
        database.send(sender).await.expect("the database is there");
        black_box(receiver.recv().await.expect("the database answers"));
    }
    asked.fetch_add(usize::try_from(queries).expect("a few hundred"), Relaxed);
    for _ in 0..random.within(3..16) {
        R::yield_now().await;
    }
}
