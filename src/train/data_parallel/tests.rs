//! Groups whose processes are threads of this one.

use std::net::TcpListener;
use std::sync::Mutex;

use qrnn_ops::cuda::host_shim::as_on_a_gpu;
use qrnn_ops::matmul::Precision;
use qrnn_ops::process_group::{GroupOptions, ProcessGroup, Rendezvous};
use tch::{Device, Kind, Tensor};

use super::*;
use crate::compress::{Gradual, Plan};
use crate::data::{Corpus, Split};
use crate::model::{LmConfig, Splits};
use crate::progress::{Progress, Silent, StepReport};
use crate::train::{OptimizerKind, Recipe, Trainer, TrainingRun, work_for};

/// Runs `rank` in as many threads; returns what they return, in the order of the ranks.
fn with_ranks<T: Send>(world_size: usize, rank: impl Fn(&ProcessGroup) -> T + Sync) -> Vec<T> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let results = Mutex::new((0..world_size).map(|_| None).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for number in 0..world_size {
            let (rank, results) = (&rank, &results);
            scope.spawn(move || {
                tch::set_num_threads(1);
                let place = Rendezvous::at("127.0.0.1", port, number, world_size);
                let options = GroupOptions::default();
                let group = ProcessGroup::join(&place, options, &|| false).unwrap();
                let result = rank(&group);
                results.lock().unwrap()[number] = Some(result);
            });
        }
    });
    results.into_inner().unwrap().into_iter().map(Option::unwrap).collect()
}

fn corpus() -> Corpus {
    tch::set_num_threads(1);
    // Short texts: the source of the CUDA kernels is slow on the CPU.
    let synthetic = Corpus::synthetic();
    let tokens = [(Split::Train, 3_000), (Split::Valid, 200), (Split::Test, 150)]
        .map(|(split, n)| synthetic.tokens(split).iter().take(n).map(|id| id % 600).collect());
    Corpus::from_ids("text", 600, tokens).unwrap()
}

/// Every dropout.
fn config() -> LmConfig {
    LmConfig::paper(12, 20)
        .layers(2)
        .locked_dropouts(0.2, 0.2, 0.2)
        .embedding_dropout(0.1)
        .weight_drop(0.3)
        .zoneout(0.1)
        .splits(Splits::At(vec![100, 300]))
}

fn model(corpus: &Corpus, config: &LmConfig, seed: u64) -> QrnnLm {
    let config = config.clone().vocab(corpus.vocab().len());
    QrnnLm::seeded(&config, (Kind::Float, Device::Cpu), seed).unwrap()
}

fn recipe() -> Recipe {
    let recipe = Recipe { alpha: 2.0, beta: 1.0, steps: Some(30), ..Recipe::paper() };
    recipe.bptt(10).batch(7).epochs(1).lr(3e-3)
}

/// What a run ends with.
#[derive(Debug)]
struct Trained {
    run: TrainingRun,
    weights: Vec<Tensor>,
}

/// Trains as one process, or as one of a group, with other initial weights than rank 0.
fn train(recipe: &Recipe, config: &LmConfig, group: Option<&ProcessGroup>) -> Trained {
    let corpus = corpus().in_order(match config.widths {
        Some(_) => crate::data::IdOrder::Frequency,
        None => crate::data::IdOrder::FirstAppearance,
    });
    let seed = 1 + group.map_or(0, ProcessGroup::rank) as u64;
    let mut model = model(&corpus, config, seed);
    let mut trainer = Trainer::new(recipe.clone());
    if let Some(group) = group {
        trainer = trainer.group(group);
    }
    let run = trainer.fit_with(&mut model, &corpus, &mut Silent).unwrap();
    Trained { run, weights: model.weight_copies().unwrap() }
}

