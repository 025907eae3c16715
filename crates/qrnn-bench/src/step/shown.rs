//! Text and JSON of training steps on a GPU.

use qrnn_ops::profile::Profile;
use serde_json::{Value, json};

use super::interleaved::{BLOCK, StepTimes};
use crate::baselines::{Baseline, WRITTEN_BY};
use crate::precision::PrecisionChoice;
use crate::roofline::Roofline;
use crate::statistics::{median, quartiles};

/// Tokens of WikiText-103's training text, one epoch.
const EPOCH: f64 = 103_227_021.0;

/// Epochs of the entry.
const EPOCHS: f64 = 20.0;

/// The measurements of one precision.
pub struct Measured {
    pub format: PrecisionChoice,
    pub ours: StepTimes,
    /// Profile of one block of steps.
    pub profile: Profile,
    pub peak_bytes: Option<f64>,
    /// Losses of steps without dropout; empty if they are not compared.
    pub undropped: Vec<f64>,
}

/// A step of `words` tokens; `bound` is its lower bound in seconds.
pub fn step(measured: &Measured, words: f64, bound: f64, roofline: &Roofline) -> (String, Value) {
    let format = measured.format;
    let (seconds, wall) = (median(measured.ours.each.clone()), median(measured.ours.wall.clone()));
    let speed = words / wall;
    let epoch = EPOCH / speed;
    let mut text = format!(
        "\n{}: {:.2} ms per step (quartiles {}; {:.2} by the wall clock), {speed:.0} tokens/s: {epoch:.1} s per \
         epoch of WikiText-103, {:.1} minutes for {EPOCHS:.0}\nlower bound {:.2} ms: the step takes {:.2} times as \
         long",
        format.name(),
        1e3 * seconds,
        quartile_text(&measured.ours.each),
        1e3 * wall,
        epoch * EPOCHS / 60.0,
        1e3 * bound,
        seconds / bound,
    );
    let mut value = json!({"what": "training step", "format": format.name(), "seconds": seconds,
        "middle_half": quartiles(measured.ours.each.clone()),
        "wall_seconds": wall, "words": words, "words_per_second": speed,
        "epoch_seconds": epoch, "minutes_for_20_epochs": epoch * EPOCHS / 60.0,
        "floor": "each product and each byte once, at the measured ceilings",
        "floor_seconds": bound, "times_the_floor": seconds / bound,
        "runs": measured.ours.each.len(), "peers": []});
    if let Some(bytes) = measured.peak_bytes {
        text += &format!("; peak memory {:.2} GB", bytes / 1e9);
        value["peak_bytes"] = json!(bytes);
    }
    let (stage_text, stages) = stages(&measured.profile, seconds, format, roofline);
    value["stages"] = json!(stages);
    (text + &stage_text, value)
}

/// Compares our time in interleaved steps with that of steps without baselines.
pub fn interleaved(format: PrecisionChoice, seconds: f64, first_pass: f64) -> String {
    format!(
        "\n{} interleaved with the baselines: {:.2} ms per step, {:.2} ms alone ({:.2} times)",
        format.name(),
        1e3 * seconds,
        1e3 * first_pass,
        seconds / first_pass,
    )
}

/// The times of a baseline, and their ratios to ours.
pub fn baseline(
    baseline: &Baseline,
    theirs: &StepTimes,
    ratios: &[(PrecisionChoice, f64)],
) -> (String, Value) {
    let seconds = median(theirs.each.clone());
    let ratio =
        |(format, ratio): &(PrecisionChoice, f64)| format!("{ratio:.2} times {}", format.name());
    let ratios: Vec<_> = ratios.iter().map(ratio).collect();
    let mut text = format!(
        "{:<42} {:8.2} ms ({})   {}",
        baseline.label,
        1e3 * seconds,
        quartile_text(&theirs.each),
        ratios.join(", "),
    );
    if let Some(bytes) = theirs.peak_bytes {
        text += &format!("   peak memory {:.2} GB", bytes / 1e9);
    }
    let value = json!({"peer": baseline.name, "against": baseline.label, "by": baseline.version,
        "written_by": WRITTEN_BY, "seconds": seconds, "middle_half": quartiles(theirs.each.clone()),
        "wall_seconds": median(theirs.wall.clone()), "peak_bytes": theirs.peak_bytes});
    (text, value)
}

/// The quartiles in milliseconds, as text.
fn quartile_text(seconds: &[f64]) -> String {
    let [low, high] = quartiles(seconds.to_vec());
    format!("{:.2} to {:.2}", 1e3 * low, 1e3 * high)
}

/// Time, work and share of the device's limit of each stage of a profiled step.
fn stages(
    profile: &Profile,
    seconds: f64,
    format: PrecisionChoice,
    roofline: &Roofline,
) -> (String, Vec<Value>) {
    let steps = BLOCK as f64;
    let mut all: Vec<_> = profile.stages.iter().collect();
    all.sort_by(|a, b| b.1.cmp(a.1));
    let mut text = String::from("\nstages of a profiled step:");
    let (mut values, mut known) = (vec![], 0.0);
    for (&name, time) in all {
        let time = time.as_secs_f64() / steps;
        known += time;
        text += &format!("\n  {name:<18} {:8.3} ms", 1e3 * time);
        let mut value = json!({"stage": name, "seconds": time});
        if name == "matrix products" {
            let operations = profile.matmuls.iter().map(|product| product.operations());
            let operations = operations.sum::<f64>() / steps;
            let share = operations / time / roofline.rate(format);
            text +=
                &format!("   {:8.1} GFLOP   {:3.0} % of the rate", 1e-9 * operations, 1e2 * share);
            (value["operations"], value["share_of_rate"]) = (json!(operations), json!(share));
        } else if let Some(bytes) = profile.bytes.get(name) {
            let bytes = bytes / steps;
            let share = bytes / time / roofline.bandwidth;
            text += &format!("   {:8.1} MB      {:3.0} % of the copy", 1e-6 * bytes, 1e2 * share);
            (value["bytes"], value["share_of_bandwidth"]) = (json!(bytes), json!(share));
        }
        values.push(value);
    }
    let rest = (seconds - known).max(0.0);
    text += &format!("\n  {:<18} {:8.3} ms", "all else", 1e3 * rest);
    values.push(json!({"stage": "all else", "seconds": rest}));
    (text, values)
}
