//! Searches λ and θ on the validation text.

use std::ops::Deref;
use std::time::Instant;

use serde::Serialize;

use super::cache::{MAX_THETA, NeuralCache, digits};
use super::recorded::Recorded;
use super::surface::{LAMBDAS, SearchedTheta};
use crate::Result;
use crate::data::{Corpus, Split};
use crate::evaluate::evaluation::shown;
use crate::evaluate::options::EvalOptions;
use crate::format::{aligned, perplexity, thousands};
use crate::interrupt::Interrupt;
use crate::model::{QrnnLm, check_vocabulary};
use crate::progress::{Progress, Task, Unit};

/// First and last exponent of the coarse grid: θ is 2 to this power, divided by the mean of |h|².
const COARSE: std::ops::RangeInclusive<i32> = -2..=7;

/// Points by which the grid is extended where the best lies at its end.
const EXTENSION: i32 = 4;

/// Most extensions.
const MAX_EXTENSIONS: usize = 4;

/// The finer grids: points on either side of the best, and the ratio of neighbors as a power of 2.
const FINER: [(i32, f64); 2] = [(3, 0.25), (3, 0.0625)];

/// The best λ and θ on the validation text, and the perplexities that were seen on the way. It can be passed
/// where a [`NeuralCache`] is asked for.
#[derive(Debug, Clone, Serialize)]
pub struct CacheSearch {
    /// The best cache; one with a λ of 0 if none is better than the model alone.
    pub cache: NeuralCache,
    /// Perplexity of the validation text with the best cache.
    pub valid_ppl: f64,
    /// Perplexity of the validation text by the model alone.
    pub plain_valid_ppl: f64,
    /// Every θ that was tried, ascending.
    pub surface: Vec<SearchedTheta>,
    /// Number of predicted tokens.
    pub tokens: usize,
    /// Time of the search, in seconds.
    pub seconds: f64,
    /// Whether it was interrupted: the result is then the best so far.
    pub interrupted: bool,
}

impl Deref for CacheSearch {
    type Target = NeuralCache;

    fn deref(&self) -> &NeuralCache {
        &self.cache
    }
}

impl NeuralCache {
    /// Searches λ and θ of a cache of `size` tokens on the validation text. For each θ the best λ is exact;
    /// θ is searched on a grid by factors of 2 around the inverse scale of the inner products, which is extended
    /// where the best lies at its end, and then refined to a factor of 2^(1/16).
    ///
    /// The model reads the text once. Its hidden states, 4 · E bytes per token, stay in memory.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if the size is out of its range; those of
    /// [`evaluate_split`](crate::evaluate::evaluate_split).
    pub fn search_with(
        model: &QrnnLm,
        corpus: &Corpus,
        size: usize,
        options: &EvalOptions,
        progress: &mut dyn Progress,
    ) -> Result<CacheSearch> {
        check_vocabulary(model, corpus)?;
        let name = Split::Valid.to_string();
        search_tokens(model, corpus.tokens(Split::Valid), &name, size, options, progress)
    }
}

/// [`NeuralCache::search_with`] on token ids; `name` names the text in messages.
pub(super) fn search_tokens(
    model: &QrnnLm,
    tokens: &[u32],
    name: &str,
    size: usize,
    options: &EvalOptions,
    progress: &mut dyn Progress,
) -> Result<CacheSearch> {
    let started = Instant::now();
    NeuralCache::new(size, 0.0, 0.0)?;
    let interrupt = options.interrupt.during_call();
    let options = EvalOptions { interrupt: interrupt.clone(), ..options.clone() };
    let recorded = shown(tokens, name, progress, |progress| {
        Recorded::new(model, tokens, name, &options, progress)
    })?;
    let plain_loss = recorded.losses.iter().sum::<f64>() / recorded.walk.tokens as f64;
    if plain_loss.is_nan() && recorded.walk.tokens > 0 {
        return Err(model.explain_not_finite("the loss"));
    }
    let mut search = Search { recorded, plain_loss, size, interrupt, surface: vec![] };
    let interrupted = search.recorded.walk.interrupted || !search.run(progress)?;
    Ok(search.result(interrupted, started))
}

struct Search {
    recorded: Recorded,
    /// Of the model alone, in nats per token.
    plain_loss: f64,
    size: usize,
    interrupt: Interrupt,
    surface: Vec<SearchedTheta>,
}

