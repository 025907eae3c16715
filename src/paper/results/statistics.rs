//! Mean, deviation and paired differences over seeds.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Probability that an interval contains the true difference.
pub const CONFIDENCE: f64 = 0.95;

/// Arithmetic mean; NaN if there are no values.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sample standard deviation (n - 1 in the denominator); `None` for fewer than two values.
pub(super) fn deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// Half the width of the interval around the mean of `differences` that contains the true mean with probability
/// [`CONFIDENCE`], by Student's t distribution (the paired t test). `None` for fewer than two differences.
pub(super) fn half_interval(differences: &[f64]) -> Option<f64> {
    let n = differences.len() as f64;
    let deviation = deviation(differences)?;
    let t = StudentsT::new(0.0, 1.0, n - 1.0).ok()?.inverse_cdf(0.5 + CONFIDENCE / 2.0);
    Some(t * deviation / n.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        assert_eq!(mean(&[1.0, 2.0, 6.0]), 3.0);
        assert_eq!(deviation(&[1.0, 2.0, 6.0]), Some(7f64.sqrt()));
        assert_eq!(deviation(&[5.0]), None);
    }

    /// Quantiles of Student's t at 0.975 from printed tables: 12.706 for 1 degree of freedom, 4.303 for 2, 2.776
    /// for 4.
    #[test]
    fn intervals_have_the_quantiles_of_printed_tables() {
        let pairs: [(&[f64], f64); 3] = [
            (&[0.0, 2.0], 12.706 * 2f64.sqrt() / 2f64.sqrt()),
            (&[1.0, 2.0, 3.0], 4.303 / 3f64.sqrt()),
            (&[1.0, 2.0, 3.0, 4.0, 5.0], 2.776 * 2.5f64.sqrt() / 5f64.sqrt()),
        ];
        for (differences, expected) in pairs {
            let half = half_interval(differences).unwrap();
            assert!((half / expected - 1.0).abs() < 2e-4, "{half} {expected}");
        }
        assert_eq!(half_interval(&[1.0]), None);
        assert_eq!(half_interval(&[1.5, 1.5, 1.5]), Some(0.0));
    }
}
