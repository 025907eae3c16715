//! Reading a text of WikiText-103's size, compared with Python.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::Args as ClapArgs;
use qrnn::data::{Corpus, Origin, Split};
use qrnn::terminal;
use qrnn::{Error, Result};
use serde_json::json;

use crate::statistics::median;
use crate::{subprocess, zipf};
use qrnn::command_line::{Output, numbers, peak_bytes};

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// Size of the training text in bytes
    #[arg(long, value_parser = numbers::positive::<u64>, default_value_t = zipf::BYTES)]
    bytes: u64,
    /// Number of measured runs
    #[arg(long, value_parser = numbers::positive::<u32>, default_value_t = 5)]
    runs: u32,
    /// Folder for the text, with room for twice its size [default: a temporary folder]
    #[arg(long)]
    scratch: Option<PathBuf>,
}

/// A run of [`read_once`].
struct ReadRun {
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
    let read = read_runs(folder, args.runs, &["--no-cache"])?;
    let first = read_run(folder, &[])?;
    let reopened = read_runs(folder, args.runs, &[])?;
    if first.cached || reopened.iter().any(|run| !run.cached) {
        return Err(Error::bad_file(folder, "the tokens were not cached", "free some space there"));
    }
    terminal::note("reading it in Python ...");
    let python = python(&text)?;

    let seconds = median(read.iter().map(|run| run.seconds).collect());
    let reopen = median(reopened.iter().map(|run| run.seconds).collect());
    let peak = read.iter().map(|run| run.peak).fold(0.0, f64::max);
    let ReadRun { tokens, types, .. } = read[0];
    let mut text = format!(
        "text: {:.1} MB, {tokens} tokens of {types} types\n\
         text to tokens       {seconds:8.3} s   {:8.1} MB/s   peak memory {:.2} GB\n\
         and written to cache {:8.3} s\n\
         read from the cache  {reopen:8.3} s",
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
        None => text += "\ntwo passes of Python: python3 was not found",
    }
    Ok(Output::done(text, json!({"bench": "corpus", "measurements": measurements})))
}

fn read_runs(folder: &Path, runs: u32, flags: &[&str]) -> Result<Vec<ReadRun>> {
    (0..runs).map(|_| read_run(folder, flags)).collect()
}

/// Reads the folder in another process, which reports its peak memory.
fn read_run(folder: &Path, flags: &[&str]) -> Result<ReadRun> {
    let mut args = vec!["read-corpus".into(), folder.into()];
    args.extend(flags.iter().map(OsString::from));
    let value = subprocess::run(&args)?;
    Ok(ReadRun {
        seconds: value["seconds"].as_f64().unwrap_or(f64::NAN),
        peak: value["peak_bytes"].as_f64().unwrap_or(f64::NAN),
        cached: value["cached"] == true,
        tokens: value["train_tokens"].as_u64().unwrap_or(0),
        types: value["vocab"].as_u64().unwrap_or(0),
    })
}

#[derive(Debug, ClapArgs)]
pub struct ReadOnce {
    /// Folder with train.txt, valid.txt and test.txt
    folder: PathBuf,
    /// Neither read nor write the token cache
    #[arg(long)]
    no_cache: bool,
}

pub fn read_once(args: ReadOnce) -> Result<Output> {
    let started = Instant::now();
    let corpus = if args.no_cache {
        Corpus::from_text(&args.folder)?
    } else {
        Corpus::from_dir(&args.folder)?
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

/// Seconds of reading the text in Python; `None` if there is no Python.
fn python(text: &Path) -> Result<Option<f64>> {
    let mut command = Command::new("python3");
    command.arg("-c").arg(include_str!("two_pass.py")).arg(text);
    let output = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        output => output.map_err(Error::io("python3", "run"))?,
    };
    let stdout = String::from_utf8_lossy(&output.stdout);
    let seconds = stdout.split_whitespace().nth(2).and_then(|seconds| seconds.parse().ok());
    seconds.map(Some).ok_or_else(|| {
        let problem = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Error::usage("python3", problem, "repair python3, or remove it from PATH")
    })
}
