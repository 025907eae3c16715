//! `reproduce generate`

use std::path::PathBuf;

use clap::Args as ClapArgs;
use qrnn::Result;
use qrnn::generate::{Sampling, generate_text};
use qrnn::interrupt::Interrupt;
use qrnn::view::progress;
use serde_json::json;

use crate::model_flags::{CheckpointFlags, ComputeFlags};
use qrnn::command_line::numbers;
use qrnn::command_line::{INTERRUPTED, Output};

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    #[command(flatten)]
    checkpoint: CheckpointFlags,
    /// Folder with the text that the model was trained on, for a model file without a vocabulary
    #[arg(long)]
    data: Option<PathBuf>,
    /// Words to continue
    #[arg(long, default_value = "")]
    prompt: String,
    /// Words to generate
    #[arg(long, value_parser = numbers::any::<usize>, default_value_t = 100)]
    words: usize,
    /// Sampling temperature; 0 always takes the most likely word
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// Seed of the sampling
    #[arg(long, value_parser = numbers::any::<u64>, default_value_t = 1882)]
    seed: u64,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: Args) -> Result<Output> {
    let device = args.compute.device()?;
    let precision = args.compute.precision(device)?;
    let saved = args.checkpoint.open()?;
    let corpus = match (&args.data, saved.vocab()) {
        (None, Some(_)) => None,
        _ => Some(args.checkpoint.corpus(&saved, args.data)?),
    };
    let mut model = args.checkpoint.model(saved, device)?;
    model.set_precision(precision);
    let sampling = Sampling {
        words: args.words,
        temperature: args.temperature,
        seed: args.seed,
        interrupt: Interrupt::on_ctrl_c()?,
    };
    let generated = match &corpus {
        Some(corpus) => progress::generate(&model, corpus, &args.prompt, &sampling)?,
        None => {
            let vocab = model.require_vocab()?;
            generate_text(&model, vocab, &args.prompt, &sampling, &mut *progress::here())?
        }
    };
    let json = json!({ "text": generated.text, "interrupted": generated.interrupted });
    let status = if generated.interrupted { INTERRUPTED } else { 0 };
    Ok(Output { text: generated.text, json, status })
}
