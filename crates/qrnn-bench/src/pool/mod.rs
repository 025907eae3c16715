//! fo-pooling: first our kernels, compared with the bandwidth of a copy; then our calls and those of other
//! implementations, interleaved.

mod args;
mod case;
mod comparison;
mod implementations;

pub use args::Args;
use qrnn::Result;
use qrnn::command_line::Output;
use qrnn::terminal;
use serde_json::json;
use tch::Kind;

use crate::baselines::Baselines;
use crate::baselines::pooling::{self, kind_name};
use crate::report::Report;
use crate::roofline::Roofline;
use case::{Case, Measured, Ours, WHAT};
use comparison::Comparison;

pub fn run(args: &Args, json: bool) -> Result<Output> {
    let device = args.device.device()?;
    qrnn_ops::libtorch::keep_freed_memory();
    let mut report = Report::new("pool", device, &args.record, json)?;
    let specs = pooling::specs(&args.peers, device);
    let mut baselines = Baselines::spawn(&args.baseline_flags, specs, device)?;
    let roofline = Roofline::measure(device, &[], &mut report)?;
    let mut all = vec![];
    for size in args.sizes() {
        let runs = Case::new(args, size, Kind::Float, device).runs;
        report.print(format!(
            "\nfo-pooling of (seq, batch, hidden) {size:?}; medians of {runs} runs on two alternating sets of \
             inputs, by the device's clock",
        ));
        for kind in [Kind::Float, Kind::BFloat16] {
            let case = Case::new(args, size, kind, device);
            terminal::note(format_args!("{case} ..."));
            match case.measure() {
                Ok(measured) => all.push(report_alone(case, measured, &roofline, &mut report)?),
                Err(error) => {
                    let fields = json!({"what": WHAT[0], "kind": kind_name(kind), "size": size});
                    report.failed(&case.to_string(), fields, &error)?;
                }
            }
        }
    }
    baselines.hello();
    let mut comparison = Comparison::new(device, &mut baselines);
    for ours in &all {
        if let Err(error) = comparison.interleave(ours, &mut report) {
            let fields = json!({"what": "interleaved", "of": "pooling", "size": ours.case.size,
                "kind": kind_name(ours.case.kind)});
            report.failed("fo-pooling interleaved with the baselines", fields, &error)?;
        }
    }
    let indices: Vec<usize> = all.iter().flat_map(|ours| ours.indices).collect();
    baselines.report_left_out("pooling", &indices, &mut report)?;
    Ok(report.finish(format!("\n{}", baselines.closing())))
}

/// Prints and records our measurements.
fn report_alone(
    case: Case,
    measured: Measured,
    roofline: &Roofline,
    report: &mut Report,
) -> Result<Ours> {
    let (bytes, bound, kind) = (case.bytes(), case.bound(), kind_name(case.kind));
    let deviation = measured.deviation;
    // NaN is too far, too.
    let far = deviation.is_nan() || deviation > bound;
    let mut indices = [0; 2];
    for (i, what) in WHAT.into_iter().enumerate() {
        let (seconds, call, bytes) = (measured.kernels[i], measured.calls[i], bytes[i]);
        let lower_bound = bytes / roofline.bandwidth;
        report.print(format!(
            "{what:<21} {kind:<5} {:8.3} ms   {:7.1} MB   {:6.0} GB/s, {:.0} % of the copy   call {:.3} ms",
            1e3 * seconds,
            1e-6 * bytes,
            1e-9 * bytes / seconds,
            100.0 * lower_bound / seconds,
            1e3 * call,
        ));
        indices[i] = report.add(json!({"what": what, "kind": kind, "size": case.size,
            "bytes": bytes, "seconds": seconds, "call_seconds": call,
            "floor": "its bytes at the copy's bandwidth", "floor_seconds": lower_bound,
            "times_the_floor": seconds / lower_bound,
            "share_of_bandwidth": lower_bound / seconds, "off_from_float64": deviation,
            "off_bound": bound, "far": far, "runs": case.runs, "peers": []}))?;
    }
    report.print(format!(
        "largest deviation from double precision, of output and gradients on new inputs: {deviation:.1e}{}",
        if far { format!(", more than {bound:.1e}") } else { String::new() },
    ));
    if far {
        report.problem(format!(
            "{case}: the deviation from double precision is {deviation:.1e}, more than {bound:.1e}"
        ));
    }
    Ok(Ours { case, measured, indices })
}
