//! A linear or logarithmic axis: range, ticks and positions on the page.

use crate::format::thousands;

/// Free space on either side, as a fraction of the span of the data.
const MARGIN: f64 = 0.08;

/// Least free space on either side of a logarithmic axis, in powers of ten.
const MIN_LOG_MARGIN: f64 = 0.02;

/// Powers of ten below which a logarithmic axis has the ticks of a linear one.
const FEW_POWERS: f64 = 0.7;

/// Approximate number of ticks.
const TICKS: f64 = 5.0;

/// Above this ratio of the largest to the smallest value, an axis may be logarithmic.
const MAX_LINEAR_RATIO: f64 = 25.0;

/// Maps a range of values to a range of page coordinates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    start: f64,
    end: f64,
    step: f64,
    /// Whether `low` and `high` are base-10 logarithms.
    logarithmic: bool,
}

impl Axis {
    /// A linear axis that contains `values`, from page coordinate `start` to `end`.
    pub fn linear(values: impl Iterator<Item = f64>, start: f64, end: f64) -> Self {
        let (mut low, mut high) = range(values);
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let size = low.abs().max(high.abs());
        if high - low <= size * 1e-9 {
            // All values are equal: center them in a range proportional to their size.
            let half = if size > 0.0 { size * 0.05 } else { 0.5 };
            (low, high) = (low - half, high + half);
        }
        let margin = (high - low) * MARGIN;
        // Non-negative data keeps a non-negative axis.
        let floor = if low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        let (low, high) = ((low - margin).max(floor), high + margin);
        let step = round_step((high - low) / TICKS);
        Self { low, high, start, end, step, logarithmic: false }
    }

    /// Like [`Axis::linear`], but logarithmic if all values are positive and their ratio is large.
    pub fn auto_log(values: impl Iterator<Item = f64> + Clone, start: f64, end: f64) -> Self {
        let (low, high) = range(values.clone());
        match low > 0.0 && high / low > MAX_LINEAR_RATIO {
            true => Self::log(values, start, end),
            false => Self::linear(values, start, end),
        }
    }

    /// Like [`Axis::linear`], but logarithmic if all values are positive.
    pub fn log(values: impl Iterator<Item = f64> + Clone, start: f64, end: f64) -> Self {
        let (low, high) = range(values.clone());
        if !(low > 0.0 && low <= high) {
            return Self::linear(values, start, end);
        }
        let (low, high) = (low.log10(), high.log10());
        let margin = ((high - low) * MARGIN).max(MIN_LOG_MARGIN);
        let (low, high) = (low - margin, high + margin);
        let step = ((high - low) / TICKS).round().max(1.0);
        Self { low, high, start, end, step, logarithmic: true }
    }

    /// Restricts the ticks to integers.
    pub fn integer_ticks(mut self) -> Self {
        self.step = if self.step > 2.0 && self.step < 5.0 { 5.0 } else { self.step.max(1.0) };
        self
    }

    /// Page coordinate of a value.
    pub fn position(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.log10() } else { value };
        self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
    }

    /// Values of the ticks with their labels.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        if self.logarithmic {
            return self.log_ticks();
        }
        let first = (self.low / self.step).ceil();
        let count = ((self.high / self.step).floor() - first).clamp(0.0, 20.0) as usize;
        (0..=count)
            .map(|i| (first + i as f64) * self.step)
            .map(|value| (value, self.tick_label(value)))
            .collect()
    }

    /// Ticks at powers of ten; on a short axis, also at multiples of them.
    fn log_ticks(&self) -> Vec<(f64, String)> {
        if self.high - self.low < FEW_POWERS {
            let (low, high) = (10f64.powf(self.low), 10f64.powf(self.high));
            let step = round_step((high - low) / TICKS);
            return Self { low, high, step, logarithmic: false, ..*self }.ticks();
        }
        let multiples: &[f64] = match self.high - self.low {
            span if span < 1.75 => &[1.0, 2.0, 5.0],
            span if span < 3.0 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let first = (self.low / self.step).floor();
        let count = ((self.high / self.step).floor() - first).clamp(0.0, 20.0) as usize;
        let powers = (0..=count).map(|i| (first + i as f64) * self.step);
        let values = powers.flat_map(|power| multiples.iter().map(move |m| m * 10f64.powf(power)));
        let in_range = values.filter(|value| (self.low..=self.high).contains(&value.log10()));
        in_range.map(|value| (value, log_tick_label(value))).collect()
    }

    fn tick_label(&self, value: f64) -> String {
        let decimals = (-self.step.log10() - 1e-9).ceil();
        // A step of 2.5 times a power of ten needs one more decimal.
        let is_quarter = (self.step / 10f64.powf(self.step.log10().floor()) - 2.5).abs() < 1e-6;
        let decimals = decimals + if is_quarter { 1.0 } else { 0.0 };
        // Turns -0.0 into 0.0.
        let value = value + 0.0;
        if self.step < 1e-6 || value.abs() >= 1e12 {
            format!("{value:.2e}")
        } else if decimals <= 0.0 && value >= 0.0 {
            thousands(value.round() as u64)
        } else {
            format!("{value:.*}", decimals.max(0.0) as usize)
        }
    }
}

