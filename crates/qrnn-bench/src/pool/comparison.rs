//! Compares our calls with those of other implementations.

use std::collections::BTreeMap;

use qrnn::{Result, terminal};
use serde_json::{Value, json};
use tch::{Device, Kind};

use super::args::Size;
use super::case::{Ours, WARM_UP, WHAT};
use super::implementations::{ours, tensor_loop};
use crate::baselines::pooling::{Variant, kind_name};
use crate::baselines::{Baselines, WRITTEN_BY};
use crate::report::{Report, merged};
use crate::statistics::{median, quartiles};

/// Rounds of interleaved runs.
const ROUNDS: usize = 4;

pub struct Comparison<'a> {
    device: Device,
    baselines: &'a mut Baselines,
    /// Name and seconds of the implementation that `against` names in our measurements, by shape. On a GPU
    /// it is the published design, which has fp32 only: our bf16 is compared with it, too.
    references: BTreeMap<Size, (String, [f64; 2])>,
}

/// Another implementation.
struct Peer<'a> {
    name: &'a str,
    /// Its origin.
    version: &'a str,
    variant: Variant,
    /// Seconds of each forward, and of each forward with a backward; none if it failed.
    seconds: [Vec<f64>; 2],
}

impl<'a> Comparison<'a> {
    pub fn new(device: Device, baselines: &'a mut Baselines) -> Self {
        Self { device, baselines, references: BTreeMap::new() }
    }

    /// Measures the other implementations and ours on one case, interleaved.
    pub fn interleave(&mut self, alone: &Ours, report: &mut Report) -> Result<()> {
        let case = &alone.case;
        // A loop over time launches thousands of kernels on a GPU.
        let on_cpu = !self.device.is_cuda();
        if self.baselines.live.is_empty() && !on_cpu {
            return Ok(());
        }
        terminal::note(format_args!("{case} and others, interleaved ..."));
        // Concurrently, because this compiles kernels.
        self.baselines.live.iter_mut().for_each(|baseline| baseline.prepare(case.size, case.kind));
        let mut variants: BTreeMap<&str, Vec<Variant>> = BTreeMap::new();
        self.baselines.each(|baseline| {
            variants.insert(baseline.name, baseline.prepared()?);
            Ok(())
        });
        let per_round = case.runs.div_ceil(ROUNDS);
        let (mut own, mut looped) = <([Vec<f64>; 2], [Vec<f64>; 2])>::default();
        let mut theirs: BTreeMap<(&str, String), [Vec<f64>; 2]> = BTreeMap::new();
        let inputs = case.inputs()?;
        for round in 0..ROUNDS {
            let runs = (if round == 0 { WARM_UP } else { 1 }, per_round);
            extend(&mut own, inputs.calls(ours, runs)?);
            if on_cpu {
                extend(&mut looped, inputs.calls(tensor_loop, runs)?);
            }
            self.baselines.each(|baseline| {
                for times in baseline.pool(per_round)? {
                    extend(
                        theirs.entry((baseline.name, times.variant)).or_default(),
                        times.seconds,
                    );
                }
                Ok(())
            });
        }
        let own = own.map(median);
        report_own(alone, own, report)?;

        let mut peers = vec![];
        if on_cpu {
            let variant = Variant {
                name: "loop".into(),
                label: "a loop of tensor operations".into(),
                deviation: Ok(None),
            };
            peers.push(Peer { name: "loop", version: "libtorch", variant, seconds: looped });
        }
        for baseline in &self.baselines.live {
            for variant in variants.remove(baseline.name).into_iter().flatten() {
                let seconds = theirs.remove(&(baseline.name, variant.name.clone()));
                if seconds.is_some() || variant.deviation.is_err() {
                    let seconds = seconds.unwrap_or_default();
                    let (name, version) = (baseline.name, baseline.version.as_str());
                    peers.push(Peer { name, version, variant, seconds });
                }
            }
        }
        for peer in &peers {
            peer.report(alone, own, report)?;
        }
        let reference = peers.into_iter().find(|peer| ["loop", "published"].contains(&peer.name));
        if let Some(Peer { variant, seconds, .. }) = reference {
            self.references.insert(case.size, (variant.label, seconds.map(median)));
        }
        let Some((label, seconds)) = self.references.get(&case.size) else { return Ok(()) };
        let ratios = [0, 1].map(|i| seconds[i] / own[i]);
        for (i, index) in alone.indices.into_iter().enumerate() {
            report.amend(
                index,
                json!({"against": label, "written_by": WRITTEN_BY, "against_seconds": seconds[i],
                    "ratio": ratios[i]}),
            );
        }
        if !on_cpu && case.kind == Kind::BFloat16 {
            report.print(format!(
                "{label:<44} forward {:.2} times ours, forward and backward {:.2} times",
                ratios[0], ratios[1],
            ));
        }
        Ok(())
    }
}

