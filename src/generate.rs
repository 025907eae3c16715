//! Text generation.
//!
//! A split softmax is read cluster by cluster: first the head, p(token) and p(tail), then only the tails that matter.
//! This changes no probability. At temperature 1 a class of the head is sampled, then a token of its tail:
//! p(token) = p(tail) p(token | tail). At temperature 0 a tail is read only if it is more likely than the best token
//! so far. Other temperatures need all tails. With a split softmax, a seed at temperature 1 gives another text than
//! in version 0.1.

use rand::{Rng, RngExt};
use tch::{Kind, Tensor};

use crate::data::{Vocab, words};
use crate::interrupt::Interrupt;
use crate::model::QrnnLm;
use crate::progress::{Progress, Task, Unit};
use crate::random::{Purpose, generator};
use crate::{Error, Result};

/// Options of text generation.
#[derive(Debug, Clone)]
pub struct Sampling {
    /// Number of tokens to generate.
    pub words: usize,
    /// Softmax temperature. 0 always selects the most likely token.
    pub temperature: f64,
    /// Random seed. The same seed gives the same text.
    pub seed: u64,
    /// Stops the generation early.
    pub interrupt: Interrupt,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { words: 100, temperature: 1.0, seed: 1882, interrupt: Interrupt::default() }
    }
}

/// A generated text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The prompt and its continuation.
    pub text: String,
    /// Whether the generation was stopped early.
    pub interrupted: bool,
}

impl std::fmt::Display for Generated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)?;
        if self.interrupted { f.write_str(" … (interrupted)") } else { Ok(()) }
    }
}

/// Continues `prompt`, words separated by white space; an empty prompt starts a new text. `vocab` must be
/// the model's vocabulary.
///
/// # Errors
/// [`Error::Mismatch`] if a word of the prompt is not in the vocabulary; [`Error::Config`] if the
/// temperature is negative;
/// [`Error::NotFinite`] if the model's probabilities are NaN.
pub fn generate_text(
    model: &QrnnLm,
    vocab: &Vocab,
    prompt: &str,
    sampling: &Sampling,
    progress: &mut dyn Progress,
) -> Result<Generated> {
    let interrupt = sampling.interrupt.during_call();
    let temperature = sampling.temperature;
    if !(temperature >= 0.0 && temperature.is_finite()) {
        return Err(Error::config(
            "sampling.temperature",
            temperature,
            "must be a finite number of at least 0",
            "use 1 for the model's probabilities, or 0 for the most likely word",
        ));
    }
    let eos = vocab.id("<eos>").unwrap_or(0);
    let mut tokens = vec![i64::from(eos)];
    tokens.extend(vocab.ids(prompt)?);

    let _no_grad = tch::no_grad_guard();
    let rng = &mut generator(sampling.seed, Purpose::Generation, 0);
    let device = model.options().1;
    let mut state = model.zero_state(1)?;
    let mut text = words(prompt).collect::<Vec<_>>().join(" ");
    let mut interrupted = false;
    progress.start(&Task::new("generating", Unit::Tokens, sampling.words as u64));
    for _ in 0..sampling.words {
        if interrupt.requested() {
            interrupted = true;
            break;
        }
        let input = Tensor::f_from_slice(&tokens)?.f_unsqueeze(1)?.f_to_device(device)?;
        let forwarded = model.forward(&input, &state, None)?;
        state = forwarded.state;
        let last = forwarded.output.f_select(0, -1)?.f_unsqueeze(0)?;
        let token = next_token(model, &last, temperature, rng)?;
        tokens = vec![token as i64];
        let word = vocab.word(token as u32);
        if word == "<eos>" {
            text.push('\n');
        } else {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push(' ');
            }
            text.push_str(word);
        }
        progress.advance(1);
    }
    progress.finish();
    Ok(Generated { text, interrupted })
}

