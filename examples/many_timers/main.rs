//! Arms a million timers, and tells how late they fired.
//!
//! ```text
//! cargo run --release --example many_timers
//! cargo run --release --example many_timers -- 100000 2000      (how many, over how many milliseconds)
//! ```
//!
//! Each is a task of its own that sleeps until a time of its own; the times are spread at random over the window. A timer is never early, and its wheel
//! turns every 131 us: in a release build, on a machine that has nothing else to do, most are late by less than that.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use egret::time::sleep_until;

/// How long arming one may take, so that all are armed before the first is due: twice what a debug build takes.
const ARMING: Duration = Duration::from_micros(2);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    run(&arguments)
}

/// The program with its arguments.
pub fn run(arguments: &[String]) -> ExitCode {
    let number = |place: usize, default| arguments.get(place).map_or(Ok(default), |text| text.parse::<u32>());
    let (Ok(count @ 1..), Ok(window @ 1..)) = (number(0, 1_000_000), number(1, 5_000)) else {
        eprintln!(
            "Usage: many_timers [COUNT [MILLISECONDS]]\n  both at least 1; if not given, 1000000 and 5000"
        );
        return ExitCode::from(2);
    };
    match measure(count, Duration::from_millis(window.into())) {
        Ok(found) => {
            println!("many_timers: {count} armed in {:.1?}", found.arming);
            println!(
                "many_timers: fired over {window} ms, {} of them early; late by {:?} (half of them at most), {:?} (99 %), {:?} (all)",
                found.early,
                found.late(0.5),
                found.late(0.99),
                found.late(1.0)
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("many_timers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What was measured.
pub struct Found {
    /// How long arming all of them took.
    pub arming: Duration,
    /// How many fired before their time.
    pub early: usize,
    /// By how much the others were late, the least late first.
    pub late: Vec<Duration>,
}

impl Found {
    /// By how much this part of them was late, at most. Of all that were not early.
    pub fn late(&self, part: f64) -> Duration {
        let place = (self.late.len() as f64 * part).ceil() as usize;
        self.late.get(place.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// Arms `count` timers that are due within `window`, and waits for all of them.
pub fn measure(count: u32, window: Duration) -> std::io::Result<Found> {
    let runtime = egret::Builder::new_multi_thread().build()?;
    runtime.block_on(async {
        let began = Instant::now();
        let first = began + ARMING * count;
        let mut random = 1;
        let timers: Vec<_> = (0..count)
            .map(|_| {
                let deadline = first + window.mul_f64(fraction(&mut random));
                egret::spawn(async move {
                    sleep_until(deadline).await;
                    Instant::now().checked_duration_since(deadline)
                })
            })
            .collect();
        let arming = began.elapsed();
        let mut late = Vec::with_capacity(timers.len());
        for timer in timers {
            late.extend(timer.await?);
        }
        late.sort_unstable();
        Ok(Found { arming, early: count as usize - late.len(), late })
    })
}

/// The next of a row of numbers from 0 to 1 that look random: xorshift64, by Marsaglia.
fn fraction(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1u64 << 53) as f64
}
