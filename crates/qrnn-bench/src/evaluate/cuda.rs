//! `qrnn-bench evaluate` on a GPU: first our model in every precision, then the baselines and our
//! model in the first precision, interleaved.

use std::collections::HashMap;

use qrnn::data::{Corpus, Split};
use qrnn::evaluate::{EvalOptions, evaluate_split};
use qrnn::model::{LmConfig, QrnnLm, Splits};
use qrnn::progress::Silent;
use qrnn::terminal;
use qrnn::{Error, Result, paper};
use serde_json::json;
use tch::{Device, Kind};

use super::args::Args;
use super::text::{shown_text, write_text};
use crate::baselines::step::Setting;
use crate::baselines::{Baselines, WRITTEN_BY};
use crate::precision::PrecisionChoice;
use crate::report::Report;
use crate::roofline::Roofline;
use crate::statistics::median;
use crate::torch_model::write_inputs;
use crate::{device as devices, precision, random_tokens};
use qrnn::command_line::Output;

/// Windows of a baseline before the measurement, which compile kernels.
const WARM_UP: usize = 16;

/// Seconds of the runs of an implementation, and its mean loss in nats per token.
#[derive(Default)]
struct Measured {
    seconds: Vec<f64>,
    loss: f64,
}

/// Measurements of the baselines, by name.
type Theirs = HashMap<&'static str, Measured>;

/// The measurements of one precision.
struct Ours {
    format: PrecisionChoice,
    measured: Measured,
    /// Index in the report.
    index: usize,
}

/// The model and its corpus.
struct Bench<'a> {
    args: &'a Args,
    corpus: Corpus,
    model: QrnnLm,
}

