//! A run in progress: epochs of steps, validation, checkpoints.

use std::time::Instant;

use tch::Tensor;

use super::checkpoint::{self, RunPosition};
use super::checkpoint_schedule::Schedule;
use super::identity::Identity;
use super::metrics::MetricsLog;
use super::pending::{FinishedStep, PendingSteps};
use super::record::Record;
use qrnn_ops::adam::BAD_GRADIENT;

use super::checkpoint_writer::Writer;
use super::optimizer::Optimizer;
use super::recipe::{OptimizerKind, Recipe};
use super::run_dir::RunDir;
use super::step_inputs::StepInputs;
use super::training_run::TrainingRun;
use crate::data::Batches;
use crate::data::{Corpus, Split};
use crate::evaluate::{EvalOptions, Evaluation, validate};
use crate::interrupt::Interrupt;
use crate::model::{QrnnLm, State};
use crate::progress::{EpochReport, Progress, StepReport};
use crate::{Error, Result};

/// What a run works with.
pub(super) struct Session<'a> {
    pub model: &'a mut QrnnLm,
    pub corpus: &'a Corpus,
    pub columns: Batches<'a>,
    pub recipe: &'a Recipe,
    pub optimizer: Optimizer,
    pub state: State,
    /// Before the folder, which it writes into: fields are dropped in their order, and the folder
    /// is another process's to take from then on.
    pub writer: Writer,
    pub folder: Option<RunDir>,
    pub log: Option<MetricsLog>,
    pub show: &'a mut dyn Progress,
    pub interrupt: &'a Interrupt,
    pub schedule: Schedule,
    pub log_every: u64,
    /// Where the run stands, as far as losses were read.
    pub position: RunPosition,
    pub pending: PendingSteps,
    /// The inputs of the next step, where they were prepared before it.
    pub next: Option<StepInputs>,
    pub losses: Vec<f64>,
    /// Of a run with a folder; `None` where version 0.1 began it.
    pub identity: Option<Identity>,
    /// 1 until a step goes wrong, then 0: no later step changes the weights. A scalar on the device.
    pub healthy: Tensor,
    /// The weights of the best epoch.
    pub best: Option<Vec<Tensor>>,
}

/// How an epoch's steps ended.
#[derive(PartialEq)]
enum EpochEnd {
    Complete,
    /// The recipe's number of steps is done.
    StepLimit,
    Interrupted,
}

