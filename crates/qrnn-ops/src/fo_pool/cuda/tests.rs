use proptest::prelude::*;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::pool::{Gradients, Outputs, STEPS, backward, fo_pool, forward};
use super::shape::BLOCK;
use super::touched::{Guarded, check_once, check_written};
use crate::autograd::{self, Backward, Forward, Function};
use crate::cuda::Launch;
use crate::cuda::headers::COLUMN;
use crate::cuda::host_shim::{Access, HostShim};
use crate::fo_pool::options::{FoPoolOptions, Pooled, Zoneout};
use crate::{Result, fo_pool as on_cpu};

pub(super) const CPU: Device = Device::Cpu;

/// Where the kernels run: by the host shim, or on the first card.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Place {
    Host,
    Cuda,
}

impl Place {
    pub(in super::super) fn device(self) -> Device {
        match self {
            Place::Host => CPU,
            // All that is missing is said, in place of a libtorch that falls back to the CPU.
            Place::Cuda => crate::device::cuda().unwrap(),
        }
    }

    pub(in super::super) fn launcher(self) -> Arc<dyn Launch> {
        match self {
            Place::Host => HostShim::get().unwrap(),
            Place::Cuda => crate::cuda::CudaDevice::of(0).unwrap(),
        }
    }

    /// The output without what is behind its rows, of which the backward must read nothing.
    fn fo_pool(self, gates: &Tensor, before: &Tensor, options: FoPoolOptions, gap: i64) -> Pooled {
        let hidden = before.size()[1];
        let pooled = fo_pool(self.launcher(), gates, before, options, hidden + gap).unwrap();
        let behind = pooled.output.narrow(2, hidden, gap).detach().to_kind(Kind::Float);
        let expected = Tensor::arange(gap, (Kind::Float, behind.device())).eq(0.0);
        assert!(behind.eq_tensor(&expected.to_kind(Kind::Float)).all().int64_value(&[]) == 1);
        let output = autograd::apply(NoNumbersBehind { hidden }, &[&pooled.output]).unwrap();
        Pooled { output: output[0].shallow_clone(), state: pooled.state }
    }
}

/// The first features of each row; the gradient has NaN behind them.
struct NoNumbersBehind {
    hidden: i64,
}

impl Function for NoNumbersBehind {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let features = inputs[0].f_narrow(2, 0, self.hidden)?.f_detach_copy()?;
        Ok(Forward { outputs: vec![features], saved: vec![inputs[0].shallow_clone()] })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let Some(grad) = &call.grads[0] else { return Ok(vec![None]) };
        let all = call.saved[0].f_full_like(f64::NAN)?;
        all.f_narrow(2, 0, self.hidden)?.f_copy_(grad)?;
        Ok(vec![Some(all)])
    }
}

/// Lengths that are less than, equal to and more than one and two strides of the kernels, and odd
/// ones; widths of less than a block, of one, and of several.
pub(super) fn shapes() -> impl Strategy<Value = Shape> {
    let seq = prop_oneof![1..40i64, Just(8), Just(16), Just(24)];
    (seq, 1..5i64, prop_oneof![1..40i64, Just(64), 60..70i64, 120..131i64])
}

/// What a call may be given beside gates and state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub kind: Kind,
    zoneout: usize,
    dropout: bool,
    /// Numbers between one row of the gates and the next.
    gap: i64,
    /// Numbers between one row of the output and the next.
    out_gap: i64,
    /// Whether a gradient reaches the output, and the last state.
    scored: (bool, bool),
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

/// Random numbers that `kind` holds exactly.
pub(super) fn random(size: &[i64], kind: Kind) -> Tensor {
    Tensor::randn(size, (Kind::Float, CPU)).to_kind(kind)
}

fn mask(size: &[i64], p: f64, kept: f64, kind: Kind) -> Tensor {
    (Tensor::rand(size, (Kind::Float, CPU)).gt(p).to_kind(Kind::Float) * kept).to_kind(kind)
}

fn moved(options: &FoPoolOptions, device: Device, kind: Kind) -> FoPoolOptions {
    let to = |mask: &Tensor| mask.to_device(device).to_kind(kind);
    let zoneout = match &options.zoneout {
        Zoneout::Off => Zoneout::Off,
        Zoneout::Scaled(keep) => Zoneout::Scaled(*keep),
        Zoneout::Masked(mask) => Zoneout::Masked(to(mask)),
    };
    FoPoolOptions { zoneout, dropout: options.dropout.as_ref().map(to) }
}

