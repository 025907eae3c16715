//! The training loop.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use tch::Tensor;

use super::lengths;
use super::metrics::{EpochReport, MetricsLog, Record};
use super::optimizer::Optimiser;
use super::progress::{Observer, StepReport, Terminal};
use super::recipe::{Optimizer, Recipe};
use super::run_dir::RunDir;
use crate::columns::Columns;
use crate::corpus::{Corpus, Split};
use crate::evaluate::{Evaluation, Reading, check_vocabulary, evaluate_as};
use crate::interrupt::Interrupt;
use crate::model::{Dropouts, QrnnLm, State};
use crate::random::{Purpose, generator};
use crate::{Error, Result};

/// Steps between two lines of the log.
const LOG_EVERY: u64 = 20;

/// Trains models by a recipe.
///
/// ```no_run
/// # use qrnn::prelude::*;
/// # fn main() -> qrnn::Result<()> {
/// let corpus = Corpus::synthetic();
/// let mut model = QrnnLm::new(&LmConfig::paper(40, 160), &corpus, Device::Cpu)?;
/// let run = Trainer::new(Recipe::paper().bptt(35).batch(16).epochs(2)).fit(&mut model, &corpus)?;
/// println!("{run}");
/// # Ok(())
/// # }
/// ```
pub struct Trainer {
    recipe: Recipe,
    folder: Option<PathBuf>,
    observer: Box<dyn Observer>,
    interrupt: Interrupt,
}

/// What a training run came to.
#[derive(Debug, Clone, Serialize)]
pub struct TrainingRun {
    /// One entry an epoch.
    pub epochs: Vec<EpochReport>,
    /// Cross entropy of each step, in nats a word, without the regularisers.
    pub losses: Vec<f64>,
    /// Mean cross entropy of the best model on the test text, in nats a word.
    pub test_loss: Option<f64>,
    /// exp(test_loss).
    pub test_ppl: Option<f64>,
    /// Trained numbers of the model.
    pub parameters: u64,
    /// Words trained on, over the time spent in training steps.
    pub tokens_per_second: f64,
    /// Words trained on.
    pub tokens: u64,
    /// Where the weights were written, if anywhere.
    pub checkpoint: Option<PathBuf>,
    /// Time of the whole run.
    pub seconds: f64,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
}

impl Trainer {
    /// A trainer that shows its progress in the terminal and writes no files.
    pub fn new(recipe: Recipe) -> Self {
        Self {
            recipe,
            folder: None,
            observer: Box::new(Terminal::default()),
            interrupt: Interrupt::default(),
        }
    }

    /// Writes config.json, metrics.jsonl and the best model.safetensors into a folder.
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().into());
        self
    }

    /// Shows progress by an observer of one's own; [`super::Quiet`] shows none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// Stops after a step when asked to; what was learned stays in the model.
    pub fn interrupt(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// Trains `model` on the corpus's training text. Afterwards the model has the weights of the
    /// epoch with the lowest validation loss, which is also the one tested; if interrupted, those
    /// of the last step.
    ///
    /// # Errors
    /// [`Error::Usage`] for an impossible recipe or too little text, [`Error::Diverged`] where the
    /// loss is no number, [`Error::Io`] where the folder cannot be written.
    pub fn fit(&mut self, model: &mut QrnnLm, corpus: &Corpus) -> Result<TrainingRun> {
        self.recipe.check()?;
        check_vocabulary(model, corpus)?;
        let recipe = &self.recipe;
        let columns = Columns::new(corpus.tokens(Split::Train), recipe.batch, "training")?;
        // Too short a text is better found before the epoch than after it.
        Columns::new(corpus.tokens(Split::Valid), recipe.valid_batch, "validation")?;
        Columns::new(corpus.tokens(Split::Test), 1, "test")?;
        let folder = self.folder.as_deref().map(RunDir::create).transpose()?;
        if let Some(folder) = &folder {
            folder.write_config(model.config(), recipe, corpus.name())?;
        }
        crate::libtorch::keep_freed_memory();
        let log = folder.as_ref().map(RunDir::metrics).transpose()?;
        let mut session = Session {
            optimiser: Optimiser::new(model, recipe)?,
            state: model.zero_state(recipe.batch as i64)?,
            model,
            corpus,
            columns,
            recipe,
            folder,
            log,
            observer: self.observer.as_mut(),
            interrupt: &self.interrupt,
            step: 0,
            losses: vec![],
            tokens: 0,
            step_seconds: 0.0,
        };
        session.observer.begin(recipe.epochs, columns.rows());
        let run = session.run();
        session.observer.end();
        run
    }
}

/// A run in progress.
struct Session<'a> {
    model: &'a mut QrnnLm,
    corpus: &'a Corpus,
    columns: Columns<'a>,
    recipe: &'a Recipe,
    optimiser: Optimiser,
    state: State,
    folder: Option<RunDir>,
    log: Option<MetricsLog>,
    observer: &'a mut dyn Observer,
    interrupt: &'a Interrupt,
    /// Steps done.
    step: u64,
    losses: Vec<f64>,
    tokens: u64,
    step_seconds: f64,
}

