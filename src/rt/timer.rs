//! What hyper's timeouts wait with.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use crate::time;

/// Gives hyper egret's timers: for `header_read_timeout`, http2's keep-alive and the like. The counterpart of hyper-util's `TokioTimer`.
///
/// hyper moves a deadline once a request. Here that is a write into the timer that is there ([`Sleep::reset`](time::Sleep::reset)); the
/// default would drop it and allocate another.
///
/// # Panics
///
/// Its sleeps panic when they have to wait and are polled outside a runtime.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct EgretTimer;

impl EgretTimer {
    /// The timer, which holds nothing.
    pub fn new() -> Self {
        Self
    }
}

impl Timer for EgretTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(EgretSleep(time::sleep(duration)))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(EgretSleep(time::sleep_until(deadline)))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<EgretSleep>() {
            Some(ours) => ours.get_mut().0.reset(deadline),
            // Another timer's.
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

/// hyper's trait is for types of one's own.
struct EgretSleep(time::Sleep);

impl Future for EgretSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Sleep for EgretSleep {}

#[cfg(test)]
mod tests {
    use super::*;

    struct Foreign;

    impl Future for Foreign {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }

    impl Sleep for Foreign {}

    fn address(sleep: &Pin<Box<dyn Sleep>>) -> *const () {
        (&raw const **sleep).cast()
    }

    #[test]
    fn a_reset_moves_the_deadline_of_the_sleep_that_is_there() {
        let timer = EgretTimer::new();
        let start = Instant::now();
        let mut sleep = timer.sleep(Duration::from_secs(3600));
        let before = address(&sleep);
        let deadline = start + Duration::from_millis(20);
        timer.reset(&mut sleep, deadline);
        assert_eq!(address(&sleep), before, "a new allocation");
        let runtime = crate::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            sleep.as_mut().await;
            assert!(Instant::now() >= deadline);
            // It has fired: the next round of a connection that is kept alive.
            let deadline = Instant::now() + Duration::from_millis(20);
            timer.reset(&mut sleep, deadline);
            sleep.as_mut().await;
            assert!(Instant::now() >= deadline);
        });
        assert_eq!(address(&sleep), before, "a new allocation");
        assert!(start.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_reset_of_another_timers_sleep_replaces_it() {
        let timer = EgretTimer::new();
        let mut sleep: Pin<Box<dyn Sleep>> = Box::pin(Foreign);
        timer.reset(&mut sleep, Instant::now() + Duration::from_secs(1));
        assert!(sleep.is::<EgretSleep>());
    }
}
