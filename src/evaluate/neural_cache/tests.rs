use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

use super::evaluation::{evaluate_tokens_with, losses};
use super::mixture::gain;
use super::pairs::Pairs;
use super::search::search_tokens;
use super::*;
use crate::data::Batches;
use crate::evaluate::EvalOptions;
use crate::evaluate::evaluation::evaluate_tokens;
use crate::evaluate::windows::for_each_window;
use crate::model::{LmConfig, QrnnLm, Splits};
use crate::progress::Silent;
use crate::{Error, Result};
use qrnn_ops::cuda::host_shim::as_on_a_gpu;

const VOCAB: usize = 30;

/// A model whose hidden states are large enough that θ matters.
fn model(kind: Kind) -> QrnnLm {
    tch::set_num_threads(1);
    let config = LmConfig::paper(6, 10).vocab(VOCAB).layers(2).splits(Splits::At(vec![8, 16]));
    let model = QrnnLm::seeded(&config, (kind, Device::Cpu), 3).unwrap();
    let _no_grad = tch::no_grad_guard();
    for (_, parameter) in model.parameters() {
        let _ = parameter.shallow_clone().g_mul_scalar_(5.0);
    }
    model
}

/// Text in which words come back: some from a short while ago, some at random.
fn text(tokens: usize, seed: u64) -> Vec<u32> {
    let mut state = seed;
    let mut random = |n: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut text: Vec<u32> = vec![];
    for i in 0..tokens {
        let again = i > 20 && random(3) == 0;
        text.push(if again { text[i - 1 - random(20)] } else { random(VOCAB) as u32 });
    }
    text
}

fn options(batch: usize, bptt: usize) -> EvalOptions {
    EvalOptions { batch, ..EvalOptions::one_column(bptt) }
}

fn evaluate(
    model: &QrnnLm,
    text: &[u32],
    cache: NeuralCache,
    options: &EvalOptions,
) -> Result<CachedEvaluation> {
    evaluate_tokens_with(model, text, "generated", &cache, options, &mut Silent)
}

/// Losses of each target with a cache, row by row.
fn each_loss(model: &QrnnLm, text: &[u32], cache: NeuralCache, options: &EvalOptions) -> Vec<f64> {
    let (mut all, mut pairs) = (vec![], Pairs::new(cache.size, options.batch));
    for_each_window(model, text, "generated", options, &mut Silent, &mut |window| {
        let each = losses(&window, &mut pairs, cache.theta)?;
        all.extend(each.map(|[plain, advantage]| plain - gain(advantage, cache.lambda)));
        Ok(())
    })
    .unwrap();
    all
}

/// Reference: straight loops over the definition, in one window and double precision.
fn reference(model: &QrnnLm, text: &[u32], cache: NeuralCache, batch: usize) -> Vec<f64> {
    let _no_grad = tch::no_grad_guard();
    let batches = Batches::new(text, batch, "generated").unwrap();
    let window = batches.batch(0, usize::MAX);
    let rows = window.inputs.len() / batch;
    let inputs = Tensor::from_slice(&window.inputs).view([rows as i64, batch as i64]);
    let state = model.zero_state(batch as i64).unwrap();
    let output = model.forward(&inputs, &state, None).unwrap().output;
    let log_p = model.log_probabilities(&output).unwrap().to_kind(Kind::Double);
    let target = Tensor::from_slice(&window.targets).unsqueeze(1);
    let log_p: Vec<f64> = Vec::try_from(log_p.gather(1, &target, false).view(-1)).unwrap();
    let width = output.size()[2] as usize;
    let hidden: Vec<f64> = Vec::try_from(output.to_kind(Kind::Double).reshape(-1)).unwrap();
    let state = |row: usize, column: usize| &hidden[(row * batch + column) * width..][..width];
    let mut all = vec![];
    for t in 0..rows {
        for column in 0..batch {
            let p_model = log_p[t * batch + column].exp();
            let word = window.targets[t * batch + column];
            let (mut own, mut sum) = (0.0, 0.0);
            for i in t.saturating_sub(cache.size)..t {
                let pairs = state(t, column).iter().zip(state(i, column));
                let weight = (cache.theta * pairs.map(|(a, b)| a * b).sum::<f64>()).exp();
                sum += weight;
                own += if window.targets[i * batch + column] == word { weight } else { 0.0 };
            }
            let p = match t {
                0 => p_model,
                _ => (1.0 - cache.lambda) * p_model + cache.lambda * own / sum,
            };
            all.push(-p.ln());
        }
    }
    all
}

fn mean(losses: &[f64]) -> f64 {
    losses.iter().sum::<f64>() / losses.len() as f64
}

