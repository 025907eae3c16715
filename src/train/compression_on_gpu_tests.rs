//! Compression by the operations of a GPU on the host shim.

use std::path::Path;

use qrnn_ops::cuda::host_shim::as_on_a_gpu;
use qrnn_ops::matmul::Precision;
use tch::Device;

use super::tests::{StopAt, zeros};
use super::*;
use crate::compress::Plan;
use crate::interrupt::Interrupt;
use crate::model::{LmConfig, Splits};
use crate::progress::Silent;
use crate::train::{Compressor, OptimizerKind, Recipe, TrainingRun};

/// A model of several clusters with all locked dropouts; with widths, an adaptive one.
fn config(widths: Option<&[usize]>) -> LmConfig {
    let config = LmConfig::paper(12, 20)
        .init_range(0.5)
        .embedding_dropout(0.1)
        .zoneout(0.1)
        .splits(Splits::At(vec![20, 35, 50]));
    LmConfig { vocab: 60, widths: widths.map(<[usize]>::to_vec), ..config }
}

/// A text of 60 words, and a model for it.
fn corpus_and_model(config: &LmConfig, device: Device) -> (Corpus, QrnnLm) {
    tch::set_num_threads(1);
    let ids = |n: u32, step: u32| (0..n).map(|i| (i * step + i * i / 7) % 60).collect::<Vec<_>>();
    let corpus = Corpus::from_ids("made", 60, [ids(400, 1), ids(60, 3), ids(40, 5)]).unwrap();
    let corpus = if config.widths.is_some() { corpus.by_frequency() } else { corpus };
    let model = QrnnLm::new(config, &corpus, device).unwrap();
    (corpus, model)
}

/// Losses with the test's, and the model with the exact weights of the last step.
struct Run {
    losses: Vec<f64>,
    model: QrnnLm,
}

fn run_on(
    device: Device,
    config: &LmConfig,
    (recipe, gradual): (&Recipe, &Gradual),
    precision: Precision,
) -> Run {
    let (corpus, mut model) = corpus_and_model(config, device);
    model.set_precision(precision);
    let compressor = Compressor::gradual(gradual.clone(), recipe.clone());
    let (run, _) = compressor.fit_with(&mut model, &corpus, &mut Silent).unwrap();
    assert!(model.copy_grids().is_none(), "the copies are rounded after the run");
    let mut losses = run.losses;
    losses.extend(run.test_loss);
    Run { losses, model }
}

/// On the CPU, or by the operations of a GPU on the host shim.
fn run(
    on_shim: bool,
    config: &LmConfig,
    settings: (&Recipe, &Gradual),
    precision: Precision,
) -> Run {
    let work = || run_on(Device::Cpu, config, settings, precision);
    if on_shim { as_on_a_gpu(work) } else { work() }
}

/// Half of all weights, in updates every 4 steps.
fn half() -> Gradual {
    let plan = Plan::new().zeros("", 0.5).activation_bits(8);
    Gradual { every: 4, ..Gradual::new(plan) }
}

fn short() -> Recipe {
    let paper = Recipe::paper().bptt(6).batch(3).epochs(1).lr(3e-3).seed(4);
    Recipe { wdecay: 1e-3, ..paper }
}

