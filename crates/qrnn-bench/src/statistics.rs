//! Medians and quartiles.

/// The lower and upper quartile; zeros for no values.
pub fn quartiles(mut values: Vec<f64>) -> [f64; 2] {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    [last / 4, last - last / 4].map(|at| values.get(at).copied().unwrap_or_default())
}

/// The median; the lower one of two for an even number of values; 0 for none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// The median of the ratios of values of the same run: noise that both have cancels.
pub fn median_ratio(values: &[f64], against: &[f64]) -> f64 {
    median(values.iter().zip(against).map(|(value, against)| value / against).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_run_of_both_does_not_change_their_ratio() {
        assert_eq!(median_ratio(&[2.0, 40.0, 2.2], &[1.0, 20.0, 1.0]), 2.0);
        assert_eq!(median_ratio(&[], &[]), 0.0);
    }
}
