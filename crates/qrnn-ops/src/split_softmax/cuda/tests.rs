use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::cuda::host_shim::HostShim;
use crate::cuda::host_shim::as_on_a_gpu;
use crate::cuda::{Compiler, Target};
use crate::matmul::Features;
use crate::split_softmax::{SoftmaxWeights, Targets, UpstreamGrad, mean_loss, operand};

const CPU: Device = Device::Cpu;

fn random(size: &[i64]) -> Tensor {
    Tensor::randn(size, (Kind::Float, CPU))
}

fn weights(vocab: i64, width: i64, tails: i64) -> SoftmaxWeights {
    let leaf = |size: &[i64]| random(size).set_requires_grad(true);
    SoftmaxWeights {
        weight: leaf(&[vocab, width]),
        bias: leaf(&[vocab]),
        tail: (tails > 0).then(|| (leaf(&[tails, width]), leaf(&[tails]))),
    }
}

/// `a` may lie on a softmax.
fn furthest(a: &Tensor, b: &Tensor) -> f64 {
    (a.to_device(CPU).to_kind(Kind::Double) - b).abs().max().double_value(&[])
}

type Checked = std::result::Result<(), TestCaseError>;

/// Where the kernel runs: by the host shim, or on the first softmax.
fn place(on_gpu: bool) -> (Arc<dyn Launch>, Device) {
    match on_gpu {
        false => (HostShim::get().unwrap(), CPU),
        true => {
            let device = crate::device::cuda().unwrap();
            (crate::cuda::CudaDevice::of(0).unwrap(), device)
        }
    }
}

/// The kernel against float64, with `room` numbers behind each row that are not to be touched.
fn check_rows(on_gpu: bool, (rows, classes, room): (i64, i64, i64), kind: Kind) -> Checked {
    let (launcher, device) = place(on_gpu);
    let tolerance = if kind == Kind::BFloat16 { 4e-3 } else { 1e-6 };
    let stride = (classes as u64).next_multiple_of(8) as i64 + 8 * room;
    let all = Tensor::full([rows, stride], f64::NAN, (kind, device));
    let mut logits = all.narrow(1, 0, classes);
    logits.copy_(&(random(&[rows, classes]) * 6.0));
    let classes_of: Vec<i32> = (0..rows).map(|row| ((row * 7919 + 3) % classes) as i32).collect();
    let targets = Tensor::from_slice(&classes_of);
    let exact = logits.to_device(CPU).to_kind(Kind::Double).copy().set_requires_grad(true);
    let wanted = targets.to_kind(Kind::Int64);
    let expected =
        exact.cross_entropy_loss::<Tensor>(&wanted, None, tch::Reduction::None, -100, 0.0);
    (expected.sum(Kind::Double) * 0.5).backward();

    let targets = targets.to_device(device);
    let losses = Tensor::full([rows], f64::NAN, (Kind::Float, device));
    let before = all.copy();
    cross_entropy(&*launcher, &logits, &targets, &losses, None).unwrap();
    prop_assert!(furthest(&losses, &expected) < 1e-5, "{losses} {expected}");
    prop_assert!(all.allclose(&before, 0.0, 0.0, true), "logits were written");
    let _ = losses.shallow_clone().fill_(f64::NAN);
    cross_entropy(&*launcher, &logits, &targets, &losses, Some(0.5)).unwrap();
    prop_assert!(furthest(&losses, &expected) < 1e-5);
    prop_assert!(furthest(&logits, &exact.grad()) < tolerance);
    let behind = all.narrow(1, classes, stride - classes);
    prop_assert!(behind.isnan().all().int64_value(&[]) == 1, "the room behind was written");
    Ok(())
}

/// The sizes of a softmax in a step.
#[derive(Debug, Clone)]
struct Sizes {
    vocab: i64,
    width: i64,
    words: usize,
    tails: usize,
    piece: i64,
}

fn sizes() -> impl Strategy<Value = Sizes> {
    let piece = prop_oneof![Just(PIECE), 20..200i64];
    (8..60i64, 1..20i64, 1..30usize, 0..4usize, piece)
        .prop_map(|(vocab, width, words, tails, piece)| Sizes { vocab, width, words, tails, piece })
}

