//! Training in several formats, on the CPU and on a device: how far apart its losses may come.

use tch::{Device, Kind, Tensor};

use super::*;
use crate::model::{LmConfig, Splits};
use crate::progress::Silent;
use crate::train::OptimizerKind;
use qrnn_ops::cuda::host_shim::as_on_a_gpu;
use qrnn_ops::matmul::Precision;

/// A run of the paper's recipe on the embedded language: the same seed draws the same weights, masks
/// and lengths on every device.
fn run(device: Device, precision: Precision, seed: u64, steps: Option<u64>) -> TrainingRun {
    // Tests run side by side: threads that wait for each other would starve.
    tch::set_num_threads(1);
    let corpus = Corpus::synthetic().take_train(24_000);
    let config = LmConfig::paper(40, 160)
        .vocab(corpus.vocab().len())
        .init_range(0.5)
        .splits(Splits::At(vec![200, 1000]));
    let mut model = QrnnLm::seeded(&config, (Kind::Float, device), seed).unwrap();
    model.set_precision(precision);
    let recipe = Recipe::paper().bptt(23).batch(6).epochs(3).lr(2e-3).seed(seed);
    let recipe = Recipe { steps, ..recipe };
    Trainer::new(recipe).fit_with(&mut model, &corpus, &mut Silent).unwrap()
}

