//! `reproduce` without a subcommand: the experiment table and the figure.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use clap::builder::NonEmptyStringValueParser;
use qrnn::data::Corpus;
use qrnn::format::aligned;
use qrnn::interrupt::Interrupt;
use qrnn::paper::experiment::{DEFAULT_DIVISOR, Experiment, Scale, check_writable};
use qrnn::paper::results::{OpTables, ParameterCount};
use qrnn::terminal;
use qrnn::{Error, Result, paper};
use serde_json::json;

use crate::model_flags::ComputeFlags;
use qrnn::command_line::{INTERRUPTED, Output, parsers};

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// Folder for the report, the plots and results.json
    #[arg(long, default_value = "runs/reproduce")]
    out: PathBuf,
    /// Rows of the table to train, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    rows: Vec<String>,
    /// Divisor of the model widths; smaller means larger models and longer runs [default: 10]
    #[arg(long, value_parser = parsers::decimal)]
    scale: Option<f64>,
    /// Folder of the corpus to train on, such as WikiText-103 [default: the embedded synthetic language]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Train at the paper's sizes; needs --data and takes weeks on a CPU
    #[arg(long)]
    full: bool,
    /// Skip the figure of perplexity against sequence length
    #[arg(long)]
    no_lengths: bool,
    /// Seed of initial weights, dropout masks and sequence lengths
    #[arg(long, value_parser = parsers::non_negative::<u64>, default_value_t = 1882)]
    seed: u64,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}

impl Args {
    fn scale(&self) -> Result<Scale> {
        match (self.full, self.scale) {
            (true, Some(scale)) => Err(Error::config(
                "--full and --scale",
                scale,
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
            (false, scale) => Scale::reduced(scale.unwrap_or(DEFAULT_DIVISOR)),
        }
    }
}

pub fn run(args: Args) -> Result<Output> {
    let scale = args.scale()?;
    let device = match scale {
        Scale::Full => args.compute.device()?,
        Scale::Reduced(_) => args.compute.device_for_small_models()?,
    };
    let experiment = Experiment {
        table: true,
        rows: args.rows.clone(),
        lengths: !args.no_lengths,
        scale,
        seed: args.seed,
        device,
        precision: args.compute.training_precision(device, scale.layer_multiplications())?,
        command: command_line(),
        interrupt: Interrupt::on_ctrl_c("finishing the current steps")?,
    };
    experiment.check()?;
    let corpus = match &args.data {
        Some(folder) => Corpus::wikitext103(folder)?,
        None => Corpus::synthetic(),
    };
    check_writable(&args.out)?;
    let text = experiment.training_text(&corpus);
    terminal::note(format_args!("{}\n{text}\n{}\n", counts(), experiment.precision));

    let results = experiment.run(&corpus)?;
    let paths = results.save(&args.out)?;
    let json = serde_json::to_value(&results).unwrap_or_else(|error| json!(error.to_string()));
    let mut text = format!("\n{}\n", results.to_text());
    for path in &paths {
        text += &format!("\nwrote {}", path.display());
    }
    for plot in [results.parameters_plot(), results.lengths_plot()] {
        let svg = args.out.join(format!("{}.svg", plot.name()));
        if !paths.contains(&svg) && svg.exists() {
            text += &format!("\n{} is from an earlier run", svg.display());
        }
    }
    if let Some(note) = results.parameters_plot().missing_in_png() {
        text += &format!("\n{note}");
    }
    text += &format!("\n{:.0} s; open {}", results.seconds, args.out.join("report.html").display());
    let status = if results.interrupted { INTERRUPTED } else { 0 };
    Ok(Output { text, json, status })
}

/// The operation table and the parameter counts of all rows, compared with the published ones.
fn counts() -> String {
    let parameters = aligned(&ParameterCount::table(&ParameterCount::of_rows(&paper::ROWS)));
    format!("{}\n\nParameters at full size\n{parameters}", OpTables::of_entry())
}

fn command_line() -> String {
    let args = std::env::args_os().skip(1);
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let mut command = "cargo run --release --bin reproduce".to_owned();
    if !args.is_empty() {
        command += &format!(" -- {}", args.join(" "));
    }
    command
}
