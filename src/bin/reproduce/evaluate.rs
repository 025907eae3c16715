//! `reproduce evaluate`

use std::path::PathBuf;

use clap::Args as ClapArgs;
use qrnn::Result;
use qrnn::corpus::Split;
use qrnn::evaluate::{Reading, evaluate_as};
use qrnn::interrupt::Interrupt;
use serde_json::json;

use crate::data;
use crate::model_flags::{CheckpointFlags, ComputeFlags};
use crate::numbers;
use crate::output::Output;

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    #[command(flatten)]
    checkpoint: CheckpointFlags,
    /// Folder with the text that the model was trained on; the embedded language where it is left
    /// out
    #[arg(long)]
    data: Option<PathBuf>,
    /// test, valid or train
    #[arg(long, default_value = "test")]
    split: Split,
    /// Words a column in one window, as in training where it is left out; changes the speed only
    #[arg(long, value_parser = numbers::size)]
    bptt: Option<usize>,
    /// Columns: 1 for the test text and 10 for the others where it is left out
    #[arg(long, value_parser = numbers::size)]
    batch_size: Option<usize>,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: Args) -> Result<Output> {
    let device = args.compute.device()?;
    let products = args.compute.products(device)?;
    args.checkpoint.check_data(args.data.as_deref())?;
    let mut model = args.checkpoint.load(device)?;
    model.set_products(products);
    let corpus = data::load(args.data)?;
    let mut reading = Reading::original(args.split, args.bptt.unwrap_or(model.config().bptt));
    if let Some(batch) = args.batch_size {
        reading.batch = batch;
    }
    reading.interrupt = Interrupt::on_ctrl_c()?;
    qrnn::libtorch::keep_freed_memory();
    let evaluation = evaluate_as(&model, &corpus, args.split, &reading)?;
    let text = format!("{} text of {}: {evaluation}", args.split, corpus.name());
    Ok(Output::done(text, json!(evaluation)))
}
