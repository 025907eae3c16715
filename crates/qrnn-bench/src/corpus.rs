//! Reading a text of WikiText-103's size, compared with Python.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::Args as ClapArgs;
use qrnn::data::{Corpus, Origin, Split};
use qrnn::terminal;
use qrnn::{Error, Result};
use serde_json::{Value, json};
use tch::Device;

use crate::report::{RecordFlags, Report};
use crate::statistics::median;
use crate::{subprocess, zipf};
use qrnn::command_line::{Output, parsers, peak_bytes};

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// Size of the training text in bytes; every word of WikiText-103's vocabulary occurs in it
    #[arg(long, value_parser = parsers::in_range::<u64>(zipf::LEAST_BYTES..=parsers::LARGEST))]
    #[arg(default_value_t = zipf::BYTES)]
    bytes: u64,
    /// Number of measured runs
    #[arg(long, value_parser = parsers::positive::<u32>, default_value_t = 5)]
    runs: u32,
    /// Folder for the text, with room for twice its size [default: a temporary folder]
    #[arg(long)]
    scratch: Option<PathBuf>,
    #[command(flatten)]
    record: RecordFlags,
}

pub fn run(args: &Args, json: bool) -> Result<Output> {
    let mut report = Report::new("corpus", Device::Cpu, &args.record, json)?;
    let parent = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::tempdir_in(&parent).map_err(Error::io(&parent, "write to"))?;
    let folder = folder.path();
    terminal::note(format_args!("writing a text of {:.0} MB ...", args.bytes as f64 / 1e6));
    zipf::write(folder, args.bytes)?;
    let text = folder.join("train.txt");
    let bytes = std::fs::metadata(&text).map_err(Error::io(&text, "read"))?.len() as f64;

    terminal::note("reading it ...");
    // Each in another process, which reports its peak memory.
    let read_once = |flag: Option<&str>| {
        let args: [OsString; 2] = ["read-corpus".into(), folder.into()];
        subprocess::run(&args.into_iter().chain(flag.map(OsString::from)).collect::<Vec<_>>())
    };
    let read_runs = |flag| (0..args.runs).map(|_| read_once(flag)).collect::<Result<Vec<Value>>>();
    let read = read_runs(Some("--no-cache"))?;
    let first = read_once(None)?;
    let reopened = read_runs(None)?;
    if first["cached"] == true || reopened.iter().any(|run| run["cached"] != true) {
        return Err(Error::bad_file(folder, "the tokens were not cached", "free some space there"));
    }
    let number = |run: &Value, name: &str| run[name].as_f64().unwrap_or(f64::NAN);
    let seconds_of =
        |runs: &[Value]| median(runs.iter().map(|run| number(run, "seconds")).collect());
    let (seconds, reopen) = (seconds_of(&read), seconds_of(&reopened));
    let stored = number(&first, "seconds");
    let peak = read.iter().map(|run| number(run, "peak_bytes")).fold(0.0, f64::max);
    let (tokens, types) = (&first["train_tokens"], &first["vocab"]);
    report.print(format!(
        "text: {:.1} MB, {tokens} tokens, vocabulary of {types} words\n\
         text to tokens       {seconds:8.3} s   {:8.1} MB/s   peak memory {:.2} GB\n\
         and written to cache {stored:8.3} s\n\
         read from the cache  {reopen:8.3} s",
        bytes / 1e6,
        bytes / 1e6 / seconds,
        peak / 1e9,
    ));
    report.add(json!({"what": "text to ids", "seconds": seconds, "bytes": bytes,
        "bytes_per_second": bytes / seconds, "peak_bytes": peak, "tokens": tokens,
        "types": types, "runs": args.runs}))?;
    report.add(json!({"what": "text to ids, kept in a file", "seconds": stored}))?;
    report.add(json!({"what": "reopened", "seconds": reopen, "runs": args.runs}))?;

    terminal::note("reading it in Python ...");
    let Some(python) = python(&text)? else {
        return Ok(report.finish("two passes of Python: python3 was not found"));
    };
    report.add(json!({"what": "two passes of Python", "seconds": python, "bytes_per_second":
        bytes / python, "against": "text to ids", "ratio": python / seconds}))?;
    Ok(report.finish(format!(
        "two passes of Python {python:8.3} s   {:8.1} MB/s   {:.1} times as long",
        bytes / 1e6 / python,
        python / seconds
    )))
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
        Error::config("python3", "", problem, "repair python3, or remove it from PATH")
    })
}