fn extend(all: &mut [Vec<f64>; 2], more: [Vec<f64>; 2]) {
    for (all, more) in all.iter_mut().zip(more) {
        all.extend(more);
    }
}

/// Compares our calls with those without the others.
fn report_own(alone: &Ours, seconds: [f64; 2], report: &mut Report) -> Result<()> {
    let (case, first) = (&alone.case, alone.measured.calls);
    for (i, what) in WHAT.into_iter().enumerate() {
        report.add(json!({"what": "interleaved", "of": what, "kind": kind_name(case.kind),
            "size": case.size, "seconds": seconds[i], "first_pass_seconds": first[i],
            "times_the_first_pass": seconds[i] / first[i]}))?;
        report.amend(alone.indices[i], json!({"interleaved_call_seconds": seconds[i]}));
    }
    let [forward, both, first_forward, first_both] =
        [seconds[0], seconds[1], first[0], first[1]].map(|seconds| 1e3 * seconds);
    report.print(format!(
        "\n{case}, interleaved: ours forward {forward:.3} ms ({first_forward:.3} alone), forward and backward \
         {both:.3} ms ({first_both:.3} alone)"
    ));
    Ok(())
}

impl Peer<'_> {
    /// Compares it with ours, whose interleaved calls took `own` seconds.
    fn report(&self, alone: &Ours, own: [f64; 2], report: &mut Report) -> Result<()> {
        let Variant { name, label, deviation } = &self.variant;
        let value = json!({"peer": self.name, "variant": name, "against": label,
            "by": self.version});
        let add = |report: &mut Report, value: Value, of: &str| {
            let what = json!({"what": "peer", "of": of, "kind": kind_name(alone.case.kind),
                "size": alone.case.size});
            report.add(merged(value, what)).map(drop)
        };
        let deviation = match deviation {
            Ok(deviation) => *deviation,
            Err(reason) => {
                report.print(format!("{label:<44} left out: {reason}"));
                let value = merged(value, json!({"failed": reason}));
                alone.indices.iter().for_each(|index| report.add_peer(*index, value.clone()));
                return add(report, value, "pooling");
            }
        };
        let medians = self.seconds.clone().map(median);
        let ratios = [0, 1].map(|i| medians[i] / own[i]);
        let shown = deviation.map_or_else(String::new, |deviation| {
            format!("; deviation from double precision {deviation:.1e}")
        });
        report.print(format!(
            "{label:<44} forward {:.3} ms, {:.2} times ours; forward and backward {:.3} ms, {:.2} times{shown}",
            1e3 * medians[0],
            ratios[0],
            1e3 * medians[1],
            ratios[1],
        ));
        for (i, what) in WHAT.into_iter().enumerate() {
            let times = json!({"seconds": medians[i], "middle_half":
                quartiles(self.seconds[i].clone()), "ratio": ratios[i], "off_from_float64":
                deviation, "runs": self.seconds[i].len()});
            let value = merged(value.clone(), times);
            report.add_peer(alone.indices[i], value.clone());
            add(report, value, what)?;
        }
        Ok(())
    }
}
