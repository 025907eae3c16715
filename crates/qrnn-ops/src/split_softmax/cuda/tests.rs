use proptest::prelude::*;

use super::*;
use crate::cuda::host_shim::{HostShim, as_on_a_gpu, back_end};
use crate::cuda::{Compiler, Target};
use crate::matmul::Features;
use crate::split_softmax::{SoftmaxWeights, Targets, UpstreamGrad, mean_loss, operands};

const CPU: Device = Device::Cpu;

fn random(size: &[i64]) -> Tensor {
    Tensor::randn(size, (Kind::Float, CPU))
}

/// Clusters with one weight, or with one of each of these widths, and the weights.
fn weights(
    (vocab, width): (i64, i64),
    tails: usize,
    widths: Option<&[i64]>,
) -> (Clusters, SoftmaxWeights) {
    let leaf = |size: &[i64]| random(size).set_requires_grad(true);
    let borders = (1..=tails).map(|k| k * vocab as usize / (tails + 2)).collect();
    let mut clusters = Clusters::new(vocab as usize, borders);
    let weights = match widths {
        None => vec![leaf(&[vocab, width])],
        Some(widths) => {
            clusters = clusters.adaptive(widths.iter().map(|w| *w < width).collect());
            let sizes = (0..clusters.len()).map(|i| clusters.cluster(i).1 as i64);
            sizes.zip(widths).map(|(size, w)| leaf(&[size, *w])).collect()
        }
    };
    let tails = tails as i64;
    let tail = (tails > 0).then(|| (leaf(&[tails, width]), leaf(&[tails])));
    (clusters, SoftmaxWeights { weights, bias: leaf(&[vocab]), tail })
}

/// The largest absolute difference; `a` may be on a GPU.
fn max_difference(a: &Tensor, b: &Tensor) -> f64 {
    (a.to_device(CPU).to_kind(Kind::Double) - b).abs().max().double_value(&[])
}

type Checked = std::result::Result<(), TestCaseError>;

/// Compares the kernel with double precision. Rows are padded by at least `8 padding` elements, which must
/// not be written.
fn check_rows(on_gpu: bool, (rows, classes, padding): (i64, i64, i64), kind: Kind) -> Checked {
    let (launcher, device) = back_end(on_gpu);
    let tolerance = if kind == Kind::BFloat16 { 4e-3 } else { 1e-6 };
    let stride = (classes as u64).next_multiple_of(8) as i64 + 8 * padding;
    let all = Tensor::full([rows, stride], f64::NAN, (kind, device));
    let mut logits = all.narrow(1, 0, classes);
    logits.copy_(&(random(&[rows, classes]) * 6.0));
    let classes_of: Vec<i32> = (0..rows).map(|row| ((row * 7919 + 3) % classes) as i32).collect();
    let targets = Tensor::from_slice(&classes_of);
    let exact = logits.to_device(CPU).to_kind(Kind::Double).copy().set_requires_grad(true);
    let indices = targets.to_kind(Kind::Int64);
    let expected =
        exact.cross_entropy_loss::<Tensor>(&indices, None, tch::Reduction::None, -100, 0.0);
    (expected.sum(Kind::Double) * 0.5).backward();

    let targets = targets.to_device(device);
    let losses = Tensor::full([rows], f64::NAN, (Kind::Float, device));
    let before = all.copy();
    cross_entropy(&*launcher, &logits, &targets, &losses, None).unwrap();
    prop_assert!(max_difference(&losses, &expected) < 1e-5, "{losses} {expected}");
    prop_assert!(all.allclose(&before, 0.0, 0.0, true), "logits were written");
    let _ = losses.shallow_clone().fill_(f64::NAN);
    cross_entropy(&*launcher, &logits, &targets, &losses, Some(0.5)).unwrap();
    prop_assert!(max_difference(&losses, &expected) < 1e-5);
    prop_assert!(max_difference(&logits, &exact.grad()) < tolerance);
    let padding = all.narrow(1, classes, stride - classes);
    prop_assert!(padding.isnan().all().int64_value(&[]) == 1, "the padding was written");
    Ok(())
}

/// The sizes of a softmax in a step.
#[derive(Debug, Clone)]
struct Sizes {
    vocab: i64,
    width: i64,
    tokens: usize,
    tails: usize,
    /// Of the clusters of an adaptive softmax.
    widths: Option<Vec<i64>>,
    chunk: i64,
}

fn sizes() -> impl Strategy<Value = Sizes> {
    let chunk = prop_oneof![Just(CHUNK), 20..200i64];
    let widths = prop::option::of(prop::collection::vec(1..20i64, 4));
    (8..60i64, 1..20i64, 1..30usize, 0..4usize, widths, chunk).prop_map(
        |(vocab, width, tokens, tails, widths, chunk)| {
            let widths = widths
                .map(|widths| widths.into_iter().take(tails + 1).map(|w| w.min(width)).collect());
            Sizes { vocab, width, tokens, tails, widths, chunk }
        },
    )
}

