//! A shape and kind of fo-pooling: times of kernels and calls, and deviation from double precision.

use qrnn::Result;
use qrnn_ops::cuda::Clock;
use qrnn_ops::profile::{self, Stage};
use tch::{Device, Kind, Tensor};

use super::args::{Args, Size};
use super::implementations::{Operation, backward, ours};
use crate::baselines::pooling::kind_name;
use crate::roofline::{run_ahead, time};
use crate::statistics::median;

/// Names of the measurements.
pub const WHAT: [&str; 2] = ["forward", "forward and backward"];

/// Runs before the measurement.
pub const WARM_UP: usize = 3;

/// Sets of inputs, used alternately so that inputs are not in the cache.
const SETS: usize = 2;

/// Sequence length from which a case is long (tens of milliseconds), and its number of runs.
const LONG: (i64, usize) = (4096, 40);

#[derive(Clone, Copy)]
pub struct Case {
    pub size: Size,
    pub kind: Kind,
    device: Device,
    pub runs: usize,
}

/// Measurements of our implementation.
pub struct Measured {
    /// Seconds of the kernels: a forward without gradients, and a forward with a backward.
    pub kernels: [f64; 2],
    /// Seconds of the calls around them.
    pub calls: [f64; 2],
    /// The largest deviation of output and gradients from double precision.
    pub deviation: f64,
}

/// A case whose measurements are in the report.
pub struct Ours {
    pub case: Case,
    pub measured: Measured,
    /// Indices of the [`WHAT`] measurements.
    pub indices: [usize; 2],
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "fo-pooling of {:?} in {}", self.size, kind_name(self.kind))
    }
}

impl Case {
    pub fn new(args: &Args, size: Size, kind: Kind, device: Device) -> Self {
        let runs = args.runs as usize;
        let runs = if size[0] < LONG.0 { runs } else { runs.min(LONG.1) };
        Self { size, kind, device, runs }
    }

    /// The accepted deviation from double precision, ‖ours - exact‖ / ‖exact‖.
    pub fn bound(&self) -> f64 {
        if self.kind == Kind::BFloat16 { 1e-2 } else { 1e-5 }
    }

    /// Bytes of a forward without gradients, and of a forward with a backward (the table in
    /// kernels/README.md).
    pub fn bytes(&self) -> [f64; 2] {
        let [seq, batch, hidden] = self.size;
        let row = (batch * hidden) as f64;
        let pass = seq as f64 * row * self.kind.elt_size_in_bytes() as f64;
        // A GPU saves every fourth state, the CPU all of them.
        let saved = if self.device.is_cuda() { (seq as u64).div_ceil(4) } else { seq as u64 };
        [4.0 * pass, (4.0 + 7.0) * pass + 2.0 * saved as f64 * row * 4.0]
    }

    pub fn inputs(&self) -> Result<Inputs> {
        let sets = (0..SETS).map(|_| self.random()).collect::<Result<Vec<_>>>()?;
        let gradient = Tensor::f_randn(self.size, (self.kind, self.device))?;
        Ok(Inputs { device: self.device, clock: Clock::of(self.device)?, sets, gradient })
    }

    /// Measures the deviation of our implementation, then its kernels and calls.
    pub fn measure(&self) -> Result<Measured> {
        let deviation = self.deviation()?;
        let inputs = self.inputs()?;
        let runs = (WARM_UP, self.runs);
        let profiled = |seconds: &dyn Fn() -> Result<Vec<f64>>| {
            run_ahead(self.device)?;
            profile::start(self.device)?;
            let seconds = seconds();
            Ok::<_, qrnn::Error>((median(seconds?), profile::stop()?))
        };
        let kernel = |profile: &profile::Profile, stage| {
            let spans = profile.spans.iter().filter(|(other, _)| *other == stage);
            median(spans.skip(WARM_UP).map(|(_, seconds)| *seconds).collect())
        };
        let (forward, profile) = profiled(&|| inputs.forward(ours, runs))?;
        let forward_kernel = kernel(&profile, Stage::PoolingForward);
        let (both, profile) = profiled(&|| inputs.both(ours, runs))?;
        let both_kernels =
            kernel(&profile, Stage::PoolingForward) + kernel(&profile, Stage::PoolingBackward);
        Ok(Measured { kernels: [forward_kernel, both_kernels], calls: [forward, both], deviation })
    }

