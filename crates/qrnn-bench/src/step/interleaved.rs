//! Training steps in blocks, ours and each peer's in turns: the trainer's own, watched by its observer.
//! Within a block nothing waits for the device.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use qrnn::data::Corpus;
use qrnn::interrupt::Interrupt;
use qrnn::model::QrnnLm;
use qrnn::progress::{Progress, StepReport, Task};
use qrnn::train::{Recipe, Trainer};
use qrnn::{Error, Result};
use qrnn_ops::cuda::{Clock, Mark};
use qrnn_ops::profile;
use tch::Device;

use crate::baselines::Baselines;
use crate::baselines::step::Steps;

/// Steps of a block, whose losses are read together.
pub const BLOCK: usize = 16;

/// How many steps to take.
#[derive(Clone, Copy)]
pub struct Blocks {
    /// Steps of a block.
    pub steps: usize,
    /// Blocks that are not counted.
    pub warm_up: usize,
    pub counted: usize,
}

impl Blocks {
    pub fn steps(&self) -> usize {
        (self.warm_up + self.counted) * self.steps
    }
}

/// What the steps of one side came to.
#[derive(Default)]
pub struct StepTimes {
    /// Of every step.
    pub losses: Vec<f64>,
    /// Seconds of each counted step, by the device's clock.
    pub each: Vec<f64>,
    /// Seconds of a step of each counted block, by the wall clock.
    pub wall: Vec<f64>,
    /// On a GPU.
    pub peak_bytes: Option<f64>,
}

/// What the peers came to, by name.
pub type Theirs = HashMap<&'static str, StepTimes>;

/// Takes steps of `model`, and in turns with them those of the peers, on the same lengths and rates. A
/// peer that fails is left out; when the last one has, the turns end.
/// Watches where the time of the counted steps goes if asked to, which must then be of ours alone.
///
/// # Errors
/// Those of training.
pub fn take(
    model: &mut QrnnLm,
    corpus: &Corpus,
    recipe: Recipe,
    blocks: Blocks,
    baselines: &mut Baselines,
    profiled: bool,
) -> Result<(StepTimes, Theirs)> {
    let interrupt = Interrupt::default();
    let device = model.options().1;
    let turns = Arc::new(Mutex::new(Interleaved {
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
        failed: None,
    }));
    let fitted = Trainer::new(recipe)
        .interrupt(interrupt)
        .losses_at_once(blocks.steps)
        .log_every(u64::MAX)
        .checkpoint_every(u64::MAX)
        .fit_with(model, corpus, &mut InterleavedProgress(turns.clone()));
    let turns = &mut *turns.lock().unwrap_or_else(PoisonError::into_inner);
    *baselines = std::mem::take(&mut turns.baselines);
    if let Some(error) = turns.failed.take() {
        return Err(error);
    }
    fitted?;
    let alone = turns.had_baselines && baselines.live.is_empty();
    if turns.done < blocks.warm_up + blocks.counted && !alone {
        return Err(Error::usage(
            "the training text",
            format!("ends before {} steps are done", blocks.steps()),
            "give more text, or ask for fewer --steps",
        ));
    }
    Ok((std::mem::take(&mut turns.ours), std::mem::take(&mut turns.theirs)))
}

/// A block of our steps, as far as it is known.
#[derive(Default)]
struct Block {
    /// Its beginning, and the end of each step.
    marks: Vec<Mark>,
    start: Option<Instant>,
    lengths: Vec<usize>,
    rates: Vec<f64>,
}

struct Interleaved {
    device: Device,
    clock: Clock,
    blocks: Blocks,
    profiled: bool,
    interrupt: Interrupt,
    baselines: Baselines,
    /// Whether there were peers at the beginning.
    had_baselines: bool,
    ours: StepTimes,
    theirs: Theirs,
    block: Block,
    /// Rows walked down.
    row: usize,
    /// Blocks.
    done: usize,
    failed: Option<Error>,
}

impl Interleaved {
    /// Notes the moment at which all that was given to the device is done.
    fn mark(&mut self) -> Result<()> {
        let mark = self.clock.mark()?;
        self.block.marks.push(mark);
        Ok(())
    }

    fn begin_block(&mut self) -> Result<()> {
        if self.profiled && self.done == self.blocks.warm_up {
            profile::start_on(self.device)?;
        }
        self.block = Block { start: Some(Instant::now()), ..Block::default() };
        self.mark()
    }

    fn note(&mut self, step: &StepReport) -> Result<()> {
        self.ours.losses.push(step.loss);
        self.block.lengths.push(step.row - self.row.min(step.row));
        self.row = step.row;
        self.block.rates.push(step.rate);
        if self.block.lengths.len() == self.blocks.steps && self.failed.is_none() {
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
            for pair in block.marks.windows(2) {
                self.ours.each.push(pair[1].since(&pair[0])?);
            }
            self.ours.wall.push(wall / self.blocks.steps as f64);
        }
        self.baselines.each(|baseline| {
            let taken = baseline.steps(&block.lengths, &block.rates)?;
            let Steps { losses, seconds, each, peak_bytes } = taken;
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
        let alone = self.had_baselines && self.baselines.live.is_empty();
        if alone || self.done == self.blocks.warm_up + self.blocks.counted {
            self.interrupt.request();
        }
        Ok(())
    }
}

struct InterleavedProgress(Arc<Mutex<Interleaved>>);

impl InterleavedProgress {
    /// The first error ends the run.
    fn turn(&self, work: impl FnOnce(&mut Interleaved) -> Result<()>) {
        let turns = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = work(turns) {
            turns.failed.get_or_insert(error);
            turns.interrupt.request();
        }
    }
}

impl Progress for InterleavedProgress {
    fn start(&mut self, _: &Task) {
        self.turn(Interleaved::begin_block);
    }

    fn step_submitted(&mut self) {
        self.turn(Interleaved::mark);
    }

    fn step(&mut self, step: &StepReport) {
        self.turn(|turns| turns.note(step));
    }
}
