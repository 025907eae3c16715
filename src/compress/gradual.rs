//! Gradual pruning: how many zeros at which point of training.

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use crate::{Error, Result};

/// A plan, and how training reaches it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gradual {
    pub plan: Plan,
    /// Fraction of the run at which the zeros are all there.
    pub until: f64,
    /// Steps between updates of masks and scales.
    pub every: u64,
}

impl Gradual {
    /// Reaches the plan after 70 % of the run, in updates every 100 steps.
    pub fn new(plan: Plan) -> Self {
        Self { plan, until: 0.7, every: 100 }
    }

    /// The fraction of the planned zeros that are there after a fraction `progress` of the run: 1 - (1 - t)³ with t
    /// from 0 to 1 (Zhu and Gupta 2017, equation 1, from no zeros on).
    pub fn share(&self, progress: f64) -> f64 {
        let t = (progress / self.until).clamp(0.0, 1.0);
        1.0 - (1.0 - t).powi(3)
    }

    /// # Errors
    /// [`Error::Config`] for a plan, a fraction or an interval out of range.
    pub fn check(&self) -> Result<()> {
        self.plan.check()?;
        if !(self.until > 0.0 && self.until < 1.0) {
            return Err(Error::config(
                "gradual.until",
                self.until,
                "must be above 0 and below 1: the model recovers after the last zeros",
                "use for example 0.7",
            ));
        }
        if self.every == 0 {
            return Err(Error::config(
                "gradual.every",
                0,
                "must be at least 1 step",
                "use for example 100",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_come_fast_at_first_and_are_all_there_before_the_end() {
        let gradual = Gradual::new(Plan::new());
        let shares: Vec<f64> = (0..=10).map(|i| gradual.share(f64::from(i) / 10.0)).collect();
        assert!(shares.is_sorted() && shares[0] == 0.0);
        assert!((shares[1] - (1.0 - (6.0f64 / 7.0).powi(3))).abs() < 1e-12);
        assert!(shares[6] < 1.0 && shares[7..].iter().all(|&share| share == 1.0));
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let gradual = Gradual::new(Plan::new());
        for (gradual, field) in [
            (Gradual { until: 1.0, ..gradual.clone() }, "gradual.until 1"),
            (Gradual { every: 0, ..gradual.clone() }, "gradual.every 0"),
            (Gradual::new(Plan::new().zeros("x", 2.0)), "plan.zeros x=2"),
        ] {
            assert!(gradual.check().unwrap_err().to_string().starts_with(field));
        }
    }
}