/// Minimum and maximum; infinity and -infinity if there are no values.
pub(super) fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

/// Tick label of a logarithmic axis.
fn log_tick_label(value: f64) -> String {
    match value {
        v if v >= 999_999.5 => format!("{v:.0e}"),
        v if v >= 0.999 => thousands(v.round() as u64),
        // A single digit that is not 0.
        v if v >= 0.9e-6 => format!("{v:.*}", -(v * 1.01).log10().floor() as usize),
        v => format!("{v:.0e}"),
    }
}

/// The smallest of 1, 2, 2.5 and 5 times a power of ten that is at least `min`.
fn round_step(min: f64) -> f64 {
    let power = 10f64.powf(min.log10().floor());
    [1.0, 2.0, 2.5, 5.0].map(|m| m * power).into_iter().find(|&s| s >= min).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick_labels(values: &[f64]) -> Vec<String> {
        let axis = Axis::linear(values.iter().copied(), 0.0, 100.0);
        axis.ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round_and_within_the_axis() {
        assert_eq!(tick_labels(&[32.58, 36.46]), ["33", "34", "35", "36"]);
        assert_eq!(tick_labels(&[0.0, 12_000.0]), ["0", "5,000", "10,000"]);
        assert_eq!(tick_labels(&[0.1, 0.2]), ["0.100", "0.125", "0.150", "0.175", "0.200"]);
    }

    #[test]
    fn integer_axes_have_integer_ticks() {
        for values in [[12.0, 12.0], [0.0, 3.0], [10.0, 21.0]] {
            let axis = Axis::linear(values.into_iter(), 0.0, 1.0).integer_ticks();
            let ticks = axis.ticks();
            assert!(!ticks.is_empty() && ticks.iter().all(|(value, _)| value.fract() == 0.0));
        }
    }

    #[test]
    fn large_ratios_give_a_logarithmic_axis() {
        let tick_labels = |values: &[f64]| -> Vec<String> {
            let axis = Axis::auto_log(values.iter().copied(), 0.0, 100.0);
            let in_range = |value| (0.0..=100.0).contains(&axis.position(value));
            assert!(values.iter().all(|&value| in_range(value)), "{values:?}");
            assert!(axis.ticks().iter().all(|(value, _)| in_range(*value)), "{values:?}");
            axis.ticks().into_iter().map(|(_, text)| text).collect()
        };
        assert_eq!(tick_labels(&[10.0, 600.0]), ["10", "30", "100", "300"]);
        assert_eq!(tick_labels(&[1.5, 2e5]), ["1", "10", "100", "1,000", "10,000", "100,000"]);
        assert_eq!(tick_labels(&[50.0, 1e99]), ["1", "1e23", "1e46", "1e69", "1e92"]);
        // A small ratio or values that are not positive give a linear axis.
        assert_eq!(tick_labels(&[32.58, 36.46]), ["33", "34", "35", "36"]);
        assert_eq!(tick_labels(&[0.0, 12_000.0]), ["0", "5,000", "10,000"]);
    }

    #[test]
    fn a_logarithmic_axis_has_round_ticks_at_any_length() {
        let tick_labels = |values: &[f64]| -> Vec<String> {
            let axis = Axis::log(values.iter().copied(), 0.0, 100.0);
            assert!(values.iter().all(|&value| (0.0..=100.0).contains(&axis.position(value))));
            axis.ticks().into_iter().map(|(_, text)| text).collect()
        };
        assert_eq!(tick_labels(&[0.0387, 0.8232]), ["0.05", "0.1", "0.2", "0.5", "1"]);
        assert_eq!(tick_labels(&[0.0002, 0.09]), ["0.001", "0.01", "0.1"]);
        assert_eq!(tick_labels(&[0.0003, 0.02]), ["0.0003", "0.001", "0.003", "0.01"]);
        assert_eq!(tick_labels(&[0.0012, 0.0024]), ["0.0015", "0.0020", "0.0025"]);
        assert!(tick_labels(&[0.04]).len() > 2);
        assert_eq!(tick_labels(&[0.0, 4.0]), ["0", "1", "2", "3", "4"]);
    }

    #[test]
    fn values_are_placed_between_the_ends() {
        let axis = Axis::linear([2.0, 4.0].into_iter(), 10.0, 110.0);
        assert!((axis.position(3.0) - 60.0).abs() < 1e-9);
        assert!(axis.position(2.0) > 10.0 && axis.position(4.0) < 110.0);
    }

    #[test]
    fn no_values_one_value_and_huge_values_have_a_range() {
        for values in [&[][..], &[0.0], &[7.0], &[-3.0, -3.0], &[1e-300], &[-1e99, 1e99]] {
            let axis = Axis::linear(values.iter().copied(), 0.0, 1.0);
            assert!(axis.low < axis.high, "{values:?}");
            assert!(axis.ticks().len() < 25);
            assert!(values.iter().all(|&v| (0.0..=1.0).contains(&axis.position(v))));
        }
    }
}
