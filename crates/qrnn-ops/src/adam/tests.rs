use proptest::prelude::*;
use tch::Device;

use super::*;
use crate::cuda::host_shim::{Access, HostShim};
use crate::cuda::{Compiler, Target};

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
    fn random(
        size: &[i64],
        (gap, copy_gap): (i64, i64),
        copy: Option<Kind>,
        device: Device,
    ) -> Self {
        let random = |size: &[i64]| Tensor::randn(size, FLOAT).to_device(device);
        let mut gradient = spaced(size, gap, (Kind::Float, device));
        gradient.copy_(&random(size));
        Self {
            parameter: random(size),
            gradient,
            first: random(size) * 0.1,
            second: random(size).square() * 0.01,
            copy: copy.map(|kind| spaced(size, copy_gap, (kind, device))),
        }
    }

    fn update(&self) -> AdamUpdate<'_> {
        AdamUpdate {
            parameter: &self.parameter,
            gradient: &self.gradient,
            first_moment: &self.first,
            second_moment: &self.second,
            copy: self.copy.as_ref(),
        }
    }

    fn double(&self) -> [Tensor; 4] {
        [&self.parameter, &self.gradient, &self.first, &self.second]
            .map(|tensor| tensor.to_device(CPU).to_kind(Kind::Double).copy())
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

/// A parameter's shape, the padding of gradient and copy, and the copy's kind.
type Layout = (Vec<i64>, (i64, i64), Option<Kind>);

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
    prop::collection::vec((size, (gap(), gap()), copy), 1..40)
}

type Checked = std::result::Result<(), TestCaseError>;

fn check(
    (launcher, device): (&dyn Launch, Device),
    sizes: &[Layout],
    clip: f64,
    steps_before: i32,
) -> Checked {
    let all: Vec<_> = sizes
        .iter()
        .map(|(size, gaps, copy)| Parameter::random(size, *gaps, *copy, device))
        .collect();
    let before: Vec<_> = all.iter().map(Parameter::double).collect();
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
        prop_assert_eq!(&g, &before[1], "the gradient was changed");
        for (ours, exact) in [p, m, v].iter().zip(exact(before, norm, clip, steps_before + 1)) {
            let error = ((ours - &exact).abs() / (exact.abs() + 1e-2)).max().double_value(&[]);
            prop_assert!(error < 1e-5, "tensor {i} {:?}: {error:e}", sizes[i]);
        }
        let Some(copy) = &parameter.copy else { continue };
        prop_assert_eq!(copy, &parameter.parameter.to_kind(copy.kind()), "tensor {}", i);
        // The padding of the copy was not written.
        let rows = copy.size()[0];
        let whole = [rows, sizes[i].1.1 + copy.size().get(1).copied().unwrap_or(1)];
        let whole = copy.as_strided(whole, [whole[1], 1], None::<i64>);
        let padding = whole.narrow(1, whole.size()[1] - sizes[i].1.1, sizes[i].1.1);
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

/// Bytes that the last launch read and wrote.
fn bytes(updates: &[AdamUpdate<'_>]) -> usize {
    let shim = HostShim::get().unwrap();
    let copies: usize = updates.iter().filter_map(|u| u.copy).map(Tensor::numel).sum();
    let copy_kinds = updates.iter().filter_map(|u| u.copy.map(|copy| copy.kind()));
    let size = copy_kinds.map(|kind| kind.elt_size_in_bytes()).max().unwrap_or(0);
    let (read, written) = (shim.address_count(Access::Read), shim.address_count(Access::Written));
    4 * (read + written - copies) + size * copies
}

/// A step of the entry's model reads parameter, gradient and moments once, and writes all but the
/// gradient, and the bf16 copy, once. Counted at a hundredth of the vocabulary and a tenth of the
/// widths, because bytes per parameter do not depend on the size. `--nocapture` shows the figure
/// that `cargo xtask cuda-dry-run` reads.
#[test]
fn optimizer_bytes_of_the_entry() {
    let parameters_of = |divide: i64| -> Vec<(Vec<i64>, i64)> {
        let (vocab, emsize, nhid) = (267_735 / (divide * divide), 300 / divide, 1800 / divide);
        let row = |width: i64| crate::matmul::augmented_row(width);
        let mut all = vec![];
        for (rows, width) in [
            (vocab, emsize),
            (3 * nhid, 2 * emsize),
            (3 * nhid, nhid),
            (3 * nhid, nhid),
            (3 * emsize, nhid),
            (3, emsize),
        ] {
            all.extend([(vec![rows, width], row(width) - width), (vec![rows], row(width) - 1)]);
        }
        all
    };
    let small: Vec<_> = parameters_of(10)
        .iter()
        .map(|(size, gap)| Parameter::random(size, (*gap, *gap), Some(Kind::BFloat16), CPU))
        .collect();
    let updates: Vec<_> = small.iter().map(Parameter::update).collect();
    let [steps, loss, healthy] = [0f32, 1.0, 1.0].map(Tensor::from);
    adam_step(&*HostShim::get().unwrap(), &updates, &steps, (&loss, &healthy), STEP, 0.25).unwrap();
    let numel: usize = small.iter().map(|parameter| parameter.parameter.numel()).sum();
    // Other accesses: loss, steps, healthy, and a sum of each of at most 1,024 blocks.
    let extra = bytes(&updates) - 30 * numel;
    assert!(extra <= 4 * (MAX_BLOCKS as usize + 3), "{extra} bytes more than 30 per parameter");
    for parameter in &small {
        for (tensor, access) in [
            (&parameter.gradient, Access::Read),
            (&parameter.parameter, Access::Read),
            (&parameter.parameter, Access::Written),
            (&parameter.second, Access::Written),
        ] {
            let at = tensor.data_ptr().cast_const();
            assert_eq!(HostShim::get().unwrap().count(at, access), 1);
        }
    }
    let entry: i64 = parameters_of(1).iter().map(|(size, _)| size.iter().product::<i64>()).sum();
    assert_eq!(entry, 104_906_238);
    let (whole, norm) = (30 * entry as usize + extra, 4 * entry as usize);
    println!("optimizer: {whole} bytes a step of the entry (without the norm's {norm})");
    assert!(whole < 3_200_000_000);
}

#[test]
fn unsupported_tensors_are_rejected() {
    let valid = Parameter::random(&[4, 6], (0, 0), None, CPU);
    let transposed = Tensor::zeros([6, 4], FLOAT).tr();
    let double = Tensor::zeros([4, 6], (Kind::Double, CPU));
    let updates = [
        AdamUpdate { parameter: &transposed, ..valid.update() },
        AdamUpdate { gradient: &transposed, ..valid.update() },
        AdamUpdate { gradient: &double, ..valid.update() },
        AdamUpdate { copy: Some(&double), ..valid.update() },
    ];
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
