//! `qrnn-bench pool` on a GPU: first our kernels, compared with the bandwidth of a copy; then the calls of the
//! baselines and ours, interleaved.

use std::collections::BTreeMap;

use qrnn::terminal;
use qrnn::{Error, Result};
use serde_json::{Value, json};
use tch::{Device, Kind};

use super::args::{Args, Size, WARM_UP};
use super::ours::{self, Measured, Ours};
use crate::baselines::pooling::{self, Variant, kind_name};
use crate::baselines::{Baselines, WRITTEN_BY};
use crate::report::Report;
use crate::roofline::Roofline;
use crate::statistics::{median, quartiles};
use qrnn::command_line::Output;

/// Names of the measurements.
const WHAT: [&str; 2] = ["forward", "forward and backward"];

/// Rounds of interleaved runs.
const ROUNDS: usize = 4;

/// Sequence length from which a case is long (tens of milliseconds), and its number of runs.
const LONG: (i64, usize) = (4096, 40);

/// Our implementation at one shape and kind.
struct Case {
    size: Size,
    kind: Kind,
    measured: Measured,
    /// Indices of the [`WHAT`] measurements in the report.
    indices: [usize; 2],
}

pub fn run(args: &Args, device: Device, json: bool) -> Result<Output> {
    let mut report = Report::new("pool", device, &args.record, json)?;
    // The baselines start while our kernels are measured.
    let kinds = pooling::specs(&args.baselines.0, device);
    let mut baselines = Baselines::spawn(&args.baseline_flags, kinds)?;
    terminal::note("measuring the device's limits ...");
    let roofline = Roofline::measure(device, &[])?;
    roofline.report(&mut report)?;
    let mut cases = vec![];
    for size in args.sizes() {
        report.print(format!(
            "\nfo-pooling of (seq, batch, hidden) {:?}; medians of {} runs on two alternating sets of inputs, by \
             the device's clock",
            size.0,
            runs(args, size),
        ));
        for kind in [Kind::Float, Kind::BFloat16] {
            terminal::note(format_args!("ours, {kind:?} ..."));
            let measure = Ours::new(size.0, device, kind)
                .and_then(|ours| ours.measure(size.0, kind, runs(args, size)));
            match measure {
                Ok(measured) => {
                    cases.push(report_case(args, size, kind, measured, &roofline, &mut report)?)
                }
                Err(error) => {
                    let what = format!("fo-pooling of {:?} in {}", size.0, kind_name(kind));
                    let fields = json!({"what": WHAT[0], "kind": kind_name(kind),
                        "size": size.0});
                    report.failed(&what, fields, &error)?;
                }
            }
        }
    }
    baselines.hello();
    let mut published = BTreeMap::new();
    for case in &cases {
        if baselines.live.is_empty() {
            break;
        }
        terminal::note(format_args!(
            "{:?} {:?} and the baselines, interleaved ...",
            case.size.0, case.kind
        ));
        interleave(args, device, case, &mut baselines, &mut published, &mut report)?;
    }
    for baseline in &baselines.left_out {
        report.print(format!("{}: left out: {}", baseline.label, baseline.reason));
        let mut value = baseline.value();
        let indices = cases.iter().flat_map(|case| case.indices);
        indices.for_each(|index| report.append(index, "peers", value.clone()));
        value["what"] = json!("peer");
        value["of"] = json!("pooling");
        report.add(value)?;
    }
    Ok(report.finish(format!("\n{}", baselines.closing())))
}

fn runs(args: &Args, size: Size) -> usize {
    let runs = args.runs as usize;
    if size.0[0] < LONG.0 { runs } else { runs.min(LONG.1) }
}

