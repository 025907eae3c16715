//! Compares our steps on a GPU with those of the baselines: losses and times.

use qrnn::Result;
use serde_json::{Value, json};

use super::cuda::{Bench, COMPARED, DROPOUT};
use super::interleaved::{StepTimes, Theirs};
use super::shown::{self, Measured};
use crate::baselines::Baselines;
use crate::baselines::step::Mode;
use crate::precision::PrecisionChoice;
use crate::report::Report;
use crate::statistics::median;

impl Bench<'_> {
    /// Compares the losses of every precision without dropout with those of the published step.
    pub(super) fn compare_losses(
        &self,
        ours: &[(Measured, usize)],
        baselines: &mut Baselines,
        report: &mut Report,
    ) -> Result<()> {
        let mut reference = None;
        baselines.each(|baseline| {
            if baseline.name == Mode::Published.name() {
                baseline.reset(0.0)?;
                let rates = [self.recipe().lr; COMPARED];
                reference = Some(baseline.steps(&[self.args.bptt; COMPARED], &rates)?.losses);
                baseline.reset(DROPOUT)?;
            }
            Ok(())
        });
        let Some(reference) = reference else { return Ok(()) };
        for (measured, at) in ours {
            let (format, losses) = (measured.format, &measured.undropped);
            let differences = losses.iter().zip(&reference).map(|(a, b)| (a - b).abs());
            let largest = differences.fold(0.0, f64::max);
            let bound = if matches!(format, PrecisionChoice::Fp32 | PrecisionChoice::Torch) {
                1e-3
            } else {
                5e-2
            };
            // `max` ignores NaN.
            let finite = losses.iter().all(|loss| loss.is_finite());
            let far = !finite || largest > bound;
            let largest = if finite { json!(largest) } else { Value::Null };
            let shown = largest.as_f64().map_or("NaN".into(), |far| format!("{far:.1e}"));
            report.print(format!(
                "{}: losses of {COMPARED} steps without dropout differ from the published step's by at \
                 most {shown}{}",
                format.name(),
                if far { format!(", more than {bound:e}") } else { String::new() },
            ));
            let fields = [
                ("largest_loss_difference", largest),
                ("loss_bound", json!(bound)),
                ("far", json!(far)),
            ];
            let mut value = json!({"what": "losses without dropout", "model":
                self.shape.to_string(), "format": format.name(), "steps": COMPARED, "losses":
                losses, "losses_of_the_published_step": reference});
            for (name, field) in fields {
                value[name] = field.clone();
                report.amend(*at, name, field);
            }
            report.add(value)?;
            if far {
                report.problem(format!(
                    "the training step in {}: its losses are {losses:?}, those of the published step \
                     {reference:?}: the difference is more than {bound:e}",
                    format.name()
                ));
            }
        }
        Ok(())
    }

    /// Compares the times of the baselines with ours. For the first precision, ours are those of
    /// the interleaved steps.
    pub(super) fn compare_times(
        &self,
        ours: &[(Measured, usize)],
        interleaved: &StepTimes,
        baselines: &Baselines,
        theirs: &Theirs,
        report: &mut Report,
    ) -> Result<()> {
        let Some((anchor, anchor_at)) = ours.first() else { return Ok(()) };
        if interleaved.each.is_empty() {
            return Ok(()); // every baseline failed during its warm-up
        }
        let seconds = median(interleaved.each.clone());
        let first_pass = median(anchor.ours.each.clone());
        let model = self.shape.to_string();
        report.print(shown::interleaved(anchor.format, seconds, first_pass));
        report.add(json!({"what": "interleaved", "of": "training step", "model": model,
            "format": anchor.format.name(), "seconds": seconds, "first_pass_seconds":
            first_pass, "times_the_first_pass": seconds / first_pass,
            "runs": interleaved.each.len()}))?;
        report.amend(*anchor_at, "interleaved_seconds", json!(seconds));
        let seconds_of = |measured: &Measured| {
            if measured.format == anchor.format {
                seconds
            } else {
                median(measured.ours.each.clone())
            }
        };
        let mut against: Vec<Vec<Value>> = ours.iter().map(|_| vec![]).collect();
        for baseline in &baselines.live {
            let Some(theirs) = theirs.get(baseline.name) else { continue };
            let seconds = median(theirs.each.clone());
            let ratios: Vec<_> =
                ours.iter().map(|(one, _)| (one.format, seconds / seconds_of(one))).collect();
            let (text, value) = shown::baseline(baseline, theirs, &ratios);
            report.print(text);
            let mut line = value.clone();
            line["what"] = json!("peer");
            line["of"] = json!("training step");
            line["model"] = json!(model);
            line["runs"] = json!(theirs.each.len());
            line["ratios"] = ratios.iter().map(|(f, ratio)| (f.name(), json!(ratio))).collect();
            report.add(line)?;
            for (list, (_, ratio)) in against.iter_mut().zip(ratios) {
                let mut value = value.clone();
                value["ratio"] = json!(ratio);
                list.push(value);
            }
        }
        for ((_, at), list) in ours.iter().zip(against) {
            report.amend(*at, "peers", json!(list));
        }
        Ok(())
    }

    /// Reports the baselines that failed, with their reasons.
    pub(super) fn report_left_out(
        &self,
        ours: &[(Measured, usize)],
        baselines: &Baselines,
        report: &mut Report,
    ) -> Result<()> {
        for baseline in &baselines.left_out {
            report.print(format!("{:<42} left out: {}", baseline.label, baseline.reason));
            let mut value = baseline.value();
            for (_, at) in ours {
                report.append(*at, "peers", value.clone());
            }
            value["what"] = json!("peer");
            value["of"] = json!("training step");
            value["model"] = json!(self.shape.to_string());
            report.add(value)?;
        }
        Ok(())
    }
}
