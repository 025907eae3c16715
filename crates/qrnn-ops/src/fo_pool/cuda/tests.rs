use proptest::prelude::*;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::pool::{FO_POOL, GROUP, fo_pool};
use super::shape::BLOCK;
use super::touched::Guarded;
use crate::autograd::{self, Backward, Forward, Function};
use crate::cuda::Launch;
use crate::cuda::headers::COLUMN;
use crate::cuda::host_shim::{Access, HostShim, back_end};
use crate::fo_pool::options::{FoPoolOptions, Pooled, Zoneout};
use crate::{Result, fo_pool as on_cpu};

pub(super) const CPU: Device = Device::Cpu;

/// Runs the kernels: the host shim, or the first GPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum BackEnd {
    HostShim,
    Cuda,
}

impl BackEnd {
    pub(in super::super) fn device(self) -> Device {
        back_end(self == BackEnd::Cuda).1
    }

    pub(in super::super) fn launcher(self) -> Arc<dyn Launch> {
        back_end(self == BackEnd::Cuda).0
    }

    /// fo-pooling with `gap` elements after each output row, which are checked and removed. Their gradient
    /// is NaN, as the backward must not read it.
    fn fo_pool(
        self,
        gates: &Tensor,
        initial_state: &Tensor,
        options: FoPoolOptions,
        gap: i64,
    ) -> Pooled {
        let hidden = initial_state.size()[1];
        let pooled = fo_pool(self.launcher(), gates, initial_state, options, hidden + gap).unwrap();
        let padding = pooled.output.narrow(2, hidden, gap).detach().to_kind(Kind::Float);
        let expected = Tensor::arange(gap, (Kind::Float, padding.device())).eq(0.0);
        assert!(padding.eq_tensor(&expected.to_kind(Kind::Float)).all().int64_value(&[]) == 1);
        let output = autograd::apply(RemovePadding { hidden }, &[&pooled.output]).unwrap();
        Pooled { output: output[0].shallow_clone(), state: pooled.state }
    }
}

/// Narrows rows to their first `hidden` elements; the gradient is NaN after them.
struct RemovePadding {
    hidden: i64,
}

impl Function for RemovePadding {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let features = inputs[0].f_narrow(2, 0, self.hidden)?.f_detach_copy()?;
        Ok(Forward { outputs: vec![features], saved: vec![inputs[0].shallow_clone()] })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let Some(grad) = &call.grads[0] else { return Ok(vec![None]) };
        let full = call.saved[0].f_full_like(f64::NAN)?;
        full.f_narrow(2, 0, self.hidden)?.f_copy_(grad)?;
        Ok(vec![Some(full)])
    }
}

/// Sequence lengths around one and several multiples of 4 and 8; feature counts around one and several
/// blocks.
pub(super) fn shapes() -> impl Strategy<Value = Shape> {
    let seq = prop_oneof![1..40i64, Just(8), Just(16), Just(24)];
    (seq, 1..5i64, prop_oneof![1..40i64, Just(64), 60..70i64, 120..131i64])
}

/// Options of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub kind: Kind,
    zoneout: usize,
    dropout: bool,
    /// Padding of the gates' rows, in elements.
    pub gap: i64,
    /// Padding of the output's rows, in elements.
    pub out_gap: i64,
    /// Whether a gradient reaches the output, and the final state.
    pub scored: (bool, bool),
}

pub(super) fn cases() -> impl Strategy<Value = Case> {
    let kind = prop_oneof![Just(Kind::Float), Just(Kind::BFloat16)];
    let scored = prop_oneof![Just((true, true)), Just((true, false)), Just((false, true))];
    let gap = || prop_oneof![Just(0), 1..9i64];
    let case = (kind, 0..3usize, any::<bool>(), gap(), gap(), scored);
    case.prop_map(|(kind, zoneout, dropout, gap, out_gap, scored)| Case {
        kind,
        zoneout,
        dropout,
        gap,
        out_gap,
        scored,
    })
}

/// Random values of this kind, on the CPU.
pub(super) fn random(size: &[i64], kind: Kind) -> Tensor {
    Tensor::randn(size, (Kind::Float, CPU)).to_kind(kind)
}

