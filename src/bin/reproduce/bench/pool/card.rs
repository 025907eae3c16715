//! `reproduce bench pool` on a card: the kernels against the copy bandwidth, the whole call against
//! the published design's.

use qrnn::cuda::Clock;
use qrnn::pool::{Zoneout, fo_pool};
use qrnn::{Error, Result, profile};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::super::ceilings::{Ceilings, run_ahead, time};
use super::super::{median, peers};
use super::{Args, WARM_UP};
use crate::output::Output;

/// Sets of inputs in turns, so that none is in the cache when it is read.
const SETS: usize = 2;

/// How far results may be from those in double precision, as ‖ours - exact‖ / ‖exact‖.
fn bound(kind: Kind) -> f64 {
    if kind == Kind::BFloat16 { 1e-2 } else { 1e-5 }
}

/// What one kind of numbers came to.
struct Measured {
    kind: Kind,
    /// Seconds of the kernels: a forward without gradients, and a forward with a backward.
    kernels: [f64; 2],
    /// Seconds of the calls around them.
    calls: [f64; 2],
    /// The furthest result or gradient from double precision.
    off: f64,
}

pub fn run(args: &Args, device: Device) -> Result<Output> {
    let size = [args.seq, args.batch, args.hidden];
    eprintln!("the device's ceilings ...");
    let ceilings = Ceilings::measure(device, &[])?;
    let mut text = format!(
        "fo-pooling of (seq, batch, hidden) {size:?} on {}\nmedians of {} runs, two sets of inputs in \
         turns, by the device's clock",
        ceilings.text()?,
        args.runs
    );
    let mut measurements = ceilings.measurements();
    eprintln!("the published design in PyTorch ...");
    let peer = peers::pool(&args.python, device, size, (WARM_UP + args.runs) as usize)?;
    let peer = peer.map(|(seconds, version)| {
        let counted = |all: Vec<f64>| median(all[WARM_UP as usize..].to_vec());
        (seconds.map(counted), version)
    });
    for kind in [Kind::Float, Kind::BFloat16] {
        eprintln!("ours, {kind:?} ...");
        let measured = measure(args, device, kind)?;
        let bytes = bytes(size, kind);
        for (i, what) in ["forward", "forward and backward"].into_iter().enumerate() {
            let (seconds, call) = (measured.kernels[i], measured.calls[i]);
            let share = bytes[i] / seconds / ceilings.bandwidth;
            text += &format!(
                "\n{what:<21} {:<5} {:8.3} ms   {:7.1} MB   {:6.0} GB/s, {:.0} % of the copy's   the call \
                 {:.3} ms",
                name(measured.kind),
                1e3 * seconds,
                1e-6 * bytes[i],
                1e-9 * bytes[i] / seconds,
                100.0 * share,
                1e3 * call,
            );
            let mut value = json!({"what": what, "kind": name(kind), "size": size,
                "bytes": bytes[i], "seconds": seconds, "call_seconds": call, "floor":
                "its bytes at the copy's bandwidth", "floor_seconds": bytes[i] / ceilings.bandwidth,
                "share_of_bandwidth": share, "off_from_float64": measured.off, "runs": args.runs});
            if let Some((theirs, version)) = &peer {
                text += &format!("   the published design {:.2} times as long", theirs[i] / call);
                value["against"] = json!(format!("the published design, fp32, {version}"));
                value["written_by"] = json!(peers::WRITTEN_BY);
                value["against_seconds"] = json!(theirs[i]);
                value["ratio"] = json!(theirs[i] / call);
            }
            measurements.push(value);
        }
        text += &format!(
            "\nfrom double precision, outputs and gradients on fresh inputs: at most {:.1e}",
            measured.off
        );
    }
    text += &match &peer {
        Some(([forward, both], version)) => format!(
            "\nthe published design ({}), {version}: forward {:.3} ms, forward and backward {:.3} ms",
            peers::WRITTEN_BY,
            1e3 * forward,
            1e3 * both
        ),
        None => format!("\nno PyTorch to measure against: {} has no torch (--python)", args.python),
    };
    Ok(Output::done(text, json!({"bench": "pool", "measurements": measurements})))
}

fn name(kind: Kind) -> &'static str {
    if kind == Kind::BFloat16 { "bf16" } else { "f32" }
}

/// Bytes of a forward without gradients, and of a forward with a backward: the table in
/// kernels/README.md.
fn bytes([seq, batch, hidden]: [i64; 3], kind: Kind) -> [f64; 2] {
    let columns = (batch * hidden) as f64;
    let pass = seq as f64 * columns * kind.elt_size_in_bytes() as f64;
    let kept = (seq as u64).div_ceil(8) as f64 * columns * 4.0;
    [4.0 * pass, (4.0 + 7.0) * pass + 2.0 * kept]
}

