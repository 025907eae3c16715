use tch::{Device, Kind};

use super::*;
use crate::Error;
use crate::data::Split;
use crate::files::run_folder::checkpoints;
use crate::model::{LmConfig, Splits};
use crate::progress::{Progress, Silent, StepReport};
use crate::train::{OptimizerKind, Record};

pub(super) fn corpus() -> Corpus {
    // Tests run side by side: threads that wait for each other would starve.
    tch::set_num_threads(1);
    Corpus::synthetic().take_train(6_000)
}

pub(super) fn model(corpus: &Corpus, dropout: f64) -> QrnnLm {
    let config = LmConfig::paper(12, 24)
        .vocab(corpus.vocab().len())
        .layers(2)
        .locked_dropouts(dropout, dropout, dropout)
        .splits(Splits::At(vec![200, 1000]));
    QrnnLm::seeded(&config, (Kind::Float, Device::Cpu), 1).unwrap()
}

pub(super) fn recipe() -> Recipe {
    Recipe::paper().bptt(20).batch(6).epochs(1).lr(3e-3)
}

fn fit(recipe: Recipe, dropout: f64) -> (TrainingRun, QrnnLm) {
    let corpus = corpus();
    let mut model = model(&corpus, dropout);
    let run = Trainer::new(recipe).fit_with(&mut model, &corpus, &mut Silent).unwrap();
    (run, model)
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

fn mean(losses: &[f64]) -> f64 {
    losses.iter().sum::<f64>() / losses.len() as f64
}

#[test]
fn the_loss_falls_and_the_run_is_what_it_says() {
    let (run, model) = fit(recipe().epochs(2), 0.1);
    let n = run.losses.len();
    assert!(mean(&run.losses[n - 10..]) < mean(&run.losses[..10]) - 0.5, "{:?}", run.losses);
    assert_eq!(run.epochs.len(), 2);
    assert_eq!(run.parameters, model.parameter_count());
    let test = crate::view::progress::evaluate(&model, &corpus(), Split::Test).unwrap();
    assert!((test.loss - run.test_loss.unwrap()).abs() < 1e-6);
    assert!(test.reference_loss < test.loss);
}

#[test]
fn the_same_seed_gives_the_same_losses_and_another_does_not() {
    let losses = |seed| fit(Recipe { steps: Some(8), ..recipe().seed(seed) }, 0.3).0.losses;
    assert_eq!(losses(1), losses(1));
    assert_ne!(losses(1), losses(2));
}

#[test]
fn a_number_of_steps_is_kept_to() {
    let (run, _) = fit(Recipe { steps: Some(7), ..recipe() }, 0.0);
    assert_eq!(run.losses.len(), 7);
    assert_eq!(run.epochs.len(), 1);
    assert!(run.test_ppl.is_some());
}

#[test]
fn regularizers_weigh_on_the_weights_but_not_on_the_reported_loss() {
    let first = |alpha, beta| fit(Recipe { alpha, beta, steps: Some(2), ..recipe() }, 0.0).0.losses;
    let (plain, heavy) = (first(0.0, 0.0), first(1e4, 1e4));
    assert_eq!(plain[0], heavy[0]);
    assert_ne!(plain[1], heavy[1]);
}

#[test]
fn a_diverging_run_says_at_which_step_and_rate() {
    let corpus = corpus();
    let mut model = model(&corpus, 0.0);
    {
        let _no_grad = tch::no_grad_guard();
        let _ = model.parameters()[0].1.shallow_clone().fill_(f64::NAN);
    }
    let error = Trainer::new(recipe()).fit_with(&mut model, &corpus, &mut Silent).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
    assert!(error.to_string().contains("encoder.weight"), "{error}");
}

/// BUGS A5: a model that was trained before is not lost to a run that diverges.
#[test]
fn a_run_that_diverges_leaves_the_model_as_it_was_before_that_step() {
    let corpus = corpus();
    for optimizer in [OptimizerKind::Adam, OptimizerKind::Sgd, OptimizerKind::Asgd] {
        let run = |steps| {
            let mut model = model(&corpus, 0.0);
            let recipe = Recipe { optimizer, steps, clip: 0.0, ..recipe().lr(1e30) };
            let result = Trainer::new(recipe).fit_with(&mut model, &corpus, &mut Silent);
            (result, model)
        };
        let (result, model) = run(None);
        let Err(Error::Diverged { step, .. }) = result else { panic!("{optimizer:?}: {result:?}") };
        model.check_finite().unwrap();
        // The same run, ended before that step.
        let mut before = self::model(&corpus, 0.0);
        if step > 0 {
            let recipe = Recipe { optimizer, clip: 0.0, ..recipe().lr(1e30) };
            let interrupt = Interrupt::default();
            let mut stop = StopAt(interrupt.clone(), step);
            let trainer = Trainer::new(recipe).interrupt(interrupt);
            trainer.fit_with(&mut before, &corpus, &mut stop).unwrap();
        }
        for ((name, a), (_, b)) in model.parameters().into_iter().zip(before.parameters()) {
            assert_eq!(a, b, "{optimizer:?}: {name}");
        }
    }
}

/// On a GPU the host runs ahead. No result of a run depends on when its losses are read.
#[test]
fn losses_read_in_bursts_are_those_read_one_by_one() {
    let corpus = corpus();
    let run = |at_once| {
        let (mut model, folder) = (model(&corpus, 0.3), tempfile::tempdir().unwrap());
        let recipe = Recipe { steps: Some(60), ..recipe().epochs(2) };
        let run = Trainer::new(recipe)
            .folder(folder.path())
            .checkpoint_every(11)
            .log_every(13)
            .losses_at_once(at_once)
            .fit_with(&mut model, &corpus, &mut Silent)
            .unwrap();
        let log = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
        let steps: Vec<_> = log
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| (line["step"].as_u64(), line["epoch"].as_u64(), line["loss"].as_f64()))
            .collect();
        (run.losses, run.test_loss, steps, model.weight_copies().unwrap())
    };
    let plain = run(1);
    assert!(plain.0.len() == 60 && plain.2.len() > 5);
    for at_once in [4, 1000] {
        assert!(run(at_once) == plain, "{at_once} at once");
    }
}