pub fn run(args: &Args, device: Device, json: bool) -> Result<Output> {
    precision::check(&args.formats, device)?;
    qrnn_ops::libtorch::keep_freed_memory();
    let mut report = Report::new("evaluate", device, &args.record, json)?;
    let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
    let corpus = corpus(args, folder.path())?;
    terminal::note("measuring the device's limits ...");
    let roofline = Roofline::measure(device, &args.formats)?;
    roofline.report(&mut report)?;
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
    let splits = borders.as_slice();
    let setting =
        Setting { folder: folder.path(), device, splits, batch: 1, dropout: 0.0, clip: 0.0 };
    // The baselines start while our model is measured.
    let mut baselines = Baselines::spawn(&args.baseline_flags, setting.specs(&args.baselines.0))?;
    report.print(format!(
        "{}, windows of {} in PyTorch",
        shown_text(&model, tokens, &borders, args.runs),
        args.bptt,
    ));
    let mut bench = Bench { args, corpus, model };
    let mut ours = vec![];
    for &format in &args.formats {
        terminal::note(format_args!("{} ...", format.name()));
        match bench.measure(format) {
            Ok(measured) => {
                let index = bench.report(format, &measured, &mut report)?;
                ours.push(Ours { format, measured, index });
            }
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
    if let (Some(anchor), false) = (ours.first(), baselines.live.is_empty()) {
        terminal::note(format_args!("{} and the baselines, interleaved ...", anchor.format.name()));
        match bench.interleave(anchor.format, &mut baselines) {
            Ok((interleaved, theirs)) => {
                bench.compare(&ours, interleaved, &baselines, theirs, &mut report)?
            }
            Err(error) => {
                let fields = json!({"what": "interleaved", "of": "evaluation of the entry",
                    "format": anchor.format.name()});
                report.failed("the evaluation interleaved with the baselines", fields, &error)?;
            }
        }
    }
    for baseline in &baselines.left_out {
        report.print(format!("{:<42} left out: {}", baseline.label, baseline.reason));
        let mut value = baseline.value();
        ours.iter().for_each(|ours| report.append(ours.index, "peers", value.clone()));
        value["what"] = json!("peer");
        value["of"] = json!("evaluation of the entry");
        report.add(value)?;
    }
    Ok(report.finish(baselines.closing()))
}

impl Bench<'_> {
    fn words(&self) -> usize {
        self.corpus.tokens(Split::Test).len()
    }

    fn evaluate(&mut self, format: PrecisionChoice) -> Result<(f64, f64)> {
        self.model.set_precision(format.precision());
        let options = EvalOptions::original(Split::Test, self.args.bptt);
        let (model, corpus) = (&self.model, &self.corpus);
        let evaluation = evaluate_split(model, corpus, Split::Test, &options, &mut Silent)?;
        Ok((evaluation.seconds, evaluation.loss))
    }

    /// Measures one precision. The first run, which compiles kernels, is not counted.
    fn measure(&mut self, format: PrecisionChoice) -> Result<Measured> {
        let mut measured = Measured::default();
        for run in 0..=self.args.runs {
            let (seconds, loss) = self.evaluate(format)?;
            measured.add(run, seconds, loss);
        }
        Ok(measured)
    }

    fn report(
        &self,
        format: PrecisionChoice,
        measured: &Measured,
        report: &mut Report,
    ) -> Result<usize> {
        let (seconds, words) = (median(measured.seconds.clone()), self.words());
        report.print(format!(
            "{:<6} {seconds:7.3} s   {:.0} tokens/s   loss {:.4}",
            format.name(),
            words as f64 / seconds,
            measured.loss
        ));
        report.add(json!({"what": "evaluation of the entry", "format": format.name(),
            "tokens": words, "seconds": seconds, "loss": measured.loss, "runs": self.args.runs,
            "peers": []}))
    }

    /// Measures our model in one precision and each baseline, interleaved.
    fn interleave(
        &mut self,
        format: PrecisionChoice,
        baselines: &mut Baselines,
    ) -> Result<(Measured, Theirs)> {
        let (mut interleaved, mut theirs) = (Measured::default(), Theirs::new());
        let (window, words) = (self.args.bptt, self.words());
        for run in 0..=self.args.runs {
            terminal::note(format_args!("run {run} of {} ...", self.args.runs));
            let (seconds, loss) = self.evaluate(format)?;
            interleaved.add(run, seconds, loss);
            baselines.each(|baseline| {
                let count = if run == 0 { words.min(WARM_UP * window + 1) } else { words };
                let (sum, seconds) = baseline.evaluate(window, count)?;
                let loss = sum / (count.max(2) - 1) as f64;
                theirs.entry(baseline.name).or_default().add(run, seconds, loss);
                Ok(())
            });
        }
        Ok((interleaved, theirs))
    }

    fn compare(
        &self,
        ours: &[Ours],
        interleaved: Measured,
        baselines: &Baselines,
        theirs: Theirs,
        report: &mut Report,
    ) -> Result<()> {
        let Some(anchor) = ours.first() else { return Ok(()) };
        let interleaved = median(interleaved.seconds);
        let first_pass = median(anchor.measured.seconds.clone());
        report.print(format!(
            "{} interleaved with the baselines: {interleaved:.3} s, {first_pass:.3} s alone",
            anchor.format.name(),
        ));
        report.add(json!({"what": "interleaved", "of": "evaluation of the entry", "format":
            anchor.format.name(), "seconds": interleaved, "first_pass_seconds": first_pass,
            "times_the_first_pass": interleaved / first_pass, "runs": self.args.runs}))?;
        report.amend(anchor.index, "interleaved_seconds", json!(interleaved));
        for baseline in &baselines.live {
            let Some(measured) = theirs.get(baseline.name) else { continue };
            let their_seconds = median(measured.seconds.clone());
            let seconds_of = |ours: &Ours| {
                if ours.format == anchor.format {
                    interleaved
                } else {
                    median(ours.measured.seconds.clone())
                }
            };
            let mut text = format!("{:<42} {their_seconds:7.3} s", baseline.label);
            let mut value = json!({"peer": baseline.name, "against": baseline.label,
                "by": baseline.version,
                "written_by": WRITTEN_BY, "seconds": their_seconds, "loss": measured.loss});
            let (mut ratios, mut differences) = (json!({}), json!({}));
            for ours in ours {
                let ratio = their_seconds / seconds_of(ours);
                let difference = (measured.loss - ours.measured.loss).abs();
                let name = ours.format.name();
                text += &format!("   {ratio:.2} times {name}, losses differ by {difference:.1e}");
                (ratios[name], differences[name]) = (json!(ratio), json!(difference));
                let mut value = value.clone();
                (value["ratio"], value["loss_difference"]) = (json!(ratio), json!(difference));
                report.append(ours.index, "peers", value);
            }
            report.print(text);
            value["what"] = json!("peer");
            value["of"] = json!("evaluation of the entry");
            value["runs"] = json!(self.args.runs);
            (value["ratios"], value["loss_differences"]) = (ratios, differences);
            report.add(value)?;
        }
        Ok(())
    }
}

impl Measured {
    /// Adds a run; the first one (0) is a warm-up.
    fn add(&mut self, run: u32, seconds: f64, loss: f64) {
        self.loss = loss;
        if run > 0 {
            self.seconds.push(seconds);
        }
    }
}

/// The test text of the data folder, or random tokens if `--types` is set or there is no such folder.
fn corpus(args: &Args, folder: &std::path::Path) -> Result<Corpus> {
    if args.types.is_none() && args.data.is_dir() {
        write_text(&args.data, folder, args.tokens)?;
        return Corpus::from_text(folder);
    }
    random_tokens::corpus(args.types.unwrap_or(qrnn::model::WIKITEXT103_VOCAB), 20, args.tokens)
}