impl Session<'_> {
    pub(super) fn run(&mut self) -> Result<TrainingRun> {
        let started = Instant::now();
        let mut interrupted = false;
        if self.recipe.finetune && self.position.step == 0 {
            interrupted = !self.validate_initial_weights()?;
        }
        while !interrupted && self.position.epoch <= self.recipe.epochs && !self.is_finetuned() {
            let epoch_started = Instant::now();
            let steps = self.steps()?;
            self.position.seconds += epoch_started.elapsed().as_secs_f64();
            if steps == EpochEnd::StepLimit {
                // In the middle of an epoch, so that a run with more steps can go on from here.
                self.checkpoint()?;
                if self.position.words == 0 {
                    break;
                }
            }
            if steps == EpochEnd::Interrupted || !self.end_epoch()? {
                interrupted = true;
                break;
            }
            if steps == EpochEnd::StepLimit {
                break;
            }
            self.checkpoint()?;
        }

        let mut test = None;
        if interrupted {
            self.checkpoint()?;
            if self.best.is_none() {
                self.save_weights()?; // a saved best model is worth more than a later, unproven one
            }
        } else if let Some(weights) = &self.best {
            self.model.set_weights(weights)?;
            test = self.evaluate(Split::Test)?;
            interrupted = test.is_none();
        }
        self.writer.finish()?;
        if let Some(test) = &test {
            self.record(&Record::Test { loss: test.loss, ppl: test.ppl })?;
        }
        let position = &self.position;
        Ok(TrainingRun {
            config: self.model.config().clone(),
            recipe: self.recipe.clone(),
            epochs: position.epochs.clone(),
            losses: std::mem::take(&mut self.losses),
            test_loss: test.as_ref().map(|test| test.loss),
            test_ppl: test.as_ref().map(|test| test.ppl),
            parameters: self.model.parameter_count(),
            tokens_per_second: position.tokens as f64 / position.step_seconds.max(1e-9),
            tokens: position.tokens,
            checkpoint: self.folder.as_ref().map(RunDir::weights),
            seconds: started.elapsed().as_secs_f64(),
            interrupted,
        })
    }

    /// Whether finetuning has come to its end.
    fn is_finetuned(&self) -> bool {
        self.recipe.finetune && validation_stalled(&self.position.epochs, self.recipe.nonmono)
    }

    /// Whether the recipe's number of steps is done, or more.
    pub(super) fn step_limit_reached(&self) -> bool {
        self.recipe.steps.is_some_and(|steps| self.step() >= steps)
    }

    /// The steps of an epoch that are still to be done.
    fn steps(&mut self) -> Result<EpochEnd> {
        if self.position.row == 0 {
            self.state = self.model.zero_state(self.recipe.batch as i64)?;
        }
        let ended = self.begin_steps()?;
        self.read_losses()?;
        Ok(ended)
    }

    fn begin_steps(&mut self) -> Result<EpochEnd> {
        let rows = self.columns.rows();
        // As the original, which leaves a last row of one word alone.
        while self.row() + 2 < rows || (self.row() == 0 && rows == 2) {
            if self.step_limit_reached() {
                return Ok(EpochEnd::StepLimit);
            }
            if self.interrupt.requested() {
                return Ok(EpochEnd::Interrupted);
            }
            match self.begin_step() {
                Err(Error::Interrupted { .. }) => return Ok(EpochEnd::Interrupted),
                done => done?,
            }
            if self.pending.is_full()
                || self.step().is_multiple_of(self.log_every)
                || self.step_limit_reached()
            {
                self.prepare_next(rows)?;
                self.read_losses()?;
            }
            if self.is_checkpoint_due()? {
                self.read_losses()?;
                self.checkpoint()?;
            }
        }
        Ok(if self.step_limit_reached() { EpochEnd::StepLimit } else { EpochEnd::Complete })
    }

    /// Not while another is being written: it then comes when that is done.
    fn is_checkpoint_due(&mut self) -> Result<bool> {
        if self.folder.is_none() || self.writer.is_writing()? {
            return Ok(false);
        }
        let losses_known = self.pending.steps() == 0;
        Ok(self.schedule.is_due(self.step(), losses_known, Instant::now()))
    }

    /// Steps done or begun.
    pub(super) fn step(&self) -> u64 {
        self.position.step + self.pending.steps() as u64
    }

    /// Rows of this epoch walked down.
    pub(super) fn row(&self) -> usize {
        self.position.row + self.pending.words() / self.recipe.batch
    }

    fn begin_step(&mut self) -> Result<()> {
        let begin = self.pending.clock();
        let inputs = match self.next.take() {
            Some(inputs) => inputs,
            None => self.prepare_step()?,
        };
        let (rate, words) = (inputs.rate, inputs.targets.words());
        let loss = self.train_step(inputs)?;
        self.pending.add(begin, loss, words, rate);
        self.show.step_submitted();
        Ok(())
    }

    /// Reads the losses of the steps that were begun, and says what is to be said of them.
    fn read_losses(&mut self) -> Result<()> {
        self.pending.read()?.into_iter().try_for_each(|step| self.record_step(&step))
    }

    fn record_step(&mut self, done: &FinishedStep) -> Result<()> {
        let &FinishedStep { loss, words, rate, seconds } = done;
        if !loss.is_finite() {
            return Err(self.diverged(loss, rate));
        }
        let (epoch, position) = (self.position.epoch, &mut self.position);
        position.step += 1;
        position.row += words / self.recipe.batch;
        position.loss_sum += loss * words as f64;
        position.words += words;
        position.tokens += words as u64;
        position.step_seconds += seconds;
        let since = &mut position.since_log;
        *since = (since.0 + loss * words as f64, since.1 + words, since.2 + seconds);
        let (loss_since, words_since, seconds_since) = *since;
        let report = StepReport {
            step: position.step,
            epoch,
            row: position.row,
            rows: self.columns.rows(),
            loss,
            rate,
            tokens_per_second: words_since as f64 / seconds_since.max(1e-9),
        };
        self.losses.push(loss);
        self.show.step(&report);
        let enough = self.recipe.steps.is_some_and(|steps| report.step >= steps);
        if report.step.is_multiple_of(self.log_every) || enough {
            self.position.since_log = (0.0, 0, 0.0);
            self.record(&Record::Steps {
                step: report.step,
                epoch,
                loss: loss_since / words_since.max(1) as f64,
                rate,
                tokens_per_second: report.tokens_per_second,
            })?;
        }
        Ok(())
    }

    /// Takes the weights that finetuning begins with for the best so far; false where interrupted.
    fn validate_initial_weights(&mut self) -> Result<bool> {
        let Some(valid) = self.evaluate(Split::Valid)? else { return Ok(false) };
        self.position.best = Some(valid.loss);
        self.best = Some(self.model.weight_copies()?);
        self.save_weights()?;
        Ok(true)
    }

    /// Validation, and what follows from it; false where interrupted.
    fn end_epoch(&mut self) -> Result<bool> {
        let started = Instant::now();
        // Where weights are averaged, their mean is what is judged and kept.
        let trained = match self.optimizer.mean() {
            Some(mean) => {
                let trained = self.model.weight_copies()?;
                self.model.set_weights(mean)?;
                Some(trained)
            }
            None => None,
        };
        let valid = self.evaluate(Split::Valid)?;
        if let Some(valid) = &valid {
            let report = EpochReport {
                epoch: self.position.epoch,
                train_loss: self.position.loss_sum / self.position.words.max(1) as f64,
                valid_loss: valid.loss,
                valid_ppl: valid.ppl,
                seconds: self.position.seconds + started.elapsed().as_secs_f64(),
            };
            // A loss that is no number is none to compare others with.
            let is_best = !valid.loss.is_nan()
                && self.position.best.is_none_or(|best| valid.loss < best || best.is_nan());
            self.show.epoch(&report, is_best);
            self.record(&Record::Epoch(report.clone()))?;
            self.position.epochs.push(report);
            if is_best {
                self.position.best = Some(valid.loss);
                self.best = Some(self.model.weight_copies()?);
                self.save_weights()?;
            }
        }
        if let Some(trained) = &trained {
            self.model.set_weights(trained)?;
        }
        if valid.is_none() {
            return Ok(false);
        }
        if trained.is_none()
            && self.recipe.optimizer == OptimizerKind::Sgd
            && validation_stalled(&self.position.epochs, self.recipe.nonmono)
        {
            self.optimizer = Optimizer::averaging(self.model)?;
        }
        let position = &mut self.position;
        position.epoch += 1;
        (position.row, position.loss_sum, position.words, position.seconds) = (0, 0.0, 0, 0.0);
        Ok(true)
    }

    /// `None` where interrupted.
    fn evaluate(&mut self, split: Split) -> Result<Option<Evaluation>> {
        let options = EvalOptions {
            interrupt: self.interrupt.clone(),
            batch: if split == Split::Test { 1 } else { self.recipe.valid_batch },
            bptt: self.recipe.bptt,
        };
        // A figure that is compared with others, whatever the format of training.
        let precision = self.model.precision();
        self.model.set_precision(precision.exact());
        let (ids, what) = (self.corpus.tokens(split), split.to_string());
        let evaluation = validate(self.model, ids, &what, &options);
        self.model.set_precision(precision);
        match evaluation {
            Ok(evaluation) => Ok(Some(evaluation)),
            Err(Error::Interrupted { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn record(&mut self, record: &Record) -> Result<()> {
        self.log.as_mut().map_or(Ok(()), |log| log.add(record))
    }

    fn diverged(&mut self, loss: f64, rate: f64) -> Error {
        // The newest checkpoint may be on its way to the disk; that the loss is no number matters more
        // than how that ends.
        let _ = self.writer.finish();
        if let Err(error) = self.model.check_finite() {
            return error; // it was so before the step, as no step makes it so
        }
        let folder = self.folder.as_ref().map(RunDir::path);
        let newest = folder.and_then(|folder| checkpoint::before(folder, self.position.step));
        let problem = match loss == BAD_GRADIENT {
            true => "the gradient is not finite".to_owned(),
            false => format!("the loss is {loss}"),
        };
        Error::Diverged { step: self.position.step, problem, rate, checkpoint: newest }
    }
}

/// Whether the last validation loss is above the best of more than `nonmono` epochs before it.
fn validation_stalled(epochs: &[EpochReport], nonmono: usize) -> bool {
    let Some((last, before)) = epochs.split_last() else { return false };
    let long_ago = &before[..before.len().saturating_sub(nonmono)];
    long_ago.iter().any(|epoch| last.valid_loss > epoch.valid_loss)
}