fn mask(size: &[i64], p: f64, scale: f64, kind: Kind) -> Tensor {
    (Tensor::rand(size, (Kind::Float, CPU)).gt(p).to_kind(Kind::Float) * scale).to_kind(kind)
}

pub(super) fn convert(options: &FoPoolOptions, device: Device, kind: Kind) -> FoPoolOptions {
    let to = |mask: &Tensor| mask.to_device(device).to_kind(kind);
    let zoneout = match &options.zoneout {
        Zoneout::Off => Zoneout::Off,
        Zoneout::Scaled(scale) => Zoneout::Scaled(*scale),
        Zoneout::Masked(mask) => Zoneout::Masked(to(mask)),
    };
    FoPoolOptions { zoneout, dropout: options.dropout.as_ref().map(to) }
}

pub(super) fn options(case: Case, (seq, batch, hidden): Shape) -> FoPoolOptions {
    let zoneout = match case.zoneout {
        0 => Zoneout::Off,
        1 => Zoneout::Scaled(0.75),
        _ => Zoneout::Masked(mask(&[seq, batch, hidden], 0.3, 1.0, case.kind)),
    };
    let dropout = case.dropout.then(|| mask(&[1, batch, hidden], 0.2, 1.25, case.kind));
    FoPoolOptions { zoneout, dropout }
}

/// Outputs of a call and gradients of its leaves, in double precision.
fn results(
    pooled: &Pooled,
    weights: &[Tensor; 2],
    scored: (bool, bool),
    leaves: &[&Tensor],
) -> Vec<Tensor> {
    let device = pooled.output.device();
    let mut score = Tensor::zeros([], (Kind::Double, device));
    for (output, weights, is_scored) in
        [(&pooled.output, &weights[0], scored.0), (&pooled.state, &weights[1], scored.1)]
    {
        if is_scored {
            let weights = weights.to_device(device).to_kind(output.kind());
            score += (output * weights).to_kind(Kind::Double).sum(None);
        }
    }
    score.backward();
    let mut all = vec![pooled.output.detach(), pooled.state.detach()];
    all.extend(leaves.iter().map(|leaf| leaf.grad()));
    all.iter().map(|tensor| tensor.to_device(CPU).to_kind(Kind::Double)).collect()
}

/// The maximum of |a - b| / (absolute + relative |b|): at most 1 if they are close, otherwise more, or NaN.
pub(super) fn relative_error(a: &Tensor, b: &Tensor, (absolute, relative): (f64, f64)) -> f64 {
    assert_eq!(a.size(), b.size());
    ((a - b).abs() / (b.abs() * relative + absolute)).max().double_value(&[])
}

/// Absolute and relative. bfloat16 rounds to within 2⁻⁸; a tenth more is for Float arithmetic.
pub(super) fn tolerance(kind: Kind) -> (f64, f64) {
    if kind == Kind::BFloat16 { (2e-5, 1.1 / 256.0) } else { (1e-5, 1e-5) }
}

pub(super) fn leaf(tensor: &Tensor, device: Device, kind: Kind) -> Tensor {
    tensor.to_device(device).to_kind(kind).copy().set_requires_grad(true)
}

pub(super) type Shape = (i64, i64, i64);
pub(super) type Checked = std::result::Result<(), TestCaseError>;

