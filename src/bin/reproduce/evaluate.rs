//! `reproduce evaluate`

use std::path::PathBuf;

use clap::Args as ClapArgs;
use qrnn::data::{Corpus, Split};
use qrnn::evaluate::neural_cache::{
    CacheSearch, CachedEvaluation, NeuralCache, evaluate_split_with, evaluate_text_with,
};
use qrnn::evaluate::{EvalOptions, Evaluation, evaluate_split, evaluate_text};
use qrnn::interrupt::Interrupt;
use qrnn::model::QrnnLm;
use qrnn::view::progress;
use qrnn::{Error, Result};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cache_flags::{CacheChoice, CacheFlags};
use crate::model_flags::{CheckpointFlags, ComputeFlags, corpus_of};
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
    /// Batch size [default: 1 for the test split and with a cache, 10 otherwise]
    #[arg(long, value_parser = parsers::size)]
    batch_size: Option<usize>,
    #[command(flatten)]
    cache: CacheFlags,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}

/// What is evaluated.
enum Text {
    File(PathBuf),
    Split(Box<Corpus>, Split),
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Split(corpus, split) => write!(f, "{split} text of {}", corpus.name()),
        }
    }
}

pub fn run(args: Args) -> Result<Output> {
    let asked = args.cache.choice()?;
    if let (CacheChoice::Search(_), Some(_)) = (asked, &args.text) {
        return Err(Error::config(
            "--cache",
            "",
            "searches λ and θ on the validation text, and --text has none",
            "add --cache-lambda and --cache-theta; evaluating a split with --cache finds them",
        ));
    }
    let device = args.compute.device()?;
    args.compute.precision(device)?;
    let saved = args.checkpoint.open()?;
    let choice = args.cache.choice_for(&saved)?;
    let text = match args.text {
        Some(file) => Text::File(file),
        None => Text::Split(Box::new(corpus_of(&saved, args.data)?), args.split),
    };
    let mut model = args.checkpoint.model(saved, device)?;
    args.compute.apply_to(&mut model)?;
    let bptt = args.bptt.unwrap_or(model.config().bptt);
    let mut options = match (choice, &text) {
        (CacheChoice::None, Text::Split(_, split)) => EvalOptions::original(*split, bptt),
        _ => EvalOptions::one_column(bptt),
    };
    if let Some(batch) = args.batch_size {
        options.batch = batch;
    }
    options.interrupt = Interrupt::on_ctrl_c("stopping the evaluation")?;
    qrnn_ops::libtorch::keep_freed_memory();
    match (choice, &text) {
        (CacheChoice::None, _) => plain(&model, &text, &options),
        (CacheChoice::Given(cache), _) => cached(&model, &text, &options, &cache, None),
        (CacheChoice::Search(size), Text::Split(corpus, _)) => {
            let progress = &mut *progress::here();
            let search = NeuralCache::search_with(&model, corpus, size, &options, progress)?;
            cached(&model, &text, &options, &search, Some(&search))
        }
        (CacheChoice::Search(_), Text::File(_)) => plain(&model, &text, &options), // refused above
    }
}

fn plain(model: &QrnnLm, text: &Text, options: &EvalOptions) -> Result<Output> {
    let progress = &mut *progress::here();
    match text {
        Text::File(file) => {
            let evaluation = evaluate_text(model, file, options, progress)?;
            Ok(outcome(format!("{text}: {evaluation}"), json!(evaluation), &evaluation.evaluation))
        }
        Text::Split(corpus, split) => {
            let evaluation = evaluate_split(model, corpus, *split, options, progress)?;
            Ok(outcome(format!("{text}: {evaluation}"), json!(evaluation), &evaluation))
        }
    }
}

/// * `search`: how the cache was found, if it was searched. If that was interrupted, nothing is evaluated.
fn cached(
    model: &QrnnLm,
    text: &Text,
    options: &EvalOptions,
    cache: &NeuralCache,
    search: Option<&CacheSearch>,
) -> Result<Output> {
    if let Some(search) = search.filter(|search| search.interrupted) {
        let json = json!({ "cache": CacheJson::of(cache, Some(search)), "interrupted": true });
        return Ok(Output { text: search.to_string(), json, status: INTERRUPTED });
    }
    let progress = &mut *progress::here();
    let (shown, json, evaluation): (String, Value, CachedEvaluation) = match text {
        Text::File(file) => {
            let evaluation = evaluate_text_with(model, file, cache, options, progress)?;
            (evaluation.to_string(), json!(evaluation), evaluation.evaluation)
        }
        Text::Split(corpus, split) => {
            let evaluation = evaluate_split_with(model, corpus, *split, cache, options, progress)?;
            (evaluation.to_string(), json!(evaluation), evaluation)
        }
    };
    let mut json = json;
    json["cache"] = json!(CacheJson::of(cache, search));
    let search = search.map(|search| format!("{search}\n")).unwrap_or_default();
    Ok(outcome(format!("{search}{text}: {shown}"), json, &evaluation.evaluation))
}

/// A cache in the JSON output.
#[derive(Serialize)]
struct CacheJson<'a> {
    #[serde(flatten)]
    cache: &'a NeuralCache,
    searched: bool,
    #[serde(flatten)]
    search: Option<SearchJson>,
}

#[derive(Serialize)]
struct SearchJson {
    valid_ppl: f64,
    plain_valid_ppl: f64,
    search_seconds: f64,
}

impl<'a> CacheJson<'a> {
    fn of(cache: &'a NeuralCache, search: Option<&CacheSearch>) -> Self {
        let of_search = |search: &CacheSearch| SearchJson {
            valid_ppl: search.valid_ppl,
            plain_valid_ppl: search.plain_valid_ppl,
            search_seconds: search.seconds,
        };
        Self { cache, searched: search.is_some(), search: search.map(of_search) }
    }
}

fn outcome(text: String, json: Value, evaluation: &Evaluation) -> Output {
    Output { text, json, status: if evaluation.interrupted { INTERRUPTED } else { 0 } }
}