    /// Random gates (a leaf) and initial state.
    fn random(&self) -> Result<(Tensor, Tensor)> {
        let [seq, batch, hidden] = self.size;
        let gates = Tensor::f_randn([seq, batch, 3 * hidden], (self.kind, self.device))?;
        let initial_state = Tensor::f_randn([batch, hidden], (Kind::Float, self.device))?;
        Ok((gates.f_set_requires_grad(true)?, initial_state))
    }

    /// The largest deviation of output and gradients from the CPU's in double precision, on new inputs.
    fn deviation(&self) -> Result<f64> {
        let (gates, initial_state) = self.random()?;
        let weights = Tensor::f_randn(self.size, (self.kind, self.device))?;
        let results =
            |gates: &Tensor, initial_state: &Tensor, weights: &Tensor| -> Result<Vec<Tensor>> {
                let leaf = |tensor: &Tensor| tensor.f_detach_copy()?.f_set_requires_grad(true);
                let (gates, initial_state) = (leaf(gates)?, leaf(initial_state)?);
                let output = ours(&gates, &initial_state)?;
                let score = output.f_mul(weights)?.f_sum(initial_state.kind())?;
                let mut all =
                    Tensor::f_run_backward(&[&score], &[&gates, &initial_state], false, false)?;
                all.push(output.f_detach()?);
                Ok(all)
            };
        let exact = |tensor: &Tensor| tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double);
        let ours = results(&gates, &initial_state, &weights)?;
        let expected = results(&exact(&gates)?, &exact(&initial_state)?, &exact(&weights)?)?;
        let mut largest = 0.0f64;
        for (a, b) in ours.iter().zip(&expected) {
            let deviation =
                exact(a)?.f_sub(b)?.f_norm()?.f_div(&b.f_norm()?)?.f_double_value(&[])?;
            // `max` would ignore a NaN.
            if deviation.is_nan() {
                return Ok(f64::NAN);
            }
            largest = largest.max(deviation);
        }
        Ok(largest)
    }
}

/// The inputs of a case.
pub struct Inputs {
    device: Device,
    clock: Clock,
    /// Gates (a leaf) and initial state.
    sets: Vec<(Tensor, Tensor)>,
    /// The gradient of the output.
    gradient: Tensor,
}

impl Inputs {
    /// Seconds of each call by the device's clock: forward, and forward with backward.
    pub fn calls(&self, operation: Operation, runs: (usize, usize)) -> Result<[Vec<f64>; 2]> {
        run_ahead(self.device)?;
        let forward = self.forward(operation, runs)?;
        run_ahead(self.device)?;
        Ok([forward, self.both(operation, runs)?])
    }

    fn forward(&self, operation: Operation, runs: (usize, usize)) -> Result<Vec<f64>> {
        time(&self.clock, runs, |run| {
            let (gates, initial_state) = &self.sets[run % SETS];
            operation(&gates.f_detach()?, initial_state).map(drop)
        })
    }

    fn both(&self, operation: Operation, runs: (usize, usize)) -> Result<Vec<f64>> {
        time(&self.clock, runs, |run| {
            let (gates, initial_state) = &self.sets[run % SETS];
            backward(&operation(gates, initial_state)?, &self.gradient, gates)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of kernels/README.md at 3.0 TB/s.
    #[test]
    fn the_bytes_of_the_entry_equal_the_table_of_the_kernels() {
        let case =
            Case { size: [300, 40, 1800], kind: Kind::Float, device: Device::Cuda(0), runs: 1 };
        let milliseconds = |bytes: f64| (1e3 * bytes / 3.0e12 * 1e3).round() / 1e3;
        let [forward, both] = case.bytes();
        assert_eq!(milliseconds(forward), 0.115);
        let saved_states = 2.0 * 75.0 * 72_000.0 * 4.0;
        assert_eq!(both, 11.0 * 86.4e6 + saved_states);
        let rounded = Case { kind: Kind::BFloat16, ..case };
        assert_eq!(rounded.bytes(), [forward / 2.0, 11.0 * 43.2e6 + saved_states]);
        let on_cpu = Case { device: Device::Cpu, ..case };
        assert_eq!(on_cpu.bytes(), [forward, 13.0 * 86.4e6]);
    }
}
