//! `reproduce report`

use std::path::PathBuf;

use clap::Args as ClapArgs;
use qrnn::command_line::{INTERRUPTED, Output};
use qrnn::view::report::Report;
use qrnn::{Error, Result};

use crate::table_results::{command_line, output};

#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Folders that `reproduce --out` wrote, folders of single runs in their `runs`, or folders that `reproduce compress`
    /// wrote
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Folder for the report, the plots and results.json [default: the first DIR that is not of a compressed
    /// model, else the first]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &Args) -> Result<Output> {
    let first = Report::folder_among(&args.folders).unwrap_or(&args.folders[0]);
    let out = args.out.as_ref().unwrap_or(first);
    let report = Report::read(&args.folders, out, &command_line())?;
    std::fs::create_dir_all(out).map_err(Error::io(out, "create"))?;
    report.save(out)?;
    let mut text = match &report.results {
        Some(results) if report.compressions.is_empty() => return Ok(output(results, out)),
        _ => report.to_text(),
    };
    for path in report.files(out) {
        text += &format!("\nwrote {}", path.display());
    }
    text += &format!("\nopen {}", out.join("report.html").display());
    let interrupted = report.results.as_ref().is_some_and(|results| results.interrupted);
    let status = if interrupted { INTERRUPTED } else { 0 };
    Ok(Output { text, json: report.to_json(), status })
}
