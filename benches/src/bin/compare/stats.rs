//! Medians, ratios that are taken within a round, and whose turn it is.

/// The turns of a round, as indices of the contestants: who begins changes from round to round.
pub(crate) fn turns(round: usize, contestants: usize) -> impl Iterator<Item = usize> {
    (0..contestants).map(move |turn| (round + turn) % contestants)
}

/// The median; of an even number, the mean of the two in the middle.
///
/// # Panics
/// If there are no values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// The median of `ours[i] / theirs[i]`. Taken round by round because a machine's speed drifts, and two turns of
/// one round are neighbours in time.
///
/// # Panics
/// If there are no values.
pub(crate) fn median_ratio(
    ours: impl IntoIterator<Item = f64>,
    theirs: impl IntoIterator<Item = f64>,
) -> f64 {
    median(ours.into_iter().zip(theirs).map(|(ours, theirs)| ours / theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_and_begins_once() {
        let turns: Vec<Vec<usize>> = (0..4).map(|round| turns(round, 3).collect()).collect();
        assert_eq!(turns, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
        assert_eq!(super::turns(7, 0).count(), 0);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0]), 3.0);
        assert_eq!(median([9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 9.0, 2.0]), 3.0);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The second round ran on a slower machine: the medians' ratio would be 15/10.
        assert_eq!(median_ratio([20.0, 10.0, 15.0], [10.0, 5.0, 10.0]), 2.0);
    }
}
