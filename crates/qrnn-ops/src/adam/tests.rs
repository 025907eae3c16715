use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

use super::step::{ADAM, BAD_GRADIENT, MAX_BLOCKS, Settings, adam_step};
use super::table::{Entries, MAX_TENSORS, THREADS, WIDE, entries};
use super::update::{AdamUpdate, CopyRounding};
use crate::Error;
use crate::cuda::host_shim::{Access, HostShim};
use crate::cuda::{Compiler, Launch, Target};
use crate::libtorch::AdamStep;

const CPU: Device = Device::Cpu;
const FLOAT: (Kind, Device) = (Kind::Float, CPU);
const STEP: AdamStep =
    AdamStep { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-2 };

/// The tensors of a parameter on a device.
struct Parameter {
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    copy: Option<Tensor>,
    mask: Option<Tensor>,
    scales: Option<Tensor>,
    largest: i32,
}

/// The scales of the copy's grid.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scales {
    None,
    One,
    PerRow,
}

/// Padding of the rows of gradients and copies, which must not be written.
const PADDING: f64 = 1234.0;

/// A tensor of this shape whose rows, or elements of a vector, have `gap` elements of padding.
fn spaced(size: &[i64], gap: i64, (kind, device): (Kind, Device)) -> Tensor {
    let options = (kind, device);
    match *size {
        [n] => Tensor::full([n, 1 + gap], PADDING, options).select(1, 0),
        [rows, columns] => {
            Tensor::full([rows, columns + gap], PADDING, options).narrow(1, 0, columns)
        }
        _ => unreachable!("vectors and matrices"),
    }
}

impl Parameter {
    fn random(layout: &Layout, device: Device) -> Self {
        let Layout { size, gaps: (gap, copy_gap), copy, masked, scales } = layout;
        let random = |size: &[i64]| Tensor::randn(size, FLOAT).to_device(device);
        let mut gradient = spaced(size, *gap, (Kind::Float, device));
        gradient.copy_(&random(size));
        let scales = match (scales, &size[..]) {
            (Scales::None, _) => None,
            (Scales::PerRow, &[rows, _]) => Some(rows),
            _ => Some(1),
        };
        Self {
            parameter: random(size),
            gradient,
            first: random(size) * 0.1,
            second: random(size).square() * 0.01,
            copy: copy.map(|kind| spaced(size, *copy_gap, (kind, device))),
            mask: masked.then(|| {
                let mask = random(size).gt(-0.3).to_kind(Kind::Uint8);
                // The first element stays: tests replace its gradient.
                let _ = mask.view(-1).narrow(0, 0, 1).fill_(1);
                mask
            }),
            scales: scales.map(|n| Tensor::rand([n], FLOAT).to_device(device) * 0.3 + 0.01),
            largest: if size[0] % 2 == 0 { 127 } else { 7 },
        }
    }

    fn update(&self) -> AdamUpdate<'_> {
        let largest = self.largest;
        AdamUpdate {
            parameter: &self.parameter,
            gradient: &self.gradient,
            first_moment: &self.first,
            second_moment: &self.second,
            copy: self.copy.as_ref(),
            mask: self.mask.as_ref(),
            rounding: self.scales.as_ref().map(|scales| CopyRounding { scales, largest }),
        }
    }

    fn double(&self) -> [Tensor; 4] {
        [&self.parameter, &self.gradient, &self.first, &self.second]
            .map(|tensor| tensor.to_device(CPU).to_kind(Kind::Double).copy())
    }

    /// As [`Parameter::double`], with the gradient that the mask leaves.
    fn masked(&self) -> [Tensor; 4] {
        let [p, g, m, v] = self.double();
        let mask = self.mask.as_ref().map_or(g.ones_like(), |mask| mask.to_device(CPU));
        [p, g * mask, m, v]
    }

    /// The copy of the current parameter, by torch's quantization.
    fn expected_copy(&self, kind: Kind) -> Tensor {
        let parameter = self.parameter.to_device(CPU);
        let largest = i64::from(self.largest);
        let Some(scales) = &self.scales else { return parameter.to_kind(kind) };
        let scales = scales.to_device(CPU);
        let rounded = if scales.size() == [1] {
            let scale = scales.double_value(&[0]);
            parameter.fake_quantize_per_tensor_affine(scale, 0, -largest, largest)
        } else {
            let zeros = scales.zeros_like().to_kind(Kind::Int);
            parameter.fake_quantize_per_channel_affine(&scales, &zeros, 0, -largest, largest)
        };
        rounded.to_kind(kind)
    }
}

