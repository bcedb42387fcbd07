//! `#[egret::main]` and `#[egret::test]` as a program uses them. What they say to mistakes is tested where they live.

use std::io;
use std::thread;

/// Where a thread of a runtime runs.
fn thread_name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

#[egret::test]
async fn a_test_and_what_it_spawns_run_on_its_own_thread() {
    let here = thread::current().id();
    assert_eq!(egret::spawn(async { thread::current().id() }).await.unwrap(), here);
}

#[egret::test(worker_threads = 1)]
async fn with_workers_it_spawns_there() {
    assert!(!thread_name().starts_with("egret-worker"), "{}", thread_name());
    let spawned = egret::spawn(async { thread_name() }).await.unwrap();
    assert!(spawned.starts_with("egret-worker"), "{spawned}");
}

#[egret::test(flavor = "multi_thread", worker_threads = 3)]
async fn it_has_the_workers_it_asks_for() {
    assert_eq!(egret::Handle::current().metrics().workers.len(), 3);
}

#[egret::test]
async fn it_may_return_a_result() -> Result<(), Box<dyn std::error::Error>> {
    let listener = egret::net::TcpListener::bind("127.0.0.1:0").await?;
    assert!(listener.local_addr()?.port() > 0);
    Ok(())
}

#[egret::test]
#[should_panic(expected = "on purpose")]
async fn its_attributes_stay() {
    panic!("on purpose");
}

#[egret::test]
#[ignore = "an attribute behind the test's"]
async fn an_ignored_one_is_ignored() {
    unreachable!("nobody asks for ignored tests here");
}

mod inner {
    /// Docs, visibility and the type of an error that is only known from the signature.
    #[egret::main(worker_threads = 2)]
    pub(super) async fn start() -> std::io::Result<u16> {
        let number = "7".parse().map_err(std::io::Error::other)?;
        Ok(number)
    }
}

#[test]
fn a_main_by_any_name_can_be_called() {
    assert_eq!(inner::start().unwrap(), 7);
}

mod elsewhere {
    pub mod reexported {
        pub use egret::*;
    }
}

#[egret::test(crate = "elsewhere::reexported")]
async fn egret_is_found_where_it_is_said_to_be() {
    assert_eq!(egret::spawn(async { 1 }).await.unwrap(), 1);
}

/// What a `macro_rules!` macro passes on comes in invisible groups.
macro_rules! tests {
    ($($visibility:vis $name:ident, $workers:literal, $result:ty, $body:block;)*) => {$(
        #[egret::test(worker_threads = $workers)]
        $visibility async fn $name() -> $result $body
    )*};
}

tests! {
    pub(crate) generated_by_a_macro, 2, io::Result<()>, {
        assert_eq!(egret::Handle::current().metrics().workers.len(), 2);
        Ok(())
    };
    generated_without_visibility, 1, (), {
        egret::task::yield_now().await;
    };
}
