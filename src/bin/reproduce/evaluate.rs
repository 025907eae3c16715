//! `reproduce evaluate`

use std::path::PathBuf;

use clap::Args as ClapArgs;
use qrnn::Result;
use qrnn::data::{Corpus, Split};
use qrnn::evaluate::{EvalOptions, Evaluation, evaluate_split, evaluate_text};
use qrnn::interrupt::Interrupt;
use qrnn::view::progress;
use serde_json::{Value, json};

use crate::model_flags::{CheckpointFlags, ComputeFlags};
use qrnn::command_line::{INTERRUPTED, Output, parsers};

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    #[command(flatten)]
    checkpoint: CheckpointFlags,
    /// Folder of the corpus that the model was trained on [default: the embedded synthetic language]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Evaluate a text file with the model's vocabulary; unknown words become `<unk>`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "split"])]
    text: Option<PathBuf>,
    /// Split to evaluate: test, valid or train
    #[arg(long, value_parser = parsers::named::<Split>, default_value = "test")]
    split: Split,
    /// Window length in tokens; affects speed only [default: as in training]
    #[arg(long, value_parser = parsers::size)]
    bptt: Option<usize>,
    /// Batch size [default: 1 for the test split, 10 for the others]
    #[arg(long, value_parser = parsers::size)]
    batch_size: Option<usize>,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: Args) -> Result<Output> {
    let device = args.compute.device()?;
    let precision = args.compute.precision(device)?;
    let saved = args.checkpoint.open()?;
    let corpus = match &args.text {
        Some(_) => None,
        None => Some(args.checkpoint.corpus(&saved, args.data)?),
    };
    let mut model = args.checkpoint.model(saved, device)?;
    model.set_precision(precision);
    // A text file is evaluated like the test split, with batch size 1.
    let split = if args.text.is_some() { Split::Test } else { args.split };
    let mut options = EvalOptions::original(split, args.bptt.unwrap_or(model.config().bptt));
    if let Some(batch) = args.batch_size {
        options.batch = batch;
    }
    options.interrupt = Interrupt::on_ctrl_c("stopping the evaluation")?;
    qrnn_ops::libtorch::keep_freed_memory();
    if let Some(file) = &args.text {
        let evaluation = evaluate_text(&model, file, &options, &mut *progress::here())?;
        let text = format!("{}: {evaluation}", file.display());
        return Ok(outcome(text, json!(evaluation), &evaluation.evaluation));
    }
    let corpus = corpus.unwrap_or_else(Corpus::synthetic);
    let evaluation = evaluate_split(&model, &corpus, args.split, &options, &mut *progress::here())?;
    let text = format!("{} text of {}: {evaluation}", args.split, corpus.name());
    Ok(outcome(text, json!(evaluation), &evaluation))
}

fn outcome(text: String, json: Value, evaluation: &Evaluation) -> Output {
    Output { text, json, status: if evaluation.interrupted { INTERRUPTED } else { 0 } }
}