/// Reference: the equations of kernels/adam.cu in double precision. Returns parameter and both moments.
fn exact([p, g, m, v]: &[Tensor; 4], norm: f64, clip: f64, t: i32) -> [Tensor; 3] {
    let inverse = if clip > 0.0 { ((norm + 1e-6) / clip).max(1.0) } else { 1.0 };
    let g = g / inverse + p * STEP.weight_decay;
    let m = m * STEP.beta1 + &g * (1.0 - STEP.beta1);
    let v = v * STEP.beta2 + g.square() * (1.0 - STEP.beta2);
    let root = v.sqrt() / (1.0 - STEP.beta2.powi(t)).sqrt() + STEP.eps;
    let p = p - (&m / root) * (STEP.lr / (1.0 - STEP.beta1.powi(t)));
    [p, m, v]
}

/// A parameter's shape, the padding of gradient and copy, the copy's kind, and whether there are a mask and a grid.
#[derive(Debug, Clone)]
struct Layout {
    size: Vec<i64>,
    gaps: (i64, i64),
    copy: Option<Kind>,
    masked: bool,
    scales: Scales,
}

/// Shapes, padding and copies: up to more tensors than a launch takes; rows that can and cannot be read as
/// vectors of four.
fn parameters() -> impl Strategy<Value = Vec<Layout>> {
    let size = prop_oneof![
        (1..40i64).prop_map(|n| vec![n]),
        (1..9i64, 1..50i64).prop_map(|(rows, columns)| vec![rows, columns]),
        (1..9i64, 1..12i64).prop_map(|(rows, fours)| vec![rows, 4 * fours]),
        Just(vec![3, 700]),
    ];
    let gap = || prop_oneof![Just(0), Just(4), 1..5i64];
    let copy = prop_oneof![Just(None), Just(Some(Kind::Float)), Just(Some(Kind::BFloat16))];
    let scales = prop_oneof![Just(Scales::None), Just(Scales::One), Just(Scales::PerRow)];
    let layout = (size, (gap(), gap()), copy, any::<bool>(), scales)
        .prop_map(|(size, gaps, copy, masked, scales)| Layout { size, gaps, copy, masked, scales });
    prop::collection::vec(layout, 1..40)
}

type Checked = std::result::Result<(), TestCaseError>;

