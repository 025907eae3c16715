//! Reading a text of WikiText-103's size, against plain Python.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::Args as ClapArgs;
use qrnn::data::{Corpus, Origin, Split};
use qrnn::terminal;
use qrnn::{Error, Result};
use serde_json::{Value, json};

use crate::statistics::median;
use crate::zipf;
use qrnn::command_line::{Output, numbers, peak_bytes};

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// Bytes of the training text
    #[arg(long, value_parser = numbers::positive::<u64>, default_value_t = zipf::BYTES)]
    bytes: u64,
    /// Times that each is measured
    #[arg(long, value_parser = numbers::positive::<u32>, default_value_t = 5)]
    runs: u32,
    /// Folder for the text, twice its size; a temporary one where it is left out
    #[arg(long)]
    scratch: Option<PathBuf>,
}

/// What [`read_once`] reports of one reading.
struct Reading {
    seconds: f64,
    peak: f64,
    cached: bool,
    tokens: u64,
    types: u64,
}

pub fn run(args: Args) -> Result<Output> {
    let parent = args.scratch.unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::tempdir_in(&parent).map_err(Error::io(&parent, "write to"))?;
    let folder = folder.path();
    terminal::note(format_args!("writing a text of {:.0} MB ...", args.bytes as f64 / 1e6));
    zipf::write(folder, args.bytes)?;
    let text = folder.join("train.txt");
    let bytes = std::fs::metadata(&text).map_err(Error::io(&text, "read"))?.len() as f64;

    terminal::note(format_args!("reading it, {} times ...", args.runs));
    let read = readings(folder, args.runs, &["--no-cache"])?;
    let first = reading(folder, &[])?;
    let reopened = readings(folder, args.runs, &[])?;
    if first.cached || reopened.iter().any(|reading| !reading.cached) {
        return Err(Error::bad_file(folder, "the ids were not kept", "free some space there"));
    }
    terminal::note("reading it in Python ...");
    let python = python(&text)?;

    let seconds = median(read.iter().map(|reading| reading.seconds).collect());
    let reopen = median(reopened.iter().map(|reading| reading.seconds).collect());
    let peak = read.iter().map(|reading| reading.peak).fold(0.0, f64::max);
    let Reading { tokens, types, .. } = read[0];
    let mut text = format!(
        "text: {:.1} MB, {tokens} tokens of {types} types\n\
         text to ids          {seconds:8.3} s   {:8.1} MB/s   peak memory {:.2} GB\n\
         and kept in a file   {:8.3} s\n\
         reopened             {reopen:8.3} s",
        bytes / 1e6,
        bytes / 1e6 / seconds,
        peak / 1e9,
        first.seconds,
    );
    let mut measurements = vec![
        json!({"what": "text to ids", "seconds": seconds, "bytes": bytes,
            "bytes_per_second": bytes / seconds, "peak_bytes": peak, "tokens": tokens,
            "types": types, "runs": args.runs}),
        json!({"what": "text to ids, kept in a file", "seconds": first.seconds}),
        json!({"what": "reopened", "seconds": reopen, "runs": args.runs}),
    ];
    match python {
        Some(python) => {
            text += &format!(
                "\ntwo passes of Python {python:8.3} s   {:8.1} MB/s   {:.1} times as long",
                bytes / 1e6 / python,
                python / seconds
            );
            measurements.push(json!({"what": "two passes of Python", "seconds": python,
                "bytes_per_second": bytes / python, "against": "text to ids",
                "ratio": python / seconds}));
        }
        None => text += "\ntwo passes of Python: there is no python3 here",
    }
    Ok(Output::done(text, json!({"bench": "corpus", "measurements": measurements})))
}

fn readings(folder: &Path, runs: u32, flags: &[&str]) -> Result<Vec<Reading>> {
    (0..runs).map(|_| reading(folder, flags)).collect()
}

/// One reading by a process of its own, which knows its peak memory.
fn reading(folder: &Path, flags: &[&str]) -> Result<Reading> {
    let program = std::env::current_exe().map_err(Error::io("this program", "find"))?;
    let mut command = Command::new(&program);
    command.args(["read-corpus", "--json"]).arg(folder).args(flags);
    let output = command.output().map_err(Error::io(&program, "run"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let value: Value =
        said.lines().last().and_then(|line| serde_json::from_str(line).ok()).ok_or_else(|| {
            let problem = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Error::bad_file(folder, format!("cannot be read: {problem}"), "report this")
        })?;
    Ok(Reading {
        seconds: value["seconds"].as_f64().unwrap_or(f64::NAN),
        peak: value["peak_bytes"].as_f64().unwrap_or(f64::NAN),
        cached: value["cached"] == true,
        tokens: value["train_tokens"].as_u64().unwrap_or(0),
        types: value["vocab"].as_u64().unwrap_or(0),
    })
}

/// Reads a folder's text in this process, and reports what that took.
#[derive(Debug, ClapArgs)]
pub struct ReadOnce {
    folder: PathBuf,
    #[arg(long)]
    no_cache: bool,
}

pub fn read_once(args: ReadOnce) -> Result<Output> {
    let started = Instant::now();
    let corpus = match args.no_cache {
        true => Corpus::from_text(&args.folder)?,
        false => Corpus::from_dir(&args.folder)?,
    };
    let json = json!({
        "seconds": started.elapsed().as_secs_f64(),
        "peak_bytes": peak_bytes(),
        "cached": matches!(corpus.origin(), Origin::Cache(_)),
        "train_tokens": corpus.tokens(Split::Train).len(),
        "vocab": corpus.vocab().len(),
    });
    Ok(Output::done(&corpus, json))
}

/// Seconds of a plain Python reading; `None` where there is no Python.
fn python(text: &Path) -> Result<Option<f64>> {
    let mut command = Command::new("python3");
    command.arg("-c").arg(include_str!("two_pass.py")).arg(text);
    let output = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        output => output.map_err(Error::io("python3", "run"))?,
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let seconds = said.split_whitespace().nth(2).and_then(|seconds| seconds.parse().ok());
    seconds.map(Some).ok_or_else(|| {
        let problem = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Error::usage("python3", problem, "mend python3, or take it out of PATH")
    })
}