fn options(case: Case, (seq, batch, hidden): Shape) -> FoPoolOptions {
    let zoneout = match case.zoneout {
        0 => Zoneout::Off,
        1 => Zoneout::Scaled(0.75),
        _ => Zoneout::Masked(mask(&[seq, batch, hidden], 0.3, 1.0, case.kind)),
    };
    let dropout = case.dropout.then(|| mask(&[1, batch, hidden], 0.2, 1.25, case.kind));
    FoPoolOptions { zoneout, dropout }
}

/// Outputs and gradients of a call, in double precision.
fn results(
    pooled: &Pooled,
    weights: &[Tensor; 2],
    scored: (bool, bool),
    leaves: &[&Tensor],
) -> Vec<Tensor> {
    let device = pooled.output.device();
    let mut score = Tensor::zeros([], (Kind::Double, device));
    for (output, weights, counts) in
        [(&pooled.output, &weights[0], scored.0), (&pooled.state, &weights[1], scored.1)]
    {
        if counts {
            let weights = weights.to_device(device).to_kind(output.kind());
            score += (output * weights).to_kind(Kind::Double).sum(None);
        }
    }
    score.backward();
    let mut all = vec![pooled.output.detach(), pooled.state.detach()];
    all.extend(leaves.iter().map(|leaf| leaf.grad()));
    all.iter().map(|tensor| tensor.to_device(CPU).to_kind(Kind::Double)).collect()
}

/// The largest of |a - b| / (absolute + relative |b|): at most 1 where they agree, else more or NaN.
pub(super) fn disagreement(a: &Tensor, b: &Tensor, (absolute, relative): (f64, f64)) -> f64 {
    assert_eq!(a.size(), b.size());
    ((a - b).abs() / (b.abs() * relative + absolute)).max().double_value(&[])
}

/// bfloat16 rounds to within 2⁻⁸; a tenth of that is left for what is computed in float.
pub(super) fn tolerance(kind: Kind) -> (f64, f64) {
    if kind == Kind::BFloat16 { (2e-5, 1.1 / 256.0) } else { (1e-5, 1e-5) }
}

pub(super) fn leaf(tensor: &Tensor, device: Device, kind: Kind) -> Tensor {
    tensor.to_device(device).to_kind(kind).copy().set_requires_grad(true)
}

pub(super) type Shape = (i64, i64, i64);
pub(super) type Checked = std::result::Result<(), TestCaseError>;

/// The kernels against the CPU's own kernel in double precision and in float.
fn check_fo_pool(place: Place, shape: Shape, case: Case) -> Checked {
    let (seq, batch, hidden) = shape;
    let gates = (random(&[seq, batch, 3 * hidden], Kind::Float) * 2.0).to_kind(case.kind);
    let before = random(&[batch, hidden], Kind::Float);
    let given = options(case, shape);
    let weights = [random(&[seq, batch, hidden], case.kind), random(&[batch, hidden], Kind::Float)];

    let device = place.device();
    let g = Guarded::in_rows(&gates, 3 * hidden + case.gap, device).inside().detach();
    let (g, b) = (g.set_requires_grad(true), leaf(&before, device, Kind::Float));
    let ours = place.fo_pool(&g, &b, moved(&given, device, case.kind), case.out_gap);
    prop_assert_eq!((ours.output.kind(), ours.state.kind()), (case.kind, Kind::Float));
    let ours = results(&ours, &weights, case.scored, &[&g, &b]);
    for kind in [Kind::Double, Kind::Float] {
        let (g, b) = (leaf(&gates, CPU, kind), leaf(&before, CPU, kind));
        let FoPoolOptions { zoneout, dropout } = moved(&given, CPU, kind);
        let theirs = on_cpu::fo_pool(&g, &b, FoPoolOptions { zoneout, dropout }).unwrap();
        let theirs = results(&theirs, &weights, case.scored, &[&g, &b]);
        for (name, (a, b)) in
            ["output", "state", "d gates", "d before"].iter().zip(ours.iter().zip(&theirs))
        {
            let off = disagreement(a, b, tolerance(case.kind));
            prop_assert!(off <= 1.0, "{name} against {kind:?}: {off}");
        }
    }
    Ok(())
}