fn measure(args: &Args, device: Device, kind: Kind) -> Result<Measured> {
    let off = off(args, device, kind)?;
    if off.is_nan() || off > bound(kind) {
        return Err(Error::Cuda {
            what: format!("fo-pooling in {}", name(kind)),
            problem: format!(
                "it is {off:.1e} from double precision, and may be {:.1e}",
                bound(kind)
            ),
            remedy: "report this with the card's name".into(),
        });
    }
    let clock = Clock::of(device)?;
    let (seq, batch, hidden) = (args.seq, args.batch, args.hidden);
    let sets = (0..SETS).map(|_| inputs([seq, batch, hidden], (kind, device)));
    let sets = sets.collect::<Result<Vec<_>>>()?;
    let runs = (WARM_UP as usize, args.runs as usize);
    run_ahead(device)?;
    profile::start_on(device)?;
    let forward = time(&clock, runs, |run| {
        let (gates, before) = &sets[run % SETS];
        fo_pool(&gates.f_detach()?, before, Zoneout::Off).map(drop)
    });
    let alone = profile::stop()?;
    run_ahead(device)?;
    profile::start_on(device)?;
    let both = time(&clock, runs, |run| {
        let (gates, before) = &sets[run % SETS];
        let sum = fo_pool(gates, before, Zoneout::Off)?.output.f_sum(Kind::Float)?;
        Tensor::f_run_backward(&[&sum], &[gates], false, false)?;
        Ok(())
    });
    let trained = profile::stop()?;
    let kernel = |profile: &profile::Profile, name| {
        let spans = profile.spans.iter().filter(|(other, _)| *other == name);
        median(spans.skip(runs.0).map(|(_, seconds)| *seconds).collect())
    };
    let forward_kernel = kernel(&alone, "pooling forward");
    let both_kernels = kernel(&trained, "pooling forward") + kernel(&trained, "pooling backward");
    let calls = [median(forward?), median(both?)];
    Ok(Measured { kind, kernels: [forward_kernel, both_kernels], calls, off })
}

/// Gates, a leaf, and a state.
fn inputs([seq, batch, hidden]: [i64; 3], options: (Kind, Device)) -> Result<(Tensor, Tensor)> {
    let gates = Tensor::f_randn([seq, batch, 3 * hidden], options)?;
    let before = Tensor::f_randn([batch, hidden], (Kind::Float, options.1))?;
    Ok((gates.f_set_requires_grad(true)?, before))
}

/// The furthest of output and gradients from the CPU's in double precision, on fresh inputs.
fn off(args: &Args, device: Device, kind: Kind) -> Result<f64> {
    let size = [args.seq, args.batch, args.hidden];
    let (gates, before) = inputs(size, (kind, device))?;
    let weights = Tensor::f_randn(size, (kind, device))?;
    let results = |gates: &Tensor, before: &Tensor, weights: &Tensor| -> Result<[Tensor; 3]> {
        let leaf = |tensor: &Tensor| tensor.f_detach_copy()?.f_set_requires_grad(true);
        let (gates, before) = (leaf(gates)?, leaf(before)?);
        let output = fo_pool(&gates, &before, Zoneout::Off)?.output;
        let score = output.f_mul(weights)?.f_sum(before.kind())?;
        let mut grads = Tensor::f_run_backward(&[&score], &[&gates, &before], false, false)?;
        let of_before = grads.pop().unwrap_or_else(Tensor::new);
        let of_gates = grads.pop().unwrap_or_else(Tensor::new);
        Ok([output.f_detach()?, of_gates, of_before])
    };
    let exact = |tensor: &Tensor| tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double);
    let ours = results(&gates, &before, &weights)?;
    let theirs = results(&exact(&gates)?, &exact(&before)?, &exact(&weights)?)?;
    let mut furthest = 0.0f64;
    for (a, b) in ours.iter().zip(&theirs) {
        let off = exact(a)?.f_sub(b)?.f_norm()?.f_div(&b.f_norm()?)?.f_double_value(&[])?;
        // NaN is further than anything.
        furthest = if off.is_nan() { f64::NAN } else { furthest.max(off) };
    }
    Ok(furthest)
}

#[cfg(test)]
mod tests {
    use super::super::super::device::parsed;
    use super::*;

    #[test]
    fn what_is_left_out_is_the_entrys_on_a_card() {
        let size = |words: &[&str]| {
            let args: Args = parsed(words);
            [args.seq, args.batch, args.hidden]
        };
        assert_eq!(size(&["--device", "cuda"]), [300, 40, 1800]);
        assert_eq!(size(&["--device", "cuda", "--hidden", "7"]), [300, 40, 7]);
        assert_eq!(size(&[]), [140, 20, 1024]);
    }

    /// The figures of kernels/README.md at 3.0 TB/s.
    #[test]
    fn the_entrys_bytes_are_those_of_the_kernels_table() {
        let size = [300, 40, 1800];
        let milliseconds = |bytes: f64| (1e3 * bytes / 3.0e12 * 1e3).round() / 1e3;
        let [forward, both] = bytes(size, Kind::Float);
        assert_eq!(milliseconds(forward), 0.115);
        let kept = 2.0 * 38.0 * 72_000.0 * 4.0;
        assert_eq!(both, 11.0 * 86.4e6 + kept);
        assert_eq!(bytes(size, Kind::BFloat16), [forward / 2.0, 11.0 * 43.2e6 + kept]);
    }
}
