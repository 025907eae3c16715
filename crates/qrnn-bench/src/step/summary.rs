//! Text and JSON of our training steps.

use std::collections::BTreeMap;

use qrnn_ops::profile::Stage;
use serde_json::{Value, json};

use super::lower_bound::StepCost;
use super::workload::Workload;
use crate::baselines::step::StepTimes;
use crate::precision::PrecisionChoice;
use crate::roofline::Roofline;
use crate::stages::{Bar, REST};
use crate::statistics::{median, quartiles};

/// Tokens of WikiText-103's training text, one epoch.
const EPOCH: f64 = 103_227_021.0;

/// Epochs of the entry.
const EPOCHS: f64 = 20.0;

/// The measurements of one precision.
pub struct Measured {
    pub format: PrecisionChoice,
    pub ours: StepTimes,
    /// Seconds of each stage of a profiled step.
    pub stages: BTreeMap<Stage, f64>,
    pub peak_bytes: Option<f64>,
    /// Losses of steps without dropout; empty if they are not compared.
    pub undropped: Vec<f64>,
}

impl Measured {
    pub fn seconds(&self) -> f64 {
        median(self.ours.each.clone())
    }

    pub fn bar(&self, model: &str) -> Bar {
        Bar::new(format!("{model} {}", self.format.name()), &self.stages, self.seconds())
    }

    pub fn summary(&self, work: &Workload<'_>, roofline: &Roofline) -> (String, Value) {
        let (format, words) = (self.format, work.words());
        let cost = work.cost(format);
        let bound = cost.seconds(roofline.rate(format), roofline.bandwidth);
        let (seconds, wall) = (self.seconds(), median(self.ours.wall.clone()));
        let speed = words / wall;
        let epoch = EPOCH / speed;
        let products = self.stages.get(&Stage::MatrixProducts).copied().unwrap_or(0.0);
        let mut text = format!(
            "\n{}: {:.2} ms per step (quartiles {}; {:.2} by the wall clock), {speed:.0} tokens/s: {epoch:.1} s per \
             epoch of WikiText-103, {:.1} minutes for {EPOCHS:.0}\nlower bound {}: the step takes {:.2} times as \
             long",
            format.name(),
            1e3 * seconds,
            quartile_text(&self.ours.each),
            1e3 * wall,
            epoch * EPOCHS / 60.0,
            milliseconds(bound),
            seconds / bound,
        );
        let mut value = json!({"what": "training step", "format": format.name(), "seconds": seconds,
            "middle_half": quartiles(self.ours.each.clone()),
            "wall_seconds": wall, "words": words, "words_per_second": speed,
            "epoch_seconds": epoch, "minutes_for_20_epochs": epoch * EPOCHS / 60.0,
            "floor": "each product and each byte once, at the measured ceilings",
            "floor_seconds": bound, "times_the_floor": seconds / bound,
            "operations": cost.operations(), "share_in_products": products / seconds,
            "runs": self.ours.each.len(), "counted": cost.counted(), "peers": []});
        if let Some(bytes) = self.peak_bytes {
            text += &format!("; peak memory {:.2} GB", bytes / 1e9);
            value["peak_bytes"] = json!(bytes);
        }
        let (stage_text, stages) = self.stage_shares(&cost, roofline);
        value["stages"] = json!(stages);
        (text + &stage_text, value)
    }

    /// Time, work and share of the device's limit of each stage of a profiled step.
    fn stage_shares(&self, cost: &StepCost, roofline: &Roofline) -> (String, Vec<Value>) {
        let mut all: Vec<_> = self.stages.iter().collect();
        all.sort_by(|a, b| b.1.total_cmp(a.1));
        let mut text = String::from("\nstages of a profiled step:");
        let mut values = vec![];
        for (stage, seconds) in all {
            text += &format!("\n  {:<18} {:8.3} ms", stage.name(), 1e3 * seconds);
            let mut value = json!({"stage": stage.name(), "seconds": seconds});
            if *stage == Stage::MatrixProducts {
                let operations = cost.operations();
                let share = operations / seconds / roofline.rate(self.format);
                text += &format!(
                    "   {:8.1} GFLOP   {:3.0} % of the rate",
                    1e-9 * operations,
                    1e2 * share
                );
                (value["operations"], value["share_of_rate"]) = (json!(operations), json!(share));
            } else if let Some(bytes) = cost.bytes_of(*stage) {
                let share = bytes / seconds / roofline.bandwidth;
                text +=
                    &format!("   {:8.1} MB      {:3.0} % of the copy", 1e-6 * bytes, 1e2 * share);
                (value["bytes"], value["share_of_bandwidth"]) = (json!(bytes), json!(share));
            }
            values.push(value);
        }
        let rest = (self.seconds() - self.stages.values().sum::<f64>()).max(0.0);
        text += &format!("\n  {REST:<18} {:8.3} ms", 1e3 * rest);
        values.push(json!({"stage": REST, "seconds": rest}));
        (text, values)
    }
}

/// The quartiles in milliseconds, as text.
pub fn quartile_text(seconds: &[f64]) -> String {
    let [low, high] = quartiles(seconds.to_vec());
    format!("{:.2} to {:.2}", 1e3 * low, 1e3 * high)
}

/// Milliseconds with two decimals, or two digits of a shorter time.
fn milliseconds(seconds: f64) -> String {
    let milliseconds = 1e3 * seconds;
    let decimals = (1.0 - milliseconds.log10().floor()).clamp(2.0, 9.0) as usize;
    format!("{milliseconds:.decimals$} ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_times_are_not_printed_as_zero() {
        let text = [12.345_67e-3, 0.123_4e-3, 0.002_34e-3].map(milliseconds);
        assert_eq!(text, ["12.35 ms", "0.12 ms", "0.0023 ms"]);
    }
}
