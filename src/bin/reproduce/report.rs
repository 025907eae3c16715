//! `reproduce report`

use std::path::PathBuf;

use clap::Args as ClapArgs;
use qrnn::Result;
use qrnn::command_line::Output;
use qrnn::paper::experiment::gather_folders;

use crate::table_results::{command_line, output};

#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Folders that `reproduce --out` wrote, or folders of single runs in their `runs`
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Folder for the report, the plots and results.json [default: the first DIR]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &Args) -> Result<Output> {
    let out = args.out.as_ref().unwrap_or(&args.folders[0]);
    let results = gather_folders(&args.folders, out, &command_line())?;
    results.save(out)?;
    Ok(output(&results, out))
}
