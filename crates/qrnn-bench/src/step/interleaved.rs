//! Interleaves blocks of our training steps with those of the baselines. Our steps are the
//! trainer's, observed through [`Progress`]. There is no synchronization within a block.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use qrnn::data::Corpus;
use qrnn::interrupt::Interrupt;
use qrnn::model::QrnnLm;
use qrnn::progress::{Progress, StepReport, Task};
use qrnn::train::{Recipe, Trainer};
use qrnn::{Error, Result};
use qrnn_ops::cuda::{Clock, Timestamp};
use qrnn_ops::profile;
use tch::Device;

use crate::baselines::Baselines;
use crate::baselines::step::Steps;

/// Steps of a block, whose losses are copied to the host together.
pub const BLOCK: usize = 16;

/// The number of steps.
#[derive(Clone, Copy)]
pub struct Blocks {
    /// Steps of a block.
    pub steps: usize,
    /// Blocks before the measurement.
    pub warm_up: usize,
    /// Measured blocks.
    pub counted: usize,
}

impl Blocks {
    /// The number of all steps.
    pub fn steps(&self) -> usize {
        (self.warm_up + self.counted) * self.steps
    }
}

/// The losses and times of an implementation.
#[derive(Default)]
pub struct StepTimes {
    /// The loss of every step.
    pub losses: Vec<f64>,
    /// Seconds of each measured step, by the device's clock.
    pub each: Vec<f64>,
    /// Seconds per step of each measured block, by the wall clock.
    pub wall: Vec<f64>,
    /// Peak memory of tensors on a GPU.
    pub peak_bytes: Option<f64>,
}

/// Measurements of the baselines, by name.
pub type Theirs = HashMap<&'static str, StepTimes>;

/// Runs training steps of `model`, interleaved with those of the baselines at the same lengths and
/// learning rates. A baseline that fails is left out; if all have failed, the steps end.
///
/// * `profiled`: whether to profile the measured steps; then there must be no baselines.
///
/// # Errors
/// Returns the errors of training.
pub fn run_steps(
    model: &mut QrnnLm,
    corpus: &Corpus,
    recipe: Recipe,
    blocks: Blocks,
    baselines: &mut Baselines,
    profiled: bool,
) -> Result<(StepTimes, Theirs)> {
    let interrupt = Interrupt::default();
    let device = model.options().1;
    let state = Arc::new(Mutex::new(Interleaved {
        device,
        clock: Clock::of(device)?,
        blocks,
        profiled,
        interrupt: interrupt.clone(),
        had_baselines: !baselines.live.is_empty(),
        theirs: HashMap::new(),
        baselines: std::mem::take(baselines),
        ours: StepTimes::default(),
        block: Block::default(),
        row: 0,
        done: 0,
        error: None,
    }));
    let fitted = Trainer::new(recipe)
        .interrupt(interrupt)
        .losses_at_once(blocks.steps)
        .log_every(u64::MAX)
        .checkpoint_every(u64::MAX)
        .fit_with(model, corpus, &mut InterleavedProgress(state.clone()));
    let state = &mut *state.lock().unwrap_or_else(PoisonError::into_inner);
    *baselines = std::mem::take(&mut state.baselines);
    if let Some(error) = state.error.take() {
        return Err(error);
    }
    fitted?;
    let all_failed = state.had_baselines && baselines.live.is_empty();
    if state.done < blocks.warm_up + blocks.counted && !all_failed {
        return Err(Error::mismatch(
            "the training text",
            format!("has fewer than {} steps", blocks.steps()),
            "use more text or fewer --steps",
        ));
    }
    Ok((std::mem::take(&mut state.ours), std::mem::take(&mut state.theirs)))
}

/// A block of our steps in progress.
#[derive(Default)]
struct Block {
    /// The start of the block, and the end of each step.
    timestamps: Vec<Timestamp>,
    start: Option<Instant>,
    lengths: Vec<usize>,
    rates: Vec<f64>,
}

/// The state of [`run_steps`].
struct Interleaved {
    device: Device,
    clock: Clock,
    blocks: Blocks,
    profiled: bool,
    interrupt: Interrupt,
    baselines: Baselines,
    /// Whether there were baselines at the start.
    had_baselines: bool,
    ours: StepTimes,
    theirs: Theirs,
    block: Block,
    /// The corpus row after the last step.
    row: usize,
    /// Completed blocks.
    done: usize,
    error: Option<Error>,
}

impl Interleaved {
    /// Records the end of all work submitted so far.
    fn record_timestamp(&mut self) -> Result<()> {
        let timestamp = self.clock.record()?;
        self.block.timestamps.push(timestamp);
        Ok(())
    }

    fn begin_block(&mut self) -> Result<()> {
        if self.profiled && self.done == self.blocks.warm_up {
            profile::start_on(self.device)?;
        }
        self.block = Block { start: Some(Instant::now()), ..Block::default() };
        self.record_timestamp()
    }

    fn add(&mut self, step: &StepReport) -> Result<()> {
        self.ours.losses.push(step.loss);
        self.block.lengths.push(step.row - self.row.min(step.row));
        self.row = step.row;
        self.block.rates.push(step.rate);
        if self.block.lengths.len() == self.blocks.steps && self.error.is_none() {
            self.end_block()?;
            self.begin_block()?;
        }
        Ok(())
    }

    fn end_block(&mut self) -> Result<()> {
        let block = std::mem::take(&mut self.block);
        let wall = block.start.map_or(0.0, |start| start.elapsed().as_secs_f64());
        let counted = self.done >= self.blocks.warm_up;
        if counted {
            for pair in block.timestamps.windows(2) {
                self.ours.each.push(pair[1].since(&pair[0])?);
            }
            self.ours.wall.push(wall / self.blocks.steps as f64);
        }
        self.baselines.each(|baseline| {
            let steps = baseline.steps(&block.lengths, &block.rates)?;
            let Steps { losses, seconds, each, peak_bytes } = steps;
            let theirs = self.theirs.entry(baseline.name).or_default();
            theirs.losses.extend(losses);
            theirs.peak_bytes = peak_bytes;
            if counted {
                theirs.each.extend(each);
                theirs.wall.push(seconds / self.blocks.steps as f64);
            }
            Ok(())
        });
        self.done += 1;
        let all_failed = self.had_baselines && self.baselines.live.is_empty();
        if all_failed || self.done == self.blocks.warm_up + self.blocks.counted {
            self.interrupt.request();
        }
        Ok(())
    }
}

struct InterleavedProgress(Arc<Mutex<Interleaved>>);

impl InterleavedProgress {
    /// Calls `work` on the state; the first error ends the run.
    fn update(&self, work: impl FnOnce(&mut Interleaved) -> Result<()>) {
        let state = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = work(state) {
            state.error.get_or_insert(error);
            state.interrupt.request();
        }
    }
}

impl Progress for InterleavedProgress {
    fn start(&mut self, _: &Task) {
        self.update(Interleaved::begin_block);
    }

    fn step_submitted(&mut self) {
        self.update(Interleaved::record_timestamp);
    }

    fn step(&mut self, step: &StepReport) {
        self.update(|state| state.add(step));
    }
}