impl Search {
    /// Returns false if interrupted.
    fn run(&mut self, progress: &mut dyn Progress) -> Result<bool> {
        // Hidden states of 0 have no scale.
        let mean_square = Some(self.recorded.mean_square()?).filter(|square| *square > 0.0);
        let scale = 1.0 / mean_square.unwrap_or(1.0);
        let theta = |exponent: f64| scale * exponent.exp2();
        let coarse = |exponents: std::ops::RangeInclusive<i32>| -> Vec<f64> {
            exponents.map(|exponent| theta(exponent.into())).collect()
        };
        let (mut first, mut last) = COARSE.into_inner();
        if !self.try_all(&coarse(first..=last), progress)? {
            return Ok(false);
        }
        for _ in 0..MAX_EXTENSIONS {
            let best = self.best().filter(|best| best.best_lambda > 0.0).map(|best| best.theta);
            let more = if best == Some(theta(first.into())) {
                first -= EXTENSION;
                coarse(first..=first + EXTENSION - 1)
            } else if best == Some(theta(last.into())) {
                last += EXTENSION;
                coarse(last - EXTENSION + 1..=last)
            } else {
                break;
            };
            if !self.try_all(&more, progress)? {
                return Ok(false);
            }
        }
        for (points, power) in FINER {
            let Some(best) = self.best().filter(|best| best.best_lambda > 0.0) else {
                return Ok(true); // the cache is of no use at any θ
            };
            let steps = (-points..=points).filter(|step| *step != 0);
            let theta = best.theta;
            let finer: Vec<f64> =
                steps.map(|step| theta * (power * f64::from(step)).exp2()).collect();
            if !self.try_all(&finer, progress)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds these θ to the surface; returns false if interrupted.
    fn try_all(&mut self, thetas: &[f64], progress: &mut dyn Progress) -> Result<bool> {
        let thetas: Vec<f64> = thetas.iter().copied().filter(|theta| *theta <= MAX_THETA).collect();
        let total = self.recorded.losses.len() as u64;
        progress.start(&Task::new("searching θ", Unit::Tokens, total));
        let advantages = self.recorded.advantages(self.size, &thetas, &self.interrupt, progress);
        progress.finish();
        let Some(advantages) = advantages? else { return Ok(false) };
        let tried = thetas.iter().zip(&advantages);
        self.surface
            .extend(tried.map(|(theta, advantages)| {
                SearchedTheta::new(*theta, self.plain_loss, advantages)
            }));
        self.surface.sort_by(|a, b| a.theta.total_cmp(&b.theta));
        Ok(true)
    }

    fn best(&self) -> Option<&SearchedTheta> {
        self.surface.iter().min_by(|a, b| a.best_ppl.total_cmp(&b.best_ppl))
    }

    fn result(self, interrupted: bool, started: Instant) -> CacheSearch {
        let plain_valid_ppl = self.plain_loss.exp();
        let (lambda, theta, valid_ppl) = match self.best() {
            Some(best) => (best.best_lambda, best.theta, best.best_ppl),
            None => (0.0, 0.0, plain_valid_ppl),
        };
        CacheSearch {
            cache: NeuralCache { size: self.size, lambda, theta },
            valid_ppl,
            plain_valid_ppl,
            tokens: self.recorded.walk.tokens,
            seconds: started.elapsed().as_secs_f64(),
            interrupted,
            surface: self.surface,
        }
    }
}

impl CacheSearch {
    /// The surface as a table, headings first: a row for each θ, a column for each of [`LAMBDAS`], then the best
    /// λ and its perplexity.
    pub fn cells(&self) -> Vec<Vec<String>> {
        let lambdas = LAMBDAS.iter().map(|lambda| format!("λ {lambda}"));
        let headings = ["θ".to_owned()].into_iter().chain(lambdas);
        let headings = headings.chain(["best λ".into(), "ppl".into()]);
        let rows = self.surface.iter().map(|row| {
            let ppl = row.ppl.iter().map(|ppl| perplexity(*ppl));
            let best = [digits(row.best_lambda), perplexity(row.best_ppl)];
            [digits(row.theta)].into_iter().chain(ppl).chain(best).collect()
        });
        [headings.collect()].into_iter().chain(rows).collect()
    }

    /// The best cache and its perplexity, in one sentence.
    pub fn summary(&self) -> String {
        format!(
            "{}best {}: validation perplexity {}, {} without it, over {} tokens in {:.1} s",
            if self.interrupted { "interrupted; " } else { "" },
            self.cache,
            perplexity(self.valid_ppl),
            perplexity(self.plain_valid_ppl),
            thousands(self.tokens as u64),
            self.seconds
        )
    }
}

impl std::fmt::Display for CacheSearch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.surface.is_empty() {
            write!(f, "{}", aligned(&self.cells()))?;
        }
        write!(f, "{}", self.summary())
    }
}
