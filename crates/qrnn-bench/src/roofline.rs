//! Limits of a device, measured in the same run: bandwidth of a copy, and rate of a large matrix
//! product in each precision.

use std::fmt::Write as _;

use qrnn::Result;
use qrnn_ops::cuda::Clock;
use qrnn_ops::matmul::Addend;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::precision::PrecisionChoice;
use crate::report::Report;
use crate::statistics::median;

/// Runs before the measurement: libraries load, clocks rise.
const WARM_UP: usize = 5;

/// Measured runs.
const RUNS: usize = 20;

/// Sets of tensors, used alternately so that inputs are not in the cache.
const SETS: usize = 2;

/// Limits of a device.
pub struct Roofline {
    device: Device,
    /// Bytes read and written by the copy.
    bytes: f64,
    /// Rows and columns of the matrices.
    side: i64,
    /// Bytes per second, read and written.
    pub bandwidth: f64,
    /// Floating-point operations per second, by precision.
    rates: Vec<(PrecisionChoice, Result<f64>)>,
}

/// Seconds of each of `runs` runs by the device's clock, after `warm_up` runs. `work` gets the
/// index of the run. Does not synchronize between runs.
///
/// # Errors
/// Returns the errors of `work` and of the clock.
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
///
/// # Errors
/// [`qrnn::Error::Ops`] if memory runs out.
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
    /// Measures the limits on random tensors.
    ///
    /// # Errors
    /// [`qrnn::Error::Ops`] if memory runs out or the GPU fails.
    pub fn measure(device: Device, formats: &[PrecisionChoice]) -> Result<Self> {
        let clock = Clock::of(device)?;
        // Larger than the caches; smaller on the CPU to save time.
        let (numel, side) = if device.is_cuda() { (1 << 28, 8192) } else { (1 << 23, 512) };
        let random = |size: &[i64], kind| Tensor::f_randn(size, (kind, device));
        let pairs = (0..SETS)
            .map(|_| Ok((random(&[numel], Kind::Float)?, random(&[numel], Kind::Float)?)))
            .collect::<Result<Vec<_>>>()?;
        let seconds = time(&clock, (WARM_UP, RUNS), |run| {
            let (to, from) = &pairs[run % SETS];
            Ok(to.shallow_clone().f_copy_(from)?)
        })?;
        drop(pairs);
        let bytes = 2.0 * 4.0 * numel as f64;
        let bandwidth = bytes / median(seconds);
        let rate = |format: PrecisionChoice| -> Result<f64> {
            let precision = format.precision();
            let kind = precision.activation_kind((Kind::Float, device));
            let sets = (0..SETS)
                .map(|_| Ok([random(&[side, side], kind)?, random(&[side, side], kind)?]))
                .collect::<Result<Vec<_>>>()?;
            let out = random(&[side, side], kind)?;
            let seconds = time(&clock, (WARM_UP, RUNS), |run| {
                let [a, b] = &sets[run % SETS];
                Ok(precision.multiply(&out, a, b, Addend::Nothing)?)
            })?;
            Ok(2.0 * (side as f64).powi(3) / median(seconds))
        };
        let rates = formats.iter().map(|&format| (format, rate(format))).collect();
        Ok(Self { device, bytes, side, bandwidth, rates })
    }

    /// Floating-point operations per second in this precision; NaN if it was not measured, or failed.
    pub fn rate(&self, format: PrecisionChoice) -> f64 {
        let rate = self.rates.iter().find(|(other, _)| *other == format);
        rate.and_then(|(_, rate)| rate.as_ref().ok()).copied().unwrap_or(f64::NAN)
    }

    /// Prints and records the limits.
    ///
    /// # Errors
    /// Returns the errors of the report.
    pub fn report(&self, report: &mut Report) -> Result<()> {
        report.print(self.text()?);
        for measurement in self.measurements() {
            report.add(measurement)?;
        }
        for (format, rate) in &self.rates {
            if let Err(error) = rate {
                let fields = json!({"what": "matrix product", "size": self.side,
                    "format": format.name()});
                report.failed(
                    &format!("the matrix product in {}", format.name()),
                    fields,
                    error,
                )?;
            }
        }
        Ok(())
    }

    /// The limits as text.
    ///
    /// # Errors
    /// [`qrnn::Error::Unavailable`] if the GPU is no longer available.
    fn text(&self) -> Result<String> {
        let mut text = format!(
            "{}\ncopy of {:.2} GB: {:.0} GB/s read and written",
            super::device::name(self.device)?,
            self.bytes / 2e9,
            1e-9 * self.bandwidth,
        );
        for (format, rate) in &self.rates {
            let Ok(rate) = rate else { continue };
            let (name, side, rate) = (format.name(), self.side, 1e-12 * rate);
            let _ =
                write!(text, "\nmatrix product of {side} × {side} in {name}: {rate:.1} TFLOP/s");
        }
        Ok(text)
    }

    /// One measurement per limit.
    fn measurements(&self) -> Vec<Value> {
        let mut all = vec![json!({"what": "copy", "bytes": self.bytes, "seconds":
            self.bytes / self.bandwidth, "bytes_per_second": self.bandwidth, "runs": RUNS})];
        let operations = 2.0 * (self.side as f64).powi(3);
        all.extend(self.rates.iter().filter_map(|(format, rate)| {
            let rate = rate.as_ref().ok()?;
            Some(json!({"what": "matrix product", "size": self.side, "format": format.name(),
                "operations": operations, "seconds": operations / rate,
                "operations_per_second": rate, "runs": RUNS}))
        }));
        all
    }
}
