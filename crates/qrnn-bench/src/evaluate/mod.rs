//! Evaluation of the entry's model on a test text: first ours in every precision; then ours and the
//! PyTorch baselines, interleaved.

mod args;
mod comparison;

pub use args::Args;
use qrnn::command_line::Output;
use qrnn::data::{Corpus, Split};
use qrnn::evaluate::{EvalOptions, evaluate_split};
use qrnn::model::{LmConfig, QrnnLm, Splits};
use qrnn::progress::Silent;
use qrnn::terminal;
use qrnn::{Error, Result, paper};
use qrnn_ops::profile::{self, Stage};
use serde_json::json;
use tch::{Device, Kind};

use crate::baselines::Baselines;
use crate::baselines::step::{Setting, write_inputs};
use crate::precision::{self, PrecisionChoice};
use crate::products::{Product, products};
use crate::report::Report;
use crate::roofline::Roofline;
use crate::statistics::median;
use crate::{device as devices, random_tokens, text};

/// Tokens of WikiText-103's test text.
const TEST_TEXT: f64 = 245_569.0;

/// Seconds of the measured runs of an implementation, and its mean loss in nats per token.
#[derive(Default)]
struct Runs {
    seconds: Vec<f64>,
    loss: f64,
}

/// The measurements of one precision.
struct Ours {
    format: PrecisionChoice,
    runs: Runs,
    /// Index in the report.
    index: usize,
}

/// The model and its corpus.
struct Bench<'a> {
    args: &'a Args,
    device: Device,
    corpus: Corpus,
    model: QrnnLm,
    /// Operations of the matrix products.
    operations: f64,
}

pub fn run(args: &Args, json: bool) -> Result<Output> {
    let device = args.device.device()?;
    precision::check(&args.formats, device)?;
    qrnn_ops::libtorch::keep_freed_memory();
    let mut report = Report::new("evaluate", device, &args.record, json)?;
    let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
    let corpus = match &args.data {
        Some(data) => text::corpus(data, args.tokens)?,
        None => random_tokens::corpus(args.types, 20, args.tokens)?,
    };
    let roofline = Roofline::measure(device, &args.formats, &mut report)?;
    devices::peak_bytes(device)?;
    let entry = paper::entry();
    let (emsize, nhid) = args.model.unwrap_or((entry.published.emsize, entry.published.nhid));
    let config = LmConfig::paper(emsize, nhid)
        .vocab(corpus.vocab().len())
        .bptt(args.bptt)
        .splits(args.splits.clone().map_or(Splits::Auto, Splits::At));
    let borders = config.splits.borders(config.vocab)?;
    let model = QrnnLm::seeded(&config, (Kind::Float, device), 1)?;
    let tokens = corpus.tokens(Split::Test);
    write_inputs(folder.path(), &model, tokens)?;
    let setting = Setting {
        folder: folder.path(),
        device,
        splits: &borders,
        batch: 1,
        dropout: 0.0,
        clip: 0.0,
    };
    let specs = setting.specs(&args.peers);
    let mut baselines = Baselines::spawn(&args.baseline_flags, specs, device)?;
    report.print(format!(
        "evaluation of a model of {} random parameters on {} tokens, batch size 1, windows of {}; medians of {} \
         runs\ntokens by cluster: {}",
        model.parameter_count(),
        tokens.len(),
        args.bptt,
        args.runs,
        random_tokens::shares(tokens, &borders),
    ));
    let counts = random_tokens::count_by_cluster(tokens, &borders);
    let in_tails: Vec<f64> = counts[1..].iter().map(|count| *count as f64).collect();
    let (layers, clusters) = products(&config, &borders, tokens.len() as f64, &in_tails);
    let operations = layers.iter().chain(&clusters).map(Product::operations).sum();
    let mut bench = Bench { args, device, corpus, model, operations };
    let mut ours = vec![];
    for &format in &args.formats {
        terminal::note(format_args!("{} ...", format.name()));
        match bench.measure(format, &roofline, &mut report) {
            Ok((runs, index)) => ours.push(Ours { format, runs, index }),
            Err(error) => {
                let fields = json!({"what": "evaluation of the entry", "format": format.name()});
                report.failed(&format!("the evaluation in {}", format.name()), fields, &error)?;
            }
        }
    }
    if let Some(bytes) = devices::peak_bytes(device)? {
        report.print(format!("our peak memory {:.2} GB", bytes / 1e9));
    }
    baselines.hello();
    bench.compare(&ours, &mut baselines, &mut report)?;
    let indices: Vec<usize> = ours.iter().map(|ours| ours.index).collect();
    baselines.report_left_out("evaluation of the entry", &indices, &mut report)?;
    Ok(report.finish(baselines.closing()))
}

impl Bench<'_> {
    fn words(&self) -> usize {
        self.corpus.tokens(Split::Test).len()
    }

    /// Seconds and loss of one evaluation.
    fn evaluate(&mut self, format: PrecisionChoice) -> Result<(f64, f64)> {
        self.model.set_precision(format.precision());
        let options = EvalOptions::original(Split::Test, self.args.bptt);
        let (model, corpus) = (&self.model, &self.corpus);
        let evaluation = evaluate_split(model, corpus, Split::Test, &options, &mut Silent)?;
        Ok((evaluation.seconds, evaluation.loss))
    }

    /// Measures one precision and reports it; returns the index in the report.
    fn measure(
        &mut self,
        format: PrecisionChoice,
        roofline: &Roofline,
        report: &mut Report,
    ) -> Result<(Runs, usize)> {
        let mut runs = Runs::default();
        for run in 0..=self.args.runs {
            if run == self.args.runs {
                profile::start(self.device)?;
            }
            let (seconds, loss) = self.evaluate(format)?;
            runs.add(run, seconds, loss);
        }
        let totals = profile::stop()?.totals();
        let in_products = totals.get(&Stage::MatrixProducts).copied().unwrap_or(0.0);
        let (seconds, words) = (median(runs.seconds.clone()), self.words());
        let last = runs.seconds.last().copied().unwrap_or(f64::NAN);
        let (share, bound) = (in_products / last, self.operations / roofline.rate(format));
        report.print(format!(
            "{:<6} {seconds:7.3} s   {:.0} tokens/s   {:.1} s for all of WikiText-103's test text   loss {:.4}   \
             matrix products {:.0} % of it, at the measured rate {bound:.3} s",
            format.name(),
            words as f64 / seconds,
            seconds * TEST_TEXT / words as f64,
            runs.loss,
            100.0 * share,
        ));
        let index =
            report.add(json!({"what": "evaluation of the entry", "format": format.name(),
            "tokens": words, "seconds": seconds, "loss": runs.loss, "runs": self.args.runs,
            "floor": "its matrix products at the measured rate", "floor_seconds": bound,
            "operations": self.operations, "share_in_products": share, "peers": []}))?;
        Ok((runs, index))
    }
}

impl Runs {
    /// Adds a run; the first one (0), which compiles kernels, is not measured.
    fn add(&mut self, run: u32, seconds: f64, loss: f64) {
        self.loss = loss;
        if run > 0 {
            self.seconds.push(seconds);
        }
    }
}