/// Prints and records our measurements.
fn report_case(
    args: &Args,
    size: Size,
    kind: Kind,
    measured: Measured,
    roofline: &Roofline,
    report: &mut Report,
) -> Result<Case> {
    let (bytes, bound) = (ours::bytes(size.0, kind), ours::bound(kind));
    // NaN is too far, too.
    let far = measured.deviation.is_nan() || measured.deviation > bound;
    let mut indices = [0; 2];
    for (i, what) in WHAT.into_iter().enumerate() {
        let (seconds, call) = (measured.kernels[i], measured.calls[i]);
        let share = bytes[i] / seconds / roofline.bandwidth;
        report.print(format!(
            "{what:<21} {:<5} {:8.3} ms   {:7.1} MB   {:6.0} GB/s, {:.0} % of the copy   call {:.3} ms",
            kind_name(kind),
            1e3 * seconds,
            1e-6 * bytes[i],
            1e-9 * bytes[i] / seconds,
            100.0 * share,
            1e3 * call,
        ));
        indices[i] = report.add(json!({"what": what, "kind": kind_name(kind), "size": size.0,
            "bytes": bytes[i], "seconds": seconds, "call_seconds": call, "floor":
            "its bytes at the copy's bandwidth", "floor_seconds": bytes[i] / roofline.bandwidth,
            "share_of_bandwidth": share, "off_from_float64": measured.deviation, "off_bound": bound,
            "far": far, "runs": runs(args, size), "peers": []}))?;
    }
    report.print(format!(
        "largest deviation from double precision, of output and gradients on new inputs: {:.1e}{}",
        measured.deviation,
        if far { format!(", more than {bound:.1e}") } else { String::new() },
    ));
    if far {
        report.problem(format!(
            "fo-pooling of {:?} in {}: the deviation from double precision is {:.1e}, more than {bound:.1e}",
            size.0,
            kind_name(kind),
            measured.deviation,
        ));
    }
    Ok(Case { size, kind, measured, indices })
}

/// Measures the baselines and ours on one case, interleaved. `published` stores the seconds of the
/// published design by shape: it has fp32 only, and our bf16 is compared with it, too.
fn interleave(
    args: &Args,
    device: Device,
    case: &Case,
    baselines: &mut Baselines,
    published: &mut BTreeMap<[i64; 3], [f64; 2]>,
    report: &mut Report,
) -> Result<()> {
    let (size, kind) = (case.size.0, case.kind);
    // Concurrently, because this compiles kernels.
    baselines.live.iter_mut().for_each(|baseline| baseline.prepare(size, kind));
    let mut variants: BTreeMap<&str, Vec<Variant>> = BTreeMap::new();
    baselines.each(|baseline| {
        variants.insert(baseline.name, baseline.prepared()?);
        Ok(())
    });
    let per_round = runs(args, case.size).div_ceil(ROUNDS);
    let mut interleaved: [Vec<f64>; 2] = Default::default();
    let mut theirs: BTreeMap<(&str, String), [Vec<f64>; 2]> = BTreeMap::new();
    let failed = |report: &mut Report, error: Error| {
        let fields = json!({"what": "interleaved", "of": "pooling", "size": size,
            "kind": kind_name(kind)});
        report.failed("fo-pooling interleaved with the baselines", fields, &error)
    };
    let ours = match Ours::new(size, device, kind) {
        Ok(ours) => ours,
        Err(error) => return failed(report, error),
    };
    for round in 0..ROUNDS {
        let warm_up = if round == 0 { WARM_UP as usize } else { 1 };
        let [forward, both] = match ours.calls((warm_up, per_round)) {
            Ok(calls) => calls,
            Err(error) => return failed(report, error),
        };
        interleaved[0].extend(forward);
        interleaved[1].extend(both);
        baselines.each(|baseline| {
            for times in baseline.pool(per_round)? {
                let [forward, both] = times.seconds;
                let all = theirs.entry((baseline.name, times.variant)).or_default();
                all[0].extend(forward);
                all[1].extend(both);
            }
            Ok(())
        });
    }
    let interleaved = interleaved.map(median);
    for (i, what) in WHAT.into_iter().enumerate() {
        let first = case.measured.calls[i];
        report.add(json!({"what": "interleaved", "of": what, "kind": kind_name(kind),
            "size": size, "seconds": interleaved[i], "first_pass_seconds": first,
            "times_the_first_pass": interleaved[i] / first}))?;
        report.amend(case.indices[i], "interleaved_call_seconds", json!(interleaved[i]));
    }
    report.print(format!(
        "\n{size:?} in {}, interleaved: ours forward {:.3} ms ({:.3} alone), forward and backward {:.3} ms \
         ({:.3} alone)",
        kind_name(kind),
        1e3 * interleaved[0],
        1e3 * case.measured.calls[0],
        1e3 * interleaved[1],
        1e3 * case.measured.calls[1],
    ));
    for baseline in &baselines.live {
        for variant in variants.get(baseline.name).into_iter().flatten() {
            let comparison = Comparison {
                case,
                interleaved,
                version: &baseline.version,
                baseline: baseline.name,
            };
            match (&variant.deviation, theirs.get(&(baseline.name, variant.name.clone()))) {
                (Ok(deviation), Some(seconds)) => {
                    comparison.report(variant, *deviation, seconds, report)?;
                    if baseline.name == "published" {
                        published.insert(size, seconds.clone().map(median));
                    }
                }
                (Err(reason), _) => comparison.report_failure(variant, reason, report)?,
                _ => (),
            }
        }
    }
    let Some(seconds) = published.get(&size) else { return Ok(()) };
    for i in 0..WHAT.len() {
        let fields = [
            ("against", json!("the published design, fp32")),
            ("written_by", json!(WRITTEN_BY)),
            ("against_seconds", json!(seconds[i])),
            ("ratio", json!(seconds[i] / interleaved[i])),
        ];
        fields.into_iter().for_each(|(name, value)| report.amend(case.indices[i], name, value));
    }
    if kind == Kind::BFloat16 {
        report.print(format!(
            "{:<44} forward {:.2} times ours, forward and backward {:.2} times",
            "the published design in fp32",
            seconds[0] / interleaved[0],
            seconds[1] / interleaved[1],
        ));
    }
    Ok(())
}