fn check(
    (launcher, device): (&dyn Launch, Device),
    sizes: &[Layout],
    clip: f64,
    steps_before: i32,
) -> Checked {
    let all: Vec<_> = sizes.iter().map(|layout| Parameter::random(layout, device)).collect();
    let unmasked: Vec<_> = all.iter().map(|parameter| parameter.double()[1].copy()).collect();
    let before: Vec<_> = all.iter().map(Parameter::masked).collect();
    let squares = before.iter().map(|[_, g, ..]| g.square().sum(Kind::Double).double_value(&[]));
    let norm = squares.sum::<f64>().sqrt();
    let steps = Tensor::from(steps_before as f32).to_device(device);
    let updates: Vec<_> = all.iter().map(Parameter::update).collect();
    // Loss and `healthy` after a step.
    let take = |loss: f32, healthy: f32| {
        let [loss, healthy] = [loss, healthy].map(|x| Tensor::from(x).to_device(device));
        adam_step(launcher, &updates, &steps, (&loss, &healthy), STEP, clip).unwrap();
        (loss.double_value(&[]), healthy.double_value(&[]))
    };
    let unchanged = || {
        let same = |parameter: &Parameter, before: &[Tensor; 4]| {
            let [p, _, m, v] = parameter.double();
            p == before[0] && m == before[2] && v == before[3]
        };
        all.iter().zip(&before).all(|(parameter, before)| same(parameter, before))
    };

    // A step whose loss is not finite changes nothing, nor does a later step.
    for loss in [f32::NAN, f32::INFINITY] {
        let (new_loss, healthy) = take(loss, 1.0);
        prop_assert!(new_loss.to_bits() == f64::from(loss).to_bits() || new_loss.is_nan());
        prop_assert_eq!((healthy, take(1.5, 0.0)), (0.0, (1.5, 0.0)));
        prop_assert_eq!(steps.double_value(&[]), f64::from(steps_before));
        prop_assert!(unchanged());
    }
    // A step whose gradient is not finite changes nothing, and sets the loss to BAD_GRADIENT.
    for value in [f64::NAN, f64::INFINITY] {
        let gradient = &all[all.len() / 2].gradient;
        let mut element = (0..gradient.dim()).fold(gradient.shallow_clone(), |at, _| at.get(0));
        let original = element.copy();
        let _ = element.fill_(value);
        prop_assert_eq!(take(1.5, 1.0), (BAD_GRADIENT, 0.0));
        element.copy_(&original);
        let _ = steps.shallow_clone().fill_(f64::from(steps_before));
        prop_assert!(unchanged());
    }
    prop_assert_eq!(take(1.5, 1.0), (1.5, 1.0));
    prop_assert_eq!(steps.double_value(&[]), f64::from(steps_before + 1));
    for (i, (parameter, before)) in all.iter().zip(&before).enumerate() {
        let [p, g, m, v] = parameter.double();
        prop_assert_eq!(&g, &unmasked[i], "the gradient was changed");
        for (ours, exact) in [p, m, v].iter().zip(exact(before, norm, clip, steps_before + 1)) {
            let error = ((ours - &exact).abs() / (exact.abs() + 1e-2)).max().double_value(&[]);
            prop_assert!(error < 1e-5, "tensor {i} {:?}: {error:e}", sizes[i]);
        }
        let Some(copy) = &parameter.copy else { continue };
        let expected = parameter.expected_copy(copy.kind());
        prop_assert_eq!(&copy.to_device(CPU), &expected, "tensor {} {:?}", i, sizes[i]);
        // The padding of the copy was not written.
        let (rows, gap) = (copy.size()[0], sizes[i].gaps.1);
        let whole = [rows, gap + copy.size().get(1).copied().unwrap_or(1)];
        let whole = copy.as_strided(whole, [whole[1], 1], None::<i64>);
        let padding = whole.narrow(1, whole.size()[1] - gap, gap);
        let unwritten = Tensor::from(PADDING).to_kind(copy.kind());
        prop_assert!(padding.to_device(CPU).eq_tensor(&unwritten).all().int64_value(&[]) == 1);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_step_equals_double_precision(
        sizes in parameters(), clip in prop_oneof![Just(0.0), Just(0.25), Just(1e6)],
        steps_before in prop_oneof![Just(0), 1..3i32, Just(100_000)],
    ) {
        check((&*HostShim::get().unwrap(), CPU), &sizes, clip, steps_before)?;
    }

    #[test]
    #[ignore = "needs a GPU"]
    fn on_a_gpu_an_adam_step_equals_double_precision(
        sizes in parameters(), clip in prop_oneof![Just(0.0), Just(0.25), Just(1e6)],
        steps_before in prop_oneof![Just(0), 1..3i32, Just(100_000)],
    ) {
        let device = crate::device::cuda().unwrap();
        check((&*crate::cuda::CudaDevice::of(0).unwrap(), device), &sizes, clip, steps_before)?;
    }
}

/// A layout with a copy in bf16, and neither a mask nor a grid.
fn plain(size: Vec<i64>, gap: i64) -> Layout {
    let (gaps, copy) = ((gap, gap), Some(Kind::BFloat16));
    Layout { size, gaps, copy, masked: false, scales: Scales::None }
}

/// A pruned weight stays 0, whatever its gradient: weight decay and the clip of the others do not bring it back.
#[test]
fn pruned_weights_stay_zero() {
    let layout = Layout { masked: true, ..plain(vec![7, 36], 4) };
    let parameter = Parameter::random(&layout, CPU);
    let mask = parameter.mask.as_ref().unwrap();
    for tensor in [&parameter.parameter, &parameter.first, &parameter.second] {
        let _ = tensor.shallow_clone().g_mul_(mask);
    }
    let updates = [parameter.update()];
    let [steps, loss, healthy] = [0f32, 1.0, 1.0].map(Tensor::from);
    for _ in 0..5 {
        let launcher = HostShim::get().unwrap();
        adam_step(&*launcher, &updates, &steps, (&loss, &healthy), STEP, 0.25).unwrap();
    }
    let copy = parameter.copy.as_ref().unwrap();
    for tensor in [&parameter.parameter, &parameter.first, &parameter.second, copy] {
        assert!(tensor.ne(0.0).logical_and(&mask.eq(0)).any().int64_value(&[]) == 0);
        assert!(tensor.ne(0.0).eq_tensor(&mask.to_kind(Kind::Bool)).all().int64_value(&[]) == 1);
    }
}

#[test]
fn unsupported_tensors_are_rejected() {
    let valid = Parameter::random(&Layout { copy: None, ..plain(vec![4, 6], 0) }, CPU);
    let copy = Tensor::zeros([4, 6], FLOAT);
    let [bytes, short] =
        [&[6i64, 4][..], &[4, 5]].map(|size| Tensor::zeros(size, (Kind::Uint8, CPU)));
    let bytes = bytes.tr();
    let [three, scales] = [3, 4].map(|n| Tensor::ones([n], FLOAT));
    let rounded = |scales, largest| AdamUpdate {
        copy: Some(&copy),
        rounding: Some(CopyRounding { scales, largest }),
        ..valid.update()
    };
    let double_scales = scales.to_kind(Kind::Double);
    let transposed = Tensor::zeros([6, 4], FLOAT).tr();
    let double = Tensor::zeros([4, 6], (Kind::Double, CPU));
    let updates = [
        AdamUpdate { parameter: &transposed, ..valid.update() },
        AdamUpdate { gradient: &transposed, ..valid.update() },
        AdamUpdate { gradient: &double, ..valid.update() },
        AdamUpdate { copy: Some(&double), ..valid.update() },
        AdamUpdate { mask: Some(&bytes), ..valid.update() },
        AdamUpdate { mask: Some(&short), ..valid.update() },
        AdamUpdate { mask: Some(&copy), ..valid.update() },
        rounded(&three, 127),
        rounded(&double_scales, 127),
        rounded(&scales, 0),
    ];
    entries(&[rounded(&scales, 127)]).unwrap();
    for update in updates {
        let error = entries(&[update]).err().unwrap();
        assert!(matches!(error, Error::Shape { .. }));
    }
}

#[test]
fn the_kernels_compile_for_every_architecture_without_spills() {
    let compiler = match Compiler::open() {
        Ok(compiler) => compiler,
        Err(error) => panic!("this test needs NVRTC, which `cargo xtask setup` installs: {error}"),
    };
    for architecture in [75, 80, 86, 89, 90, 100, 120] {
        let target = Target::Machine(architecture);
        let (image, log) = compiler.compile(&ADAM, target, &["--ptxas-options=-v"]).unwrap();
        assert_eq!(image[..4], *b"\x7fELF");
        assert_eq!(log.matches(" 0 bytes spill stores").count(), 2, "{log}");
    }
}

#[test]
fn constants_equal_those_of_the_kernels() {
    for line in [
        format!("constexpr int WIDE = {WIDE};"),
        format!("constexpr int MAX_TENSORS = {MAX_TENSORS};"),
        format!("constexpr int THREADS = {THREADS};"),
    ] {
        assert!(ADAM.text.lines().any(|found| found == line), "{line}");
    }
    // CUDA passes at most 4 kB by value.
    assert!(size_of::<Entries>() + size_of::<Settings>() + 64 <= 4096);
}

mod bytes;
