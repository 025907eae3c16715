//! Ours on a GPU: its kernels, the calls around them, and how far both are from double precision.

use qrnn::Result;
use qrnn_ops::cuda::Clock;
use qrnn_ops::fo_pool::{FoPoolOptions, fo_pool};
use qrnn_ops::{autograd, profile};
use tch::{Device, Kind, Tensor};

use super::args::WARM_UP;
use super::gradient::FixedGradient;
use crate::roofline::{run_ahead, time};
use crate::statistics::median;

/// Sets of inputs in turns, so that none is in the cache when it is read.
const SETS: usize = 2;

/// How far results may be from those in double precision, as ‖ours - exact‖ / ‖exact‖.
pub fn bound(kind: Kind) -> f64 {
    if kind == Kind::BFloat16 { 1e-2 } else { 1e-5 }
}

/// What one case came to.
pub struct Measured {
    /// Seconds of the kernels: a forward without gradients, and a forward with a backward.
    pub kernels: [f64; 2],
    /// Seconds of the calls around them.
    pub calls: [f64; 2],
    /// The furthest result or gradient from double precision.
    pub deviation: f64,
}

/// The inputs of a case.
pub struct Ours {
    device: Device,
    clock: Clock,
    /// Gates, a leaf, and a state.
    sets: Vec<(Tensor, Tensor)>,
    /// What reaches the output.
    gradient: Tensor,
}

/// Bytes of a forward without gradients, and of a forward with a backward: the table in
/// kernels/README.md.
pub fn bytes([seq, batch, hidden]: [i64; 3], kind: Kind) -> [f64; 2] {
    let columns = (batch * hidden) as f64;
    let pass = seq as f64 * columns * kind.elt_size_in_bytes() as f64;
    let kept = (seq as u64).div_ceil(8) as f64 * columns * 4.0;
    [4.0 * pass, (4.0 + 7.0) * pass + 2.0 * kept]
}

impl Ours {
    /// # Errors
    /// [`qrnn::Error::Ops`] where memory runs out.
    pub fn new(size: [i64; 3], device: Device, kind: Kind) -> Result<Self> {
        let sets = (0..SETS).map(|_| inputs(size, (kind, device)));
        let sets = sets.collect::<Result<Vec<_>>>()?;
        let gradient = Tensor::f_randn(size, (kind, device))?;
        Ok(Self { device, clock: Clock::of(device)?, sets, gradient })
    }

    /// Seconds of each call by the device's clock: forward, and forward and backward.
    ///
    /// # Errors
    /// Those of the pooling.
    pub fn calls(&self, runs: (usize, usize)) -> Result<[Vec<f64>; 2]> {
        run_ahead(self.device)?;
        let forward = self.forward(runs)?;
        run_ahead(self.device)?;
        Ok([forward, self.both(runs)?])
    }

    /// Kernels and calls; double precision is asked first.
    ///
    /// # Errors
    /// Those of the pooling.
    pub fn measure(&self, size: [i64; 3], kind: Kind, runs: usize) -> Result<Measured> {
        let deviation = deviation(size, self.device, kind)?;
        let runs = (WARM_UP as usize, runs);
        run_ahead(self.device)?;
        profile::start_on(self.device)?;
        let forward = self.forward(runs);
        let alone = profile::stop()?;
        run_ahead(self.device)?;
        profile::start_on(self.device)?;
        let both = self.both(runs);
        let trained = profile::stop()?;
        let kernel = |profile: &profile::Profile, name| {
            let spans = profile.spans.iter().filter(|(other, _)| *other == name);
            median(spans.skip(runs.0).map(|(_, seconds)| *seconds).collect())
        };
        let both_kernels =
            kernel(&trained, "pooling forward") + kernel(&trained, "pooling backward");
        let kernels = [kernel(&alone, "pooling forward"), both_kernels];
        Ok(Measured { kernels, calls: [median(forward?), median(both?)], deviation })
    }

    fn forward(&self, runs: (usize, usize)) -> Result<Vec<f64>> {
        time(&self.clock, runs, |run| {
            let (gates, before) = &self.sets[run % SETS];
            fo_pool(&gates.f_detach()?, before, FoPoolOptions::default()).map(drop)?;
            Ok(())
        })
    }

    fn both(&self, runs: (usize, usize)) -> Result<Vec<f64>> {
        time(&self.clock, runs, |run| {
            let (gates, before) = &self.sets[run % SETS];
            let output = fo_pool(gates, before, FoPoolOptions::default())?.output;
            let given = FixedGradient(self.gradient.shallow_clone());
            let loss = autograd::apply(given, &[&output])?;
            Tensor::f_run_backward(&[&loss[0]], &[gates], false, false)?;
            Ok(())
        })
    }
}

/// Gates, a leaf, and a state.
fn inputs([seq, batch, hidden]: [i64; 3], options: (Kind, Device)) -> Result<(Tensor, Tensor)> {
    let gates = Tensor::f_randn([seq, batch, 3 * hidden], options)?;
    let before = Tensor::f_randn([batch, hidden], (Kind::Float, options.1))?;
    Ok((gates.f_set_requires_grad(true)?, before))
}

/// The furthest of output and gradients from the CPU's in double precision, on fresh inputs.
fn deviation(size: [i64; 3], device: Device, kind: Kind) -> Result<f64> {
    let (gates, before) = inputs(size, (kind, device))?;
    let weights = Tensor::f_randn(size, (kind, device))?;
    let results = |gates: &Tensor, before: &Tensor, weights: &Tensor| -> Result<[Tensor; 3]> {
        let leaf = |tensor: &Tensor| tensor.f_detach_copy()?.f_set_requires_grad(true);
        let (gates, before) = (leaf(gates)?, leaf(before)?);
        let output = fo_pool(&gates, &before, FoPoolOptions::default())?.output;
        let score = output.f_mul(weights)?.f_sum(before.kind())?;
        let mut grads = Tensor::f_run_backward(&[&score], &[&gates, &before], false, false)?;
        let of_before = grads.pop().unwrap_or_else(Tensor::new);
        let of_gates = grads.pop().unwrap_or_else(Tensor::new);
        Ok([output.f_detach()?, of_gates, of_before])
    };
    let exact = |tensor: &Tensor| tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double);
    let ours = results(&gates, &before, &weights)?;
    let theirs = results(&exact(&gates)?, &exact(&before)?, &exact(&weights)?)?;
    let mut largest = 0.0f64;
    for (a, b) in ours.iter().zip(&theirs) {
        let deviation = exact(a)?.f_sub(b)?.f_norm()?.f_div(&b.f_norm()?)?.f_double_value(&[])?;
        // NaN is further than anything.
        if deviation.is_nan() {
            return Ok(f64::NAN);
        }
        largest = largest.max(deviation);
    }
    Ok(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

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
