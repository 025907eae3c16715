//! The training loop: epochs of steps, validation, checkpoints, the final test.

use std::time::Instant;

use qrnn_ops::adam::BAD_GRADIENT;
use tch::Tensor;

use super::checkpoint;
use super::checkpoint_schedule::CheckpointSchedule;
use super::checkpoint_writer::Writer;
use super::compression::Compression;
use super::data_parallel::{Agreement, DataParallel};
use super::identity::Identity;
use super::metrics::MetricsLog;
use super::optimizer::Optimizer;
use super::pending::{FinishedStep, PendingSteps};
use super::position::RunPosition;
use super::recipe::{OptimizerKind, Recipe};
use super::record::Record;
use super::run_dir::RunDir;
use super::step_inputs::StepInputs;
use super::training_run::TrainingRun;
use crate::compress::CompressedLm;
use crate::data::{Batches, Corpus, Split};
use crate::evaluate::{EvalOptions, Evaluation};
use crate::files::run_folder::RESULTS;
use crate::interrupt::Interrupt;
use crate::model::{QrnnLm, State};
use crate::progress::{EpochReport, Progress, StepReport};
use crate::{Error, Result};

/// A run in progress.
pub(super) struct TrainingLoop<'a> {
    pub model: &'a mut QrnnLm,
    pub corpus: &'a Corpus,
    pub batches: Batches<'a>,
    pub recipe: &'a Recipe,
    pub optimizer: Optimizer,
    /// Passed from window to window.
    pub state: State,
    /// Declared before the folder, which it writes into: fields are dropped in their order, and another
    /// process may take the folder once it is dropped.
    pub writer: Writer,
    pub folder: Option<RunDir>,
    pub log: Option<MetricsLog>,
    pub progress: &'a mut dyn Progress,
    pub interrupt: &'a Interrupt,
    pub checkpoint_schedule: CheckpointSchedule,
    pub log_every: u64,
    /// The finished steps.
    pub position: RunPosition,
    pub pending: PendingSteps,
    /// The inputs of the next step, if they were prepared early.
    pub next: Option<StepInputs>,
    /// The loss of each finished step, in nats per token.
    pub losses: Vec<f64>,
    /// Of a run with a folder; `None` if version 0.1 started it.
    pub identity: Option<Identity>,
    /// A scalar on the device: 1 until a step is not finite, then 0, and no later step changes the weights.
    pub healthy: Tensor,
    /// Fields of results.json beside those of the run.
    pub provenance: serde_json::Map<String, serde_json::Value>,
    /// The part of the run that this process computes.
    pub parallel: DataParallel,
    /// The weights of the best epoch.
    pub best: Option<Vec<Tensor>>,
    /// Of a run that compresses its model.
    pub compression: Option<Compression>,
}

/// How the steps of an epoch ended.
#[derive(Clone, Copy, PartialEq)]
enum EpochEnd {
    Complete,
    /// The recipe's number of steps is reached.
    StepLimit,
    Interrupted,
}