/// All clusters together, in one piece and in several, against the CPU's own way.
fn check_step(on_gpu: bool, sizes: &Sizes) -> Checked {
    let &Sizes { vocab, width, words, tails, piece } = sizes;
    let borders = (1..=tails).map(|k| k * vocab as usize / (tails + 2)).collect();
    let clusters = Clusters::new(vocab as usize, borders);
    let weights = weights(vocab, width, tails as i64);
    let hidden = random(&[words as i64, width]).set_requires_grad(true);
    let targets: Vec<i64> = (0..words as i64).map(|i| (i * i + 5 * i + width) % vocab).collect();
    let precision = Precision::Single;
    let upstream = UpstreamGrad::Any;
    let computation = Computation { precision, operand: None };
    let plain = Features::of(&[&hidden], None).unwrap();
    let words_there = Targets::Host(targets.clone());
    let expected =
        mean_loss(&clusters, &weights, &plain, words_there, computation, upstream).unwrap();
    expected.backward();

    let _no_grad = tch::no_grad_guard();
    let (launcher, device) = place(on_gpu);
    let there = |tensor: &Tensor| tensor.to_device(device);
    let tail = weights.tail.as_ref().map(|(vectors, scalars)| (there(vectors), there(scalars)));
    let moved = SoftmaxWeights { weight: there(&weights.weight), bias: there(&weights.bias), tail };
    let operand = operand(&moved, Kind::Float).unwrap();
    let softmax = CudaSoftmax { launcher, clusters: &clusters, operand, width, precision, piece };
    let scale = 1.0 / words as f64;
    let features = as_on_a_gpu(|| Features::of(&[&there(&hidden)], None)).unwrap().all;
    let (tokens, sorted) = DeviceTargets::upload(&clusters, &targets, &targets, device).unwrap();
    let same = Vec::<i64>::try_from(tokens.to_kind(Kind::Int64)).unwrap();
    prop_assert_eq!((same, tokens.kind(), sorted.words), (targets, Kind::Int, words));
    let sum = softmax.loss_sum(&features, &sorted).unwrap();
    let (loss, mut gradients) = softmax.loss_and_gradients(&features, &sorted, scale).unwrap();
    gradients[0] = gradients[0].narrow(1, 0, width);
    prop_assert!(furthest(&loss, &expected) < 1e-5);
    prop_assert!(furthest(&(sum * scale), &expected) < 1e-4);
    let mut leaves = vec![&hidden];
    leaves.extend(weights.tensors());
    prop_assert_eq!(leaves.len(), gradients.len());
    for (leaf, gradient) in leaves.into_iter().zip(&gradients) {
        prop_assert!(furthest(gradient, &leaf.grad()) < 1e-5);
    }
    Ok(())
}

/// Rows narrower and wider than a block, and room behind them.
fn rows() -> impl Strategy<Value = (i64, i64, i64)> {
    let classes = prop_oneof![1..40i64, 250..260i64, 2040..2060i64, Just(4099)];
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
    fn a_step_on_a_card_is_that_of_the_cpu(sizes in sizes()) {
        check_step(false, &sizes)?;
    }

    #[test]
    #[ignore = "wants a GPU"]
    fn on_a_gpu_the_cross_entropy_kernel_gives_loss_and_gradient(
        rows in rows(), kind in kinds(),
    ) {
        check_rows(true, rows, kind)?;
    }

    #[test]
    #[ignore = "wants a GPU"]
    fn on_a_gpu_the_softmax_of_a_step_is_that_of_the_cpu(sizes in sizes()) {
        check_step(true, &sizes)?;
    }
}

/// As wide as the entry's head and its widest tail.
#[test]
#[ignore = "wants a GPU"]
fn on_a_gpu_the_entrys_classes_give_loss_and_gradient() {
    for classes in [2803, 191_735] {
        for kind in [Kind::Float, Kind::BFloat16] {
            check_rows(true, (64, classes, 0), kind).unwrap();
        }
    }
}

#[test]
fn a_nan_logit_gives_a_nan_loss_and_an_infinite_one_no_number() {
    for (place, value) in [(0, f64::NAN), (300, f64::NAN), (17, f64::INFINITY)] {
        let logits = Tensor::zeros([1, 304], (Kind::Float, CPU));
        let _ = logits.get(0).get(place).fill_(value);
        let losses = Tensor::zeros([1], (Kind::Float, CPU));
        let targets = Tensor::from_slice(&[3]);
        cross_entropy(&*HostShim::get().unwrap(), &logits, &targets, &losses, None).unwrap();
        assert!(!losses.double_value(&[0]).is_finite());
    }
}

#[test]
fn the_kernel_compiles_for_every_card() {
    let compiler = match Compiler::open() {
        Ok(compiler) => compiler,
        Err(error) => panic!("this test wants NVRTC, which `cargo xtask setup` brings: {error}"),
    };
    for architecture in [75, 80, 86, 89, 90, 100, 120] {
        let options = ["--ptxas-options=-v"];
        let target = Target::Machine(architecture);
        let (image, log) = compiler.compile(&CROSS_ENTROPY, target, &options).unwrap();
        assert_eq!(image[..4], *b"\x7fELF");
        assert_eq!(log.matches(" 0 bytes spill stores").count(), 2, "{log}");
    }
}