/// Samples the next token.
///
/// * `output`: (1, 1, E) of the model.
fn next_token(
    model: &QrnnLm,
    output: &Tensor,
    temperature: f64,
    rng: &mut impl Rng,
) -> Result<usize> {
    let values = |log_p: Tensor| -> Result<Vec<f64>> {
        let log_p: Vec<f64> = Vec::try_from(log_p.f_view(-1)?.f_to_kind(Kind::Double)?)?;
        if log_p.iter().any(|l| l.is_nan()) {
            return Err(model.explain_not_finite("the probability of the next word"));
        }
        Ok(log_p)
    };
    let tail = |k: usize| values(model.tail_log_probabilities(output, k)?);
    if temperature != 0.0 && temperature != 1.0 {
        return Ok(sample(&values(model.log_probabilities(output)?)?, temperature, rng));
    }
    let head = values(model.head_log_probabilities(output)?)?;
    let clusters = model.clusters();
    let size = clusters.head_size();
    if temperature == 1.0 {
        let class = sample(&head, temperature, rng);
        return match class.checked_sub(size) {
            None => Ok(class),
            Some(k) => Ok(clusters.tail(k).0 + sample(&tail(k)?, temperature, rng)),
        };
    }
    let mut token = most_likely(&head[..size]);
    let mut best = head[token];
    for (k, tail_log_p) in head[size..].iter().enumerate() {
        // No token of a tail is more likely than the tail.
        if *tail_log_p > best {
            let within = tail(k)?;
            let class = most_likely(&within);
            if tail_log_p + within[class] > best {
                (token, best) = (clusters.tail(k).0 + class, tail_log_p + within[class]);
            }
        }
    }
    Ok(token)
}

/// The first class with the highest probability.
fn most_likely(log_p: &[f64]) -> usize {
    let best = log_p.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    log_p.iter().position(|&l| l == best).unwrap_or(0)
}

