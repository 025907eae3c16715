//! `reproduce generate`

use std::path::PathBuf;

use clap::Args as ClapArgs;
use qrnn::Result;
use qrnn::generate::{Sampling, generate_text};
use qrnn::interrupt::Interrupt;
use qrnn::view::progress;
use serde_json::json;

use crate::model_flags::{CheckpointFlags, ComputeFlags, corpus_of};
use qrnn::command_line::{INTERRUPTED, Output, parsers};

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    #[command(flatten)]
    checkpoint: CheckpointFlags,
    /// Folder of the corpus that the model was trained on; needed if the model file has no vocabulary
    #[arg(long)]
    data: Option<PathBuf>,
    /// Text to continue
    #[arg(long, default_value = "")]
    prompt: String,
    /// Number of words to generate
    #[arg(long, value_parser = parsers::non_negative::<usize>, default_value_t = 100)]
    words: usize,
    /// Sampling temperature; 0 always chooses the most likely word
    #[arg(long, value_parser = parsers::decimal, default_value_t = 1.0)]
    temperature: f64,
    /// Seed of sampling
    #[arg(long, value_parser = parsers::non_negative::<u64>, default_value_t = 1882)]
    seed: u64,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: Args) -> Result<Output> {
    let device = args.compute.device()?;
    args.compute.precision(device)?;
    let saved = args.checkpoint.open()?;
    let corpus = match (&args.data, saved.vocab()) {
        (None, Some(_)) => None,
        _ => Some(corpus_of(&saved, args.data)?),
    };
    let mut model = args.checkpoint.model(saved, device)?;
    args.compute.apply_to(&mut model)?;
    qrnn_ops::libtorch::keep_freed_memory();
    let sampling = Sampling {
        words: args.words,
        temperature: args.temperature,
        seed: args.seed,
        interrupt: Interrupt::on_ctrl_c("stopping after this word")?,
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
