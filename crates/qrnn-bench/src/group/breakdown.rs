//! Where the time of a step goes, by the timers of its stages: in one process, and in each of several.

use std::collections::BTreeMap;

use qrnn::{Error, Result};
use qrnn_ops::profile::Stage;
use serde_json::{Value, json};

use super::training_rank::ProfiledSteps;

/// Steps that are left out, since they allocate memory and start threads.
pub const WARM_UP: usize = 4;

/// The time that is in no stage.
const REST: &str = "all else";

/// Seconds of a step of one process.
#[derive(Debug)]
pub struct Breakdown {
    stages: BTreeMap<String, f64>,
    /// Seconds of each operation of the group, of all steps.
    operations: Vec<f64>,
    steps: f64,
}

impl Breakdown {
    /// `steps`: the number of profiled steps.
    pub fn new(profiled: &ProfiledSteps, steps: usize) -> Result<Self> {
        let [optimizer, of_group] = [Stage::Optimizer, Stage::GroupOperations].map(Stage::name);
        let spans = &profiled.spans;
        let ends: Vec<usize> =
            (0..spans.len()).filter(|i| spans[*i].0 == optimizer).map(|i| i + 1).collect();
        // A step may have several spans of the optimizer.
        let per_step = ends.len() / steps.max(1);
        if steps <= WARM_UP || per_step == 0 || ends.len() != per_step * steps {
            let problem = format!("has {} updates of weights in {steps} steps", ends.len());
            return Err(Error::mismatch("the profile of a process", problem, "report this"));
        }
        // After the last update of the warm-up, the ranks agree on how to go on.
        let counted = &spans[ends[WARM_UP * per_step - 1]..];
        let agreed = counted.iter().take_while(|(stage, _)| stage == of_group).count();
        let counted = &counted[agreed..];
        let steps = (steps - WARM_UP) as f64;
        let mut stages = BTreeMap::new();
        for (stage, seconds) in counted {
            *stages.entry(stage.clone()).or_default() += seconds / steps;
        }
        let operations = counted.iter().filter(|(stage, _)| stage == of_group);
        let operations = operations.map(|(_, seconds)| *seconds).collect();
        Ok(Self { stages, operations, steps })
    }

    /// Adds the time that is in no stage.
    ///
    /// * `seconds`: of a whole step.
    pub fn of_steps(mut self, seconds: f64) -> Self {
        let known: f64 = self.stages.values().sum();
        self.stages.insert(REST.into(), (seconds - known).max(0.0));
        self
    }

    fn of(&self, stage: &str) -> f64 {
        self.stages.get(stage).copied().unwrap_or_default()
    }

    pub fn to_json(&self) -> Value {
        let stage = |(stage, seconds): (&String, &f64)| json!({"stage": stage, "seconds": seconds});
        self.stages.iter().map(stage).collect()
    }
}

/// The operations of a group in a step.
#[derive(Debug, PartialEq)]
pub struct Operations {
    pub per_step: f64,
    /// Seconds in which no rank waits for another: the time of the rank that came last, of each operation.
    pub transfer: f64,
    /// Seconds that each rank waits for others.
    pub waiting: Vec<f64>,
}

impl Operations {
    /// `None` if the ranks have not seen the same operations.
    pub fn of(ranks: &[Breakdown]) -> Option<Self> {
        let first = ranks.first()?;
        let n = first.operations.len();
        if ranks.iter().any(|rank| rank.operations.len() != n) {
            return None;
        }
        let shortest =
            |i: usize| ranks.iter().map(|rank| rank.operations[i]).fold(f64::INFINITY, f64::min);
        let transfer = (0..n).map(shortest).sum::<f64>() / first.steps;
        let waiting = |rank: &Breakdown| rank.of(Stage::GroupOperations.name()) - transfer;
        let waiting = ranks.iter().map(waiting).collect();
        Some(Self { per_step: n as f64 / first.steps, transfer, waiting })
    }
}

/// A line for each stage that takes 0.05 ms anywhere, the longest of the first column first.
pub fn table(columns: &[(String, &Breakdown)]) -> String {
    let mut stages: Vec<&String> = vec![];
    for (_, breakdown) in columns {
        let long = breakdown.stages.iter().filter(|(_, seconds)| **seconds >= 5e-5);
        let new: Vec<_> = long.map(|(stage, _)| stage).filter(|s| !stages.contains(s)).collect();
        stages.extend(new);
    }
    stages.sort_by(|a, b| columns[0].1.of(b).total_cmp(&columns[0].1.of(a)));
    let cells = |first: &str, cell: &dyn Fn(&(String, &Breakdown)) -> String| {
        let cells = columns.iter().map(|column| format!("{:>12}", cell(column)));
        format!("  {first:<20}{}", cells.collect::<String>())
    };
    let mut lines = vec![cells("ms of a step", &|(name, _)| name.clone())];
    for stage in stages {
        lines.push(cells(stage, &|(_, one)| format!("{:.2}", 1e3 * one.of(stage))));
    }
    let all =
        |(_, one): &(String, &Breakdown)| format!("{:.2}", 1e3 * one.stages.values().sum::<f64>());
    lines.push(cells("all", &all));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps whose products take 1 s each, and sums these times.
    fn profiled(sums: &[f64]) -> ProfiledSteps {
        let stages = [Stage::MatrixProducts, Stage::GroupOperations, Stage::Optimizer];
        let names = stages.map(Stage::name);
        let step = |sum: &f64| {
            let seconds = [1.0, *sum, 0.5];
            names
                .iter()
                .zip(seconds)
                .map(|(name, seconds)| (name.to_string(), seconds))
                .collect::<Vec<_>>()
        };
        let spans = sums.iter().flat_map(step).collect();
        ProfiledSteps { spans, steps: vec![2.0; sums.len()], parameters: 1, tensors: 1 }
    }

    fn breakdown(sums: &[f64]) -> Breakdown {
        Breakdown::new(&profiled(sums), sums.len()).unwrap()
    }

    #[test]
    fn a_step_is_the_mean_of_those_after_the_first() {
        let one = breakdown(&[9.0, 9.0, 9.0, 9.0, 0.25, 0.75]).of_steps(2.5);
        assert_eq!(one.of(Stage::GroupOperations.name()), 0.5);
        assert_eq!((one.of(Stage::MatrixProducts.name()), one.of(REST)), (1.0, 0.5));
        let text = table(&[("1 process".into(), &one)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "  matrix products          1000.00");
        assert_eq!(lines.last(), Some(&"  all                      2500.00"));
    }

    #[test]
    fn a_rank_that_comes_first_waits() {
        let warm_up = [1.0; WARM_UP];
        let ranks =
            [[0.25, 0.5], [0.75, 0.25]].map(|sums| breakdown(&[&warm_up[..], &sums].concat()));
        let expected = Operations { per_step: 1.0, transfer: 0.25, waiting: vec![0.125, 0.25] };
        assert_eq!(Operations::of(&ranks), Some(expected));
        let [first, _] = ranks;
        assert_eq!(Operations::of(&[first, breakdown(&[1.0; WARM_UP + 3])]), None);
    }

    #[test]
    fn an_incomplete_profile_is_refused() {
        let mut short = profiled(&[1.0; WARM_UP + 2]);
        short.spans.pop();
        assert!(Breakdown::new(&short, WARM_UP + 2).is_err());
        assert!(Breakdown::new(&profiled(&[1.0; WARM_UP]), WARM_UP).is_err());
    }
}
