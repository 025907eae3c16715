use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::compress::{CompressedLm, Gradual, Plan};
use crate::data::{Corpus, Split};
use crate::interrupt::Interrupt;
use crate::model::{LmConfig, QrnnLm, Splits};
use crate::packed::{Grid, StoredTensor};
use crate::progress::{Progress, Silent, StepReport};
use crate::train::{Compressor, OptimizerKind, Recipe, TrainingRun};
use crate::view::progress::evaluate;
use crate::{Error, Result};

fn corpus() -> Corpus {
    tch::set_num_threads(1);
    Corpus::synthetic().take_train(6_000)
}

fn model(corpus: &Corpus) -> QrnnLm {
    let config = LmConfig::paper(12, 24)
        .vocab(corpus.vocab().len())
        .layers(2)
        .splits(Splits::At(vec![200, 1000]));
    let mut model = QrnnLm::seeded(&config, (tch::Kind::Float, Device::Cpu), 1).unwrap();
    model.adopt_vocab(corpus);
    model
}

fn recipe() -> Recipe {
    Recipe::paper().bptt(20).batch(6).epochs(2).lr(3e-3)
}

fn gradual() -> Gradual {
    let plan = Plan::new().zeros("rnns", 0.75).zeros("encoder", 0.5).bits("rnns.1", 4);
    Gradual { every: 7, ..Gradual::new(plan.activation_bits(8)) }
}

fn fit(recipe: Recipe, gradual: Gradual) -> (TrainingRun, CompressedLm, QrnnLm) {
    let corpus = corpus();
    let mut model = model(&corpus);
    let compressor = Compressor::gradual(gradual, recipe);
    let (run, compressed) = compressor.fit_with(&mut model, &corpus, &mut Silent).unwrap();
    (run, compressed.unwrap(), model)
}

pub(super) fn zeros(tensor: &Tensor) -> i64 {
    tensor.numel() as i64 - i64::try_from(tensor.count_nonzero(None)).unwrap()
}

