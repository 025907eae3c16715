//! `reproduce` without a subcommand: the experiment table and the figure.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use clap::builder::NonEmptyStringValueParser;
use qrnn::data::Corpus;
use qrnn::format::aligned;
use qrnn::interrupt::Interrupt;
use qrnn::paper::experiment::{DEFAULT_DIVISOR, Experiment, Scale};
use qrnn::paper::results::{OpTables, ParameterCount};
use qrnn::terminal;
use qrnn::{Error, Result, paper};

use crate::model_flags::ComputeFlags;
use crate::table_results::{command_line, output};
use qrnn::command_line::{Output, parsers};

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// Folder for the report, the plots, results.json, and a folder for each run. The same command continues
    /// what it finds there
    #[arg(long, default_value = "runs/reproduce")]
    out: PathBuf,
    /// Rows of the table to train, separated by commas, all or none [default: all, or none with --lengths]
    #[arg(long, value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    rows: Option<Vec<String>>,
    /// Sequence lengths of the figure to train, as published, separated by commas, all or none [default: all, or
    /// none with --rows]
    #[arg(long, value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    lengths: Option<Vec<String>>,
    /// Divisor of the model widths, smaller means larger models and longer runs; or medium: small models of two layers
    /// that are trained for long, about 15 minutes per seed, meant for real text [default: 10]
    #[arg(long, value_parser = ScaleChoice::parse, value_name = "DIVISOR|medium")]
    scale: Option<ScaleChoice>,
    /// Folder of the corpus to train on, such as WikiText-103 [default: the embedded synthetic language]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Train at the paper's sizes; needs --data and takes weeks on a CPU
    #[arg(long)]
    full: bool,
    /// Skip the figure of perplexity against sequence length
    #[arg(long, conflicts_with = "lengths")]
    no_lengths: bool,
    /// First seed of initial weights, dropout masks and sequence lengths
    #[arg(long, value_parser = parsers::non_negative::<u64>, default_value_t = 1882)]
    seed: u64,
    /// Number of seeds per model, counted up from --seed; from 2 on, tables and plots show the deviation
    #[arg(long, value_parser = parsers::positive::<usize>, default_value_t = 1)]
    seeds: usize,
    /// Train runs that are in --out already anew; runs of another scale or text there are deleted
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy)]
enum ScaleChoice {
    Medium,
    Divisor(f64),
}

impl ScaleChoice {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "medium" => Ok(Self::Medium),
            _ => parsers::decimal(text)
                .map(Self::Divisor)
                .map_err(|_| "give a number such as 10, or medium".to_owned()),
        }
    }
}

impl Args {
    fn scale(&self) -> Result<Scale> {
        match (self.full, self.scale) {
            (true, Some(_)) => Err(Error::config(
                "--full and --scale",
                "",
                "contradict each other",
                "use only one of them",
            )),
            (true, None) if self.data.is_none() => Err(Error::config(
                "--full",
                "",
                "the embedded language is too small for the paper's sizes",
                "give the folder of WikiText-103 with --data",
            )),
            (true, None) => Ok(Scale::Full),
            (false, None) => Scale::reduced(DEFAULT_DIVISOR),
            (false, Some(ScaleChoice::Divisor(divisor))) => Scale::reduced(divisor),
            (false, Some(ScaleChoice::Medium)) => Ok(Scale::Medium),
        }
    }
}

/// Published rows and lengths by the flags: a choice of one leaves the other out.
fn chosen(args: &Args) -> Result<(Vec<String>, Vec<usize>)> {
    let all_rows = || paper::ROWS.map(|row| row.name.to_owned()).to_vec();
    let rows = match args.rows.as_deref() {
        None if args.lengths.is_some() => vec![],
        None => all_rows(),
        Some([word]) if word == "all" => all_rows(),
        Some([word]) if word == "none" => vec![],
        Some(names) => names.to_vec(),
    };
    let all_lengths = || paper::LENGTHS.map(|length| length.bptt).to_vec();
    let lengths = match args.lengths.as_deref() {
        None if args.rows.is_some() || args.no_lengths => vec![],
        None => all_lengths(),
        Some([word]) if word == "all" => all_lengths(),
        Some([word]) if word == "none" => vec![],
        Some(lengths) => lengths.iter().map(|length| length_of(length)).collect::<Result<_>>()?,
    };
    Ok((rows, lengths))
}

fn length_of(text: &str) -> Result<usize> {
    text.parse().map_err(|_| {
        Error::config(
            "--lengths",
            text,
            "is not a sequence length",
            format!(
                "choose among {}, all and none",
                paper::LENGTHS.map(|length| length.bptt.to_string()).join(",")
            ),
        )
    })
}

pub fn run(args: Args) -> Result<Output> {
    let scale = args.scale()?;
    let (rows, lengths) = chosen(&args)?;
    let device = match scale {
        Scale::Full => args.compute.device()?,
        Scale::Medium | Scale::Reduced(_) => args.compute.device_for_small_models()?,
    };
    let experiment = Experiment {
        rows,
        lengths,
        scale,
        seed: args.seed,
        seeds: args.seeds,
        device,
        precision: args.compute.training_precision(device, scale.layer_multiplications())?,
        folder: Some(args.out.clone()),
        overwrite: args.overwrite,
        command: command_line(),
        interrupt: Interrupt::on_ctrl_c("finishing the current steps")?,
    };
    experiment.check()?;
    let corpus = match &args.data {
        Some(folder) => Corpus::wikitext103(folder)?,
        None => scale.embedded_text(),
    };
    let text = experiment.training_text(&corpus);
    terminal::note(format_args!("{}\n{text}\n{}\n", counts(), experiment.precision));

    let results = experiment.run(&corpus)?;
    Ok(output(&results, &args.out))
}

/// The operation table and the parameter counts of all rows, compared with the published ones.
fn counts() -> String {
    let parameters = aligned(&ParameterCount::table(&ParameterCount::of_rows(&paper::ROWS)));
    format!("{}\n\nParameters at full size\n{parameters}", OpTables::of_entry())
}