#[test]
fn a_run_ends_at_the_same_step_and_weights_however_late_its_loss_is_read() {
    let corpus = corpus();
    for optimizer in [OptimizerKind::Adam, OptimizerKind::Sgd] {
        let run = |at_once| {
            let mut model = model(&corpus, 0.0);
            let recipe = Recipe { optimizer, clip: 0.0, ..recipe().lr(1e30) };
            let trainer = Trainer::new(recipe).losses_at_once(at_once);
            let error = trainer.fit_with(&mut model, &corpus, &mut Silent).unwrap_err();
            let Error::Diverged { step, .. } = error else { panic!("{error}") };
            (step, model.weight_copies().unwrap())
        };
        let ((step, weights), (late_step, late_weights)) = (run(1), run(16));
        assert!(step > 0 && step == late_step, "{step}, {late_step}");
        for (a, b) in weights.iter().zip(&late_weights) {
            assert!(a.allclose(b, 0.0, 0.0, true), "{optimizer:?}");
        }
    }
}

#[test]
fn an_interrupt_keeps_what_was_learned() {
    let corpus = corpus();
    let (mut model, folder) = (model(&corpus, 0.0), tempfile::tempdir().unwrap());
    let before = model.parameters()[0].1.copy();
    let interrupt = Interrupt::default();
    let mut stop = StopAt(interrupt.clone(), 5);
    let run = Trainer::new(recipe())
        .interrupt(interrupt)
        .folder(folder.path())
        .fit_with(&mut model, &corpus, &mut stop)
        .unwrap();
    assert!(run.interrupted && run.losses.len() == 5);
    assert_ne!(&before, model.parameters()[0].1);
    let mut saved = self::model(&corpus, 0.0);
    saved.load_weights(folder.path().join("model.safetensors")).unwrap();
    assert_eq!(saved.parameters()[0].1, model.parameters()[0].1);
}