/// Compares all clusters together, in one and several chunks, with the CPU implementation.
fn check_step(on_gpu: bool, sizes: &Sizes) -> Checked {
    let &Sizes { vocab, width, tokens, tails, ref widths, chunk } = sizes;
    let (clusters, weights) = weights((vocab, width), tails, widths.as_deref());
    let projected = widths.iter().flatten().copied().filter(|w| *w < width);
    let hidden: Vec<Tensor> = [width]
        .into_iter()
        .chain(projected)
        .map(|width| random(&[tokens as i64, width]).set_requires_grad(true))
        .collect();
    let targets: Vec<i64> = (0..tokens as i64).map(|i| (i * i + 5 * i + width) % vocab).collect();
    let precision = Precision::Single;
    let upstream = UpstreamGrad::Any;
    let computation = Computation { precision, operands: None };
    let features = |hidden: &Tensor| Features::of(&[hidden], None).unwrap();
    let plain: Vec<Features> = hidden.iter().map(features).collect();
    let host_targets = Targets::Host(targets.clone());
    let expected =
        mean_loss(&clusters, &weights, &plain, host_targets, computation, upstream).unwrap();
    expected.backward();

    let _no_grad = tch::no_grad_guard();
    let (launcher, device) = back_end(on_gpu);
    let to_device = |tensor: &Tensor| tensor.to_device(device);
    let tail =
        weights.tail.as_ref().map(|(vectors, scalars)| (to_device(vectors), to_device(scalars)));
    let moved = SoftmaxWeights {
        weights: weights.weights.iter().map(to_device).collect(),
        bias: to_device(&weights.bias),
        tail,
    };
    let computation = Computation {
        precision,
        operands: Some(&operands(&clusters, &moved, Kind::Float).unwrap()),
    };
    let options = (Kind::Float, device);
    let softmax =
        as_on_a_gpu(|| CudaSoftmax::new(&clusters, &moved, options, computation)).unwrap();
    let softmax = CudaSoftmax { launcher, chunk, ..softmax };
    let scale = 1.0 / tokens as f64;
    let all: Vec<Tensor> =
        as_on_a_gpu(|| hidden.iter().map(|hidden| features(&to_device(hidden)).all).collect());
    let (inputs, sorted) = DeviceTargets::upload(&clusters, &targets, &targets, device).unwrap();
    let uploaded = Vec::<i64>::try_from(inputs.to_kind(Kind::Int64)).unwrap();
    prop_assert_eq!((uploaded, inputs.kind(), sorted.tokens), (targets, Kind::Int, tokens));
    let sum = softmax.loss_sum(&all, &sorted).unwrap();
    let (whole, gradients) = softmax.loss_and_gradients(&all, &sorted, scale).unwrap();
    prop_assert_eq!(whole.kind(), Kind::Double);
    prop_assert!(max_difference(&(whole * scale), &expected) < 1e-5);
    prop_assert!(max_difference(&(sum * scale), &expected) < 1e-4);
    let leaves: Vec<&Tensor> = hidden.iter().chain(weights.tensors()).collect();
    prop_assert_eq!(leaves.len(), gradients.len());
    for (leaf, gradient) in leaves.into_iter().zip(&gradients) {
        let Some(gradient) = gradient else {
            prop_assert!(!leaf.grad().defined());
            continue;
        };
        let gradient = match leaf.size()[..] {
            // Without the padding of hidden states.
            [_, columns] => gradient.narrow(1, 0, columns),
            _ => gradient.shallow_clone(),
        };
        prop_assert!(max_difference(&gradient, &leaf.grad()) < 1e-5);
    }
    Ok(())
}

/// Rows, classes around one and several blocks, and padding.
fn rows() -> impl Strategy<Value = (i64, i64, i64)> {
    let classes =
        prop_oneof![1..40i64, 250..260i64, 2040..2060i64, Just(4099), Just(20_001), Just(70_001)];
    (1..4i64, classes, 0..3i64)
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Float), Just(Kind::BFloat16)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_kernel_gives_loss_and_gradient(rows in rows(), kind in kinds()) {
        check_rows(false, rows, kind)?;
    }

    #[test]
    fn the_softmax_of_a_step_equals_the_cpu(sizes in sizes()) {
        check_step(false, &sizes)?;
    }

    #[test]
    #[ignore = "needs a GPU"]
    fn on_a_gpu_the_cross_entropy_kernel_gives_loss_and_gradient(
        rows in rows(), kind in kinds(),
    ) {
        check_rows(true, rows, kind)?;
    }

    #[test]
    #[ignore = "needs a GPU"]
    fn on_a_gpu_the_softmax_of_a_step_equals_the_cpu(sizes in sizes()) {
        check_step(true, &sizes)?;
    }
}

/// The classes of the entry's head and of its largest tail.
#[test]
#[ignore = "needs a GPU"]
fn on_a_gpu_the_classes_of_the_entry_give_loss_and_gradient() {
    for classes in [2803, 17_200, 56_000, 191_735] {
        for kind in [Kind::Float, Kind::BFloat16] {
            check_rows(true, (64, classes, 0), kind).unwrap();
        }
    }
}

#[test]
fn nan_and_infinite_logits_give_a_loss_that_is_not_finite() {
    for (class, value) in [(0, f64::NAN), (300, f64::NAN), (17, f64::INFINITY)] {
        let logits = Tensor::zeros([1, 304], (Kind::Float, CPU));
        let _ = logits.get(0).get(class).fill_(value);
        let losses = Tensor::zeros([1], (Kind::Float, CPU));
        let targets = Tensor::from_slice(&[3]);
        cross_entropy(&*HostShim::get().unwrap(), &logits, &targets, &losses, None).unwrap();
        assert!(!losses.double_value(&[0]).is_finite());
    }
}

#[test]
fn the_kernel_compiles_for_every_architecture() {
    let compiler = match Compiler::open() {
        Ok(compiler) => compiler,
        Err(error) => panic!("this test needs NVRTC, which `cargo xtask setup` installs: {error}"),
    };
    for architecture in [75, 80, 86, 89, 90, 100, 120] {
        let options = ["--ptxas-options=-v"];
        let target = Target::Machine(architecture);
        let (image, log) = compiler.compile(&CROSS_ENTROPY, target, &options).unwrap();
        assert_eq!(image[..4], *b"\x7fELF");
        assert_eq!(log.matches(" 0 bytes spill stores").count(), 2 * KERNELS.len(), "{log}");
    }
}
