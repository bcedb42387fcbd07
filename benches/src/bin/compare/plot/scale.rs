//! Axes: which numbers are at the ticks, and where a value lies between the ends.

/// An axis. Both ends are ticks, or would be if there weren't too many of them.
#[derive(Debug)]
pub(super) struct Scale {
    log: bool,
    from: f64,
    to: f64,
    pub(super) ticks: Vec<f64>,
}

/// About how many ticks a linear axis has: enough to read a bar off, few enough for labels beside each other.
const TICKS: f64 = 5.0;

/// Up to how many powers of ten a logarithmic axis has ticks at 2 and 5 too. Beyond, the labels would touch.
const FINE_DECADES: f64 = 2.2;

impl Scale {
    /// From zero to `max`.
    pub(super) fn linear(max: f64) -> Self {
        let max = if max > 0.0 { max } else { 1.0 };
        let rough = max / TICKS;
        let ten = 10f64.powi(exponent(rough));
        let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * ten).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * ten);
        // A little less than needed is enough: 0.3 / 0.1 is more than 3.
        let steps = (max / step - 1e-9).ceil().max(1.0);
        let ticks = (0..=steps as u32).map(|at| f64::from(at) * step).collect();
        Scale { log: false, from: 0.0, to: steps * step, ticks }
    }

    /// From the tick at or below `min` to the tick at or above `max`; both more than zero.
    pub(super) fn log(min: f64, max: f64) -> Self {
        let ticks: Vec<f64> = (exponent(min)..=exponent(max) + 1)
            .flat_map(|ten| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(ten)))
            .collect();
        let below = ticks.iter().rposition(|tick| *tick <= min * (1.0 + 1e-9)).unwrap_or(0);
        let above = ticks.iter().position(|tick| *tick >= max * (1.0 - 1e-9)).unwrap_or(ticks.len() - 1);
        let above = if above > below { above } else { below + 1 };
        let (from, to) = (ticks[below], ticks[above]);
        let fine = (to / from).log10() <= FINE_DECADES;
        let shown = |tick: &f64| fine || (tick.log10() - tick.log10().round()).abs() < 1e-9;
        Scale { log: true, from, to, ticks: ticks[below..=above].iter().copied().filter(shown).collect() }
    }

    /// Where `value` lies: 0 at the beginning, 1 at the end. What is beyond an end is at the end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let part = match self.log {
            true => (value / self.from).log10() / (self.to / self.from).log10(),
            false => (value - self.from) / (self.to - self.from),
        };
        // A logarithm of nothing is minus infinity, of less than nothing no number: both are at the beginning.
        if part.is_nan() { 0.0 } else { part.clamp(0.0, 1.0) }
    }
}

/// The power of ten at or below `value`.
fn exponent(value: f64) -> i32 {
    (value.log10() + 1e-9).floor() as i32
}

/// A number at a tick or at a bar, without decimals it doesn't need, and with commas between thousands.
pub(super) fn label(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        // Two digits that count.
        size => (1 - exponent(size)) as usize,
    };
    let text = format!("{value:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    let whole = text.split('.').next().map_or(0, str::len);
    let mut with_commas = String::new();
    for (at, digit) in text.char_indices() {
        if at > 0 && at < whole && (whole - at) % 3 == 0 && !with_commas.ends_with('-') {
            with_commas.push(',');
        }
        with_commas.push(digit);
    }
    with_commas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_axes_begin_at_zero_and_hold_the_value() {
        assert_eq!(Scale::linear(0.93).ticks, [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(Scale::linear(7_400.0).ticks, [0.0, 2000.0, 4000.0, 6000.0, 8000.0]);
        assert_eq!(Scale::linear(0.0).ticks.last(), Some(&1.0));
        for max in [0.3, 1.0, 1.01, 9.99, 123_456.0] {
            let scale = Scale::linear(max);
            assert!(scale.to >= max * 0.999_999 && scale.to < max * 2.0, "{max}: {scale:?}");
            assert!((3..=7).contains(&scale.ticks.len()), "{max}: {scale:?}");
        }
    }

    #[test]
    fn logarithmic_axes_hold_both_ends() {
        assert_eq!(Scale::log(1.0, 8.0).ticks, [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(Scale::log(0.07, 300.0).ticks, [0.1, 1.0, 10.0, 100.0]);
        assert_eq!(Scale::log(1.0, 1.0).ticks, [1.0, 2.0]);
        let scale = Scale::log(0.07, 300.0);
        assert!(scale.from <= 0.07 && scale.to >= 300.0);
    }

    #[test]
    fn values_lie_between_the_ends() {
        let scale = Scale::log(1.0, 100.0);
        assert_eq!([1.0, 10.0, 100.0, 1e9, 0.0].map(|value| scale.at(value)), [0.0, 0.5, 1.0, 1.0, 0.0]);
        let scale = Scale::linear(10.0);
        assert_eq!([0.0, 5.0, 10.0, 11.0].map(|value| scale.at(value)), [0.0, 0.5, 1.0, 1.0]);
        assert_eq!(scale.at(f64::NAN), 0.0);
    }

    #[test]
    fn labels_are_short() {
        let values = [0.0, 0.6000000000000001, 1.0, 2.5, 12.34, 100.0, 1234.4, 1_234_567.0, 0.05, 0.00123];
        let labels = ["0", "0.6", "1", "2.5", "12.3", "100", "1,234", "1,234,567", "0.05", "0.0012"];
        assert_eq!(values.map(label), labels);
    }
}
