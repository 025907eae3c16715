//! Interleaves blocks of our training steps with those of the baselines. Our steps are the
//! trainer's, observed through [`Progress`]. There is no synchronization within a block.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use qrnn::interrupt::Interrupt;
use qrnn::model::QrnnLm;
use qrnn::progress::{Progress, StepReport, Task};
use qrnn::train::Trainer;
use qrnn::{Error, Result};
use qrnn_ops::cuda::{Clock, Timestamp};
use qrnn_ops::profile;
use tch::Device;

use super::workload::Workload;
use crate::baselines::Baselines;
use crate::baselines::step::StepTimes;

/// Pause between implementations on the CPU: idle threads spin for a while before they sleep, and would
/// slow down the next one.
const PAUSE: Duration = Duration::from_millis(30);

/// The number of steps.
#[derive(Clone, Copy)]
pub struct Blocks {
    /// Steps of a block, whose losses are copied to the host together.
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

/// Measurements of the baselines, by name.
pub type Theirs = HashMap<&'static str, StepTimes>;

/// Runs training steps of `model`, interleaved with those of the baselines at the same lengths and learning
/// rates. A baseline that fails is left out; if all have failed, the steps end. The losses are those of all
/// steps, the times those of the measured ones.
///
/// * `profiled`: whether to profile the measured steps; then there must be no baselines.
pub fn run_steps(
    model: &mut QrnnLm,
    work: &Workload<'_>,
    blocks: Blocks,
    baselines: &mut Baselines,
    profiled: bool,
) -> Result<(StepTimes, Theirs)> {
    let mut interleaved = Interleaved {
        device: work.device,
        clock: Clock::of(work.device)?,
        blocks,
        profiled,
        interrupt: Interrupt::default(),
        had_baselines: !baselines.live.is_empty(),
        baselines,
        ours: StepTimes::default(),
        theirs: HashMap::new(),
        block: Block::default(),
        row: 0,
        done: 0,
        error: None,
    };
    let fitted = Trainer::new(work.recipe())
        .interrupt(interleaved.interrupt.clone())
        .losses_at_once(blocks.steps)
        .log_every(u64::MAX)
        .checkpoint_every(u64::MAX)
        .fit_with(model, &work.corpus, &mut interleaved);
    if let Some(error) = interleaved.error.take() {
        return Err(error);
    }
    fitted?;
    if !interleaved.is_done() {
        return Err(Error::mismatch(
            "the training text",
            format!("has fewer than {} steps", blocks.steps()),
            "use more text or fewer --steps",
        ));
    }
    Ok((interleaved.ours, interleaved.theirs))
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
struct Interleaved<'a> {
    device: Device,
    clock: Clock,
    blocks: Blocks,
    profiled: bool,
    interrupt: Interrupt,
    baselines: &'a mut Baselines,
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

impl Interleaved<'_> {
    /// Whether all blocks are complete, or all baselines have failed.
    fn is_done(&self) -> bool {
        let all_failed = self.had_baselines && self.baselines.live.is_empty();
        all_failed || self.done >= self.blocks.warm_up + self.blocks.counted
    }

    /// Records the end of all work submitted so far.
    fn record_timestamp(&mut self) -> Result<()> {
        self.block.timestamps.push(self.clock.record()?);
        Ok(())
    }

    fn begin_block(&mut self) -> Result<()> {
        if self.profiled && self.done == self.blocks.warm_up {
            profile::start(self.device)?;
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
            pause(self.device);
            let steps = baseline.steps(&block.lengths, &block.rates)?;
            if counted {
                let theirs = self.theirs.entry(baseline.name).or_default();
                theirs.each.extend(steps.each);
                theirs.wall.extend(steps.wall);
                theirs.peak_bytes = steps.peak_bytes;
            }
            Ok(())
        });
        if self.had_baselines {
            pause(self.device);
        }
        self.done += 1;
        if self.is_done() {
            self.interrupt.request();
        }
        Ok(())
    }

    /// Calls `work`; the first error ends the run.
    fn attempt(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) {
        if let Err(error) = work(self) {
            self.error.get_or_insert(error);
            self.interrupt.request();
        }
    }
}

fn pause(device: Device) {
    if !device.is_cuda() {
        std::thread::sleep(PAUSE);
    }
}

impl Progress for Interleaved<'_> {
    fn start(&mut self, _: &Task) {
        self.attempt(Self::begin_block);
    }

    fn step_submitted(&mut self) {
        self.attempt(Self::record_timestamp);
    }

    fn step(&mut self, step: &StepReport) {
        self.attempt(|this| this.add(step));
    }
}
