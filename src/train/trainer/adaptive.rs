//! Training of adaptive models.

use qrnn_ops::cuda::host_shim::as_on_a_gpu;
use qrnn_ops::matmul::Precision;
use tch::{Device, Tensor};

use super::tests::{StopAt, recipe};
use super::*;
use crate::Error;
use crate::data::{IdOrder, Split};
use crate::model::{LmConfig, SavedModel, Splits};
use crate::progress::Silent;
use crate::train::RunDir;

fn corpus() -> Corpus {
    tch::set_num_threads(1);
    Corpus::synthetic().by_frequency().take_train(6_000)
}

fn config(widths: [usize; 3]) -> LmConfig {
    LmConfig::paper(12, 24).layers(2).splits(Splits::At(vec![200, 1000])).widths(widths)
}

fn model(corpus: &Corpus, widths: [usize; 3]) -> QrnnLm {
    QrnnLm::new(&config(widths), corpus, Device::Cpu).unwrap()
}

#[test]
fn the_loss_falls_and_the_run_states_the_order_of_ids() {
    let (corpus, folder) = (corpus(), tempfile::tempdir().unwrap());
    let mut model = model(&corpus, [12, 6, 2]);
    let trainer = Trainer::new(recipe().epochs(2)).folder(folder.path());
    let run = trainer.fit_with(&mut model, &corpus, &mut Silent).unwrap();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let n = run.losses.len();
    assert!(mean(&run.losses[n - 10..]) < mean(&run.losses[..10]) - 0.5, "{:?}", run.losses);
    assert_eq!(run.parameters, model.parameter_count());
    let config = RunDir::config_of(&folder.path().join("model.safetensors")).unwrap().unwrap();
    assert_eq!((config.ids, config.model.widths), (IdOrder::Frequency, Some(vec![12, 6, 2])));
    let saved = SavedModel::open(folder.path()).unwrap();
    assert_eq!(saved.ids(), Some(IdOrder::Frequency));
    let opened = saved.model(None, Device::Cpu).unwrap();
    let test = crate::view::progress::evaluate(&opened, &corpus, Split::Test).unwrap();
    assert!((test.loss - run.test_loss.unwrap()).abs() < 1e-6);
}

#[test]
fn ids_in_order_of_first_appearance_are_refused() {
    let corpus = corpus();
    let mut model = model(&corpus, [12, 6, 2]);
    let error = Trainer::new(recipe()).fit_with(&mut model, &Corpus::synthetic(), &mut Silent);
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Config { .. }), "{error}");
    assert!(error.to_string().contains("`.by_frequency()`"), "{error}");
}