#[test]
fn zeros_are_exact_and_the_file_holds_what_was_tested() {
    // With updates at the ends of epochs alone, too, where averaged weights are in the model.
    for (optimizer, every) in
        [(OptimizerKind::Adam, 7), (OptimizerKind::Asgd, 7), (OptimizerKind::Asgd, 10_000)]
    {
        let recipe = Recipe { wdecay: 1e-3, ..recipe().optimizer(optimizer) };
        let (run, compressed, model) = fit(recipe, Gradual { every, ..gradual() });
        // The exact weights of the last step: pruned ones never came back.
        for (name, parameter) in model.parameters() {
            let share = match name.as_str() {
                "encoder.weight" => 0.5,
                name if name.ends_with("linear.weight") => 0.75,
                _ => continue,
            };
            assert_eq!(zeros(parameter), (parameter.numel() as f64 * share) as i64, "{name}");
        }
        // A kept weight that rounds to 0 leaves the mask too.
        for report in compressed.tensors().iter().filter(|report| report.name.ends_with(".weight"))
        {
            let elements: usize = report.shape.iter().product();
            let share = if report.name.starts_with("rnns") { 0.25 } else { 0.5 };
            assert!(report.nonzeros as f64 <= elements as f64 * share, "{report:?}");
            assert!(report.nonzeros as f64 > elements as f64 * share * 0.8, "{report:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        compressed.save(folder.path()).unwrap();
        let opened = QrnnLm::open(folder.path(), Device::Cpu).unwrap();
        let test = evaluate(&opened, &corpus(), Split::Test).unwrap();
        assert_eq!(Some(test.loss), run.test_loss);
    }
}

#[test]
fn the_best_epoch_has_all_zeros() {
    // The first epoch, without zeros, is better than any later one at this rate.
    let (run, compressed, _) = fit(recipe().epochs(3).lr(1e-4), gradual());
    assert_eq!(run.epochs.len(), 3);
    let tensors = compressed.tensors();
    let encoder = tensors.iter().find(|tensor| tensor.name == "encoder.weight").unwrap();
    assert!(encoder.nonzeros as usize <= encoder.shape.iter().product::<usize>() / 2);
}

/// Asks for a stop after some steps.
pub(super) struct StopAt(pub Interrupt, pub u64);
impl Progress for StopAt {
    fn step(&mut self, step: &StepReport) {
        if step.step == self.1 {
            self.0.request();
        }
    }
}

fn resumed(
    folder: &Path,
    (recipe, gradual): (Recipe, Gradual),
    stop: Option<u64>,
) -> Result<(TrainingRun, Option<CompressedLm>)> {
    let corpus = corpus();
    let mut model = model(&corpus);
    let interrupt = Interrupt::default();
    let mut progress = StopAt(interrupt.clone(), stop.unwrap_or(u64::MAX));
    Compressor::gradual(gradual, recipe).interrupt(interrupt).folder(folder).resume(true).fit_with(
        &mut model,
        &corpus,
        &mut progress,
    )
}

#[test]
fn resuming_equals_not_stopping_to_the_bit() {
    let book =
        Plan::new().zeros("rnns", 0.6).weights(Grid::Codebook).bits("", 3).activation_bits(5);
    let book = Gradual { every: 10, ..Gradual::new(book) };
    for (optimizer, gradual) in [
        (OptimizerKind::Adam, gradual()),
        (OptimizerKind::Adam, book),
        (OptimizerKind::Sgd, gradual()),
    ] {
        let recipe = Recipe { nonmono: 0, ..recipe().epochs(3).optimizer(optimizer) };
        let (whole, compressed, _) = fit(recipe.clone(), gradual.clone());
        let folder = tempfile::tempdir().unwrap();
        let all = whole.losses.len() as u64;
        let mut last = None;
        for stop in [Some(3), Some(14), Some(all / 2), Some(all - 2), None] {
            let settings = (recipe.clone(), gradual.clone());
            last = Some(resumed(folder.path(), settings, stop).unwrap());
        }
        let (run, resumed) = last.unwrap();
        assert_eq!(run.losses, whole.losses, "{optimizer:?}");
        assert_eq!(run.test_loss, whole.test_loss);
        assert_eq!(resumed.unwrap().file().tensors, compressed.file().tensors);
    }
}

#[test]
fn a_run_is_not_resumed_by_another_plan() {
    let folder = tempfile::tempdir().unwrap();
    resumed(folder.path(), (recipe(), gradual()), Some(9)).unwrap();
    let other = Gradual { plan: gradual().plan.zeros("rnns.0", 0.5), ..gradual() };
    let settings = [
        (recipe(), other),
        (recipe().epochs(3), gradual()),
        (recipe(), Gradual { every: 9, ..gradual() }),
    ];
    for settings in settings {
        let error = resumed(folder.path(), settings, None).unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
        assert!(error.to_string().contains(".resume(true)"), "{error}");
    }
    let corpus = corpus();
    let config = model(&corpus).config().clone();
    let mut other = QrnnLm::seeded(&config, (Kind::Float, Device::Cpu), 9).unwrap();
    other.adopt_vocab(&corpus);
    let compressor = Compressor::gradual(gradual(), recipe()).folder(folder.path()).resume(true);
    let error = compressor.fit_with(&mut other, &corpus, &mut Silent).unwrap_err().to_string();
    assert!(error.contains("started from another model"), "{error}");
    resumed(folder.path(), (recipe(), gradual()), None).unwrap();
}

/// At 8 bits and without zeros, compression costs next to nothing.
#[test]
fn eight_bits_are_nearly_exact() {
    let corpus = corpus();
    let mut model = model(&corpus);
    crate::train::Trainer::new(recipe()).fit_with(&mut model, &corpus, &mut Silent).unwrap();
    let exact = evaluate(&model, &corpus, Split::Test).unwrap().loss;
    let rounded = |plan: Plan| {
        let small = CompressedLm::one_shot(&model, &corpus, &plan).unwrap();
        evaluate(small.model(), &corpus, Split::Test).unwrap().loss
    };
    let eight = rounded(Plan::new().activation_bits(8));
    assert!(eight != exact && (eight - exact).abs() < 0.01, "{eight} and {exact}");
    let two = rounded(Plan::new().bits("", 2));
    assert!(two > exact + 0.02, "{two} and {exact}");
    let book = rounded(Plan::new().bits("", 4).weights(Grid::Codebook));
    let grid = rounded(Plan::new().bits("", 4));
    assert!(book < grid + 0.005, "{book} and {grid}");
}

#[test]
fn a_compressed_model_is_not_trained() {
    let corpus = corpus();
    let model = model(&corpus);
    let small = CompressedLm::one_shot(&model, &corpus, &Plan::new()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    small.save(folder.path()).unwrap();
    let mut opened = QrnnLm::open(folder.path(), Device::Cpu).unwrap();
    let trainer = crate::train::Trainer::new(recipe());
    let error = trainer.fit_with(&mut opened, &corpus, &mut Silent).unwrap_err();
    assert!(error.to_string().contains("is compressed"), "{error}");
    let error = CompressedLm::one_shot(&opened, &corpus, &Plan::new()).unwrap_err();
    assert!(error.to_string().contains("is compressed already"), "{error}");
    let mut dense = self::model(&corpus);
    let error = dense.load_weights(folder.path()).unwrap_err();
    assert!(error.to_string().contains("is a compressed model"), "{error}");
}

#[test]
fn stored_tensors_are_what_the_plan_says() {
    let (_, compressed, _) = fit(recipe(), gradual());
    for (name, tensor) in &compressed.file().tensors {
        let bits = match tensor {
            StoredTensor::Packed(tensor) => Some(tensor.bits()),
            StoredTensor::Float { .. } => None,
        };
        let expected = match name.as_str() {
            "rnns.1.linear.weight" => Some(4),
            name if name.ends_with("linear.bias") => None,
            "criterion.tail_bias" | "activations.scale" => None,
            _ => Some(8),
        };
        assert_eq!(bits, expected, "{name}");
    }
}