impl TrainingLoop<'_> {
    /// Trains to the end of the recipe or until an interrupt, then tests the best weights.
    pub(super) fn run(&mut self) -> Result<TrainingRun> {
        let started = Instant::now();
        let mut interrupted = false;
        if self.recipe.finetune && self.position.step == 0 {
            interrupted = !self.validate_initial_weights()?;
        }
        while !interrupted && self.position.epoch <= self.recipe.epochs && !self.finetuning_ended()
        {
            match self.epoch()? {
                EpochEnd::Complete => self.checkpoint()?,
                EpochEnd::StepLimit => break,
                EpochEnd::Interrupted => interrupted = true,
            }
        }
        let mut test = None;
        if interrupted {
            self.checkpoint()?;
            if self.best.is_none() && self.compression.is_none() {
                // The weights of a validated epoch are worth more than later ones.
                self.save_weights()?;
            }
        } else if self.compression.is_some() {
            test = self.test_compressed()?;
            interrupted = test.is_none() && self.interrupt.requested();
        } else if let Some(weights) = &self.best {
            self.model.set_weights(weights)?;
            test = self.evaluate(Split::Test)?;
            interrupted = test.is_none();
        }
        self.writer.finish()?;
        if let Some(test) = &test {
            self.write_log(&Record::Test { loss: test.loss, ppl: test.ppl })?;
        }
        let run = self.results(test, interrupted, started);
        self.write_results(&run)?;
        Ok(run)
    }

    /// Writes results.json.
    fn write_results(&self, run: &TrainingRun) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let encoded = |error: serde_json::Error| Error::io(folder.path(), "write")(error.into());
        let mut json = run.to_json().map_err(encoded)?;
        if let serde_json::Value::Object(fields) = &mut json {
            fields.extend(self.provenance.clone());
        }
        folder.check_owned()?;
        folder.write_json(RESULTS, &json)
    }

    fn results(
        &mut self,
        test: Option<Evaluation>,
        interrupted: bool,
        started: Instant,
    ) -> TrainingRun {
        let position = &self.position;
        TrainingRun {
            config: self.model.config().clone(),
            recipe: self.recipe.clone(),
            epochs: position.epochs.clone(),
            losses: std::mem::take(&mut self.losses),
            test_loss: test.as_ref().map(|test| test.loss),
            test_ppl: test.as_ref().map(|test| test.ppl),
            parameters: self.model.parameter_count(),
            tokens_per_second: position.tokens as f64 / position.step_seconds.max(1e-9),
            tokens: position.tokens,
            steps: position.step,
            precision: self.model.precision(),
            checkpoint: self.folder.as_ref().map(RunDir::weights),
            seconds: started.elapsed().as_secs_f64(),
            interrupted,
        }
    }

    /// Runs the remaining steps of the epoch, then validates.
    fn epoch(&mut self) -> Result<EpochEnd> {
        let started = Instant::now();
        let end = self.training_steps()?;
        self.position.seconds += started.elapsed().as_secs_f64();
        match end {
            EpochEnd::Complete => {}
            EpochEnd::Interrupted => return Ok(end),
            EpochEnd::StepLimit => {
                // In the middle of an epoch, so that a run with more steps can continue here.
                self.checkpoint()?;
                if self.position.epoch_tokens == 0 {
                    return Ok(end);
                }
            }
        }
        Ok(if self.end_epoch()? { end } else { EpochEnd::Interrupted })
    }

    fn training_steps(&mut self) -> Result<EpochEnd> {
        if self.position.row == 0 {
            self.state = self.model.zero_state(self.parallel.columns().len() as i64)?;
        }
        let end = self.submit_steps()?;
        self.read_losses()?;
        Ok(end)
    }

    fn submit_steps(&mut self) -> Result<EpochEnd> {
        while self.has_rows_left() {
            if self.step_limit_reached() {
                return Ok(EpochEnd::StepLimit);
            }
            if let Some(folder) = &self.folder {
                folder.check_owned()?;
            }
            if self.parallel.stops_within_step(self.interrupt) || !self.submit_step()? {
                return Ok(EpochEnd::Interrupted);
            }
            let logs = self.step().is_multiple_of(self.log_every);
            let reads = self.pending.is_full() || logs || self.step_limit_reached();
            if reads {
                self.prepare_next()?;
                self.read_losses()?;
            }
            let Agreement { stop, checkpoint } = self.agree(reads)?;
            if checkpoint {
                self.read_losses()?;
                self.checkpoint()?;
            }
            if stop {
                return Ok(EpochEnd::Interrupted);
            }
        }
        Ok(if self.step_limit_reached() { EpochEnd::StepLimit } else { EpochEnd::Complete })
    }

    /// Whether to stop, and whether a checkpoint is due. The processes of a group agree where losses are read.
    fn agree(&mut self, reads: bool) -> Result<Agreement> {
        let in_group = self.parallel.group().is_some();
        if in_group && !reads {
            return Ok(Agreement { stop: false, checkpoint: false });
        }
        let checkpoint = self.checkpoint_is_due()?;
        let asked = in_group && self.interrupt.requested();
        let agreement = self.parallel.agree(asked, checkpoint)?;
        if agreement.stop && !asked {
            self.progress.message("another process of the group was asked to stop: all stop here");
        }
        Ok(agreement)
    }

    /// Whether the epoch has a window left. Like the original, it skips a last row of one token.
    pub(super) fn has_rows_left(&self) -> bool {
        let rows = self.batches.rows();
        self.row() + 2 < rows || (self.row() == 0 && rows == 2)
    }

    /// Whether the recipe's number of steps is reached.
    pub(super) fn step_limit_reached(&self) -> bool {
        self.recipe.steps.is_some_and(|steps| self.step() >= steps)
    }

    /// Not while another checkpoint is being written: it is then due when that is done.
    fn checkpoint_is_due(&mut self) -> Result<bool> {
        if self.folder.is_none() || self.writer.is_writing()? {
            return Ok(false);
        }
        let losses_known = self.pending.len() == 0;
        Ok(self.checkpoint_schedule.is_due(self.step(), losses_known, Instant::now()))
    }

    /// Steps submitted since the beginning of the run.
    pub(super) fn step(&self) -> u64 {
        self.position.step + self.pending.len() as u64
    }

    /// Rows of this epoch that were submitted.
    pub(super) fn row(&self) -> usize {
        self.position.row + self.pending.tokens() / self.recipe.batch
    }

    /// Copies the losses of the submitted steps to the host, and reports them.
    fn read_losses(&mut self) -> Result<()> {
        if let Some(group) = self.parallel.group() {
            group.synchronize()?;
        }
        self.pending.take_finished()?.into_iter().try_for_each(|step| self.record_step(&step))
    }

    fn record_step(&mut self, finished: &FinishedStep) -> Result<()> {
        let &FinishedStep { loss, tokens, rate, seconds } = finished;
        if !loss.is_finite() {
            return Err(self.diverged(loss, rate));
        }
        self.position.add_step(loss, tokens, tokens / self.recipe.batch, seconds);
        self.losses.push(loss);
        let RunPosition { step, epoch, row, since_log, .. } = self.position;
        let tokens_per_second = since_log.tokens_per_second();
        let rows = self.batches.rows();
        self.progress.step(&StepReport { step, epoch, row, rows, loss, rate, tokens_per_second });
        let last = self.recipe.steps.is_some_and(|steps| step >= steps);
        if step.is_multiple_of(self.log_every) || last {
            self.position.since_log = Default::default();
            let loss = since_log.mean_loss();
            self.write_log(&Record::Steps { step, epoch, loss, rate, tokens_per_second })?;
        }
        Ok(())
    }

    /// Validates the weights that finetuning starts from, as the best so far; false if interrupted.
    fn validate_initial_weights(&mut self) -> Result<bool> {
        let Some(valid) = self.evaluate(Split::Valid)? else { return Ok(false) };
        self.set_best(valid.loss)?;
        Ok(true)
    }

    /// Validates the epoch, and updates the best weights and the optimizer; false if interrupted.
    fn end_epoch(&mut self) -> Result<bool> {
        let started = Instant::now();
        self.parallel.check_weights(self.model)?;
        // An epoch has the zeros that belong to its end, also between two updates.
        self.update_compression()?;
        // If weights are averaged, the mean is validated and saved.
        let trained = match self.optimizer.mean() {
            Some(mean) => {
                let trained = self.model.weight_copies()?;
                self.model.set_weights(mean)?;
                Some(trained)
            }
            None => None,
        };
        let compressed = self.compressed()?;
        let valid = match &compressed {
            Some(compressed) => self.evaluate_compressed(compressed, Split::Valid)?,
            None => self.evaluate(Split::Valid)?,
        };
        if let Some(valid) = &valid {
            self.record_epoch(valid, compressed, started)?;
        }
        if let Some(trained) = &trained {
            self.model.set_weights(trained)?;
        }
        if valid.is_none() {
            return Ok(false);
        }
        let averages = trained.is_some();
        if !averages && self.recipe.optimizer == OptimizerKind::Sgd && self.validation_stalled() {
            self.optimizer = Optimizer::averaging(self.model)?;
        }
        self.position.next_epoch();
        Ok(true)
    }

    fn record_epoch(
        &mut self,
        valid: &Evaluation,
        compressed: Option<CompressedLm>,
        started: Instant,
    ) -> Result<()> {
        let position = &self.position;
        let report = EpochReport {
            epoch: position.epoch,
            train_loss: position.loss_sum / position.epoch_tokens.max(1) as f64,
            valid_loss: valid.loss,
            valid_ppl: valid.ppl,
            seconds: position.seconds + started.elapsed().as_secs_f64(),
        };
        // NaN compares with nothing.
        let is_best = !valid.loss.is_nan()
            && self.compression.as_ref().is_none_or(Compression::is_final)
            && position.best.is_none_or(|best| valid.loss < best || best.is_nan());
        self.progress.epoch(&report, is_best);
        self.write_log(&Record::Epoch(report.clone()))?;
        self.position.epochs.push(report);
        match (is_best, compressed) {
            (false, _) => Ok(()),
            (true, None) => self.set_best(valid.loss),
            (true, Some(compressed)) => self.set_best_compressed(valid.loss, compressed),
        }
    }

    /// Saves the current weights as the best.
    fn set_best(&mut self, loss: f64) -> Result<()> {
        self.position.best = Some(loss);
        self.best = Some(self.model.weight_copies()?);
        self.save_weights()
    }

    fn finetuning_ended(&self) -> bool {
        self.recipe.finetune && self.validation_stalled()
    }

    /// Whether the last validation loss is above the best of the epochs more than `nonmono` before it.
    fn validation_stalled(&self) -> bool {
        let Some((last, earlier)) = self.position.epochs.split_last() else { return false };
        let earlier = &earlier[..earlier.len().saturating_sub(self.recipe.nonmono)];
        earlier.iter().any(|epoch| last.valid_loss > epoch.valid_loss)
    }

    /// `None` if interrupted.
    fn evaluate(&mut self, split: Split) -> Result<Option<Evaluation>> {
        let options = self.eval_options(split);
        // Losses are compared with other runs', whatever the precision of training.
        let precision = self.model.precision();
        self.model.set_precision(precision.exact());
        let (ids, what) = (self.corpus.tokens(split), split.to_string());
        let evaluation = self.parallel.validate(self.model, ids, &what, &options);
        self.model.set_precision(precision);
        Ok(Some(evaluation?).filter(|evaluation| !evaluation.interrupted))
    }

    pub(super) fn eval_options(&self, split: Split) -> EvalOptions {
        EvalOptions {
            interrupt: self.interrupt.clone(),
            batch: if split == Split::Test { 1 } else { self.recipe.valid_batch },
            bptt: self.recipe.bptt,
        }
    }

    fn write_log(&mut self, record: &Record) -> Result<()> {
        self.log.as_mut().map_or(Ok(()), |log| log.add(record))
    }

    fn diverged(&mut self, loss: f64, rate: f64) -> Error {
        // A checkpoint may still be on its way to the disk; its error matters less than this one.
        let _ = self.writer.finish();
        if let Err(error) = self.model.check_finite() {
            return error; // the weights were not finite before the step: a step never makes them so
        }
        let folder = self.folder.as_ref().map(RunDir::path);
        let newest =
            folder.and_then(|folder| checkpoint::newest_before(folder, self.position.step));
        let problem = if loss == BAD_GRADIENT {
            "the gradient is not finite".to_owned()
        } else {
            format!("the loss is {loss}")
        };
        Error::Diverged { step: self.position.step, problem, rate, checkpoint: newest }
    }
}
