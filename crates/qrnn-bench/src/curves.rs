//! `qrnn-bench curves`

use clap::Args as ClapArgs;
use qrnn::data::Corpus;
use qrnn::model::{QrnnLm, WIKITEXT103_VOCAB};
use qrnn::progress::Silent;
use qrnn::terminal;
use qrnn::train::{Recipe, Trainer};
use qrnn::{Error, Result};
use serde_json::json;
use tch::{Device, Kind};

use crate::device::DeviceFlags;
use crate::precision::{self, PrecisionChoice};
use crate::report::{RecordFlags, Report, merged};
use crate::shape::Shape;
use crate::{device as devices, random_tokens};
use qrnn::command_line::{Output, parsers};

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// Model: emsize-nhid-plain or emsize-nhid-split
    #[arg(long, default_value = "300-1800-split")]
    model: Shape,
    /// Precisions of matrix products; the others are compared with the first
    #[arg(long, value_delimiter = ',', default_value = "fp32,bf16")]
    #[arg(default_value_if("device", "cuda", "tf32,bf16"))]
    formats: Vec<PrecisionChoice>,
    /// First tokens of the split softmax's tails
    #[arg(long, value_delimiter = ',', default_value = "2800,20000,76000")]
    splits: Vec<usize>,
    /// Batch size
    #[arg(long, value_parser = parsers::size, default_value_t = 40)]
    batch_size: usize,
    /// Mean sequence length of a training batch, in tokens
    #[arg(long, value_parser = parsers::size, default_value_t = 300)]
    bptt: usize,
    /// Steps of each run
    #[arg(long, value_parser = parsers::steps, default_value_t = 4000)]
    steps: u64,
    /// Learning rate
    #[arg(long, value_parser = parsers::decimal, default_value_t = 1e-3)]
    lr: f64,
    /// Vocabulary size of the random tokens
    #[arg(long, value_parser = parsers::size, default_value_t = WIKITEXT103_VOCAB)]
    types: usize,
    /// Number of parts of a run whose mean losses are compared
    #[arg(long, value_parser = parsers::positive::<u64>, default_value_t = 10)]
    parts: u64,
    #[command(flatten)]
    device: DeviceFlags,
    #[command(flatten)]
    record: RecordFlags,
}

/// The mean losses of the parts of a run.
struct Curve {
    format: PrecisionChoice,
    seed: u64,
    losses: Vec<f64>,
    tokens_per_second: f64,
}

/// Trains by the entry's recipe in each precision with one seed, and in the first precision with
/// another seed, to compare the effect of a precision with that of a seed.
pub fn run(args: &Args, json: bool) -> Result<Output> {
    let device = args.device.device()?;
    precision::check(&args.formats, device)?;
    let Some(&first) = args.formats.first() else {
        return Err(Error::config(
            "--formats",
            "",
            "no precision is selected",
            "name at least one",
        ));
    };
    let mut report = Report::new("curves", device, &args.record, json)?;
    // The mean sequence length is about bptt.
    let words = args.batch_size * (args.bptt + 1) * (args.steps as usize + 2);
    let corpus = random_tokens::corpus(args.types, words, 20)?;
    report.print(format!(
        "mean losses of {} parts of {} steps, {} with batch size {} and {} tokens, on {} of {} types, {}",
        args.parts,
        args.steps,
        args.model,
        args.batch_size,
        args.bptt,
        corpus.name(),
        args.types,
        devices::name(device)?,
    ));
    let mut runs: Vec<(PrecisionChoice, u64)> =
        args.formats.iter().map(|format| (*format, 1)).collect();
    runs.push((first, 2));
    let mut curves: Vec<Curve> = vec![];
    for (format, seed) in runs {
        let name = format!("{}, seed {seed}", format.name());
        terminal::note(format_args!("{} with seed {seed} ...", format.name()));
        let run = json!({"what": "losses of a run", "format": format.name(), "seed": seed,
            "steps": args.steps});
        match curve(args, &corpus, device, format, seed) {
            Ok(curve) => {
                let losses: Vec<_> =
                    curve.losses.iter().map(|loss| format!("{loss:9.4}")).collect();
                let speed = curve.tokens_per_second;
                report.print(format!("  {name:<14}{}   {speed:.0} tokens/s", losses.join("")));
                let losses = json!({"losses": curve.losses, "tokens_per_second": speed});
                report.add(merged(run, losses))?;
                curves.push(curve);
            }
            Err(error) => report.failed(&format!("the run in {name}"), run, &error)?,
        }
    }

    let max_difference = |a: &Curve, b: &Curve| {
        let differences = a.losses.iter().zip(&b.losses).map(|(a, b)| (a - b).abs());
        differences.fold(0.0, f64::max)
    };
    let find = |format, seed| curves.iter().find(|one| (one.format, one.seed) == (format, seed));
    let mut closing = vec![];
    if let (Some(base), Some(other)) = (find(first, 1), find(first, 2)) {
        let by_seed = max_difference(base, other);
        for curve in curves.iter().filter(|curve| curve.format != first) {
            let by_format = max_difference(base, curve);
            closing.push(format!(
                "{} differs from {} by at most {by_format:.1e}, the other seed by {by_seed:.1e}",
                curve.format.name(),
                first.name(),
            ));
            report.add(json!({"what": "furthest losses", "format": curve.format.name(),
                "against": first.name(), "difference": by_format,
                "difference_of_a_seed": by_seed}))?;
        }
    }
    Ok(report.finish(closing.join("\n")))
}

fn curve(
    args: &Args,
    corpus: &Corpus,
    device: Device,
    format: PrecisionChoice,
    seed: u64,
) -> Result<Curve> {
    let borders = args.model.borders(&args.splits, args.types);
    let config = args.model.config(&borders, args.types);
    let mut model = QrnnLm::seeded(&config, (Kind::Float, device), seed)?;
    model.set_precision(format.precision());
    let recipe = Recipe::paper().bptt(args.bptt).batch(args.batch_size).lr(args.lr).seed(seed);
    let recipe = Recipe { steps: Some(args.steps), ..recipe };
    let run = Trainer::new(recipe).fit_with(&mut model, corpus, &mut Silent)?;
    let part = (args.steps as usize).div_ceil(args.parts as usize);
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    Ok(Curve {
        format,
        seed,
        losses: run.losses.chunks(part).map(mean).collect(),
        tokens_per_second: run.tokens_per_second,
    })
}
