//! `reproduce count`

use std::path::PathBuf;

use clap::Args as ClapArgs;
use qrnn::compress::{Preset, describe};
use qrnn::model::{LmConfig, SavedModel, Splits, WIKITEXT103_VOCAB};
use qrnn::paper::operation_counts::{ModelSize, OpCounter};
use qrnn::{Error, Result};
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
    /// Bits per stored parameter [default: 16]
    #[arg(long, value_parser = parsers::in_range::<u32>(1..=32))]
    param_bits: Option<u32>,
    /// Bits of the activations that are factors of matrix products [default: not quantized]
    #[arg(long, value_parser = parsers::in_range::<u32>(1..=32))]
    activation_bits: Option<u32>,
    /// Count by the rules of the challenge: also o·c, biases, the softmax, masks and scales; no free 16 bits once
    /// anything is quantized
    #[arg(long)]
    strict: bool,
    /// Fraction of zeros in the prunable weights, at least 0 and below 1
    #[arg(long, value_parser = parsers::decimal, default_value_t = 0.0)]
    sparsity: f64,
    /// Count a neural cache of this many tokens, by the rules; 0 for none [default: that of the --checkpoint, or none]
    #[arg(long, value_parser = parsers::non_negative::<usize>)]
    cache: Option<usize>,
    /// Count a plan of `reproduce compress` by the rules, on its model at full size: micronet or light
    #[arg(long, value_parser = parsers::named::<Preset>, conflicts_with_all = ["emsize", "nhid", "nlayers", "vocab",
        "splits", "param_bits", "activation_bits", "sparsity", "cache"])]
    preset: Option<Preset>,
    /// Count this model: a compressed one from its stored tensors by the rules, another one by its sizes
    #[arg(long, conflicts_with_all = ["emsize", "nhid", "nlayers", "vocab", "splits", "preset"])]
    checkpoint: Option<PathBuf>,
    /// Count the sums of a compressed model's products at the width that they provably fit in
    #[arg(long, requires = "checkpoint")]
    proved_accumulators: bool,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: Args) -> Result<Output> {
    if let Some(preset) = args.preset {
        let config = preset.config();
        let counter = OpCounter::rules().cache(preset.cache());
        let table = counter.count_plan(&config, &preset.plan(&config))?;
        return Ok(Output::done(format!("{table}\ncounted, not trained"), json!(table)));
    }
    let config = match &args.checkpoint {
        Some(path) => match SavedModel::read_config(path)? {
            Some(config) => config,
            None => return stored(&args, &SavedModel::open(path)?),
        },
        None => LmConfig::paper(args.emsize, args.nhid)
            .vocab(args.vocab)
            .layers(args.nlayers)
            .splits(args.splits),
    };
    config.check()?;
    if args.proved_accumulators {
        return Err(Error::config(
            "--proved-accumulators",
            "",
            "needs the integers of a compressed model, and this one has none",
            "leave it out",
        ));
    }
    let cache = args.cache.unwrap_or_default();
    let mut counter = OpCounter::new().strict(args.strict).sparsity(args.sparsity).cache(cache);
    if let Some(bits) = args.param_bits {
        counter = counter.param_bits(bits);
    }
    if let Some(bits) = args.activation_bits {
        counter = counter.activation_bits(bits);
    }
    let table = counter.count(&config)?;
    Ok(Output::done(&table, json!(table)))
}

/// Counts a compressed model from its tensors.
fn stored(args: &Args, saved: &SavedModel) -> Result<Output> {
    for (flag, given) in [
        ("--param-bits", args.param_bits.is_some()),
        ("--activation-bits", args.activation_bits.is_some()),
        ("--sparsity", args.sparsity != 0.0),
    ] {
        if given {
            return Err(Error::config(
                flag,
                "",
                format!("is read off the stored tensors of {}", saved.path().display()),
                format!("leave {flag} out"),
            ));
        }
    }
    let (Some(file), Some(config), Some(mut size)) =
        (saved.packed(), saved.config(), ModelSize::of_saved(saved)?)
    else {
        return Err(Error::mismatch(
            saved.path().display().to_string(),
            "states no sizes",
            "give them: --emsize, --nhid, --nlayers, --vocab, --splits",
        ));
    };
    if let Some(tokens) = args.cache {
        size.cache = Some(tokens).filter(|&tokens| tokens > 0);
    }
    let mut counter = OpCounter::rules();
    if args.proved_accumulators {
        counter = counter.proved_accumulators();
    }
    let table = counter.count_size(config, &size)?;
    Ok(Output::done(format!("{}\n{table}", describe(file)), json!(table)))
}
