//! The example `custom_source`, from end to end.

#[path = "../examples/custom_source/main.rs"]
#[allow(dead_code)]
mod custom_source;
#[path = "support/watchdog.rs"]
mod watchdog;

#[test]
fn all_come_in_order_and_three_at_a_time() {
    let _watchdog = watchdog::Watchdog::start();
    let runtime = egret::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for count in [0, 1, 2, 3, 10, 3_000] {
        let batches = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let said = batches.clone();
        runtime
            .block_on(runtime.spawn(custom_source::run(count, move |batch| said.lock().unwrap().push(batch))))
            .unwrap()
            .unwrap();
        let batches = batches.lock().unwrap();
        assert_eq!(batches.concat(), (0..count).collect::<Vec<_>>());
        assert!(batches.iter().rev().skip(1).all(|batch| batch.len() == 3), "{batches:?}");
    }
}