/// Windows hold at least 1,120 tokens, so the text has several.
#[test]
fn equals_straight_loops_for_every_size_batch_and_window() {
    let (model, text) = (model(Kind::Double), text(3000, 1));
    for size in [1, 3, 7, 500, 4000] {
        for batch in [1, 3] {
            let cache = NeuralCache::new(size, 0.3, 1.7).unwrap();
            let expected = reference(&model, &text, cache, batch);
            for bptt in [1, 1300, 2999] {
                let options = options(batch, bptt);
                let ours = each_loss(&model, &text, cache, &options);
                assert_eq!(ours.len(), expected.len());
                for (ours, expected) in ours.iter().zip(&expected) {
                    assert!((ours - expected).abs() < 1e-9, "{size} {batch} {bptt}");
                }
                let evaluation = evaluate(&model, &text, cache, &options).unwrap();
                assert_eq!(evaluation.evaluation.tokens, (3000 / batch - 1) * batch);
                assert!((evaluation.evaluation.loss - mean(&expected)).abs() < 1e-9);
                assert_eq!(evaluation.evaluation.ppl, evaluation.evaluation.loss.exp());
            }
        }
    }
}

#[test]
fn in_single_precision_and_by_the_operations_of_a_gpu_the_result_is_the_same() {
    let (model, text) = (model(Kind::Float), text(300, 2));
    let cache = NeuralCache::new(70, 0.3, 1.7).unwrap();
    for batch in [1, 3] {
        let expected = mean(&reference(&model, &text, cache, batch));
        let run = || evaluate(&model, &text, cache, &options(batch, 20)).unwrap();
        for evaluation in [run(), as_on_a_gpu(run)] {
            assert!((evaluation.evaluation.loss - expected).abs() < 1e-6, "{evaluation}");
        }
    }
    let run = || search_tokens(&model, &text, "generated", 70, &options(1, 20), &mut Silent);
    let (on_cpu, on_gpu) = (run().unwrap(), as_on_a_gpu(run).unwrap());
    assert!((on_cpu.valid_ppl - on_gpu.valid_ppl).abs() < 1e-4, "{on_cpu}\n{on_gpu}");
}

#[test]
fn a_lambda_of_0_is_the_plain_evaluation() {
    let text = text(2500, 3);
    for kind in [Kind::Float, Kind::Double] {
        let model = model(kind);
        for batch in [1, 3] {
            let options = options(batch, 11);
            let plain = evaluate_tokens(&model, &text, "generated", &options, &mut Silent).unwrap();
            let with = |lambda: f64| {
                let cache = NeuralCache::new(20, lambda, 1.0).unwrap();
                evaluate(&model, &text, cache, &options).unwrap()
            };
            let at_0 = with(0.0);
            assert_eq!((at_0.evaluation.loss, at_0.evaluation.ppl), (plain.loss, plain.ppl));
            assert_eq!((at_0.plain_loss, at_0.reduction()), (plain.loss, 0.0));
            // Another value computes both.
            let other = with(0.2);
            assert!((other.plain_loss - plain.loss).abs() < 1e-12 * plain.loss);
            assert_ne!(other.evaluation.loss, plain.loss);
        }
    }
}

#[test]
fn the_first_token_of_each_column_is_predicted_by_the_model_alone() {
    let (model, text) = (model(Kind::Double), text(90, 4));
    for batch in [1, 3] {
        let with = |lambda: f64| {
            let cache = NeuralCache::new(5, lambda, 1.0).unwrap();
            each_loss(&model, &text, cache, &options(batch, 9))
        };
        let (plain, cached) = (with(0.0), with(0.5));
        assert_eq!(plain[..batch], cached[..batch]);
        assert!(plain.iter().zip(&cached).skip(batch).all(|(a, b)| a != b));
    }
}

