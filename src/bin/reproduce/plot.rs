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
    /// Run folders, finished or not
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Training perplexity, validation perplexity, or both
    #[arg(long, value_enum, default_value_t = Curves::Both)]
    curves: Curves,
    /// Folder for training_curve.svg and training_curve.png
    #[arg(long, default_value = "runs")]
    out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: Args) -> Result<Output> {
    // A run that is named twice is drawn once.
    let (mut runs, mut seen) = (vec![], vec![]);
    for run in args.runs {
        let place = run.canonicalize().unwrap_or_else(|_| run.clone());
        if !seen.contains(&place) {
            seen.push(place);
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
    let counted = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    let (shown, read) = (counted(curves.len(), "curve"), counted(logs.len(), "run"));
    let mut text = format!("{shown} of {read} in {svg} and {png}");
    if let Some(note) = plot.missing_in_png() {
        text += &format!("\n{note}");
    }
    let files = files.each_ref().map(json::path);
    Ok(Output::done(text, json!({"files": files, "curves": curves.len()})))
}
