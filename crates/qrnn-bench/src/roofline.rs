//! Limits of a device, measured in the same run: bandwidth of a copy, and rate of a large matrix
//! product in each precision.

use std::collections::HashMap;
use std::num::NonZero;
use std::thread;

use qrnn::{Result, terminal};
use qrnn_ops::cuda::Clock;
use qrnn_ops::matmul::Addend;
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::precision::PrecisionChoice;
use crate::report::{Report, merged};
use crate::statistics::median;

/// Runs before the measurement: libraries load, clocks rise.
const WARM_UP: usize = 5;

/// Measured runs.
const RUNS: usize = 20;

/// Sets of operands, used alternately so that they are not in the cache.
const SETS: usize = 2;

/// Limits of a device.
pub struct Roofline {
    /// Bytes per second, read and written.
    pub bandwidth: f64,
    /// Floating-point operations per second, by the name of the precision.
    rates: HashMap<&'static str, f64>,
}

/// Seconds of each of `runs` runs by the device's clock, after `warm_up` runs. `work` gets the
/// index of the run. Does not synchronize between runs.
pub fn time(
    clock: &Clock,
    (warm_up, runs): (usize, usize),
    mut work: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<f64>> {
    let mut spans = vec![];
    for run in 0..warm_up + runs {
        let start = clock.record()?;
        work(run)?;
        spans.push((start, clock.record()?));
    }
    spans.iter().skip(warm_up).map(|(start, end)| Ok(end.since(start)?)).collect()
}

/// Keeps a GPU busy, so that the work submitted next is queued and timed without the host's overhead.
pub fn run_ahead(device: Device) -> Result<()> {
    if device.is_cuda() {
        let matrix = Tensor::f_randn([8192, 8192], (Kind::Float, device))?;
        let out = matrix.f_empty_like()?;
        for _ in 0..2 {
            PrecisionChoice::Fp32.precision().multiply(&out, &matrix, &matrix, Addend::Nothing)?;
        }
    }
    Ok(())
}

impl Roofline {
    /// Measures and reports the limits. A product that fails is reported, and has no rate.
    pub fn measure(
        device: Device,
        formats: &[PrecisionChoice],
        report: &mut Report,
    ) -> Result<Self> {
        terminal::note("measuring the device's limits ...");
        report.print(crate::device::name(device)?);
        let clock = Clock::of(device)?;
        let (bytes, seconds) = copy(device, &clock)?;
        let bandwidth = bytes / seconds;
        report.print(format!(
            "copy of {:.2} GB: {:.0} GB/s read and written",
            bytes / 2e9,
            1e-9 * bandwidth
        ));
        report.add(json!({"what": "copy", "bytes": bytes, "seconds": seconds,
            "bytes_per_second": bandwidth, "runs": RUNS}))?;
        let size = if device.is_cuda() { 8192 } else { 1024 };
        let operations = 2.0 * (size as f64).powi(3);
        let mut rates = HashMap::new();
        for &format in formats {
            let name = format.name();
            let value = json!({"what": "matrix product", "size": size, "format": name});
            match product(device, &clock, format, size) {
                Ok(seconds) => {
                    let rate = operations / seconds;
                    rates.insert(name, rate);
                    report.print(format!(
                        "matrix product of {size} × {size} in {name}: {:.3} TFLOP/s",
                        1e-12 * rate
                    ));
                    let times = json!({"operations": operations, "seconds": seconds,
                        "operations_per_second": rate, "runs": RUNS});
                    report.add(merged(value, times))?;
                }
                Err(error) => {
                    report.failed(&format!("the matrix product in {name}"), value, &error)?;
                }
            }
        }
        Ok(Self { bandwidth, rates })
    }

    /// Floating-point operations per second in this precision; NaN if it was not measured, or failed.
    pub fn rate(&self, format: PrecisionChoice) -> f64 {
        self.rates.get(format.name()).copied().unwrap_or(f64::NAN)
    }
}

/// Bytes read and written by a copy of an array larger than the caches, and its seconds.
fn copy(device: Device, clock: &Clock) -> Result<(f64, f64)> {
    let numel: usize = if device.is_cuda() { 1 << 28 } else { 1 << 26 };
    let seconds = if device.is_cuda() {
        let array = || Tensor::f_randn([numel as i64], (Kind::Float, device));
        let pairs = (0..SETS).map(|_| Ok((array()?, array()?))).collect::<Result<Vec<_>>>()?;
        time(clock, (WARM_UP, RUNS), |run| {
            let (to, from) = &pairs[run % SETS];
            Ok(to.shallow_clone().f_copy_(from)?)
        })?
    } else {
        // torch's copy reads each line of the destination before it writes it; memcpy of large blocks
        // does not.
        let threads = usize::try_from(tch::get_num_threads()).ok().and_then(NonZero::new);
        let block = numel.div_ceil(threads.map_or(1, NonZero::get));
        let (mut to, from) = (vec![0.0f32; numel], vec![1.0f32; numel]);
        time(clock, (WARM_UP, RUNS), |_| {
            thread::scope(|scope| {
                for (to, from) in to.chunks_mut(block).zip(from.chunks(block)) {
                    scope.spawn(|| to.copy_from_slice(from));
                }
            });
            Ok(())
        })?
    };
    Ok((2.0 * 4.0 * numel as f64, median(seconds)))
}

/// Seconds of a product of square matrices.
fn product(device: Device, clock: &Clock, format: PrecisionChoice, size: i64) -> Result<f64> {
    let precision = format.precision();
    let kind = precision.activation_kind((Kind::Float, device));
    let matrix = || Tensor::f_randn([size, size], (kind, device));
    let sets = (0..SETS).map(|_| Ok([matrix()?, matrix()?])).collect::<Result<Vec<_>>>()?;
    let out = matrix()?;
    let seconds = time(clock, (WARM_UP, RUNS), |run| {
        let [a, b] = &sets[run % SETS];
        Ok(precision.multiply(&out, a, b, Addend::Nothing)?)
    })?;
    Ok(median(seconds))
}
