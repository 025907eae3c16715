//! An axis, linear or logarithmic: its range, its ticks and where a value lies on the page.

use crate::format::thousands;

/// Part of the data's span that is left free on either side.
const MARGIN: f64 = 0.08;

/// Roughly as many ticks as this.
const TICKS: f64 = 5.0;

/// Values whose largest is more than so many times the smallest are read on a logarithmic axis only.
const LINEAR_REACH: f64 = 25.0;

/// A range of values over a range of page coordinates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    start: f64,
    end: f64,
    step: f64,
    /// Whether `low` and `high` are powers of ten.
    logarithmic: bool,
}

impl Axis {
    /// The range that holds `values`, from page coordinate `start` to `end`.
    pub fn over(values: impl Iterator<Item = f64>, start: f64, end: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let size = low.abs().max(high.abs());
        if high - low <= size * 1e-9 {
            // One value only: it stands in the middle of a range of its own size.
            let half = if size > 0.0 { size * 0.05 } else { 0.5 };
            (low, high) = (low - half, high + half);
        }
        let margin = (high - low) * MARGIN;
        // Sizes and losses are never negative, so a margin never takes the axis below zero.
        let floor = if low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        let (low, high) = ((low - margin).max(floor), high + margin);
        let step = round_step((high - low) / TICKS);
        Self { low, high, start, end, step, logarithmic: false }
    }

    /// [`Axis::over`], logarithmic where the values are positive and lie far apart.
    pub fn over_powers(values: impl Iterator<Item = f64>, start: f64, end: f64) -> Self {
        let values: Vec<f64> = values.collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if !(low > 0.0 && high / low > LINEAR_REACH) {
            return Self::over(values.into_iter(), start, end);
        }
        let (low, high) = (low.log10(), high.log10());
        let margin = (high - low) * MARGIN;
        let (low, high) = (low - margin, high + margin);
        let step = ((high - low) / TICKS).round().max(1.0);
        Self { low, high, start, end, step, logarithmic: true }
    }

    /// With ticks at whole numbers only, for what is counted.
    pub fn whole(mut self) -> Self {
        self.step = if self.step > 2.0 && self.step < 5.0 { 5.0 } else { self.step.max(1.0) };
        self
    }

    /// Where a value lies on the page.
    pub fn place(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.log10() } else { value };
        self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
    }

    /// The ticks, each with its text.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        if self.logarithmic {
            return self.powers();
        }
        let first = (self.low / self.step).ceil();
        let count = ((self.high / self.step).floor() - first).clamp(0.0, 20.0) as usize;
        (0..=count)
            .map(|i| (first + i as f64) * self.step)
            .map(|value| (value, self.text(value)))
            .collect()
    }

    /// Powers of ten, and where there are few of them their double and fivefold.
    fn powers(&self) -> Vec<(f64, String)> {
        let multiples: &[f64] = match self.high - self.low {
            span if span < 1.5 => &[1.0, 2.0, 5.0],
            span if span < 3.0 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let first = (self.low / self.step).floor();
        let count = ((self.high / self.step).floor() - first).clamp(0.0, 20.0) as usize;
        let powers = (0..=count).map(|i| (first + i as f64) * self.step);
        let values = powers.flat_map(|power| multiples.iter().map(move |m| m * 10f64.powf(power)));
        let inside = values.filter(|value| (self.low..=self.high).contains(&value.log10()));
        inside.map(|value| (value, power_text(value))).collect()
    }

    fn text(&self, value: f64) -> String {
        let decimals = (-self.step.log10() - 1e-9).ceil();
        // A step of 2.5 needs one place more than its power of ten tells.
        let quarter = (self.step / 10f64.powf(self.step.log10().floor()) - 2.5).abs() < 1e-6;
        let decimals = decimals + if quarter { 1.0 } else { 0.0 };
        // -0.0 would show its sign.
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

/// A value of a logarithmic axis.
fn power_text(value: f64) -> String {
    match value {
        v if v >= 999_999.5 => format!("{v:.0e}"),
        v if v >= 0.999 => thousands(v.round() as u64),
        v if v >= 0.0009 => format!("{v:.3}"),
        v => format!("{v:.0e}"),
    }
}

/// The next of 1, 2, 2.5, 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 2.5, 5.0]
        .map(|m| m * power)
        .into_iter()
        .find(|&s| s >= least)
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[f64]) -> Vec<String> {
        let axis = Axis::over(values.iter().copied(), 0.0, 100.0);
        axis.ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(texts(&[32.58, 36.46]), ["33", "34", "35", "36"]);
        assert_eq!(texts(&[0.0, 12_000.0]), ["0", "5,000", "10,000"]);
        assert_eq!(texts(&[0.1, 0.2]), ["0.100", "0.125", "0.150", "0.175", "0.200"]);
    }

    #[test]
    fn counted_things_have_whole_ticks() {
        for values in [[12.0, 12.0], [0.0, 3.0], [10.0, 21.0]] {
            let axis = Axis::over(values.into_iter(), 0.0, 1.0).whole();
            let ticks = axis.ticks();
            assert!(!ticks.is_empty() && ticks.iter().all(|(value, _)| value.fract() == 0.0));
        }
    }

    #[test]
    fn values_far_apart_are_read_by_their_powers() {
        let texts = |values: &[f64]| -> Vec<String> {
            let axis = Axis::over_powers(values.iter().copied(), 0.0, 100.0);
            let inside = |value| (0.0..=100.0).contains(&axis.place(value));
            assert!(values.iter().all(|&value| inside(value)), "{values:?}");
            assert!(axis.ticks().iter().all(|(value, _)| inside(*value)), "{values:?}");
            axis.ticks().into_iter().map(|(_, text)| text).collect()
        };
        assert_eq!(texts(&[10.0, 600.0]), ["10", "30", "100", "300"]);
        assert_eq!(texts(&[1.5, 2e5]), ["1", "10", "100", "1,000", "10,000", "100,000"]);
        assert_eq!(texts(&[50.0, 1e99]), ["1", "1e23", "1e46", "1e69", "1e92"]);
        // Near enough, or not positive: linear.
        assert_eq!(texts(&[32.58, 36.46]), ["33", "34", "35", "36"]);
        assert_eq!(texts(&[0.0, 12_000.0]), ["0", "5,000", "10,000"]);
    }

    #[test]
    fn a_value_lies_between_the_ends() {
        let axis = Axis::over([2.0, 4.0].into_iter(), 10.0, 110.0);
        assert!((axis.place(3.0) - 60.0).abs() < 1e-9);
        assert!(axis.place(2.0) > 10.0 && axis.place(4.0) < 110.0);
    }

    #[test]
    fn no_values_one_value_and_huge_values_have_a_range() {
        for values in [&[][..], &[0.0], &[7.0], &[-3.0, -3.0], &[1e-300], &[-1e99, 1e99]] {
            let axis = Axis::over(values.iter().copied(), 0.0, 1.0);
            assert!(axis.low < axis.high, "{values:?}");
            assert!(axis.ticks().len() < 25);
            assert!(values.iter().all(|&v| (0.0..=1.0).contains(&axis.place(v))));
        }
    }
}