/// Losses, test loss and weights of all ranks are those of one process.
fn assert_same(one: &Trained, ranks: &[Trained]) {
    for trained in ranks {
        let (a, b) = (&one.run, &trained.run);
        assert_eq!(a.losses.len(), b.losses.len());
        assert_eq!(a.losses[0], b.losses[0]);
        for (a, b) in a.losses.iter().zip(&b.losses) {
            assert!((a - b).abs() < 2e-6, "{a} {b}");
        }
        assert!((a.test_loss.unwrap() - b.test_loss.unwrap()).abs() < 2e-6);
        for (one, other) in one.weights.iter().zip(&trained.weights) {
            let difference = (one - other).abs().max().double_value(&[]);
            assert!(difference < 2e-5, "{difference}");
        }
        assert_eq!(trained.weights, ranks[0].weights);
    }
}

#[test]
fn uneven_shares_take_the_steps_of_one_process() {
    for (optimizer, lr) in
        [(OptimizerKind::Adam, 3e-3), (OptimizerKind::Sgd, 1.0), (OptimizerKind::Asgd, 1.0)]
    {
        let recipe = recipe().optimizer(optimizer).lr(lr);
        let one = train(&recipe, &config(), None);
        assert_same(&one, &with_ranks(3, |group| train(&recipe, &config(), Some(group))));
    }
}

#[test]
fn adaptive_models_take_the_steps_of_one_process() {
    let (recipe, config) = (recipe(), config().widths([12, 6, 2]));
    let one = train(&recipe, &config, None);
    assert_same(&one, &with_ranks(2, |group| train(&recipe, &config, Some(group))));
}

/// By the code for GPUs, whose sums begin during backward, with the embedding's rows gathered.
#[test]
fn sums_that_begin_during_backward_take_the_steps_of_one_process() {
    let (recipe, config) = (Recipe { steps: Some(6), ..recipe() }, config());
    let one = as_on_a_gpu(|| train(&recipe, &config, None));
    let ranks = with_ranks(2, |group| as_on_a_gpu(|| train(&recipe, &config, Some(group))));
    assert_same(&one, &ranks);
}

#[test]
fn a_loss_of_one_process_that_is_not_finite_stops_all_at_the_same_step() {
    let errors = with_ranks(2, |group| {
        // The last word occurs in the last column alone, and its weights are out of range.
        let train: Vec<u32> = (0..700).map(|i| if i == 650 { 29 } else { i % 10 }).collect();
        let corpus = Corpus::from_ids("ids", 30, [train.clone(), train.clone(), train]).unwrap();
        let config = LmConfig::paper(8, 8).vocab(30).layers(1).splits(Splits::At(vec![12, 20]));
        let mut model = model(&corpus, &config, 1);
        tch::no_grad(|| {
            for (name, tensor) in model.parameters() {
                if name == "encoder.weight" {
                    let _ = tensor.get(29).fill_(3e38);
                }
                if name.ends_with("linear.weight") {
                    let _ = tensor.shallow_clone().g_mul_scalar_(100.0);
                }
            }
        });
        let recipe = Recipe { fixed_bptt: true, ..Recipe::paper() }.bptt(10).batch(7).epochs(1);
        let trainer = Trainer::new(recipe).group(group);
        trainer.fit_with(&mut model, &corpus, &mut Silent).unwrap_err().to_string()
    });
    assert!(errors[0].contains("training diverged at step 4"), "{}", errors[0]);
    assert_eq!(errors[0], errors[1]);
}

#[test]
fn compressing_processes_keep_the_same_model() {
    let gradual = || {
        let plan = Plan::new().zeros("rnns", 0.5).zeros("encoder", 0.5).bits("rnns.1", 4);
        Gradual { every: 7, ..Gradual::new(plan.activation_bits(8)) }
    };
    let config = config().weight_drop(0.0);
    let fit = |group: Option<&ProcessGroup>| {
        let corpus = corpus();
        let mut model = model(&corpus, &config, 1);
        let mut trainer = Trainer::new(recipe()).compression(gradual());
        if let Some(group) = group {
            trainer = trainer.group(group);
        }
        let fitted = trainer.fit_and_compress(&mut model, &corpus, &mut Silent);
        let (run, compressed) = fitted.unwrap();
        let compressed = compressed.unwrap().model().weight_copies().unwrap();
        (run.test_loss.unwrap(), compressed)
    };
    let one = fit(None);
    let ranks = with_ranks(2, |group| fit(Some(group)));
    assert_eq!(ranks[0], ranks[1]);
    // A weight on the border of being pruned, or between two codes, may fall to either side.
    assert!((one.0 - ranks[0].0).abs() < 1e-3, "{} {}", one.0, ranks[0].0);
}