/// Losses before and after another word at a place in the text, as a share of its length.
fn check_law(on_gpu: bool, length: usize, place: f64, word: u32, size: usize, seed: u64) {
    let model = model(Kind::Float);
    let before = text(length, seed);
    let (mut after, at) = (before.clone(), 1 + (place * (length - 1) as f64) as usize);
    after[at] = word;
    let cache = NeuralCache::new(size, 0.4, 1.3).unwrap();
    let losses = |text: &[u32]| {
        let run = || each_loss(&model, text, cache, &options(1, 10));
        if on_gpu { as_on_a_gpu(run) } else { run() }
    };
    // Loss t is that of word t + 1.
    assert_eq!(&losses(&before)[..at - 1], &losses(&after)[..at - 1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// A cache that looked ahead in its own window would see the change.
    #[test]
    fn a_later_word_never_changes_an_earlier_loss(
        place in 0.0..1.0f64, word in 0..VOCAB as u32, size in 1..1500usize, seed in 0..100u64,
    ) {
        check_law(false, 1400, place, word, size, seed);
        check_law(true, 60, place, word, size, seed);
    }
}

#[test]
fn the_search_is_at_least_as_good_as_a_grid() {
    let (model, text) = (model(Kind::Double), text(2000, 5));
    let size = 40;
    let search =
        search_tokens(&model, &text, "generated", size, &options(1, 50), &mut Silent).unwrap();
    assert!(!search.interrupted && search.tokens == 1999 && search.size == size);
    let ppl = |lambda: f64, theta: f64| {
        let cache = NeuralCache::new(size, lambda, theta).unwrap();
        evaluate(&model, &text, cache, &options(1, 50)).unwrap().evaluation.ppl
    };
    assert!((ppl(search.lambda, search.theta) - search.valid_ppl).abs() < 1e-9);
    assert!((ppl(0.0, 1.0) - search.plain_valid_ppl).abs() < 1e-9);
    assert!(search.valid_ppl < search.plain_valid_ppl && search.lambda > 0.0);
    for theta in [0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0] {
        for lambda in [0.05, 0.1, 0.2, 0.3, 0.5] {
            assert!(search.valid_ppl <= ppl(lambda, theta) + 1e-6, "{lambda} {theta}: {search}");
        }
    }
    let at = search.surface.len() / 2;
    let row = &search.surface[at];
    assert!((row.ppl[3] - ppl(LAMBDAS[3], row.theta)).abs() < 1e-9);
    assert!((row.best_ppl - ppl(row.best_lambda, row.theta)).abs() < 1e-9);
    assert!(search.surface.is_sorted_by(|a, b| a.theta < b.theta));
    // Neither end of the grid is the best.
    let ends = [&search.surface[0], &search.surface[search.surface.len() - 1]];
    assert!(ends.iter().all(|end| end.theta != search.theta), "{search}");
}

/// No word comes back.
#[test]
fn a_useless_cache_gets_a_lambda_of_0() {
    let (model, text) = (model(Kind::Double), (0..VOCAB as u32).collect::<Vec<_>>());
    let search =
        search_tokens(&model, &text, "generated", 100, &options(1, 50), &mut Silent).unwrap();
    assert_eq!((search.lambda, search.valid_ppl), (0.0, search.plain_valid_ppl));
}

#[test]
fn an_interrupt_ends_evaluation_and_search_with_what_there_is() {
    let (model, text) = (model(Kind::Float), text(200, 6));
    let options = options(1, 10);
    options.interrupt.request();
    let cache = NeuralCache::new(10, 0.1, 1.0).unwrap();
    let evaluation = evaluate(&model, &text, cache, &options).unwrap().evaluation;
    assert!(evaluation.interrupted && evaluation.tokens == 0);
    let search = search_tokens(&model, &text, "generated", 10, &options, &mut Silent).unwrap();
    assert!(search.interrupted && search.lambda == 0.0 && search.surface.is_empty());
    assert!(search.to_string().contains("interrupted"));
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    let refused = |size: usize, lambda: f64, theta: f64, name: &str| {
        let error = NeuralCache::new(size, lambda, theta).unwrap_err();
        assert!(
            matches!(error, Error::Config { .. }) && error.to_string().starts_with(name),
            "{error}"
        );
        // Fields can be set without `new`.
        let (model, text) = (model(Kind::Float), text(50, 7));
        let cache = NeuralCache { size, lambda, theta };
        let error = evaluate(&model, &text, cache, &options(1, 10)).unwrap_err();
        assert!(error.to_string().starts_with(name), "{error}");
    };
    refused(0, 0.1, 1.0, "cache.size 0");
    refused(MAX_SIZE + 1, 0.1, 1.0, "cache.size 100001");
    for lambda in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
        refused(10, lambda, 1.0, "cache.lambda");
    }
    for theta in [-0.1, 2e6, f64::NAN, f64::INFINITY] {
        refused(10, 0.1, theta, "cache.theta");
    }
    let (model, text) = (model(Kind::Float), text(50, 7));
    let search = search_tokens(&model, &text, "generated", 0, &options(1, 10), &mut Silent);
    assert!(search.unwrap_err().to_string().starts_with("cache.size 0"));
}

#[test]
fn a_loss_that_is_not_a_number_is_an_error() {
    let (model, text) = (model(Kind::Float), text(50, 8));
    let _no_grad = tch::no_grad_guard();
    let _ = model.parameters()[0].1.shallow_clone().fill_(f64::NAN);
    let cache = NeuralCache::new(10, 0.1, 1.0).unwrap();
    let error = evaluate(&model, &text, cache, &options(1, 10)).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
    let error =
        search_tokens(&model, &text, "generated", 10, &options(1, 10), &mut Silent).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
}
