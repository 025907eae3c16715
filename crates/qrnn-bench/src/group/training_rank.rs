//! A process that trains, alone or with the others of its group, as `reproduce train` does. Rank 0 trains a block of
//! steps for each line of standard input, and prints its tokens and seconds.

use std::io::{Write as _, stdin, stdout};
use std::time::Instant;

use qrnn::command_line::{Output, load_corpus};
use qrnn::data::{Corpus, Split};
use qrnn::interrupt::Interrupt;
use qrnn::model::{LmConfig, QrnnLm};
use qrnn::progress::{Progress, StepReport};
use qrnn::train::{Recipe, Trainer};
use qrnn::{Error, Result};
use qrnn_ops::matmul::Precision;
use qrnn_ops::process_group::{GroupOptions, ProcessGroup, Rendezvous};
use qrnn_ops::profile;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::{Device, Kind};

use super::args::{TrainingArgs, TrainingFlags};
use crate::random_tokens;

/// Tokens of validation and test, which are not measured.
const OTHER_SPLITS: usize = 20;

/// A block of steps.
#[derive(Debug, Serialize, Deserialize)]
pub struct Block {
    pub tokens: f64,
    pub seconds: f64,
    /// Of the last step.
    pub loss: f64,
}

/// The stages of all steps of a process.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProfiledSteps {
    /// Stage and seconds, in order.
    pub spans: Vec<(String, f64)>,
    /// Seconds of each step, of rank 0 only.
    pub steps: Vec<f64>,
    pub parameters: u64,
    /// Tensors whose gradients are summed.
    pub tensors: usize,
}

pub fn run(args: &TrainingArgs) -> Result<Output> {
    let flags = &args.flags;
    let group = match Rendezvous::from_env()? {
        Some(place) => Some(ProcessGroup::join(&place, GroupOptions::default(), &|| false)?),
        None => None,
    };
    let corpus = corpus(flags, args.all_steps)?;
    let recipe = Recipe::paper().bptt(flags.bptt).batch(flags.batch_size);
    let (emsize, nhid) = flags.model;
    let config = LmConfig::paper(emsize, nhid).vocab(corpus.vocab().len()).bptt(flags.bptt);
    let mut model = QrnnLm::seeded(&config, (Kind::Float, Device::Cpu), recipe.seed)?;
    model.set_precision(Precision::Single);
    let interrupt = Interrupt::default();
    let mut trainer = Trainer::new(recipe).interrupt(interrupt.clone());
    if let Some(group) = &group {
        trainer = trainer.group(group);
    }
    let per_block = if args.profiled { 1 } else { flags.steps };
    let mut turns = Turns::new(interrupt, per_block, args);
    if args.profiled {
        profile::start(Device::Cpu)?;
    } else if group.as_ref().is_none_or(|group| group.rank() == 0) {
        turns.wait();
    }
    trainer.fit_with(&mut model, &corpus, &mut turns)?;
    if !args.profiled {
        return Ok(Output::done("", json!(null)));
    }
    let spans = profile::stop()?.spans.into_iter();
    let spans = spans.map(|(stage, seconds)| (stage.name().to_owned(), seconds)).collect();
    let (parameters, tensors) = (model.parameter_count(), model.parameters().len());
    let steps = turns.blocks.iter().map(|block| block.seconds).collect();
    Ok(Output::done("", json!(ProfiledSteps { spans, steps, parameters, tensors })))
}

/// A text with enough tokens for an epoch of these steps, so that no validation comes between: that of a folder, again
/// and again, or random tokens.
fn corpus(flags: &TrainingFlags, steps: usize) -> Result<Corpus> {
    // Lengths vary around bptt, and few are longer by much.
    let needed = flags.batch_size * (flags.bptt + 6) * (steps + 2);
    let Some(data) = &flags.data else {
        return random_tokens::corpus(flags.types, needed, OTHER_SPLITS);
    };
    let text = load_corpus(Some(data.clone()))?;
    let train = text.tokens(Split::Train);
    let repeated = train.iter().cycle().take(needed.max(train.len())).copied().collect();
    let other = vec![0; OTHER_SPLITS];
    Corpus::from_ids(text.name(), text.vocab().len(), [repeated, other.clone(), other])
}

/// Ends training after all steps, and waits for a line of standard input after each block, unless it is profiled.
struct Turns {
    interrupt: Interrupt,
    /// Steps of a block.
    per_block: usize,
    waits: bool,
    all_steps: usize,
    batch: f64,
    started: Instant,
    /// Steps and tokens of this block.
    done: (usize, f64),
    row: usize,
    steps: usize,
    blocks: Vec<Block>,
}

impl Turns {
    fn new(interrupt: Interrupt, per_block: usize, args: &TrainingArgs) -> Self {
        Self {
            interrupt,
            per_block,
            waits: !args.profiled,
            all_steps: args.all_steps,
            batch: args.flags.batch_size as f64,
            started: Instant::now(),
            done: (0, 0.0),
            row: 0,
            steps: 0,
            blocks: vec![],
        }
    }

    /// Waits for the next turn; the end of standard input ends the training.
    fn wait(&mut self) {
        let mut line = String::new();
        if !stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            self.interrupt.request();
        }
        self.started = Instant::now();
    }

    fn end_block(&mut self, loss: f64) -> Result<()> {
        let seconds = self.started.elapsed().as_secs_f64();
        let block = Block { tokens: self.done.1, seconds, loss };
        self.done = (0, 0.0);
        if self.waits {
            let line = json!(block).to_string() + "\n";
            let written = stdout().lock().write_all(line.as_bytes());
            written
                .and_then(|()| stdout().flush())
                .map_err(Error::io("standard output", "write"))?;
            self.wait();
        } else {
            self.started = Instant::now();
        }
        self.blocks.push(block);
        Ok(())
    }
}

impl Progress for Turns {
    fn step(&mut self, step: &StepReport) {
        let rows = step.row - self.row.min(step.row);
        self.row = step.row;
        self.done = (self.done.0 + 1, self.done.1 + rows as f64 * self.batch);
        self.steps += 1;
        if self.done.0 == self.per_block && self.end_block(step.loss).is_err() {
            // Nobody reads the results.
            self.interrupt.request();
        }
        if self.steps >= self.all_steps {
            self.interrupt.request();
        }
    }
}
