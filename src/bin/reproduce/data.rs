//! `reproduce data stats`, `reproduce data fetch` and `reproduce data write`

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args as ClapArgs, Subcommand};
use qrnn::data::download::{Dataset, Fetch};
use qrnn::data::{Corpus, Origin, Split, SyntheticConfig};
use qrnn::format::megabytes;
use qrnn::interrupt::Interrupt;
use qrnn::view::progress;
use qrnn::{Error, Result, json};
use serde_json::json;

use qrnn::command_line::{Output, load_corpus, peak_bytes};

#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show token counts and vocabulary size of a corpus
    Stats {
        /// Folder with train.txt, valid.txt and test.txt (or wiki.*.tokens, or Hugging Face's
        /// train-*, validation-* and test-*.parquet) [default: the embedded synthetic language]
        #[arg(long)]
        data: Option<PathBuf>,
        /// Read the text files, and neither read nor write the token cache
        #[arg(long)]
        no_cache: bool,
    },
    /// Download a corpus, verify it, and unpack it
    Fetch(FetchArgs),
    /// Write the embedded language as train.txt, valid.txt and test.txt, for other programs and settings
    Write(WriteArgs),
}

#[derive(Debug, ClapArgs)]
struct FetchArgs {
    /// Name of the corpus: wikitext-103
    name: String,
    /// Folder in which wikitext-103/, with wiki.train.tokens etc., is created
    #[arg(long, default_value = "data")]
    to: PathBuf,
    /// URL of the archive, instead of Hugging Face (HF_ENDPOINT, HF_TOKEN) and the built-in mirrors
    #[arg(long)]
    url: Option<String>,
}

#[derive(Debug, ClapArgs)]
struct WriteArgs {
    /// The folder, which is created
    folder: PathBuf,
    /// Minimum number of training tokens; the text ends with a paragraph
    #[arg(long, default_value_t = SyntheticConfig::default().train_tokens)]
    train_tokens: usize,
    /// Minimum number of validation tokens
    #[arg(long, default_value_t = SyntheticConfig::default().valid_tokens)]
    valid_tokens: usize,
    /// Minimum number of test tokens
    #[arg(long, default_value_t = SyntheticConfig::default().test_tokens)]
    test_tokens: usize,
}

pub fn run(args: Args) -> Result<Output> {
    let (data, no_cache) = match args.command {
        Command::Stats { data, no_cache } => (data, no_cache),
        Command::Fetch(args) => return fetch(args),
        Command::Write(args) => return write(args),
    };
    let started = Instant::now();
    let corpus = match data {
        Some(folder) if no_cache => Corpus::from_text(folder)?,
        data => load_corpus(data)?,
    };
    let seconds = started.elapsed().as_secs_f64();
    let peak = peak_bytes();
    let count = |split| corpus.tokens(split).len();
    let json = json!({
        "vocab": corpus.vocab().len(),
        "train_tokens": count(Split::Train),
        "valid_tokens": count(Split::Valid),
        "test_tokens": count(Split::Test),
        "unigram_test_ppl": corpus.unigram_perplexity(Split::Test),
        "seconds": seconds,
        "cached": matches!(corpus.origin(), Origin::Cache(_)),
        "peak_bytes": peak,
    });
    let mut text = format!("{corpus}\n");
    text += &match corpus.origin() {
        Origin::Generated => format!("generated in {seconds:.2} s"),
        Origin::Text(_) if no_cache => format!("read in {seconds:.2} s"),
        Origin::Text(reason) => {
            format!("read in {seconds:.2} s; could not write the token cache: {reason}")
        }
        Origin::NewCache(file) => {
            format!("read in {seconds:.2} s; tokens cached in {}", file.display())
        }
        Origin::Cache(file) => format!("opened in {seconds:.3} s from {}", file.display()),
    };
    text += &format!(
        "\nperplexity of a unigram model (add-one) on the test text: {:.1}",
        corpus.unigram_perplexity(Split::Test)
    );
    if let Some(best) = corpus.best_perplexity(Split::Test) {
        text += &format!("\nbest possible perplexity on the test text: {best:.1}");
    }
    Ok(Output::done(text, json))
}

fn write(args: WriteArgs) -> Result<Output> {
    let WriteArgs { folder, train_tokens, valid_tokens, test_tokens } = args;
    let files = Split::ALL.map(|split| folder.join(format!("{split}.txt")));
    if let Some(file) = files.iter().find(|file| file.exists()) {
        return Err(Error::mismatch(
            file.display().to_string(),
            "exists already",
            "choose another folder, or delete the file",
        ));
    }
    let config =
        SyntheticConfig { train_tokens, valid_tokens, test_tokens, ..SyntheticConfig::default() };
    let corpus = Corpus::synthetic_with(&config);
    corpus.write_dir(&folder)?;
    let best = corpus.best_perplexity(Split::Test);
    let mut text =
        format!("{corpus}\nwrote train.txt, valid.txt and test.txt to {}", folder.display());
    if let Some(best) = best {
        text += &format!("\nbest possible perplexity on the test text: {best:.1}");
    }
    let json = json!({
        "files": files.iter().map(json::path).collect::<Vec<_>>(),
        "vocab": corpus.vocab().len(),
        "best_test_ppl": best,
    });
    Ok(Output::done(text, json))
}

fn fetch(args: FetchArgs) -> Result<Output> {
    let mut fetch = Fetch::new(Dataset::named(&args.name)?, &args.to);
    if let Some(url) = &args.url {
        fetch = fetch.url(url)?;
    }
    let started = Instant::now();
    let interrupt = Interrupt::on_ctrl_c("stopping the download")?;
    let fetched = fetch.interrupt(interrupt).run(&mut *progress::here())?;
    let seconds = started.elapsed().as_secs_f64();
    let path = fetched.path.display();
    let text = match &fetched.from {
        None => format!("{path} already holds {} as published; nothing to download", args.name),
        Some(from) if fetched.from_parquet => format!(
            "{path} holds {} as published ({})\nrestored from the Parquet files of {from} in {seconds:.1} s",
            args.name,
            megabytes(fetched.bytes),
        ),
        Some(from) => format!(
            "{path} holds {} as published ({})\nfrom {from}, md5 {}, in {seconds:.1} s",
            args.name,
            megabytes(fetched.bytes),
            fetched.md5
        ),
    };
    let json = json!({
        "path": json::path(&fetched.path),
        "md5": fetched.md5,
        "sha256": fetched.sha256,
        "bytes": fetched.bytes,
        "from": fetched.from,
        "downloaded": fetched.downloaded,
        "seconds": seconds,
    });
    Ok(Output::done(text, json))
}
