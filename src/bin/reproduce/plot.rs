//! `reproduce plot`

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use qrnn::train::RunLog;
use qrnn::view::plot::training_curve;
use qrnn::{Error, Result, json};
use serde_json::json;

use qrnn::command_line::Output;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Curves {
    Train,
    Valid,
    Both,
}

#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Run folders; the runs need not be finished
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Curves to plot: training perplexity, validation perplexity or both
    #[arg(long, value_enum, default_value_t = Curves::Both)]
    curves: Curves,
    /// Folder for training_curve.svg and training_curve.png
    #[arg(long, default_value = "runs")]
    out: PathBuf,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: Args) -> Result<Output> {
    // A run that is named twice is plotted once.
    let (mut runs, mut paths) = (vec![], vec![]);
    for run in args.runs {
        let path = run.canonicalize().unwrap_or_else(|_| run.clone());
        if !paths.contains(&path) {
            paths.push(path);
            runs.push(run);
        }
    }
    let logs = RunLog::read_all(&runs)?;
    let mut curves = vec![];
    for log in &logs {
        if args.curves != Curves::Valid {
            curves.push(log.training());
        }
        if args.curves != Curves::Train {
            curves.push(log.validation());
        }
    }
    curves.retain(|curve| !curve.points.is_empty());
    std::fs::create_dir_all(&args.out).map_err(Error::io(&args.out, "create"))?;
    let plot = training_curve(&curves);
    let files = plot.save(&args.out, "training_curve")?;
    let [svg, png] = files.each_ref().map(|file| file.display());
    let plural = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
    let (curve_count, run_count) = (plural(curves.len(), "curve"), plural(logs.len(), "run"));
    let mut text = format!("wrote {curve_count} of {run_count} to {svg} and {png}");
    if let Some(note) = plot.missing_in_png() {
        text += &format!("\n{note}");
    }
    let files = files.each_ref().map(json::path);
    Ok(Output::done(text, json!({"files": files, "curves": curves.len()})))
}
