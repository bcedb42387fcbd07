//! Time: [`sleep`], [`timeout`], [`interval()`], and the timers of a worker behind them. Points in time are std's [`Instant`].
//!
//! - `clock`: a point in time as one word, read as seldom as can be.
//! - `wheel`: which timers are due. Pure. `slots`: where in the wheel they are.
//! - `driver`: one wheel a worker behind a mutex, its next deadline in an atomic. The life of a timer is drawn there.
//! - `sleep`, `timeout`, `interval`: the futures.
//!
//! A deadline is rounded up to a tick of about 131 us: a timer is never early, and by the wheel never later than that. The worker
//! that fires it may add what it costs to wake and to poll whatever is ahead in its queue.

mod clock;
mod driver;
pub mod error;
#[cfg(not(egret_loom))]
mod interval;
mod sleep;
mod slots;
mod timeout;
mod wheel;

pub(crate) use driver::Timers;
#[cfg(not(egret_loom))]
pub use interval::{Interval, MissedTickBehavior, interval, interval_at};
pub use sleep::{Sleep, sleep, sleep_until};
/// For imports from one place.
pub use std::time::{Duration, Instant};
pub use timeout::{Timeout, timeout, timeout_at};