fn furthest(ours: &[f64], theirs: &[f64]) -> f64 {
    assert!(ours.len() > 15 && ours.len() == theirs.len(), "{} and {}", ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// In single precision: with masks in the optimizer's kernel and rounded copies in place of a shadow, and for a
/// codebook, few activation bits, dropped weights and another optimizer, with the shadow.
#[test]
fn the_operations_of_a_gpu_take_the_same_steps() {
    let few = |plan: Plan| Gradual { plan, ..half() };
    let zeros_of_half = Plan::new().zeros("", 0.5);
    let book = zeros_of_half.clone().weights(Grid::Codebook).bits("", 6);
    let published = config(None);
    let dropped = LmConfig { weight_drop: 0.2, ..published.clone() };
    let asgd = Recipe { optimizer: OptimizerKind::Asgd, lr: 0.5, ..short() };
    for (name, config, recipe, gradual) in [
        ("published", &published, short(), half()),
        ("adaptive", &config(Some(&[12, 5, 3, 1])), short(), half()),
        ("narrow head", &config(Some(&[7, 12, 3, 2])), short(), half()),
        ("few bits", &published, short(), few(zeros_of_half.clone().bits("", 3))),
        ("blocks", &published, short(), few(zeros_of_half.clone().block(4).power_of_two(true))),
        ("book", &published, short(), few(book)),
        // They are rounded from the second epoch on.
        (
            "few activation bits",
            &published,
            short().epochs(2),
            few(zeros_of_half.activation_bits(4)),
        ),
        ("dropped weights", &dropped, short(), half()),
        ("averages", &published, asgd, half()),
    ] {
        let ours = run(true, config, (&recipe, &gradual), Precision::Single);
        let theirs = run(false, config, (&recipe, &gradual), Precision::Single);
        let off = furthest(&ours.losses, &theirs.losses);
        println!("{name}: {off:.1e} over {} steps", ours.losses.len());
        assert_ne!(ours.losses, theirs.losses, "sums in another order round otherwise");
        assert!(off < 5e-5, "{name}: {off:e}");
        for ((name, a), (_, b)) in
            ours.model.parameters().into_iter().zip(theirs.model.parameters())
        {
            assert_eq!(zeros(a), zeros(b), "{name}");
            if name.ends_with(".weight") {
                assert_eq!(zeros(a), a.numel() as i64 / 2, "{name}");
            }
            let distance = ((a - b).norm() / b.norm().clamp_min(1e-3)).double_value(&[]);
            assert!(distance < 1e-3, "{name}: {distance:e}");
        }
    }
}

#[test]
fn bf16_is_within_its_rounding() {
    for config in [config(None), config(Some(&[12, 5, 3, 1]))] {
        let recipe = Recipe { lr: 1e-3, ..short() };
        let ours = run(true, &config, (&recipe, &half()), Precision::Bf16);
        let theirs = run(false, &config, (&recipe, &half()), Precision::Single);
        let off = furthest(&ours.losses, &theirs.losses);
        println!("bf16: {off:.1e}");
        assert!(off > 0.0 && off < 1e-2, "{off:e}");
    }
}

/// A GPU's exponentials differ from the CPU's in their last bits, and weights near the middle of two integers or near
/// the border of the pruned ones may go to the other side.
#[test]
#[ignore = "needs a GPU"]
fn on_a_gpu_compression_takes_the_steps_of_the_cpu() {
    let device = qrnn_ops::device::cuda().unwrap();
    for config in [config(None), config(Some(&[12, 5, 3, 1]))] {
        let (recipe, gradual) = (short(), half());
        let ours = run_on(device, &config, (&recipe, &gradual), Precision::Single);
        let theirs = run(false, &config, (&recipe, &gradual), Precision::Single);
        let off = furthest(&ours.losses, &theirs.losses);
        println!("compression on a GPU: {off:.1e} over {} steps", ours.losses.len());
        assert!(off < 1e-3, "{off:e}");
        for ((name, a), (_, b)) in
            ours.model.parameters().into_iter().zip(theirs.model.parameters())
        {
            assert_eq!(zeros(a), zeros(b), "{name}");
        }
    }
}

/// Only the shadow of a model has a parameter for each rounded weight.
#[test]
fn a_shadow_is_built_only_where_it_is_needed() {
    let uses_shadow = |config: &LmConfig, plan: Plan| {
        let model = QrnnLm::seeded(config, (Kind::Float, Device::Cpu), 3).unwrap();
        let compression = Compression::new(&Gradual::new(plan), &model).unwrap();
        let on_cpu = compression.shadow(&model).unwrap().is_some();
        assert!(on_cpu);
        as_on_a_gpu(|| compression.shadow(&model).unwrap().is_some())
    };
    let plain = config(None);
    let dropped = LmConfig { weight_drop: 0.2, ..plain.clone() };
    assert!(!uses_shadow(&plain, Plan::new()));
    assert!(!uses_shadow(&plain, Plan::new().bits("", 3).activation_bits(8)));
    assert!(uses_shadow(&plain, Plan::new().activation_bits(7)));
    assert!(uses_shadow(&plain, Plan::new().weights(Grid::Codebook)));
    assert!(uses_shadow(&dropped, Plan::new()));
}

/// With weight decay, by the exact weights of the last step.
#[test]
fn zeros_never_come_back() {
    let recipe = Recipe { wdecay: 1e-1, ..short().epochs(2).lr(1e-2) };
    let gradual = Gradual { until: 0.2, ..half() };
    for precision in [Precision::Single, Precision::Bf16] {
        let model = run(true, &config(None), (&recipe, &gradual), precision).model;
        for (name, parameter) in model.parameters() {
            let expected = if name.ends_with(".weight") { parameter.numel() as i64 / 2 } else { 0 };
            assert_eq!(zeros(parameter), expected, "{name}");
        }
    }
}

/// A run of two epochs, from the checkpoint in a folder, if there is one, to a step.
fn resumed(
    folder: Option<&Path>,
    (config, gradual, precision): (&LmConfig, &Gradual, Precision),
    stop: Option<u64>,
) -> (TrainingRun, Option<CompressedLm>) {
    let (corpus, mut model) = corpus_and_model(config, Device::Cpu);
    model.set_precision(precision);
    let interrupt = Interrupt::default();
    let mut progress = StopAt(interrupt.clone(), stop.unwrap_or(u64::MAX));
    let mut compressor =
        Compressor::gradual(gradual.clone(), short().epochs(2)).interrupt(interrupt).resume(true);
    if let Some(folder) = folder {
        compressor = compressor.folder(folder);
    }
    compressor.fit_with(&mut model, &corpus, &mut progress).unwrap()
}

#[test]
fn resuming_equals_not_stopping_to_the_bit() {
    let adaptive = config(Some(&[12, 5, 3, 1]));
    let few = Gradual { plan: Plan::new().zeros("", 0.5).bits("rnns", 4), ..half() };
    for (config, gradual, precision) in [
        (&config(None), &half(), Precision::Single),
        (&config(None), &few, Precision::Bf16),
        (&adaptive, &half(), Precision::Bf16),
    ] {
        let settings = (config, gradual, precision);
        let (whole, compressed) = as_on_a_gpu(|| resumed(None, settings, None));
        let folder = tempfile::tempdir().unwrap();
        let mut last = None;
        for stop in [Some(3), Some(8), Some(22), Some(30), None] {
            last = Some(as_on_a_gpu(|| resumed(Some(folder.path()), settings, stop)));
        }
        let (run, resumed) = last.unwrap();
        assert_eq!(run.losses, whole.losses);
        assert!(run.losses.len() > 25);
        assert_eq!(run.test_loss, whole.test_loss);
        assert_eq!(resumed.unwrap().file().tensors, compressed.unwrap().file().tensors);
    }
}