/// How an epoch ended.
enum Epoch {
    Whole {
        train_loss: f64,
    },
    /// The recipe's number of steps is done.
    Enough {
        train_loss: f64,
    },
    Interrupted,
}

impl Session<'_> {
    fn run(&mut self) -> Result<TrainingRun> {
        let started = Instant::now();
        let mut epochs: Vec<EpochReport> = vec![];
        let mut best: Option<(f64, Vec<Tensor>)> = None;
        let mut interrupted = false;
        for epoch in 1..=self.recipe.epochs {
            let epoch_started = Instant::now();
            let (train_loss, enough) = match self.epoch(epoch)? {
                Epoch::Whole { train_loss } => (train_loss, false),
                Epoch::Enough { train_loss } => (train_loss, true),
                Epoch::Interrupted => {
                    interrupted = true;
                    break;
                }
            };
            // Where weights are averaged, their mean is what is judged and kept.
            let trained = match self.optimiser.mean() {
                Some(mean) => {
                    let trained = self.model.weight_copies()?;
                    self.model.set_weights(mean)?;
                    Some(trained)
                }
                None => None,
            };
            let Some(valid) = self.evaluate(Split::Valid)? else {
                interrupted = true;
                break;
            };
            let report = EpochReport {
                epoch,
                train_loss,
                valid_loss: valid.loss,
                valid_ppl: valid.ppl,
                seconds: epoch_started.elapsed().as_secs_f64(),
            };
            let is_best = best.as_ref().is_none_or(|(loss, _)| valid.loss < *loss);
            self.observer.epoch(&report, is_best);
            self.record(&Record::Epoch(report.clone()))?;
            epochs.push(report);
            if is_best {
                best = Some((valid.loss, self.model.weight_copies()?));
                self.save()?;
            }
            if let Some(trained) = trained {
                self.model.set_weights(&trained)?;
            } else if self.recipe.optimizer == Optimizer::Sgd
                && is_stuck(&epochs, self.recipe.nonmono)
            {
                self.optimiser = Optimiser::averaging(self.model)?;
            }
            if enough {
                break;
            }
        }

        let mut test = None;
        if interrupted {
            if best.is_none() {
                self.save()?; // a saved best model is worth more than a later, unproven one
            }
        } else if let Some((_, weights)) = &best {
            self.model.set_weights(weights)?;
            test = self.evaluate(Split::Test)?;
            interrupted = test.is_none();
        }
        if let Some(test) = &test {
            self.record(&Record::Test { loss: test.loss, ppl: test.ppl })?;
        }
        Ok(TrainingRun {
            epochs,
            losses: std::mem::take(&mut self.losses),
            test_loss: test.as_ref().map(|test| test.loss),
            test_ppl: test.as_ref().map(|test| test.ppl),
            parameters: self.model.parameter_count(),
            tokens_per_second: self.tokens as f64 / self.step_seconds.max(1e-9),
            tokens: self.tokens,
            checkpoint: self.folder.as_ref().map(RunDir::weights),
            seconds: started.elapsed().as_secs_f64(),
            interrupted,
        })
    }

    /// One pass over the training text.
    fn epoch(&mut self, epoch: usize) -> Result<Epoch> {
        self.state = self.model.zero_state(self.recipe.batch as i64)?;
        let (mut row, mut sum, mut tokens) = (0, 0.0, 0);
        let mut since = Since::now();
        // As the original, which leaves a last row of one word alone.
        while row + 2 < self.columns.rows() || (row == 0 && self.columns.rows() == 2) {
            if self.interrupt.requested() {
                return Ok(Epoch::Interrupted);
            }
            let started = Instant::now();
            let length = lengths::length(self.recipe, self.step);
            let rate = lengths::rate(self.recipe, epoch, length);
            let (loss, words) = self.train_step(row, length, rate)?;
            let seconds = started.elapsed().as_secs_f64();
            if !loss.is_finite() {
                return Err(self.diverged(loss, rate));
            }
            self.step += 1;
            row += words / self.recipe.batch;
            sum += loss * words as f64;
            tokens += words;
            self.losses.push(loss);
            self.tokens += words as u64;
            self.step_seconds += seconds;
            since.add(loss, words, seconds);
            let report = StepReport {
                step: self.step,
                epoch,
                row,
                loss,
                rate,
                tokens_per_second: since.tokens_per_second(),
            };
            self.observer.step(&report);
            let enough = self.recipe.steps == Some(self.step);
            if enough || self.step.is_multiple_of(LOG_EVERY) {
                self.record(&since.record(&report))?;
                since = Since::now();
            }
            if enough {
                return Ok(Epoch::Enough { train_loss: sum / tokens as f64 });
            }
        }
        Ok(Epoch::Whole { train_loss: sum / tokens as f64 })
    }

    /// One step from row `row`: its loss without regularisers, and the words it predicted.
    fn train_step(&mut self, row: usize, length: usize, rate: f64) -> Result<(f64, usize)> {
        let (recipe, options) = (self.recipe, self.model.options());
        let window = self.columns.window(row, length, options.1)?;
        let rng = &mut generator(recipe.seed, Purpose::Dropout, self.step);
        let (seq, batch) = window.words.size2()?;
        let drops = Dropouts::draw(self.model.config(), seq, batch, options, rng)?;
        let forwarded = self.model.forward(&window.words, &self.state, Some(&drops))?;
        let loss = self.model.loss(&forwarded.output, &window.targets)?;
        let objective = regularised(&loss, &forwarded.raw, &forwarded.output, recipe)?;
        let parameters: Vec<&Tensor> =
            self.model.parameters().into_iter().map(|(_, tensor)| tensor).collect();
        let grads = Tensor::f_run_backward(&[&objective], &parameters, false, false)?;
        let loss = loss.f_double_value(&[])?;
        // Before the step, so that a NaN leaves the weights as they were.
        if loss.is_finite() {
            self.optimiser.step(self.model, &grads, recipe, rate)?;
        }
        self.state = forwarded.state;
        Ok((loss, window.targets.len()))
    }

    /// `None` where interrupted.
    fn evaluate(&self, split: Split) -> Result<Option<Evaluation>> {
        let reading = Reading {
            interrupt: self.interrupt.clone(),
            batch: if split == Split::Test { 1 } else { self.recipe.valid_batch },
            bptt: self.recipe.bptt,
        };
        match evaluate_as(self.model, self.corpus, split, &reading) {
            Ok(evaluation) => Ok(Some(evaluation)),
            Err(Error::Interrupted { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn record(&mut self, record: &Record) -> Result<()> {
        self.log.as_mut().map_or(Ok(()), |log| log.add(record))
    }

    fn save(&self) -> Result<()> {
        match &self.folder {
            Some(folder) => self.model.save_weights(folder.weights()),
            None => Ok(()),
        }
    }

    fn diverged(&self, loss: f64, rate: f64) -> Error {
        let checkpoint = match self.folder.as_ref().map(RunDir::weights) {
            Some(path) if path.exists() => path.display().to_string(),
            Some(_) => "the start: no epoch was finished, so nothing was saved".into(),
            None => "the start: the run has no folder".into(),
        };
        Error::Diverged { step: self.step, loss, rate, checkpoint }
    }
}

/// The loss with the original's two regularisers: alpha times the mean square of the dropped
/// output, beta times the mean square of the raw output's differences in time.
fn regularised(loss: &Tensor, raw: &Tensor, output: &Tensor, recipe: &Recipe) -> Result<Tensor> {
    let mean_square = |x: &Tensor| x.f_square()?.f_mean(None::<tch::Kind>);
    let mut objective = loss.shallow_clone();
    if recipe.alpha > 0.0 {
        objective = objective.f_add(&mean_square(output)?.f_mul_scalar(recipe.alpha)?)?;
    }
    let seq = raw.size()[0];
    if recipe.beta > 0.0 && seq > 1 {
        let difference = raw.f_narrow(0, 1, seq - 1)?.f_sub(&raw.f_narrow(0, 0, seq - 1)?)?;
        objective = objective.f_add(&mean_square(&difference)?.f_mul_scalar(recipe.beta)?)?;
    }
    Ok(objective)
}

/// What has happened since the last line of the log.
struct Since {
    loss: f64,
    words: usize,
    seconds: f64,
}

impl Since {
    fn now() -> Self {
        Self { loss: 0.0, words: 0, seconds: 0.0 }
    }

    fn add(&mut self, loss: f64, words: usize, seconds: f64) {
        self.loss += loss * words as f64;
        self.words += words;
        self.seconds += seconds;
    }

    fn tokens_per_second(&self) -> f64 {
        self.words as f64 / self.seconds.max(1e-9)
    }

    fn record(&self, step: &StepReport) -> Record {
        Record::Steps {
            step: step.step,
            epoch: step.epoch,
            loss: self.loss / self.words.max(1) as f64,
            rate: step.rate,
            tokens_per_second: self.tokens_per_second(),
        }
    }
}

/// Whether the last validation loss is above the best of more than `nonmono` epochs before it.
fn is_stuck(epochs: &[EpochReport], nonmono: usize) -> bool {
    let Some((last, before)) = epochs.split_last() else { return false };
    let long_ago = &before[..before.len().saturating_sub(nonmono)];
    long_ago.iter().any(|epoch| last.valid_loss > epoch.valid_loss)
}

impl std::fmt::Display for TrainingRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} parameters, {} words in {:.1} s, {:.0} words/s",
            self.parameters, self.tokens, self.seconds, self.tokens_per_second
        )?;
        for epoch in &self.epochs {
            writeln!(
                f,
                "epoch {:>3}  train loss {:.4}  valid loss {:.4}  valid ppl {:.2}",
                epoch.epoch, epoch.train_loss, epoch.valid_loss, epoch.valid_ppl
            )?;
        }
        match (self.test_loss, self.test_ppl) {
            (Some(loss), Some(ppl)) => write!(f, "test loss {loss:.4}  test ppl {ppl:.2}"),
            _ => write!(f, "interrupted, not tested"),
        }
    }
}

#[cfg(test)]
mod tests;