/// Compares the kernels with the CPU kernel in double precision and in Float.
fn check_fo_pool(back_end: BackEnd, shape: Shape, case: Case) -> Checked {
    let (seq, batch, hidden) = shape;
    let gates = (random(&[seq, batch, 3 * hidden], Kind::Float) * 2.0).to_kind(case.kind);
    let initial_state = random(&[batch, hidden], Kind::Float);
    let options = options(case, shape);
    let weights = [random(&[seq, batch, hidden], case.kind), random(&[batch, hidden], Kind::Float)];

    let device = back_end.device();
    let g = padded(&gates, case.gap, device).inside().detach().set_requires_grad(true);
    let b = leaf(&initial_state, device, Kind::Float);
    let ours = back_end.fo_pool(&g, &b, convert(&options, device, case.kind), case.out_gap);
    prop_assert_eq!((ours.output.kind(), ours.state.kind()), (case.kind, Kind::Float));
    let mut ours = results(&ours, &weights, case.scored, &[&g, &b]);
    check_padding(&ours[2], 3 * hidden)?;
    ours[2] = ours[2].narrow(2, 0, 3 * hidden);
    for kind in [Kind::Double, Kind::Float] {
        let (g, b) = (leaf(&gates, CPU, kind), leaf(&initial_state, CPU, kind));
        let FoPoolOptions { zoneout, dropout } = convert(&options, CPU, kind);
        let reference = on_cpu::fo_pool(&g, &b, FoPoolOptions { zoneout, dropout }).unwrap();
        let reference = results(&reference, &weights, case.scored, &[&g, &b]);
        for (name, (a, b)) in ["output", "state", "d gates", "d initial_state"]
            .iter()
            .zip(ours.iter().zip(&reference))
        {
            let error = relative_error(a, b, tolerance(case.kind));
            prop_assert!(error <= 1.0, "{name} against {kind:?}: {error}");
        }
    }
    Ok(())
}

/// Gates with `gap` NaN after each row.
pub(super) fn padded(gates: &Tensor, gap: i64, device: Device) -> Guarded {
    let (seq, batch, width) = gates.size3().unwrap();
    let all = Guarded::poisoned(&[seq, batch, width + gap], gates.kind(), device);
    all.inside().narrow(2, 0, width).copy_(gates);
    all
}

/// Checks that zeros follow the first `width` elements of each row.
pub(super) fn check_padding(gates: &Tensor, width: i64) -> Checked {
    let padding = gates.narrow(2, width, gates.size()[2] - width);
    prop_assert_eq!(padding.eq(0.0).all().int64_value(&[]), 1, "{}", padding);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn the_kernels_equal_the_cpu(shape in shapes(), case in cases()) {
        check_fo_pool(BackEnd::HostShim, shape, case)?;
    }

    #[test]
    #[ignore = "needs a GPU"]
    fn on_a_gpu_the_kernels_equal_the_cpu(shape in shapes(), case in cases()) {
        check_fo_pool(BackEnd::Cuda, shape, case)?;
    }
}

#[test]
#[ignore = "needs a GPU"]
fn on_a_gpu_the_shapes_of_the_entry_equal_the_cpu() {
    for shape in [(300, 40, 1800), (300, 40, 300), (1, 1, 1)] {
        for kind in [Kind::Float, Kind::BFloat16] {
            let case =
                Case { kind, zoneout: 0, dropout: true, gap: 4, out_gap: 8, scored: (true, true) };
            check_fo_pool(BackEnd::Cuda, shape, case).unwrap();
        }
    }
}

/// Gates of 2.7 GB, whose byte offsets exceed 31 bits: some batch columns alone give the same bits as
/// all of them together.
#[test]
#[ignore = "needs a GPU"]
fn on_a_gpu_offsets_in_bytes_may_exceed_32_bits() {
    let (seq, batch, hidden) = (1100, 200, 1024);
    let device = BackEnd::Cuda.device();
    let gates = Tensor::randn([seq, batch, 3 * hidden], (Kind::Float, device));
    let initial_state = Tensor::zeros([batch, hidden], (Kind::Float, device));
    let run = |first: i64, n: i64| {
        let gates = gates.narrow(1, first, n).contiguous().set_requires_grad(true);
        let pooled =
            on_cpu::fo_pool(&gates, &initial_state.narrow(0, first, n), FoPoolOptions::default())
                .unwrap();
        pooled.output.sum(Kind::Float).backward();
        (pooled.output.detach(), gates.grad())
    };
    let whole = run(0, batch);
    for (first, n) in [(0, 7), (batch - 7, 7)] {
        let part = run(first, n);
        assert!(whole.0.narrow(1, first, n) == part.0 && whole.1.narrow(1, first, n) == part.1);
    }
}