/// For every optimizer.
#[test]
fn a_resumed_run_is_one_that_never_stopped_to_the_bit() {
    let corpus = corpus();
    let recipe = recipe().epochs(2);
    for recipe in
        [recipe.clone(), Recipe { optimizer: crate::train::OptimizerKind::Asgd, ..recipe }]
    {
        let folders = [(), ()].map(|()| tempfile::tempdir().unwrap());
        let trainer = |at: usize| Trainer::new(recipe.clone()).folder(folders[at].path());
        let mut whole = model(&corpus, [8, 12, 2]);
        let expected = trainer(0).fit_with(&mut whole, &corpus, &mut Silent).unwrap();
        for stop in [30, 70] {
            let interrupt = Interrupt::default();
            let mut stop = StopAt(interrupt.clone(), stop);
            let mut part = model(&corpus, [8, 12, 2]);
            let trainer = trainer(1).resume(true).interrupt(interrupt);
            assert!(trainer.fit_with(&mut part, &corpus, &mut stop).unwrap().interrupted);
        }
        let mut resumed = model(&corpus, [8, 12, 2]);
        let run = trainer(1).resume(true).fit_with(&mut resumed, &corpus, &mut Silent).unwrap();
        assert_eq!((run.losses, run.test_loss), (expected.losses, expected.test_loss));
        for ((name, a), (_, b)) in resumed.parameters().into_iter().zip(whole.parameters()) {
            assert_eq!(a, b, "{name}");
        }
        // Neither with other widths nor without them.
        let no_widths = LmConfig { widths: None, ..config([8, 12, 2]) };
        for (config, message) in [
            (config([8, 12, 3]), "has widths [8,12,2], but this call has [8,12,3]"),
            (no_widths, "has widths [8,12,2], but this call has none"),
        ] {
            let mut other = QrnnLm::new(&config, &corpus, Device::Cpu).unwrap();
            let run = trainer(1).resume(true).fit_with(&mut other, &corpus, &mut Silent);
            let error = run.unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}

#[test]
fn a_run_by_frequency_does_not_resume_in_the_other_order() {
    let frequent = corpus();
    let first = Corpus::synthetic().take_train(6_000);
    let folder = tempfile::tempdir().unwrap();
    let published = LmConfig { widths: None, ..config([12, 6, 2]) };
    let recipe = Recipe { steps: Some(5), ..recipe() };
    let mut model = QrnnLm::new(&published, &frequent, Device::Cpu).unwrap();
    let trainer = Trainer::new(recipe).folder(folder.path()).resume(true);
    trainer.fit_with(&mut model, &frequent, &mut Silent).unwrap();
    let mut other = QrnnLm::new(&published, &first, Device::Cpu).unwrap();
    let error = trainer.fit_with(&mut other, &first, &mut Silent).unwrap_err().to_string();
    assert!(error.contains("by frequency") && error.contains("`.by_frequency()`"), "{error}");
}

/// Steps with Adam, clipping and all dropouts by the operations of a GPU on the host shim.
#[test]
fn the_operations_of_a_gpu_take_the_same_steps() {
    tch::set_num_threads(1);
    let ids = |n: u32, step: u32| (0..n).map(|i| (i * step + i * i / 7) % 60).collect::<Vec<_>>();
    let corpus = Corpus::from_ids("made", 60, [ids(400, 1), ids(60, 3), ids(40, 5)]).unwrap();
    let corpus = corpus.by_frequency();
    for widths in [vec![12, 5, 3, 1], vec![7, 12, 3, 2]] {
        let config = LmConfig::paper(12, 20)
            .init_range(0.5)
            .embedding_dropout(0.1)
            .weight_drop(0.2)
            .zoneout(0.1)
            .splits(Splits::At(vec![21, 35, 50]))
            .widths(widths);
        let run = |on_gpu: bool, precision: Precision| {
            let work = || {
                let mut model = QrnnLm::new(&config, &corpus, Device::Cpu).unwrap();
                model.set_precision(precision);
                let recipe = Recipe::paper().bptt(6).batch(3).epochs(1).lr(3e-3).seed(4);
                let run = Trainer::new(recipe).fit_with(&mut model, &corpus, &mut Silent).unwrap();
                let mut losses = run.losses;
                losses.extend(run.test_loss);
                (losses, model.weight_copies().unwrap())
            };
            if on_gpu { as_on_a_gpu(work) } else { work() }
        };
        let (expected, expected_weights) = run(false, Precision::Single);
        for (precision, tolerance) in [(Precision::Single, 2e-4), (Precision::Bf16, 4e-2)] {
            let (losses, weights) = run(true, precision);
            assert!(losses.len() > 15 && losses.len() == expected.len());
            for (step, (ours, theirs)) in losses.iter().zip(&expected).enumerate() {
                assert!((ours - theirs).abs() < tolerance, "step {step}: {ours} and {theirs}");
            }
            for (ours, theirs) in weights.iter().zip(&expected_weights) {
                let off: Tensor = (ours - theirs).norm() / theirs.norm().clamp_min(1e-3);
                assert!(precision == Precision::Bf16 || off.double_value(&[]) < 1e-3);
            }
        }
    }
}
