//! `reproduce count`

use clap::Args as ClapArgs;
use qrnn::Result;
use qrnn::model::{LmConfig, Splits, WIKITEXT103_VOCAB};
use qrnn::paper::operation_counts::OpCounter;
use serde_json::json;

use qrnn::command_line::{Output, parsers};

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// Embedding width
    #[arg(long, value_parser = parsers::size, default_value_t = 300)]
    emsize: usize,
    /// Hidden width
    #[arg(long, value_parser = parsers::size, default_value_t = 1800)]
    nhid: usize,
    /// Number of QRNN layers
    #[arg(long, value_parser = parsers::size, default_value_t = 4)]
    nlayers: usize,
    /// Vocabulary size
    #[arg(long, value_parser = parsers::size, default_value_t = WIKITEXT103_VOCAB)]
    vocab: usize,
    /// Softmax clusters: first token id of each tail cluster, none, or auto (as awd-lstm-lm chooses)
    #[arg(long, value_parser = parsers::named::<Splits>, default_value = "auto")]
    splits: Splits,
    /// Bits per stored parameter
    #[arg(long, value_parser = parsers::in_range::<u32>(1..=32), default_value_t = 16)]
    param_bits: u32,
    /// Also count operations that the published table omits: o·c, bias additions and the softmax
    #[arg(long)]
    strict: bool,
    /// Fraction of zeros in the prunable weights, at least 0 and below 1
    #[arg(long, value_parser = parsers::decimal, default_value_t = 0.0)]
    sparsity: f64,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: Args) -> Result<Output> {
    let config = LmConfig::paper(args.emsize, args.nhid)
        .vocab(args.vocab)
        .layers(args.nlayers)
        .splits(args.splits);
    config.check()?;
    let table = OpCounter::new()
        .param_bits(args.param_bits)
        .strict(args.strict)
        .sparsity(args.sparsity)
        .count(&config)?;
    Ok(Output::done(&table, json!(table)))
}
