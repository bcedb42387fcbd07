//! Ratios from interleaved rounds: in each round every entry runs a short batch, so that all of them meet the same
//! machine. A line gives the median of the rounds' ratios.

use crate::entry::{Entry, Group, Ratio};
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Enough for a median.
    Full,
    /// Enough to see that it runs.
    Smoke,
}

/// A guess: enough for medians that repeat to a few hundredths on a machine that does other things too.
const ROUNDS: usize = 51;
/// How long an entry's share of a round takes: some time slices of the scheduler (3 to 4 ms), and short against the seconds in
/// which a shared machine changes its speed.
const BATCH: Duration = Duration::from_millis(10);

/// Measures a group and prints its medians and its ratios.
pub(crate) fn print(group: &mut Group, length: Length) {
    let (rounds, batch) = match length {
        Length::Full => (ROUNDS, BATCH),
        Length::Smoke => (1, Duration::from_micros(10)),
    };
    let turns: Vec<u64> = group.entries.iter_mut().map(|entry| calibrate(entry, batch)).collect();
    let measured: Vec<Vec<f64>> =
        (0..rounds).map(|round| self::round(&mut group.entries, &turns, round)).collect();

    if length == Length::Smoke {
        println!("TESTED ratios of {}", group.name);
        return;
    }
    for (at, entry) in group.entries.iter().enumerate() {
        let [_, median, _] = quartiles(measured.iter().map(|round| round[at]).collect());
        println!("MEDIAN {}/{} {median:.1} ns", group.name, entry.name);
    }
    for ratio in &group.ratios {
        println!("RATIO {}={}", ratio.name, line(ratio, &group.entries, &measured));
    }
}

/// How many turns fill a batch. Warms up as well.
fn calibrate(entry: &mut Entry, batch: Duration) -> u64 {
    let mut turns = 1;
    loop {
        let took = entry.run(turns);
        if took * 4 >= batch {
            return (turns as f64 * batch.as_secs_f64() / took.as_secs_f64()).ceil() as u64;
        }
        turns *= 2;
    }
}

/// One batch of each, beginning with another one each time. What a turn took, in nanoseconds.
fn round(entries: &mut [Entry], turns: &[u64], round: usize) -> Vec<f64> {
    let mut took = vec![0.0; entries.len()];
    for at in 0..entries.len() {
        let at = (at + round) % entries.len();
        took[at] = entries[at].run(turns[at]).as_nanos() as f64 / turns[at] as f64;
    }
    took
}

fn line(ratio: &Ratio, entries: &[Entry], measured: &[Vec<f64>]) -> String {
    let of = |name: &str| {
        let at =
            entries.iter().position(|entry| entry.name == name).expect("a ratio names entries of its group");
        measured.iter().map(move |round| round[at])
    };
    let Some(less) = ratio.less else {
        let ratios = of(ratio.over).zip(of(ratio.under)).map(|(over, under)| over / under);
        let [low, median, high] = quartiles(ratios.collect());
        return format!("{median:.3} (quartiles {low:.3} to {high:.3})");
    };
    // A difference may be small against the noise of a round: its median is taken before the quotient.
    let [over, under] = [ratio.over, ratio.under]
        .map(|name| quartiles(of(name).zip(of(less)).map(|(all, less)| all - less).collect())[1]);
    format!("{:.3} ({over:.0} ns / {under:.0} ns, without {less})", over / under)
}

/// Lower quartile, median, upper quartile.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
