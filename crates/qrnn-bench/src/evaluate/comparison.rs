//! Compares our evaluation with those of the baselines.

use std::collections::HashMap;

use qrnn::{Result, terminal};
use serde_json::json;

use super::{Bench, Ours, Runs};
use crate::baselines::{Baselines, WRITTEN_BY};
use crate::precision::PrecisionChoice;
use crate::report::{Report, merged};
use crate::statistics::median;

/// Windows that a baseline evaluates on a CPU before the measurement. On a GPU it evaluates the whole text,
/// because torch.compile compiles again for new numbers of tokens in a cluster.
const WARM_UP: usize = 16;

/// Measurements of the baselines, by name.
type Theirs = HashMap<&'static str, Runs>;

impl Bench<'_> {
    /// Evaluates in our first precision and with each baseline, interleaved, and compares all precisions:
    /// evaluations are long, so those alone are as good.
    pub(super) fn compare(
        &mut self,
        ours: &[Ours],
        baselines: &mut Baselines,
        report: &mut Report,
    ) -> Result<()> {
        let Some(anchor) = ours.first() else { return Ok(()) };
        if baselines.live.is_empty() {
            return Ok(());
        }
        let format = anchor.format.name();
        terminal::note(format_args!("{format} and the baselines, interleaved ..."));
        let value =
            json!({"what": "interleaved", "of": "evaluation of the entry", "format": format});
        let (interleaved, mut theirs) = match self.interleave(anchor.format, baselines) {
            Ok((interleaved, theirs)) => (median(interleaved.seconds), theirs),
            Err(error) => {
                let what = "the evaluation interleaved with the baselines";
                return report.failed(what, value, &error);
            }
        };
        let first_pass = median(anchor.runs.seconds.clone());
        report.print(format!(
            "{format} interleaved with the baselines: {interleaved:.3} s, {first_pass:.3} s alone"
        ));
        let times = json!({"seconds": interleaved, "first_pass_seconds": first_pass,
            "times_the_first_pass": interleaved / first_pass, "runs": self.args.runs});
        report.add(merged(value, times))?;
        report.amend(anchor.index, json!({"interleaved_seconds": interleaved}));
        for (i, baseline) in baselines.live.iter().enumerate() {
            let Some(runs) = theirs.remove(baseline.name) else { continue };
            let their_seconds = median(runs.seconds);
            let mut text = format!("{:<42} {their_seconds:7.3} s", baseline.label);
            let value = json!({"peer": baseline.name, "against": baseline.label,
                "by": baseline.version,
                "written_by": WRITTEN_BY, "seconds": their_seconds, "loss": runs.loss});
            let (mut ratios, mut differences) = (json!({}), json!({}));
            for ours in ours {
                let ratio = if ours.index == anchor.index {
                    their_seconds / interleaved
                } else {
                    their_seconds / median(ours.runs.seconds.clone())
                };
                let difference = (runs.loss - ours.runs.loss).abs();
                let name = ours.format.name();
                text += &format!("   {ratio:.2} times {name}, losses differ by {difference:.1e}");
                (ratios[name], differences[name]) = (json!(ratio), json!(difference));
                let compared = json!({"ratio": ratio, "loss_difference": difference});
                report.add_peer(ours.index, merged(value.clone(), compared.clone()));
                if i == 0 {
                    let against = format!("{}, {}", baseline.version, baseline.label);
                    let against = json!({"against": against, "against_seconds": their_seconds});
                    report.amend(ours.index, merged(against, compared));
                }
            }
            report.print(text);
            let what = json!({"what": "peer", "of": "evaluation of the entry",
                "runs": self.args.runs, "ratios": ratios, "loss_differences": differences});
            report.add(merged(value, what))?;
        }
        Ok(())
    }

    fn interleave(
        &mut self,
        format: PrecisionChoice,
        baselines: &mut Baselines,
    ) -> Result<(Runs, Theirs)> {
        let (mut interleaved, mut theirs) = (Runs::default(), Theirs::new());
        let (window, words) = (self.args.bptt, self.words());
        let warm_up = if self.device.is_cuda() { words } else { words.min(WARM_UP * window + 1) };
        for run in 0..=self.args.runs {
            terminal::note(format_args!("run {run} of {} ...", self.args.runs));
            let (seconds, loss) = self.evaluate(format)?;
            interleaved.add(run, seconds, loss);
            baselines.each(|baseline| {
                let count = if run == 0 { warm_up } else { words };
                let (sum, seconds) = baseline.evaluate(window, count)?;
                let loss = sum / (count.max(2) - 1) as f64;
                theirs.entry(baseline.name).or_default().add(run, seconds, loss);
                Ok(())
            });
        }
        Ok((interleaved, theirs))
    }
}
