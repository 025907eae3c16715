//! Our implementation on a GPU: times of kernels and calls, and deviation from double precision.

use qrnn::Result;
use qrnn_ops::cuda::Clock;
use qrnn_ops::fo_pool::{FoPoolOptions, fo_pool};
use qrnn_ops::{autograd, profile};
use tch::{Device, Kind, Tensor};

use super::args::WARM_UP;
use super::gradient::FixedGradient;
use crate::roofline::{run_ahead, time};
use crate::statistics::median;

/// Sets of inputs, used alternately so that inputs are not in the cache.
const SETS: usize = 2;

/// The accepted deviation from double precision, ‖ours - exact‖ / ‖exact‖.
pub fn bound(kind: Kind) -> f64 {
    if kind == Kind::BFloat16 { 1e-2 } else { 1e-5 }
}

/// The measurements of a case.
pub struct Measured {
    /// Seconds of the kernels: a forward without gradients, and a forward with a backward.
    pub kernels: [f64; 2],
    /// Seconds of the calls around them.
    pub calls: [f64; 2],
    /// The largest deviation of output and gradients from double precision.
    pub deviation: f64,
}

/// The inputs of a case.
pub struct Ours {
    device: Device,
    clock: Clock,
    /// Gates (a leaf) and initial state.
    sets: Vec<(Tensor, Tensor)>,
    /// The gradient of the output.
    gradient: Tensor,
}

/// Bytes of a forward without gradients, and of a forward with a backward (the table in kernels/README.md).
pub fn bytes([seq, batch, hidden]: [i64; 3], kind: Kind) -> [f64; 2] {
    let row = (batch * hidden) as f64;
    let pass = seq as f64 * row * kind.elt_size_in_bytes() as f64;
    let saved_states = (seq as u64).div_ceil(8) as f64 * row * 4.0;
    [4.0 * pass, (4.0 + 7.0) * pass + 2.0 * saved_states]
}

impl Ours {
    /// # Errors
    /// [`qrnn::Error::Ops`] if memory runs out.
    pub fn new(size: [i64; 3], device: Device, kind: Kind) -> Result<Self> {
        let sets = (0..SETS).map(|_| inputs(size, (kind, device)));
        let sets = sets.collect::<Result<Vec<_>>>()?;
        let gradient = Tensor::f_randn(size, (kind, device))?;
        Ok(Self { device, clock: Clock::of(device)?, sets, gradient })
    }

    /// Seconds of each call by the device's clock: forward, and forward with backward.
    ///
    /// # Errors
    /// Returns the errors of pooling.
    pub fn calls(&self, runs: (usize, usize)) -> Result<[Vec<f64>; 2]> {
        run_ahead(self.device)?;
        let forward = self.forward(runs)?;
        run_ahead(self.device)?;
        Ok([forward, self.both(runs)?])
    }

    /// Measures the deviation, then kernels and calls.
    ///
    /// # Errors
    /// Returns the errors of pooling.
    pub fn measure(&self, size: [i64; 3], kind: Kind, runs: usize) -> Result<Measured> {
        let deviation = deviation(size, self.device, kind)?;
        let runs = (WARM_UP as usize, runs);
        run_ahead(self.device)?;
        profile::start_on(self.device)?;
        let forward = self.forward(runs);
        let forward_profile = profile::stop()?;
        run_ahead(self.device)?;
        profile::start_on(self.device)?;
        let both = self.both(runs);
        let both_profile = profile::stop()?;
        let kernel = |profile: &profile::Profile, name| {
            let spans = profile.spans.iter().filter(|(other, _)| *other == name);
            median(spans.skip(runs.0).map(|(_, seconds)| *seconds).collect())
        };
        let both_kernels =
            kernel(&both_profile, "pooling forward") + kernel(&both_profile, "pooling backward");
        let kernels = [kernel(&forward_profile, "pooling forward"), both_kernels];
        Ok(Measured { kernels, calls: [median(forward?), median(both?)], deviation })
    }

    fn forward(&self, runs: (usize, usize)) -> Result<Vec<f64>> {
        time(&self.clock, runs, |run| {
            let (gates, initial_state) = &self.sets[run % SETS];
            fo_pool(&gates.f_detach()?, initial_state, FoPoolOptions::default()).map(drop)?;
            Ok(())
        })
    }

    fn both(&self, runs: (usize, usize)) -> Result<Vec<f64>> {
        time(&self.clock, runs, |run| {
            let (gates, initial_state) = &self.sets[run % SETS];
            let output = fo_pool(gates, initial_state, FoPoolOptions::default())?.output;
            let gradient = FixedGradient(self.gradient.shallow_clone());
            let loss = autograd::apply(gradient, &[&output])?;
            Tensor::f_run_backward(&[&loss[0]], &[gates], false, false)?;
            Ok(())
        })
    }
}

/// Random gates (a leaf) and initial state.
fn inputs([seq, batch, hidden]: [i64; 3], options: (Kind, Device)) -> Result<(Tensor, Tensor)> {
    let gates = Tensor::f_randn([seq, batch, 3 * hidden], options)?;
    let initial_state = Tensor::f_randn([batch, hidden], (Kind::Float, options.1))?;
    Ok((gates.f_set_requires_grad(true)?, initial_state))
}

/// The largest deviation of output and gradients from the CPU's in double precision, on new inputs.
fn deviation(size: [i64; 3], device: Device, kind: Kind) -> Result<f64> {
    let (gates, initial_state) = inputs(size, (kind, device))?;
    let weights = Tensor::f_randn(size, (kind, device))?;
    let results =
        |gates: &Tensor, initial_state: &Tensor, weights: &Tensor| -> Result<[Tensor; 3]> {
            let leaf = |tensor: &Tensor| tensor.f_detach_copy()?.f_set_requires_grad(true);
            let (gates, initial_state) = (leaf(gates)?, leaf(initial_state)?);
            let output = fo_pool(&gates, &initial_state, FoPoolOptions::default())?.output;
            let score = output.f_mul(weights)?.f_sum(initial_state.kind())?;
            let mut grads =
                Tensor::f_run_backward(&[&score], &[&gates, &initial_state], false, false)?;
            let grad_state = grads.pop().unwrap_or_else(Tensor::new);
            let grad_gates = grads.pop().unwrap_or_else(Tensor::new);
            Ok([output.f_detach()?, grad_gates, grad_state])
        };
    let exact = |tensor: &Tensor| tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double);
    let ours = results(&gates, &initial_state, &weights)?;
    let expected = results(&exact(&gates)?, &exact(&initial_state)?, &exact(&weights)?)?;
    let mut largest = 0.0f64;
    for (a, b) in ours.iter().zip(&expected) {
        let deviation = exact(a)?.f_sub(b)?.f_norm()?.f_div(&b.f_norm()?)?.f_double_value(&[])?;
        // `max` would ignore a NaN.
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

    /// The table of kernels/README.md at 3.0 TB/s.
    #[test]
    fn the_bytes_of_the_entry_equal_the_table_of_the_kernels() {
        let size = [300, 40, 1800];
        let milliseconds = |bytes: f64| (1e3 * bytes / 3.0e12 * 1e3).round() / 1e3;
        let [forward, both] = bytes(size, Kind::Float);
        assert_eq!(milliseconds(forward), 0.115);
        let saved_states = 2.0 * 38.0 * 72_000.0 * 4.0;
        assert_eq!(both, 11.0 * 86.4e6 + saved_states);
        assert_eq!(bytes(size, Kind::BFloat16), [forward / 2.0, 11.0 * 43.2e6 + saved_states]);
    }
}