#[test]
fn the_log_holds_every_epoch_and_can_be_read_back() {
    let corpus = corpus();
    let (mut model, folder) = (model(&corpus, 0.0), tempfile::tempdir().unwrap());
    let run = Trainer::new(recipe().epochs(2))
        .folder(folder.path())
        .fit_with(&mut model, &corpus, &mut Silent)
        .unwrap();
    let text = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    let records: Vec<Record> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let epochs: Vec<_> = records
        .iter()
        .filter_map(|record| match record {
            Record::Epoch(report) => Some(report.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(epochs, run.epochs);
    assert!(matches!(records.last(), Some(Record::Test { .. })));
}

#[test]
fn too_little_text_is_found_before_anything_is_written() {
    let corpus = corpus().take_train(8);
    let (mut model, folder) = (model(&corpus, 0.0), tempfile::tempdir().unwrap());
    let out = folder.path().join("run");
    let error =
        Trainer::new(recipe()).folder(&out).fit_with(&mut model, &corpus, &mut Silent).unwrap_err();
    assert!(error.to_string().contains("recipe.batch 6"), "{error}");
    assert!(!out.exists());
}

/// Stops after each number of steps in turn, resumes in a new model, and must come to the same.
#[test]
fn resuming_equals_not_stopping_to_the_bit() {
    for optimizer in [OptimizerKind::Adam, OptimizerKind::Sgd, OptimizerKind::Asgd] {
        // So few epochs without progress that plain descent turns to averaging on the way.
        let recipe = Recipe { nonmono: 0, ..recipe().epochs(3).optimizer(optimizer).lr(4e-3) };
        let corpus = corpus();
        let mut whole = model(&corpus, 0.2);
        let undisturbed =
            Trainer::new(recipe.clone()).fit_with(&mut whole, &corpus, &mut Silent).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut last = None;
        for steps in [Some(3), Some(20), Some(undisturbed.losses.len() as u64 / 2), None] {
            let mut model = model(&corpus, 0.2); // fresh weights: all must come from the checkpoint
            let interrupt = Interrupt::default();
            let mut stop = StopAt(interrupt.clone(), steps.unwrap_or(u64::MAX));
            let run = Trainer::new(recipe.clone())
                .interrupt(interrupt)
                .folder(folder.path())
                .resume(true)
                .fit_with(&mut model, &corpus, &mut stop)
                .unwrap();
            assert_eq!(run.interrupted, steps.is_some());
            last = Some((run, model));
        }
        let (run, model) = last.unwrap();
        assert_eq!(run.losses, undisturbed.losses, "{optimizer:?}");
        assert_eq!(run.test_loss, undisturbed.test_loss);
        for ((name, a), (_, b)) in whole.parameters().into_iter().zip(model.parameters()) {
            assert_eq!(a, b, "{name}");
        }
    }
}

#[test]
fn a_run_is_neither_mixed_with_another_nor_lost_to_it() {
    let corpus = corpus();
    let folder = tempfile::tempdir().unwrap();
    let fit = |trainer: Trainer, corpus: &Corpus| {
        let trainer = trainer.folder(folder.path());
        trainer.fit_with(&mut model(corpus, 0.0), corpus, &mut Silent)
    };
    let short = Recipe { steps: Some(3), ..recipe() };
    fit(Trainer::new(short.clone()), &corpus).unwrap();
    let message = |result: Result<TrainingRun>| result.unwrap_err().to_string();
    let again = message(fit(Trainer::new(short.clone()), &corpus));
    assert!(again.contains(".resume(true)") && again.contains(".overwrite(true)"), "{again}");
    let other = message(fit(Trainer::new(short.clone().lr(0.5)).resume(true), &corpus));
    assert!(other.contains("lr 0.003") && other.contains("0.5"), "{other}");
    fit(Trainer::new(short.clone().lr(0.5)).overwrite(true), &corpus).unwrap();

    let held = crate::train::RunDir::open(folder.path()).unwrap();
    let busy = message(fit(Trainer::new(short.clone()).overwrite(true), &corpus));
    assert!(busy.contains("another process"), "{busy}");
    drop(held);
    fit(Trainer::new(short).overwrite(true), &corpus).unwrap();
}

#[test]
fn damaged_checkpoints_are_refused_by_name() {
    let corpus = corpus();
    let folder = tempfile::tempdir().unwrap();
    let short = Recipe { steps: Some(3), ..recipe() };
    let fit = |resume| {
        Trainer::new(short.clone()).folder(folder.path()).resume(resume).fit_with(
            &mut model(&corpus, 0.0),
            &corpus,
            &mut Silent,
        )
    };
    fit(false).unwrap();
    let (_, path) = checkpoints(folder.path()).unwrap().pop().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let foreign = {
        model(&corpus, 0.0).save_weights(folder.path().join("w")).unwrap();
        std::fs::read(folder.path().join("w")).unwrap()
    };
    for bytes in [&whole[..whole.len() - 9], &whole[..20], b"", &foreign] {
        std::fs::write(&path, bytes).unwrap();
        let error = fit(true).unwrap_err();
        assert!(matches!(error, Error::BadFile { .. }), "{error}");
        assert!(error.to_string().contains("checkpoint-3"), "{error}");
    }
    std::fs::write(&path, &whole).unwrap();
    fit(true).unwrap();
}

#[test]
fn a_run_of_some_steps_can_be_given_more() {
    let corpus = corpus();
    let run = |recipe: Recipe, folder: &Path| {
        Trainer::new(recipe)
            .folder(folder)
            .resume(true)
            .fit_with(&mut model(&corpus, 0.2), &corpus, &mut Silent)
            .unwrap()
    };
    let (parts, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let undisturbed = run(recipe().epochs(2), whole.path());
    let all = undisturbed.losses.len() as u64;
    for steps in [5, 5, all / 2, all] {
        let part = run(Recipe { steps: Some(steps), ..recipe().epochs(2) }, parts.path());
        assert_eq!(part.losses, undisturbed.losses[..steps as usize]);
        assert!(part.test_loss.is_some());
    }
    let resumed = run(recipe().epochs(2), parts.path());
    assert_eq!(resumed.losses, undisturbed.losses);
    assert_eq!(resumed.test_loss, undisturbed.test_loss);
    let epochs = |run: &TrainingRun| run.epochs.iter().map(|e| e.valid_loss).collect::<Vec<_>>();
    assert_eq!(epochs(&resumed), epochs(&undisturbed));
}
