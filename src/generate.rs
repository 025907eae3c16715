//! Text generation.

use rand::{Rng, RngExt};
use tch::{Kind, Tensor};

use crate::data::Vocab;
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
    let mut text = prompt.split_whitespace().collect::<Vec<_>>().join(" ");
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
        let log_p = model.log_probabilities(&last)?.f_view(-1)?.f_to_kind(Kind::Double)?;
        let log_p: Vec<f64> = Vec::try_from(log_p)?;
        if log_p.iter().any(|l| l.is_nan()) {
            return Err(model.explain_not_finite("the probability of the next word"));
        }
        let token = sample(&log_p, temperature, rng);
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

/// Samples a token id.
fn sample(log_p: &[f64], temperature: f64, rng: &mut impl Rng) -> usize {
    let best = log_p.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let most_likely = || log_p.iter().position(|&l| l == best).unwrap_or(0);
    if temperature == 0.0 {
        return most_likely();
    }
    let weight = |l: f64| ((l - best) / temperature).exp();
    let total: f64 = log_p.iter().map(|&l| weight(l)).sum();
    let mut remaining = rng.random::<f64>() * total;
    for (token, &l) in log_p.iter().enumerate() {
        remaining -= weight(l);
        if remaining < 0.0 {
            return token;
        }
    }
    most_likely()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