/// Samples a class.
fn sample(log_p: &[f64], temperature: f64, rng: &mut impl Rng) -> usize {
    if temperature == 0.0 {
        return most_likely(log_p);
    }
    let best = log_p.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = log_p.iter().map(|&l| ((l - best) / temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut remaining = rng.random::<f64>() * total;
    for (class, weight) in weights.into_iter().enumerate() {
        remaining -= weight;
        if remaining < 0.0 {
            return class;
        }
    }
    most_likely(log_p)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::model::{LmConfig, Splits, Stored, stored_model};

    #[test]
    fn samples_follow_the_probabilities_and_the_temperature() {
        let log_p = [0.7f64.ln(), 0.2f64.ln(), 0.1f64.ln()];
        let rng = &mut generator(1, Purpose::Generation, 0);
        let mut share = |temperature: f64| {
            (0..4000).filter(|_| sample(&log_p, temperature, rng) == 0).count() as f64 / 4000.0
        };
        assert_eq!(share(0.0), 1.0);
        assert!((share(1.0) - 0.7).abs() < 0.03);
        assert!((share(0.5) - 0.49 / 0.54).abs() < 0.03);
    }

    /// Of a published and an adaptive model, by the chi-square statistic against the whole distribution.
    #[test]
    fn sampling_cluster_by_cluster_is_sampling_from_the_whole_vocabulary() {
        tch::set_num_threads(1);
        let _no_grad = tch::no_grad_guard();
        let published = LmConfig::paper(6, 8).vocab(14).layers(2).splits(Splits::At(vec![4, 8]));
        for config in [
            published.clone(),
            published.clone().widths([6, 3, 2]),
            published.clone().widths([3, 6, 1]),
            published.splits(Splits::None),
        ] {
            let model =
                QrnnLm::seeded(&config.init_range(2.0), (Kind::Float, Device::Cpu), 7).unwrap();
            // Tombstones are 0 at the start: give the tails different probabilities.
            for (name, tensor) in model.parameters() {
                if name.starts_with("criterion.") {
                    let _ = tensor.shallow_clone().normal_(0.0, 1.0);
                }
            }
            tch::manual_seed(5);
            let output = Tensor::randn([1, 1, 6], (Kind::Float, Device::Cpu));
            let log_p = model.log_probabilities(&output).unwrap().view(-1);
            let log_p: Vec<f64> = Vec::try_from(log_p.to_kind(Kind::Double)).unwrap();
            let rng = &mut generator(1, Purpose::Generation, 0);
            for temperature in [1.0, 0.5] {
                let total: f64 = log_p.iter().map(|l| (l / temperature).exp()).sum();
                let n = 20_000;
                let mut counts = [0u32; 14];
                for _ in 0..n {
                    counts[next_token(&model, &output, temperature, rng).unwrap()] += 1;
                }
                let square = |(count, l): (&u32, &f64)| {
                    let expected = f64::from(n) * (l / temperature).exp() / total;
                    (f64::from(*count) - expected).powi(2) / expected
                };
                let chi_square: f64 = counts.iter().zip(&log_p).map(square).sum();
                // 13 degrees of freedom: exceeded once in 10,000 times.
                assert!(chi_square < 41.0, "{temperature}: {chi_square}");
            }
            let token = next_token(&model, &output, 0.0, rng).unwrap();
            assert_eq!(token, most_likely(&log_p));
        }
    }

    /// Products of stored integers and of the decoded weights give the same text.
    #[test]
    fn compressed_models_generate_the_same_text_both_ways() {
        tch::set_num_threads(1);
        let published = LmConfig::paper(17, 40).vocab(60).layers(3).splits(Splits::At(vec![9, 25]));
        let plain = published.clone().splits(Splits::None);
        for config in [published.clone().widths([17, 6, 2]), published, plain] {
            let stored = Stored { zeros: 0.6, power_of_two: true, ..Stored::default() };
            let corpus = crate::data::Corpus::from_ids("numbers", 60, [vec![], vec![], vec![]]);
            let corpus = corpus.unwrap();
            for temperature in [0.0, 1.0, 0.7] {
                let texts = [true, false].map(|packed| {
                    let mut model = stored_model(&config, stored, 3);
                    model.use_packed_products(packed);
                    assert_eq!(model.uses_packed_products().unwrap(), packed);
                    let sampling = Sampling { words: 40, temperature, ..Sampling::default() };
                    let silent = &mut crate::progress::Silent;
                    generate_text(&model, corpus.vocab(), "7 8", &sampling, silent).unwrap().text
                });
                assert_eq!(texts[0], texts[1], "{config:?} at {temperature}");
                assert_eq!(texts[0].split(' ').count(), 42);
            }
        }
    }

    /// At temperature 0, whichever cluster the most likely token is in.
    #[test]
    fn the_most_likely_token_is_found_in_every_cluster() {
        tch::set_num_threads(1);
        let _no_grad = tch::no_grad_guard();
        let config = LmConfig::paper(6, 8).vocab(14).layers(2).splits(Splits::At(vec![4, 8]));
        let rng = &mut generator(1, Purpose::Generation, 0);
        let mut found = [0; 3];
        for seed in 0..60 {
            let config = config.clone().init_range(2.0).widths([6, 3, 2]);
            let model = QrnnLm::seeded(&config, (Kind::Float, Device::Cpu), seed).unwrap();
            tch::manual_seed(seed as i64);
            let output = Tensor::randn([1, 1, 6], (Kind::Float, Device::Cpu)) * 2.0;
            let log_p = model.log_probabilities(&output).unwrap().view(-1);
            let token = next_token(&model, &output, 0.0, rng).unwrap();
            assert_eq!(token as i64, log_p.argmax(0, false).int64_value(&[]));
            found[[0, 4, 8].iter().rposition(|first| token >= *first).unwrap()] += 1;
        }
        assert!(found.iter().all(|n| *n > 0), "{found:?}");
    }
}