/// Gates of 2²⁸ elements per time step: eight time steps exceed the range of an int.
#[test]
#[ignore = "needs a GPU"]
fn on_a_gpu_offsets_in_elements_may_exceed_31_bits() {
    let (seq, batch, hidden) = (17, 1 << 14, 5462);
    let device = BackEnd::Cuda.device();
    assert!(batch * 3 * hidden > 1 << 28);
    let gates = Tensor::rand([seq, batch, 3 * hidden], (Kind::BFloat16, device));
    let initial_state = Tensor::zeros([batch, hidden], (Kind::Float, device));
    let run = |first: i64, n: i64| {
        let gates = gates.narrow(1, first, n).contiguous().set_requires_grad(true);
        let pooled =
            on_cpu::fo_pool(&gates, &initial_state.narrow(0, first, n), FoPoolOptions::default())
                .unwrap();
        let score = pooled.output.sum(Kind::Float);
        let grads = Tensor::run_backward(&[&score], &[&gates], false, false);
        (pooled.output.detach(), grads[0].shallow_clone())
    };
    let whole = run(0, batch);
    for first in [0, batch - 2] {
        let part = run(first, 2);
        assert!(whole.0.narrow(1, first, 2) == part.0 && whole.1.narrow(1, first, 2) == part.1);
    }
}

#[test]
fn saturated_and_nan_gates_equal_the_cpu() {
    let extremes = [0.0, 30.0, -30.0, 1e4, -1e4, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let rows: Vec<f32> = (0..3).flat_map(|_| extremes).collect();
    let gates = Tensor::from_slice(&rows).view([1, 1, 24]).repeat([3, 1, 1]);
    let initial_state = Tensor::ones([1, 8], (Kind::Float, CPU));
    let options = || FoPoolOptions { zoneout: Zoneout::Off, dropout: None };
    let ours = fo_pool(HostShim::get().unwrap(), &gates, &initial_state, options(), 8)
        .unwrap()
        .output
        .view(-1);
    let reference =
        on_cpu::fo_pool(&gates, &initial_state, FoPoolOptions::default()).unwrap().output.view(-1);
    for i in 0..24 {
        let (a, b) = (ours.double_value(&[i]), reference.double_value(&[i]));
        assert!((a - b).abs() <= 1e-6 || (a.is_nan() && b.is_nan()), "element {i}: {a} and {b}");
    }
}

#[test]
fn no_state_is_saved_without_gradients() {
    let (gates, initial_state) = (random(&[20, 2, 9], Kind::Float), random(&[2, 3], Kind::Float));
    let options = FoPoolOptions { zoneout: Zoneout::Off, dropout: None };
    let pooled = fo_pool(HostShim::get().unwrap(), &gates, &initial_state, options, 3).unwrap();
    assert!(!pooled.output.requires_grad());
    // The output and the final state, but no states in between.
    assert_eq!(HostShim::get().unwrap().address_count(Access::Written), 20 * 2 * 3 + 2 * 3);
}

#[test]
fn strided_tensors_and_masks_equal_contiguous_ones() {
    let gates = Tensor::randn([4, 6, 17], (Kind::Float, CPU)).permute([2, 0, 1]); // (17, 4, 6)
    let initial_state = Tensor::randn([2, 4], (Kind::Float, CPU)).tr();
    let zoneout = mask(&[4, 17, 2], 0.3, 1.0, Kind::Float).transpose(0, 1);
    let dropout = mask(&[2, 4], 0.3, 1.5, Kind::Float).tr();
    let run = |contiguous: bool| {
        let layout = |t: &Tensor| if contiguous { t.contiguous() } else { t.shallow_clone() };
        let options = FoPoolOptions {
            zoneout: Zoneout::Masked(layout(&zoneout)),
            dropout: Some(layout(&dropout)),
        };
        fo_pool(HostShim::get().unwrap(), &layout(&gates), &layout(&initial_state), options, 2)
            .unwrap()
            .output
    };
    assert!(!gates.is_contiguous() && !zoneout.is_contiguous() && !dropout.is_contiguous());
    assert_eq!(run(false), run(true));
}

#[test]
fn constants_equal_those_of_the_kernels() {
    for (text, line) in [
        (COLUMN.1, format!("constexpr int BLOCK = {BLOCK};")),
        (FO_POOL.text, format!("constexpr int GROUP = {GROUP};")),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
}
