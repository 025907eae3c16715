//! Compares our steps with those of the baselines: losses and times.

use qrnn::Result;
use qrnn::terminal;
use serde_json::json;

use super::interleaved::run_steps;
use super::summary::{Measured, quartile_text};
use super::workload::DROPOUT;
use super::{Bench, COMPARED};
use crate::baselines::step::{EXACT, StepTimes};
use crate::baselines::{Baseline, Baselines, WRITTEN_BY};
use crate::precision::PrecisionChoice;
use crate::report::{Report, merged};
use crate::statistics::{median, quartiles};

impl Bench<'_> {
    /// Compares the losses of every precision without dropout with those of a baseline in fp32.
    pub(super) fn compare_losses(
        &self,
        ours: &[(Measured, usize)],
        baselines: &mut Baselines,
        report: &mut Report,
    ) -> Result<()> {
        let mut reference = None;
        baselines.each(|baseline| {
            if reference.is_none() && EXACT.contains(&baseline.name) {
                baseline.reset(0.0)?;
                let rates = [self.work.recipe().lr; COMPARED];
                let steps = baseline.steps(&[self.work.flags.bptt; COMPARED], &rates)?;
                reference = Some((baseline.label, steps.losses));
                baseline.reset(DROPOUT)?;
            }
            Ok(())
        });
        let Some((label, reference)) = reference else { return Ok(()) };
        for (measured, index) in ours {
            let (format, losses) = (measured.format, &measured.undropped);
            let differences = losses.iter().zip(&reference).map(|(a, b)| (a - b).abs());
            let largest = differences.fold(0.0, f64::max);
            let bound = match format {
                PrecisionChoice::Fp32 | PrecisionChoice::Torch => 1e-3,
                PrecisionChoice::Tf32 | PrecisionChoice::Bf16 => 5e-2,
            };
            // `max` ignores NaN.
            let finite = losses.iter().all(|loss| loss.is_finite());
            let far = !finite || largest > bound;
            let shown = if finite { format!("{largest:.1e}") } else { "NaN".into() };
            let largest = finite.then_some(largest);
            let name = format.name();
            report.print(format!(
                "{name}: losses of {COMPARED} steps without dropout differ from those of {label} by at most {shown}{}",
                if far { format!(", more than {bound:e}") } else { String::new() },
            ));
            let result =
                json!({"largest_loss_difference": largest, "loss_bound": bound, "far": far});
            report.amend(*index, result.clone());
            let value = json!({"what": "losses without dropout", "model":
                self.work.shape.to_string(), "format": name, "steps": COMPARED, "losses":
                losses, "losses_of_the_published_step": reference});
            report.add(merged(value, result))?;
            if far {
                report.problem(format!(
                    "the training step in {name}: its losses are {losses:?}, those of {label} {reference:?}: the \
                     difference is more than {bound:e}"
                ));
            }
        }
        Ok(())
    }

    /// Runs our steps in one precision and those of the baselines in interleaved blocks, and compares their
    /// times.
    pub(super) fn compare_times(
        &self,
        alone: &Measured,
        index: usize,
        baselines: &mut Baselines,
        report: &mut Report,
    ) -> Result<()> {
        let (work, format) = (&self.work, alone.format.name());
        let model = work.shape.to_string();
        terminal::note(format_args!("{model} {format} and the baselines, interleaved ..."));
        let measured = work
            .model(alone.format, DROPOUT)
            .and_then(|mut model| run_steps(&mut model, work, self.blocks, baselines, false));
        let fields = json!({"what": "interleaved", "of": "training step", "model": model,
            "format": format});
        let (ours, mut theirs) = match measured {
            Ok(measured) => measured,
            Err(error) => {
                let what = "the training step interleaved with the baselines";
                return report.failed(what, fields, &error);
            }
        };
        if baselines.live.is_empty() {
            return Ok(()); // all failed before the measurement was complete
        }
        let (seconds, first_pass) = (median(ours.each.clone()), alone.seconds());
        report.print(format!(
            "\n{format} interleaved with the baselines: {:.2} ms per step, {:.2} ms alone ({:.2} times)",
            1e3 * seconds,
            1e3 * first_pass,
            seconds / first_pass,
        ));
        let times = json!({"seconds": seconds, "first_pass_seconds": first_pass,
            "times_the_first_pass": seconds / first_pass, "runs": ours.each.len()});
        report.add(merged(fields, times))?;
        report.amend(index, json!({"interleaved_seconds": seconds}));
        for (i, baseline) in baselines.live.iter().enumerate() {
            let Some(theirs) = theirs.remove(baseline.name) else { continue };
            let their_seconds = median(theirs.each.clone());
            let ratio = their_seconds / seconds;
            report.print(baseline_text(baseline, &theirs, ratio, format));
            let value = json!({"peer": baseline.name, "against": baseline.label,
                "by": baseline.version, "written_by": WRITTEN_BY, "seconds": their_seconds,
                "middle_half": quartiles(theirs.each.clone()), "wall_seconds":
                median(theirs.wall.clone()), "peak_bytes": theirs.peak_bytes, "ratio": ratio});
            report.add_peer(index, value.clone());
            if i == 0 {
                let against = format!("{}, {}", baseline.version, baseline.label);
                report.amend(
                    index,
                    json!({"against": against, "against_seconds": their_seconds, "ratio": ratio}),
                );
            }
            let what = json!({"what": "peer", "of": "training step", "model": model,
                "format": format, "runs": theirs.each.len(), "ratios": {format: ratio}});
            report.add(merged(value, what))?;
        }
        Ok(())
    }
}

fn baseline_text(baseline: &Baseline, theirs: &StepTimes, ratio: f64, format: &str) -> String {
    let mut text = format!(
        "{:<42} {:8.2} ms ({})   {ratio:.2} times {format}",
        baseline.label,
        1e3 * median(theirs.each.clone()),
        quartile_text(&theirs.each),
    );
    if let Some(bytes) = theirs.peak_bytes {
        text += &format!("   peak memory {:.2} GB", bytes / 1e9);
    }
    text
}