/// Kernels read all of their inputs and write all of their outputs, each place once, and nothing
/// beside them, where NaN lies.
fn check_places(place: Place, (seq, batch, hidden): Shape, case: Case) -> Checked {
    let (launcher, device) = (place.launcher(), place.device());
    let float = Kind::Float;
    let given_to = |tensor: &Tensor| Guarded::of(tensor, device);
    let poisoned = |size: &[i64], kind| Guarded::poisoned(size, kind, device);
    let row = 3 * hidden + case.gap;
    let gates = random(&[seq, batch, 3 * hidden], case.kind);
    let gates = Guarded::in_rows(&gates, row, device);
    let before = given_to(&random(&[batch, hidden], float));
    let mut given = moved(&options(case, (seq, batch, hidden)), device, case.kind);
    // Gates and masks: what both directions read.
    let mut read = vec![gates.inside()];
    if let Zoneout::Masked(mask) = &given.zoneout {
        read.push(given_to(mask).inside());
        given.zoneout = Zoneout::Masked(read[1].shallow_clone());
    }
    read.extend(given.dropout.as_ref().map(Tensor::shallow_clone));
    let out_row = hidden + case.out_gap;
    let out = poisoned(&[seq, batch, out_row], case.kind);
    let last = poisoned(&[batch, hidden], float);
    let kept = poisoned(&[(seq + STEPS - 1) / STEPS, batch, hidden], float);
    let tensors = (out.inside(), last.inside(), kept.inside());
    for keep in [false, true] {
        let outputs =
            Outputs { out: &tensors.0, last: &tensors.1, kept: keep.then_some(&tensors.2) };
        // SAFETY: contiguous tensors of the device, of the kinds and shapes that are asked for.
        unsafe { forward(&*launcher, (&gates.inside(), row), &before.inside(), &given, &outputs) }
            .unwrap();
        check_written(place, &[&out, &last, &kept][..2 + usize::from(keep)])?;
        check_once(place, Access::Read, read.iter().chain([&before.inside()]))?;
    }
    // The kernel reads nothing behind the features, and counts on nothing there.
    let grad_out = Guarded::poisoned(&[seq, batch, out_row], case.kind, device);
    let grad_features = grad_out.inside().narrow(2, 0, hidden);
    grad_features.shallow_clone().copy_(&random(&[seq, batch, hidden], case.kind));
    let grad_last = given_to(&random(&[batch, hidden], float)).inside();
    let size = [seq, batch, 3 * hidden];
    let grad_gates = Guarded::poisoned_in_rows(&size, row, (case.kind, device));
    let grad_before = poisoned(&[batch, hidden], float);
    let (gates_at, before_at) = (grad_gates.inside(), grad_before.inside());
    let grads = Gradients {
        kept: &tensors.2,
        out: &grad_out.inside(),
        last: case.scored.1.then_some(&grad_last),
        gates: &gates_at,
        before: &before_at,
    };
    // SAFETY: as above.
    unsafe { backward(&*launcher, (&gates.inside(), row), &given, &grads) }.unwrap();
    check_written(place, &[&grad_gates, &grad_before])?;
    check_once(
        place,
        Access::Read,
        read.iter().chain([grads.kept, &grad_features]).chain(grads.last),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn the_kernels_equal_the_cpu(shape in shapes(), case in cases()) {
        check_fo_pool(Place::Host, shape, case)?;
    }

    #[test]
    fn every_place_is_touched_once_and_none_beside(shape in shapes(), case in cases()) {
        check_places(Place::Host, shape, case)?;
    }

    #[test]
    #[ignore = "wants a GPU"]
    fn on_a_card_the_kernels_equal_the_cpu(shape in shapes(), case in cases()) {
        check_fo_pool(Place::Cuda, shape, case)?;
    }

    #[test]
    #[ignore = "wants a GPU"]
    fn on_a_card_every_place_is_written_and_none_beside(shape in shapes(), case in cases()) {
        check_places(Place::Cuda, shape, case)?;
    }
}

#[test]
#[ignore = "wants a GPU"]
fn on_a_card_the_entrys_shapes_equal_the_cpu() {
    for shape in [(300, 40, 1800), (300, 40, 300), (1, 1, 1)] {
        for kind in [Kind::Float, Kind::BFloat16] {
            let case =
                Case { kind, zoneout: 0, dropout: true, gap: 4, out_gap: 8, scored: (true, true) };
            check_fo_pool(Place::Cuda, shape, case).unwrap();
        }
    }
}

/// Gates of 2.7 GB, so that no place may be counted in 31 bits of bytes: half of the columns alone
/// give what all of them together give, to the bit.
#[test]
#[ignore = "wants a GPU"]
fn on_a_card_large_tensors_are_walked_to_their_end() {
    let (seq, batch, hidden) = (1100, 200, 1024);
    let device = Place::Cuda.device();
    let gates = Tensor::randn([seq, batch, 3 * hidden], (Kind::Float, device));
    let before = Tensor::zeros([batch, hidden], (Kind::Float, device));
    let run = |first: i64, n: i64| {
        let gates = gates.narrow(1, first, n).contiguous().set_requires_grad(true);
        let pooled =
            on_cpu::fo_pool(&gates, &before.narrow(0, first, n), FoPoolOptions::default()).unwrap();
        pooled.output.sum(Kind::Float).backward();
        (pooled.output.detach(), gates.grad())
    };
    let whole = run(0, batch);
    for (first, n) in [(0, 7), (batch - 7, 7)] {
        let tile = run(first, n);
        assert!(whole.0.narrow(1, first, n) == tile.0 && whole.1.narrow(1, first, n) == tile.1);
    }
}

/// Gates of which a time step is 2²⁸ numbers: eight of them are more than an int counts to.
#[test]
#[ignore = "wants a GPU"]
fn on_a_card_eight_steps_may_be_more_numbers_than_an_int_counts() {
    let (seq, batch, hidden) = (17, 1 << 14, 5462);
    let device = Place::Cuda.device();
    assert!(batch * 3 * hidden > 1 << 28);
    let gates = Tensor::rand([seq, batch, 3 * hidden], (Kind::BFloat16, device));
    let before = Tensor::zeros([batch, hidden], (Kind::Float, device));
    let run = |first: i64, n: i64| {
        let gates = gates.narrow(1, first, n).contiguous().set_requires_grad(true);
        let pooled =
            on_cpu::fo_pool(&gates, &before.narrow(0, first, n), FoPoolOptions::default()).unwrap();
        let score = pooled.output.sum(Kind::Float);
        let grads = Tensor::run_backward(&[&score], &[&gates], false, false);
        (pooled.output.detach(), grads[0].shallow_clone())
    };
    let whole = run(0, batch);
    for first in [0, batch - 2] {
        let tile = run(first, 2);
        assert!(whole.0.narrow(1, first, 2) == tile.0 && whole.1.narrow(1, first, 2) == tile.1);
    }
}

#[test]
fn saturated_gates_and_nan_behave_as_on_the_cpu() {
    let extremes = [0.0, 30.0, -30.0, 1e4, -1e4, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let rows: Vec<f32> = (0..3).flat_map(|_| extremes).collect();
    let gates = Tensor::from_slice(&rows).view([1, 1, 24]).repeat([3, 1, 1]);
    let before = Tensor::ones([1, 8], (Kind::Float, CPU));
    let given = || FoPoolOptions { zoneout: Zoneout::Off, dropout: None };
    let ours =
        fo_pool(HostShim::get().unwrap(), &gates, &before, given(), 8).unwrap().output.view(-1);
    let theirs =
        on_cpu::fo_pool(&gates, &before, FoPoolOptions::default()).unwrap().output.view(-1);
    for i in 0..24 {
        let (a, b) = (ours.double_value(&[i]), theirs.double_value(&[i]));
        assert!((a - b).abs() <= 1e-6 || (a.is_nan() && b.is_nan()), "place {i}: {a} and {b}");
    }
}

#[test]
fn nothing_is_kept_for_a_backward_that_cannot_come() {
    let (gates, before) = (random(&[20, 2, 9], Kind::Float), random(&[2, 3], Kind::Float));
    let given = FoPoolOptions { zoneout: Zoneout::Off, dropout: None };
    let pooled = fo_pool(HostShim::get().unwrap(), &gates, &before, given, 3).unwrap();
    assert!(!pooled.output.requires_grad());
    // The output and the last state, and no state in between.
    assert_eq!(HostShim::get().unwrap().places(Access::Written), 20 * 2 * 3 + 2 * 3);
}

#[test]
fn strided_tensors_and_masks_give_the_same_as_contiguous_ones() {
    let gates = Tensor::randn([4, 6, 17], (Kind::Float, CPU)).permute([2, 0, 1]); // (17, 4, 6)
    let before = Tensor::randn([2, 4], (Kind::Float, CPU)).tr();
    let zoneout = mask(&[4, 17, 2], 0.3, 1.0, Kind::Float).transpose(0, 1);
    let dropout = mask(&[2, 4], 0.3, 1.5, Kind::Float).tr();
    let run = |plain: bool| {
        let as_asked = |t: &Tensor| if plain { t.contiguous() } else { t.shallow_clone() };
        let given = FoPoolOptions {
            zoneout: Zoneout::Masked(as_asked(&zoneout)),
            dropout: Some(as_asked(&dropout)),
        };
        fo_pool(HostShim::get().unwrap(), &as_asked(&gates), &as_asked(&before), given, 2)
            .unwrap()
            .output
    };
    assert!(!gates.is_contiguous() && !zoneout.is_contiguous() && !dropout.is_contiguous());
    assert_eq!(run(false), run(true));
}

#[test]
fn the_launch_knows_the_kernels_constants() {
    for line in
        [format!("constexpr int BLOCK = {BLOCK};"), format!("constexpr int STEPS = {STEPS};")]
    {
        assert!(COLUMN.1.lines().any(|found| found == line), "{line}");
    }
}