/// The largest differences of the first 20 losses and of the first 200 from those of the CPU: what
/// rounding in another order makes of them grows from step to step. The line that it prints is read by
/// `xtask/gpu-pack/table.py`.
fn differences_of_200_steps(device: Device, precision: Precision, of_cpu: Precision) -> (f64, f64) {
    let losses = |device, precision| run(device, precision, 1, Some(200)).losses;
    let (ours, theirs) = (losses(device, precision), losses(Device::Cpu, of_cpu));
    assert_eq!((ours.len(), theirs.len()), (200, 200));
    let finite = ours.iter().chain(&theirs).all(|loss| loss.is_finite());
    assert!(finite, "{ours:?}, {theirs:?}");
    let furthest = |steps: std::ops::Range<usize>| {
        let pairs = ours[steps.clone()].iter().zip(&theirs[steps]);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    let (early, all) = (furthest(0..20), furthest(0..200));
    println!("{precision:?} on {device:?}: {early:.1e} over 20 steps, {all:.1e} over 200");
    (early, all)
}

/// In single precision.
fn check_200_steps(device: Device, precision: Precision) {
    let (early, all) = differences_of_200_steps(device, precision, Precision::Single);
    assert!(early < 1e-4 && all < 1e-3, "{early:e}, {all:e}");
}

/// Over three epochs the validation losses of a format are as near to those of single precision as two
/// seeds are to each other.
fn check_noise(device: Device, precision: Precision) {
    let curve = |precision, seed| -> Vec<f64> {
        let run = run(device, precision, seed, None);
        run.epochs.iter().map(|epoch| epoch.valid_loss).collect()
    };
    let single = [1, 2, 3].map(|seed| curve(Precision::Single, seed));
    let other = curve(precision, 1);
    for epoch in 0..3 {
        let losses = single.each_ref().map(|curve| curve[epoch]);
        let spread = losses.iter().fold(f64::MIN, |a, &b| a.max(b))
            - losses.iter().fold(f64::MAX, |a, &b| a.min(b));
        let difference = (other[epoch] - losses[0]).abs();
        println!("epoch {}: fp32 {losses:.4?}, {precision:?} {:.4}", epoch + 1, other[epoch]);
        assert!(difference < spread, "{difference} and {spread}");
    }
}

#[test]
fn products_in_another_order_take_the_same_200_steps() {
    check_200_steps(Device::Cpu, Precision::Torch);
}

/// What `--precision auto` rests on.
#[test]
fn bf16_stays_within_the_noise_of_a_seed() {
    check_noise(Device::Cpu, Precision::Bf16);
}

#[test]
#[ignore = "needs a GPU"]
fn on_a_gpu_200_steps_are_those_of_the_cpu() {
    check_200_steps(qrnn_ops::device::cuda().unwrap(), Precision::Single);
}

/// What TF32 rounds away is no more than bf16 does on the CPU, or 1e-3 where the CPU has no bf16.
#[test]
#[ignore = "needs a GPU"]
fn on_a_gpu_200_steps_in_tf32_are_near_those_of_the_cpu_in_fp32() {
    let device = qrnn_ops::device::cuda().unwrap();
    let (_, all) = differences_of_200_steps(device, Precision::Tf32, Precision::Single);
    let (_, bound) = differences_of_200_steps(Device::Cpu, Precision::Bf16, Precision::Single);
    assert!(all < bound.max(1e-3), "{all:e}, {bound:e}");
}

/// Both round at the same places, and where a sum lies between two numbers to either side: that is less
/// than what rounding changes at all.
#[test]
#[ignore = "needs a GPU"]
fn on_a_gpu_200_steps_in_bf16_are_near_those_of_the_cpu_in_bf16() {
    let device = qrnn_ops::device::cuda().unwrap();
    let (_, all) = differences_of_200_steps(device, Precision::Bf16, Precision::Bf16);
    let (_, bound) = differences_of_200_steps(Device::Cpu, Precision::Bf16, Precision::Single);
    // Without bf16 products, both runs of the CPU are in fp32: what rounding changes is unknown.
    let bound = if Precision::has_bf16() { bound.max(1e-3) } else { 2e-2 };
    assert!(all < 3.0 * bound, "{all:e}, {bound:e}");
}

#[test]
#[ignore = "needs a GPU"]
fn on_a_gpu_tf32_stays_within_the_noise_of_a_seed() {
    check_noise(qrnn_ops::device::cuda().unwrap(), Precision::Tf32);
}

#[test]
#[ignore = "needs a GPU"]
fn on_a_gpu_bf16_stays_within_the_noise_of_a_seed() {
    check_noise(qrnn_ops::device::cuda().unwrap(), Precision::Bf16);
}

/// A small run with every dropout and several clusters, by the operations of a GPU on the host shim
/// or by the CPU's: its losses with the test's, and its weights.
fn small_run(on_gpu: bool, precision: Precision, recipe: &Recipe) -> (Vec<f64>, Vec<Tensor>) {
    tch::set_num_threads(1);
    let ids = |n: u32, step: u32| (0..n).map(|i| (i * step + i * i / 7) % 60).collect::<Vec<_>>();
    let corpus = Corpus::from_ids("made", 60, [ids(400, 1), ids(60, 3), ids(40, 5)]).unwrap();
    let config = LmConfig::paper(12, 20)
        .vocab(60)
        .init_range(0.5)
        .embedding_dropout(0.1)
        .weight_drop(0.2)
        .zoneout(0.1)
        .splits(Splits::At(vec![20, 35, 50]));
    let work = || {
        let mut model = QrnnLm::seeded(&config, (Kind::Float, Device::Cpu), 3).unwrap();
        model.set_precision(precision);
        let run = Trainer::new(recipe.clone()).fit_with(&mut model, &corpus, &mut Silent).unwrap();
        let mut losses = run.losses;
        losses.extend(run.test_loss);
        (losses, model.weight_copies().unwrap())
    };
    if on_gpu { as_on_a_gpu(work) } else { work() }
}

/// All that is fused or done in another order on a GPU: biases as columns of weights, the softmax of
/// tombstones first, masks and ids made there, and Adam with its copies.
#[test]
fn the_operations_of_a_gpu_take_the_same_steps() {
    let paper = Recipe::paper().bptt(6).batch(3).epochs(1).lr(1e-2).seed(4);
    let recipes = [
        Recipe { wdecay: 1e-3, clip: 0.25, ..paper.clone() },
        Recipe { alpha: 0.5, beta: 0.5, clip: 0.0, ..paper.clone() },
        Recipe { alpha: 0.5, ..paper.clone() },
        Recipe { optimizer: OptimizerKind::Asgd, ..paper },
    ];
    for recipe in recipes {
        let (ours, weights) = small_run(true, Precision::Single, &recipe);
        let (theirs, their_weights) = small_run(false, Precision::Single, &recipe);
        assert!(ours.len() > 15 && ours.len() == theirs.len());
        assert_ne!(ours, theirs, "sums in another order round otherwise");
        for (step, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            assert!((ours - theirs).abs() < 2e-4, "step {step}: {ours} and {theirs}");
        }
        for (ours, theirs) in weights.iter().zip(&their_weights) {
            let off = ((ours - theirs).norm() / theirs.norm().clamp_min(1e-3)).double_value(&[]);
            assert!(off < 1e-3, "{off:e} {recipe:?}");
        }
    }
}

#[test]
fn the_operations_of_a_gpu_in_bf16_are_within_its_rounding() {
    let recipe = Recipe::paper().bptt(6).batch(3).epochs(1).lr(1e-3).seed(4);
    let (ours, _) = small_run(true, Precision::Bf16, &recipe);
    let (theirs, _) = small_run(false, Precision::Single, &recipe);
    for (step, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert!((ours - theirs).abs() < 2e-2, "step {step}: {ours} and {theirs}");
    }
    assert!(ours.iter().zip(&theirs).any(|(ours, theirs)| ours != theirs), "nothing was rounded");
}
