//! `reproduce generate`

use std::path::PathBuf;

use clap::Args as ClapArgs;
use qrnn::Result;
use qrnn::generate::{Sampling, generate};
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
    /// Words to continue
    #[arg(long, default_value = "")]
    prompt: String,
    /// Words to write
    #[arg(long, value_parser = numbers::any::<usize>, default_value_t = 100)]
    words: usize,
    /// Below 1 the likely words become likelier; 0 always takes the likeliest
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// Fixes the draws
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
    let products = args.compute.products(device)?;
    args.checkpoint.check_data(args.data.as_deref())?;
    let mut model = args.checkpoint.load(device)?;
    model.set_products(products);
    let corpus = data::load(args.data)?;
    let sampling = Sampling {
        words: args.words,
        temperature: args.temperature,
        seed: args.seed,
        interrupt: Interrupt::on_ctrl_c()?,
    };
    let generated = generate(&model, &corpus, &args.prompt, &sampling)?;
    let json = json!({ "text": generated.text });
    Ok(Output::done(generated.text, json))
}