/// Asks rank 1 to stop after some steps.
struct StopAt(Interrupt, u64);

impl Progress for StopAt {
    fn step(&mut self, step: &StepReport) {
        if step.step == self.1 {
            self.0.request();
        }
    }
}

#[test]
fn a_request_to_stop_one_process_stops_all_after_the_same_step() {
    let steps = with_ranks(3, |group| {
        let (corpus, interrupt) = (corpus(), Interrupt::default());
        let mut model = model(&corpus, &config(), 1);
        let trainer = Trainer::new(recipe()).group(group).interrupt(interrupt.clone());
        // Progress is shown at rank 0 alone; the others are asked from outside.
        let mut progress = StopAt(interrupt, 6);
        let run = trainer.fit_with(&mut model, &corpus, &mut progress).unwrap();
        assert!(run.interrupted);
        (run.steps, model.weight_copies().unwrap())
    });
    assert_eq!(steps[0].0, 6);
    assert!(steps.iter().all(|other| *other == steps[0]));
}

#[test]
fn more_processes_than_columns_are_refused() {
    let errors = with_ranks(3, |group| {
        let corpus = corpus();
        let trainer = Trainer::new(recipe().batch(2)).group(group);
        let error = trainer.fit_with(&mut model(&corpus, &config(), 1), &corpus, &mut Silent);
        error.unwrap_err().to_string()
    });
    assert!(errors[1].contains("each of the 3 processes needs a column"), "{}", errors[1]);
}

#[test]
fn other_settings_and_texts_are_named() {
    for (what, words) in [
        ("rate", "rank 1 of the group: its recipe.lr is 0.5, but that of rank 0 is 0.003"),
        (
            "dropout",
            "rank 1 of the group: its config.weight_drop is 0.25, but that of rank 0 is 0.3",
        ),
        ("text", "rank 1 of the group: its corpus has another train text than that of rank 0"),
        (
            "precision",
            "rank 1 of the group: its model.precision is fp32 by torch, but that of rank 0 is fp32",
        ),
    ] {
        let errors = with_ranks(2, |group| {
            let other = group.rank() == 1;
            let is = |name| other && what == name;
            let corpus = if is("text") { corpus().take_train(2_500) } else { corpus() };
            let recipe = if is("rate") { recipe().lr(0.5) } else { recipe() };
            let config = if is("dropout") { config().weight_drop(0.25) } else { config() };
            let mut model = model(&corpus, &config, 1);
            if is("precision") {
                model.set_precision(Precision::Torch);
            }
            let trainer = Trainer::new(recipe).group(group);
            trainer.fit_with(&mut model, &corpus, &mut Silent).unwrap_err().to_string()
        });
        assert!(errors[0].contains(words), "{}", errors[0]);
        assert_eq!(errors[0], errors[1]);
    }
}

#[test]
fn workers_train_what_rank_0_announces() {
    let (recipe, config) = (recipe(), config());
    let one = train(&recipe, &config, None);
    let runs = with_ranks(2, |group| {
        if group.rank() == 1 {
            work_for(group, Device::Cpu, &Interrupt::default()).unwrap();
            return None;
        }
        let corpus = corpus();
        // What rank 0 can check by itself does not concern the workers.
        let invalid = Trainer::new(recipe.clone().batch(0)).lead(group);
        assert!(invalid.fit_with(&mut model(&corpus, &config, 1), &corpus, &mut Silent).is_err());
        let runs = [(); 2].map(|()| {
            let mut model = model(&corpus, &config, 1);
            let trainer = Trainer::new(recipe.clone()).lead(group);
            trainer.fit_with(&mut model, &corpus, &mut Silent).unwrap()
        });
        Some(runs)
    });
    for run in runs[0].as_ref().unwrap() {
        for (a, b) in one.run.losses.iter().zip(&run.losses) {
            assert!((a - b).abs() < 2e-6, "{a} {b}");
        }
        assert_eq!(run.losses.len(), 30);
    }
}
