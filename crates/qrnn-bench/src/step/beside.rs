//! A card's steps beside those of the peers: losses, times, and who is left out.

use qrnn::Result;
use serde_json::{Value, json};

use super::cuda::{Bench, COMPARED, DROPOUT};
use super::interleaved::{Taken, Theirs};
use super::shown::{self, Measured};
use crate::baselines::Peers;
use crate::baselines::step::Mode;
use crate::precision::PrecisionChoice;
use crate::report::Report;
use crate::statistics::median;

impl Bench<'_> {
    /// Holds the losses of every format, nothing dropped, against the published step's.
    pub(super) fn compare(
        &self,
        ours: &[(Measured, usize)],
        peers: &mut Peers,
        report: &mut Report,
    ) -> Result<()> {
        let mut reference = None;
        peers.each(|peer| {
            if peer.name == Mode::Published.name() {
                peer.reset(0.0)?;
                let rates = [self.recipe().lr; COMPARED];
                reference = Some(peer.steps(&[self.args.bptt; COMPARED], &rates)?.losses);
                peer.reset(DROPOUT)?;
            }
            Ok(())
        });
        let Some(reference) = reference else { return Ok(()) };
        for (measured, at) in ours {
            let (format, losses) = (measured.format, &measured.undropped);
            let differences = losses.iter().zip(&reference).map(|(a, b)| (a - b).abs());
            let furthest = differences.fold(0.0, f64::max);
            let bound = if matches!(format, PrecisionChoice::Fp32 | PrecisionChoice::Torch) {
                1e-3
            } else {
                5e-2
            };
            // A NaN passes through `max`.
            let finite = losses.iter().all(|loss| loss.is_finite());
            let far = !finite || furthest > bound;
            let furthest = if finite { json!(furthest) } else { Value::Null };
            let shown = furthest.as_f64().map_or("no number".into(), |far| format!("{far:.1e}"));
            report.say(format!(
                "{}: losses of {COMPARED} steps without dropout differ from the published step's by at \
                 most {shown}{}",
                format.name(),
                if far { format!(", further than {bound:e}") } else { String::new() },
            ));
            let fields = [
                ("largest_loss_difference", furthest),
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
            report.note(value)?;
            if far {
                report.wrong(format!(
                    "the training step in {}: its losses are {losses:?}, those of the published step \
                     {reference:?}: further apart than {bound:e}",
                    format.name()
                ));
            }
        }
        Ok(())
    }

    /// The peers' times against ours. Ours in the anchor's format are those of the same turns.
    pub(super) fn against(
        &self,
        ours: &[(Measured, usize)],
        again: &Taken,
        peers: &Peers,
        theirs: &Theirs,
        report: &mut Report,
    ) -> Result<()> {
        let Some((anchor, anchor_at)) = ours.first() else { return Ok(()) };
        if again.each.is_empty() {
            return Ok(()); // every peer failed while it warmed up
        }
        let interleaved = median(again.each.clone());
        let first_pass = median(anchor.ours.each.clone());
        let model = self.shape.to_string();
        report.say(shown::interleaved(anchor.format, interleaved, first_pass));
        report.note(json!({"what": "interleaved", "of": "training step", "model": model,
            "format": anchor.format.name(), "seconds": interleaved, "first_pass_seconds":
            first_pass, "times_the_first_pass": interleaved / first_pass,
            "runs": again.each.len()}))?;
        report.amend(*anchor_at, "interleaved_seconds", json!(interleaved));
        let of = |measured: &Measured| match measured.format == anchor.format {
            true => interleaved,
            false => median(measured.ours.each.clone()),
        };
        let mut against: Vec<Vec<Value>> = ours.iter().map(|_| vec![]).collect();
        for peer in &peers.live {
            let Some(theirs) = theirs.get(peer.name) else { continue };
            let seconds = median(theirs.each.clone());
            let ratios: Vec<_> =
                ours.iter().map(|(one, _)| (one.format, seconds / of(one))).collect();
            let (said, value) = shown::peer(peer, theirs, &ratios);
            report.say(said);
            let mut line = value.clone();
            line["what"] = json!("peer");
            line["of"] = json!("training step");
            line["model"] = json!(model);
            line["runs"] = json!(theirs.each.len());
            line["ratios"] = ratios.iter().map(|(f, ratio)| (f.name(), json!(ratio))).collect();
            report.note(line)?;
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

    /// Peers that failed, with their reasons.
    pub(super) fn left_out(
        &self,
        ours: &[(Measured, usize)],
        peers: &Peers,
        report: &mut Report,
    ) -> Result<()> {
        for peer in &peers.left_out {
            report.say(format!("{:<42} left out: {}", peer.words, peer.reason));
            let mut value = peer.value();
            for (_, at) in ours {
                report.append(*at, "peers", value.clone());
            }
            value["what"] = json!("peer");
            value["of"] = json!("training step");
            value["model"] = json!(self.shape.to_string());
            report.note(value)?;
        }
        Ok(())
    }
}