/// Compares a variant of a baseline with ours.
struct Comparison<'a> {
    case: &'a Case,
    /// Our seconds in the interleaved runs.
    interleaved: [f64; 2],
    baseline: &'a str,
    version: &'a str,
}

impl Comparison<'_> {
    fn fields(&self, variant: &Variant) -> Value {
        json!({"peer": self.baseline, "variant": variant.name, "against": variant.label, "by":
            self.version})
    }

    fn report(
        &self,
        variant: &Variant,
        deviation: f64,
        seconds: &[Vec<f64>; 2],
        report: &mut Report,
    ) -> Result<()> {
        let medians = [0, 1].map(|i| median(seconds[i].clone()));
        let ratios = [0, 1].map(|i| medians[i] / self.interleaved[i]);
        report.print(format!(
            "{:<44} forward {:.3} ms, {:.2} times ours; forward and backward {:.3} ms, {:.2} times; deviation \
             from double precision {deviation:.1e}",
            variant.label,
            1e3 * medians[0],
            ratios[0],
            1e3 * medians[1],
            ratios[1],
        ));
        for (i, what) in WHAT.into_iter().enumerate() {
            let mut value = self.fields(variant);
            value["seconds"] = json!(medians[i]);
            value["middle_half"] = json!(quartiles(seconds[i].clone()));
            value["ratio"] = json!(ratios[i]);
            value["off_from_float64"] = json!(deviation);
            value["runs"] = json!(seconds[i].len());
            report.append(self.case.indices[i], "peers", value.clone());
            self.add(value, what, report)?;
        }
        Ok(())
    }

    fn report_failure(&self, variant: &Variant, reason: &str, report: &mut Report) -> Result<()> {
        report.print(format!("{:<44} left out: {reason}", variant.label));
        let mut value = self.fields(variant);
        value["failed"] = json!(reason);
        self.case.indices.iter().for_each(|index| report.append(*index, "peers", value.clone()));
        self.add(value, "pooling", report)
    }

    fn add(&self, mut value: Value, of: &str, report: &mut Report) -> Result<()> {
        value["what"] = json!("peer");
        value["of"] = json!(of);
        value["kind"] = json!(kind_name(self.case.kind));
        value["size"] = json!(self.case.size.0);
        report.add(value).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::device::parsed;
    use super::*;

    #[test]
    fn defaults_on_a_gpu_are_those_of_the_entry() {
        let sizes = |words: &[&str]| {
            let args: Args = parsed(words);
            args.sizes().iter().map(|size| size.0).collect::<Vec<_>>()
        };
        let entry = vec![[300, 40, 1800], [140, 60, 1800], [16_384, 1, 1800]];
        assert_eq!(sizes(&["--device", "cuda"]), entry);
        assert_eq!(sizes(&["--device", "cuda", "--hidden", "7"]), [[300, 40, 7]]);
        assert_eq!(sizes(&["--device", "cuda", "--cases", "2x3x4,5x6x7"]), [[2, 3, 4], [5, 6, 7]]);
        assert_eq!(sizes(&[]), [[140, 20, 1024]]);
    }
}
